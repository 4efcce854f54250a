"""Loads and calls somebody's Python functions; what they raise becomes one line."""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from typing import Any, Callable

from tf2gan.common.errors import UserError

_FUNCTION = re.compile(r"(?P<place>.+):(?P<name>[A-Za-z_]\w*)")


def names_function(text: str) -> bool:
    """Tells whether a text looks like `file.py:function` or `module:function`."""
    return bool(_FUNCTION.fullmatch(text))


def load_function(text: str, label: str) -> Callable:
    """Imports a file or module and returns a function of it.

    Args:
      text: `path/to/file.py:function` or `package.module:function`. A file may
        import what lies beside it. Files of one name in two folders are two
        modules; one file that is named twice is one.
      label: the flag as the user gave it, for messages.

    Raises:
      UserError: if it is not there, cannot be imported, or is no function.
    """
    match = _FUNCTION.fullmatch(text)
    if not match:
        raise UserError(
            f"{label}: expected path/to/file.py:function or "
            "package.module:function"
        )
    place, name = match["place"], match["name"]
    function = getattr(call(label, _import, place), name, None)
    if not callable(function):
        raise UserError(f"{label}: no function '{name}' in {place}")
    return function


def call(label: str, function: Callable, *arguments: Any) -> Any:
    """Calls somebody's code; any exception of it becomes a `UserError`."""
    try:
        return function(*arguments)
    except UserError as error:
        raise UserError(f"{label}: {error}") from error
    # Code that calls sys.exit must not decide the status of the script.
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{label} failed with {type(error).__name__}: {error} (--debug shows "
            "where)"
        ) from error


def _import(place):
    if not place.endswith(".py"):
        _allow_imports_from(os.getcwd())
        return importlib.import_module(place)
    if not os.path.isfile(place):
        raise UserError(f"no file '{place}'")
    path = os.path.abspath(place)
    _allow_imports_from(os.path.dirname(path))
    name = _module_name(path)
    return sys.modules.get(name) or _import_file(path, name)


def _module_name(path):
    """Returns a name that no other file has, nor the same one when it is edited."""
    found = os.stat(path)
    key = f"{path}\n{found.st_mtime_ns}\n{found.st_size}"
    return "user_code_" + hashlib.sha256(key.encode()).hexdigest()[:16]


def _import_file(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _allow_imports_from(folder):
    """Puts a folder first, as Python does with that of a script."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
