"""A replay pairs optimizers and step counts by what the recorded steps moved.

The scripts are those of `tiny_gan` with optimizers that keep state, and a global step
that only the generator's steps count, as in most scripts.
"""

import json

import helpers
import keras
import keras_port
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_gan

from tf2gan.common.errors import UserError
from tf2gan.migration import (
    keras_implementation,
    map_file,
    recorded_counters,
    traces,
)
from tf2gan.migration.replay import replay
from tf2gan.migration.variable_map import OptimizerPair
from tf2gan.optimizers import Adam

pytestmark = pytest.mark.usefixtures("untraced")

RATE, DECAY = 0.125, 0.875  # exact in float32, as TF1 takes them
EPSILON = 2.0**-20
MAPPING = {
    "inputs": tiny_gan.MAPPING["inputs"],
    "steps": tiny_gan.MAPPING["steps"],
}
FLAGS = [
    "--inputs=images=pixels,latent=noise",
    "--steps=d=discriminator_step,g=generator_step",
    f"--step={helpers.ROOT}/compat_tests/test_replay_optimizers.py:steps",
]


class Counting(tiny_gan.TinyGraph):
    """Its global step counts the generator's steps."""

    both = False

    def d_optimizer(self):
        return tf.train.AdamOptimizer(RATE, DECAY, DECAY, EPSILON)

    def build(self, latent):
        super().build(latent)
        step = tf.Variable(
            0, trainable=False, name="global_step", dtype=tf.int64
        )
        # The optimizer that counts is not the one that Keras has first.
        self.d_train = self.d_optimizer().minimize(
            self.d_loss,
            var_list=[self.d],
            global_step=step if self.both else None,
        )
        g_optimizer = tf.train.AdamOptimizer(RATE, DECAY, DECAY, EPSILON)
        self.g_train = g_optimizer.minimize(
            self.g_loss, var_list=[self.g], global_step=step
        )


class CountingBoth(Counting):
    """Its global step counts the steps of both."""

    both = True


class WithRmsProp(Counting):
    """RMSProp trains the discriminator, without momentum."""

    def d_optimizer(self):
        return tf.train.RMSPropOptimizer(RATE, DECAY, epsilon=EPSILON)


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """The folders of the traces, by script."""
    folder, found = tmp_path_factory.mktemp("traces"), {}
    for script in (Counting, CountingBoth, WithRmsProp):
        gan = script()
        with gan.session:
            gan.record(folder / script.__name__)
            gan.train(2)
        found[script] = str(folder / script.__name__)
    return found


def adam():
    return Adam(RATE, beta1=DECAY, beta2=DECAY, epsilon=EPSILON)


def models(discriminators=adam):
    """The discriminator comes first, so that names and order tell nothing."""
    made = keras_port.tiny_models()
    made["generator"].compile(adam())
    made["discriminator"].compile(discriminators())
    return {name: made[name] for name in ("discriminator", "generator")}


def rmsprop(momentum=0.0):
    return keras.optimizers.RMSprop(
        RATE, rho=DECAY, epsilon=EPSILON, momentum=momentum
    )


def rmsprop_models():
    return models(rmsprop)


def float32_models():
    made = {}
    for name, model in keras_port.tiny_models().items():
        inputs = keras.Input(model.input_shape[1:], dtype="float32")
        dense = keras.layers.Dense(
            model.output_shape[-1], use_bias=False, dtype="float32"
        )
        made[name] = keras.Model(inputs, dense(inputs))
    return made


def steps(networks, also=None):
    """Returns train steps; that of D may apply another optimizer, too."""
    shown = keras_port.tiny_steps(networks, rate=0.0)

    def train(name, images, latent):
        slopes = shown["gradients"](images, latent)
        loss = shown[name + "_step"](images, latent)
        model = networks[name]
        variables = model.trainable_variables
        model.optimizer.apply(
            [slopes[f"{name}/{v.path}"] for v in variables], variables
        )
        if also and name == "discriminator":
            networks[also].optimizer.iterations.assign_add(1)
        return loss

    return {
        "discriminator_step": lambda x, z: train("discriminator", x, z),
        "generator_step": lambda x, z: train("generator", x, z),
    }


def _port(folder, networks, given=None, **options):
    trace = traces.read(folder)
    return keras_implementation.KerasImplementation(
        networks, steps(networks, **options), trace, given
    ), trace


def _replayed(port, trace):
    return replay(trace.folder, port, variables=port.names(trace), **MAPPING)


def test_a_step_count_goes_to_the_optimizer_whose_phase_moves_it(traced):
    port, trace = _port(traced[Counting], models())
    assert port.optimizer_counts == {"global_step"}
    report = _replayed(port, trace)
    assert report.alike, report
    assert ("step count", "global_step") in report.history
    said = [note for note in port.notes if "by what its phase moves" in note]
    assert said


def test_a_step_count_of_both_is_that_of_neither(traced):
    port, trace = _port(traced[CountingBoth], models())
    assert port.optimizer_counts == frozenset()
    assert _replayed(port, trace).alike
    [warning] = [w for w in port.warnings if "global_step" in w]
    assert "they count the steps of no optimizer of the models" in warning


def test_a_count_that_the_tool_paired_is_no_shared_global_step(traced):
    port, trace = _port(traced[Counting], models(), also="generator")
    report = _replayed(port, trace)
    [count] = [t for t in report.tensors() if t.name == "global_step"]
    assert not count.allowed
    assert report.causes == []
    # Of a port that has counts of its own, the same difference has this cause.
    port.optimizer_counts = frozenset()
    causes = _replayed(port, trace).causes
    assert "shared-global-step" in {cause.hazard for cause in causes}


def test_momentum_that_rmsprop_does_not_use_is_not_compared(traced):
    port, trace = _port(traced[WithRmsProp], rmsprop_models())
    report = _replayed(port, trace)
    assert report.alike, report
    slots = {name for kind, name in report.history if kind == "slot"}
    assert "discriminator/w/RMSProp" in slots
    assert "discriminator/w/RMSProp_1" not in slots
    [warning] = [w for w in port.warnings if "RMSProp_1" in w]
    assert (
        "they are RMSProp's momentum, and that of the models has none"
        in warning
    )
    said = "RMSProp of discriminator: 2 slots, unknown steps"
    assert any(note.startswith(said) for note in port.notes)


def test_momentum_that_the_port_has_is_compared(traced):
    port, trace = _port(traced[WithRmsProp], models(lambda: rmsprop(0.5)))
    report = _replayed(port, trace)
    assert ("slot", "discriminator/w/RMSProp_1") in report.history
    assert not report.alike


def _map_of_a_checkpoint(folder, networks, dtype="float64"):
    """Returns the map of the trace as one of a checkpoint after 40 steps."""
    port, _ = _port(folder, networks)
    pairs = [
        {"tf1": p.tf1, "keras": p.keras, "shape": list(p.shape), "dtype": dtype}
        for p in port._map.pairs
    ]
    entries = [
        {
            "model": o.model,
            "family": o.family,
            "steps": 40,
            "slots": [vars(slot) for slot in o.slots],
            "beta1_power": o.beta1_power,
            "beta2_power": o.beta2_power,
        }
        for o in port._map.optimizers
    ]
    return json.dumps({"version": 1, "variables": pairs, "optimizers": entries})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_map_of_a_checkpoint_serves_for_a_trace(dtype, traced, tmp_path):
    """Steps and types are those of the trace."""
    path = tmp_path / "map.json"
    networks = models()
    path.write_text(_map_of_a_checkpoint(traced[Counting], networks, dtype))
    given = map_file.read_map(str(path))
    assert {o.steps for o in given.optimizers} == {40}
    port, trace = _port(traced[Counting], networks, given)
    assert not any("40" in note for note in port.notes)
    assert not any("was it shared" in note for note in port.notes)
    assert _replayed(port, trace).alike


class Several(Counting):
    """It takes several steps of the discriminator for one of the generator."""

    d_steps = 1
    phases = "dg"

    def train(self, steps=2):
        for call in range(steps):
            for phase in self.phases:
                repeats = self.d_steps if phase == "d" else 1
                for repeat in range(repeats):
                    self._train(phase, 10 * call + repeat)

    def _train(self, phase, seed):
        train = self.d_train if phase == "d" else self.g_train
        self.session.run(train, self.feed(seed))


class SeveralCountingBoth(Several):
    """Its global step counts the steps of both."""

    both = True


def _record(folder, script, every, d_steps=1, phases="dg", steps=3):
    gan = script()
    gan.d_steps, gan.phases = d_steps, phases
    with gan.session:
        gan.record(folder, every=every, calls=100)
        gan.train(steps)
    return str(folder)


def _exchanged(port):
    """Makes a port show each network's powers of beta as the other's."""
    state = port.state
    other = {"": "_1", "_1": ""}
    names = {
        f"beta{beta}_power{end}": f"beta{beta}_power{other[end]}"
        for beta in (1, 2)
        for end in other
    }
    port.state = lambda: {names.get(n, n): v for n, v in state().items()}


OFTEN = [(every, d_steps) for every in (1, 2, 5) for d_steps in (1, 2, 5)]


@pytest.mark.parametrize("script", [Several, SeveralCountingBoth])
@pytest.mark.parametrize("every, d_steps", OFTEN)
def test_counters_are_told_apart_between_seldom_recorded_states(
    script, every, d_steps, tmp_path
):
    folder = _record(tmp_path / "trace", script, every, d_steps)
    port, trace = _port(folder, models())
    report = _replayed(port, trace)
    assert report.alike, report
    compared = {name for _, name in report.history}
    powers = {f"beta{b}_power{end}" for b in (1, 2) for end in ("", "_1")}
    assert powers <= compared
    assert ("global_step" in compared) == (not script.both)
    _exchanged(port)
    assert not _replayed(port, trace).alike


@pytest.mark.parametrize("script", [Several, SeveralCountingBoth])
@pytest.mark.parametrize("phase", ["d", "g"])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_phase_that_was_never_recorded_takes_what_is_left(
    script, phase, every, tmp_path
):
    folder = _record(tmp_path / "trace", script, every, 5, phase)
    port, trace = _port(folder, models())
    report = _replayed(port, trace)
    # It is never called alike, as half of the steps were never compared.
    assert report.first is None and len(report.unrecorded) == 1, report
    held = {o.model: o.beta2_power for o in port._map.optimizers}
    assert held == {
        "discriminator": "beta2_power",
        "generator": "beta2_power_1",
    }
    if not script.both:
        assert ("step count", "global_step") in report.history
    _exchanged(port)
    assert _replayed(port, trace).first is not None


@pytest.mark.parametrize(
    "calls, count, moving, resting",
    [
        ("dg", 1, "", ""),  # either
        ("dg", 2, "dg", ""),
        ("dg", 0, "", "dg"),
        ("ddg", 1, "g", "d"),
        ("ddg", 4, "", ""),  # it does not count calls
    ],
)
def test_a_move_is_evidence_only_where_one_set_of_phases_explains_it(
    calls, count, moving, resting
):
    counter = recorded_counters._Steps(
        "step", {"step": np.int64(7)}, ["d", "g"]
    )
    for number, phase in enumerate(calls, start=1):
        shown = {"step": np.int64(7 + count)} if number == len(calls) else {}
        counter.follow(
            traces.Call(number, phase, np.zeros(()), {}, {}, shown, {})
        )
    assert frozenset.intersection(*counter.possible) == set(moving)
    assert set("dg") - frozenset.union(*counter.possible) == set(resting)


class WithAnotherAdam(Several):
    """It has an Adam that no phase runs."""

    def build(self, latent):
        super().build(latent)
        other = tf.Variable(1.0, name="other")
        tf.train.AdamOptimizer(RATE, DECAY, DECAY, EPSILON).minimize(
            tf.square(other), var_list=[other]
        )


def test_powers_that_several_may_have_are_not_compared(tmp_path):
    folder = _record(tmp_path / "trace", WithAnotherAdam, 1, 1, "d")
    made = models()
    # The generator comes first, and is given what the discriminator's phase moves.
    networks = {name: made[name] for name in ("generator", "discriminator")}
    port, trace = _port(folder, networks)
    report = _replayed(port, trace)
    assert report.first is None, report
    held = {o.model: o.powers for o in port._map.optimizers}
    assert held == {
        "discriminator": ("beta1_power", "beta2_power"),
        "generator": (None, None),
    }
    assert any("beta2_power_1" in warning for warning in port.warnings)


def test_a_refusal_does_not_advise_what_no_trace_has(tmp_path):
    gan = Several()
    gan.d_steps = 2
    with gan.session:
        gan.train(1)
        gan.record(tmp_path / "trace")
        gan.train(1)
    with pytest.raises(UserError, match="which powers of beta") as refused:
        _port(str(tmp_path / "trace"), models())
    assert ".meta" not in str(refused.value)
    assert "--name_map=FILE" in str(refused.value)
    unlike = models(lambda: rmsprop(0.5))
    with pytest.raises(UserError, match="no slots of RMSProp") as refused:
        _port(str(tmp_path / "trace"), unlike)
    assert "the map's" not in str(refused.value)


def test_steps_that_no_trace_tells_are_unknown():
    pair = OptimizerPair("generator", "RMSProp", steps=40)
    found = keras_implementation.recorded_optimizers.counted(pair, {})
    assert found.steps is None


@pytest.fixture
def call(capfd):
    """Runs `compare.py replay` on this file's models."""

    def run(folder, function, *flags):
        capfd.readouterr()
        here = f"--keras_model={helpers.ROOT}/compat_tests/test_replay_optimizers.py"
        keras.backend.clear_session()
        status = helpers.call_script(
            "compare", "replay", folder, *FLAGS, f"{here}:{function}", *flags
        )
        return helpers.Outcome(status, *capfd.readouterr())

    return run


def test_a_report_gives_reasons_for_what_is_not_compared(call, traced):
    done = call(traced[Counting], "models")
    assert (done.status, done.err) == (0, ""), done.out
    assert "update_ops" not in done.out
    assert "not compared: a trace has none" in done.out
    assert "not compared: the port shows none" in done.out


def test_the_flag_that_is_wrong_is_the_one_that_is_named(
    call, traced, tmp_path
):
    done = call(traced[Counting], "float32_models")
    assert done.err.startswith("error: --keras_model='"), done.err
    assert "set_dtype_policy('float64')" in done.err
    path = tmp_path / "map.json"
    path.write_text('{"version": 2}')
    done = call(traced[Counting], "models", f"--name_map={path}")
    assert f"cannot use the map --name_map='{path}'" in done.err
    path.write_text('{"version": 1, "variables": []}')
    done = call(traced[Counting], "models", f"--name_map={path}")
    assert f"with --name_map='{path}': 2 variables have no partner" in done.err
    assert "--map=" not in done.err and "checkpoint it" not in done.err
    for name, said in (
        ("nowhere", "which is not in the trace"),
        ("generator", "but the models have 'generator/w'"),
    ):
        path.write_text(json.dumps({name: None}))
        done = call(traced[Counting], "models", f"--name_map={path}")
        assert f"null for '{name}', {said}" in done.err


def test_a_map_of_nulls_leaves_step_counts_out(call, traced, tmp_path):
    path = tmp_path / "map.json"
    path.write_text('{"global_step": null, "updates": null}')
    done = call(traced[Counting], "models", f"--name_map={path}")
    assert (done.status, done.err) == (0, ""), done.out
    assert "step counts                                not compared" in done.out
