"""Runs two implementations of a GAN side by side and names the first difference.

Both get the same state and the same batches. After every phase (the
discriminator's step, the generator's step) everything that the two can show is
compared in the order in which a step computes it: feed, activation, loss, gradient,
slot, weight, moving average, sample. The first to differ is where to look.
"""

import re
from typing import Any, Callable, Iterable, Tuple

import numpy as np

from tf2gan.migration import averages, causes
from tf2gan.migration.evidence import Evidence, Side
from tf2gan.migration.report import (
    KINDS,
    NETWORKS,
    PHASES,
    Difference,
    Report,
    Tolerance,
)

FEEDS = ("images", "latent")
_SLOT = re.compile(r"(Adam|RMSProp|Momentum|Adagrad|Adadelta)(_\d+)?")


def kind_of(name: str) -> str:
    """Returns the kind of a variable by its name in TF1."""
    last = name.split("/")[-1]
    if _SLOT.fullmatch(last) or "_power" in last:
        return "slot"
    if last.startswith("moving_"):
        return "moving average"
    if last.endswith("global_step"):
        return "step count"
    return "weight"


def distance(reference: Any, candidate: Any) -> Tuple[float, float]:
    """Returns the largest absolute difference, and that over the reference's size.

    Tensors of other shapes, a NaN on one side only, and None, which stands for a
    tensor that one side lacks, are infinitely far apart.
    """
    if reference is None or candidate is None:
        return np.inf, np.inf
    one, other = np.asarray(reference), np.asarray(candidate)
    if one.shape != other.shape:
        return np.inf, np.inf
    if np.array_equal(one, other):
        return 0.0, 0.0
    one, other = one.astype(np.float64), other.astype(np.float64)
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return np.inf, np.inf
    absolute = float(np.max(np.abs(np.nan_to_num(one - other))))
    size = float(np.max(np.abs(np.nan_to_num(one))))
    if absolute == 0.0:
        return 0.0, 0.0
    return absolute, absolute / size if size else np.inf


def compare(
    evidence: Evidence,
    kind: str,
    name: str,
    values: Tuple[Any, Any],
    noisy: bool,
    tolerance: Tolerance,
) -> Difference:
    """Compares the reference's and the candidate's value of a tensor.

    Args:
      evidence: of the phase.
      kind: one of `KINDS`.
      name: of the tensor.
      values: both; None for what one side lacks.
      noisy: whether its true gradient is zero.
      tolerance: that decides whether the difference is allowed.
    """
    absolute, relative = distance(*values)
    bound = tolerance.noise if noisy else tolerance.relative
    return Difference(
        evidence.iteration,
        evidence.phase,
        kind,
        name,
        absolute,
        relative,
        noisy,
        (absolute if noisy else relative) <= bound,
        _note(*values),
    )


def run(
    reference: Any,
    candidate: Any,
    batches: Iterable[Tuple[np.ndarray, np.ndarray]],
    tolerance: Tolerance = Tolerance(),  # noqa: B008 (frozen)
    resync: bool = False,
    watch: bool = True,
    stop: bool = False,
) -> Report:
    """Trains both on the same batches and compares all they can show.

    An implementation has the methods `discriminator_step(images, latent)` and
    `generator_step(images, latent)`, each returning its loss, `state()` and
    `load_state(state)` with arrays by TF1 variable names; and, if it can, methods
    that change nothing: `feed(images, latent)`, `activations(images, latent)` and
    `gradients(images, latent)`, each returning arrays by name, and
    `generate(latent)`, returning images for inference. The `Trainer` of both sides
    is such an implementation.

    Args:
      reference: the implementation that is right.
      candidate: the other one; it is given the reference's state first.
      batches: pairs of images and latents.
      tolerance: how far the two may be apart.
      resync: whether to give the candidate the reference's state before each phase,
        so that each step's own fault shows and not only the first.
      watch: whether to compare also what takes extra runs: feeds, activations,
        gradients and samples.
      stop: whether to end at the first difference.

    Returns:
      All comparisons; the likely causes of the first difference, or with `resync` of
      those in every phase; and how the moving averages were updated in the first
      iteration, with `resync` also where they later differ in another way.
    """
    candidate.load_state(reference.state())
    report = Report(tolerance=tolerance)
    comparison = _Comparison(reference, candidate, tolerance)
    evidence = None
    for iteration, batch in enumerate(batches, start=1):
        report.iterations = iteration
        for phase in PHASES:
            if resync:
                candidate.load_state(reference.state())
            evidence = comparison.phase(
                iteration, phase, batch, watch, evidence, resync
            )
            take_into(report, evidence, resync)
            if stop and report.first:
                return report
    return report


def take_into(
    report: Report,
    evidence: Evidence,
    resync: bool,
    labelled: Callable[[Any], Any] = lambda entry: entry,
    explain: bool = True,
) -> None:
    """Adds a phase's comparisons; looks for causes where they mean something.

    After a first difference the two sides are in other states, and what follows
    from that is no cause: unless the candidate gets the reference's state again.

    Args:
      report: to add to.
      evidence: of the phase.
      resync: whether the candidate had the reference's state before it.
      labelled: gives a `Difference`, `Cause` or `AverageVerdict` the names by which
        the report is to call things.
      explain: whether to look for causes and verdicts; they take the states before
        the phase.
    """
    before = report.first
    for difference in evidence.differences:
        report.add(labelled(difference))
    if not explain:
        return
    if resync or not before:
        report.add_causes(list(map(labelled, causes.find(evidence))))
    unordered = any(d.unordered for d in evidence.differences)
    if (
        evidence.iteration == 1
        or unordered
        or (resync and evidence.differs("moving average"))
    ):
        found = averages.verdicts(evidence)
        report.add_averages(list(map(labelled, found)))


class _Comparison:
    """Two implementations and what is known of their gradients."""

    def __init__(self, reference, candidate, tolerance):
        self._pair = (reference, candidate)
        self._tolerance = tolerance
        self._noisy = set()

    def phase(
        self, iteration, phase, batch, watch, previous, resync
    ) -> Evidence:
        """Runs one phase on both sides and compares, in order."""
        gradients_too = watch or iteration == 1
        known = (None, None)
        if previous and not watch and not resync:  # nothing ran since
            known = (previous.reference.after, previous.candidate.after)
        sides = [
            _before(side, batch, watch, gradients_too, state)
            for side, state in zip(self._pair, known)
        ]
        if iteration == 1:
            self._note_noisy(sides[0].gradients)
        for implementation, side in zip(self._pair, sides):
            _run(implementation, side, phase, batch, watch)
        if previous:
            previous.previous = None  # else all phases would be kept
        evidence = Evidence(iteration, phase, *sides, previous=previous)
        evidence.differences = [
            self._compare(evidence, kind, name, values)
            for kind, name, values in _comparisons(phase, *sides)
        ]
        return evidence

    def _note_noisy(self, gradients):
        """Finds the variables whose gradient is zero but for rounding."""
        sizes = {
            name: np.max(np.abs(value)) for name, value in gradients.items()
        }
        for name, size in sizes.items():
            network = name.split("/")[0]
            largest = max(
                s for n, s in sizes.items() if n.split("/")[0] == network
            )
            if size < self._tolerance.quiet * largest:
                self._noisy.add(name)

    def _compare(self, evidence, kind, name, values):
        noisy = any(name == n or name.startswith(n + "/") for n in self._noisy)
        return compare(evidence, kind, name, values, noisy, self._tolerance)


def _before(implementation, batch, watch, gradients_too, state=None):
    """Returns what an implementation shows before it runs a phase."""
    side = Side(before=state or _arrays(implementation.state()))
    if gradients_too and hasattr(implementation, "gradients"):
        side.gradients = _arrays(implementation.gradients(*batch))
    if watch:
        side.feed = _arrays(_feed(implementation, batch))
        if hasattr(implementation, "activations"):
            side.activations = _arrays(implementation.activations(*batch))
    return side


def _run(implementation, side, phase, batch, watch):
    side.loss = np.array(getattr(implementation, phase)(*batch))
    side.after = _arrays(implementation.state())
    if watch and hasattr(implementation, "generate"):
        side.samples = np.array(implementation.generate(batch[1]))


def _arrays(named):
    """Copies, since an implementation may hand out what it goes on changing."""
    return {name: np.array(value) for name, value in named.items()}


def _comparisons(phase, reference, candidate):
    """Yields kind, name and both values of all that is compared in a phase."""

    def both(kind, one, other):
        for name, values in _pairs(one, other):
            yield kind, name, values

    yield from both("feed", reference.feed, candidate.feed)
    if reference.activations and candidate.activations:
        yield from both(
            "activation", reference.activations, candidate.activations
        )
    yield "loss", phase, (reference.loss, candidate.loss)
    if reference.gradients and candidate.gradients:
        yield from both(
            "gradient",
            _of_phase(reference.gradients, phase),
            _of_phase(candidate.gradients, phase),
        )
    states = _pairs(reference.after, candidate.after)
    for name, values in sorted(states, key=_order):
        yield kind_of(name), name, values
    if reference.samples is not None and candidate.samples is not None:
        yield "sample", "generate", (reference.samples, candidate.samples)


def _of_phase(gradients, phase):
    """Leaves out those of the network that is not trained in this phase."""
    others = [n + "/" for p, n in NETWORKS.items() if p != phase]
    return {
        name: value
        for name, value in gradients.items()
        if not name.startswith(tuple(others))
    }


def _feed(side, batch):
    """Returns what a side feeds its networks: the batch, unless it says otherwise."""
    return (
        side.feed(*batch) if hasattr(side, "feed") else dict(zip(FEEDS, batch))
    )


def _pairs(reference, candidate):
    """Yields each name with both values; what one side lacks is None."""
    for name in list(reference) + [n for n in candidate if n not in reference]:
        yield name, (reference.get(name), candidate.get(name))


def _note(reference, candidate):
    """Says why two values have no finite distance."""
    if candidate is None:
        return "only the reference has it"
    if reference is None:
        return "only the candidate has it"
    if np.shape(reference) != np.shape(candidate):
        return f"shapes {np.shape(reference)} and {np.shape(candidate)}"
    if not np.array_equal(np.isnan(reference), np.isnan(candidate)):
        return "NaN on one side only"
    return ""


def _order(item):
    return KINDS.index(kind_of(item[0]))
