"""Runs both sides of a conversion on the same inputs and compares their outputs.

The TF1 side is the graph in a `.meta` file. It is a stranger's: only what computes
the outputs is imported, and only if none of it can touch files or run code.
"""

import dataclasses
import os
from typing import Any, Dict, List, Mapping, Optional, Tuple

import keras
import numpy as np
import tensorflow as tf

from tf2gan.common import randomness
from tf2gan.common.errors import UserError
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint
from tf2gan.migration.variable_map import VariableMap

tf1 = tf.compat.v1

BATCH_SIZE = 4
_LARGEST_FILE = 1 << 31  # bytes, the most that protobuf reads
_VARIABLES = ("VariableV2", "Variable", "VarHandleOp")
_STATEFUL = (*_VARIABLES, "Placeholder", "ReadVariableOp")
_RANDOM = ("Random", "Truncated", "Multinomial", "Stateless")
_NOT_FORWARD = ("gradients", "save", "report_uninitialized")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One output of both sides.

    Attributes:
      name: of the output.
      shape: of the output.
      difference: largest of two elements; infinite if shapes differ or one is NaN.
      size: largest element of the TF1 side.
    """

    name: str
    shape: Tuple[int, ...]
    difference: float
    size: float


def compare(
    reference: Mapping[str, Any], candidate: Mapping[str, Any]
) -> List[Comparison]:
    """Compares outputs by name; what the candidate lacks is infinitely far off."""
    rows = []
    for name, value in reference.items():
        one = np.asarray(value, np.float64)
        other = np.asarray(candidate.get(name, np.nan), np.float64)
        difference = np.inf
        if one.shape == other.shape:
            difference = float(np.max(np.abs(one - other), initial=0.0))
        if np.isnan(difference):
            difference = np.inf
        size = float(np.max(np.abs(one), initial=0.0))
        rows.append(Comparison(name, one.shape, difference, size))
    return rows


def report(rows: List[Comparison], tolerance: float) -> bool:
    """Prints a line per output; returns whether all are within the tolerance."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        verdict = "" if row.difference <= tolerance else "  DIFFERS"
        print(
            f"verify  {row.name:{width}}  {str(list(row.shape)):>18}  "
            f"{row.difference:.3g} apart, values up to {row.size:.3g}{verdict}"
        )
    return all(row.difference <= tolerance for row in rows)


def seeded(shape, dtype, seed: int, name: str) -> np.ndarray:
    """Returns an input on [-1, 1), a function of seed and name."""
    return (2.0 * randomness.uniform(shape, seed, name) - 1.0).astype(dtype)


def verify_graph(
    checkpoint: Tf1Checkpoint,
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    given_inputs: Mapping[str, str],
    given_outputs: Mapping[str, str],
    seed: int = 0,
) -> List[Comparison]:
    """Runs the graph beside a checkpoint and the models on seeded inputs.

    Args:
      checkpoint: with a `.meta` file beside it.
      models: loaded from it.
      mapping: as it was carried out.
      given_inputs: by the name of a placeholder, the model whose input it takes,
        a number, true or false, or the path of an .npy file.
      given_outputs: by model, the name of the tensor that it computes.
      seed: decides the inputs.

    Raises:
      UserError: if the graph cannot be had, or its inputs or outputs are not to
        be told.
    """
    graph = _Graph(read_meta(checkpoint.path + ".meta"))
    inputs = _model_inputs(models, seed)
    wanted = {
        name: given_outputs.get(name) or graph.find_output(name, model, mapping)
        for name, model in models.items()
    }
    feeds = graph.find_feeds(wanted.values(), inputs, given_inputs)
    fed = {}
    for name, (of, value) in feeds.items():
        fed[name] = value
        if of:
            inputs[of] = value
    reference = graph.run(wanted, fed, checkpoint)
    candidate = {
        name: np.asarray(model(inputs[name], training=False))
        for name, model in models.items()
    }
    reference = {
        name: np.reshape(value, candidate[name].shape)
        if np.size(value) == candidate[name].size
        else value
        for name, value in reference.items()
    }
    return compare(reference, candidate)


def _model_inputs(models, seed):
    inputs = {}
    for name, model in models.items():
        shapes = [tuple(i.shape) for i in getattr(model, "inputs", None) or []]
        if len(shapes) != 1:
            raise UserError(
                f"--verify needs models with one keras.Input; '{name}' has "
                f"{len(shapes)}"
            )
        shape = tuple(size or BATCH_SIZE for size in shapes[0])
        dtype = keras.backend.standardize_dtype(model.inputs[0].dtype)
        inputs[name] = seeded(shape, dtype, seed, name)
    return inputs


def read_meta(path: str) -> tf1.MetaGraphDef:
    """Reads a `.meta` file.

    Raises:
      UserError: if there is none, or it is damaged.
    """
    from google.protobuf.message import DecodeError

    if not os.path.isfile(path):
        raise UserError(
            f"--verify: no graph '{path}'; copy the .meta file beside the "
            "checkpoint, or leave out --verify"
        )
    try:
        if os.path.getsize(path) >= _LARGEST_FILE:
            raise ValueError("it is too large")
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


class _Graph:
    """The graph of a stranger, of which parts are run."""

    def __init__(self, meta):
        self._def = meta.graph_def
        self._nodes = {node.name: node for node in self._def.node}
        self._ancestors: Dict[str, frozenset] = {}

    def find_output(self, name, model, mapping):
        """Returns the tensor that ends the network whose variables are paired."""
        own = {p.tf1 for p in mapping.pairs if p.keras.split("/", 1)[0] == name}
        trained = {n for n in own if "moving_" not in n}
        others = {p.tf1 for p in mapping.pairs} - own
        shape = model.outputs[0].shape
        graph, _ = self._import(list(self._forward()))
        fitting = self._fitting(graph, trained, others, shape)
        ends = _ends_in_scope(fitting, os.path.commonpath(trained))
        if len(ends) != 1:
            found = ", ".join([*ends, *fitting][:6]) or "none"
            raise UserError(
                f"--verify: cannot tell which tensor the model '{name}' computes "
                f"(fitting: {found}); name it with --outputs={name}=TENSOR:0"
            )
        return ends[0]

    def _forward(self):
        """Yields names of nodes that may belong to a forward pass."""
        for node in self._def.node:
            scope = node.name.split("/")[0]
            if not scope.startswith(_NOT_FORWARD) and _is_harmless(node):
                yield node.name

    def _fitting(self, graph, trained, others, shape):
        """Returns the tensors that depend on all of a network, and on no other."""
        fitting = {}
        for operation in graph.get_operations():
            needs = self._needs(operation.name)
            if not trained <= needs or needs & others:
                continue
            for tensor in operation.outputs:
                if tensor.dtype.is_floating and _may_be(tensor.shape, shape):
                    fitting[tensor.name] = tensor
        return fitting

    def _needs(self, name):
        """Returns the variables that a node depends on."""
        stack = [name]
        while stack:
            top = stack[-1]
            if top in self._ancestors:
                stack.pop()
                continue
            before = [_node(i) for i in self._nodes[top].input]
            before = [n for n in before if n in self._nodes]
            waiting = [n for n in before if n not in self._ancestors]
            if waiting and self._nodes[top].op not in (
                "Merge",
                "NextIteration",
            ):
                stack += waiting
                continue
            found = {n for b in before for n in self._ancestors.get(b, ())}
            if self._nodes[top].op in _VARIABLES:
                found.add(top)
            self._ancestors[top] = frozenset(found)
            stack.pop()
        return self._ancestors[name]

    def find_feeds(self, wanted, inputs, given):
        """Returns by placeholder (the model whose input it is, what it is fed)."""
        graph, names = self._import([_node(t) for t in wanted])
        feeds, used = {}, set()
        for name in names:
            node = self._nodes[name]
            if node.op not in ("Placeholder", "PlaceholderWithDefault"):
                continue
            tensor = graph.get_tensor_by_name(name + ":0")
            if name in given or name + ":0" in given:
                text = given.get(name, given.get(name + ":0"))
                feeds[name + ":0"] = _given(name, text, tensor, inputs)
            elif node.op == "Placeholder":
                feeds[name + ":0"] = _guess(tensor, inputs, used)
            used.add(feeds.get(name + ":0", (None,))[0])
        return feeds

    def run(self, wanted, feeds, checkpoint):
        """Returns what the tensors are, with the variables of a checkpoint."""
        graph, names = self._import([_node(t) for t in wanted.values()])
        try:
            with graph.as_default(), tf1.Session(graph=graph) as session:
                for name in names:
                    if self._nodes[name].op in _VARIABLES:
                        _restore(session, graph, name, checkpoint)
                return session.run(wanted, feeds)
        except (tf.errors.OpError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                "--verify: the graph does not run: "
                + str(error).strip().splitlines()[0][:300]
            ) from error

    def _import(self, targets):
        """Imports what computes some nodes; returns the graph and their names."""
        names = self._closure(targets)
        for name in names:
            if not _is_harmless(self._nodes[name]):
                raise UserError(
                    f"--verify: the operation '{name}' ({self._nodes[name].op}) of "
                    "the graph can reach outside of it; it is not run"
                )
        part = tf1.GraphDef(versions=self._def.versions)
        part.library.CopyFrom(self._def.library)
        for function in part.library.function:
            for node in function.node_def:
                if not _is_harmless(node):
                    raise UserError(
                        f"--verify: the function '{function.signature.name}' of "
                        "the graph can reach outside of it; it is not run"
                    )
        for name in names:
            node = part.node.add()
            node.CopyFrom(self._nodes[name])
            node.device = ""
            node.attr.pop("_class", None)
        graph = tf.Graph()
        try:
            with graph.as_default():
                tf1.import_graph_def(part, name="")
        except (ValueError, tf.errors.OpError, KeyError) as error:
            raise UserError(
                "--verify: TensorFlow cannot import the graph: "
                + str(error).strip().splitlines()[0][:300]
            ) from error
        return graph, names

    def _closure(self, targets):
        seen, stack = {}, list(targets)
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            if name not in self._nodes:
                raise UserError(f"--verify: the graph has no '{name:.100}'")
            seen[name] = True
            stack += [_node(i) for i in self._nodes[name].input]
        return list(seen)


def _ends_in_scope(fitting, scope):
    """Returns the tensors of a scope that nothing in it makes others from."""
    if not scope:
        return []
    own = {n: t for n, t in fitting.items() if n.startswith(scope + "/")}
    inner = {fed.name for tensor in own.values() for fed in tensor.op.inputs}
    return sorted(set(own) - inner)


def _node(tensor):
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


def _may_be(shape, expected):
    """Tells whether a tensor may hold what a Keras model returns."""
    if shape.rank is None or shape.rank == 0:
        return False
    sizes = shape.as_list()[1:]
    wanted = list(expected[1:])
    if None in sizes or None in wanted:
        return len(sizes) == len(wanted)
    return int(np.prod(sizes)) == int(np.prod(wanted))


def _restore(session, graph, name, checkpoint):
    variable = graph.get_operation_by_name(name)
    if name not in checkpoint.variables:
        raise UserError(
            f"--verify: '{name}' of the graph is not in the checkpoint"
        )
    value = checkpoint.read(name)
    if variable.type == "VarHandleOp":
        assign = tf.raw_ops.AssignVariableOp(
            resource=variable.outputs[0], value=tf.constant(value)
        )
    else:
        assign = tf.raw_ops.Assign(
            ref=variable.outputs[0], value=tf.constant(value)
        )
    session.run(assign)


def _given(name, text, tensor, inputs):
    """Returns what the user wants a placeholder to be fed."""
    if text in inputs:
        return text, _as(tensor, inputs[text])
    if text.lower() in ("true", "false"):
        return None, np.asarray(text.lower() == "true")
    try:
        if text.endswith(".npy"):
            return None, _npy(text)
        return None, np.asarray(float(text)).astype(tensor.dtype.as_numpy_dtype)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"--inputs={name}={text}: expected the name of a model, a number, true, "
            f"false or an .npy file without objects: {str(error)[:200]}"
        ) from error


def _npy(path):
    """Reads an array; memory-mapped, so that a lying header takes none."""
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def _guess(tensor, inputs, used) -> Tuple[Optional[str], np.ndarray]:
    """Returns what a placeholder that nobody named is fed."""
    if tensor.dtype == tf.bool:
        return None, np.zeros(tensor.shape.as_list(), bool)
    fitting = [
        model
        for model, value in inputs.items()
        if _may_be(tensor.shape, value.shape) and model not in used
    ]
    if len(fitting) != 1:
        raise UserError(
            f"--verify: cannot tell what to feed '{tensor.name}' {tensor.shape} "
            f"(fitting: {', '.join(fitting) or 'none'}); say it with "
            f"--inputs={tensor.name}=MODEL, a number, true, false or an .npy file"
        )
    return fitting[0], _as(tensor, inputs[fitting[0]])


def _as(tensor, value):
    """Gives an input the shape and type that a placeholder asks for."""
    shape = tensor.shape.as_list() if tensor.shape.rank is not None else None
    if shape and shape[0] is not None and shape[0] != value.shape[0]:
        repeats = -(-shape[0] // value.shape[0])
        value = np.concatenate([value] * repeats)[: shape[0]]
    return value.astype(tensor.dtype.as_numpy_dtype)
