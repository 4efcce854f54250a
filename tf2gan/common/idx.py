"""Reads MNIST's IDX files, plain or gzipped, and trusts nothing in them.

The format: a magic number (two zero bytes, 8 for unsigned bytes, the number of
dimensions), each dimension as a big-endian 32-bit integer, then the bytes.
"""

import gzip
import struct
import zlib

import numpy as np

from tf2gan.common.errors import UserError

IMAGE_MAGIC = 0x00000803
LARGEST_SIDE = 4096  # pixels; a header that asks for more is damaged


def read_images(path: str) -> np.ndarray:
    """Reads an IDX file of images.

    Args:
      path: of the file. Whether it is gzipped is seen from its first bytes, not
        from its name.

    Returns:
      uint8 array [count, height, width].

    Raises:
      UserError: if the file cannot be read, is not an IDX file of images, or is
        shorter or longer than its header says.
    """
    try:
        with open(path, "rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"
        with (gzip.open if gzipped else open)(path, "rb") as file:
            return _read(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            "cannot read '{}': {}; fetch the file again".format(path, error)
        ) from error


def _read(file, path):
    header = file.read(16)
    if len(header) < 16 or struct.unpack(">I", header[:4])[0] != IMAGE_MAGIC:
        raise UserError(
            "'{}' is not an IDX file of images (it should begin with the bytes "
            "00 00 08 03); name a file like train-images-idx3-ubyte".format(
                path
            )
        )
    count, height, width = struct.unpack(">III", header[4:])
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise UserError(
            "'{}' claims images of {} x {} pixels; its header is damaged, fetch "
            "the file again".format(path, height, width)
        )
    data = _read_at_most(file, count * height * width + 1)
    if len(data) != count * height * width:
        raise UserError(
            "'{}' should hold {} bytes of pixels ({} images of {} x {}) but holds "
            "{}; fetch the file again".format(
                path,
                count * height * width,
                count,
                height,
                width,
                len(data) if len(data) < count * height * width else "more",
            )
        )
    return np.frombuffer(data, np.uint8).reshape(count, height, width)


def _read_at_most(file, limit, chunk=1 << 24):
    """Reads in chunks, so that a lying header cannot ask for memory by itself."""
    data = bytearray()
    while len(data) < limit:
        piece = file.read(min(chunk, limit - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)
