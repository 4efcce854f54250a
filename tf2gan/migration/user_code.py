"""Finds a function of the user's by `path/to/file.py:function` or `module:function`."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Callable

from tf2gan.common.errors import UserError

_FUNCTION = re.compile(r"(?P<place>.+):(?P<name>[A-Za-z_]\w*)")


def names_function(text: str) -> bool:
    """Tells whether a text looks like `file.py:function` or `module:function`."""
    return bool(_FUNCTION.fullmatch(text))


def load_function(text: str) -> Callable:
    """Imports the file or module and returns the function.

    Args:
      text: `path/to/file.py:function` or `package.module:function`.

    Raises:
      UserError: if it is not there, cannot be imported, or is no function.
    """
    match = _FUNCTION.fullmatch(text)
    if not match:
        raise UserError(
            f"'{text}' names no function; expected path/to/file.py:function or "
            "package.module:function"
        )
    module = _import(match["place"], text)
    function = getattr(module, match["name"], None)
    if not callable(function):
        raise UserError(
            f"'{text}': {match['place']} has no function '{match['name']}'"
        )
    return function


def call(function: Callable, text: str):
    """Calls a function of the user's; whatever it raises becomes a `UserError`."""
    return _guarded(function, text)


def _import(place, text):
    if not place.endswith(".py"):
        return _guarded(lambda: importlib.import_module(place), text)
    if not Path(place).is_file():
        raise UserError(f"'{text}': there is no file '{place}'")
    return _guarded(lambda: _import_file(Path(place).resolve()), text)


def _import_file(path):
    # Its folder comes first, as if the file were run as a script.
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _guarded(action, text):
    try:
        return action()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(
            f"'{text}' raised {type(error).__name__}: {error} (--debug shows where)"
        ) from error
