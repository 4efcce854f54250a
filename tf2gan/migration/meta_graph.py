"""Runs parts of the graph in a `.meta` file, as a file of a stranger.

Only what computes the wanted tensors is imported, and only if none of it can touch
files or run code. What it takes in memory and time has no bound here: that is for
`graph_process`.
"""

import os
import types
from typing import AbstractSet, Any, Dict, Iterable, Mapping, Sequence, Set

import numpy as np
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration import messages
from tf2gan.migration.audit.updates import FUSED, FUSED_AVERAGES
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint

tf1 = tf.compat.v1

# Each has a stack, which counts as memory.
_MOST_THREADS = 8
_HARM = "^harm"  # no variable has such a name
_VARIABLES = ("VariableV2", "Variable", "VarHandleOp")
_STATEFUL = (*_VARIABLES, "Placeholder", "ReadVariableOp")
_RANDOM = ("Random", "Truncated", "Multinomial", "Stateless")
_NOT_FORWARD = ("gradients", "save/", "report_uninitialized")


def read_meta(path: str) -> tf1.MetaGraphDef:
    """Reads a `.meta` file.

    Raises:
      UserError: if there is none, or it is damaged or too large.
    """
    from google.protobuf.message import DecodeError

    try:
        if os.path.getsize(path) > messages.MOST_MEGABYTES * messages.MEGABYTE:
            raise ValueError(
                f"it is too large, a graph may have {messages.MOST_MEGABYTES} MB"
            )
        meta = tf1.MetaGraphDef()
        with open(path, "rb") as file:
            meta.ParseFromString(file.read())
        if not meta.graph_def.node:
            raise ValueError("it has no operations")
        return meta
    except (DecodeError, ValueError, OSError) as error:
        raise UserError(
            f"--verify: cannot read the graph '{path}': {error}"
        ) from error


class MetaGraph:
    """The graph of a stranger, of which parts are run."""

    def __init__(self, meta: tf1.MetaGraphDef) -> None:
        """Takes what `read_meta` returns; nothing is imported yet."""
        self._def = meta.graph_def
        self._nodes = {node.name: node for node in self._def.node}
        self._needs: Dict[str, frozenset] = {}

    def find_output(
        self,
        name: str,
        own: AbstractSet[str],
        others: AbstractSet[str],
        shape: Sequence[Any],
    ) -> str:
        """Returns the tensor that ends the network whose variables are paired.

        It depends on all trained variables of the network and on no other
        network, has the shape of the model's output, lies in the scope of the
        variables, and nothing in that scope is computed from it.

        Args:
          name: of the model, for the message.
          own: names of the variables that are paired with the model's.
          others: names of those that are paired with other models'.
          shape: of the model's output, None where it may be any size.

        Raises:
          UserError: if there is no such tensor, or several.
        """
        trained = {n for n in own if "moving_" not in n}
        fitting = self._fitting(trained, others, shape)
        scope = os.path.commonpath(trained) if trained else ""
        ends = _ends_in_scope(fitting, scope)
        if len(ends) != 1:
            found = ", ".join([*ends, *fitting][:6]) or "none"
            raise UserError(
                f"--verify: cannot tell which tensor the model '{name}' computes "
                f"(fitting: {found}); name it with --outputs={name}=TENSOR:0"
            )
        return ends[0]

    def _fitting(self, trained, others, shape):
        """Returns the tensors that depend on all of a network, and on no other."""
        self._find_needs()
        wanted = [
            name
            for name, needs in self._needs.items()
            if trained <= needs
            and not needs & others
            and _HARM not in needs
            and not name.startswith(_NOT_FORWARD)
        ]
        graph, _ = self._import(wanted)
        tensors = [t for n in wanted for t in _outputs(graph, n)]
        return {
            tensor.name: tensor
            for tensor in tensors
            if tensor.dtype.is_floating and may_be(tensor.shape, shape)
        }

    def _find_needs(self):
        """Finds the variables, and whether there is harm, behind every node."""
        opened, stack = set(), list(self._nodes)
        while stack:
            name = stack[-1]
            inputs = self._inputs(name)
            if name in opened:
                stack.pop()
                # What is opened and not done yet is a loop's way back.
                self._needs.setdefault(name, self._needs_of(name, inputs))
            else:
                opened.add(name)
                stack += [n for n in inputs if n not in opened]

    def _inputs(self, name):
        inputs = [node_of(tensor) for tensor in self._nodes[name].input]
        return [name for name in inputs if name in self._nodes]

    def _needs_of(self, name, inputs):
        found = {need for n in inputs for need in self._needs.get(n, ())}
        node = self._nodes[name]
        if node.op in _VARIABLES:
            found.add(name)
        if not _is_harmless(node):
            found.add(_HARM)
        return frozenset(found)

    def placeholders(self, wanted: Iterable[str]) -> Dict[str, tf.Tensor]:
        """Returns the placeholders that some tensors need, by name.

        Raises:
          UserError: if the graph has no such tensor, or may not be run.
        """
        graph, names = self._import([node_of(t) for t in wanted])
        return {
            name: graph.get_tensor_by_name(name + ":0")
            for name in names
            if self._nodes[name].op.startswith("Placeholder")
        }

    def read_by(self, tensor: str) -> Set[str]:
        """Returns the variables whose values a tensor is computed from.

        Left out are those that only wait to be updated, and the moving averages of
        a fused batch norm in training mode, which takes and ignores them.
        """
        seen, stack = set(), [node_of(tensor)]
        while stack:
            name = stack.pop()
            if name in seen or name not in self._nodes:
                continue
            seen.add(name)
            taken = _taken(self._nodes[name])
            stack += [node_of(i) for i in taken if not i.startswith("^")]
        return {n for n in seen if self._nodes[n].op in _VARIABLES}

    def has_default(self, placeholder: str) -> bool:
        """Tells whether a placeholder need not be fed."""
        return self._nodes[placeholder].op == "PlaceholderWithDefault"

    def run(
        self,
        wanted: Mapping[str, str],
        feeds: Mapping[str, np.ndarray],
        checkpoint: Tf1Checkpoint,
        sources: Mapping[str, Mapping[str, str]] = types.MappingProxyType({}),
    ) -> Dict[str, Any]:
        """Returns what tensors are, with the variables of a checkpoint.

        Args:
          wanted: names of the tensors, by any key.
          feeds: of placeholders, by the name of the tensor.
          checkpoint: that the graph belongs to.
          sources: by a key of `wanted`, by a variable's name: that of the one in
            the checkpoint whose value it has for this tensor, if not its own.

        Raises:
          UserError: if the graph does not run, or may not.
        """
        graph, names = self._import([node_of(t) for t in wanted.values()])
        found, held = {}, {}
        try:
            with graph.as_default():
                assigned = {
                    name: _assign(graph, name, checkpoint)
                    for name in names
                    if self._nodes[name].op in _VARIABLES
                }
                with tf1.Session(graph=graph, config=_config()) as session:
                    for key, tensor in wanted.items():
                        held = _load(
                            session,
                            assigned,
                            checkpoint,
                            sources.get(key, {}),
                            held,
                        )
                        found[key] = session.run(tensor, feeds)
                    return found
        except (tf.errors.OpError, ValueError, KeyError, TypeError) as error:
            advice = ""
            if isinstance(error, tf.errors.InvalidArgumentError):
                advice = "; " + batch_advice(next(iter(wanted)))
            raise UserError(
                "--verify: the graph does not run: " + _reason(error) + advice
            ) from error

    def _import(self, targets):
        """Imports what computes some nodes; returns the graph and their names."""
        names = self._closure(targets)
        self._check_harmless(names)
        part = tf1.GraphDef(versions=self._def.versions)
        for function in self._def.library.function:
            if all(map(_is_harmless, function.node_def)):
                part.library.function.add().CopyFrom(function)
        for name in names:
            node = part.node.add()
            node.CopyFrom(self._nodes[name])
            # Of the machine of then; and names of nodes that are left out.
            node.device = ""
            node.attr.pop("_class", None)
        graph = tf.Graph()
        try:
            with graph.as_default():
                tf1.import_graph_def(part, name="")
        except (ValueError, tf.errors.OpError, KeyError) as error:
            raise UserError(
                "--verify: TensorFlow cannot import the graph: "
                + _reason(error)
            ) from error
        return graph, names

    def _check_harmless(self, names):
        for node in (self._nodes[name] for name in names):
            if not _is_harmless(node):
                raise UserError(
                    f"--verify: the operation '{node.name:.100}' ({node.op:.40}) of "
                    "the graph can reach outside of it; it is not run"
                )

    def _closure(self, targets):
        seen, stack = {}, list(targets)
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            if name not in self._nodes:
                raise UserError(f"--verify: the graph has no '{name:.100}'")
            seen[name] = True
            stack += [node_of(i) for i in self._nodes[name].input]
        return list(seen)


def _taken(node):
    """Returns the inputs that decide what an operation computes."""
    # The kernel's default is true, and defaults may be left out of a file.
    trains = "is_training" not in node.attr or node.attr["is_training"].b
    if FUSED.fullmatch(node.op) and trains:
        return list(node.input)[: FUSED_AVERAGES[0]]
    return node.input


def _ends_in_scope(fitting, scope):
    """Returns the tensors of a scope that nothing in it makes others from."""
    if not scope:
        return []
    own = {n: t for n, t in fitting.items() if n.startswith(scope + "/")}
    inner = {fed.name for tensor in own.values() for fed in tensor.op.inputs}
    return sorted(set(own) - inner)


def _outputs(graph, name):
    return graph.get_operation_by_name(name).outputs


def batch_advice(model: str) -> str:
    """Returns what helps where a graph has its batch size written into it."""
    return (
        "if the graph has a fixed batch size give "
        f"--inputs={model}=FILE.npy with as many rows"
    )


def node_of(tensor: str) -> str:
    """Returns the name of the operation that a tensor comes from."""
    return tensor.lstrip("^").split(":")[0]


def _is_harmless(node):
    """Tells whether an operation neither reads or writes files nor runs code."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    if definition is None:
        return False
    strings = tf.string.as_datatype_enum
    arguments = [*definition.input_arg, *definition.output_arg]
    if any(argument.type == strings for argument in arguments):
        return False
    if any(value.type == strings for value in node.attr.values()):
        return False
    stateless = not definition.is_stateful
    return stateless or node.op in _STATEFUL or node.op.startswith(_RANDOM)


def may_be(shape: tf.TensorShape, expected: Iterable[Any]) -> bool:
    """Tells whether a tensor may hold a batch of another shape."""
    if shape.rank is None or shape.rank == 0:
        return False
    sizes = shape.as_list()[1:]
    wanted = list(expected[1:])
    if None in sizes or None in wanted:
        return len(sizes) == len(wanted)
    return int(np.prod(sizes)) == int(np.prod(wanted))


def _assign(graph, name, checkpoint):
    """Returns what sets a variable, and the placeholder of its value."""
    if name not in checkpoint.variables:
        raise UserError(
            f"--verify: '{name}' of the graph is not in the checkpoint"
        )
    variable = graph.get_operation_by_name(name)
    value = tf1.placeholder(checkpoint.variables[name].dtype)
    if variable.type == "VarHandleOp":
        assign = tf.raw_ops.AssignVariableOp(
            resource=variable.outputs[0], value=value
        )
    else:
        assign = tf.raw_ops.Assign(ref=variable.outputs[0], value=value)
    return assign, value


def _load(session, assigned, checkpoint, sources, held):
    """Gives variables their values; returns by name whose, as `held` has it before."""
    wanted = {name: sources.get(name, name) for name in assigned}
    for name, (assign, value) in assigned.items():
        if held.get(name) != wanted[name]:
            session.run(assign, {value: checkpoint.read(wanted[name])})
    return wanted


def _reason(error):
    """Returns a line of an error: TensorFlow puts where before what."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    node = [at for at, line in enumerate(lines) if line.startswith("Node: ")]
    reason = lines[node[-1] :] if node else lines
    return " ".join(reason[:2])[:300] or type(error).__name__


def _config():
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    return tf1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=threads,
    )
