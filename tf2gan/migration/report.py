"""What a comparison of two implementations found, whole enough to write it out.

The writers (`report_text`, `report_json`, `report_html`) need nothing but a `Report`.
"""

import dataclasses
from typing import Dict, List, Optional, Tuple

from tf2gan.common.specs import DISCRIMINATOR, GENERATOR

PHASES = ("discriminator_step", "generator_step")
NETWORKS = {"discriminator_step": DISCRIMINATOR, "generator_step": GENERATOR}

# In the order in which a step computes them.
KINDS = (
    "feed",
    "activation",
    "loss",
    "gradient",
    "slot",
    "weight",
    "moving average",
    "step count",
    "sample",
)

# Iteration, from 1, and phase.
Step = Tuple[int, str]


def in_words(scope: str) -> str:
    """Returns "the generator" for a network, and a script's own scope as it is."""
    return f"the {scope}" if scope in NETWORKS.values() else scope


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far two implementations may be apart.

    Attributes:
      relative: largest difference in a tensor over its largest element.
      noise: absolute bound for weights, slots and gradients whose true gradient is
        zero, such as a bias in front of batch norm: Adam makes steps out of its
        rounding noise.
      quiet: a gradient counts as zero if its largest element is below this share
        of the largest in its network.
    """

    relative: float = 1e-9
    noise: float = 1e-8
    quiet: float = 1e-10


# In float32 two implementations that call the same kernels agree to the last bit, but
# kernels that sum in another order do not.
TOLERANCES = {
    "float32": Tolerance(relative=1e-6, noise=1e-3, quiet=1e-5),
    "float64": Tolerance(),
}


@dataclasses.dataclass(frozen=True)
class Difference:
    """One tensor of one phase, as the two implementations have it.

    Attributes:
      iteration: from 1.
      phase: one of `PHASES`, or what a recording calls it.
      kind: one of `KINDS`.
      name: of the tensor.
      absolute: largest difference of two elements; infinite if only one is NaN.
      relative: the same over the largest element of the reference.
      noisy: whether the true gradient is zero, so that `absolute` is what counts.
      allowed: whether it is within the tolerance.
      note: why there is no finite difference, if so.
      unordered: of a moving average in a replay, the order in which TF1 happened to
        update it, where the candidate has another: the difference is then that from
        the result of this order; empty otherwise.
    """

    iteration: int
    phase: str
    kind: str
    name: str
    absolute: float
    relative: float
    noisy: bool
    allowed: bool
    note: str = ""
    unordered: str = ""

    @property
    def counted(self) -> float:
        """The difference that the tolerance bounds, and would need to be."""
        return self.absolute if self.noisy else self.relative

    def __str__(self) -> str:
        apart = self.note or (
            f"{self.absolute:.3g} apart, {self.relative:.3g} of its size"
        )
        return (
            f"iteration {self.iteration}, {self.phase}, {self.kind} "
            f"{self.name}: {apart}"
        )


@dataclasses.dataclass(frozen=True)
class Cause:
    """What probably is behind a difference.

    Attributes:
      hazard: key of the entry in `hazards.HAZARDS`.
      finding: what is wrong, with the values of both sides.
      measured: by what it was recognised, with the number.
      iteration: where, from 1.
      phase: where, one of `PHASES`.
    """

    hazard: str
    finding: str
    measured: str
    iteration: int
    phase: str


@dataclasses.dataclass(frozen=True)
class AverageVerdict:
    """How the two sides updated one moving average in one phase.

    Attributes:
      iteration: from 1.
      phase: one of `PHASES`.
      name: of the moving average.
      reference: what the reference did, such as "real before generated".
      candidate: what the candidate did.
      alike: whether both came out the same, within the tolerance.
    """

    iteration: int
    phase: str
    name: str
    reference: str
    candidate: str
    alike: bool


@dataclasses.dataclass
class Report:
    """What a comparison found.

    Attributes:
      first: the first difference beyond the tolerance, None if there is none.
      largest: of each kind the largest relative difference, noisy ones apart.
      noisiest: the largest absolute difference of a tensor with no true gradient.
      iterations: how many were run.
      history: every comparison, by (kind, name), in order of time.
      causes: what probably is behind the differences, the likeliest first.
      averages: how the moving averages were updated, where that was looked into.
      tolerance: that of the comparison.
      settings: what was compared, by name, to be shown with the report.
      warnings: what the comparison cannot show, a sentence each.
      wholly: of a replay, iteration and phase of the steps with recorded variables.
      by_losses: of a replay, those of steps without: only feeds and losses were
        compared.
      without_causes: those of steps that differ and show no cause, as the variables
        before them were not recorded.
      notes: what else a user should know, a sentence each.
      not_shown: of a replay, which of activations and gradients the implementation
        does not show.
      losses: of a replay, what the implementation's loss and the recorded one were
        recognised as, by step of `PHASES`, where they differ and trials were made;
        empty if none of those known.
      unrecorded: of a replay, the phases of which the trace has no call.
      averages_aside: of a replay, whether moving averages were not compared.
    """

    first: Optional[Difference] = None
    largest: Dict[str, Difference] = dataclasses.field(default_factory=dict)
    noisiest: Optional[Difference] = None
    iterations: int = 0
    history: Dict[Tuple[str, str], List[Difference]] = dataclasses.field(
        default_factory=dict
    )
    causes: List[Cause] = dataclasses.field(default_factory=list)
    averages: List[AverageVerdict] = dataclasses.field(default_factory=list)
    tolerance: Tolerance = Tolerance()
    settings: Dict[str, str] = dataclasses.field(default_factory=dict)
    warnings: List[str] = dataclasses.field(default_factory=list)
    wholly: List[Step] = dataclasses.field(default_factory=list)
    by_losses: List[Step] = dataclasses.field(default_factory=list)
    without_causes: List[Step] = dataclasses.field(default_factory=list)
    notes: List[str] = dataclasses.field(default_factory=list)
    not_shown: List[str] = dataclasses.field(default_factory=list)
    losses: Dict[str, Tuple[str, str]] = dataclasses.field(default_factory=dict)
    unrecorded: List[str] = dataclasses.field(default_factory=list)
    averages_aside: bool = False

    @property
    def alike(self) -> bool:
        """Whether every phase was compared, and none showed a difference.

        Moving averages that TF1 updated in another order are none of the candidate's
        faults, and yet not alike.
        """
        whole = self.first is None and not self.unrecorded
        return whole and not self.unordered()

    @property
    def raced(self) -> bool:
        """Whether the order of a recording's updates is all that differs."""
        return self.first is None and bool(self.unordered())

    def add(self, difference: Difference) -> None:
        """Takes a comparison into account."""
        key = (difference.kind, difference.name)
        self.history.setdefault(key, []).append(difference)
        if not difference.allowed and self.first is None:
            self.first = difference
        if difference.noisy:
            if (
                not self.noisiest
                or difference.absolute > self.noisiest.absolute
            ):
                self.noisiest = difference
            return
        largest = self.largest.get(difference.kind)
        if largest is None or difference.relative > largest.relative:
            self.largest[difference.kind] = difference

    def add_causes(self, causes: List[Cause]) -> None:
        """Adds those of a phase, but each hazard once for every phase."""
        findings = {cause.finding for cause in self.causes}
        places = {(cause.hazard, cause.phase) for cause in self.causes}
        self.causes += [
            cause
            for cause in causes
            if cause.finding not in findings
            and (cause.hazard, cause.phase) not in places
        ]

    def add_averages(self, verdicts: List[AverageVerdict]) -> None:
        """Adds those that do not say the same as one of an earlier iteration."""

        def said(row):
            return (
                row.phase,
                row.name,
                row.reference,
                row.candidate,
                row.alike,
            )

        known = {said(row) for row in self.averages}
        self.averages += [row for row in verdicts if said(row) not in known]

    def unordered(self) -> List[Difference]:
        """Returns the moving averages that TF1 updated in an order left to chance."""
        return [
            difference
            for history in self.history.values()
            for difference in history
            if difference.unordered
        ]

    def tensors(self) -> List["Tensor"]:
        """Returns a summary per tensor, in the order of `KINDS`."""
        rows = sorted(self.history.items(), key=lambda i: KINDS.index(i[0][0]))
        return [Tensor(*key, tuple(values)) for key, values in rows]

    def phases(self) -> List[str]:
        """Returns the phases in the order in which they were first compared."""
        return list(
            {d.phase: None for rows in self.history.values() for d in rows}
        )

    def at(self, iteration: int, phase: str) -> List[Difference]:
        """Returns the comparisons of one phase, in the order of `KINDS`."""
        return [
            difference
            for tensor in self.tensors()
            for difference in tensor.history
            if (difference.iteration, difference.phase) == (iteration, phase)
        ]

    def __str__(self) -> str:
        lines = [f"{self.iterations} iterations"]
        lines.append(f"first difference: {self.first or 'none'}")
        for kind in KINDS:
            if kind in self.largest:
                lines.append(f"largest of kind {kind}: {self.largest[kind]}")
        if self.noisiest:
            lines.append(f"largest without a true gradient: {self.noisiest}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor over the whole comparison.

    Attributes:
      kind: one of `KINDS`.
      name: of the tensor.
      history: its comparisons, in order of time.
    """

    kind: str
    name: str
    history: Tuple[Difference, ...]

    @property
    def worst(self) -> Difference:
        """The comparison that needs the largest tolerance."""
        return max(self.history, key=lambda difference: difference.counted)

    @property
    def absolute(self) -> float:
        """The largest absolute difference."""
        return max(difference.absolute for difference in self.history)

    @property
    def relative(self) -> float:
        """The largest relative difference."""
        return max(difference.relative for difference in self.history)

    @property
    def noisy(self) -> bool:
        """Whether its true gradient is zero: the absolute difference counts."""
        return self.worst.noisy

    @property
    def needed(self) -> float:
        """The tolerance that would be needed, absolute if it is noisy."""
        return self.worst.counted

    @property
    def allowed(self) -> bool:
        """Whether all of its comparisons are within the tolerance."""
        return all(difference.allowed for difference in self.history)
