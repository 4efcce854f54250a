"""Finds the activations behind a recorded loss, by what a port would give if changed.

A trace holds no activations. Where the losses differ, a port that can say what its
layers would give with other constants is asked for that: the one whose logits give the
recorded loss has the activations of the recorded script. For that its own loss must be
one of the usual kinds.
"""

import dataclasses
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np

from tf2gan.common.specs import DISCRIMINATOR
from tf2gan.migration import measure
from tf2gan.migration.evidence import Arrays, Evidence, Side
from tf2gan.migration.report import Trial

_SECOND = DISCRIMINATOR + "_1"

Logits = np.ndarray


def _cross_entropies(real: Logits, fake: Logits) -> Tuple[float, float]:
    of_real = measure.cross_entropy(real, 1.0)
    of_d = of_real + measure.cross_entropy(fake, 0.0)
    return of_d, measure.cross_entropy(fake, 1.0)


def _squares(real: Logits, fake: Logits) -> Tuple[float, float]:
    of_d = np.mean((real - 1) ** 2) + np.mean(fake**2)
    return of_d, np.mean((fake - 1) ** 2)


def _half_squares(real: Logits, fake: Logits) -> Tuple[float, float]:
    of_d, of_g = _squares(real, fake)
    return of_d / 2, of_g / 2


def _wasserstein(real: Logits, fake: Logits) -> Tuple[float, float]:
    return np.mean(fake) - np.mean(real), -np.mean(fake)


# The discriminator's loss and the generator's, of the logits of both calls.
LOSSES: Dict[str, Callable[[Logits, Logits], Tuple[float, float]]] = {
    "sigmoid cross entropy": _cross_entropies,
    "least squares": _squares,
    "half of least squares": _half_squares,
    "Wasserstein": _wasserstein,
}


def settle(
    evidence: Evidence, variants: List[Arrays], tolerance: float
) -> Optional[Trial]:
    """Gives both sides the activations whose loss is theirs, where there are such.

    Nothing is changed unless the candidate's own loss is found, as one of `LOSSES`.

    Args:
      evidence: of a phase whose losses differ and whose reference shows no activations.
      variants: the candidate's activations under various changes.
      tolerance: relative, of two losses that count as one.

    Returns:
      What was tried; None where the candidate shows no logits.
    """
    known = [evidence.candidate.activations, *variants]
    logits = [_logits(shown) for shown in known]
    if not any(logits):
        return None

    def found(side: Side, kind: str) -> Optional[Arrays]:
        for pair, shown in zip(logits, known):
            if pair and np.isclose(
                _loss(evidence, kind, pair),
                float(side.loss),
                rtol=tolerance,
                atol=0,
            ):
                return shown
        return None

    trial = Trial(
        evidence.iteration, evidence.phase, tuple(LOSSES), "", len(variants)
    )
    for kind in LOSSES:
        own = found(evidence.candidate, kind)
        if own is None:
            continue
        recorded = found(evidence.reference, kind)
        evidence.candidate.activations = own
        evidence.reference = dataclasses.replace(
            evidence.reference, activations=recorded or own
        )
        return dataclasses.replace(
            trial, own=kind, has_recorded=recorded is not None
        )
    return trial


def _logits(activations):
    """Returns those of real and of generated images, None without."""
    side = Side(activations=activations)
    pair = side.logits(DISCRIMINATOR), side.logits(_SECOND)
    return None if any(logits is None for logits in pair) else pair


def _loss(evidence, kind, logits):
    of_d, of_g = LOSSES[kind](*logits)
    return of_d if evidence.network == DISCRIMINATOR else of_g
