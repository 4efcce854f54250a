"""Finds the kernel that serves each operation of a graph on a device.

TensorFlow's wheel for Linux registers its GPU kernels where there is no GPU, too. So
what each operation would run on can be told anywhere: its KernelDefs say for which
device and which types they are.

Walked is what Python builds, with what the runtime adds to call a function or to
branch. What TensorFlow's graph optimizers make of it on a GPU is not.
"""

import collections
import functools
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

import tensorflow as tf
from tensorflow.core.framework import (
    function_pb2,
    kernel_def_pb2,
    node_def_pb2,
)
from tensorflow.python.framework import kernels, op_def_registry

# A kernel for any device: TensorFlow takes it where the device has none of its own.
ANY_DEVICE = "DEFAULT"

# A function's name with "/", or "", and an operation in it.
PlacedNode = Tuple[str, node_def_pb2.NodeDef]
Library = Dict[str, function_pb2.FunctionDef]


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
        return f"{self.op:<24} {self.dtypes:<48} {len(self.names):>4}  {kernel}{host}"


def rows(
    nodes: Iterable[PlacedNode],
    library: Library,
    entered: Iterable[str] = (),
    device: str = "GPU",
) -> List[Row]:
    """Returns what serves some operations and those of the functions they call.

    Args:
      nodes: the operations, each with where it is.
      library: the functions by name.
      entered: the names of functions whose operations are among `nodes`.
      device: "GPU" or "CPU".
    """
    groups = collections.defaultdict(list)
    for path, node in _descend(nodes, library, set(entered)):
        kernel = serving(node, device)
        device_type = kernel.device_type if kernel else ""
        host = ", ".join(kernel.host_memory_arg) if kernel else ""
        key = (node.op, describe_types(node), device_type, host)
        groups[key].append(path + node.name)
    return [Row(*key, tuple(sorted(groups[key]))) for key in sorted(groups)]


def unserved(found: Iterable[Row]) -> Dict[Tuple[str, str], Tuple[str, ...]]:
    """Returns the names of operations without kernel, by type and dtypes."""
    return {(row.op, row.dtypes): row.names for row in found if not row.device}


def serving(
    node: Any, device: str = "GPU"
) -> Optional[kernel_def_pb2.KernelDef]:
    """Returns the kernel that TensorFlow chooses for a node, None if it has none.

    Those of the device come before those for any device; of several that fit, the
    one of the highest priority serves.

    Args:
      node: a NodeDef, or anything with its `op` and `attr`.
      device: "GPU" or "CPU".
    """
    label = node.attr["_kernel"].s if "_kernel" in node.attr else b""
    values = tuple(
        (name, _values(_attribute(node, name)))
        for name in _constrained(node.op)
    )
    return _chosen(node.op, label, values, device)


def make_node(op: str, name: str, **dtypes: int) -> node_def_pb2.NodeDef:
    """Returns a node with attributes that are types."""
    node = node_def_pb2.NodeDef(op=op, name=name)
    for attribute, dtype in dtypes.items():
        node.attr[attribute].type = dtype
    return node


def function_body(function: function_pb2.FunctionDef) -> List[PlacedNode]:
    """Returns a function's nodes, those for arguments and results too."""
    signature = function.signature
    nodes = list(function.node_def)
    nodes += [make_node("_Arg", a.name, T=a.type) for a in signature.input_arg]
    nodes += [
        make_node("_Retval", a.name, T=a.type) for a in signature.output_arg
    ]
    return [(signature.name + "/", node) for node in nodes]


def describe_types(node: Any) -> str:
    """Returns the attributes that are types; a list only says which there are."""
    described = []
    for name in sorted(node.attr):
        attribute = node.attr[name]
        types = {attribute.type} | set(attribute.list.type)
        names = sorted(_type_name(dtype) for dtype in types - {0})
        if names:
            described.append(name + "=" + "|".join(names))
    return " ".join(described)


def _type_name(dtype):
    try:
        return tf.as_dtype(dtype).name
    except TypeError:  # of a newer TensorFlow, or of a damaged file
        return str(dtype)


def _descend(nodes, library, entered: Set[str]):
    """Yields nodes, and those of every function that they call, once each."""
    waiting = list(nodes)
    while waiting:
        path, node = waiting.pop()
        yield path, node
        waiting += [(path, lowered) for lowered in _lowered(node)]
        for name in _called(node) - entered:
            entered.add(name)
            waiting += function_body(library[name])


def _called(node):
    """Returns the names of functions: of a call, of branches, of a loop's body."""
    names = set()
    for attribute in node.attr.values():
        names |= {attribute.func.name} | {f.name for f in attribute.list.func}
    return names - {""}


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


@functools.lru_cache(maxsize=None)
def _constrained(op):
    """Returns the names of the attributes on which a choice may depend."""
    constraints = (c for kernel in _registered(op) for c in kernel.constraint)
    return tuple(sorted({constraint.name for constraint in constraints}))


@functools.lru_cache(maxsize=None)
def _chosen(op, label, values, device):
    for kind in (device, ANY_DEVICE):
        fitting = [
            kernel
            for kernel in _registered(op)
            if kernel.device_type == kind
            # A kernel with a label serves only nodes that ask for it.
            and kernel.label.encode() == label
            and _allows(kernel, dict(values))
        ]
        if fitting:
            return max(fitting, key=lambda kernel: kernel.priority)
    return None


def _allows(kernel, values):
    return all(
        values[constraint.name] is not None
        and values[constraint.name] <= _values(constraint.allowed_values)
        for constraint in kernel.constraint
    )


def _attribute(node, name):
    """Returns an attribute; files leave out those that have the default."""
    if name in node.attr:
        return node.attr[name]
    op_def = op_def_registry.get(node.op)
    for attribute in op_def.attr if op_def else []:
        if attribute.name == name:
            return attribute.default_value
    return None


def _values(attribute):
    """Returns the values of an attribute as a set; None if it has none."""
    kind = attribute.WhichOneof("value") if attribute is not None else None
    if kind is None:
        return None
    if kind != "list":
        return frozenset([_hashable(getattr(attribute, kind))])
    return frozenset(
        _hashable(value)
        for _, values in attribute.list.ListFields()
        for value in values
    )


def _hashable(value):
    return value.SerializeToString() if hasattr(value, "ListFields") else value
