"""Recognises faults of the hazard catalogue by what they leave in the numbers.

One small function per fingerprint. Each measures both sides, and speaks only if the
measurement fits both: a difference alone is no evidence of its cause.
"""

import math
from typing import Callable, Iterator, List, Tuple

import numpy as np

from tf2gan.common.specs import DISCRIMINATOR, GENERATOR
from tf2gan.migration import averages, measure
from tf2gan.migration.evidence import Evidence, Side, network_of
from tf2gan.migration.report import Cause

# hazard, finding, measured
Found = Iterator[Tuple[str, str, str]]
FINGERPRINTS: List[Callable[[Evidence], Found]] = []

SQUASHING = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "nothing": lambda x: x,
}


def find(evidence: Evidence) -> List[Cause]:
    """Returns the causes that a phase shows; none if nothing differs in it."""
    if all(difference.allowed for difference in evidence.differences):
        return []
    with np.errstate(all="ignore"):
        return [
            Cause(*found, evidence.iteration, evidence.phase)
            for function in FINGERPRINTS
            for found in _whole(function, evidence)
        ]


def _whole(function, evidence):
    """Returns what a fingerprint found; nothing where the two sides do not compare.

    A candidate may lack tensors, or have them in other shapes or types. That is in
    the report; here it only means that nothing can be measured.
    """
    try:
        return list(function(evidence))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return []


def fingerprint(function: Callable) -> Callable:
    """Enters a function that yields (hazard, finding, measured)."""
    FINGERPRINTS.append(function)
    return function


@fingerprint
def image_range(evidence: Evidence) -> Found:
    """Finds a linear map from the reference's images to the candidate's."""
    pair = [side.feed.get("images") for side in evidence.sides]
    if not evidence.differs("feed", "images") or not _same_shape(*pair):
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


@fingerprint
def latent_distribution(evidence: Evidence) -> Found:
    """Compares the deviations of the latents."""
    pair = [side.feed.get("latent") for side in evidence.sides]
    if not evidence.differs("feed", "latent") or not _same_shape(*pair):
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


@fingerprint
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


@fingerprint
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


@fingerprint
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


@fingerprint
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


@fingerprint
def batch_norm_epsilon(evidence: Evidence) -> Found:
    """Measures what is added to the variance of the batch."""
    for call, one, other in _normalizers(evidence):
        if one[0] and other[0] and _apart(one[0], other[0], 0.05):
            yield (
                "batch-norm-epsilon",
                f"batch-norm epsilon {other[0]:.3g} instead of {one[0]:.3g}",
                f"that is what {call} adds to the variance of its inputs",
            )
            return


@fingerprint
def frozen_inference(evidence: Evidence) -> Found:
    """Finds layers that divide by their moving variance in training."""
    for call, one, other in _normalizers(evidence):
        if one[0] is None or other[0] is not None or other[1] is None:
            continue
        yield (
            "frozen-inference",
            f"{call} normalizes with its moving averages in training",
            f"its outputs fit the moving variance + {other[1]:.3g}; the "
            f"reference's fit the variance of the batch + {one[0]:.3g}",
        )
        return


@fingerprint
def leaky_relu_slope(evidence: Evidence) -> Found:
    """Measures the slope in front of dense layers."""
    one, other = (dict(measure.leaky_slopes(side)) for side in evidence.sides)
    for call in one:
        if call in other and _apart(one[call], other[call], 1e-3):
            yield (
                "leaky-relu-slope",
                f"leaky ReLU slope {other[call]:.4g} instead of "
                f"{one[call]:.4g}",
                f"inputs and outputs of {call} fit {other[call]:.7g} "
                f"and {one[call]:.7g}",
            )
            return


@fingerprint
def leaky_relu_at_zero(evidence: Evidence) -> Found:
    """Looks for gradients that differ in front of zeros alone."""
    if evidence.differs("activation") or evidence.differs("loss"):
        return
    for layer, zeros, share in _with_zeros(evidence):
        if evidence.differs("gradient", layer + "/"):
            yield (
                "leaky-relu-at-zero",
                f"another gradient at exactly 0, behind {layer}",
                f"{zeros} of its outputs ({share:.1%}) are exactly 0; all "
                "activations and the loss agree, gradients up to that layer "
                "do not, those after it do",
            )
            return


@fingerprint
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


@fingerprint
def generator_output(evidence: Evidence) -> Found:
    """Undoes one squashing of the samples and applies another."""
    one, other = (side.samples for side in evidence.sides)
    if not evidence.differs("sample") or not _same_shape(one, other):
        return
    one, other = (np.asarray(images, float) for images in (one, other))
    tight = 1e-3 if np.max(np.abs(one)) > 0.999 else 1e-5
    logits = np.log1p(other) - np.log1p(-other)
    guesses = {
        ("tanh", "sigmoid"): np.arctanh(one) - (logits_of(other)),
        ("sigmoid", "tanh"): logits_of(one) - logits / 2,
        ("tanh", "nothing"): np.arctanh(one) - other,
        ("sigmoid", "nothing"): logits_of(one) - other,
    }
    for (right, wrong), apart in guesses.items():
        if np.all(np.isfinite(apart)) and np.max(np.abs(apart)) < tight:
            yield (
                "generator-output",
                f"the generator ends in {wrong} instead of {right}",
                "before it both have the same values, within "
                f"{np.max(np.abs(apart)):.2g}",
            )


def logits_of(shares: np.ndarray) -> np.ndarray:
    """Returns the inverse of the sigmoid; NaN outside of (0, 1)."""
    return np.log(shares) - np.log1p(-shares)


@fingerprint
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


@fingerprint
def loss_factor(evidence: Evidence) -> Found:
    """Looks for losses that are a plain multiple of one another."""
    if not evidence.differs("loss"):
        return
    ratio = float(evidence.candidate.loss / evidence.reference.loss)
    batch = _batch_size(evidence.reference)
    measured = f"the loss is {ratio:.9g} times the reference's"
    if abs(ratio - 0.5) < 1e-6:
        yield "loss-halved", "the loss is halved", measured
    elif batch > 1 and abs(ratio / batch - 1) < 1e-6:
        yield (
            "loss-summed",
            f"the loss is summed over the batch: factor {batch}",
            measured,
        )


@fingerprint
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
    real, fake = np.round(steps) / 20
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


@fingerprint
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
            f"its loss fits the label {found[1]:.6f}, the reference's "
            f"{found[0]:.6f}",
        )


@fingerprint
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


@fingerprint
def simultaneous_updates(evidence: Evidence) -> Found:
    """Compares the generator's loss with that before the discriminator moved."""
    before = evidence.previous
    if evidence.network != GENERATOR or not evidence.differs("loss"):
        return
    if not before or before.iteration != evidence.iteration:
        return
    fresh = _generator_loss(evidence.reference)
    stale = _generator_loss(before.candidate)
    losses = [float(side.loss) for side in evidence.sides]
    if None in (fresh, stale) or not _near(losses[0], fresh):
        return
    if _near(losses[1], stale):
        yield (
            "simultaneous-updates",
            "the generator answers the discriminator of before its step",
            f"its loss is {losses[1]:.9g}, as before that step ({stale:.9g}); "
            f"after it, it is {losses[0]:.9g}",
        )


@fingerprint
def adam_constants(evidence: Evidence) -> Found:
    """Compares the factors by which the beta powers move."""
    one, other = (measure.powers(side) for side in evidence.sides)
    steps = _steps(evidence)
    for name in one:
        if name not in other or steps > 1:
            continue
        beta = measure.plain(one[name][1] / one[name][0])
        wrong = measure.plain(other[name][1] / other[name][0])
        if _apart(beta, wrong, 1e-5):
            which = "beta1" if "beta1" in name else "beta2"
            yield (
                "adam-" + which,
                f"Adam's {which} {wrong:.6g} instead of {beta:.6g}",
                f"{name} is multiplied by it in the step",
            )


@fingerprint
def adam_epsilon(evidence: Evidence) -> Found:
    """Fits epsilon to the smallest steps."""
    one, other = _adam_steps(evidence)
    if not one or not other:
        return
    if not all(s.epsilon > 5 * s.epsilon_error for s in (one, other)):
        return
    if _apart(one.epsilon, other.epsilon, 0.1):
        yield (
            "adam-epsilon",
            f"Adam epsilon {other.epsilon:.2g} instead of {one.epsilon:.2g}",
            f"the steps of small gradients fit {other.epsilon:.4g} and "
            f"{one.epsilon:.4g}",
        )


@fingerprint
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


@fingerprint
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


@fingerprint
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


@fingerprint
def discriminator_twice(evidence: Evidence) -> Found:
    """Counts the steps in one phase by the beta powers."""
    steps = _steps(evidence)
    if steps > 1:
        yield (
            "discriminator-twice",
            f"the {evidence.network} is trained {steps} times in a phase",
            f"both beta powers move by their {steps}th power",
        )


@fingerprint
def trains_both(evidence: Evidence) -> Found:
    """Looks for weights that move in the other network's phase."""
    moved = [
        d.name
        for d in evidence.differences
        if d.kind == "weight"
        and not d.name.startswith(evidence.network + "/")
        and _moved_by_candidate_only(evidence, d.name)
    ]
    if moved:
        yield (
            "trains-both",
            f"the {evidence.network}'s step moves the other network",
            f"{len(moved)} of its weights change, among them {moved[0]}; "
            "none does in the reference",
        )


@fingerprint
def shared_global_step(evidence: Evidence) -> Found:
    """Looks for a step count that moves in the other network's phase."""
    for difference in evidence.differences:
        name = difference.name
        if difference.kind != "step count":
            continue
        if _moved_by_candidate_only(evidence, name):
            side = evidence.candidate
            yield (
                "shared-global-step",
                f"{name} counts the {evidence.network}'s steps too",
                f"{int(side.before[name])} before the phase, "
                f"{int(side.after[name])} after it; the reference's stands",
            )


@fingerprint
def biased_variance(evidence: Evidence) -> Found:
    """Tells the two variances apart by the factor n / (n - 1)."""
    for name, (one, other) in _explained(evidence):
        if name.endswith(averages.VARIANCE) and one.bessel != other.bessel:
            if not one.updates or not other.updates:
                continue
            which = "biased" if one.bessel else "unbiased"
            factor = "(n-1)/n" if one.bessel else "n/(n-1)"
            yield (
                "biased-variance",
                f"{which} moving variance (factor {factor})",
                f"{name} moves as by {_ratio(evidence, name, one, other):.6f} "
                f"times the reference's variance; n = {one.size} in a batch",
            )
            return


@fingerprint
def batch_norm_momentum(evidence: Evidence) -> Found:
    """Compares the rates at which averages move towards the batch.

    Of one batch any multiple would give some rate: mean and variance must agree on it.
    """
    explained = dict(_explained(evidence))
    for name, (one, other) in explained.items():
        of_variance = name.replace(averages.MEAN, averages.VARIANCE)
        if of_variance not in explained:
            continue
        if one.updates != other.updates or not one.updates:
            continue
        if not _apart(one.rate, other.rate, 1e-2):
            continue
        inverted = abs(one.rate + other.rate - 1) < 1e-3
        yield (
            "batch-norm-momentum" + ("-inverted" if inverted else ""),
            f"batch-norm momentum {measure.plain(1 - other.rate):.4g} instead "
            f"of {measure.plain(1 - one.rate):.4g}",
            f"(new - old) / (batch - old) is {other.rate:.6g} in {name}, "
            f"{one.rate:.6g} in the reference",
        )
        return


@fingerprint
def updates_missing(evidence: Evidence) -> Found:
    """Looks for networks whose averages the candidate leaves as they were."""
    wanted, missing = {}, {}
    for name, (one, other) in _explained(evidence):
        if one.updates:
            wanted.setdefault(_network(name), []).append(name)
            if not other.updates:
                missing.setdefault(_network(name), []).append(name)
    inferring = _inferring(evidence)  # there an update is not to be expected
    missing = {
        n: names
        for n, names in missing.items()
        if names == wanted[n] and n not in inferring
    }
    if not missing:
        return
    count = sum(map(len, missing.values()))
    measured = f"{count} moving averages keep their value to the last bit"
    if set(missing) == set(wanted) or evidence.network in missing:
        yield (
            "updates-never-run",
            f"the averages of the {_and(missing)} are never updated",
            measured,
        )
    else:
        yield (
            "updates-scoped",
            f"the {evidence.network}'s step does not update the averages of "
            f"the {_and(missing)}",
            measured,
        )


@fingerprint
def updates_unscoped(evidence: Evidence) -> Found:
    """Looks for averages of the other network that only the candidate moves."""
    names = [
        name
        for name, (one, other) in _explained(evidence)
        if not one.updates
        and other.updates
        and _network(name) != evidence.network
    ]
    if names:
        yield (
            "updates-unscoped",
            f"the {evidence.network}'s step updates the averages of the "
            f"{_network(names[0])} too",
            f"{len(names)} averages move that stand in the reference",
        )


@fingerprint
def updates_in_another_order(evidence: Evidence) -> Found:
    """Compares order and number of the updates of one average."""
    for name, (one, other) in _explained(evidence):
        if one.updates == other.updates or not (one.updates and other.updates):
            continue
        hazard = _order_hazard(one.updates, other.updates)
        if hazard and _steps(evidence) == 1:
            yield (
                hazard,
                f"moving averages: {other}, instead of {one}",
                f"{name} fits that within {other.error:.2g}",
            )
            return


def _order_hazard(one, other):
    if averages.RACE in (one[0], other[0]):
        return "updates-race"
    if sorted(one) == sorted(other):
        return "updates-reversed"
    if len(other) > len(one):
        return "evaluation-updates"
    if set(other) == {"generated"} and "real" in one:
        return "updates-without-real"
    return None


def _same_shape(one, other):
    return (
        one is not None
        and other is not None
        and np.shape(one) == np.shape(other)
    )


def _range(values):
    return f"[{np.min(values):.3g}, {np.max(values):.3g}]"


def _apart(one, other, share):
    return abs(one - other) > share * max(abs(one), abs(other))


def _near(one, other):
    return not _apart(one, other, 1e-6)


def _and(names):
    return " and the ".join(sorted(names))


def _network(name):
    return name.partition("/")[0]


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


def _normalizers(evidence):
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


def _inferring(evidence):
    """Returns the networks whose calls the candidate makes for inference."""
    return {
        network_of(call.partition("/")[0])
        for call, one, other in _normalizers(evidence)
        if one[0] is not None and other[0] is None and other[1] is not None
    }


def _with_zeros(evidence):
    """Yields layers with outputs of exactly 0, the last of them first."""
    for name, value in reversed(list(evidence.reference.activations.items())):
        zeros = int(np.sum(np.asarray(value) == 0))
        if zeros and name.startswith(evidence.network + "/"):
            yield name, zeros, zeros / np.size(value)


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


def _batch_size(side):
    return len(next(iter(side.feed.values()), ()))


def _labels_of(side):
    real, fake = side.logits(DISCRIMINATOR), side.logits(DISCRIMINATOR + "_1")
    if real is None or fake is None:
        return None
    last = [n for n in side.activations if n.startswith(DISCRIMINATOR + "/")]
    of_bias = side.gradients.get(last[-1] + "/bias")
    if of_bias is None or np.size(of_bias) != 1:
        return None
    return measure.labels(float(side.loss), float(np.sum(of_bias)), real, fake)


def _discriminator_losses(side):
    """Returns the loss of the logits, and of clipped probabilities."""
    real, fake = side.logits(DISCRIMINATOR), side.logits(DISCRIMINATOR + "_1")
    if real is None or fake is None:
        return None
    pair = (measure.cross_entropy, measure.clipped_cross_entropy)
    return tuple(loss(real, 1.0) + loss(fake, 0.0) for loss in pair)


def _generator_loss(side):
    fake = side.logits(DISCRIMINATOR + "_1")
    return None if fake is None else measure.cross_entropy(fake, 1.0)


def _steps(evidence):
    """Returns how many steps the candidate takes for one of the reference."""
    one, other = (measure.powers(side) for side in evidence.sides)
    counts = {
        round(math.log(other[n][1] / other[n][0]) / math.log(b / a), 3)
        for n, (a, b) in one.items()
        if n in other and min(other[n] + (a, b)) > 0
    }
    count = counts.pop() if len(counts) == 1 else 1
    return int(count) if count == int(count) and len(one) > 1 else 1


def _adam_steps(evidence):
    names = [
        n for n in evidence.trained() if n.startswith(evidence.network + "/")
    ]
    return [measure.adam_step(side, names) for side in evidence.sides]


def _same_powers(evidence):
    """Whether both have the same beta powers, or both show none."""
    one, other = (measure.powers(side) for side in evidence.sides)
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
    betas = measure.powers(evidence.reference)
    beta1 = next((b / a for n, (a, b) in betas.items() if "beta1" in n), 0.9)
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


def _ratio(evidence, name, one, other):
    """Returns the variance that the candidate averages over the reference's.

    Of several updates, that of all together: a + rate (b - a) solved for b.
    """
    sums = []
    for side, found in zip(evidence.sides, (one, other)):
        old, new = (
            np.asarray(s[name], float) for s in (side.before, side.after)
        )
        share = 1 - (1 - found.rate) ** len(found.updates)
        sums.append(np.sum((new - old) / share + old))
    return sums[1] / sums[0]


def _explained(evidence):
    if not evidence.differs("moving average"):
        return []
    return [
        (name, pair)
        for name, pair in averages.explain(evidence).items()
        if all(pair)
    ]
