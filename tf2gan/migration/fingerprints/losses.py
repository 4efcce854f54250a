"""What the losses ask for."""

import numpy as np

from tf2gan.common.specs import DISCRIMINATOR, GENERATOR
from tf2gan.migration import gan_losses, measure
from tf2gan.migration.evidence import Evidence
from tf2gan.migration.fingerprints import common
from tf2gan.migration.fingerprints.common import Found


def loss_factor(evidence: Evidence) -> Found:
    """Looks for losses that are a plain multiple of one another."""
    if not evidence.differs("loss"):
        return
    ratio = float(evidence.candidate.loss / evidence.reference.loss)
    batch = _batch_size(evidence.reference)
    measured = f"the loss is {ratio:.9g} times the reference's"
    tight = max(1e-6, gan_losses.bound(evidence.candidate))
    of_batch = [batch, 1 / batch] if batch > 1 else []
    for factor in [*of_batch, 0.5, 2, -1]:
        if not abs(ratio / factor - 1) <= tight:  # nor if it is no number
            continue
        if factor == batch:
            said = f"the loss is summed over the batch: factor {batch}"
            yield "loss-summed", said, measured
        else:
            yield "loss-factor", f"the loss has the factor {factor:g}", measured
        return


def discriminator_labels(evidence: Evidence) -> Found:
    """Solves for the labels of real and generated images."""
    if evidence.network != DISCRIMINATOR or not evidence.differs("loss"):
        return
    one, other = (_labels_of(side) for side in evidence.sides)
    if not one or not other or not np.allclose(one, (1, 0), atol=1e-4):
        return
    steps = np.array(other) * 20  # people write 0.9 or 0.95, not 0.9137
    if np.any(np.abs(steps - np.round(steps)) > 1e-3):
        return
    real, fake = np.round(steps) / 20 + 0.0  # without a negative zero
    measured = (
        "loss and gradient of the last bias fit the labels "
        f"{other[0]:.6f} and {other[1]:.6f}"
    )
    if (real, fake) == (0, 1):
        yield (
            "label-flipped",
            "the discriminator's labels are flipped",
            measured,
        )
    elif 0.5 < real <= 1.2 and 0 <= fake < 0.5 and (real, fake) != (1, 0):
        yield (
            "label-smoothed",
            f"labels {real:g} for real and {fake:g} for generated images "
            "instead of 1 and 0",
            measured,
        )


def generator_label(evidence: Evidence) -> Found:
    """Solves for the label in the generator's loss."""
    if evidence.network != GENERATOR or not evidence.differs("loss"):
        return
    found = []
    for side in evidence.sides:
        fake = side.logits(DISCRIMINATOR + "_1")
        if fake is None:
            return
        open_ = np.mean(measure.softplus(fake)) - float(side.loss)
        found.append(open_ / np.mean(fake))
    if abs(found[0] - 1) < 1e-4 and abs(found[1]) < 1e-4:
        yield (
            "label-flipped",
            "the generator's label is flipped: it asks for 0",
            f"its loss fits the label 0 within {abs(found[1]):.2g}, the "
            f"reference's 1 within {abs(found[0] - 1):.2g}",
        )


def loss_of_probabilities(evidence: Evidence) -> Found:
    """Looks for the loss that clipped probabilities give."""
    if evidence.network != DISCRIMINATOR or not evidence.differs("loss"):
        return
    sums = [_discriminator_losses(side) for side in evidence.sides]
    if not all(sums):
        return
    exact, clipped = zip(*sums)
    losses = [float(side.loss) for side in evidence.sides]
    if not _near(losses[0], exact[0]) or _near(losses[1], exact[1]):
        return
    if _near(losses[1], clipped[1]):
        yield (
            "loss-of-probabilities",
            "the loss is taken of probabilities clipped at 1e-7",
            f"{losses[1]:.9g} is what these give; of the logits it would be "
            f"{exact[1]:.9g}",
        )


def another_loss(evidence: Evidence) -> Found:
    """Looks for losses that are two of the usual ones, of the logits of each side."""
    if not evidence.differs("loss"):
        return
    one, other = (
        gan_losses.recognised(evidence.network, side) for side in evidence.sides
    )
    if not one or not other or str(one) == str(other):
        return
    # Of logits near 0 several losses are alike.
    own = evidence.candidate
    if one.distance(own, own.activations) <= gan_losses.bound(own):
        return
    closer = (discriminator_labels, generator_label)
    if any(True for solve in closer for _ in solve(evidence)):
        return
    yield (
        "another-loss",
        f"the loss is {other} instead of {one}",
        f"of the logits these give {other.of(evidence.candidate.activations):.9g} "
        f"and {one.of(evidence.reference.activations):.9g}, as returned",
    )


def simultaneous_updates(evidence: Evidence) -> Found:
    """Compares the generator's loss with that before the discriminator moved."""
    before = evidence.previous
    if evidence.network != GENERATOR or not evidence.differs("loss"):
        return
    if not before or before.iteration != evidence.iteration:
        return
    loss = gan_losses.recognised(GENERATOR, evidence.reference)
    if loss is None:
        return
    losses = [float(side.loss) for side in evidence.sides]
    stale = before.candidate.activations
    bound = max(1e-6, gan_losses.bound(evidence.candidate))
    if loss.distance(evidence.candidate, stale) <= bound:
        yield (
            "simultaneous-updates",
            "the generator answers the discriminator of before its step",
            f"its loss is {losses[1]:.9g}, as before that step "
            f"({loss.of(stale):.9g}); "
            f"after it, it is {losses[0]:.9g}",
        )


def _near(one, other):
    return not common.apart(one, other, 1e-6)


def _batch_size(side):
    return len(next(iter(side.feed.values()), ()))


def _labels_of(side):
    real, fake = side.logits(DISCRIMINATOR), side.logits(DISCRIMINATOR + "_1")
    if real is None or fake is None:
        return None
    of_bias = measure.vector_beside(side.gradients, _last_layer(side))
    if of_bias is None or np.size(of_bias) != 1:
        return None
    return measure.labels(float(side.loss), float(np.sum(of_bias)), real, fake)


def _last_layer(side):
    """Returns the layer of the logits, which may also go by their call's name."""
    names = list(side.activations)
    of_real = [n for n in names if n.partition("/")[0] == DISCRIMINATOR]
    place = names.index(of_real[-1])
    return names[place - 1 if names[place] == DISCRIMINATOR else place]


def _discriminator_losses(side):
    """Returns the loss of the logits, and of clipped probabilities."""
    real, fake = side.logits(DISCRIMINATOR), side.logits(DISCRIMINATOR + "_1")
    if real is None or fake is None:
        return None
    pair = (measure.cross_entropy, measure.clipped_cross_entropy)
    return tuple(loss(real, 1.0) + loss(fake, 0.0) for loss in pair)
