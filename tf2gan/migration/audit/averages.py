"""Finds the moving averages of batch normalization and all that uses them."""

import dataclasses
import re
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from tf2gan.migration.audit.dataflow import exclusive
from tf2gan.migration.audit.model import SAVE_OPS, UPDATE_OPS, Model
from tf2gan.migration.audit.nodes import Node
from tf2gan.migration.audit.updates import (
    FUSED,
    FUSED_AVERAGES,
    Arithmetic,
    Update,
)
from tf2gan.migration.audit.variables import READ, is_write

_NAME = re.compile(
    r"(.*/)?(moving|running|pop|population)_(mean|var|variance)(_\d+)?"
)
# What looks at a variable and computes nothing with it.
_LOOKING = re.compile(
    r".*Summary(V2)?|Print(V2)?|Assert|.*Is(Variable)?Initialized(Op)?"
    r"|Shape|ShapeN|VariableShape|Rank|Size|NoOp|_Retval"
)
_MOST_EXACTLY_COUNTED = 12


@dataclasses.dataclass
class Average:
    """A moving average of batch normalization: its updates, and what uses it."""

    name: str
    updates: List[Update]
    uses: List[Node]


class Averages:
    """The moving averages of a graph, by name."""

    def __init__(self, model: Model) -> None:
        """Finds them in a graph."""
        self._model = model
        self._flow = model.flow
        self._behind = model.variables.behind
        self._arithmetic = Arithmetic(model)
        self._order: Optional[Dict[str, int]] = None
        updates: Dict[str, List[Update]] = {}
        for write in model.variables.writes:
            update = self._arithmetic.recognize(write)
            if update:
                updates.setdefault(write.variable, []).append(update)
        names = [n for n in model.variables.all if self._is_one(n, updates)]
        self._readers = self._uses(set(names))
        self.all: Dict[str, Average] = {
            name: self._average(name, updates.get(name, [])) for name in names
        }
        covered = self._covered()
        self.uncollected = {
            update.name
            for average in self.all.values()
            for update in average.updates
            if update.name not in covered
        }

    def updates(self) -> Iterator[Tuple[Average, Update]]:
        """Yields every update with its average."""
        for average in self.all.values():
            for update in average.updates:
                yield average, update

    def count(self, updates: Iterable[Update]) -> int:
        """Returns how many of some updates one run makes, at most.

        Of updates in different branches of a condition only one runs.
        """
        choices = [
            self._flow.choices(update.name)
            for update in updates
            if self._flow.runs(update.name)
        ]
        return _most_together(choices)

    def ordered(self, one: Update, other: Update) -> bool:
        """Tells whether one update has run whenever the other reads the average."""
        return self._after(one, other) or self._after(other, one)

    def _after(self, first, second):
        reads = second.reads or {second.name}
        return all(self._awaits(read, first) for read in reads)

    def _awaits(self, name, update):
        """Tells whether an operation runs only after an update."""
        if self._order is None:
            names = dict.fromkeys(update.name for _, update in self.updates())
            self._places = {name: place for place, name in enumerate(names)}
            self._order = self._flow.reach(names)
        return bool(self._order[name] >> self._places[update.name] & 1)

    def in_place(self, update: Update) -> List[str]:
        """Returns the names of values that cannot be had without an update.

        These are handed on only once it has run, and are not the average itself.
        """
        found, waiting, seen = [], [update.name], {update.name}
        while waiting:
            current = waiting.pop()
            for node in self._flow.consumers[current]:
                if node.name in seen:
                    continue
                if node.op == "NoOp" and current in node.controls:
                    seen.add(node.name)
                    waiting.append(node.name)
                elif self._holds_back(node, current, update):
                    seen.add(node.name)
                    found.append(node.name)
        return sorted(found)

    def _holds_back(self, node, awaited, update):
        returned = sum(node.returns or [], [])
        if awaited in node.ends:  # a function that updates and returns a value
            return any(
                update.write.variable not in self._behind(tensor)
                for tensor in returned
            )
        if awaited not in node.controls:
            return False
        # Gradients wait, too, if a train op was made to wait. They differ from what the
        # layer makes of the batch, which by itself needs no update.
        if node.op in ("Identity", "IdentityN"):
            returned = node.inputs
        return any(self._is_of_batch(tensor, update) for tensor in returned)

    def _is_of_batch(self, tensor, update):
        around, ends = self._arithmetic.walk([tensor])
        names = around | {end.tensor[0] for end in ends}
        return bool(names & update.moments) and not any(
            self._awaits(name, update) for name, _ in self._flow.origins(tensor)
        )

    def _is_one(self, name, updates):
        variable = self._model.variables.all[name]
        if name in self._model.weights or name in self._model.slots:
            return False
        if _NAME.fullmatch(name):
            return True
        if variable.rank == 0 or variable.counts:
            return False
        return any(u.reads and u.moments for u in updates.get(name, []))

    def _average(self, name, updates):
        around = {n for update in updates for n in update.around}
        uses = [
            node
            for node in self._readers.get(name, [])
            if node.name not in around and self._flow.runs(node.name)
        ]
        return Average(name, updates, uses)

    def _uses(self, names):
        """Returns by variable the operations that compute with its value."""
        found: Dict[str, List[Node]] = {}
        for node in self._flow.nodes.values():
            if (
                is_write(node)
                or node.op in SAVE_OPS
                or _LOOKING.fullmatch(node.op)
            ):
                continue
            if node.op == READ or self._flow.forwarded((node.name, 0)):
                continue
            for place, tensor in enumerate(node.inputs):
                if FUSED.fullmatch(node.op) and _ignores(node, place):
                    continue
                for name in self._behind(tensor) & names:
                    found.setdefault(name, []).append(node)
        return found

    def _covered(self):
        """Returns what runs when all of the collection UPDATE_OPS runs."""
        covered = set()
        for operation in self._model.collection(UPDATE_OPS):
            if operation not in covered:
                covered |= self._flow.ancestors(operation)
        return covered


def _ignores(node, place):
    """Tells whether a fused kernel has no use for the averages it is given."""
    return place in FUSED_AVERAGES and node.attr["is_training"].b


def _most_together(choices):
    if len(choices) > _MOST_EXACTLY_COUNTED:
        return len(choices)
    for one in choices:
        for other in choices:
            if exclusive(one, other):
                rest = [
                    [c for c in choices if c is not left]
                    for left in (one, other)
                ]
                return max(map(_most_together, rest))
    return len(choices)
