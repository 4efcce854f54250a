"""Finds the activations behind a recorded loss, by what a port would give if changed.

A trace holds no activations. Where the losses differ, a port that can say what its
layers would give with other constants is asked for that: the one whose logits give the
recorded loss has the activations of the recorded script.
"""

import dataclasses
from typing import Iterable, Tuple

from tf2gan.migration import gan_losses
from tf2gan.migration.evidence import Arrays, Evidence

# A trial explains the recorded loss if it comes so much nearer than no change does.
_NEARER = 10.0


def settle(
    evidence: Evidence, variants: Iterable[Arrays], tolerance: float
) -> Tuple[str, str]:
    """Gives both sides the activations whose loss is theirs, where there are such.

    Nothing is changed unless the candidate's own loss is one of `gan_losses`; the
    recorded one is then looked for as the same.

    Args:
      evidence: of a phase whose losses differ and whose reference shows no activations.
      variants: the candidate's activations under various changes.
      tolerance: relative, of two losses that count as one.

    Returns:
      The candidate's loss and the recorded one, empty where not recognised.
    """
    known = [evidence.candidate.activations, *variants]
    for shown in known:
        loss = gan_losses.recognised(
            evidence.network, evidence.candidate, shown
        )
        if loss is not None:
            recorded = _recorded(evidence, loss, shown, known, tolerance)
            evidence.candidate.activations = shown
            evidence.reference = dataclasses.replace(
                evidence.reference, activations=recorded
            )
            break
    found = [gan_losses.recognised(evidence.network, x) for x in evidence.sides]
    one, other = [str(loss or "") for loss in found]
    return other, one


def _recorded(evidence, loss, own, known, tolerance):
    """Returns the activations that give the recorded loss, else the candidate's."""

    def distance(shown):
        return loss.distance(evidence.reference, shown)

    nearest = min(known, key=distance)
    allowed = max(tolerance, *map(gan_losses.bound, evidence.sides))
    if distance(nearest) > min(allowed, distance(own) / _NEARER):
        return own
    return nearest
