"""What the layers compute, and the samples."""

import itertools

import numpy as np

from tf2gan.common.specs import GENERATOR
from tf2gan.migration import measure
from tf2gan.migration.evidence import Evidence, Side
from tf2gan.migration.fingerprints import common
from tf2gan.migration.fingerprints.common import Found

# Relative: of losses that rounding a slope to float32 sets apart, and of moments that
# another gradient does.
CLOSE, FAR = 1e-6, 1e-3
# Of two slopes, the least that they are apart; of a plain ReLU rounding is measured.
LEAST_SLOPE = 1e-4
SQUASHING = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "nothing": lambda x: x,
}
UNDONE = {
    "tanh": np.arctanh,
    "sigmoid": lambda x: np.log(x) - np.log1p(-x),
    "nothing": lambda x: x,
}


def batch_norm_epsilon(evidence: Evidence) -> Found:
    """Measures what is added to the variance of the batch."""
    for call, one, other in common.normalizers(evidence):
        if other[1] is not None:  # it may as well be the moving variance
            continue
        if one[0] and other[0] and common.apart(one[0], other[0], 0.05):
            yield (
                "batch-norm-epsilon",
                f"batch-norm epsilon {other[0]:.3g} instead of {one[0]:.3g}",
                f"that is what {call} adds to the variance of its inputs",
            )
            return


def frozen_inference(evidence: Evidence) -> Found:
    """Finds layers that divide by their moving variance in training."""
    for call, added in common.inferring(evidence):
        apart = "the reference's fit the variance of the batch"
        if evidence.borrowed:
            apart = "the reference's loss is another"
        yield (
            "frozen-inference",
            f"{call} normalizes with its moving averages in training",
            f"its outputs fit the moving variance + {added:.3g}; {apart}",
        )
        return


def leaky_relu_slope(evidence: Evidence) -> Found:
    """Measures the slope in front of dense layers."""
    one, other = (dict(measure.leaky_slopes(side)) for side in evidence.sides)
    for call in one:
        if abs(one[call] - other.get(call, one[call])) < LEAST_SLOPE:
            continue
        if common.apart(one[call], other[call], 1e-3):
            yield (
                "leaky-relu-slope",
                f"leaky ReLU slope {other[call]:.4g} instead of "
                f"{one[call]:.4g}",
                f"inputs and outputs of {call} fit {other[call]:.7g} "
                f"and {one[call]:.7g}",
            )
            return


def leaky_relu_at_zero(evidence: Evidence) -> Found:
    """Looks for gradients that differ in front of zeros alone."""
    found = list(_at_zero_by_gradients(evidence))
    yield from found or _at_zero_by_slots(evidence)


def _at_zero_by_gradients(evidence):
    if evidence.differs("activation") or evidence.differs("loss"):
        return
    if not evidence.differs("gradient"):
        return
    layers = _with_other_gradients(evidence)
    zeros = np.asarray(evidence.reference.activations[layers[-1]]) == 0
    if np.any(zeros):
        yield (
            "leaky-relu-at-zero",
            f"another gradient at exactly 0, behind {layers[-1]}",
            f"{np.sum(zeros)} of its outputs ({np.mean(zeros):.1%}) are exactly "
            "0; all activations and the loss agree, gradients up to that layer "
            "do not, those after it do",
        )


def _at_zero_by_slots(evidence):
    """Looks for a bias alone, of zeros where nothing enters, that learns otherwise."""
    if any(
        d.kind in ("activation", "loss") and d.relative > CLOSE
        for d in evidence.differences
    ):
        return
    far = {
        d.name.rpartition("/")[0]
        for d in evidence.differences
        if d.name.endswith("/Adam") and not d.noisy and d.relative > FAR
    }
    for name, outputs in evidence.reference.activations.items():
        zeros = np.asarray(outputs) == 0
        if far == {name + "/bias"} and np.any(zeros):
            yield (
                "leaky-relu-at-zero",
                f"another gradient at exactly 0, behind {name}",
                f"{np.sum(zeros)} of its outputs ({np.mean(zeros):.1%}) are exactly "
                "0; of all first moments only those of its bias are far apart",
            )


def float32_inside(evidence: Evidence) -> Found:
    """Looks for float64 tensors whose values are all float32 numbers."""
    for one, other, name in _first_unlike(evidence):
        if other.dtype != np.float64 or _is_float32(one):
            continue
        if _is_float32(other):
            yield (
                "float32-inside",
                f"{name} was rounded to float32",
                f"each of its {other.size} values is a float32 number; "
                "the reference's are not",
            )


def generator_output(evidence: Evidence) -> Found:
    """Undoes one squashing of the samples and applies another."""
    one, other = (side.samples for side in evidence.sides)
    if not evidence.differs("sample") or not common.same_shape(one, other):
        return
    one, other = (np.asarray(images, float) for images in (one, other))
    apart = {
        (right, wrong): np.max(
            np.abs(UNDONE[right](one) - UNDONE[wrong](other))
        )
        for right, wrong in itertools.permutations(UNDONE, 2)
    }
    # Near zero some are alike: the closest counts. NaN stands for no such value.
    right, wrong = min(
        apart, key=lambda pair: np.nan_to_num(apart[pair], nan=np.inf)
    )
    if apart[right, wrong] < 1e-3 * np.max(np.abs(one - other)):
        yield (
            "generator-output",
            f"the generator ends in {wrong} instead of {right}",
            "before it both have the same values, within "
            f"{apart[right, wrong]:.2g}",
        )


def sampling_statistics(evidence: Evidence) -> Found:
    """Compares the samples with what the generator gives in training."""
    if not evidence.differs("sample") or _weights_differ(evidence):
        return
    apart = [_from_training(side) for side in evidence.sides]
    if apart[1] < 1e-5 < 1e-2 < apart[0]:
        yield (
            "sampling-statistics",
            "samples are drawn with the statistics of their batch",
            f"they are those of training within {apart[1]:.2g}; the "
            f"reference's are {apart[0]:.2g} off",
        )


def _with_other_gradients(evidence):
    """Returns the layers whose variables have other gradients, in order."""
    return [
        name
        for name in evidence.reference.activations
        if evidence.differs("gradient", name + "/")
    ]


def _first_unlike(evidence):
    """Yields the first tensor that differs, if it is an activation or gradient."""
    first = next(d for d in evidence.differences if not d.allowed)
    for kind in ("activation", "gradient"):
        if first.kind == kind:
            pair = [getattr(s, kind + "s")[first.name] for s in evidence.sides]
            yield (*map(np.asarray, pair), first.name)


def _is_float32(values):
    return np.array_equal(values, values.astype(np.float32))


def _weights_differ(evidence):
    """Whether the generator moved, or differs: then its samples may differ too."""
    reference, candidate = evidence.sides
    names = [n for n in reference.after if n.startswith(GENERATOR + "/")]
    return evidence.differs("weight", GENERATOR) or any(
        not np.array_equal(side.before.get(n), side.after.get(n))
        for side in (reference, candidate)
        for n in names
        if "/moving_" not in n
    )


def _from_training(side: Side) -> float:
    """Returns how far the samples are from the generator's output in training."""
    last = side.logits(GENERATOR)
    if last is None or last.shape != np.shape(side.samples):
        return float("nan")
    return min(
        float(np.max(np.abs(squash(last) - side.samples)))
        for squash in SQUASHING.values()
    )
