"""Finds the implementations to compare: by name, or as somebody's Python function."""

import dataclasses
import functools
import inspect
import json
import os
from typing import Any, Callable, Dict, List, Mapping, Optional

import numpy as np

from tf2gan.common import specs
from tf2gan.common.errors import UserError
from tf2gan.common.specs import GanSpec
from tf2gan.migration import user_code
from tf2gan.migration.evidence import network_of
from tf2gan.migration.lockstep import FEEDS
from tf2gan.migration.report import PHASES

REQUIRED = (*PHASES, "state", "load_state")
OPTIONAL = ("feed", "activations", "gradients", "generate")
NAMED = ("state", "feed", "activations", "gradients")
# What a function may ask for by the names of its arguments.
ARGUMENTS = ("spec", "update_ops", "dtype", "seed")
LARGEST_MAP = 10 * 2**20

Makers = Dict[str, Callable[[GanSpec, str, str], Any]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an implementation is made with, unless its own name says otherwise."""

    model: str = "dcgan28"
    update_ops: str = "source"
    dtype: str = "float64"
    seed: int = 0


def make(text: str, settings: Settings, makers: Makers, role: str) -> Any:
    """Makes an implementation.

    Args:
      text: `tf2:dcgan28` for a model of the registry, where constants of its spec,
        `update_ops` and `dtype` may follow, as in `tf2:dcgan28,adam_epsilon=1e-7`;
        or `path/to/file.py:function` or `package.module:function`.
      settings: the common ones.
      makers: by side ("tf1", "tf2"), a function of spec, policy and dtype.
      role: "reference" or "candidate", for messages.

    Returns:
      An object as `lockstep.run` describes it, whose errors are `UserError`s. The
      weights of a registry model follow the seed; a function sees to its own.

    Raises:
      UserError: if there is no such thing, or it has not the methods.
    """
    side, separator, rest = text.rpartition(":")
    if not separator or not side or not rest:
        raise UserError(
            f"--{role}='{text}': expected SIDE:MODEL with a side of "
            f"{', '.join(makers)}, path/to/file.py:function or "
            "package.module:function"
        )
    if side in makers:
        made = _from_registry(
            makers[side], rest, settings, f"--{role}='{text}'"
        )
    else:
        made = _from_function(text, settings, f"--{role}='{text}'")
    return Guarded(made, f"{role} {text}")


class Guarded:
    """An implementation whose own exceptions become one clear line."""

    def __init__(self, implementation: Any, label: str) -> None:
        """Takes an implementation; raises `UserError` if a method is missing."""
        missing = [n for n in REQUIRED if not _callable(implementation, n)]
        if missing:
            raise UserError(
                f"{label} is a {type(implementation).__name__} without the "
                f"method {missing[0]}; an implementation has "
                f"{', '.join(REQUIRED)}"
            )
        self._implementation, self._label = implementation, label

    def __getattr__(self, name: str) -> Callable:
        method = getattr(self._implementation, name)
        if name not in REQUIRED + OPTIONAL:
            return method

        def guarded(*arguments):
            label = f"{self._label}: {name}"
            return _checked(
                name, user_code.call(label, method, *arguments), label
            )

        return guarded


class Renamed:
    """An implementation under the reference's names.

    A map's keys are the reference's names, its values the implementation's own. A
    name stands for all that begin with it and a slash, too: that of a layer for its
    variables, that of a variable for its slots.
    """

    def __init__(self, implementation: Any, names: Dict[str, str]) -> None:
        """Takes an implementation and the names by those of the reference."""
        self._implementation = implementation
        self._to_own = names
        self._to_reference = {own: name for name, own in names.items()}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._implementation, name)
        if name not in NAMED:
            return value

        @functools.wraps(value)
        def under_other_names(*arguments):
            return _rename(value(*arguments), self._to_reference)

        return under_other_names

    def load_state(self, state: Dict[str, Any]) -> None:
        """Sets all variables, by the reference's names."""
        self._implementation.load_state(_rename(state, self._to_own))


def read_names(path: str, absent: bool = False) -> Dict[str, Optional[str]]:
    """Reads a name map: a JSON object of the reference's names and the candidate's.

    Args:
      path: of the file.
      absent: whether null may stand for what the candidate does not have.

    Raises:
      UserError: if the file is none, or two names are mapped to one.
    """
    try:
        if os.path.getsize(path) > LARGEST_MAP:
            raise UserError(f"name map '{path}' is larger than 10 MiB")
        with open(path, encoding="utf-8") as file:
            names = json.load(file)
    except OSError as error:
        raise UserError(
            f"cannot read the name map '{path}': {error.strerror}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"name map '{path}' is no JSON: {error}") from error
    allowed = (str, type(None)) if absent else str
    if not isinstance(names, dict) or not all(
        isinstance(own, allowed) for own in names.values()
    ):
        raise UserError(
            f"name map '{path}': expected one object whose keys are the "
            "reference's names and whose values the candidate's, all strings"
            + (" or null" if absent else "")
        )
    owned = [own for own in names.values() if own is not None]
    if len(set(owned)) < len(owned):
        raise UserError(f"name map '{path}' maps two names to the same one")
    return names


def unknown_names(names: Dict[str, str], reference: Any) -> List[str]:
    """Returns the names of a map that fit nothing in the reference's state."""
    known = [*FEEDS, *(reference.state() if names else ())]
    return [
        name
        for name in names
        if not any((n + "/").startswith(_first_call(name) + "/") for n in known)
    ]


def _first_call(name):
    """Returns `discriminator/conv2d` for `discriminator_1/conv2d`."""
    scope, slash, rest = name.partition("/")
    return network_of(scope) + slash + rest


def _from_registry(maker, text, settings, label):
    name, *changes = text.split(",")
    spec, options = specs.get_spec(name), {}
    for change in changes:
        key, _, value = change.partition("=")
        if key in ("update_ops", "dtype"):
            options[key] = _one_of(key, value, label)
        else:
            number = _number(spec, key, value, label)
            spec = dataclasses.replace(spec, **{key: number})
    made = maker(
        spec,
        options.get("update_ops", settings.update_ops),
        options.get("dtype", settings.dtype),
    )
    made.initialize(settings.seed)
    return made


def _one_of(key, value, label):
    known = {
        "update_ops": specs.UPDATE_POLICIES,
        "dtype": ("float32", "float64"),
    }[key]
    if value not in known:
        raise UserError(
            f"{label}: {key} is one of {', '.join(known)}, not '{value}'"
        )
    return value


def _number(spec, key, value, label):
    known = [
        field.name
        for field in dataclasses.fields(spec)
        if isinstance(getattr(spec, field.name), float)
    ]
    if key not in known:
        raise UserError(
            f"{label}: '{key}' is no constant of the model; known are "
            f"update_ops, dtype, {', '.join(known)}"
        )
    try:
        return float(value)
    except ValueError:
        raise UserError(
            f"{label}: {key} should be a number, not '{value}'"
        ) from None


def _from_function(text, settings, label):
    function = user_code.load_function(text, label)
    known = {
        "spec": specs.get_spec(settings.model),
        "update_ops": settings.update_ops,
        "dtype": settings.dtype,
        "seed": settings.seed,
    }
    wanted = user_code.call(label, inspect.signature, function).parameters
    given = {n: known[n] for n in ARGUMENTS if n in wanted}
    return user_code.call(label, functools.partial(function, **given))


def _checked(name, value, label):
    """Returns what a method gave as arrays; `UserError` if it is something else."""
    if name == "load_state":
        return None
    if name in NAMED:
        if not isinstance(value, dict) or not all(
            isinstance(key, str) for key in value
        ):
            raise UserError(
                f"{label} returned a {type(value).__name__}; expected a "
                "dictionary of arrays by name"
            )
        return {
            key: _numbers(item, f"{label}: '{key}'")
            for key, item in value.items()
        }
    value = _numbers(value, label)
    if name in PHASES and value.size != 1:
        raise UserError(
            f"{label} returned an array of shape {value.shape}; expected the loss"
        )
    return value.reshape(()) if name in PHASES else value


def _numbers(value, label):
    array = user_code.call(label, np.array, value)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{label} is of type {array.dtype}; expected numbers")
    return array


def _callable(implementation, name):
    return callable(getattr(implementation, name, None))


def _rename(arrays, names):
    return {renamed(name, names): value for name, value in arrays.items()}


def renamed(name: str, names: Mapping[str, Optional[str]]) -> Optional[str]:
    """Returns the own name of what a map, or the map's entry of its layer, names.

    None if the map says that the implementation does not have it.
    """
    head, rest = name, ""
    while head:
        if head in names:
            return None if names[head] is None else names[head] + rest
        head, slash, last = head.rpartition("/")
        rest = slash + last + rest
    return name
