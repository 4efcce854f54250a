"""Finds the file with the graph that a path means, also that of a folder."""

import os
from typing import List

from tf2gan.common.errors import UserError
from tf2gan.migration import tf1_checkpoint
from tf2gan.migration.messages import EXPECTED

_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_META = ".meta"
_MOST_NAMES = 10


def find(source: str) -> str:
    """Returns the path of a file that should hold a graph.

    Args:
      source: its path, or that of a folder with a SavedModel or a checkpoint, as of
        a run. Of several checkpoints it is the latest that the folder's file
        `checkpoint` names and that has a graph.

    Raises:
      UserError: if there is none, or no telling which.
    """
    if os.path.isfile(source):
        return source
    if os.path.isdir(source):
        return _in_folder(source)
    hint = EXPECTED
    if os.path.isfile(source + _META):
        hint = f"did you mean '{source + _META}'?"
    raise UserError(f"there is no file '{source}'; {hint}")


def _in_folder(source):
    for name in _SAVED_MODEL_FILES:
        if os.path.isfile(os.path.join(source, name)):
            return os.path.join(source, name)
    folder = tf1_checkpoint.folder_in(source)
    names = sorted(n for n in os.listdir(folder) if n.endswith(_META))
    metas = [os.path.join(folder, name) for name in names]
    latest = [path for path in _latest_first(folder) if path in metas]
    if latest or len(metas) == 1:
        return (latest or metas)[0]
    if metas:
        raise UserError(
            f"'{folder}' holds several graphs, and no file 'checkpoint' that tells "
            f"the latest of them; name one: {_some(metas)}"
        )
    raise UserError(
        f"'{source}' is a folder without a SavedModel or the .meta file of a "
        f"checkpoint; {EXPECTED}"
    )


def _latest_first(folder) -> List[str]:
    """Returns where the graphs of a folder's checkpoints are; it may have moved."""
    named = map(tf1_checkpoint.meta_of, tf1_checkpoint.named_in(folder))
    return [os.path.join(folder, os.path.basename(path)) for path in named]


def _some(paths):
    more = len(paths) - _MOST_NAMES
    return ", ".join(paths[:_MOST_NAMES]) + (
        f" and {more} more" if more > 0 else ""
    )
