"""Reads `.npz` files of strangers: plain arrays, uncompressed, sizes checked first.

`numpy.load` believes an array's header: sixty bytes can ask for terabytes. Here
nothing is allocated that the file does not really hold.
"""

import os
import stat
import zipfile
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

from tf2gan.common.errors import UserError

KINDS = "biufc"  # bool, integer, unsigned, float, complex
ENDING = ".npy"
END_OF_ARCHIVE = b"PK\5\6"  # starts the last record of a zip file
LAST_RECORD = 22  # bytes
LARGEST_ARRAY = (
    2**32
)  # bytes; TF1 itself cannot save a constant of half of that
LARGEST_DIRECTORY = 2**24  # bytes of a zip file's list of members
ENCRYPTED = 1  # in a member's flags


class ArrayFile:
    """An open `.npz` file; every method raises `UserError` for a damaged one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._size = check_regular(path)
        self._guarded("it", self._check_directory_size)
        self._zip = self._guarded("it", lambda: zipfile.ZipFile(path))
        try:
            self._members = self._check_members()
        except UserError:
            self._zip.close()
            raise

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, *exception) -> None:
        self._zip.close()

    def under(self, prefix: str) -> List[str]:
        """Returns the names of the arrays that start so, without that start."""
        return [n[len(prefix) :] for n in self._members if n.startswith(prefix)]

    def forbid_other_than(
        self, names: Sequence[str], prefixes: Tuple[str, ...]
    ) -> None:
        """Raises `UserError` if there are arrays of other names."""
        for name in self._members:
            if name not in names and not name.startswith(prefixes):
                raise self.error(f"it has an array {brief(name)}")

    def read(
        self,
        name: str,
        shape: Optional[Tuple[int, ...]] = None,
        dtypes: Optional[Sequence[str]] = None,
    ) -> np.ndarray:
        """Returns an array.

        Args:
          name: of the array.
          shape: that it must have; any if None.
          dtypes: names of the types that it may have; any numbers if None.
        """
        if name not in self._members:
            raise self.error(f"it lacks {brief(name)}")
        return self._guarded(
            brief(name), lambda: self._read(name, shape, dtypes)
        )

    def error(self, reason: str) -> UserError:
        """Returns an error that names the file."""
        return UserError(
            f"cannot use '{self._path}' of the trace: {reason}; copy it again, or "
            "record it again"
        )

    def _guarded(self, what: str, function: Callable):
        try:
            return function()
        except UserError:
            raise
        # zipfile, zlib, ast and NumPy have errors of their own for damaged files.
        except Exception as error:
            raise self.error(
                f"{what} cannot be read, {brief(str(error))}"
            ) from error

    def _check_directory_size(self):
        with open(self._path, "rb") as file:
            file.seek(max(0, self._size - LAST_RECORD))
            record = file.read(LAST_RECORD)
        if len(record) < LAST_RECORD or record[:4] != END_OF_ARCHIVE:
            raise self.error("it is no .npz file, or cut off")
        if int.from_bytes(record[12:16], "little") > LARGEST_DIRECTORY:
            raise self.error("its list of arrays is too long")

    def _check_members(self):
        members, total = {}, 0
        for info in self._zip.infolist():
            name = info.filename[: -len(ENDING)]
            if not info.filename.endswith(ENDING) or name in members:
                raise self.error(
                    f"it has a strange or second {brief(info.filename)}"
                )
            if (
                info.compress_type != zipfile.ZIP_STORED
                or info.file_size != info.compress_size
                or info.flag_bits & ENCRYPTED
            ):
                raise self.error(f"{brief(name)} is compressed or encrypted")
            total += info.file_size
            members[name] = info
        if total > self._size:
            raise self.error("its arrays claim to be larger than the file")
        return members

    def _read(self, name, shape, dtypes):
        info = self._members[name]
        with self._zip.open(info) as file:
            found, fortran, dtype = self._header(file, name)
            if dtypes is not None and dtype.name not in dtypes:
                raise self.error(
                    f"{brief(name)} is of type {dtype.name}; expected "
                    f"{' or '.join(dtypes)}"
                )
            if shape is not None and found != shape:
                raise self.error(
                    f"{brief(name)} has the shape {brief(found)}; expected {shape}"
                )
            size = dtype.itemsize
            for length in found:
                size *= length
            if size > LARGEST_ARRAY:
                raise self.error(f"{brief(name)} claims {size} bytes")
            if size != info.file_size - file.tell():
                raise self.error(
                    f"{brief(name)} has not as many bytes as its header says"
                )
            values = np.frombuffer(bytearray(file.read()), dtype)
        order = "F" if fortran else "C"
        return values.reshape(found, order=order).astype(
            dtype.newbyteorder("=")
        )

    def _header(self, file, name):
        if np.lib.format.read_magic(file) != (1, 0):
            raise self.error(f"{brief(name)} is of an unknown version")
        found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.kind not in KINDS or dtype.hasobject:
            raise self.error(
                f"{brief(name)} holds {brief(str(dtype))}, not numbers"
            )
        if any(length < 0 for length in found):
            raise self.error(f"{brief(name)} has the shape {brief(found)}")
        return found, fortran, dtype


def check_regular(path: str, most_bytes: Optional[int] = None) -> int:
    """Returns the size of a file in bytes.

    Raises:
      UserError: if it is missing, larger than `most_bytes`, or a link or device.
    """
    try:
        status = os.lstat(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the trace lacks '{path}'; copy the whole folder"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"'{path}' of the trace is no file; copy it as one")
    if most_bytes is not None and status.st_size > most_bytes:
        raise UserError(
            f"'{path}' of the trace has {status.st_size} bytes; expected at most "
            f"{most_bytes}"
        )
    return status.st_size


def brief(value: object) -> str:
    """Shows a value from a file in part of a line, whatever it is."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:80] + "..."
