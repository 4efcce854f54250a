"""Reads the folder that `tf1gan/trace.py` writes around a legacy script.

A trace may come from anybody: nothing in it is executed, unpickled or taken as a
path, and no array is allocated before its size has been checked against the file and
against what `trace.json` declares.
"""

import dataclasses
import json
import os
import re
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration.plain_arrays import ArrayFile, brief, check_regular

FORMAT = "gan trace"
VERSION = 1
DESCRIPTION = "trace.json"
INITIAL = "initial.npz"
CALLS = "calls"

LARGEST_DESCRIPTION = 2**24  # bytes
LARGEST_VARIABLE = 2**31  # elements
MOST_DIMENSIONS = 32
DTYPES = tuple(
    ["bool", "complex64", "complex128", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of the recorded graph."""

    name: str
    shape: Tuple[int, ...]
    dtype: str
    trainable: bool


@dataclasses.dataclass(frozen=True)
class Phase:
    """A kind of training step: its name, and the variables with a gradient."""

    name: str
    trains: Tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """One recorded `session.run`.

    Attributes:
      number: from 1.
      phase: the name of its phase.
      loss: of the batch, before the update.
      inputs: what was fed or computed, by name.
      gradients: as the optimizer received them, by variable; empty if not recorded.
      variables: after the call, by name; empty if not recorded.
      changed: variables that the script changed between recorded calls, with their
        values before this call.
    """

    number: int
    phase: str
    loss: np.ndarray
    inputs: Dict[str, np.ndarray]
    gradients: Dict[str, np.ndarray]
    variables: Dict[str, np.ndarray]
    changed: Dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Trace:
    """A recorded training; arrays are read when they are asked for.

    Attributes:
      folder: that holds it.
      tensorflow: version that it was recorded with.
      variables: of the graph, in the order of their creation.
      phases: kinds of training steps.
      random: operations that drew random numbers within the steps.
      readers: operations that read queues or iterators within the steps.
      left_out: variables of types that are not recorded.
      length: the number of recorded calls.
    """

    folder: str
    tensorflow: str
    variables: Tuple[Variable, ...]
    phases: Tuple[Phase, ...]
    random: Tuple[str, ...]
    readers: Tuple[str, ...]
    left_out: Tuple[str, ...]
    length: int

    def initial_state(self) -> Dict[str, np.ndarray]:
        """Returns all variables before the first recorded call, by name.

        Raises:
          UserError: if the file is damaged or does not fit the description.
        """
        with ArrayFile(os.path.join(self.folder, INITIAL)) as arrays:
            return self._variables(arrays, "variable/", required=True)

    def calls(self) -> Iterator[Call]:
        """Yields the recorded calls in order, each read when its turn comes.

        Raises:
          UserError: if a file is damaged or does not fit the description.
        """
        for number in range(1, self.length + 1):
            yield self._call(number)

    def warnings(self) -> List[str]:
        """Says what a replay cannot reproduce, a sentence each."""
        found = []
        if self.random:
            found.append(
                f"random numbers were drawn within the steps ({_some(self.random)}); "
                "a replay repeats only those that were recorded as inputs"
            )
        if self.readers:
            found.append(
                f"data was read within the steps ({_some(self.readers)}); a replay "
                "has only what was recorded as inputs"
            )
        if self.left_out:
            found.append(
                f"variables of types that are not recorded: {_some(self.left_out)}"
            )
        return found

    def _call(self, number):
        path = os.path.join(self.folder, CALLS, f"{number:08d}.npz")
        with ArrayFile(path) as arrays:
            phase = self._phase(arrays)
            arrays.forbid_other_than(
                ("phase", "loss"),
                ("input/", "gradient/", "variable/", "changed/"),
            )
            return Call(
                number,
                phase.name,
                arrays.read("loss"),
                {n: arrays.read("input/" + n) for n in arrays.under("input/")},
                self._variables(arrays, "gradient/", among=phase.trains),
                self._variables(arrays, "variable/", required=True, none=True),
                self._variables(arrays, "changed/"),
            )

    def _phase(self, arrays):
        index = arrays.read("phase", (), ("int64",))
        if not 0 <= index < len(self.phases):
            raise arrays.error(
                f"it is of phase {index}, and {DESCRIPTION} has "
                f"{len(self.phases)}"
            )
        return self.phases[int(index)]

    def _variables(
        self, arrays, prefix, required=False, none=False, among=None
    ):
        """Reads arrays that `trace.json` declares, in its order."""
        present = set(arrays.under(prefix))
        declared = {v.name: v for v in self.variables}
        allowed = set(declared if among is None else among)
        if present - allowed:
            raise arrays.error(
                f"it has {brief(prefix + min(present - allowed))}, which "
                f"{DESCRIPTION} does not declare"
            )
        if required and not (none and not present) and allowed - present:
            raise arrays.error(
                f"it lacks {brief(prefix + min(allowed - present))}"
            )
        return {
            name: arrays.read(
                prefix + name, declared[name].shape, (declared[name].dtype,)
            )
            for name in declared
            if name in present
        }


def read(folder: str) -> Trace:
    """Opens a trace and checks its description; arrays are read later.

    Raises:
      UserError: if the folder is no trace, of another version, or damaged.
    """
    if not os.path.isdir(folder):
        raise UserError(
            f"there is no trace '{folder}'; expected a folder with a "
            f"{DESCRIPTION}, as tf1gan/trace.py writes it"
        )
    path = os.path.join(folder, DESCRIPTION)
    description = _Description(path, _load_json(path))
    if description.take("format", str) != FORMAT:
        raise description.error("it is no trace of tf1gan/trace.py")
    if description.take("version", int) != VERSION:
        raise description.error(
            f"it is of version {description.take('version', int)}; this program "
            f"reads version {VERSION}"
        )
    variables = tuple(map(_variable, description.children("variables")))
    description.check_unique("variables", [v.name for v in variables])
    phases = tuple(map(_phase, description.children("phases")))
    description.check_unique("phases", [p.name for p in phases])
    _check_trained(description, variables, phases)
    return Trace(
        folder,
        description.take("tensorflow", str),
        variables,
        phases,
        description.names("random"),
        description.names("readers"),
        description.names("left_out"),
        _count_calls(folder),
    )


def _check_trained(description, variables, phases):
    unknown = {n for p in phases for n in p.trains} - {
        v.name for v in variables
    }
    if unknown:
        raise description.error(
            f"a phase trains {min(unknown)!r}, which is no variable"
        )
    if not phases:
        raise description.error("it has no phases")


def _variable(row):
    shape = tuple(row.take("shape", list))
    size = 1
    for length in shape:
        if type(length) is not int or not 0 <= length <= LARGEST_VARIABLE:
            raise row.error(f"a shape is {brief(shape)}")
        size *= length
    if size > LARGEST_VARIABLE or len(shape) > MOST_DIMENSIONS:
        raise row.error(f"a shape is {brief(shape)}: too large")
    if row.take("dtype", str) not in DTYPES:
        raise row.error(
            f"a variable is of type {brief(row.take('dtype', str))}"
        )
    return Variable(
        row.take("name", str),
        shape,
        row.take("dtype", str),
        row.take("trainable", bool),
    )


def _phase(row):
    return Phase(row.take("name", str), row.names("trains"))


class _Description:
    """An object in the JSON file, whose members have the expected types."""

    def __init__(self, path, members):
        self._path, self._members = path, members
        if not isinstance(members, dict):
            raise self.error(f"{brief(members)} is no JSON object")

    def take(self, name: str, kind: type) -> Any:
        value = self._members.get(name)
        if type(value) is not kind:
            raise self.error(
                f"'{name}' is {brief(value)}; expected a JSON {kind.__name__}"
            )
        return value

    def children(self, name):
        return [_Description(self._path, x) for x in self.take(name, list)]

    def names(self, name):
        found = self.take(name, list)
        if not all(isinstance(x, str) for x in found):
            raise self.error(f"'{name}' is {brief(found)}; expected names")
        self.check_unique(name, found)
        return tuple(found)

    def check_unique(self, what, names):
        if len(set(names)) < len(names):
            raise self.error(f"a name appears twice in '{what}'")

    def error(self, reason):
        return UserError(
            f"cannot use the trace's '{self._path}': {reason}; record it again, "
            "or copy it again"
        )


def _load_json(path):
    check_regular(path, LARGEST_DESCRIPTION)
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"cannot read the trace's '{path}': {brief(str(error))}; expected "
            "the JSON that tf1gan/trace.py writes"
        ) from error


def _count_calls(folder):
    """Returns how many calls there are; their files are numbered from 1."""
    path = os.path.join(folder, CALLS)
    if os.path.islink(path) or not os.path.isdir(path):
        raise UserError(f"the trace lacks the folder '{path}'; copy all of it")
    numbers = sorted(
        int(name[:8])
        for name in os.listdir(path)
        if re.fullmatch(r"[0-9]{8}\.npz", name)
    )
    if not numbers:
        raise UserError(
            f"the trace '{folder}' holds no call; let the script train"
        )
    for expected, number in enumerate(numbers, start=1):
        if number != expected:
            lacking = os.path.join(path, f"{expected:08d}.npz")
            raise UserError(
                f"the trace lacks '{lacking}'; copy the whole folder"
            )
    return len(numbers)


def _some(names):
    more = "" if len(names) <= 3 else f" and {len(names) - 3} more"
    return ", ".join(names[:3]) + more
