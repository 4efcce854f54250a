"""How the moving averages are updated."""

import numpy as np

from tf2gan.migration import averages, measure
from tf2gan.migration.evidence import Evidence, network_of
from tf2gan.migration.fingerprints import common
from tf2gan.migration.fingerprints.common import Found
from tf2gan.migration.report import in_words

# The share of a factor's distance from 1 that its measurement may be off by.
_TIGHT = 0.1


def biased_variance(evidence: Evidence) -> Found:
    """Tells the two variances apart by the factor n / (n - 1).

    Every moving variance that was updated and differs must be off by it, for its own
    n, or by nothing.
    """
    measured = list(_variance_ratios(evidence))
    if not all(min(share, abs(share - 1)) <= _TIGHT for *_, share in measured):
        return
    fitting = [found for found in measured if found[-1] > 0.5]
    if len({ratio < 1 for _, _, ratio, _ in fitting}) != 1:
        return
    name, size, ratio, _ = fitting[0]
    which, factor = (
        ("biased", "(n-1)/n") if ratio < 1 else ("unbiased", "n/(n-1)")
    )
    yield (
        "biased-variance",
        f"{which} moving variance (factor {factor})",
        f"{name} moves as by {ratio:.6f} times the reference's variance; (n-1)/n is "
        f"{1 - 1 / size:.6f} for the n = {size} of a batch",
    )


def _variance_ratios(evidence):
    """Yields each moving variance that differs, n, and the ratio of the variances.

    And as what share of the way from 1 to the factor; infinite where nothing explains
    what the candidate has. What is too coarse to tell the factor is left out.
    """
    differing = {d.name for d in evidence.differences if not d.allowed}
    explained = averages.explain(evidence) if differing else {}
    for name, (one, other) in explained.items():
        if name not in differing or not name.endswith(averages.VARIANCE):
            continue
        if not one or not one.updates:
            continue
        if not other:
            yield name, one.size, np.inf, np.inf
        elif one.updates == other.updates:
            ratio, unsure = _ratio(evidence, name, explained)
            apart = 1 / (one.size if ratio < 1 else one.size - 1)
            unsure += _apart_in_inputs(evidence, name)
            if unsure <= _TIGHT * apart:
                yield name, one.size, ratio, abs(ratio - 1) / apart


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
        if not common.apart(one.rate, other.rate, 1e-2):
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


def updates_missing(evidence: Evidence) -> Found:
    """Looks for networks whose averages the candidate leaves as they were.

    Where the loss differs, too, and only the candidate shows its activations, it may
    as well have called the network for inference.
    """
    if evidence.borrowed and evidence.differs("loss"):
        return
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
    own = common.own_scopes(evidence)
    if set(missing) == set(wanted) or own & set(missing):
        yield (
            "updates-never-run",
            f"the averages of {_and(missing)} are never updated",
            measured,
        )
    else:
        yield (
            "updates-scoped",
            f"the {evidence.network}'s step does not update the averages of "
            f"{_and(missing)}",
            measured,
        )


def updates_unscoped(evidence: Evidence) -> Found:
    """Looks for averages of the other network that only the candidate moves."""
    own = common.own_scopes(evidence)
    names = [
        name
        for name, (one, other) in _explained(evidence)
        if not one.updates and other.updates and _network(name) not in own
    ]
    if names:
        yield (
            "updates-unscoped",
            f"the {evidence.network}'s step updates the averages of "
            f"{in_words(_network(names[0]))} too",
            f"{len(names)} averages move that stand in the reference",
        )


def updates_in_another_order(evidence: Evidence) -> Found:
    """Compares order and number of the updates of one average."""
    raced = _raced(evidence)
    for name, (one, other) in _explained(evidence):
        if one.updates == other.updates or not (one.updates and other.updates):
            continue
        if name in raced:
            continue
        hazard = _order_hazard(one.updates, other.updates)
        if hazard and common.steps_per_step(evidence) == 1:
            yield (
                hazard,
                f"moving averages: {other}, instead of {one}",
                f"{name} fits that within {other.error:.2g}",
            )
            return


def recording_raced(evidence: Evidence) -> Found:
    """Looks for recorded averages that only another order of two updates explains."""
    raced = _raced(evidence)
    if not raced:
        return
    found = averages.outcomes(evidence)
    finding = (
        f"the recording updated {min(o.text for o in raced.values())}: if the script "
        "orders its updates, the port must, too; if not, they raced"
    )
    if averages.shows_chance(found):
        finding = (
            "the recorded script's own updates of moving averages raced: its "
            "port need not follow"
        )
    texts = sorted(outcome.text for outcome in found.values())
    counts = [f"{texts.count(t)} {t}" for t in dict.fromkeys(texts)]
    yield (
        "recording-raced",
        finding,
        f"of {len(texts)} averages that two calls update: {', '.join(counts)}; from "
        "the values before and the batches' statistics this gives what was recorded",
    )


def _raced(evidence):
    """Returns what a recording has in another order than its calls, by name.

    Of the candidate's two updates it must have both, or the phase must show chance: a
    single one may be all that the script makes.
    """
    if not evidence.recorded:
        return {}
    found = averages.outcomes(evidence)
    is_chance = averages.shows_chance(found)
    return {
        name: outcome
        for name, outcome in found.items()
        if not outcome.in_order and not outcome.alike
        if is_chance or not outcome.lost
    }


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


def _and(names):
    return " and ".join(map(in_words, sorted(names)))


def _network(name):
    return name.partition("/")[0]


def _inferring(evidence):
    """Returns the networks whose calls the candidate makes for inference."""
    return {
        network_of(call.partition("/")[0])
        for call, _ in common.inferring(evidence)
    }


def _ratio(evidence, name, explained):
    """Returns the variance that the candidate averages over the reference's.

    Of several updates, that of all together: a + rate (b - a) solved for b. Also
    returns by how much it may be off: by the error of the rate, which the mean's open
    rest shows, and by the rounding of the average.
    """
    of_mean = name.replace(averages.VARIANCE, averages.MEAN)
    sums, unsure = [], 0.0
    for place, side in enumerate(evidence.sides):
        found, mean = explained[name][place], explained[of_mean][place]
        old, new = _before_and_after(side, name)
        share = 1 - (1 - found.rate) ** len(found.updates)
        sums.append(np.sum((new - old) / share + old))
        rate_error = mean.error / _size(
            np.subtract(*_before_and_after(side, of_mean))
        )
        unsure += rate_error * np.sum(np.abs(new - old)) / share
        # Rounding errors of the channels are independent: their sum grows by the root.
        rounding = np.finfo(np.asarray(side.after[name]).dtype).eps
        unsure += rounding * np.sqrt(len(new)) * _size(new) / share
    return sums[1] / sums[0], unsure / abs(sums[0])


def _apart_in_inputs(evidence, name):
    """Returns by what share the batch's own variances differ between the sides."""
    one, other = (
        sum(map(np.sum, averages.batch_statistics(side, name)[0].values()))
        for side in evidence.sides
    )
    return abs(other / one - 1)


def _size(values):
    return float(np.sqrt(np.mean(np.square(values))))


def _before_and_after(side, name):
    return (np.asarray(s[name], float) for s in (side.before, side.after))


def _explained(evidence):
    if not evidence.differs("moving average"):
        return []
    return [
        (name, pair)
        for name, pair in averages.explain(evidence).items()
        if all(pair)
    ]
