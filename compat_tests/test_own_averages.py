"""Moving averages with names of a script's own are averages in a replay, too."""

import own_averages
import pytest
from own_averages import Script

from tf2gan.migration import average_names, keras_implementation, traces
from tf2gan.migration.replay import replay

AVERAGES = [
    "generator/bn/pop_mean",
    "generator/bn/pop_var",
    "discriminator/bn/pop_mean",
    "discriminator/bn/pop_var",
]


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Traces by name."""
    folder = tmp_path_factory.mktemp("own")
    return {
        "scoped": Script().record(folder / "scoped"),
        "flat": Script(flat=True).record(folder / "flat"),
        "raced": Script(raced=True).record(folder / "raced"),
    }


def _replayed(folder, models=None, steps=own_averages.steps, **settings):
    models = models or own_averages.models()
    trace = traces.read(folder)
    port = keras_implementation.KerasImplementation(
        models, steps(models), trace
    )
    return replay(folder, port, variables=port.names(trace), **settings)


def _names(report, kind):
    return [name for (k, name) in report.history if k == kind]


@pytest.mark.parametrize("which", ["scoped", "flat"])
def test_averages_of_any_name_are_averages_under_their_own_names(which, traced):
    report = _replayed(traced[which])
    assert report.alike, report
    expected = AVERAGES
    if which == "flat":
        expected = [name.replace("/bn/", "/bn_") for name in AVERAGES]
    assert sorted(_names(report, "moving average")) == sorted(expected)
    assert len(_names(report, "weight")) == 7
    assert {row.candidate for row in report.averages} == {
        "updated once",
        "real before generated",
    }


@pytest.mark.parametrize("which", ["scoped", "flat"])
def test_a_fault_in_averages_of_any_name_is_named(which, traced):
    report = _replayed(traced[which], own_averages.models(momentum=0.99))
    assert report.first.kind == "moving average"
    assert "/bn" in report.first.name and "pop_mean" in report.first.name
    [cause] = {c.finding for c in report.causes}
    assert cause == "batch-norm momentum 0.99 instead of 0.9"


class Numbered:
    """A port whose names say nothing of its variables."""

    def __init__(self, port, names):
        self._port, self._names = port, names
        self.discriminator_step = port.discriminator_step
        self.generator_step = port.generator_step

    def state(self):
        state = self._port.state()
        return {self._names[name]: value for name, value in state.items()}

    def load_state(self, state):
        back = {number: name for name, number in self._names.items()}
        self._port.load_state({back[n]: value for n, value in state.items()})


def test_the_names_of_a_trace_tell_averages_among_what_it_does_not_train(
    traced,
):
    models = own_averages.models()
    trace = traces.read(traced["scoped"])
    port = keras_implementation.KerasImplementation(
        models, own_averages.steps(models), trace
    )
    numbers = {name: f"v{i}" for i, name in enumerate(port.state())}
    names = {n: numbers[own] for n, own in port.names(trace).items()}
    report = replay(traced["scoped"], Numbered(port, numbers), variables=names)
    assert report.alike
    assert sorted(_names(report, "moving average")) == sorted(AVERAGES)


def test_a_fault_in_a_weight_is_still_one(traced):
    def steps(models):
        own = own_averages.steps(models)

        def discriminator_step(images, latent):
            loss = own["discriminator_step"](images, latent)
            gamma = models["discriminator"].trainable_variables[1]
            gamma.assign(gamma + 1e-3)
            return loss

        return {**own, "discriminator_step": discriminator_step}

    report = _replayed(traced["scoped"], steps=steps)
    assert (report.first.kind, report.first.name) == (
        "weight",
        "discriminator/bn/gamma",
    )


def test_an_update_by_assign_that_was_lost_is_a_race_of_the_recording(traced):
    report = _replayed(traced["raced"])
    assert report.raced, report
    assert {d.unordered for d in report.unordered()} == {
        "the update on real images was lost",
        "the update on generated images was lost",
    }
    assert {d.name for d in report.unordered()} == set(AVERAGES[2:])
    assert {cause.hazard for cause in report.causes} == {"recording-raced"}


@pytest.mark.parametrize(
    "name, is_average",
    [
        ("generator/bn/pop_var", True),
        ("generator/bn_running_mean", True),
        ("d/moments/Squeeze/ExponentialMovingAverage_1", True),
        ("generator/bn/gamma", False),
        ("generator/u", False),
    ],
)
def test_names_of_averages(name, is_average):
    assert average_names.is_average(name) == is_average
