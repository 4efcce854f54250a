"""Reads a graph from a file, or from the function that builds it, and runs none."""

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import tensorflow.compat.v1 as tf
from google.protobuf import message, text_format
from tensorflow.core.framework import graph_pb2, variable_pb2
from tensorflow.core.protobuf import (
    meta_graph_pb2,
    saved_model_pb2,
    saver_pb2,
)

from tf2gan.common.errors import UserError
from tf2gan.migration import user_code

MEGABYTE = 2**20
# No graph without weights is as large; frozen weights are rarely larger.
MOST_MEGABYTES = 512
# Text is read by Python, a megabyte a second.
MOST_TEXT_MEGABYTES = 32
# What a file may take once it is read; a few bytes can stand for a whole message.
MOST_MEMORY_MEGABYTES = 4096
TEXT_ENDINGS = (".pbtxt", ".txt", ".prototxt")
SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
EXPECTED = (
    "expected a .meta file, a GraphDef (.pb or .pbtxt), a SavedModel, or "
    "path/to/file.py:function"
)

_OP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_>.]*")


@dataclasses.dataclass
class Graph:
    """A graph as it was written down.

    Attributes:
      source: where it is from, as the user named it.
      definition: its operations.
      collections: names of operations, tensors or variables by collection; None
        if the source holds none, as a plain GraphDef.
      saver: of the checkpoints, None if the source does not say.
      version: of the TensorFlow that wrote it, "" if unknown.
    """

    source: str
    definition: graph_pb2.GraphDef
    collections: Optional[Dict[str, List[str]]] = None
    saver: Optional[saver_pb2.SaverDef] = None
    version: str = ""


def read(source: str) -> Graph:
    """Reads a graph.

    Args:
      source: the path of a .meta file, of a GraphDef, frozen or not, as binary or
        as text, or of a SavedModel; or a function that builds the graph, as
        `path/to/file.py:function` or `package.module:function`. The function is
        called without arguments in a new graph; it may return another graph, or an
        object with the attribute `graph`.

    Raises:
      UserError: if there is no such thing, or it cannot be read or is too large.
    """
    if user_code.names_function(source) and not Path(source).exists():
        return from_function(source)
    return from_file(source)


def from_function(source: str) -> Graph:
    """Calls a function that builds a graph; see `read`."""
    function = user_code.load_function(source)
    graph = tf.Graph()
    with graph.as_default():
        built = user_code.call(function, source)
    if isinstance(built, graph_pb2.GraphDef):
        return Graph(source, built)
    if isinstance(built, meta_graph_pb2.MetaGraphDef):
        return _from_meta_graph(source, built)
    graph = built if isinstance(built, tf.Graph) else graph
    return from_graph(getattr(built, "graph", graph), source)


def from_graph(graph: tf.Graph, source: str = "graph") -> Graph:
    """Takes a graph that is there."""
    collections = {
        str(name): [_name(item) for item in graph.get_collection(name)]
        for name in graph.get_all_collection_keys()
    }
    definition = graph.as_graph_def()
    if not definition.node:
        raise UserError(f"'{source}' built no operation in the default graph")
    return Graph(source, definition, collections, None, tf.version.VERSION)


def from_file(source: str) -> Graph:
    """Reads a graph from a file; see `read`."""
    path = _file(source)
    content = _content(path, source)
    with _bounded_memory(source):
        if path.suffix in TEXT_ENDINGS:
            return _from_text(source, content)
        return _from_bytes(source, content)


def _file(source):
    path = Path(source)
    for name in SAVED_MODEL_FILES:
        if (path / name).is_file():
            return path / name
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(
            f"'{source}' is a folder without a SavedModel; {EXPECTED}"
        )
    meta = Path(source + ".meta")
    hint = f"; did you mean '{meta}'?" if meta.is_file() else f"; {EXPECTED}"
    raise UserError(f"there is no file '{source}'{hint}")


def _content(path, source):
    text = path.suffix in TEXT_ENDINGS
    most = MOST_TEXT_MEGABYTES if text else MOST_MEGABYTES
    size = path.stat().st_size
    if size > most * MEGABYTE:
        raise UserError(
            f"'{source}' has {size / MEGABYTE:,.0f} MB; a graph may have {most}"
            + (" as text; give it as binary" if text else "")
        )
    with path.open("rb") as file:
        content = file.read(most * MEGABYTE)
    if not content:
        raise UserError(f"'{source}' is empty; {EXPECTED}")
    return content


@contextlib.contextmanager
def _bounded_memory(source) -> Iterator[None]:
    """Lets reading fail, and not the machine, where a file wants too much memory."""
    try:
        import resource
    except ImportError:  # not on Windows
        yield
        return
    kept = resource.getrlimit(resource.RLIMIT_AS)
    try:
        bound = _memory_in_use() + MOST_MEMORY_MEGABYTES * MEGABYTE
        if kept[0] == resource.RLIM_INFINITY or bound < kept[0]:
            resource.setrlimit(resource.RLIMIT_AS, (bound, kept[1]))
        yield
    except MemoryError as error:
        raise _no_graph(source) from error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, kept)


def _memory_in_use():
    import resource

    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 2**40  # no bound that means anything
    return int(statistics.read_text().split()[0]) * resource.getpagesize()


def _from_bytes(source, content):
    if content[:1] == b"\x08":  # a SavedModel starts with its version's number
        saved = _parsed(saved_model_pb2.SavedModel, content)
        if saved is not None and saved.meta_graphs:
            return _from_saved_model(source, saved)
    meta = _parsed(meta_graph_pb2.MetaGraphDef, content)
    if meta is not None and _is_graph(meta.graph_def):
        return _from_meta_graph(source, meta)
    definition = _parsed(graph_pb2.GraphDef, content)
    if definition is not None and _is_graph(definition):
        return Graph(source, definition)
    raise _no_graph(source)


def _from_text(source, content):
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _no_graph(source) from error
    for kind in (
        graph_pb2.GraphDef,
        meta_graph_pb2.MetaGraphDef,
        saved_model_pb2.SavedModel,
    ):
        try:
            read_message = text_format.Parse(text, kind())
        except (text_format.ParseError, RecursionError, ValueError):
            continue
        if isinstance(read_message, graph_pb2.GraphDef):
            if _is_graph(read_message):
                return Graph(source, read_message)
        elif isinstance(read_message, meta_graph_pb2.MetaGraphDef):
            if _is_graph(read_message.graph_def):
                return _from_meta_graph(source, read_message)
        elif read_message.meta_graphs:
            return _from_saved_model(source, read_message)
    raise _no_graph(source)


def _parsed(kind, content) -> Any:
    try:
        return kind.FromString(content)
    except message.DecodeError:
        return None


def _is_graph(definition):
    """Tells a graph from other bytes that happen to be a message."""
    return bool(definition.node) and all(
        node.name and _OP_NAME.fullmatch(node.op) for node in definition.node
    )


def _from_saved_model(source, saved):
    """Takes the part for training if there is one, else the first."""
    parts = [part for part in saved.meta_graphs if _is_graph(part.graph_def)]
    if not parts:
        raise _no_graph(source)
    training = [part for part in parts if "train" in part.meta_info_def.tags]
    return _from_meta_graph(source, (training + parts)[0])


def _from_meta_graph(source, meta):
    return Graph(
        source,
        meta.graph_def,
        {name: _names(value) for name, value in meta.collection_def.items()},
        meta.saver_def if meta.HasField("saver_def") else None,
        meta.meta_info_def.tensorflow_version,
    )


def _names(collection):
    """Returns names of operations and tensors, or of variables."""
    if collection.node_list.value:
        return list(collection.node_list.value)
    names = []
    for content in collection.bytes_list.value:
        variable = _parsed(variable_pb2.VariableDef, content)
        if variable is not None and variable.variable_name:
            names.append(variable.variable_name)
    return names


def _name(item):
    name = getattr(item, "name", None)
    return name if isinstance(name, str) else ""


def _no_graph(source):
    return UserError(f"'{source}' is damaged or holds no graph; {EXPECTED}")
