"""Puts the results of a conversion in place, all of them or none."""

import contextlib
import os
import shutil
import tempfile
from typing import Iterator

from tf2gan.common.errors import UserError


@contextlib.contextmanager
def staged(folder: str, overwrite: bool) -> Iterator[str]:
    """Gives a folder to write in, whose files then move to `folder`.

    Nothing is moved if the block raises. The index named `checkpoint` moves last,
    so that it never names what is not there.

    Args:
      folder: where the files are wanted; it is made.
      overwrite: whether files there may be replaced; others stay.

    Raises:
      UserError: if there is something in the folder and `overwrite` is false, or
        it cannot be written.
    """
    folder = os.path.abspath(folder)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UserError(f"--output_dir='{folder}' is no folder; name another")
    if os.path.isdir(folder) and os.listdir(folder) and not overwrite:
        raise UserError(
            f"--output_dir='{folder}' is not empty; name another folder, or add "
            "--overwrite to replace the files of an earlier conversion"
        )
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        part = tempfile.mkdtemp(".part", "convert-", os.path.dirname(folder))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield part
        _move(part, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unwritable(folder, error):
    return UserError(
        f"cannot write --output_dir='{folder}': {error.strerror or error}; name "
        "another folder"
    )


def _move(part, folder):
    paths = [
        os.path.relpath(os.path.join(root, name), part)
        for root, _, files in os.walk(part)
        for name in files
    ]
    paths.sort(key=lambda path: (os.path.basename(path) == "checkpoint", path))
    for path in paths:
        goal = os.path.join(folder, path)
        os.makedirs(os.path.dirname(goal), exist_ok=True)
        os.replace(os.path.join(part, path), goal)
