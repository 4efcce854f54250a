"""The CSV of the losses of every iteration, exact and without gap or double."""

import contextlib
import csv
import os
from typing import Dict, List

from tf2gan.common.errors import UserError

HEADER = ["iteration", "epoch", "loss_D", "loss_G"]


class LossesFile:
    """Appends one row per iteration; floats are written so that they read back."""

    def __init__(self, path: str, rows: int) -> None:
        """Opens the file behind its first `rows` rows and drops what follows.

        Args:
          path: of the file; it is made if `rows` is 0.
          rows: iterations that the checkpoint has seen.

        Raises:
          UserError: if the file does not hold the iterations 1 to `rows`.
        """
        self.path = path
        if rows:
            os.truncate(path, _end_of_row(path, rows))
            self._file = open(path, "a", newline="")
        else:
            self._file = open(path, "w", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        if not rows:
            self._writer.writerow(HEADER)

    def append(
        self, step: int, epoch: int, loss_d: float, loss_g: float
    ) -> None:
        """Adds the row of iteration `step`, counted from 1, for others to see."""
        self._writer.writerow([step, epoch, repr(loss_d), repr(loss_g)])
        self._file.flush()

    def sync(self) -> None:
        """Returns once the rows are on the disk; call before a checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file; rows that found no room are lost, as was said then."""
        with contextlib.suppress(OSError):
            self._file.close()


def _end_of_row(path, rows):
    """Returns the offset in bytes of the end of row `rows`, having checked each."""
    try:
        with open(path, "rb") as file:
            lines = [file.readline() for _ in range(rows + 1)]
    except OSError as error:
        raise UserError(
            "cannot read the losses '{}' of the run: {}; put the file back, or "
            "start again with --overwrite".format(path, error)
        ) from error
    for step, line in enumerate(lines):
        if not _is_row(step, line):
            raise UserError(
                "'{}' breaks off or is damaged at iteration {}, but the checkpoint is "
                "of iteration {}; put the file back, or start again with "
                "--overwrite".format(path, step, rows)
            )
    return sum(map(len, lines))


def _is_row(step, line):
    """Tells whether a line, in bytes, is the row of an iteration; 0 is the header."""
    if not step:
        return line == ",".join(HEADER).encode() + b"\n"
    cells = line.split(b",")
    try:
        numbers = [int(cell) for cell in cells[:2]] + [
            float(cell) for cell in cells[2:]
        ]
    except ValueError:
        return False
    return (
        len(numbers) == len(HEADER)
        and numbers[0] == step
        and line.endswith(b"\n")
    )


def read_losses(path: str) -> Dict[str, List[float]]:
    """Returns the columns of a losses file by name."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in HEADER}
