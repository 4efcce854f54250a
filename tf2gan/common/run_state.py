"""Checks of a run's variables, and the errors of its checkpoints."""

import re
from typing import Dict, Sequence

import numpy as np

from tf2gan.common.errors import DivergenceError, UserError


def check_names_and_shapes(
    expected: Dict[str, Sequence[int]], state: Dict[str, np.ndarray]
) -> None:
    """Raises ValueError unless `state` has the expected names and shapes."""
    missing = sorted(set(expected) - set(state))
    unknown = sorted(set(state) - set(expected))
    if missing or unknown:
        raise ValueError(
            "state does not fit: missing {}; unknown {}".format(
                missing, unknown
            )
        )
    for name, shape in expected.items():
        if tuple(np.shape(state[name])) != tuple(shape):
            raise ValueError(
                "state does not fit: {} has the shape {}, expected {}".format(
                    name, np.shape(state[name]), tuple(shape)
                )
            )


def check_finite(state: Dict[str, np.ndarray], step: int) -> None:
    """Raises `DivergenceError` naming a variable that is NaN or infinite."""
    for name, value in sorted(state.items()):
        if not np.all(np.isfinite(value)):
            raise DivergenceError(
                "after iteration {} the variable {} is not finite; no checkpoint of "
                "it is saved, the last good one is kept; try a lower "
                "--learning_rate".format(step, name)
            )


def unwritable(path: str, error: Exception) -> UserError:
    """Returns the error of a file of the run that cannot be written."""
    return UserError(
        "cannot write '{}': {}; make room, then go on with --resume".format(
            path, _reason(error)
        )
    )


def unreadable(path: str, error: Exception) -> UserError:
    """Returns the error of a checkpoint that cannot be restored."""
    return UserError(
        "cannot restore the checkpoint '{}': {}; it is damaged or of another "
        "model, put its files back or train again".format(path, _reason(error))
    )


def missing(path: str) -> UserError:
    """Returns the error of a checkpoint that the folder's index names in vain."""
    return UserError(
        "the checkpoint '{}' is missing, though the file 'checkpoint' beside it "
        "names it; put its files back or train again".format(path)
    )


def _reason(error):
    """Returns the line of a framework's error that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = 0
    for number, line in enumerate(lines[:-1], start=1):
        # What comes before tells where in the code the graph was built.
        if line.startswith("Node: ") or line.endswith("Original error:"):
            first = number
    line = lines[first] if lines else type(error).__name__
    return re.sub(r"{{.*?}} | \[Op:.*\]", "", line)[:300]
