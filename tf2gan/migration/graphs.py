"""Reads a graph from a file, or from the function that builds it, and runs none."""

import dataclasses
from pathlib import Path
from typing import Dict, List, Optional

import tensorflow.compat.v1 as tf
from tensorflow.core.framework import graph_pb2, variable_pb2
from tensorflow.core.protobuf import (
    meta_graph_pb2,
    saver_pb2,
)

from tf2gan.common.errors import UserError
from tf2gan.migration import graph_files, messages, user_code


@dataclasses.dataclass
class Graph:
    """A graph as it was written down.

    Attributes:
      source: where it is from: a file, or a function as the user named it.
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
        as text, or of a folder with a SavedModel or a checkpoint; or a function
        that builds the graph, as `path/to/file.py:function` or
        `package.module:function`. The function is called without arguments in a new
        graph; it may return another graph, or an object with the attribute `graph`.

    Raises:
      UserError: if there is no such thing, or it cannot be read or is too large.
    """
    if user_code.names_function(source) and not Path(source).exists():
        return from_function(source)
    return from_file(source)


def from_function(source: str) -> Graph:
    """Calls a function that builds a graph; see `read`."""
    label = f"--graph='{source}'"
    function = user_code.load_function(source, label)
    graph = tf.Graph()
    with graph.as_default():
        built = user_code.call(label, function)
    if isinstance(built, (graph_pb2.GraphDef, meta_graph_pb2.MetaGraphDef)):
        return from_message(source, built)
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
    path = graph_files.find(source)
    return from_message(path, messages.read_message(path))


def from_message(source: str, message: messages.GraphMessage) -> Graph:
    """Takes a graph as a message."""
    if isinstance(message, graph_pb2.GraphDef):
        return Graph(source, message)
    return _from_meta_graph(source, message)


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
        variable = messages.parsed(variable_pb2.VariableDef, content)
        if variable is not None and variable.variable_name:
            names.append(variable.variable_name)
    return names


def _name(item):
    name = getattr(item, "name", None)
    return name if isinstance(name, str) else ""
