"""A trace of a script of 2017 replays in TF2, and every fault in TF2 is named.

The trace is made by TensorFlow 1.15.5 where the environment variable TF115_PYTHON
names a Python 3.7 with this package installed, and by today's TensorFlow as well.
"""

import functools
import os
import shutil
import subprocess
import sys

import helpers
import mutations
import numpy as np
import pytest
import tensorflow as tf
import tiny_gan

from tf2gan import training
from tf2gan.common import specs
from tf2gan.common.errors import UserError
from tf2gan.migration import lockstep, traces
from tf2gan.migration.replay import replay

TF115_PYTHON = os.environ.get("TF115_PYTHON")
on_tf115 = pytest.mark.skipif(
    not TF115_PYTHON,
    reason="TF115_PYTHON names no Python 3.7 with TensorFlow 1.15.5",
)
PYTHONS = {"1.15.5": TF115_PYTHON, tf.__version__: sys.executable}
RECORDERS = [pytest.param("1.15.5", marks=on_tf115), tf.__version__]
SPEC = specs.get_spec("dcgan28")
STEPS = 2

# A trace has neither activations nor samples; the loss shows what the first would.
# The script kept no global step. Rounding to float32 in one place may average out in
# the loss, so where it shows first depends on the weights.
ROUNDING = "A float64 model that computes in float32"
FAULTS = [
    entry
    for entry in mutations.MUTATIONS
    if entry.dtype == "float64"
    and entry.update_ops == "source"
    and entry.kind not in ("sample", "step count")
    and entry.title != ROUNDING
]
FEWEST_FAULTS = 10


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A function of a TensorFlow version that returns a trace made by it."""

    @functools.lru_cache(maxsize=None)
    def record(version):
        folder = tmp_path_factory.mktemp("script")
        here = helpers.ROOT / "compat_tests"
        shutil.copy(str(here / "legacy_script.py"), str(folder))
        source = helpers.ROOT / "tf1gan" / "trace.py"
        shutil.copy(str(source), str(folder / "gan_trace.py"))
        command = [
            PYTHONS[version],
            "-W",
            "ignore",
            "legacy_script.py",
            "trace",
        ]
        options = ["--float64", "--in_order", "--steps={}".format(STEPS)]
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
    """The trace by the oldest TensorFlow that is there."""
    return recorded("1.15.5" if TF115_PYTHON else tf.__version__)[0]


@pytest.fixture(autouse=True)
def untraced():
    # Without tracing a faulty trainer is made in a second.
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def _trainer():
    return training.Trainer(SPEC, "source", "float64")


@pytest.mark.parametrize("version", RECORDERS)
def test_a_recorded_script_replays_in_tf2(recorded, version):
    folder, printed = recorded(version)
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


def test_resynchronized_replay_finds_nothing_either(a_trace):
    assert replay(a_trace, _trainer(), resync=True).first is None


@pytest.mark.parametrize("entry", FAULTS, ids=lambda entry: entry.title)
def test_a_fault_is_named_where_it_shows_in_a_trace(
    entry, a_trace, monkeypatch
):
    faulty = entry.apply(monkeypatch, SPEC, "source", "float64")
    first = replay(a_trace, faulty, stop=True).first
    assert first is not None, "not noticed"
    kind, place = entry.kind, entry.place
    if kind == "activation":
        kind, place = "loss", entry.phase
    assert (first.kind, first.phase) == (kind, entry.phase), first
    assert first.name.startswith(place), first
    assert first.iteration == 1


def test_there_are_enough_faults_of_each_kind():
    assert len(FAULTS) >= FEWEST_FAULTS
    assert ROUNDING in [entry.title for entry in mutations.MUTATIONS]
    kinds = {entry.kind for entry in FAULTS}
    assert kinds >= {
        "feed",
        "loss",
        "gradient",
        "slot",
        "weight",
        "moving average",
    }


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
