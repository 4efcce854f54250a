"""What the two sides start a phase from: the batch and the state."""

import math

import numpy as np

from tf2gan.migration import measure
from tf2gan.migration.evidence import Evidence
from tf2gan.migration.fingerprints import common
from tf2gan.migration.fingerprints.common import Found


def image_range(evidence: Evidence) -> Found:
    """Finds a linear map from the reference's images to the candidate's."""
    pair = [side.feed.get("images") for side in evidence.sides]
    if not evidence.differs("feed", "images") or not common.same_shape(*pair):
        return
    one, other = (np.asarray(images, float).ravel() for images in pair)
    scale, offset = np.polyfit(one, other, 1)
    if np.max(np.abs(scale * one + offset - other)) < 1e-6 * abs(scale):
        yield (
            "image-range",
            f"images in {_range(other)} instead of {_range(one)}",
            f"the candidate's are {scale:.6g} times the reference's "
            f"{offset:+.6g}",
        )


def latent_distribution(evidence: Evidence) -> Found:
    """Compares the deviations of the latents."""
    pair = [side.feed.get("latent") for side in evidence.sides]
    if not evidence.differs("feed", "latent") or not common.same_shape(*pair):
        return
    one, other = (np.asarray(latent, float) for latent in pair)
    # Twice four standard errors of a deviation, so that another draw is none.
    if abs(other.std() / one.std() - 1) > 8 / math.sqrt(2 * one.size):
        yield (
            "latent-distribution",
            f"latents with deviation {other.std():.3g} instead of "
            f"{one.std():.3g}",
            f"they lie in {_range(other)}, the reference's in {_range(one)}",
        )


def kernel_order(evidence: Evidence) -> Found:
    """Looks among rearrangements of the reference's tensors in the state given."""
    for name, one, other in _unlike_before(evidence):
        if one.shape != other.shape or one.ndim < 2:
            continue
        for text, rearrange in measure.rearrangements(one):
            if np.array_equal(rearrange(one), other):
                yield (
                    "kernel-order",
                    f"{name} is the reference's with its {text}",
                    "equal to the last bit once that is undone",
                )
                break


def slots_of_another(evidence: Evidence) -> Found:
    """Looks for tensors that equal another one of the reference's."""
    for name, source in _taken_from_another(evidence):
        if not _are_moments(name, source):
            yield (
                "slots-of-another",
                f"{name} holds the reference's {source}",
                "equal within the tolerance, and not equal to its own",
            )
            return


def slots_exchanged(evidence: Evidence) -> Found:
    """Looks for first moments where second ones should be."""
    pairs = list(_taken_from_another(evidence))
    count = sum(_are_moments(*pair) for pair in pairs)
    if count:
        yield (
            "slots-exchanged",
            "Adam's first and second moments are exchanged",
            f"{count} slots equal the reference's other moment",
        )


def step_count_shifted(evidence: Evidence) -> Found:
    """Counts the steps between the beta powers that both sides start from."""
    for name, values in measure.powers(evidence.reference).items():
        other = evidence.candidate.before.get(name)
        before, after = values
        if other is None or not other > 0:
            continue
        steps = math.log(float(other) / before) / math.log(after / before)
        if round(steps) and abs(steps - round(steps)) < 1e-3:
            yield (
                "step-count-shifted",
                f"the step count is off by {round(steps):+d} in {name}",
                f"{float(other):.9g} before the step, where the reference has "
                f"{before:.9g}: a factor of beta^{steps:.4f}",
            )


def _range(values):
    return f"[{np.min(values):.3g}, {np.max(values):.3g}]"


def _unlike_before(evidence):
    """Yields the tensors of the states that the phase starts from, if they differ."""
    reference, candidate = evidence.sides
    for name, one in reference.before.items():
        other = candidate.before.get(name)
        if other is not None and not np.array_equal(one, other):
            yield name, np.asarray(one), np.asarray(other)


def _taken_from_another(evidence):
    """Yields a tensor that differs, and the one of the reference that it equals.

    First of the state that the phase starts from, then of the one that it leaves.
    """
    reference, candidate = evidence.sides
    for name, _, other in _unlike_before(evidence):
        for source in _sources(name, other, reference.before):
            yield name, source
    for d in evidence.differences:
        if not d.allowed and d.name in candidate.after:
            for source in _sources(
                d.name, candidate.after[d.name], reference.after
            ):
                yield d.name, source


def _sources(name, value, state):
    """Yields names of other weights or slots that have this value."""
    if np.size(value) < 2 or np.ptp(value) == 0 or "/moving_" in name:
        return
    for other, its in state.items():
        if other != name and _equal(its, value) and "/moving_" not in other:
            yield other


def _equal(one, other):
    if np.shape(one) != np.shape(other):
        return False
    tight = 1e-5 if np.asarray(one).dtype == np.float32 else 1e-10
    return np.max(np.abs(one - other)) <= tight * np.max(np.abs(one))


def _are_moments(name, source):
    stem, _, last = name.rpartition("/")
    return {"Adam", "Adam_1"} == {last, source.rpartition("/")[2]} and (
        stem == source.rpartition("/")[0]
    )
