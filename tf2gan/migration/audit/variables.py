"""Finds variables, and what writes them, through references and resources."""

import dataclasses
import re
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import op_def_registry

from tf2gan.migration.audit.dataflow import Dataflow
from tf2gan.migration.audit.nodes import Node, Tensor

REFERENCES = {"Variable", "VariableV2", "AutoReloadVariable"}
HANDLE = "VarHandleOp"
READ = "ReadVariableOp"
_WRITE = re.compile(
    r"(Resource)?(Sparse)?Apply[A-Z]|Assign|(Resource)?Scatter(Nd)?[A-Z]"
    r"|(Resource)?StridedSliceAssign|(Resource)?CountUpTo"
)
# `ScatterNd` alone makes a new tensor; these look like writers, and are not.
_PURE = {"ScatterNd", "ScatterNdNonAliasingAdd"}
_APPLY = re.compile(r"(Resource)?(Sparse)?Apply(\w+)")
# TensorFlow's name for a handle that only its own operation shares.
_ANONYMOUS = b"cd2c89b7-88b7-44c8-ad83-06c2a9158347"
_INTEGERS = {types_pb2.DT_INT32, types_pb2.DT_INT64}


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable: its name, its type, and the number of its dimensions if known."""

    name: str
    dtype: int
    rank: Optional[int]

    @property
    def counts(self) -> bool:
        """Whether it may be a step count: a whole number."""
        return self.dtype in _INTEGERS and self.rank in (0, None)


class Write(NamedTuple):
    """An operation that changes a variable."""

    node: Node
    variable: str
    values: Tuple[Tensor, ...]  # what it takes besides the variable
    slots: Tuple[str, ...]  # other variables that it changes

    @property
    def optimizer(self) -> Optional[str]:
        """The optimizer whose kernel it is, as in "Adam"; None for others."""
        match = _APPLY.match(self.node.op)
        return match.group(3) if match else None


class Variables:
    """The variables of a graph by name, and all that writes them."""

    def __init__(self, flow: Dataflow) -> None:
        """Finds them in a graph."""
        self._flow = flow
        self._by_node: Dict[str, str] = {}
        self._behind: Dict[Tensor, Set[str]] = {}
        self.all: Dict[str, Variable] = {}
        shared: Dict[Tuple[str, str], str] = {}
        for node in flow.nodes.values():
            if _is_variable(node):
                key = _shared_key(node)
                name = shared.setdefault(key, node.name)
                self._by_node[node.name] = name
                self.all.setdefault(name, _variable(node))
        self.writes: List[Write] = [
            write
            for node in flow.nodes.values()
            if is_write(node)
            for write in self._writes(node)
        ]
        self.at: Dict[str, List[Write]] = {}
        for write in self.writes:
            self.at.setdefault(write.node.name, []).append(write)

    def behind(self, tensor: Tensor) -> Set[str]:
        """Returns the variables that a reference, handle or value is one of."""
        root = self._flow.root(tensor)
        if root not in self._behind:
            self._behind[root] = self._search(root)
        return self._behind[root]

    def _search(self, tensor):
        found, waiting, seen = set(), [tensor], set()
        while waiting:
            current = waiting.pop()
            if current in seen:
                continue
            seen.add(current)
            node = self._flow.nodes[current[0]]
            if node.name in self._by_node:
                found.add(self._by_node[node.name])
            elif hands_on_variable(node):
                waiting += node.inputs[:1]
            else:
                waiting += self._flow.forwarded(current)
        return found

    def _writes(self, node):
        targets = _targets(node)
        slots = [
            name
            for place in targets[1:]
            for name in sorted(self.behind(node.inputs[place]))
        ]
        values = [t for i, t in enumerate(node.inputs) if i not in targets]
        for name in sorted(self.behind(node.inputs[0])):
            yield Write(node, name, tuple(values), tuple(slots))


def is_write(node: Node) -> bool:
    """Tells whether an operation changes a variable."""
    return (
        bool(_WRITE.match(node.op))
        and node.op not in _PURE
        and bool(node.inputs)
    )


def hands_on_variable(node: Node) -> bool:
    """Tells whether an operation's output is the variable that is its first input.

    A read is its value; what writes a reference returns the reference.
    """
    return bool(node.inputs) and (node.op == READ or is_write(node))


def argument_names(op: str, count: int) -> List[str]:
    """Returns the names of an operation's inputs, as far as TensorFlow knows them."""
    op_def = op_def_registry.get(op)
    names = [arg.name for arg in op_def.input_arg] if op_def else []
    return (names + [""] * count)[:count]


def _is_variable(node):
    if node.op in REFERENCES or node.op == HANDLE:
        return True
    # What a function took from outside, where only the function is there.
    return (
        node.op == "Placeholder"
        and "dtype" in node.attr
        and node.attr["dtype"].type == types_pb2.DT_RESOURCE
    )


def _shared_key(node):
    shared = node.attr["shared_name"].s if "shared_name" in node.attr else b""
    container = node.attr["container"].s if "container" in node.attr else b""
    if node.op != HANDLE or shared in (b"", _ANONYMOUS):
        return node.name, ""
    return str(container), str(shared)


def _variable(node):
    dtype = node.attr["dtype"].type if "dtype" in node.attr else 0
    rank = None
    if "shape" in node.attr and not node.attr["shape"].shape.unknown_rank:
        rank = len(node.attr["shape"].shape.dim)
    return Variable(node.name, dtype, rank)


def _targets(node):
    """Returns the places of the inputs that an operation changes, the first first."""
    op_def = op_def_registry.get(node.op)
    arguments = op_def.input_arg if op_def else []
    places = [
        place
        for place, arg in enumerate(arguments)
        if (arg.is_ref or arg.type == types_pb2.DT_RESOURCE)
        and place < len(node.inputs)
    ]
    return places if places[:1] == [0] else [0]
