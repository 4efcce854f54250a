"""Follows tensors through a flat graph: what each is, and what waits for what."""

from typing import Dict, FrozenSet, Iterable, Iterator, List, Set, Tuple

from tensorflow.python.framework import tensor_util

from tf2gan.migration.audit.nodes import ARGUMENT, START, Node, Tensor
from tf2gan.migration.audit.order import run_order

SWITCHES = {"Switch", "RefSwitch"}
MERGES = {"Merge", "RefMerge"}
EXITS = {"Exit", "RefExit"}
# Whose outputs are their inputs, one by one.
SAME = {
    "Identity",
    "RefIdentity",
    "IdentityN",
    "Enter",
    "RefEnter",
    "Exit",
    "RefExit",
    "NextIteration",
    "RefNextIteration",
    "StopGradient",
    "PreventGradient",
    "Snapshot",
    "EnsureShape",
    "CheckNumerics",
}
FORWARDING = SAME | SWITCHES | MERGES | {"RefSelect", ARGUMENT}

# A choice: the tensor that decides, and which way it went.
Choice = Tuple[Tensor, int]
# Made by a choice that a constant decides the other way.
_ANY: FrozenSet[Choice] = frozenset()
NEVER: FrozenSet[Choice] = frozenset([(("never", 0), -1)])


class Dataflow:
    """A flat graph, and the answers to what its tensors are and what awaits what."""

    def __init__(self, nodes: Dict[str, Node]) -> None:
        """Takes the operations by name, as `flatten` gives them."""
        self.nodes = nodes
        self.consumers: Dict[str, List[Node]] = {name: [] for name in nodes}
        for node in nodes.values():
            for name in set(node.awaited()):
                self.consumers[name].append(node)
        self._choices: Dict[str, FrozenSet[Choice]] = {}
        self._roots: Dict[Tensor, Tensor] = {}
        self._components = run_order(nodes)
        self._in_loops = {
            name for some in self._components if len(some) > 1 for name in some
        }
        self._note_choices()

    def forwarded(self, tensor: Tensor) -> List[Tensor]:
        """Returns the tensors that this one hands on; none if it is computed."""
        node = self.nodes[tensor[0]]
        if node.returns is not None:
            returns = node.returns[tensor[1] : tensor[1] + 1]
            return self._possible(sum(returns, []))
        if node.op not in FORWARDING or not node.inputs:
            return []
        if node.op in MERGES or node.op == ARGUMENT:
            return self._possible(node.inputs)
        if node.op == "RefSelect":
            return node.inputs[1:]
        if node.op == "IdentityN":
            return node.inputs[tensor[1] : tensor[1] + 1]
        return node.inputs[:1]

    def origins(self, tensor: Tensor) -> List[Tensor]:
        """Returns the computed tensors that this one may be."""
        return [t for t in self.walk(tensor) if not self.forwarded(t)]

    def walk(self, tensor: Tensor) -> Iterator[Tensor]:
        """Yields the tensor and all that it hands on, from near to far."""
        waiting, seen = [tensor], {tensor}
        for current in waiting:
            yield current
            for source in self.forwarded(current):
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)

    def root(self, tensor: Tensor) -> Tensor:
        """Returns the one tensor that this one is, as far as it is only one."""
        path, current = [], tensor
        while current not in self._roots:
            self._roots[current] = current  # until known; ends a circle
            path.append(current)
            sources = self.forwarded(current)
            if len(sources) == 1:
                current = sources[0]
        for passed in path:
            self._roots[passed] = self._roots[current]
        return self._roots[tensor]

    def choices(self, name: str) -> FrozenSet[Choice]:
        """Returns the choices without which an operation does not run."""
        return self._choices[name]

    def choices_of(self, tensor: Tensor) -> FrozenSet[Choice]:
        """Returns the choices without which there is no such tensor."""
        return self._after(tensor) or _ANY

    def runs(self, name: str) -> bool:
        """Tells whether an operation can run at all."""
        return not self._choices[name] & NEVER

    def is_inside(self, name: str) -> bool:
        """Tells whether an operation is part of a condition or a loop.

        A session runs no such operation by its name.
        """
        return bool(self._choices[name]) or name in self._in_loops

    def ancestors(self, name: str) -> Set[str]:
        """Returns the names of an operation and of all that must run before."""
        found, waiting = set(), [name]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting += self.nodes[current].awaited()
        return found

    def in_order(self) -> List[str]:
        """Returns all names in an order in which the operations can run."""
        return [name for component in self._components for name in component]

    def descendants(self, name: str) -> Set[str]:
        """Returns the names of an operation and of all that wait for it."""
        found, waiting = set(), [name]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting += [node.name for node in self.consumers[current]]
        return found

    def reach(self, marked: Iterable[str]) -> Dict[str, int]:
        """Returns for each operation which of `marked` run before it or are it.

        That is a number whose bit k stands for the k-th of `marked`: one pass over
        the graph instead of a walk for each.
        """
        bits = {name: 1 << place for place, name in enumerate(marked)}
        masks: Dict[str, int] = {}
        for component in self._components:
            mask = 0
            for name in component:
                mask |= bits.get(name, 0)
                for awaited in self.nodes[name].awaited():
                    mask |= masks.get(awaited, 0)
            for name in component:
                masks[name] = mask
        return masks

    def constant(self, tensor: Tensor):
        """Returns the value of a constant scalar, None if it is none."""
        node = self.nodes[tensor[0]]
        if node.op != "Const":
            return None
        proto = node.attr["value"].tensor
        # The shape may lie, and a large one would be made in full.
        if any(dim.size != 1 for dim in proto.tensor_shape.dim):
            return None
        try:
            return tensor_util.MakeNdarray(proto).reshape([-1])[0]
        except (TypeError, ValueError, IndexError):
            return None

    def _possible(self, tensors):
        """Leaves out those of branches that are never taken."""
        return [t for t in tensors if not self.choices_of(t) & NEVER]

    def _note_choices(self):
        for component in self._components:
            for name in component:
                self._choices[name] = self._choices_of(self.nodes[name])

    def _choices_of(self, node):
        waits = [self._after(tensor) for tensor in node.inputs]
        waits = [choices for choices in waits if choices is not None]
        if node.op in MERGES or node.op == ARGUMENT:
            alive = [c for c in waits if not c & NEVER]
            data = frozenset.intersection(*alive) if alive else frozenset()
            data = data if alive or not waits else NEVER
            waits = [data]
        waits += [
            self._choices.get(name, frozenset()) for name in node.controls
        ]
        found = frozenset().union(*waits)
        if node.op == START and node.branch is not None:
            found |= self._choice(node.inputs[0], node.branch)
        return found

    def _after(self, tensor):
        """Returns the choices made once a tensor is there; None for a loop's."""
        name, number = tensor
        choices = self._choices.get(name)
        node = self.nodes[name]
        if choices is None or node.op not in SWITCHES or len(node.inputs) < 2:
            return choices
        return choices | self._choice(node.inputs[1], number)

    def _choice(self, decider, way):
        root = self.root(decider)
        if self.nodes[root[0]].op == "LoopCond":
            return frozenset()
        constant = self.constant(root)
        if constant is None:
            return frozenset([(root, way)])
        return frozenset() if int(constant) == way else NEVER


def exclusive(one: FrozenSet[Choice], other: FrozenSet[Choice]) -> bool:
    """Tells whether two sets of choices cannot be made in one run."""
    ways = dict(one)
    return any(ways.get(decider, way) != way for decider, way in other)
