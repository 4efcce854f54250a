"""A trace of a script of 2017 replays in TF2, and every fault in TF2 is named.

The trace is made by TensorFlow 1.15.5 where the environment variable TF115_PYTHON
names a Python 3.7 with this package installed, and by today's TensorFlow as well.
"""

import functools
import json
import os
import shutil
import subprocess
import sys

import helpers
import keras
import keras_port
import legacy_port
import mutations
import numpy as np
import pytest
import tensorflow as tf
import tiny_gan

from tf2gan import training
from tf2gan.common import specs
from tf2gan.common.errors import UserError
from tf2gan.migration import (
    keras_constants,
    keras_implementation,
    lockstep,
    report_html,
    report_json,
    report_text,
    traces,
)
from tf2gan.migration.replay import replay

pytestmark = pytest.mark.usefixtures("untraced")

on_tf115 = [
    pytest.mark.slow,
    pytest.mark.skipif(not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115),
]
TF115 = "1.15.5"
PYTHONS = {TF115: helpers.TF115_PYTHON, tf.__version__: sys.executable}
RECORDERS = [pytest.param(TF115, marks=on_tf115), tf.__version__]
SPEC = specs.get_spec("dcgan28")
STEPS = 2

# A trace has neither activations nor samples; the loss shows what the first would.
# The script kept no global step, and rounding in one place may average out in the loss.
FAULTS = {
    entry.key: entry
    for entry in mutations.MUTATIONS
    if entry.dtype == "float64"
    and entry.update_ops == "source"
    and entry.kind not in ("sample", "step count")
    and entry.key != "float32-inside"
}
FEWEST_FAULTS = 10
# Faults that only activations would tell from others.
WITHOUT_CAUSE = {
    "batch-norm-epsilon",
    "leaky-relu-slope",
    "generator-output",
    "loss-of-probabilities",
}
# One of each kind; the others are slow.
QUICK = [
    "image-range",
    "leaky-relu-slope",
    "leaky-relu-at-zero",
    "adam-beta1",
    "adam-epsilon",
    "updates-reversed",
]
PLANTED = [
    (version, key)
    for version in PYTHONS
    for key in FAULTS
    if version == TF115 or key in QUICK
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A function of a TensorFlow version and options that returns a trace of it."""

    @functools.lru_cache(maxsize=None)
    def record(version, *options):
        folder = tmp_path_factory.mktemp("script")
        here = helpers.ROOT / "compat_tests"
        shutil.copy(str(here / "legacy_script.py"), str(folder))
        source = helpers.ROOT / "tf1gan" / "trace.py"
        shutil.copy(str(source), str(folder / "gan_trace.py"))
        command = [PYTHONS[version], "-W", "ignore", "legacy_script.py"]
        options = ["trace", "--float64", "--steps={}".format(STEPS), *options]
        environment = helpers.environment()
        environment["PYTHONPATH"] += os.pathsep + str(here)
        done = subprocess.run(
            command + options,
            cwd=str(folder),
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            timeout=300,
        )
        return str(folder / "trace"), done.stdout.decode()

    return record


@pytest.fixture
def a_trace(recorded):
    """The folder of a trace in which the averages' updates have an order."""
    return recorded(tf.__version__, "--in_order")[0]


def _trainer():
    return training.Trainer(SPEC, "source", "float64")


@pytest.mark.parametrize("version", RECORDERS)
def test_a_recorded_script_replays_in_tf2(recorded, version):
    folder, printed = recorded(version, "--in_order")
    trace = traces.read(folder)
    assert trace.tensorflow == version
    assert trace.length == 2 * STEPS
    assert trace.warnings() == []
    # What the script itself saw, in the same call.
    seen = [float(x) for line in printed.splitlines() for x in line.split()[1:]]
    assert [float(call.loss) for call in trace.calls()] == seen
    report = replay(folder, _trainer(), lockstep.Tolerance(relative=1e-9))
    assert report.first is None, report
    assert report.iterations == STEPS
    assert set(report.largest) == {
        "feed",
        "loss",
        "gradient",
        "slot",
        "weight",
        "moving average",
    }
    assert report.noisiest.name.endswith(("bias", "bias/Adam", "bias/Adam_1"))
    assert report.unordered() == []
    assert all(row.reference == row.candidate for row in report.averages)


@pytest.mark.slow
@pytest.mark.skipif(not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115)
@pytest.mark.parametrize("resync", [False, True])
@pytest.mark.parametrize(
    "options, count", [([], None), (["--both_read_old"], 8 * STEPS)]
)
def test_a_script_whose_updates_race_differs_by_its_race_alone(
    options, count, resync, recorded, show
):
    folder, _ = recorded(TF115, *options)
    report = replay(folder, _trainer(), resync=resync)
    assert report.first is None, report
    found = report.unordered()
    assert report.raced == bool(found) and report.alike != report.raced
    assert {cause.hazard for cause in report.causes} == (
        {"recording-raced"} if found else set()
    )
    if count is None:
        show(f"{len(found)} of {8 * STEPS} updates raced and came out of order")
        return
    assert len(found) == count
    assert {d.unordered for d in found} == {"both read the old value"}


@pytest.mark.slow
def test_resynchronized_replay_finds_nothing_either(a_trace):
    assert replay(a_trace, _trainer(), resync=True).first is None


@pytest.mark.parametrize(
    "version, key",
    [
        pytest.param(v, key, marks=on_tf115 if v == TF115 else [])
        for v, key in PLANTED
    ],
)
def test_a_fault_is_named_where_it_shows_and_by_its_cause(
    version, key, recorded, monkeypatch
):
    entry = FAULTS[key]
    folder, _ = recorded(version, "--in_order")
    faulty = entry.apply(monkeypatch, SPEC, "source", "float64")
    report = replay(folder, faulty, stop=True)
    first = report.first
    assert first is not None, "not noticed"
    kind, place = entry.kind, entry.place
    if kind == "activation":
        kind, place = "loss", entry.phase
    assert (first.kind, first.phase) == (kind, entry.phase), first
    assert first.name.startswith(place), first
    assert first.iteration == 1
    found = [cause.hazard for cause in report.causes]
    assert found == ([] if key in WITHOUT_CAUSE else [key])
    if found and key != "latent-distribution":  # these latents are others
        assert entry.finding in report.causes[0].finding


def test_there_are_enough_faults_of_each_kind():
    assert len(set(FAULTS) - WITHOUT_CAUSE) >= FEWEST_FAULTS
    kinds = {entry.kind for entry in FAULTS.values()}
    assert kinds >= {
        "feed",
        "loss",
        "gradient",
        "slot",
        "weight",
        "moving average",
    }
    assert {FAULTS[key].kind for key in QUICK} == kinds - {"loss"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A trace of two matrices, with names of its own for everything."""
    folder = tmp_path_factory.mktemp("tiny") / "trace"
    gan = tiny_gan.TinyGraph()
    with gan.session:
        gan.record(folder, every=2)
        gan.train(2)
        gan.session.run(gan.sevens)  # not a step of training
        gan.train(2)
    return str(folder)


def _changed(**changes):
    """Returns the mapping of the tiny trace with entries of its parts changed."""
    mapping = {name: dict(part) for name, part in tiny_gan.MAPPING.items()}
    for name, part in changes.items():
        mapping[name].update(part)
    return mapping


def test_inputs_steps_and_variables_go_by_a_map(tiny):
    report = replay(tiny, tiny_gan.TinyTwin(), **tiny_gan.MAPPING)
    assert report.first is None, report
    assert report.iterations == 4
    assert set(report.largest) == {"feed", "loss", "gradient", "weight"}
    assert max(x.relative for x in report.largest.values()) < 1e-12


def test_a_fault_in_a_mapped_port_is_named_by_the_trace(tiny):
    first = replay(tiny, tiny_gan.TinyTwin(rate=0.1), **tiny_gan.MAPPING).first
    assert (first.iteration, first.phase) == (1, "d")
    assert (first.kind, first.name) == ("weight", "discriminator/w")


def test_a_gradient_that_is_missing_or_nan_is_a_difference(tiny):
    for value in ({}, {"D": np.full([3, 1], np.nan)}):
        twin = tiny_gan.TinyTwin()
        proper = twin.gradients
        calls = []

        def gradients(images, latent, proper=proper, value=value, calls=calls):
            calls.append(images)
            return value if len(calls) == 1 else proper(images, latent)

        twin.gradients = gradients
        first = replay(tiny, twin, stop=True, **tiny_gan.MAPPING).first
        assert (first.kind, first.name) == ("gradient", "discriminator/w")
        assert first.absolute == np.inf


class LateFault(tiny_gan.TinyTwin):
    """Leaves a weight changed in its first step, and no other."""

    seen = False

    def discriminator_step(self, images, latent):
        loss = super().discriminator_step(images, latent)
        if not self.seen:
            self.values["D"] = self.values["D"] + 1e-3
        self.seen = True
        return loss


def test_without_resync_a_fault_goes_on_and_with_it_each_step_is_judged(tiny):
    free = replay(tiny, LateFault(), **tiny_gan.MAPPING)
    forced = replay(tiny, LateFault(), resync=True, **tiny_gan.MAPPING)
    for report in (free, forced):
        assert (report.first.kind, report.first.iteration) == ("weight", 1)
    assert free.largest["loss"].relative > 1e-9
    assert forced.largest["loss"].relative < 1e-12


def _steps(*iterations):
    return [(i, phase) for i in iterations for phase in ("d", "g")]


@pytest.mark.parametrize("resync", [False, True])
def test_steps_without_recorded_variables_are_compared_by_their_losses(
    tiny, resync
):
    """The tiny trace has variables after each second step."""
    report = replay(
        tiny, tiny_gan.TinyTwin(), resync=resync, **tiny_gan.MAPPING
    )
    assert report.first is None
    assert report.wholly == _steps(1, 3) and report.by_losses == _steps(2, 4)
    assert report.without_causes == []
    compared = {
        kind: {d.iteration for d in history}
        for (kind, _), history in report.history.items()
    }
    assert compared["loss"] == compared["feed"] == {1, 2, 3, 4}
    assert compared["weight"] == compared["gradient"] == {1, 3}


class FaultBetween(tiny_gan.TinyTwin):
    """Leaves a weight changed after its second step, which was not recorded."""

    count = 0

    def discriminator_step(self, images, latent):
        loss = super().discriminator_step(images, latent)
        self.count += 1
        if self.count == 2:
            self.values["D"] = self.values["D"] + 1e-3
        return loss


def test_a_fault_between_recorded_states_has_no_cause_and_the_report_says_why(
    tiny, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        lockstep.causes,
        "find",
        lambda e: asked.append((e.iteration, e.phase)) or [],
    )
    free = replay(tiny, FaultBetween(), **tiny_gan.MAPPING)
    assert (free.first.kind, free.first.iteration) == ("loss", 2)
    assert free.first.phase == "g" and free.without_causes == [(2, "g")]
    # The states before the first two iterations' first steps are known.
    first = ["discriminator_step", "generator_step"]
    assert asked == [(1, first[0]), (1, first[1]), (2, first[0])]
    asked.clear()
    forced = replay(tiny, FaultBetween(), resync=True, **tiny_gan.MAPPING)
    assert forced.without_causes == [(2, "g"), (3, "d")]
    # The state after the third iteration was recorded and loaded.
    late = [d for d in forced.at(3, "g") + forced.at(4, "d") if not d.allowed]
    assert late == []
    assert asked[3:] == [(3, first[1]), (4, first[0])]


def test_every_form_of_the_report_says_what_was_compared_in_part(tiny):
    report = replay(tiny, FaultBetween(), **tiny_gan.MAPPING)
    text, page = report_text.text(report), report_html.to_html(report)
    for said in (
        "compared wholly: iterations 1, 3 of d; iterations 1, 3 of g",
        "losses only, as no variables were recorded after them: iterations 2, 4",
        "no cause can be told of iteration 2 of g: the variables before were not",
        "every=1",
    ):
        assert said in " ".join(text.split()), said
        assert said in page, said
    read = json.loads(report_json.to_json(report))
    assert read["compared_wholly"] == [list(s) for s in _steps(1, 3)]
    assert read["compared_by_losses"] == [list(s) for s in _steps(2, 4)]
    assert read["without_causes"] == [[2, "g"]]


@pytest.mark.parametrize("resync", [False, True])
def test_causes_are_named_at_the_recorded_states(recorded, monkeypatch, resync):
    folder, _ = recorded(tf.__version__, "--in_order", "--every=2")
    entry = FAULTS["adam-epsilon"]
    faulty = entry.apply(monkeypatch, SPEC, "source", "float64")
    report = replay(folder, faulty, resync=resync)
    assert [(c.hazard, c.iteration) for c in report.causes] == [
        ("adam-epsilon", 1)
    ]
    assert len(report.by_losses) == 2


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"inputs": {"images": "x"}},
            "has no input 'x', but 'pixels', 'noise'",
        ),
        ({"inputs": {"picture": "pixels"}}, "--inputs names 'picture'"),
        ({"steps": {"d": "train_step"}}, "'d' of the trace is no step"),
        ({"steps": {"e": "generator_step"}}, "--steps names 'e'"),
        ({"variables": {"w": "G"}}, "--name_map names 'w'"),
        (
            {"variables": {"generator/w": "H"}},
            "no variables for .*'generator/w'",
        ),
        ({"variables": {"generator/w": None}}, "no values for .*'G'"),
        ({"variables": {"updates": "G"}}, "'G'.* more than one"),
        (
            {"variables": {"generator/w": "D", "discriminator/w": "G"}},
            r"'generator/w' has the shape \(2, 3\), that of .* \(3, 1\)",
        ),
    ],
)
def test_a_map_that_does_not_fit_is_refused(changes, message, tiny):
    with pytest.raises(UserError, match=message) as error:
        replay(tiny, tiny_gan.TinyTwin(), **_changed(**changes))
    assert "\n" not in str(error.value)


def test_a_trace_of_another_model_is_refused(tiny):
    with pytest.raises(UserError, match="no variables for .*'generator/w'"):
        replay(tiny, _trainer(), steps=tiny_gan.MAPPING["steps"])


@pytest.fixture
def call(capfd):
    """Runs `compare.py replay` here."""

    def run(*flags):
        capfd.readouterr()
        status = helpers.call_script("compare", "replay", *flags)
        return helpers.Outcome(status, *capfd.readouterr())

    return run


def test_the_script_replays_a_model_with_its_constants_changed(
    call, a_trace, tmp_path
):
    page, written = tmp_path / "report.html", tmp_path / "report.json"
    done = call(
        a_trace,
        "--candidate=tf2:dcgan28,adam_epsilon=1e-7",
        "--resync",
        f"--json={written}",
        f"--html={page}",
    )
    assert (done.status, done.err) == (1, "")
    assert "1. Adam epsilon 1e-07 instead of 1e-08" in done.out
    assert "2. " not in done.out.partition("dataflow of")[0]
    read = json.loads(written.read_text())
    assert read["settings"]["reference"].startswith(a_trace)
    assert read["settings"]["dtype"] == "float64"
    assert [cause["hazard"] for cause in read["causes"]] == ["adam-epsilon"]
    assert "Adam epsilon" in page.read_text()


@pytest.mark.slow
def test_the_script_takes_the_model_of_the_registry(call, a_trace):
    done = call(a_trace, "--model=dcgan28")
    assert (done.status, done.err) == (0, "")
    assert "candidate      tf2:dcgan28" in done.out


PORT = str(helpers.ROOT / "compat_tests" / "keras_port.py")
TINY_FLAGS = ["--inputs=images=pixels,latent=noise"]
TINY_FLAGS += ["--steps=d=discriminator_step,g=generator_step"]
TINY_KERAS = [*TINY_FLAGS, f"--keras_model={PORT}:tiny_models"]


def test_a_function_of_the_users_is_replayed_through_a_name_map(
    call, tiny, tmp_path
):
    names = tmp_path / "names.json"
    names.write_text(json.dumps(tiny_gan.MAPPING["variables"]))
    place = helpers.ROOT / "compat_tests" / "tiny_gan.py"
    flags = [tiny, *TINY_FLAGS, f"--candidate={place}:TinyTwin"]
    assert call(*flags, f"--name_map={names}").status == 0
    done = call(*flags)
    assert done.status == 1
    assert "no variables for the trace's 'generator/w'" in done.err


def test_keras_models_are_replayed_with_the_steps_of_the_user(call, tiny):
    done = call(tiny, *TINY_KERAS, f"--step={PORT}:tiny_steps")
    assert (done.status, done.err) == (0, "")
    assert "gradient" in done.out
    said = "warning: not compared, as the models do not have them: updates"
    assert said in done.out
    done = call(tiny, *TINY_KERAS, f"--step={PORT}:too_fast", "--resync")
    assert done.status == 1
    assert "first in iteration 1, d, weight discriminator/w" in done.out


def test_keras_models_take_a_map_with_transposes(call, tiny, tmp_path):
    pairs = [
        ("generator/w", "generator/dense/kernel", [2, 3]),
        ("discriminator/w", "discriminator/dense_1/kernel", [3, 1]),
    ]
    entries = [
        {"tf1": tf1, "keras": keras, "shape": shape, "dtype": "float64"}
        for tf1, keras, shape in pairs
    ]
    for entry in entries:
        entry["reason"] = "by hand"
    path = tmp_path / "map.json"

    def replayed():
        path.write_text(json.dumps({"version": 1, "variables": entries}))
        keras.backend.clear_session()
        flags = [*TINY_KERAS, f"--step={PORT}:tiny_steps"]
        return call(tiny, *flags, f"--name_map={path}")

    assert replayed().status == 0
    entries[0]["transpose"] = [1, 0]
    wrong = replayed()
    assert wrong.status == 1 and "generator/w" in wrong.err


@pytest.mark.slow
@pytest.mark.parametrize("version", RECORDERS)
def test_optimizers_of_keras_models_go_through_the_map(call, recorded, version):
    folder, _ = recorded(version, "--in_order")
    flags = [f"--keras_model={PORT}:dcgan_models", f"--step={PORT}:dcgan_steps"]
    for resync in ("--resync", "--noresync"):
        done = call(folder, *flags, resync)
        assert (done.status, done.err) == (0, ""), done.out
    assert "slots are left behind" not in done.out
    assert "note: Adam of generator: 28 slots" in done.out
    assert "warning:" not in done.out


def _legacy(steps=legacy_port.steps, **norm):
    """Returns the port of the script with a fault in its steps or its batch norm."""
    models = {model.name: model for model in legacy_port.models_as_in_tf1()}
    for layer in (x for model in models.values() for x in model.layers):
        if isinstance(layer, legacy_port.TF1BatchNormalization):
            for name, value in norm.items():
                setattr(layer, name, value)
    return models, steps(models)


def _replayed(folder, models, steps):
    trace = traces.read(folder)
    port = keras_implementation.KerasImplementation(models, steps, trace)
    return replay(folder, port, variables=port.names(trace), stop=True)


def forgetful_steps(models):
    """The discriminator's step leaves the generator's averages as they were."""
    steps = legacy_port.steps(models)

    def discriminator_step(images, latent):
        kept = [(v, v.numpy()) for v in models["generator"].variables]
        loss = steps["discriminator_step"](images, latent)
        for variable, value in kept:
            variable.assign(value)
        return loss

    return {**steps, "discriminator_step": discriminator_step}


def test_the_layers_of_keras_models_show_a_fault_in_averages(a_trace):
    models, steps = _legacy(momentum=0.9)
    [cause] = _replayed(a_trace, models, steps).causes
    assert cause.finding == "batch-norm momentum 0.9 instead of 0.99"
    [cause] = _replayed(a_trace, *_legacy(forgetful_steps)).causes
    assert cause.hazard == "updates-scoped"
    assert "does not update the averages of the generator" in cause.finding


def test_the_layers_of_keras_models_show_another_epsilon(a_trace):
    [cause] = _replayed(a_trace, *_legacy(epsilon=1e-5)).causes
    assert cause.finding == "batch-norm epsilon 1e-05 instead of 0.001"


@pytest.mark.parametrize(
    "leaky_relu",
    [
        lambda x: keras.ops.maximum(x, 0.3 * x),
        lambda x: keras.ops.leaky_relu(x, 0.3),
        lambda x: keras.layers.LeakyReLU(0.3, dtype="float64")(x),
    ],
)
def test_the_layers_of_keras_models_show_another_slope(
    leaky_relu, a_trace, monkeypatch
):
    monkeypatch.setattr(legacy_port, "_leaky_relu", leaky_relu)
    [cause] = _replayed(a_trace, *_legacy()).causes
    assert cause.finding == "leaky ReLU slope 0.3 instead of 0.2"


class ForInference:
    """A network that its caller cannot call for training."""

    def __init__(self, network):
        self._network = network

    def __call__(self, inputs, training):
        return self._network(inputs, training=False)

    def __getattr__(self, name):
        return getattr(self._network, name)


def inferring_steps(models):
    generator = ForInference(models["generator"])
    return legacy_port.steps({**models, "generator": generator})


def test_the_layers_of_keras_models_show_a_call_for_inference(a_trace):
    [cause] = _replayed(a_trace, *_legacy(inferring_steps)).causes
    assert cause.hazard == "frozen-inference"
    assert cause.finding.startswith("generator/batch_normalization normalizes")


def _with_keras_adam(epsilon):
    """Returns the port with Keras's own Adam."""
    models = legacy_port._models(
        legacy_port.TF1BatchNormalization,
        lambda rate: keras.optimizers.Adam(rate, epsilon=epsilon),
    )
    models = {model.name: model for model in models}
    return models, legacy_port.steps(models)


def steps_with_gradients(models):
    """The discriminator's loss is shown with its gradients, the averages unmoved."""
    steps = legacy_port.steps(models)
    model = models["discriminator"]

    def gradients(images, latent):
        kept = [(v, v.numpy()) for m in models.values() for v in m.variables]
        with tf.GradientTape() as tape:
            made = models["generator"](latent, training=True)
            real = model(images, training=True)
            fake = model(made, training=True)
            loss = legacy_port._cross_entropy(real, 1.0)
            loss += legacy_port._cross_entropy(fake, 0.0)
        slopes = tape.gradient(loss, model.trainable_variables)
        for variable, value in kept:
            variable.assign(value)
        paths = [f"discriminator/{v.path}" for v in model.trainable_variables]
        return dict(zip(paths, slopes))

    return {**steps, "gradients": gradients}


@pytest.mark.parametrize(
    "epsilon, others", [(1e-8, []), (1e-7, ["adam-epsilon"])]
)
def test_kerass_own_adam_is_recognised(epsilon, others, a_trace):
    report = _replayed(a_trace, *_with_keras_adam(epsilon))
    assert report.first.kind == "slot"
    found = [cause.hazard for cause in report.causes]
    assert found == [*others, "moment-rate-exact"]


def test_kerass_own_leaky_relu_is_recognised(a_trace, monkeypatch):
    """It rounds its slope to float32, and has another gradient at 0."""
    monkeypatch.setattr(
        legacy_port,
        "_leaky_relu",
        lambda x: keras.layers.LeakyReLU(0.2, dtype="float64")(x),
    )
    for steps in (legacy_port.steps, steps_with_gradients):
        report = _replayed(a_trace, *_legacy(steps))
        shown = "gradients" not in report.not_shown
        assert shown == (steps is steps_with_gradients)
        [cause] = report.causes
        assert cause.hazard == "leaky-relu-at-zero"
        assert cause.finding.endswith("behind discriminator/conv2d")


def twofold_steps(models):
    """Both losses are of another kind than any sigmoid cross entropy."""
    steps = legacy_port.steps(models)
    return {
        name: lambda x, z, step=step: 1.5 * step(x, z) + 0.25
        for name, step in steps.items()
    }


def test_a_loss_of_another_kind_names_no_constant(a_trace):
    models, steps = _legacy(twofold_steps, epsilon=1e-5)
    report = _replayed(a_trace, models, steps)
    assert report.first.kind == "loss" and report.causes == []


def test_constants_are_changed_for_a_while_only():
    layers = [keras.Input([4]), keras.layers.BatchNormalization(epsilon=0.5)]
    model = keras.Sequential([*layers, keras.layers.LeakyReLU(0.5)])
    [epsilon] = keras_constants.epsilons(model)
    with keras_constants.changed([epsilon], 0.25):
        assert model.layers[0].epsilon == 0.25
    assert model.layers[0].epsilon == 0.5
    x = keras.Input([4])
    model = keras.Model(x, keras.ops.maximum(x, x * 0.5))
    [slope] = keras_constants.slopes(model)
    values = np.array([[-1.0, -2.0, 3.0, 0.0]])
    with keras_constants.changed([slope], 0.25):
        assert np.array_equal(model(values), [[-0.25, -0.5, 3, 0]])
    assert np.array_equal(model(values), [[-0.5, -1, 3, 0]])


def test_looking_at_the_layers_of_keras_models_changes_nothing(a_trace):
    models, steps = _legacy()
    trace = traces.read(a_trace)
    port = keras_implementation.KerasImplementation(models, steps, trace)
    inputs = next(trace.calls()).inputs
    before = port.state()
    shown = port.activations(inputs["images"], inputs["latent"])
    assert len(port.variants(inputs["images"], inputs["latent"])) > 10
    after = port.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    trainer = _trainer()
    trainer.load_state(
        {n: before.get(n, v) for n, v in trainer.state().items()}
    )
    right = trainer.activations(inputs["images"], inputs["latent"])
    for call in ("generator", "discriminator", "discriminator_1"):
        last = [name for name in right if name.startswith(call + "/")][-1]
        assert np.array_equal(shown.pop(call), shown[last])
    assert list(shown) == list(right)
    for name, value in right.items():
        np.testing.assert_allclose(shown[name], value, rtol=1e-9, atol=1e-12)
    assert _replayed(a_trace, models, steps).first is None


class Subclassed(keras.Model):
    """A network whose layers nobody can ask for their outputs."""

    def __init__(self, inner, name):
        super().__init__(name=name)
        self.inner = inner.layers[-1]
        self(keras.ops.zeros([1, inner.input_shape[-1]]))

    def call(self, x):
        return self.inner(x)


def test_models_that_show_no_layers_are_replayed_and_the_report_says_so(tiny):
    models = {
        name: Subclassed(model, name)
        for name, model in keras_port.tiny_models().items()
    }
    steps = keras_port.tiny_steps(models, 2 * keras_port.RATE)
    del steps["gradients"]
    trace = traces.read(tiny)
    port = keras_implementation.KerasImplementation(models, steps, trace)
    mapping = {**tiny_gan.MAPPING, "variables": port.names(trace)}
    report = replay(tiny, port, **mapping)
    assert report.first.kind == "weight" and report.causes == []
    assert report.not_shown == ["activations", "gradients"]
    said = (
        "the port gives no activations, without which causes in layers and "
        "averages cannot be told; the port gives no gradients, without which"
    )
    assert said in " ".join(report_text.text(report).split())
    assert said in report_html.to_html(report)
    read = json.loads(report_json.to_json(report))
    assert read["not_shown"] == report.not_shown


@pytest.fixture
def only_d(tmp_path):
    """A trace of the tiny GAN whose script never came to its second phase."""
    gan = tiny_gan.TinyGraph()
    with gan.session:
        gan.record(tmp_path / "trace")
        gan.session.run([gan.d_train, gan.d_loss], gan.feed(0))
    return str(tmp_path / "trace")


def test_a_phase_without_a_call_is_not_said_to_be_alike(call, only_d, tmp_path):
    page, written = tmp_path / "report.html", tmp_path / "report.json"
    flags = [*TINY_KERAS, f"--step={PORT}:tiny_steps"]
    done = call(only_d, *flags, f"--html={page}", f"--json={written}")
    assert (done.status, done.err) == (1, "")
    for said in (
        "alike in d; g not recorded: no difference",
        "the trace has no call of g, so nothing of it was compared",
    ):
        for text in (done.out, page.read_text().replace("<b>", "")):
            assert said in " ".join(text.replace("</b>", "").split())
    read = json.loads(written.read_text())
    assert read["unrecorded"] == ["g"] and read["alike"] is False
    assert read["first"] is None


@pytest.mark.parametrize(
    "flags, status, message",
    [
        ([], 2, "the argument TRACE is missing"),
        (["a", "b"], 2, "unexpected argument 'b'"),
        (["a", "--iterations=2"], 2, "--iterations is for lockstep"),
        (["a", "--step=b.py:c"], 2, "--keras_model and --step need each"),
        (["a", "--inputs=images"], 2, "--inputs=images: expected NAME=NAME"),
        (["a", "--steps=d=e,d=f"], 2, "each name once"),
        (["nowhere"], 1, "there is no trace 'nowhere'"),
        (["TINY", "--keras_model=no.py:f", "--step=a:b"], 1, "no file 'no.py'"),
        (
            ["TINY", f"--keras_model={PORT}:tiny_models", "--step=json:dumps"],
            1,
            "--step='json:dumps' failed with TypeError",
        ),
        (
            [
                "TINY",
                f"--keras_model={PORT}:tiny_models",
                "--step=builtins:len",
            ],
            1,
            "--step='builtins:len': a int without discriminator_step",
        ),
        (
            [
                "TINY",
                f"--keras_model={PORT}:tiny_models",
                f"--step={PORT}:misspelt_steps",
            ],
            1,
            "misspelt_steps': the dictionary has 'activation'; known are",
        ),
        (["TINY"], 1, "no variables for the trace's"),
    ],
)
def test_a_flag_that_does_not_fit_is_one_line(
    flags, status, message, call, tiny
):
    done = call(*[tiny if flag == "TINY" else flag for flag in flags])
    assert done.status == status
    assert done.err.count("\n") == 1 and message in done.err
