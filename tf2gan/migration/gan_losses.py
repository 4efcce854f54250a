"""The usual losses of GANs as functions of logits, to tell which one a step computes.

A loss is recognised if it gives a step's number: on the logits of the real images and
of the generated ones, as mean over the batch, and maybe halved or negated.
"""

import dataclasses
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np

from tf2gan.common.specs import DISCRIMINATOR, GENERATOR
from tf2gan.migration import measure
from tf2gan.migration.evidence import Arrays, Side

_SECOND = DISCRIMINATOR + "_1"
# Least squares with 1/2 as in the paper or without, means of both terms or sums; and
# what scripts maximize.
FACTORS = (1.0, 0.5, -1.0)
# Of a loss, relative to its terms. Kernels that sum in another order are 1e-6 apart in
# float32, batch norm makes it more.
BOUNDS = {"float32": 1e-5, "float64": 1e-9}

# Of real and of generated images, both [B, 1]; the terms, each to be averaged.
Terms = Callable[[np.ndarray, np.ndarray], Tuple[np.ndarray, ...]]


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of one network, as a function of the discriminator's logits.

    Attributes:
      kind: its usual name.
      labels: what it asks for, if it has labels.
      source: where it comes from.
      terms: returns what is averaged over the batch, and added.
      factor: of the whole.
    """

    kind: str
    labels: str
    source: str
    terms: Terms
    factor: float = 1.0

    def __str__(self) -> str:
        return f"{self.kind}{self.labels and ' against ' + self.labels}"

    def of(self, shown: Arrays) -> float:
        """Returns its value on what the layers gave."""
        return self.factor * sum(map(np.mean, self.terms(*_logits(shown))))

    def distance(self, side: Side, shown: Arrays) -> float:
        """Returns how far a side's loss is from it, as a share of its terms.

        A loss of Wasserstein is a small difference of large terms. Infinite where it
        has no value, the logits are not shown, or the side's loss is no number.
        """
        logits = _logits(shown)
        if np.ndim(side.loss) or any(values is None for values in logits):
            return np.inf
        with np.errstate(all="ignore"):
            terms = [self.factor * term for term in self.terms(*logits)]
            size = sum(np.mean(np.abs(term)) for term in terms)
            apart = abs(float(side.loss) - sum(map(np.mean, terms))) / size
        return float(apart) if np.isfinite(apart) else np.inf


def _cross_entropy(logits, label):
    return measure.softplus(logits) - label * logits


def _square(logits, label):
    return (logits - label) ** 2


def _hinge(logits):
    return np.maximum(1 - logits, 0)


def _two_labels(kind, source, each, labels):
    return [
        Loss(
            kind,
            f"{one:g} and {other:g}",
            source,
            lambda real, fake, a=one, b=other: (each(real, a), each(fake, b)),
        )
        for one, other in labels
    ]


def _one_label(kind, source, each, labels):
    return [
        Loss(
            kind,
            f"{label:g}",
            source,
            lambda real, fake, a=label: (each(fake, a),),
        )
        for label in labels
    ]


_CROSS_ENTROPY = ("sigmoid cross entropy", "Goodfellow et al. 2014")
_LEAST_SQUARES = ("least squares", "Mao et al. 2017")
_WASSERSTEIN = ("Wasserstein", "", "Arjovsky et al. 2017")
_HINGE = ("hinge", "", "Lim and Ye 2017, Miyato et al. 2018")
# Labels of 0.9 are the smoothing of Salimans et al. 2016; flipped ones are a fault or
# somebody's habit.
_USUAL = {
    DISCRIMINATOR: [
        *_two_labels(
            *_CROSS_ENTROPY,
            _cross_entropy,
            [(1, 0), (0.9, 0), (0.9, 0.1), (0, 1)],
        ),
        *_two_labels(
            *_LEAST_SQUARES,
            _square,
            [(1, 0), (0.9, 0), (0.9, 0.1), (1, -1), (0, 1)],
        ),
        Loss(*_WASSERSTEIN, lambda real, fake: (-real, fake)),
        Loss(*_HINGE, lambda real, fake: (_hinge(real), _hinge(-fake))),
    ],
    GENERATOR: [
        *_one_label(*_CROSS_ENTROPY, _cross_entropy, [1, 0.9, 0]),
        *_one_label(*_LEAST_SQUARES, _square, [1, 0.9, 0]),
        Loss("Wasserstein or hinge", "", "as above", lambda _, fake: (-fake,)),
    ],
}
# The minimax loss of the generator, log(1 - D), is the negated one against 0.
LOSSES: Dict[str, List[Loss]] = {
    network: [
        dataclasses.replace(loss, factor=factor)
        for loss in losses
        for factor in FACTORS
    ]
    for network, losses in _USUAL.items()
}


def tried(network: str) -> str:
    """Returns what is known of a network's losses, to be read."""
    kinds = list(dict.fromkeys(loss.kind for loss in _USUAL.get(network, [])))
    return f"{', '.join(kinds)} (also halved or negated)"


def bound(side: Side) -> float:
    """Returns how far from its own formula a side's loss may be."""
    values = [side.loss, *side.activations.values()]
    single = any(np.asarray(value).dtype == np.float32 for value in values)
    return BOUNDS["float32" if single else "float64"]


def recognised(
    network: str, side: Side, shown: Optional[Arrays] = None
) -> Optional[Loss]:
    """Returns the loss that a side's step computes, None if it is none of those known.

    Args:
      network: whose step it is.
      side: that has the loss.
      shown: what the layers gave, the side's own activations if None.
    """
    shown = side.activations if shown is None else shown
    known = LOSSES.get(network, [])
    near = min(known, key=lambda x: x.distance(side, shown), default=None)
    if near is None or near.distance(side, shown) > bound(side):
        return None
    return near


def _logits(shown):
    side = Side(activations=shown)
    return side.logits(DISCRIMINATOR), side.logits(_SECOND)
