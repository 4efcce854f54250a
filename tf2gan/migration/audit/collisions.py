"""The checks of weights that one run changes and that nothing orders."""

import itertools
from typing import Dict, Iterator, List, Set, Tuple

from tf2gan.migration.audit.dataflow import exclusive
from tf2gan.migration.audit.findings import Finding
from tf2gan.migration.audit.model import SAVE_OPS
from tf2gan.migration.audit.subject import Subject
from tf2gan.migration.audit.variables import READ, Write

# Each takes a walk or two through the graph, and a file may hold any number.
MOST_COMPARED = 1000


def weights_changed_twice(subject: Subject) -> Iterator[Finding]:
    """Finds weights with two changes in one run, as a step and a clip, unordered."""
    bounded = _Bounded()
    for train_op in subject.train_ops:
        found: List[Write] = []
        left: List[str] = []
        for variable, writes in _writes(subject, train_op.operations).items():
            pairs = itertools.combinations(writes, 2)
            for pair in bounded.take(pairs):
                if _collide(subject.model.flow, *pair):
                    found += pair
            left += [variable for _ in itertools.islice(pairs, 1)]
        if found:
            yield Finding(
                "weights-race",
                tuple(dict.fromkeys(w.node.name for w in found)),
                tuple(dict.fromkeys(w.variable for w in found)),
                train_op.name,
            )
        if left:
            yield Finding("not-compared", (), tuple(left), train_op.name)


def steps_unordered(subject: Subject) -> Iterator[Finding]:
    """Finds train ops in one run of which one reads what the other changes."""
    flow, bounded = subject.model.flow, _Bounded()
    grouped = [t for t in subject.train_ops if len(t.runs) > 1]
    readers = _readers(subject.model) if grouped else {}
    for train_op in grouped:
        run = {name: flow.ancestors(name) for name in train_op.runs}
        steps = [
            name
            for name in run
            if not any(name in run[other] for other in run if other != name)
        ]
        weights: Dict[str, None] = {}
        left: Dict[str, None] = {}
        for one, other in itertools.permutations(steps, 2):
            meetings = _meetings(
                _writes(subject, run[one] - run[other]),
                run[other] - run[one],
                readers,
            )
            for write, reading in bounded.take(meetings):
                name = write.node.name
                if reading - flow.ancestors(name) - flow.descendants(name):
                    weights[write.variable] = None
            left.update((write.variable, None) for write, _ in meetings)
        if weights:
            yield Finding(
                "unordered-steps", tuple(steps), tuple(weights), train_op.name
            )
        if left:
            yield Finding("not-compared", (), tuple(left), train_op.name)


class _Bounded:
    """Hands out what is to be compared, as much as a check may compare."""

    def __init__(self):
        self._left = MOST_COMPARED

    def take(self, pairs: Iterator) -> Iterator:
        """Yields pairs; those that are too many stay in the iterator."""
        for pair in itertools.islice(pairs, self._left):
            self._left -= 1
            yield pair


def _meetings(writes, operations, readers) -> Iterator[Tuple[Write, Set[str]]]:
    """Yields writes, each with those of the operations that read its variable."""
    for variable, of_variable in writes.items():
        reading = readers.get(variable, set()) & operations
        if reading:
            for write in of_variable:
                yield write, reading


def _writes(subject, operations) -> Dict[str, List[Write]]:
    """Returns the writes of each weight that are among the operations."""
    model = subject.model
    found: Dict[str, List[Write]] = {}
    for write in model.variables.writes:
        name = write.node.name
        if (
            write.variable in model.weights
            and name in operations
            and model.flow.runs(name)
        ):
            found.setdefault(write.variable, []).append(write)
    return found


def _collide(flow, one, other):
    names = one.node.name, other.node.name
    return not (
        exclusive(*map(flow.choices, names))
        or names[0] in flow.ancestors(names[1])
        or names[1] in flow.ancestors(names[0])
    )


def _readers(model) -> Dict[str, Set[str]]:
    """Returns by weight the operations that compute with its value."""
    found: Dict[str, Set[str]] = {}
    for node in model.flow.nodes.values():
        if node.op in SAVE_OPS or node.name in model.variables.at:
            continue
        # A resource's value is that of its read; the identity of a reference is none.
        if node.op != READ and model.flow.forwarded((node.name, 0)):
            continue
        for tensor in node.inputs:
            source = model.flow.nodes[model.flow.root(tensor)[0]]
            if node.op == READ or source.op != READ:
                for name in model.variables.behind(tensor) & model.weights:
                    found.setdefault(name, set()).add(node.name)
    return found
