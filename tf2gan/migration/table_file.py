"""Checks the index of a checkpoint before TensorFlow's own reader sees it.

Checkpoints of both formats keep their index in a LevelDB table. TensorFlow's
reader allocates what a table says; here every offset, size and shape is held
against the length of the files first, so that a damaged or hostile file is one
clear error. Nothing is executed and no tensor is read.
"""

import contextlib
import dataclasses
import os
import struct
from typing import Dict, Iterator, Tuple

from tf2gan.common.errors import UserError

_FOOTER_SIZE = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_SIZE = 5  # one byte for the compression, four for the checksum
_NO_COMPRESSION, _SNAPPY = 0, 1
_LARGEST_INDEX = 1 << 28  # bytes; that of a million variables is smaller
_VARINT_SIZE = 10


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the index says of one tensor.

    Attributes:
      dtype: TensorFlow's number of the type.
      shape: of the tensor.
      partitioned: whether it is stored in slices.
    """

    dtype: int
    shape: Tuple[int, ...]
    partitioned: bool = False


def is_table(path: str) -> bool:
    """Tells whether a file ends as a LevelDB table does."""
    if os.path.getsize(path) < _FOOTER_SIZE:
        return False
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        return struct.unpack("<Q", file.read(8))[0] == _MAGIC


def check_blocks(path: str) -> None:
    """Raises `UserError` unless every block of a table lies within the file."""
    with _reported(path), open(path, "rb") as file:
        for handle in _handles(file):
            _check_range(file, *handle)


def read_bundle_index(prefix: str) -> Dict[str, Entry]:
    """Returns the entries of a checkpoint in format V2, by tensor name.

    Args:
      prefix: path of the checkpoint, without `.index`.

    Raises:
      UserError: if the index is damaged, or an entry does not fit the files.
    """
    path = prefix + ".index"
    with _reported(path):
        if os.path.getsize(path) > _LARGEST_INDEX:
            raise ValueError("it is too large for an index")
        with open(path, "rb") as file:
            pairs = list(_pairs(file))
        return _bundle_entries(prefix, pairs)


@contextlib.contextmanager
def _reported(path):
    """Makes of what is wrong with a table an error that names the file."""
    try:
        yield
    except (ValueError, OSError, struct.error) as error:
        raise UserError(
            f"cannot read the checkpoint '{path}': {error}; it is truncated, "
            "damaged or no checkpoint, copy it again"
        ) from error


def _bundle_entries(prefix, pairs):
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import tensor_bundle_pb2

    if not pairs or pairs[0][0] != b"":
        raise ValueError("its index has no header")
    header = tensor_bundle_pb2.BundleHeaderProto()
    entries, ranges = {}, []
    try:
        header.ParseFromString(pairs[0][1])
        shards = _shard_sizes(prefix, header)
        for key, value in pairs[1:]:
            entry = tensor_bundle_pb2.BundleEntryProto()
            entry.ParseFromString(value)
            name = _name(key)
            shape = _check_entry(name, entry, shards)
            ranges.append((entry.shard_id, entry.offset, entry.size))
            if not key.startswith(b"\0"):  # the key of a slice
                entries[name] = Entry(entry.dtype, shape, bool(entry.slices))
    except DecodeError as error:
        raise ValueError("an entry of its index cannot be parsed") from error
    _check_overlaps(ranges)
    return entries


def _shard_sizes(prefix, header):
    if header.endianness != header.LITTLE:
        raise ValueError("it is of a big-endian machine")
    if not 0 < header.num_shards < 100000:
        raise ValueError(f"its index names {header.num_shards} data files")
    sizes = []
    for number in range(header.num_shards):
        path = f"{prefix}.data-{number:05d}-of-{header.num_shards:05d}"
        if not os.path.isfile(path):
            raise ValueError(f"its data file '{path}' is missing")
        sizes.append(os.path.getsize(path))
    return sizes


def _name(key):
    if key.startswith(b"\0"):
        return "a slice"
    name = key.decode("utf-8", "replace")
    if not name.isprintable() or "\ufffd" in name:
        raise ValueError(f"it has a tensor with the name {name[:40]!r}")
    return name


def _check_entry(name, entry, shards):
    """Returns the shape of an entry that fits the data files."""
    import tensorflow as tf

    shape = tuple(dim.size for dim in entry.shape.dim)
    if entry.shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"the shape of '{name}' is {list(shape)}")
    if not 0 <= entry.shard_id < len(shards):
        raise ValueError(f"'{name}' lies in data file {entry.shard_id}")
    end = entry.offset + entry.size
    if min(entry.offset, entry.size) < 0 or end > shards[entry.shard_id]:
        raise ValueError(
            f"'{name}' lies at the bytes {entry.offset} to {end}, but its "
            f"data file ends at {shards[entry.shard_id]}"
        )
    try:
        dtype = tf.dtypes.as_dtype(entry.dtype)
    except TypeError as error:
        raise ValueError(f"the type of '{name}' is {entry.dtype}") from error
    expected = _count(shape) * (dtype.size or 0)
    if entry.slices:
        if expected > sum(shards):
            raise ValueError(f"the shape of '{name}' is {list(shape)}")
    elif dtype not in (tf.string, tf.variant) and expected != entry.size:
        raise ValueError(
            f"'{name}' has {entry.size} bytes, but its shape {list(shape)} "
            f"takes {expected}"
        )
    return shape


def _check_overlaps(ranges):
    """Entries that share bytes would let a small file fill the memory."""
    ranges = sorted(r for r in ranges if r[2])
    for (shard, offset, size), following in zip(ranges, ranges[1:]):
        if shard == following[0] and offset + size > following[1]:
            raise ValueError("two tensors of its index share their bytes")


def _count(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def _pairs(file) -> Iterator[Tuple[bytes, bytes]]:
    for handle in _handles(file):
        yield from _entries(_block(file, *handle))


def _handles(file):
    """Yields offset and size of every data block."""
    file.seek(0, os.SEEK_END)
    length = file.tell()
    if length < _FOOTER_SIZE:
        raise ValueError("it is too short")
    file.seek(length - _FOOTER_SIZE)
    footer = file.read(_FOOTER_SIZE)
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("it does not end as a checkpoint does")
    at = 0
    for _ in range(2):  # of the block of metadata, which is empty
        _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    for _, value in _entries(_block(file, offset, size)):
        offset, at = _varint(value, 0)
        yield offset, _varint(value, at)[0]


def _check_range(file, offset, size):
    file.seek(0, os.SEEK_END)
    if offset + size + _TRAILER_SIZE > file.tell() - _FOOTER_SIZE:
        raise ValueError("a block lies behind its end")


def _block(file, offset, size):
    _check_range(file, offset, size)
    if size > _LARGEST_INDEX:
        raise ValueError("a block of its index is too large")
    file.seek(offset)
    content = file.read(size)
    compression = file.read(1)[0]
    if compression == _SNAPPY:
        return _unsnap(content)
    if compression != _NO_COMPRESSION:
        raise ValueError("a block has an unknown compression")
    return content


def _entries(block):
    """Yields key and value of each entry of a block."""
    if len(block) < 4:
        raise ValueError("a block is too short")
    end = len(block) - 4 * (1 + struct.unpack("<I", block[-4:])[0])
    if end < 0:
        raise ValueError("a block is too short")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + unshared + length > end:
            raise ValueError("a block breaks off")
        key = key[:shared] + block[at : at + unshared]
        at += unshared + length
        yield key, block[at - length : at]


def _varint(data, at):
    """Returns a number of seven bits per byte, and where it ends."""
    value = 0
    for position, byte in enumerate(data[at : at + _VARINT_SIZE]):
        value |= (byte & 127) << (7 * position)
        if byte < 128:
            return value, at + position + 1
    raise ValueError("a number in it breaks off")


def _unsnap(data):
    """Decompresses a block of the Snappy format."""
    length, at = _varint(data, 0)
    if length > _LARGEST_INDEX:
        raise ValueError("a block of its index is too large")
    out = bytearray()
    while at < len(data) and len(out) <= length:
        tag, at = data[at], at + 1
        element = _copy if tag & 3 else _literal
        at = element(data, at, tag, out)
    if len(out) != length:
        raise ValueError("a compressed block is damaged")
    return bytes(out)


def _literal(data, at, tag, out):
    size = tag >> 2
    extra = max(size - 59, 0)  # lengths above 60 take further bytes
    if extra:
        size = int.from_bytes(data[at : at + extra], "little")
        at += extra
    out += data[at : at + size + 1]
    return at + size + 1


def _copy(data, at, tag, out):
    bytes_of_offset = (0, 1, 2, 4)[tag & 3]
    offset = int.from_bytes(data[at : at + bytes_of_offset], "little")
    size = (tag >> 2) + 1
    if tag & 3 == 1:
        offset, size = offset | (tag >> 5) << 8, (tag >> 2 & 7) + 4
    if not 0 < offset <= len(out):
        raise ValueError("a compressed block is damaged")
    for _ in range(size):
        out.append(out[-offset])
    return at + bytes_of_offset
