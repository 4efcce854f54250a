"""Reads the message that a graph's file holds: bounded, and without running any."""

import contextlib
import re
from pathlib import Path
from typing import Any, Iterator, Type, Union

from google.protobuf import message, text_format
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tf2gan.common.errors import UserError

MEGABYTE = 2**20
# No graph without weights is as large; frozen weights are rarely larger.
MOST_MEGABYTES = 512
# Text is read by Python, a megabyte a second.
MOST_TEXT_MEGABYTES = 32
# What a file may take once it is read; a few bytes can stand for a whole message.
MOST_MEMORY_MEGABYTES = 4096
TEXT_ENDINGS = (".pbtxt", ".txt", ".prototxt")
EXPECTED = (
    "expected a .meta file, a GraphDef (.pb or .pbtxt), a folder with a SavedModel or "
    "a checkpoint, or path/to/file.py:function"
)

_OP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_>.]*")

GraphMessage = Union[graph_pb2.GraphDef, meta_graph_pb2.MetaGraphDef]


def read_message(source: str) -> GraphMessage:
    """Reads a file.

    Args:
      source: the path of a .meta file, a GraphDef as binary or text, or a
        SavedModel's. Of that it is the part for training if there is one, else the
        first.

    Raises:
      UserError: if it holds no graph, or is too large.
      OSError: if it cannot be read.
    """
    path = Path(source)
    content = _content(path, source)
    with _bounded_memory(source):
        is_text = path.suffix in TEXT_ENDINGS
        parse = _parsed_text if is_text else parsed
        for kind in _kinds(content, is_text):
            graph = _graph_of(parse(kind, content))
            if graph is not None:
                return graph
    raise _no_graph(source)


def parsed(kind: Type[message.Message], content: bytes) -> Any:
    """Returns a message of a kind; None if the bytes are none."""
    try:
        return kind.FromString(content)
    except message.DecodeError:
        return None


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


def _kinds(content, is_text):
    kinds = [meta_graph_pb2.MetaGraphDef, graph_pb2.GraphDef]
    if is_text:  # with names, so that only one of them can be read
        return [*kinds, saved_model_pb2.SavedModel]
    # A SavedModel starts with its version's number, the others with a message.
    return [saved_model_pb2.SavedModel] if content[:1] == b"\x08" else kinds


def _parsed_text(kind, content):
    try:
        return text_format.Parse(content.decode(), kind())
    except (text_format.ParseError, RecursionError, ValueError):
        return None


def _graph_of(read):
    """Returns what holds the operations; None if there are none."""
    if isinstance(read, saved_model_pb2.SavedModel):
        parts = [p for p in read.meta_graphs if _is_graph(p.graph_def)]
        training = [p for p in parts if "train" in p.meta_info_def.tags]
        return next(iter(training + parts), None)
    if isinstance(read, meta_graph_pb2.MetaGraphDef):
        return read if _is_graph(read.graph_def) else None
    return read if read is not None and _is_graph(read) else None


def _is_graph(definition):
    """Tells a graph from other bytes that happen to be a message."""
    return bool(definition.node) and all(
        node.name and _OP_NAME.fullmatch(node.op) for node in definition.node
    )


def _no_graph(source):
    return UserError(f"'{source}' is damaged or holds no graph; {EXPECTED}")
