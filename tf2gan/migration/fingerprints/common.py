"""What fingerprints of several kinds measure.

A fingerprint takes an `Evidence` and yields what it found: the key of a hazard, the
finding with the values of both sides, and by what it was recognised. It measures both
sides and yields nothing unless the measurement fits them: a difference alone is no
evidence of its cause.
"""

import math
from typing import Any, Iterator, Set, Tuple

import numpy as np

from tf2gan.migration import measure
from tf2gan.migration.evidence import Evidence

# hazard, finding, measured
Found = Iterator[Tuple[str, str, str]]


def same_shape(one: Any, other: Any) -> bool:
    """Whether both are arrays, of one shape."""
    return (
        one is not None
        and other is not None
        and np.shape(one) == np.shape(other)
    )


def apart(one: float, other: float, share: float) -> bool:
    """Whether two numbers differ by more than that share of the larger."""
    return abs(one - other) > share * max(abs(one), abs(other))


def own_scopes(evidence: Evidence) -> Set[str]:
    """Returns the scopes of the network that a phase trains.

    A script may call it otherwise than `evidence.network`: it is what moves there.
    """
    before, after = evidence.reference.before, evidence.reference.after
    moved = {
        d.name.partition("/")[0]
        for d in evidence.differences
        if d.kind == "weight"
        and d.name in before
        and d.name in after
        and not np.array_equal(before[d.name], after[d.name])
    }
    return moved | {evidence.network}


def normalizers(
    evidence: Evidence,
) -> Iterator[Tuple[str, Tuple, Tuple]]:
    """Yields a call and what both sides' batch norm adds to either variance."""
    others = {
        call: (layer, inputs)
        for call, layer, inputs in measure.normalizations(evidence.candidate)
    }
    for call, layer, inputs in measure.normalizations(evidence.reference):
        if call in others:
            yield (
                call,
                measure.batch_norm_epsilon(
                    evidence.reference, call, layer, inputs
                ),
                measure.batch_norm_epsilon(
                    evidence.candidate, call, *others[call]
                ),
            )


def inferring(evidence: Evidence) -> Iterator[Tuple[str, float]]:
    """Yields calls that only the candidate makes for inference, and its epsilon.

    Of a recording without activations, it is the loss that tells that the reference
    does not.
    """
    for call, one, other in normalizers(evidence):
        if other[0] is not None or other[1] is None:
            continue
        if evidence.borrowed and not evidence.differs("loss"):
            continue
        if evidence.borrowed or one[0] is not None:
            yield call, other[1]


def steps_per_step(evidence: Evidence) -> int:
    """Returns how many steps the candidate takes for one of the reference."""
    one, other = (measure.powers(side) for side in evidence.sides)
    counts = {
        round(math.log(other[n][1] / other[n][0]) / math.log(b / a), 3)
        for n, (a, b) in one.items()
        if n in other and min(other[n] + (a, b)) > 0
    }
    count = counts.pop() if len(counts) == 1 else 1
    return int(count) if count == int(count) and len(one) > 1 else 1
