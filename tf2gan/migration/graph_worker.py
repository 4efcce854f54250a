"""The process in which `graph_process` has the graph of a stranger run.

It bounds itself, once TensorFlow is there, and before it opens the graph.
"""

import contextlib
import os
import signal
import sys
import tempfile
from typing import Any, Dict, Mapping, Tuple

import numpy as np
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration import feeds, graph_process
from tf2gan.migration.meta_graph import MetaGraph, read_meta
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint

_GIB = 2**30
_LARGEST_FILE = 2**30  # bytes that it may write
_LARGEST_OUTPUT = 2**28  # bytes; what is compared is smaller
_GRACE = 10  # seconds in which the process that started it should have ended it


def main(folder: str) -> None:
    """Answers the question in a folder, and ends the process."""
    tempfile.tempdir = folder  # it is removed, however this process ends
    question, arrays = graph_process.load(folder, graph_process.QUESTION)
    _bound(question["memory_gib"], question["seconds"])
    results: Dict[str, np.ndarray] = {}
    try:
        found, results = answer(question, arrays)
    # Whatever a stranger's file brings about is to become one line.
    except Exception as error:
        found = _failure(error, question["meta"])
    graph_process.save(folder, graph_process.ANSWER, found, results)
    os._exit(0)  # what the graph has left behind is not taken down in order


def answer(
    question: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    """Runs a graph on given inputs.

    Args:
      question: the paths `meta` and `checkpoint`; `networks`, by model: `variables`
        that are paired with its own, the `output` tensor, or None and then the
        `shape` to find it by; `owners`, by shadow variable: the variable that it is
        the average of; `fed`, by placeholder: the model whose input it takes.
      arrays: `inputs/MODEL` and `given/PLACEHOLDER`.

    Returns:
      {"tensors": by model, "read": by model those of its variables that the tensor
      depends on, a shadow variable also if it depends on its owner}, and the arrays
      `inputs/MODEL`, with the batch size that the graph asks for, and
      `outputs/MODEL`.

    Raises:
      UserError: if the graph cannot be run, or its inputs or outputs are not to be
        told.
    """
    graph = MetaGraph(read_meta(question["meta"]))
    networks, owners = question["networks"], question["owners"]
    wanted = _tensors(graph, networks, owners)
    fed, inputs = feeds.fill(
        graph,
        graph.placeholders(wanted.values()),
        {**question["fed"], **_under("given/", arrays)},
        _under("inputs/", arrays),
    )
    checkpoint = Tf1Checkpoint(question["checkpoint"])
    read, sources = {}, {}
    for name, tensor in wanted.items():
        own, taken = networks[name]["variables"], graph.read_by(tensor)
        shadows = _standing_in(own, taken, owners)
        read[name] = sorted(taken & {*own} | shadows)
        sources[name] = {owners[shadow]: shadow for shadow in shadows}
    outputs = graph.run(wanted, fed, checkpoint, sources)
    results = {"inputs/" + name: value for name, value in inputs.items()}
    for name, value in outputs.items():
        results["outputs/" + name] = _numbers(wanted[name], value)
    return {"tensors": wanted, "read": read}, results


def _tensors(graph, networks, owners):
    """Returns the names of the tensors that the models compute, by model."""
    every = {name for n in networks.values() for name in n["variables"]}
    every |= _owned(every, owners)
    return {
        name: network["output"] or _found(graph, name, network, every, owners)
        for name, network in networks.items()
    }


def _found(graph, name, network, every, owners):
    """Finds a model's output: made from its shadow variables, or from their owners."""
    own = set(network["variables"])
    owned = _owned(own, owners)
    others = every - own - owned
    try:
        return graph.find_output(name, own, others, network["shape"])
    except UserError:
        if owned == own:
            raise
    return graph.find_output(name, owned, others, network["shape"])


def _owned(names, owners):
    """Returns names with those of owners in place of their shadow variables."""
    return {owners.get(name, name) for name in names}


def _standing_in(own, taken, owners):
    """Returns the shadow variables whose owners alone are taken, and not paired."""
    left = taken - {*own}
    return {n for n in own if n not in taken and owners.get(n) in left}


def _under(start, arrays):
    return {
        name[len(start) :]: value
        for name, value in arrays.items()
        if name.startswith(start)
    }


def _numbers(tensor, value):
    value = np.asarray(value)
    if value.dtype.kind == "O" or value.nbytes > _LARGEST_OUTPUT:
        raise UserError(
            f"--verify: '{tensor:.100}' {list(value.shape)} of the graph holds no "
            "output of a network; name another with --outputs"
        )
    return value.astype(np.float64)


def _failure(error, meta):
    """Returns the answer that says what went wrong."""
    cause = error
    while cause is not None:
        if isinstance(cause, (MemoryError, tf.errors.ResourceExhaustedError)):
            return {"out_of_memory": True}
        cause = cause.__cause__
    if isinstance(error, UserError):
        return {"error": str(error)}
    line = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    return {"error": f"--verify: the graph '{meta}' is refused: {kind}: {line}"}


def _bound(memory_gib, seconds):
    if hasattr(signal, "setitimer"):
        # Its default is to end the process; for where the one that waits is gone.
        signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, _LARGEST_FILE)
    if graph_process.BOUNDS_MEMORY:
        # Not RLIMIT_AS: much address space is reserved and never used.
        bound = _data_in_use() + int(memory_gib * _GIB)
        _lower(resource.RLIMIT_DATA, bound)
        # Where the whole machine runs out, this process goes first.
        with contextlib.suppress(OSError), open(
            "/proc/self/oom_score_adj", "w"
        ) as file:
            file.write("1000")


def _lower(limit, value):
    import resource

    _, most = resource.getrlimit(limit)
    if most != resource.RLIM_INFINITY:
        value = min(value, most)
    resource.setrlimit(limit, (value, value))


def _data_in_use():
    """Returns bytes of the memory that RLIMIT_DATA counts."""
    import resource

    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


if __name__ == "__main__":
    main(sys.argv[1])
