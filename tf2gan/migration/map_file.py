"""Reads and writes the map of a conversion as a file.

A map is JSON, to be read, edited and read again:

    {"version": 1,
     "variables": [{"tf1": "d_h0_conv/w", "keras": "discriminator/conv2d/kernel",
                    "shape": [5, 5, 1, 8], "dtype": "float32", "reason": "..."}],
     "assumed": [{"keras": "discriminator/bn/moving_mean", "value": 0.0}],
     "unused": ["..."], "unpaired": [{"keras": "...", "candidates": ["..."]}],
     "optimizers": [{"model": "generator", "beta1_power": "beta1_power_1",
                     "beta2_power": "beta2_power_1", "family": "Adam", ...}],
     "left_behind": ["..."]}

An entry of `variables` may have `"transpose": [1, 0]` and then `"reshape": [...]`,
applied in this order on the way to Keras, and undone on the way back. A map with
anything in `unpaired` is not carried out: move each into `variables` or `assumed`.
An entry of `optimizers` needs its model only; what it leaves out, or has as null, is
found in the checkpoint if possible. `left_behind` is for the way back and need not
be edited.
Names are looked up in the checkpoint and in the models; none becomes a path.
"""

import dataclasses
import json
import os
from typing import List, Optional

import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration.variable_map import (
    Assumed,
    OptimizerPair,
    Pair,
    SlotPair,
    Unpaired,
    VariableMap,
)

_VERSION = 1
_PARTS = (
    "variables",
    "assumed",
    "unused",
    "unpaired",
    "optimizers",
    "left_behind",
)
_LARGEST_FILE = 1 << 24
_MOST_AXES = 32
_MOST_STEPS = 2**53


def write_map(path: str, variable_map: VariableMap, overwrite: bool) -> None:
    """Writes a map as JSON, whole or not at all.

    Raises:
      UserError: if the file is there and `overwrite` is false, or it cannot be
        written.
    """
    if os.path.exists(path) and not overwrite:
        raise UserError(
            f"--write_map='{path}' is there already; name another file, or add "
            "--overwrite"
        )
    part = path + ".part"
    try:
        with open(part, "w") as file:
            file.write(dump(variable_map))
        os.replace(part, path)
    except OSError as error:
        raise UserError(
            f"cannot write --write_map='{path}': {error.strerror}"
        ) from error


def dump(variable_map: VariableMap) -> str:
    """Returns the map as JSON, an entry per line."""
    content = dataclasses.asdict(variable_map)
    content["variables"] = content.pop("pairs")
    content["left_behind"] = content.pop("left")
    lines = [f' "version": {_VERSION}']
    for key in _PARTS:
        entries = [_lean(entry) for entry in content[key]]
        if key == "optimizers":
            entries = [_to_edit(entry) for entry in entries]
        text = ",\n  ".join(json.dumps(entry) for entry in entries)
        lines.append(f' "{key}": [\n  {text}\n ]' if text else f' "{key}": []')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lean(entry):
    if isinstance(entry, str):
        return entry
    return {k: v for k, v in entry.items() if v is not None and v != ""}


def _to_edit(optimizer):
    """Puts what a user may have to fill in, such as null, before the many slots."""
    names = ("beta1_power", "beta2_power")
    missing = optimizer["family"] == "Adam" and "steps" not in optimizer
    entry = dict.fromkeys(names) if missing else {}
    entry = {"model": optimizer["model"], **entry, **optimizer}
    return {**entry, "slots": entry.pop("slots")}


def read_map(path: str, flag: str = "--map") -> VariableMap:
    """Reads a map.

    Args:
      path: of the file.
      flag: that named it, for messages.

    Raises:
      UserError: if the file is no map; one line says where and why.
    """
    return _read(path, flag, _parse)


def read_absent(path: str, flag: str = "--name_map") -> Optional[List[str]]:
    """Returns the names that an object maps to null; None if it maps any to more.

    Raises:
      UserError: if the file cannot be read, or is no JSON.
    """
    content = _read(path, flag, lambda content: content)
    if not isinstance(content, dict) or not content:
        return None
    return (
        list(content)
        if set(map(type, content.values())) == {type(None)}
        else None
    )


def _read(path, flag, parse):
    try:
        if os.path.getsize(path) > _LARGEST_FILE:
            raise ValueError("it is too large for a map")
        with open(path, encoding="utf-8") as file:
            content = json.load(file, object_pairs_hook=_no_doubles)
        return parse(content)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"cannot use the map {flag}='{path}': {str(error)[:300]}"
        ) from error


def _no_doubles(pairs):
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"an entry has '{key:.40}' twice")
    return dict(pairs)


def _parse(content):
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise ValueError(f'it is no map of "version": {_VERSION}')
    parsers = {
        "variables": ("pairs", lambda e: _entry(Pair, e)),
        "assumed": ("assumed", lambda e: _entry(Assumed, e)),
        "unused": ("unused", lambda e: _typed("unused", e, str)),
        "unpaired": ("unpaired", lambda e: _entry(Unpaired, e)),
        "optimizers": ("optimizers", _optimizer),
        "left_behind": ("left", lambda e: _typed("left_behind", e, str)),
    }
    unknown = set(content) - set(parsers) - {"version"}
    if unknown:
        raise ValueError(f"it has an unknown part '{min(unknown):.40}'")
    fields = {"pairs": ()}
    for key, (field, parser) in parsers.items():
        entries = _typed(key, content.get(key, []), list)
        fields[field] = tuple(parser(entry) for entry in entries)
    return VariableMap(**fields)


def _optimizer(entry):
    entry = dict(_typed("an optimizer", entry, dict))
    slots = _typed("slots", entry.get("slots", []), list)
    entry["slots"] = tuple(_entry(SlotPair, slot) for slot in slots)
    return _entry(OptimizerPair, entry)


_KINDS = {
    "shape": "numbers",
    "transpose": "numbers",
    "reshape": "numbers",
    "candidates": "strings",
    "value": (int, float),
    "steps": int,
    "slots": tuple,
}


def _entry(kind, entry):
    """Makes a dataclass of a JSON object, having looked at every field."""
    name = kind.__name__
    entry = dict(_typed(f"an entry for {name}", entry, dict))
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in entry.items():
        if key not in known:
            raise ValueError(f"an entry has the unknown field '{key:.40}'")
        if value is not None:
            entry[key] = _field(key, value)
    for key, field in known.items():
        if key not in entry and field.default is dataclasses.MISSING:
            raise ValueError(
                f"the entry {json.dumps(entry)[:120]} has no '{key}'"
            )
    return kind(**entry)


def _field(key, value):
    kind = _KINDS.get(key, str)
    if kind == "strings":
        return tuple(_typed(key, v, str) for v in _typed(key, value, list))
    if kind != "numbers":
        return _in_range(key, _typed(key, value, kind))
    numbers = tuple(_typed(key, v, int) for v in _typed(key, value, list))
    if len(numbers) > _MOST_AXES or any(n < 0 or n > 2**40 for n in numbers):
        raise ValueError(f"'{key}' is {str(value)[:60]}")
    return numbers


def _in_range(key, value):
    if key == "steps" and not 0 <= value < _MOST_STEPS:
        raise ValueError(f"'steps' is {str(value)[:40]}")
    if key == "value" and not abs(value) < np.inf:
        raise ValueError(f"'value' is {str(value)[:40]}")
    return value


def _typed(key, value, kind):
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ValueError(f"'{key}' is {json.dumps(value, default=str)[:60]}")
    return value
