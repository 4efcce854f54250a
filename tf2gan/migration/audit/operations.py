"""The checks of operations: those that this TensorFlow lacks, or lacks kernels for."""

from typing import Dict, Iterable, Iterator, List, Optional

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import op_def_registry

from tf2gan.migration import kernels
from tf2gan.migration.audit.contrib_ops import CONTRIB_OPS
from tf2gan.migration.audit.findings import Finding
from tf2gan.migration.audit.nodes import START, Node
from tf2gan.migration.audit.subject import Subject

NO_GPU_KERNELS = (
    "GPU kernels were not looked up: this TensorFlow was built without them"
)
# TensorFlow keeps counters in the memory of the CPU, and the step with them.
_COUNTERS = {
    "Assign",
    "AssignAdd",
    "AssignAddVariableOp",
    "AssignVariableOp",
    "ReadVariableOp",
    "VarHandleOp",
    "Variable",
    "VariableV2",
}


def missing_operations(subject: Subject) -> Iterator[Finding]:
    """Finds operations that this TensorFlow does not know or cannot run."""
    found: Dict[str, List[str]] = {}
    for node in _operations(subject):
        code = _what_is_missing(node)
        if code:
            found.setdefault(code, []).append(node.name)
    for code, names in found.items():
        yield Finding(code, tuple(names))


def missing_gpu_kernels(subject: Subject) -> Iterator[Finding]:
    """Finds operations of train ops that no GPU kernel serves."""
    if not tf.test.is_built_with_gpu_support():
        return
    needed = set().union(*(t.operations for t in subject.train_ops))
    names = [
        node.name
        for node in _operations(subject)
        if node.name in needed
        and not _what_is_missing(node)
        and not _is_counter(node)
        and not _is_served(node, "GPU")
    ]
    if names:
        yield Finding("no-gpu-kernel", tuple(names))


def remarks() -> List[str]:
    """Returns what could not be checked here."""
    built = tf.test.is_built_with_gpu_support()
    return [] if built else [NO_GPU_KERNELS]


def _operations(subject) -> Iterable[Node]:
    """Yields the operations that are somebody's, calls of functions left out."""
    library = subject.model.graph.definition.library.function
    functions = {function.signature.name for function in library}
    for node in subject.model.flow.nodes.values():
        if node.op != START and node.op not in functions:
            yield node


def _what_is_missing(node) -> Optional[str]:
    if op_def_registry.get(node.op) is None:
        return "contrib-op" if node.op in CONTRIB_OPS else "unknown-op"
    if _is_served(node, "CPU") or _is_served(node, "GPU"):
        return None
    return "no-tf2-kernel"


def _is_served(node, device):
    # In a function for any type the types are the caller's.
    if any(a.WhichOneof("value") == "placeholder" for a in node.attr.values()):
        return True
    return kernels.serving(node, device) is not None


def _is_counter(node):
    dtypes = {
        node.attr[name].type for name in ("T", "dtype") if name in node.attr
    }
    return node.op in _COUNTERS and dtypes == {types_pb2.DT_INT32}
