"""The biased moving variance is named where n / (n - 1) fits, and nowhere else."""

import numpy as np
import pytest

from tf2gan.migration import lockstep
from tf2gan.migration.evidence import Evidence, Side
from tf2gan.migration.fingerprints.updates import biased_variance
from tf2gan.migration.report import Tolerance

BATCH, CHANNELS = 64, 5
LAYERS = ("generator/bn", "generator/bn_1")
# What TF1 and Keras 3 make of 1 - 0.999 in float64.
OF_TF1, OF_KERAS = float(np.float32(1 - 0.999)), 1 - 0.999
UNBIASED = BATCH / (BATCH - 1)


def _side(rate, factors, deviation=1.0, dtype=np.float64):
    """Returns a step of batch norms whose batch variance gets these factors."""
    random = np.random.RandomState(0)
    side = Side()
    for layer, factor in zip(LAYERS, factors):
        inputs = random.normal(0, deviation, [BATCH, CHANNELS])
        side.activations[layer.replace("bn", "dense")] = inputs
        side.activations[layer] = inputs
        for name, old, batch in (
            ("moving_mean", 0.0, inputs.mean(0)),
            ("moving_variance", 1.0, inputs.var(0) * factor),
        ):
            before = np.full(CHANNELS, old)
            side.before[f"{layer}/{name}"] = before.astype(dtype)
            after = before + rate * (batch - before)
            side.after[f"{layer}/{name}"] = after.astype(dtype)
    return side


def _found(reference, candidate, relative=1e-9):
    evidence = Evidence(1, "generator_step", reference, candidate)
    evidence.differences = [
        lockstep.compare(
            evidence,
            "moving average",
            name,
            (value, candidate.after[name]),
            False,
            Tolerance(relative=relative),
        )
        for name, value in reference.after.items()
    ]
    return list(biased_variance(evidence))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "one, other, finding",
    [
        (UNBIASED, 1, "biased moving variance (factor (n-1)/n)"),
        (1, UNBIASED, "unbiased moving variance (factor n/(n-1))"),
    ],
)
def test_the_factor_is_named_by_its_direction(one, other, finding, dtype):
    sides = [_side(0.01, [f, f], dtype=dtype) for f in (one, other)]
    [(hazard, found, _)] = _found(*sides)
    assert (hazard, found) == ("biased-variance", finding)


def test_a_layer_that_both_average_alike_does_not_hide_the_factor():
    """Of TF1's layers, those that are not fused average the biased variance."""
    reference = _side(OF_TF1, [UNBIASED, 1])
    [(hazard, _, measured)] = _found(reference, _side(OF_KERAS, [1, 1]))
    assert hazard == "biased-variance"
    assert measured.startswith("generator/bn/moving_variance")


def test_inputs_of_a_variance_that_looks_like_the_factor_are_no_factor():
    """Where the inputs differ, the variances do, by any factor."""
    reference, candidate = _side(0.01, [1, 1]), _side(0.01, [1, 1])
    other = _side(0.01, [1, 1], deviation=np.sqrt(UNBIASED))
    candidate.activations, candidate.after = other.activations, other.after
    assert _found(reference, candidate) == []


def test_another_rate_is_no_factor():
    """Of variances far below 1 the move is mostly that towards 0."""
    for deviation in (0.0015, 0.0017, 0.002, 0.01, 1.0):
        sides = [_side(rate, [1, 1], deviation) for rate in (OF_TF1, OF_KERAS)]
        assert _found(*sides, relative=1e-12) == []


@pytest.mark.parametrize("wrong", [1.5, UNBIASED**2, 1 + (UNBIASED - 1) / 2])
def test_another_factor_in_one_layer_speaks_against_it(wrong):
    sides = [_side(0.01, factors) for factors in ([1, 1], [UNBIASED, wrong])]
    assert _found(*sides) == []


def test_a_difference_that_is_allowed_is_no_cause():
    sides = [_side(0.01, [f, f]) for f in (1, UNBIASED)]
    # The means decide that there is something to explain.
    name = LAYERS[0] + "/moving_mean"
    sides[1].after[name] = sides[1].after[name] * 1.1
    assert _found(*sides, relative=1e-2) == []
