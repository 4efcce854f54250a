"""How the optimizers move the variables, and which."""

import math

import numpy as np

from tf2gan.migration import measure
from tf2gan.migration.evidence import Evidence
from tf2gan.migration.fingerprints import common
from tf2gan.migration.fingerprints.common import Found


def adam_constants(evidence: Evidence) -> Found:
    """Compares the factors by which the beta powers move."""
    one, other = (measure.powers(side) for side in evidence.sides)
    steps = common.steps_per_step(evidence)
    for name in one:
        if name not in other or steps > 1:
            continue
        beta = measure.plain(one[name][1] / one[name][0])
        wrong = measure.plain(other[name][1] / other[name][0])
        if common.apart(beta, wrong, 1e-5):
            which = "beta1" if "beta1" in name else "beta2"
            yield (
                "adam-" + which,
                f"Adam's {which} {wrong:.6g} instead of {beta:.6g}",
                f"{name} is multiplied by it in the step",
            )


def adam_epsilon(evidence: Evidence) -> Found:
    """Fits epsilon to the smallest steps."""
    one, other = _adam_steps(evidence)
    if not one or not other:
        return
    if not all(s.epsilon > 5 * s.epsilon_error for s in (one, other)):
        return
    if common.apart(one.epsilon, other.epsilon, 0.1):
        yield (
            "adam-epsilon",
            f"Adam epsilon {other.epsilon:.2g} instead of {one.epsilon:.2g}",
            f"the steps of small gradients fit {other.epsilon:.4g} and "
            f"{one.epsilon:.4g}",
        )


def learning_rate(evidence: Evidence) -> Found:
    """Compares the step sizes where both have the same betas and steps."""
    one, other = _adam_steps(evidence)
    if not one or not other or not _same_powers(evidence):
        return
    ratio = other.alpha / one.alpha
    if abs(ratio - 1) < max(1e-3, 10 * (one.alpha_error + other.alpha_error)):
        return
    finding = f"the learning rate is {ratio:.4g} times the reference's"
    if measure.powers(evidence.reference):
        correction = _correction(evidence.reference)
        rates = [measure.plain(s.alpha / correction) for s in (other, one)]
        finding = f"learning rate {rates[0]:.4g} instead of {rates[1]:.4g}"
    yield (
        "learning-rate",
        finding,
        f"steps are {ratio:.6g} times as long, for the same slots",
    )


def powers_exact(evidence: Evidence) -> Found:
    """Tells beta^t from the float32 powers of TF1 by the length of a step."""
    one, other = _adam_steps(evidence)
    if not one or not other or not _same_powers(evidence):
        return
    if not measure.powers(evidence.reference):
        return
    kept, exact = _correction(evidence.reference), _exact(evidence.reference)
    expected, ratio = exact / kept - 1, other.alpha / one.alpha - 1
    unsure = one.alpha_error + other.alpha_error
    if abs(expected) > 10 * unsure and abs(ratio / expected - 1) < 0.05:
        yield (
            "powers-exact",
            "Adam computes beta^t exactly, TF1 in float32",
            f"steps are {ratio:.3g} longer; exact powers give {expected:.3g}",
        )


def moment_rate(evidence: Evidence) -> Found:
    """Tells 1 - beta2 from that of the float32 number by how far second moments move.

    The same gradients move them by shares that have the ratio of the two.
    """
    beta = next(
        (b / a for n, (a, b) in _powers_of(evidence) if "beta2" in n), None
    )
    if beta is None or not _same_powers(evidence):
        return
    exact, rounded = 1 - measure.plain(beta), 1 - float(np.float32(beta))
    expected = exact / rounded - 1
    if not expected:  # a beta2 such as 0.5
        return
    names = list(evidence.trained())
    ratios = [_ratio_of_moves(evidence, name + "/Adam_1") for name in names]
    close = [r for r in ratios if r and abs((r - 1) / expected - 1) < 0.1]
    if not 2 * len(close) > len(names):
        return
    yield (
        "moment-rate-exact",
        f"Adam weighs a gradient's square by {exact:.6g}, TF1 by {rounded:.9g}",
        f"the second moments of {len(close)} of {len(names)} variables move by "
        f"{np.median(close) - 1:.3g} more; the two weights are {expected:.3g} apart",
    )


def gradient_factor(evidence: Evidence) -> Found:
    """Compares the gradient in the first moments with the one that was shown."""
    factors = [_factors(evidence, side) for side in evidence.sides]
    one, other = factors
    names = [n for n in one if n in other and abs(one[n] - 1) < 1e-3]
    if len(names) < 2 or len(names) < len(one):
        return
    if all(abs(other[n] + 1) < 1e-3 for n in names):
        yield (
            "gradient-sign",
            "the optimizer climbs: it was given the gradient's opposite",
            f"the first moments of {len(names)} variables hold -1 times it",
        )
        return
    clipped = {n: c for n, c in other.items() if 0 < c < 1 - 1e-3}
    norms = [
        c * float(np.linalg.norm(evidence.candidate.gradients[n]))
        for n, c in clipped.items()
    ]
    if len(norms) > 1 and max(norms) / min(norms) - 1 < 1e-3:
        yield (
            "gradient-clipped",
            f"each gradient is clipped to the norm {np.mean(norms):.4g}",
            f"{len(norms)} variables have just that norm in their slots",
        )
    elif len(norms) > 1 and np.ptp(list(clipped.values())) < 1e-3:
        total = math.sqrt(sum(norm**2 for norm in norms))
        yield (
            "gradient-clipped",
            f"all gradients are clipped together, to the norm {total:.4g}",
            f"{len(norms)} slots hold {np.mean(list(clipped.values())):.4g} "
            "times them",
        )


def gradient_sign(evidence: Evidence) -> Found:
    """Looks for gradients that are the opposite of the reference's."""
    one, other = (side.gradients for side in evidence.sides)
    names = [
        d.name
        for d in evidence.differences
        if d.kind == "gradient" and not d.allowed and d.name in other
    ]
    scales = [measure.scale_between(one[n], other[n]) for n in names]
    if scales and all(s is not None and abs(s + 1) < 1e-6 for s in scales):
        yield (
            "gradient-sign",
            f"the {evidence.network}'s gradients have the opposite sign",
            f"those of {len(scales)} variables are -1 times the reference's",
        )


def discriminator_twice(evidence: Evidence) -> Found:
    """Counts the steps in one phase by the beta powers."""
    steps = common.steps_per_step(evidence)
    if steps > 1:
        yield (
            "discriminator-twice",
            f"the {evidence.network} is trained {steps} times in a phase",
            f"both beta powers move as they do in {steps} steps",
        )


def trains_both(evidence: Evidence) -> Found:
    """Looks for weights that move in the other network's phase."""
    own = common.own_scopes(evidence)
    moved = [
        d.name
        for d in evidence.differences
        if d.kind == "weight"
        and d.name.partition("/")[0] not in own
        and _moved_by_candidate_only(evidence, d.name)
    ]
    if moved:
        yield (
            "trains-both",
            f"the {evidence.network}'s step moves the other network",
            f"{len(moved)} of its weights change, among them {moved[0]}; "
            "none does in the reference",
        )


def shared_global_step(evidence: Evidence) -> Found:
    """Looks for a step count that moves in the other network's phase."""
    for difference in evidence.differences:
        name = difference.name
        if difference.kind != "step count":
            continue
        # An optimizer's count is nobody's second one: which step of the reference it
        # stands for was a guess.
        if name in evidence.optimizer_counts:
            continue
        if _moved_by_candidate_only(evidence, name):
            side = evidence.candidate
            yield (
                "shared-global-step",
                f"{name} counts the {evidence.network}'s steps too",
                f"{int(side.before[name])} before the phase, "
                f"{int(side.after[name])} after it; the reference's stands",
            )


def _powers_of(evidence):
    return measure.powers(evidence.reference).items()


def _ratio_of_moves(evidence, name):
    """Returns how many times as far the candidate's tensor moves; None if unlike."""
    one, other = (
        np.asarray(side.after[name], float) - side.before[name]
        for side in evidence.sides
    )
    return measure.scale_between(one, other)


def _adam_steps(evidence):
    names = list(evidence.trained())
    return [measure.adam_step(side, names) for side in evidence.sides]


def _same_powers(evidence):
    """Whether both have the same betas and steps, by their powers or their slots."""
    one, other = (measure.powers(side) for side in evidence.sides)
    if not one and evidence.differs("slot"):
        return False
    return set(one) == set(other) and all(
        np.allclose(one[n], other[n], rtol=1e-6) for n in one
    )


def _two_powers(side):
    found = sorted(measure.powers(side).items())
    return [values for _, values in found]  # beta1's, then beta2's


def _correction(side):
    """Returns sqrt(1 - beta2^t) / (1 - beta1^t) with the powers as they are kept."""
    (first, _), (second, _) = _two_powers(side)
    return math.sqrt(1 - second) / (1 - first)


def _exact(side):
    """Returns the same with exact powers of the betas as people write them."""
    exact = []
    for before, after in _two_powers(side):
        beta = measure.plain(after / before)
        steps = round(math.log(before) / math.log(beta))
        exact.append(beta**steps)
    return math.sqrt(1 - exact[1]) / (1 - exact[0])


def _factors(evidence, side):
    """Returns by variable how many times its gradient is in the first moment."""
    found = {}
    powers = measure.powers(side)
    beta1 = next((b / a for n, (a, b) in powers.items() if "beta1" in n), None)
    if beta1 is None:
        return {}
    for name in evidence.trained():
        slot, gradient = name + "/Adam", side.gradients.get(name)
        if gradient is None:
            continue
        new = (side.after[slot] - beta1 * side.before[slot]) / (1 - beta1)
        scale = measure.scale_between(gradient, new)
        if scale is not None:
            found[name] = scale
    return found


def _moved_by_candidate_only(evidence, name):
    moved = [
        name in side.before
        and name in side.after
        and not np.array_equal(side.before[name], side.after[name])
        for side in evidence.sides
    ]
    return moved == [False, True]
