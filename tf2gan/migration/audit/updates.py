"""Recognizes writes that update a moving average, by the arithmetic before them."""

import dataclasses
import re
from typing import FrozenSet, Iterable, List, NamedTuple, Optional, Set, Tuple

from tf2gan.migration.audit.dataflow import Choice, exclusive
from tf2gan.migration.audit.model import Model
from tf2gan.migration.audit.nodes import Tensor
from tf2gan.migration.audit.variables import READ, Write

FUSED = re.compile(r"FusedBatchNorm(V2|V3|Ex)?|_FusedBatchNormEx")
# Where a fused kernel takes the averages, and where it gives the batch's moments.
FUSED_AVERAGES = (3, 4)
FUSED_MOMENTS = (1, 2)

# The arithmetic of average -= (average - value) * decay, however it is written.
_ARITHMETIC = {
    "Add",
    "AddN",
    "AddV2",
    "Cast",
    "Div",
    "ExpandDims",
    "Maximum",
    "Mul",
    "Neg",
    "RealDiv",
    "Reshape",
    "Select",
    "SelectV2",
    "Squeeze",
    "Sub",
}
_MOMENTS = {"Mean"}
# An update is a handful of operations; a walk stops where it is no update.
_MOST_ARITHMETIC = 500


class End(NamedTuple):
    """Where arithmetic ends: a tensor, what computes with it, and in which branches."""

    tensor: Tensor
    taker: str
    choices: FrozenSet[Choice]


@dataclasses.dataclass
class Update:
    """A write of a moving average.

    Attributes:
      write: the operation.
      reads: the operations that take the old value.
      moments: the operations that give the batch's mean or variance.
      around: all operations that only compute the new value.
    """

    write: Write
    reads: Set[str]
    moments: Set[str]
    around: Set[str]

    @property
    def name(self) -> str:
        """The name of the operation."""
        return self.write.node.name


class Arithmetic:
    """Walks back from the values that a graph writes."""

    def __init__(self, model: Model) -> None:
        """Takes the graph."""
        self._flow = model.flow
        self._behind = model.variables.behind

    def recognize(self, write: Write) -> Optional[Update]:
        """Returns a write as an update; None if it gives an initial value."""
        if write.optimizer:
            return None
        around, ends = self.walk(write.values)
        moments = [end for end in ends if self._is_moment(end.tensor)]
        reads = [end for end in ends if self._is_read(end, write.variable)]
        if not reads and not moments:
            return None
        return Update(
            write,
            {self._reader(end) for end in reads if _together(end, moments)},
            {end.tensor[0] for end in moments},
            around | {write.node.name},
        )

    def walk(self, values: Iterable[Tensor]) -> Tuple[Set[str], List[End]]:
        """Walks from values through arithmetic; returns it, and where it ends."""
        around, ends = set(), []
        waiting = [End(v, "", self._flow.choices_of(v)) for v in values]
        seen = set(waiting)
        while waiting and len(seen) < _MOST_ARITHMETIC:
            end = waiting.pop()
            node = self._flow.nodes[end.tensor[0]]
            sources, taker = self._flow.forwarded(end.tensor), end.taker
            if not sources and node.op in _ARITHMETIC:
                sources, taker = node.inputs, node.name
            if not sources:
                ends.append(end._replace(taker=taker or node.name))
                continue
            around.add(node.name)
            steps = {
                End(s, taker, end.choices | self._flow.choices_of(s))
                for s in sources
            } - seen
            seen |= steps
            waiting += steps
        return around, ends

    def _is_read(self, end, variable):
        return variable in self._behind(end.tensor)

    def _reader(self, end):
        """Returns what reads: a resource's read, or what computes with a reference.

        A reference's value may be that at the time of the computation: the identity
        that is called its read shares the memory.
        """
        node = self._flow.nodes[end.tensor[0]]
        return node.name if node.op == READ else end.taker

    def _is_moment(self, tensor):
        node = self._flow.nodes[tensor[0]]
        if FUSED.fullmatch(node.op):
            return tensor[1] in FUSED_MOMENTS
        return node.op in _MOMENTS


def _together(read, moments):
    """Tells whether a read can be part of an update with the batch's moments.

    One in the branch for inference is not: there the average takes its own value,
    or a share of nothing.
    """
    return not moments or any(
        not exclusive(read.choices, moment.choices) for moment in moments
    )
