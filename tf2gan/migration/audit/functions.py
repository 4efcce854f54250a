"""Lays out the body of a function for one call of it."""

from typing import Iterator, List, Mapping

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

from tf2gan.migration.audit.nodes import ARGUMENT, Node, Tensor


class Body:
    """A function's body, with names for one call of it."""

    def __init__(
        self,
        library: Mapping[str, function_pb2.FunctionDef],
        name: str,
        prefix: str,
    ) -> None:
        """Takes the functions by name, this one's name, and one for the call."""
        self.prefix = prefix
        self._library = library
        self._function = function = library[name]
        self._arguments = {arg.name for arg in function.signature.input_arg}
        self._definitions = {node.name: node for node in function.node_def}

    def nodes(self, feeds: List[List[Tensor]]) -> Iterator[Node]:
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

    def returns(self) -> List[List[Tensor]]:
        """Returns a list with the tensor of each result."""
        return [
            [self._tensor(self._function.ret[arg.name])]
            for arg in self._function.signature.output_arg
            if arg.name in self._function.ret
        ]

    def ends(self) -> List[str]:
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
