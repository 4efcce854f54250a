"""Finds the activations behind a recorded loss, by what a port would give if changed.

A trace holds no activations. Where the losses differ, a port that can say what its
layers would give with other constants is asked for that: the one whose logits give the
recorded loss has the activations of the recorded script.
"""

import dataclasses
from typing import Iterable, Optional

import numpy as np

from tf2gan.common.specs import DISCRIMINATOR
from tf2gan.migration import measure
from tf2gan.migration.evidence import Arrays, Evidence, Side

_SECOND = DISCRIMINATOR + "_1"


def settle(
    evidence: Evidence, variants: Iterable[Arrays], tolerance: float
) -> None:
    """Gives both sides the activations whose loss is theirs, where there are such.

    Nothing is changed unless the candidate's own loss is found, as the sigmoid cross
    entropy of logits.

    Args:
      evidence: of a phase whose losses differ and whose reference shows no activations.
      variants: the candidate's activations under various changes.
      tolerance: relative, of two losses that count as one.
    """
    known = [evidence.candidate.activations, *variants]
    losses = [_loss(evidence.network, shown) for shown in known]

    def found(side: Side) -> Optional[Arrays]:
        for loss, shown in zip(losses, known):
            if loss is not None and np.isclose(
                loss, float(side.loss), rtol=tolerance, atol=0
            ):
                return shown
        return None

    own, recorded = found(evidence.candidate), found(evidence.reference)
    if own is None:
        return
    evidence.candidate.activations = own
    evidence.reference = dataclasses.replace(
        evidence.reference, activations=recorded or own
    )


def _loss(network, activations):
    """Returns the cross entropy that a network's step asks for, None if unknown."""
    side = Side(activations=activations)
    real, fake = side.logits(DISCRIMINATOR), side.logits(_SECOND)
    if real is None or fake is None:
        return None
    if network == DISCRIMINATOR:
        of_real = measure.cross_entropy(real, 1.0)
        return of_real + measure.cross_entropy(fake, 0.0)
    return measure.cross_entropy(fake, 1.0)
