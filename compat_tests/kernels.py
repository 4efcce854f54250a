"""Finds the kernel that serves each operation of a training step on a GPU.

TensorFlow's wheel for Linux registers its GPU kernels where there is no GPU, too. So
what each operation would run on can be told anywhere: its KernelDefs say for which
device and which types they are.

Walked is what Python builds, with what the runtime adds to call a function or to
branch. What TensorFlow's graph optimizers make of it on a GPU is not.
"""

import collections
import functools
from typing import NamedTuple, Tuple

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.python.framework import kernels

# A kernel for any device: TensorFlow takes it where the device has none of its own.
ANY_DEVICE = "DEFAULT"
BATCH = 4


class Row(NamedTuple):
    """Operations of one type, with tensors of the same types, and what serves them."""

    op: str
    dtypes: str  # as in "T=float32"
    device: str  # that of the kernel: "GPU", "DEFAULT", or "" if none serves
    host: str  # arguments that this kernel keeps in the memory of the CPU
    names: Tuple[str, ...]  # as in "function/name"; a function counts once

    def __str__(self):
        kernel = self.device or "NO KERNEL for " + ", ".join(self.names[:3])
        host = "  host: " + self.host if self.host else ""
        return "{:<24} {:<48} {:>4}  {}{}".format(
            self.op, self.dtypes, len(self.names), kernel, host
        )


def tf1_walk(trainer, device="GPU"):
    """Returns the rows of tf1gan's train ops, losses and samples."""
    fetches = [trainer._loss_d.op, trainer._loss_g.op, trainer._generated.op]
    steps = [trainer._train_d, trainer._train_g]
    return graph_walk(trainer.graph, steps + fetches, device)


def tf2_walk(trainer, device="GPU"):
    """Returns the rows of tf2gan's steps, of `evaluate` and of samples."""
    return function_walk(_tf2_functions(trainer), device)


def graph_walk(graph, operations, device="GPU"):
    """Returns the rows of operations of a graph and of all that they need."""
    nodes = [op.node_def for op in _ancestors(operations)]
    library = _library(graph)
    return _rows([("", node) for node in nodes], library, set(), device)


def function_walk(functions, device="GPU"):
    """Returns the rows of concrete functions, whole: they run what has effects."""
    library, nodes = {}, []
    for function in functions:
        library.update(_library(function.graph))
        nodes += _body(function.function_def)
    entered = {f.function_def.signature.name for f in functions}
    return _rows(nodes, library, entered, device)


def unserved(rows):
    """Returns the names of operations without kernel, by type and dtypes."""
    return {(row.op, row.dtypes): row.names for row in rows if not row.device}


def serving(node, device="GPU"):
    """Returns the kernel that TensorFlow chooses for a node, None if it has none.

    Those of the device come before those for any device; of several that fit, the
    one of the highest priority serves.
    """
    for kind in (device, ANY_DEVICE):
        fitting = [
            kernel
            for kernel in _registered(node.op)
            if kernel.device_type == kind and _fits(kernel, node)
        ]
        if fitting:
            return max(fitting, key=lambda kernel: kernel.priority)
    return None


def make_node(op, name, **dtypes):
    """Returns a node with attributes that are types."""
    node = node_def_pb2.NodeDef(op=op, name=name)
    for attribute, dtype in dtypes.items():
        node.attr[attribute].type = dtype
    return node


def _tf2_functions(trainer):
    images = _batch_of(trainer.spec.image_shape, trainer.dtype)
    latent = _batch_of([trainer.spec.latent_size], trainer.dtype)
    steps = [
        trainer.discriminator_step,
        trainer.generator_step,
        trainer.train_step,
        trainer.evaluate,
    ]
    # `generate` calls the network without a function around it.
    sample = tf.function(
        lambda latent: trainer.generator(latent, training=False)
    )
    return [step.get_concrete_function(images, latent) for step in steps] + [
        sample.get_concrete_function(latent)
    ]


def _batch_of(shape, dtype):
    return tf.TensorSpec([BATCH] + list(shape), dtype)


def _library(graph):
    functions = graph.as_graph_def().library.function
    return {function.signature.name: function for function in functions}


def _ancestors(operations):
    """Returns operations and those that they wait for, by data or by control."""
    found, waiting = set(), list(operations)
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
            waiting += operation.control_inputs
    return found


def _rows(nodes, library, entered, device):
    groups = collections.defaultdict(list)
    for path, node in _descend(nodes, library, entered):
        kernel = serving(node, device)
        device_type = kernel.device_type if kernel else ""
        host = ", ".join(kernel.host_memory_arg) if kernel else ""
        key = (node.op, _dtypes(node), device_type, host)
        groups[key].append(path + node.name)
    return [Row(*key, tuple(sorted(groups[key]))) for key in sorted(groups)]


def _descend(nodes, library, entered):
    """Yields nodes, and those of every function that they call, once each."""
    waiting, entered = list(nodes), set(entered)
    while waiting:
        path, node = waiting.pop()
        yield path, node
        waiting += [(path, lowered) for lowered in _lowered(node)]
        for name in _called(node) - entered:
            entered.add(name)
            waiting += _body(library[name])


def _called(node):
    """Returns the names of functions: of a call, of branches, of a loop's body."""
    names = set()
    for attribute in node.attr.values():
        names |= {attribute.func.name} | {f.name for f in attribute.list.func}
    return names - {""}


def _body(function):
    """Returns a function's nodes, those for arguments and results too."""
    signature = function.signature
    nodes = list(function.node_def)
    nodes += [make_node("_Arg", a.name, T=a.type) for a in signature.input_arg]
    nodes += [
        make_node("_Retval", a.name, T=a.type) for a in signature.output_arg
    ]
    return [(signature.name + "/", node) for node in nodes]


def _lowered(node):
    """Returns what the runtime makes of an `If`, unless it leaves it as it is."""
    if node.op not in ("If", "StatelessIf"):
        return []
    if not node.attr["_lower_using_switch_merge"].b:
        return []
    inputs, outputs = node.attr["Tin"].list.type, node.attr["Tout"].list.type
    switches = [make_node("Switch", node.name, T=dtype) for dtype in inputs]
    return switches + [
        make_node("Merge", node.name, T=dtype) for dtype in outputs
    ]


@functools.lru_cache(maxsize=None)
def _registered(op):
    return list(kernels.get_registered_kernels_for_op(op).kernel)


def _fits(kernel, node):
    # A kernel with a label serves only nodes that ask for it.
    label = node.attr["_kernel"].s if "_kernel" in node.attr else b""
    return kernel.label == label.decode() and all(
        constraint.name in node.attr
        and _values(node.attr[constraint.name])
        <= _values(constraint.allowed_values)
        for constraint in kernel.constraint
    )


def _values(attribute):
    kind = attribute.WhichOneof("value")
    if kind != "list":
        return {getattr(attribute, kind)}
    return {v for _, values in attribute.list.ListFields() for v in values}


def _dtypes(node):
    """Returns the attributes that are types; a list only says which there are."""
    described = []
    for name in sorted(node.attr):
        attribute = node.attr[name]
        types = {attribute.type} | set(attribute.list.type)
        names = sorted(tf.as_dtype(dtype).name for dtype in types - {0})
        if names:
            described.append(name + "=" + "|".join(names))
    return " ".join(described)
