"""How a moving average was updated: how often, on what, in which order.

An update moves an average a towards the statistic b of a batch: a + rate (b - a),
where the rate is one minus the momentum. The values before and after a phase and the
layer's inputs tell which updates there were, in which order, and at what rate.
"""

import dataclasses
import itertools
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from tf2gan.common.specs import DISCRIMINATOR
from tf2gan.migration.evidence import Evidence, Side
from tf2gan.migration.report import AverageVerdict

MEAN, VARIANCE = "moving_mean", "moving_variance"
RACE = "race"
MOST_UPDATES = 4
# How much of an average's move an explanation may leave open: what the statistics of
# the batch are off by when they are computed again from activations of that type.
OPEN = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-7}
STARTS = (0.01, 0.1, 0.9)

Statistics = Dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Updates that lead from the old value of an average to its new one.

    Attributes:
      updates: which calls' statistics, in order ("real", "generated", or "batch"
        where there is one call); starts with `RACE` if all read the old value.
      rate: one minus the momentum; NaN without updates.
      bessel: whether a variance had the factor n / (n - 1).
      error: root mean square of what it leaves open.
      size: elements per channel of the batch.
    """

    updates: Tuple[str, ...]
    rate: float
    bessel: bool = False
    error: float = 0.0
    size: int = 0

    def __str__(self) -> str:
        if not self.updates:
            return "never updated"
        if self.updates[0] == RACE:
            return "unordered update: both read the old value"
        if set(self.updates) == {"batch"}:
            return _times(len(self.updates))
        if len(self.updates) == 1:
            return f"updated on {self.updates[0]} images only"
        if len(self.updates) == 2 and len(set(self.updates)) == 2:
            return f"{self.updates[0]} before {self.updates[1]}"
        return f"{_times(len(self.updates))}: {', '.join(self.updates)}"


def verdicts(evidence: Evidence) -> List[AverageVerdict]:
    """Says of each moving average how both sides updated it in a phase."""
    found = explain(evidence)
    rows = []
    for difference in evidence.differences:
        if difference.kind != "moving average":
            continue
        texts = _texts(evidence, difference.name, found)
        if difference.unordered:
            texts[0] = f"matches TF1's unordered update: {difference.unordered}"
        rows.append(
            AverageVerdict(
                evidence.iteration,
                evidence.phase,
                difference.name,
                *texts,
                difference.allowed,
            )
        )
    return rows


def explain(
    evidence: Evidence,
) -> Dict[str, Tuple[Optional[Explanation], Optional[Explanation]]]:
    """Explains both sides' updates of each average; None where nothing fits.

    The candidate is first tried with the reference's rate, then with its own.
    """
    found = {}
    for name in evidence.reference.after:
        if name.endswith("/" + MEAN) and _comparable(evidence, name):
            found[name] = _explain_pair(evidence, name)
    for name in evidence.reference.after:
        mean = name.replace(VARIANCE, MEAN)
        if not name.endswith("/" + VARIANCE) or mean not in found:
            continue
        if _comparable(evidence, name):
            found[name] = tuple(
                _explain_variance(side, name, of_mean)
                for side, of_mean in zip(evidence.sides, found[mean])
            )
    return found


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a recorded average, that the candidate updates on two calls, was updated.

    Attributes:
      text: such as "both read the old value".
      raced: whether both read the old value, which two ordered updates do not.
      lost: whether only one of the two is in it.
      in_order: whether it is in the order of the calls.
      alike: whether the candidate's updates came out in the same way.
    """

    text: str
    raced: bool
    lost: bool
    in_order: bool
    alike: bool


def outcomes(evidence: Evidence) -> Dict[str, Outcome]:
    """Returns how each recorded average came out that two calls update once each.

    Two updates that race come in either order, or both read the old value. Then
    `assign_sub` adds both moves, and `assign` keeps the update that is written last:
    the other one is lost. Averages whose recorded value nothing explains are left out.
    """
    found = {}
    for name, made in _updated_by_two(evidence):
        calls = tuple(batch_statistics(evidence.candidate, name)[0])
        recorded = _explain_alone(evidence.reference, name)
        updates = recorded.updates if recorded else ()
        if updates in _results(calls):
            found[name] = Outcome(
                _outcome(calls, updates),
                updates[0] == RACE,
                len(updates) == 1,
                updates == calls,
                updates == made.updates,
            )
    return found


def shows_chance(found: Dict[str, Outcome]) -> bool:
    """Whether the outcomes of a phase can be those of no script that orders updates."""
    texts = {outcome.text for outcome in found.values()}
    return len(texts) > 1 or any(outcome.raced for outcome in found.values())


def unordered(
    evidence: Evidence,
) -> Dict[str, List[Tuple[str, np.ndarray]]]:
    """Returns what a moving average would be, had TF1 not kept to the order of calls.

    Two updates of one average in one `session.run` may come in either order, or both
    read the old value. A recording with one of these other results was made by a
    graph that leaves the order to chance, so a candidate need not have the same. A
    recording in the order of the calls shows no chance, and is not among them. One that
    lost an update may as well be of a script that has no second one: it is among them
    where averages of the same phase came out in several ways.

    Returns:
      By name of an average that differs and that the candidate updated on both
      calls: each order in words, and its result from the reference's old value.
    """
    differing = {
        difference.name
        for difference in evidence.differences
        if difference.kind == "moving average" and not difference.allowed
    }
    if not differing:
        return {}
    with_lost = shows_chance(outcomes(evidence))
    return {
        name: _other_orders(evidence, name, made, with_lost)
        for name, made in _updated_by_two(evidence)
        if name in differing
    }


def _updated_by_two(evidence):
    """Yields averages that the candidate updates once on each of two calls, and how."""
    for difference in evidence.differences:
        name = difference.name
        of_mean = name.replace(VARIANCE, MEAN)
        if difference.kind != "moving average":
            continue
        if not all(_comparable(evidence, n) for n in {name, of_mean}):
            continue
        made = _explain_alone(evidence.candidate, name)
        if made and _is_once_each(made):
            yield name, made


def _explain_alone(side, name):
    """Explains one average by itself, with the rate that fits it."""
    mean = _shortest(side, name.replace(VARIANCE, MEAN), None)
    if name.endswith("/" + MEAN) or mean is None:
        return mean
    return _explain_variance(side, name, mean)


def _is_once_each(made):
    """Whether an average was updated by two calls, once by each."""
    updates = [update for update in made.updates if update != RACE]
    return len(updates) == len(set(updates)) == 2


def _other_orders(evidence, name, made, with_lost):
    statistics, _ = batch_statistics(evidence.candidate, name, made.bessel)
    old = np.asarray(evidence.reference.before[name], np.float64)
    calls = tuple(statistics)
    return [
        (
            _outcome(calls, order),
            predict(old, statistics, order, made.rate)[0],
        )
        for order in _results(calls)
        if order != calls and (with_lost or len(order) > 1)
    ]


def _results(calls):
    """Returns how two updates that race can come out."""
    return [calls, calls[::-1], (RACE, *calls), calls[:1], calls[1:]]


def _outcome(calls, updates):
    """Says how two updates on these calls came out."""
    if updates[0] == RACE:
        return "both read the old value"
    if len(updates) == 1:
        [lost] = set(calls) - set(updates)
        return f"the update on {lost} images was lost"
    return " before ".join(updates)


def batch_statistics(
    side: Side, name: str, bessel: bool = False
) -> Tuple[Statistics, int]:
    """Returns the batch's statistic per call of the layer, and elements per channel.

    Args:
      side: with activations.
      name: of the moving mean or variance.
      bessel: whether a variance gets the factor n / (n - 1).
    """
    layer, _, average = name.rpartition("/")
    statistics, size = {}, 0
    calls = side.calls(layer)
    for label, call in zip(_labels(layer, len(calls)), calls):
        inputs = side.inputs_of(call, np.size(side.after[name]))
        if inputs is None:
            return {}, 0
        size = len(inputs)
        value = inputs.mean(0) if average == MEAN else inputs.var(0)
        statistics[label] = value * (size / (size - 1) if bessel else 1)
    return statistics, size


def predict(
    old: np.ndarray, statistics: Statistics, updates: Sequence[str], rate: float
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns an average after updates, and its derivative by the rate."""
    value, slope = old, np.zeros_like(old)
    if updates and updates[0] == RACE:
        slope = sum(statistics[label] - old for label in updates[1:])
        return old + rate * slope, slope
    for label in updates:
        step = statistics[label] - value
        value, slope = value + rate * step, slope * (1 - rate) + step
    return value, slope


def _comparable(evidence, name):
    """Whether both sides have it as vectors of one length and type."""
    values = [
        np.asarray(state.get(name, 0))
        for side in evidence.sides
        for state in (side.before, side.after)
    ]
    return {(v.shape, v.dtype) for v in values} == {
        (values[0].shape, values[0].dtype)
    } and (values[0].ndim == 1 and values[0].dtype in OPEN)


def _explain_pair(evidence, name):
    reference, candidate = evidence.sides
    one = _shortest(reference, name, None)
    other = None
    if one and one.updates:
        other = _shortest(candidate, name, one.rate)
        other = other or _fit(candidate, name, one.updates, None)
    return one, other or _shortest(candidate, name, None)


def _shortest(side, name, rate):
    """Returns the best explanation among those with the fewest updates."""
    labels = list(batch_statistics(side, name)[0])
    for count in range(MOST_UPDATES + 1 if labels else 1):
        orders = list(itertools.product(labels, repeat=count))
        if count == 2 and len(labels) == 2:
            orders.append((RACE, *labels))
        fits = [_fit(side, name, updates, rate) for updates in orders]
        fits = [fit for fit in fits if fit]
        if fits:
            return min(fits, key=lambda fit: fit.error)
    return None


def _explain_variance(side, name, of_mean):
    """Fits the updates of the layer's mean with and without Bessel's correction.

    Where they race, the two averages may come out differently: then at the mean's rate.
    """
    if of_mean is None:
        return None
    labels = tuple(batch_statistics(side, name)[0])
    results = _results(labels) if len(labels) == 2 and of_mean.updates else []
    for orders in ([of_mean.updates], results):
        fits = [
            _fit(side, name, updates, of_mean.rate, bessel)
            for updates in orders
            for bessel in (False, True)
        ]
        best = min(filter(None, fits), key=lambda fit: fit.error, default=None)
        if best:
            return best
    return None


def _fit(side, name, updates, rate, bessel=False):
    """Returns an explanation if these updates do explain the average's move."""
    old, new = (np.asarray(s[name], float) for s in (side.before, side.after))
    statistics, size = batch_statistics(side, name, bessel)
    if not updates:
        same = np.array_equal(old, new)
        return Explanation((), float("nan")) if same else None
    if np.array_equal(old, new) or not statistics:
        return None
    if rate is None:
        rate = min(
            (_fit_rate(old, new, statistics, updates, s) for s in STARTS),
            key=lambda r: _error(old, new, statistics, updates, r),
        )
    error = _error(old, new, statistics, updates, rate)
    if not 0 < rate <= 1 or error > _allowed(side.after[name], old, new):
        return None
    return Explanation(tuple(updates), float(rate), bessel, error, size)


def _fit_rate(old, new, statistics, updates, rate):
    """Finds the rate by Gauss-Newton steps from a first guess."""
    for _ in range(20):
        value, slope = predict(old, statistics, updates, rate)
        rate += np.sum(slope * (new - value)) / max(np.sum(slope**2), 1e-300)
        rate = min(max(rate, 1e-9), 1.0)
    return rate


def _error(old, new, statistics, updates, rate):
    return _size(predict(old, statistics, updates, rate)[0] - new)


def _allowed(stored, old, new):
    stored = np.asarray(stored)
    rounding = 4 * np.finfo(stored.dtype).eps * max(_size(old), _size(new))
    return OPEN[stored.dtype] * _size(new - old) + rounding


def _size(values):
    return float(np.sqrt(np.mean(np.square(values))))


def _labels(layer, count):
    if count == 2 and layer.startswith(DISCRIMINATOR + "/"):
        return ["real", "generated"]
    if count == 1:
        return ["batch"]
    return [f"call {number}" for number in range(1, count + 1)]


def _texts(evidence, name, found):
    explained = found.get(name, (None, None))
    if all(explained):
        one, other = map(str, explained)
        race = _is_race(explained)
        return [one, f"matches TF1's {other}" if race else other]
    texts: List[str] = []
    for side, explanation in zip(evidence.sides, explained):
        texts.append(str(explanation) if explanation else _moved(side, name))
    return texts


def _is_race(explained):
    one, other = explained
    return other.updates[:1] == (RACE,) and one.updates[:1] != (RACE,)


def _moved(side, name):
    if name not in side.after or name not in side.before:
        return "not there"
    if np.array_equal(side.before[name], side.after[name]):
        return "never updated"
    if side.calls(name.rpartition("/")[0]):
        return "updated, in no known order"
    return "updated; without activations the order is not known"


def _times(count):
    return {1: "updated once", 2: "updated twice"}.get(
        count, f"updated {count} times"
    )
