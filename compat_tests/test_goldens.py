"""Ground truth: what the original's graph computes on real TensorFlow 1.15.5.

The goldens hold it for everybody. With TF115_PYTHON, a Python 3.7 with this package
installed, they are made again, and tf1gan trains there beside the original.
"""

import dataclasses
import functools
import json
import subprocess
from pathlib import Path

import fingerprints
import helpers
import numpy as np
import pytest

from tf1gan import training as training1
from tf2gan.common import specs

on_tf115 = pytest.mark.skipif(
    not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115
)
HERE = Path(__file__).resolve().parent
GOLDENS = HERE / "goldens"
CASES = [
    (policy, dtype)
    for policy in specs.UPDATE_POLICIES
    for dtype in sorted(fingerprints.STEPS)
]
ORIGIN = ("tensorflow", "update_ops", "dtype", "seed", "batch_size", "steps")

# Seen over 10 iterations: losses, weights, slots and gradients 2e-12, moving means
# 3e-10 (they follow the noisy biases), noisy biases 2e-10, their gradients 3e-13.
FLOAT64 = {
    "loss": 1e-9,
    "weight": 1e-9,
    "slot": 1e-9,
    "gradient": 1e-9,
    "moving mean": 1e-8,
    "moving variance": 1e-9,
    "step": 0,
    "noisy bias": 1e-8,
    "noisy gradient": 1e-11,
}
# Over 30, losses 1e-10, slots 7e-11, noisy gradients 1e-11, and the gradient of the
# discriminator's last bias, a sum that by then nearly cancels, 8e-9.
FLOAT64_LONG = dict(FLOAT64, gradient=1e-7, **{"noisy gradient": 1e-9})
# Seen: losses 1e-5, averages 1e-7. The rest is Adam's steps out of rounding noise.
FLOAT32 = {"loss": 1e-4, "moving variance": 1e-5, "step": 0}
# Before the first step; seen: 1e-5, 5e-6.
FLOAT32_START = dict(FLOAT32, gradient=1e-3, **{"noisy gradient": 1e-4})
# One thread gives the same bits again on the same machine, and an exact zero was
# seen; another processor may take other paths through the C library.
REMADE = dict.fromkeys(FLOAT64, 1e-10)
# On one machine it was the same bits.
SOURCE = dict(dict.fromkeys(FLOAT64, 1e-10), step=0)


def _load(update_ops, dtype):
    return fingerprints.load(_path(GOLDENS, update_ops, dtype))


def _path(folder, update_ops, dtype):
    return Path(folder) / "{}_{}.npz".format(update_ops, dtype)


def _train(side, update_ops, dtype, steps=None, spec=None):
    spec = spec or specs.get_spec("dcgan28")
    if side == "tf1":
        trainer = training1.Trainer(spec, update_ops, dtype)
    else:
        from tf2gan import training as training2

        trainer = training2.Trainer(spec, update_ops, dtype)
    return fingerprints.record(trainer, trainer.gradients, dtype, steps)


_trained = functools.lru_cache(maxsize=None)(_train)  # tests share these runs


def test_there_is_a_golden_for_each_case_and_no_other():
    paths = sorted(_path(GOLDENS, *case) for case in CASES)
    assert sorted(GOLDENS.iterdir()) == paths
    assert sum(path.stat().st_size for path in paths) < 200e3


@pytest.mark.parametrize("update_ops, dtype", CASES)
def test_a_golden_says_where_it_comes_from(update_ops, dtype):
    golden = _load(update_ops, dtype)
    assert {name: golden[name].item() for name in ORIGIN} == {
        "tensorflow": "1.15.5",
        "update_ops": update_ops,
        "dtype": dtype,
        "seed": fingerprints.SEED,
        "batch_size": fingerprints.BATCH_SIZE,
        "steps": fingerprints.STEPS[dtype],
    }
    assert golden["losses"].shape == (fingerprints.STEPS[dtype], 2)
    variables = 36 + 2 * 26 + 4 + 2  # networks, slots, powers, steps
    snapshots = sum(
        step <= fingerprints.STEPS[dtype] for step in fingerprints.SNAPSHOTS
    )
    assert golden["state_names"].shape == (variables,)
    assert golden["states"].shape[:2] == (snapshots, variables)
    assert golden["gradients"].shape[:2] == (snapshots, 26)


def test_the_policy_shows_in_moving_averages_only():
    source, scoped = [_load(p, "float64") for p in specs.UPDATE_POLICIES]
    worst = fingerprints.largest(fingerprints.differences(source, scoped))
    differing = {kind for kind, (error, _) in worst.items() if error}
    assert differing == {"moving mean", "moving variance"}


@pytest.mark.parametrize("side", helpers.SIDES)
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_float64_training_keeps_to_the_golden(side, update_ops):
    actual = _trained(side, update_ops, "float64", 10)
    fingerprints.assert_alike(_load(update_ops, "float64"), actual, FLOAT64)


@pytest.mark.slow
@pytest.mark.parametrize("side", helpers.SIDES)
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_longer_float64_training_keeps_to_the_golden(side, update_ops):
    actual = _train(side, update_ops, "float64")
    golden = _load(update_ops, "float64")
    assert actual["states"].shape == golden["states"].shape
    fingerprints.assert_alike(golden, actual, FLOAT64_LONG)


@pytest.mark.parametrize("side", helpers.SIDES)
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_float32_training_starts_as_the_golden_does(side, update_ops):
    """Float32 alone goes through the fused kernel and its corrected variance."""
    golden, actual = (
        _load(update_ops, "float32"),
        _train(side, update_ops, "float32"),
    )
    fingerprints.assert_alike(golden, actual, FLOAT32)
    first = dict(actual, gradients=actual["gradients"][:1])
    fingerprints.assert_alike(golden, first, FLOAT32_START)


def _row(record, what, name):
    return list(record[what + "_names"]).index(name)


def _tamper_with_loss(golden):
    golden["losses"][4, 1] *= 1 + 1e-8


def _tamper(what, name, change):
    def tamper(golden):
        golden[what + "s"][3, _row(golden, what, name)] += change

    return tamper


# After ten iterations, by three to ten times the tolerance.
TAMPERINGS = {
    "loss": _tamper_with_loss,
    "weight": _tamper("state", "generator/dense/kernel", 1e-9),
    "slot": _tamper("state", "discriminator/conv2d/kernel/Adam", 1e-8),
    "gradient": _tamper("gradient", "generator/conv2d_transpose/kernel", 1e-8),
    "moving mean": _tamper(
        "state", "discriminator/batch_normalization/moving_mean", 1e-7
    ),
    "moving variance": _tamper(
        "state", "generator/batch_normalization/moving_variance", 1e-8
    ),
    "step": _tamper("state", "G_global_step", 1),
    "noisy bias": _tamper("state", "generator/conv2d_transpose/bias", 1e-7),
    "noisy gradient": _tamper(
        "gradient", "generator/conv2d_transpose/bias", 1e-10
    ),
}


@pytest.mark.parametrize("kind", sorted(FLOAT64))
def test_a_golden_that_was_tampered_with_is_noticed(kind, tmp_path):
    golden = _load("source", "float64")
    TAMPERINGS[kind](golden)
    np.savez(str(tmp_path / "golden.npz"), **golden)
    tampered = fingerprints.load(tmp_path / "golden.npz")
    actual = _trained("tf1", "source", "float64", 10)
    with pytest.raises(AssertionError, match="^" + kind + " differs"):
        fingerprints.assert_alike(tampered, actual, FLOAT64)


def test_a_value_that_is_not_a_number_is_noticed():
    golden = _load("source", "float64")
    _tamper("state", "generator/dense/kernel", np.nan)(golden)
    with pytest.raises(AssertionError, match="weight differs"):
        fingerprints.assert_alike(_load("source", "float64"), golden, FLOAT64)


def test_a_variable_of_another_name_is_noticed():
    golden = _load("source", "float64")
    golden["state_names"][0] = "beta1_power"
    golden["state_names"][1] = "D_global_steps"
    with pytest.raises(ValueError, match="D_global_steps"):
        fingerprints.assert_alike(_load("source", "float64"), golden, FLOAT64)


@pytest.mark.parametrize(
    "constant, value, kind",
    [
        ("batch_norm_momentum", 0.9, "moving mean"),
        (
            "adam_epsilon",
            1e-7,
            "loss",
        ),  # the generator's, after the first D step
    ],
)
def test_another_constant_is_noticed(constant, value, kind):
    spec = dataclasses.replace(specs.get_spec("dcgan28"), **{constant: value})
    actual = _train("tf1", "source", "float64", 1, spec)
    with pytest.raises(AssertionError, match="^" + kind):
        fingerprints.assert_alike(_load("source", "float64"), actual, FLOAT64)


def _run_on_tf115(script, *arguments):
    done = subprocess.run(
        [helpers.TF115_PYTHON, "-W", "ignore", str(HERE / script), *arguments],
        env=helpers.environment(),
        capture_output=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    folder = tmp_path_factory.mktemp("goldens")
    _run_on_tf115("make_goldens.py", "--output_dir={}".format(folder))
    return folder


@on_tf115
@pytest.mark.slow
@pytest.mark.parametrize("update_ops, dtype", CASES)
def test_goldens_made_again_are_the_same(remade, update_ops, dtype):
    golden = _load(update_ops, dtype)
    again = fingerprints.load(_path(remade, update_ops, dtype))
    assert set(golden) == set(again)
    for name in ORIGIN:
        assert golden[name] == again[name], name
    assert golden["states"].shape == again["states"].shape
    tolerances = REMADE if dtype == "float64" else FLOAT32
    fingerprints.assert_alike(golden, again, tolerances)


def _compare_on_tf115(update_ops, steps, *arguments):
    report = json.loads(
        _run_on_tf115(
            "compare_source.py",
            "--update_ops=" + update_ops,
            "--steps={}".format(steps),
            *arguments,
        )
    )
    print(json.dumps(report["largest"], indent=1))
    return report


def _assert_within(worst, tolerances):
    assert set(worst) == set(tolerances)
    for kind, (error, where) in worst.items():
        assert error <= tolerances[kind], (kind, where)


@on_tf115
@pytest.mark.slow
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_tf1gan_is_the_original_on_tf115(update_ops):
    report = _compare_on_tf115(update_ops, 100)
    assert report["tensorflow"] == "1.15.5"
    assert len(report["source"]["networks"]) == 36
    assert report["port"] == report["source"]
    _assert_within(report["largest"], SOURCE)


@on_tf115
@pytest.mark.slow
@pytest.mark.parametrize(
    "constant, value, kind",
    [
        ("adam_epsilon", 1.1e-8, "slot"),
        ("batch_norm_momentum", 0.9901, "moving mean"),
        ("leaky_relu_slope", 0.2000001, "gradient"),
    ],
)
def test_tf1gan_with_another_constant_is_not_the_original(
    constant, value, kind
):
    fault = "--fault={}={}".format(constant, value)
    report = _compare_on_tf115("source", 1, fault)
    error, where = report["largest"][kind]
    assert error > SOURCE[kind], where
