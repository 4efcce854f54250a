"""Makes a GraphDef one flat graph: the body of every function where it is called."""

import dataclasses
import itertools
from typing import Any, Dict, List, Mapping, Optional, Tuple

from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

from tf2gan.common.errors import UserError

# More than any model has; functions that call functions can multiply without end.
MOST_NODES = 250_000
# Nested deeper than anybody writes; a function that calls itself has no end.
DEEPEST_CALL = 50

# Operations of ours, that stand for what a call does.
ARGUMENT = "_Arg"
START = "_Start"

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
CONDITIONS = ("If", "StatelessIf")
CASES = ("Case", "StatelessCase")
LOOPS = ("While", "StatelessWhile")

Tensor = Tuple[str, int]  # the name of an operation, the number of its output


@dataclasses.dataclass
class Node:
    """An operation.

    Attributes:
      name: its own; inside a function after the call's and the function's names.
      op: its type.
      inputs: the tensors that it takes.
      controls: the names of operations that it waits for.
      attr: the attributes of its NodeDef.
      returns: of a call: for each output the tensors that it may be.
      ends: of a call: the names of operations without which it is not over.
      branch: of the start of a branch: its number; 1 is "true", 0 "false".
    """

    name: str
    op: str
    inputs: List[Tensor]
    controls: List[str]
    attr: Mapping[str, Any]
    returns: Optional[List[List[Tensor]]] = None
    ends: List[str] = dataclasses.field(default_factory=list)
    branch: Optional[int] = None

    def awaited(self) -> List[str]:
        """Returns the names of all operations that must have run before."""
        returned = [name for some in self.returns or [] for name, _ in some]
        taken = [name for name, _ in self.inputs]
        return taken + self.controls + self.ends + returned


def flatten(graph_def: graph_pb2.GraphDef) -> Dict[str, Node]:
    """Returns all operations by name, those inside of called functions too.

    Raises:
      UserError: if an input is missing, a name is there twice, or functions call
        each other without end.
    """
    library = {f.signature.name: f for f in graph_def.library.function}
    flat = _Flat(library)
    for definition in graph_def.node:
        flat.add(_top_level(definition), depth=0)
    flat.check()
    return flat.nodes


def _top_level(definition: node_def_pb2.NodeDef) -> Node:
    inputs, controls = [], []
    for text in definition.input:
        if text.startswith("^"):
            controls.append(text[1:])
        else:
            name, _, number = text.partition(":")
            inputs.append((name, int(number) if number.isdigit() else 0))
    return Node(
        definition.name, definition.op, inputs, controls, definition.attr
    )


class _Flat:
    """The operations so far, and the functions that they may call."""

    def __init__(self, library):
        self.nodes: Dict[str, Node] = {}
        self._library = library

    def add(self, node, depth):
        """Adds an operation, and all that it calls."""
        functions = [f for f in self._called(node) if f in self._library]
        if functions:
            self._add_call(node, functions, depth)
        self._add(node)

    def check(self):
        """Raises `UserError` if an operation waits for one that is not there."""
        for node in self.nodes.values():
            for name in node.awaited():
                if name not in self.nodes:
                    raise UserError(
                        f"the graph is damaged: '{node.name}' takes '{name}', "
                        "which it does not hold"
                    )

    def _add(self, node):
        if node.name in self.nodes:
            raise UserError(
                f"the graph is damaged: it has two operations '{node.name}'"
            )
        if len(self.nodes) >= MOST_NODES:
            raise UserError(
                f"the graph has more than {MOST_NODES:,} operations, its "
                "functions counted where they are called; audit a part of it"
            )
        self.nodes[node.name] = node

    def _called(self, node):
        """Returns the names of the functions a node calls, in order of branches."""
        if node.op in self._library:
            return [node.op]
        if node.op in CALLS:
            return [node.attr["f"].func.name]
        if node.op in CONDITIONS:
            branches = ("else_branch", "then_branch")
            return [node.attr[name].func.name for name in branches]
        if node.op in CASES:
            return [f.name for f in node.attr["branches"].list.func]
        if node.op in LOOPS:
            return [node.attr[name].func.name for name in ("cond", "body")]
        return []

    def _add_call(self, node, functions, depth):
        if depth >= DEEPEST_CALL:
            raise UserError(
                f"the graph's functions call each other more than {DEEPEST_CALL} "
                f"deep, as in '{node.name}'; it is damaged"
            )
        bodies = [
            _Body(self._library, name, self._free(f"{node.name}/{name}"))
            for name in functions
        ]
        feeds, node.returns = _feeds_and_returns(node, bodies)
        for branch, body in enumerate(bodies):
            self._add(_start(node, body, branch))
            for inner in body.nodes(feeds):
                self.add(inner, depth + 1)
            node.ends += body.ends()

    def _free(self, name):
        while name in self.nodes:
            name += "_"
        return name


def _start(node, body, branch):
    """Returns what a body waits for: the call's turn, and if it is a branch's."""
    start = Node(body.prefix, START, [], list(node.controls), {})
    if node.op in CONDITIONS + CASES:
        start.inputs, start.branch = node.inputs[:1], branch
    return start


def _feeds_and_returns(node, bodies):
    """Returns what each argument of the bodies, and each output, may be."""
    if node.op in LOOPS:
        _, body = bodies
        rounds = _together([[[t] for t in node.inputs], body.returns()])
        return rounds, rounds
    taken = node.inputs[1:] if node.op in CONDITIONS + CASES else node.inputs
    feeds = [[tensor] for tensor in taken]
    return feeds, _together([body.returns() for body in bodies])


def _together(lists):
    """Joins lists of lists of tensors, place by place."""
    return [
        sum(place, []) for place in itertools.zip_longest(*lists, fillvalue=[])
    ]


class _Body:
    """A function's body, with names for one call of it."""

    def __init__(self, library, name, prefix):
        self.prefix = prefix
        self._library = library
        self._function = function = library[name]
        self._arguments = {arg.name for arg in function.signature.input_arg}
        self._definitions = {node.name: node for node in function.node_def}

    def nodes(self, feeds):
        """Yields its operations, and one for each argument, given its tensors."""
        signature = self._function.signature
        fed = iter(feeds)
        for arg in signature.input_arg:
            yield Node(
                self._name(arg.name),
                ARGUMENT,
                next(fed, []),
                [self.prefix],
                {"T": _type_attribute(arg.type)},
            )
        for definition in self._function.node_def:
            yield self._node(definition)

    def returns(self):
        """Returns a list with the tensor of each result."""
        return [
            [self._tensor(self._function.ret[arg.name])]
            for arg in self._function.signature.output_arg
            if arg.name in self._function.ret
        ]

    def ends(self):
        """Returns the names of operations without which the call is not over.

        A function runs all of its operations that have effects.
        """
        return [self._name(n) for n in self._function.control_ret.values()] + [
            self._name(node.name)
            for node in self._function.node_def
            if _has_effects(node)
        ]

    def _node(self, definition):
        inputs, controls = [], []
        for text in definition.input:
            if text.startswith("^"):
                controls.append(self._name(text[1:]))
            else:
                inputs.append(self._tensor(text))
        if not inputs and not controls:
            controls.append(self.prefix)
        name = self._name(definition.name)
        return Node(name, definition.op, inputs, controls, definition.attr)

    def _tensor(self, text) -> Tensor:
        """Reads "argument", or "operation:output:number"."""
        name, _, rest = text.partition(":")
        if name in self._arguments or not rest:
            return self._name(name), 0
        output, _, number = rest.partition(":")
        number = int(number) if number.isdigit() else 0
        definition = self._definitions.get(name)
        first = self._first(definition, output) if definition else 0
        return self._name(name), first + number

    def _first(self, definition, output):
        """Returns the number of the first tensor of an output of that name."""
        function = self._library.get(definition.op)
        op_def = (
            function.signature
            if function
            else op_def_registry.get(definition.op)
        )
        count = 0
        for arg in op_def.output_arg if op_def else []:
            if arg.name == output:
                return count
            count += _length(arg, definition.attr)
        return 0

    def _name(self, name):
        return f"{self.prefix}/{name}"


def _length(arg, attr):
    """Returns how many tensors an argument of an operation stands for."""
    if arg.number_attr:
        return attr[arg.number_attr].i
    if arg.type_list_attr:
        return len(attr[arg.type_list_attr].list.type)
    return 1


def _type_attribute(dtype):
    node = node_def_pb2.NodeDef()
    node.attr["T"].type = dtype
    return node.attr["T"]


def _has_effects(definition):
    op_def = op_def_registry.get(definition.op)
    return op_def is not None and op_def.is_stateful
