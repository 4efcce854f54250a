"""The dataflow of a step as a tree, with the comparisons of one phase at its nodes."""

import dataclasses
from typing import Dict, List, Optional, Tuple

from tf2gan.common.specs import DISCRIMINATOR, GENERATOR
from tf2gan.migration.report import PHASES, Difference, Report

OK, DIFFERENT, NOT_COMPARED = "ok", "different", "not compared"

# How a step computes: the heading, the kind compared there, and, for activations,
# the scope. TF1 names the second call of the discriminator `discriminator_1`.
_STAGES = (
    ("feed", "feed", None),
    ("generator layers", "activation", GENERATOR),
    ("discriminator layers on real images", "activation", DISCRIMINATOR),
    (
        "discriminator layers on generated images",
        "activation",
        DISCRIMINATOR + "_1",
    ),
    ("loss", "loss", None),
    ("gradients", "gradient", None),
    ("slots", "slot", None),
    ("weights", "weight", None),
    ("moving averages", "moving average", None),
    ("step counts", "step count", None),
    ("samples", "sample", None),
)


@dataclasses.dataclass(frozen=True)
class Node:
    """A stage of the step.

    Attributes:
      name: such as "gradients".
      status: `OK`, `DIFFERENT` or `NOT_COMPARED`.
      leaves: the comparisons made there.
      first: whether the first difference of the whole comparison is among them.
      why: of a stage of a replay that was not compared, why not; empty otherwise.
    """

    name: str
    status: str
    leaves: Tuple[Difference, ...]
    first: bool
    why: str = ""

    def summary(self) -> str:
        """Says how many tensors were compared and how many differ."""
        count, wrong = len(self.leaves), len(self.different())
        if not count:
            return f"{NOT_COMPARED}: {self.why}" if self.why else NOT_COMPARED
        tensors = "1 tensor" if count == 1 else f"{count} tensors"
        if wrong:
            return f"{wrong} of {tensors} different"
        unordered = sum(1 for leaf in self.leaves if leaf.unordered)
        if unordered:
            return f"{tensors}, {unordered} of them in another order"
        return f"{tensors}, ok"

    def different(self) -> List[Difference]:
        """Returns the comparisons beyond the tolerance."""
        return [leaf for leaf in self.leaves if not leaf.allowed]


def moment(report: Report) -> Tuple[int, str]:
    """Returns iteration and phase to look at: of the first difference, or the last."""
    if report.first:
        return report.first.iteration, report.first.phase
    ends = [values[-1] for values in report.history.values()]
    phases = report.phases()
    return max(
        ((end.iteration, end.phase) for end in ends),
        key=lambda when: (when[0], phases.index(when[1])),
        default=(0, PHASES[0]),
    )


def tree(report: Report) -> List[Node]:
    """Returns the stages in the order in which the step computes them."""
    leaves = report.at(*moment(report))
    scopes = _scopes(leaves)
    return [
        _node(
            report, name, [x for x in leaves if _belongs(x, kind, scope)], kind
        )
        for name, kind, scope in _stages(scopes)
    ]


def _node(
    report: Report, name: str, leaves: List[Difference], kind: str
) -> Node:
    status = NOT_COMPARED
    if leaves:
        status = OK if all(leaf.allowed for leaf in leaves) else DIFFERENT
    first: Optional[Difference] = report.first
    return Node(
        name,
        status,
        tuple(leaves),
        first is not None and first in leaves,
        "" if leaves else _why(report, kind),
    )


def _why(report: Report, kind: str) -> str:
    """Returns why a replay could not compare a kind at the moment looked at."""
    if not report.wholly and not report.by_losses:
        return ""
    if kind in ("activation", "sample"):
        return "a trace has none"
    if kind == "gradient" and "gradients" in report.not_shown:
        return "the port shows none"
    if moment(report) in report.by_losses:
        return "not recorded of this step"
    if kind == "moving average" and report.averages_aside:
        return "set aside"
    return "trace and port have none in common"


def _scopes(leaves) -> Dict[str, None]:
    names = [leaf.name for leaf in leaves if leaf.kind == "activation"]
    return {name.partition("/")[0]: None for name in names}


def _stages(scopes):
    """Returns the stages, with one more for each scope of another name."""
    known = [scope for _, _, scope in _STAGES]
    others = [
        (f"layers of {scope}", "activation", scope)
        for scope in scopes
        if scope not in known
    ]
    if others and not any(scope in known for scope in scopes):
        return (*_STAGES[:1], *others, *_STAGES[4:])
    return (*_STAGES[:4], *others, *_STAGES[4:])


def _belongs(leaf, kind, scope):
    return leaf.kind == kind and (
        scope is None or leaf.name.partition("/")[0] == scope
    )
