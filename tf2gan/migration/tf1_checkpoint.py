"""Reads and writes checkpoints of TF1's Saver, as files of strangers.

Both formats are read: V2 (`NAME.index` and `NAME.data-...`) and, where TensorFlow
still reads it, V1 (one file). Written is V2, which TF 1.15's Saver restores.
"""

import dataclasses
import os
from typing import Dict, Tuple

import numpy as np
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration import table_file

_READER_ERRORS = (
    tf.errors.OpError,
    ValueError,
    IndexError,
    RuntimeError,
    TypeError,
)
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ENDINGS = (".index", ".meta", ".data-00000-of-00001")
# A Snappy block, of which V1 files consist, grows less than this when it is
# decompressed, and a number in it takes at least a byte.
_LARGEST_GROWTH = 64


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable in a checkpoint, without its value.

    Attributes:
      name: in TF1, without `:0`.
      shape: of the value.
      dtype: of the value.
    """

    name: str
    shape: Tuple[int, ...]
    dtype: np.dtype


class Tf1Checkpoint:
    """The variables of a checkpoint; values are read when asked for.

    Attributes:
      path: as TensorFlow takes it, without an ending.
      variables: by name, in natural order of their names.
      unread: names of what holds no numbers.
    """

    def __init__(self, path: str) -> None:
        """Reads the index.

        Args:
          path: of the checkpoint, of one of its files, or of a folder that holds
            one, such as that of a run.

        Raises:
          UserError: if there is none, or it is damaged.
        """
        self.path = find(path)
        try:
            self._open()
        except _READER_ERRORS as error:
            raise _unreadable(self.path, error) from error

    def _open(self):
        from tf2gan.migration.names import natural_key

        check_files(self.path)
        self._reader = tf.train.load_checkpoint(self.path)
        shapes = self._reader.get_variable_to_shape_map()
        dtypes = self._reader.get_variable_to_dtype_map()
        self.unread = [name for name in shapes if not _is_number(dtypes[name])]
        self.variables = {
            name: Variable(
                name, tuple(shapes[name]), np.dtype(dtypes[name].as_numpy_dtype)
            )
            for name in sorted(shapes, key=natural_key)
            if name not in self.unread
        }
        _check_v1_sizes(self.path, self.variables.values())

    @property
    def is_tf2(self) -> bool:
        """Whether it was written by `tf.train.Checkpoint`."""
        return OBJECT_GRAPH in self.unread

    @property
    def name(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path)

    def read(self, name: str) -> np.ndarray:
        """Returns the value of a variable; UserError if its bytes are damaged."""
        try:
            value = np.asarray(self._reader.get_tensor(name))
        except _READER_ERRORS as error:
            raise _unreadable(self.path, error, name) from error
        return value.reshape(self.variables[name].shape)

    def read_all(self) -> Dict[str, np.ndarray]:
        """Returns all values by name."""
        return {name: self.read(name) for name in self.variables}


def find(path: str) -> str:
    """Returns the path of a checkpoint, as TensorFlow takes it.

    Args:
      path: the same, one of the checkpoint's files, or a folder with an index
        `checkpoint` in it or in its `checkpoints`.

    Raises:
      UserError: if no checkpoint is there.
    """
    for ending in _ENDINGS:
        if path.endswith(ending) and os.path.exists(path):
            path = path[: -len(ending)]
    if os.path.isdir(path):
        path = _latest(path)
    if os.path.isfile(path + ".index") or os.path.isfile(path):
        return path
    raise UserError(
        f"no checkpoint '{path}': neither '{path}.index' nor a file of that "
        "name is there; name the checkpoint as the Saver did"
    )


def check_files(path: str) -> None:
    """Raises `UserError` unless the files of a checkpoint fit their index."""
    if os.path.isfile(path + ".index"):
        table_file.read_bundle_index(path)
    elif table_file.is_table(path):
        table_file.check_blocks(path)
    else:
        raise UserError(
            f"'{path}' is no checkpoint: it does not end as one of format V1 "
            "does, and of format V2 there is no index beside it"
        )


def write(path: str, values: Dict[str, np.ndarray]) -> None:
    """Writes a checkpoint that TF1's Saver restores, and the index `checkpoint`.

    Args:
      path: of the checkpoint, without an ending; its folder is made.
      values: of the variables, by name, each in the type that TF1 holds it in.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    names = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=path,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(values[name]) for name in names],
    )
    name = os.path.basename(path)
    with open(os.path.join(os.path.dirname(path), "checkpoint"), "w") as file:
        file.write(f'model_checkpoint_path: "{name}"\n')
        file.write(f'all_model_checkpoint_paths: "{name}"\n')


def _latest(folder):
    inner = os.path.join(folder, "checkpoints")
    folder = inner if os.path.isdir(inner) else folder
    try:
        path = tf.train.latest_checkpoint(folder)
    except (*_READER_ERRORS, OSError) as error:
        raise _unreadable(os.path.join(folder, "checkpoint"), error) from error
    if path is None:
        raise UserError(
            f"no checkpoint in the folder '{folder}': its file 'checkpoint' "
            "names none that is there; name the checkpoint itself"
        )
    return path


def _is_number(dtype):
    return dtype.is_floating or dtype.is_integer or dtype.is_bool


def _check_v1_sizes(path, variables):
    if os.path.isfile(path + ".index"):
        return
    most = _LARGEST_GROWTH * os.path.getsize(path)
    for variable in variables:
        count = 1
        for size in variable.shape:
            count *= size
        if min(variable.shape, default=0) < 0 or count > most:
            raise ValueError(
                f"the shape of '{variable.name}' is {list(variable.shape)}"
            )


def _unreadable(path, error, name=None):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    of = f" of '{name}'" if name else ""
    return UserError(
        f"cannot read the checkpoint '{path}'{of}: {lines[0][:300]}; it is "
        "truncated, damaged or no checkpoint, copy it again"
    )
