"""Puts the results of a conversion in place, all of them or none."""

import contextlib
import errno
import os
import shutil
import tempfile
from typing import Iterable, Iterator

from tf2gan.common.errors import UserError


@contextlib.contextmanager
def staged(
    folder: str, overwrite: bool, sources: Iterable[str] = ()
) -> Iterator[str]:
    """Gives a folder to write in, whose files then move to `folder`.

    Nothing is moved if the block raises. A new folder is there whole or not at all;
    in one that is there, the index named `checkpoint` moves last, so that it never
    names what is not there.

    Args:
      folder: where the files are wanted; it is made.
      overwrite: whether files there may be replaced; others stay.
      sources: checkpoints that are read, and must not be replaced.

    Raises:
      UserError: if there is something in the folder and `overwrite` is false, or
        a source is, or it cannot be written.
    """
    check(folder, overwrite, sources)
    folder = os.path.abspath(folder)
    try:
        part = _stage(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        result = os.path.join(part, "result")
        os.mkdir(result)
        yield result
        _move(result, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check(folder: str, overwrite: bool, sources: Iterable[str] = ()) -> None:
    """Raises what `staged` would, before anything is computed for the folder."""
    folder = os.path.abspath(folder)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UserError(f"--output_dir='{folder}' is no folder; name another")
    inside = os.path.join(os.path.realpath(folder), "")
    for source in sources:
        if os.path.realpath(source).startswith(inside):
            raise UserError(
                f"--output_dir='{folder}' holds '{source}', which is read and might "
                "be overwritten; name another folder"
            )
    if not os.access(_above(folder), os.W_OK | os.X_OK):
        raise _unwritable(
            folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        )
    if os.path.isdir(folder) and os.listdir(folder) and not overwrite:
        raise UserError(
            f"--output_dir='{folder}' is not empty; name another folder, or add "
            "--overwrite to replace the files of an earlier conversion"
        )


def _above(folder):
    """Returns the folder, or the first around it that is there."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise UserError(
            f"--output_dir: '{folder}' is no folder; name another path"
        )
    return folder


def require_space(folder: str, size: int) -> None:
    """Raises `OSError` if the disk of a folder has less room, in bytes.

    To be asked before h5py writes: where it runs out of room, it ends the process.
    """
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _stage(folder):
    """Returns a new folder on the disk that the files are wanted on."""
    around = folder
    if not os.path.isdir(folder):
        around = os.path.dirname(folder)
        os.makedirs(around, exist_ok=True)
    return tempfile.mkdtemp(".part", "convert-", around)


def _unwritable(folder, error):
    return UserError(
        f"cannot write --output_dir='{folder}': {error.strerror or error}; name "
        "another folder"
    )


def _move(part, folder):
    if not os.path.lexists(folder):
        os.rename(part, folder)
        return
    paths = [
        os.path.relpath(os.path.join(root, name), part)
        for root, _, files in os.walk(part)
        for name in files
    ]
    paths.sort(key=lambda path: (os.path.basename(path) == "checkpoint", path))
    goals = {os.path.join(part, p): os.path.join(folder, p) for p in paths}
    for goal in goals.values():  # before any is replaced
        os.makedirs(os.path.dirname(goal), exist_ok=True)
        if os.path.isdir(goal):
            raise IsADirectoryError(0, f"'{goal}' is a folder")
    for path, goal in goals.items():
        os.replace(path, goal)
