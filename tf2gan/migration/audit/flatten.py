"""Makes a GraphDef one flat graph: the body of every function where it is called."""

import itertools
from typing import Dict

from tensorflow.core.framework import graph_pb2, node_def_pb2

from tf2gan.common.errors import UserError
from tf2gan.migration.audit.functions import Body
from tf2gan.migration.audit.nodes import (
    CALLS,
    CASES,
    CONDITIONS,
    LOOPS,
    START,
    Node,
)

# More than any model has; functions that call functions can multiply without end.
MOST_NODES = 250_000
# Nested deeper than anybody writes; a function that calls itself has no end.
DEEPEST_CALL = 50


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
            Body(self._library, name, self._free(f"{node.name}/{name}"))
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
