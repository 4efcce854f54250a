"""Reads and writes checkpoints of TF1's Saver, as files of strangers.

Both formats are read: V2 (`NAME.index` and `NAME.data-...`) and, where TensorFlow
still reads it, V1 (the file `NAME`, or `NAME-00000-of-00002` and so on). Written is
V2, which TF 1.15's Saver restores.
"""

import dataclasses
import errno
import os
import re
import shutil
import tempfile
import weakref
from typing import Dict, List, Tuple

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
_LINKED = "model"
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
# A shard of format V1, or TensorFlow's pattern of all of them.
_SHARD = re.compile(r"-(\d{5}|\?{5})-of-(?P<count>\d{5})$")
# What a name may have that TensorFlow's readers take for a pattern.
_OF_PATTERNS = re.compile(r"[*?\[\\]" if os.sep == "/" else r"[*?\[]")
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
        self._readable = self.path
        if is_pattern(self.path):
            folder = tempfile.mkdtemp(prefix="checkpoint-")
            weakref.finalize(self, shutil.rmtree, folder, True)
            self._readable = link(self.path, folder)
        self._reader = tf.train.load_checkpoint(self._readable)
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

    @property
    def meta_path(self) -> str:
        """Where the Saver wrote the graph."""
        return meta_of(self.path)

    def read(self, name: str) -> np.ndarray:
        """Returns the value of a variable; UserError if its bytes are damaged."""
        try:
            value = np.asarray(self._get(name))
        except _READER_ERRORS as error:
            raise _unreadable(self.path, error, name) from error
        return value.reshape(self.variables[name].shape)

    def _get(self, name):
        try:
            return self._reader.get_tensor(name)
        except tf.errors.UnimplementedError:  # slices in format V1
            return tf.raw_ops.Restore(
                file_pattern=self._readable,
                tensor_name=name,
                dt=self.variables[name].dtype,
            )

    def read_all(self) -> Dict[str, np.ndarray]:
        """Returns all values by name."""
        return {name: self.read(name) for name in self.variables}


def meta_of(path: str) -> str:
    """Returns where the Saver wrote the graph of a checkpoint."""
    return _SHARD.sub("", path) + ".meta"


def folder_in(folder: str) -> str:
    """Returns the folder of the checkpoints of a run, or the folder itself."""
    inner = os.path.join(folder, "checkpoints")
    return inner if os.path.isdir(inner) else folder


def named_in(folder: str) -> List[str]:
    """Returns what a folder's file `checkpoint` names, the latest first.

    Raises:
      UserError: if it is damaged.
    """
    try:
        state = tf.train.get_checkpoint_state(folder)
    except (*_READER_ERRORS, OSError) as error:
        raise _unreadable(os.path.join(folder, "checkpoint"), error) from error
    if state is None:
        return []
    earlier = reversed(state.all_model_checkpoint_paths)
    return list(dict.fromkeys([state.model_checkpoint_path, *earlier]))


def find(path: str) -> str:
    """Returns the path of a checkpoint, as TensorFlow takes it.

    Args:
      path: the same, one of the checkpoint's files, or a folder with an index
        `checkpoint` in it or in its `checkpoints`.

    Raises:
      UserError: if no checkpoint is there.
    """
    if _ENDING.search(path) and os.path.exists(path):
        path = _ENDING.sub("", path)
    if os.path.isdir(path):
        path = _latest(path)
    shards = _shards_beside(path)
    if shards:
        return shards
    if os.path.isfile(path + ".index") or os.path.isfile(path):
        return path
    raise UserError(
        f"no checkpoint '{path}': neither '{path}.index' nor a file of that "
        "name is there; name the checkpoint as the Saver did"
    )


def _shards_beside(path):
    """Returns TensorFlow's pattern if a path means shards of format V1, else ""."""
    if _SHARD.search(path):
        found = [path]
    elif os.path.isfile(path + ".index") or os.path.isfile(path):
        return ""
    else:
        found = _of_one_name(path)
    patterns = {_SHARD.sub(r"-?????-of-\g<count>", name) for name in found}
    if len(patterns) > 1:
        raise UserError(
            f"there are several checkpoints '{path}', in different numbers of "
            f"files; name one of them: {', '.join(sorted(patterns))}"
        )
    return patterns.pop() if patterns else ""


def _of_one_name(path):
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return []
    beside = [os.path.join(folder, n) for n in names if _SHARD.search(n)]
    return [other for other in beside if _SHARD.sub("", other) == path]


def _files_v1(path) -> List[str]:
    """Returns the paths of a checkpoint's files in format V1."""
    match = _SHARD.search(path)
    if not match:
        return [path]
    count = int(match["count"])
    paths = []
    for number in range(count):
        shard = f"{path[: match.start()]}-{number:05d}-of-{count:05d}"
        if not os.path.isfile(shard):
            raise UserError(
                f"the checkpoint '{path}' is of {count} files, and '{shard}' is "
                "missing; copy them all into one folder"
            )
        paths.append(shard)
    if not paths:
        raise UserError(f"the checkpoint '{path}' is of no file")
    return paths


def is_pattern(path: str) -> bool:
    """Tells whether TensorFlow's readers would look for other files than are meant."""
    return bool(_OF_PATTERNS.search(_prefix(path)))


def link(path: str, folder: str) -> str:
    """Links the files of a checkpoint into a folder; returns its path there."""
    prefix = _prefix(path)
    for file in _files(path):
        goal = os.path.join(folder, _LINKED + file[len(prefix) :])
        os.symlink(os.path.abspath(file), goal)
    return os.path.join(folder, _LINKED + path[len(prefix) :])


def _prefix(path):
    """Returns what the paths of all files of a checkpoint start with."""
    if os.path.isfile(path + ".index"):
        return path
    return _SHARD.sub("", path)


def _files(path) -> List[str]:
    if not os.path.isfile(path + ".index"):
        return _files_v1(path)
    folder, name = os.path.split(path)
    names = os.listdir(folder or ".")
    data = [n for n in names if n.startswith(name + ".data-")]
    return [os.path.join(folder, n) for n in (name + ".index", *data)]


def check_files(path: str) -> None:
    """Raises `UserError` unless the files of a checkpoint fit their index."""
    if os.path.isfile(path + ".index"):
        table_file.read_bundle_index(path)
        return
    for file in _files_v1(path):
        if not table_file.is_table(file):
            raise UserError(
                f"'{file}' is no checkpoint: it does not end as one of format V1 "
                "does, and of format V2 there is no index beside it"
            )
        table_file.check_blocks(file)


def write(path: str, values: Dict[str, np.ndarray]) -> None:
    """Writes a checkpoint that TF1's Saver restores, and the index `checkpoint`.

    Args:
      path: of the checkpoint, without an ending; its folder is made.
      values: of the variables, by name, each in the type that TF1 holds it in.

    Raises:
      OSError: if it cannot be written, as where the disk is full.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    names = sorted(values)
    tensors = [tf.constant(values[name]) for name in names]
    try:
        tf.raw_ops.SaveV2(
            prefix=path,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=tensors,
        )
    except tf.errors.OpError as error:
        is_full = isinstance(error, tf.errors.ResourceExhaustedError)
        code = errno.ENOSPC if is_full else errno.EIO
        raise OSError(code, os.strerror(code)) from error
    name = os.path.basename(path)
    with open(os.path.join(os.path.dirname(path), "checkpoint"), "w") as file:
        file.write(f'model_checkpoint_path: "{name}"\n')
        file.write(f'all_model_checkpoint_paths: "{name}"\n')


def _latest(folder):
    folder = folder_in(folder)
    # Not tf.train.latest_checkpoint: it takes brackets in the path for a pattern.
    for path in named_in(folder)[:1]:
        if _is_there(path):
            return path
    raise UserError(
        f"no checkpoint in the folder '{folder}': its file 'checkpoint' "
        "names none that is there; name the checkpoint itself"
    )


def _is_there(path):
    is_file = os.path.isfile(path + ".index") or os.path.isfile(path)
    return is_file or bool(_of_one_name(_SHARD.sub("", path)))


def _is_number(dtype):
    return dtype.is_floating or dtype.is_integer or dtype.is_bool


def _check_v1_sizes(path, variables):
    if os.path.isfile(path + ".index"):
        return
    size = sum(os.path.getsize(file) for file in _files_v1(path))
    most = _LARGEST_GROWTH * size
    for variable in variables:
        count = 1
        for length in variable.shape:
            count *= length
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
