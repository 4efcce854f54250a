"""Runs the graph of a stranger in a process of its own, which may be killed.

Its operations can do no harm but one: take all memory, or never end. So the process
has a bound on both. What goes in and out are files of JSON and `.npz`, without pickle.
"""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any, Dict, Mapping, Tuple

import numpy as np

from tf2gan.common.errors import UserError

# Elsewhere a system has no such bound, or does not hold to it.
BOUNDS_MEMORY = sys.platform == "linux"
QUESTION, ANSWER, ERRORS = "question", "answer", "errors.txt"

_ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
_PACKAGE = "tf2gan"
_WORKER = _PACKAGE + ".migration.graph_worker"
# Takes this package from where it is, and nothing else from there: what lies beside
# it, as in site-packages, must not come before the modules of Python or of a user.
_START = """
import importlib.util, os, runpy, sys
folder, worker, package, root = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    package,
    os.path.join(root, package, "__init__.py"),
    submodule_search_locations=[os.path.join(root, package)],
)
sys.modules[package] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[package])
sys.argv = [worker, folder]
runpy.run_module(worker, run_name="__main__")
"""
# What TensorFlow says as it starts, whatever its level of logging.
_LOGGED = re.compile(r"[IWE]\d{4} |WARNING: |To enable the following")

Arrays = Dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the process may take.

    Attributes:
      memory_gib: beside what TensorFlow takes by itself; holds on Linux.
      seconds: from its start, which takes some of them.
    """

    memory_gib: float = 4.0
    seconds: float = 300.0


def ask(
    question: Mapping[str, Any], arrays: Arrays, limits: Limits
) -> Tuple[Dict[str, Any], Arrays]:
    """Returns what `graph_worker.answer` makes of a question.

    Args:
      question: of what JSON can hold; `meta` is the path of the graph.
      arrays: by name.
      limits: of the process.

    Raises:
      UserError: if it says so, goes beyond the limits, or crashes.
    """
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        bounded = {**question, "memory_gib": limits.memory_gib}
        bounded["seconds"] = limits.seconds
        try:
            save(folder, QUESTION, bounded, arrays)
        except OSError as error:
            raise UserError(
                f"--verify: cannot write to the temporary folder '{folder}': "
                f"{error.strerror or error}; name another by TMPDIR"
            ) from error
        status = _run(folder, question["meta"], limits)
        if status != 0:
            raise _crashed(folder, question["meta"], limits, status)
        answer, results = load(folder, ANSWER)
    if answer.get("out_of_memory"):
        raise _too_large(question["meta"], limits)
    if "error" in answer:
        raise UserError(answer["error"])
    return answer, results


def save(folder: str, name: str, content: Any, arrays: Arrays) -> None:
    """Writes what `load` reads."""
    np.savez(os.path.join(folder, name + ".npz"), **arrays)
    with open(os.path.join(folder, name + ".json"), "w") as file:
        json.dump(content, file)


def load(folder: str, name: str) -> Tuple[Any, Arrays]:
    """Reads what `save` wrote."""
    path = os.path.join(folder, name + ".npz")
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    with open(os.path.join(folder, name + ".json")) as file:
        return json.load(file), arrays


def _run(folder, meta, limits):
    try:
        with open(os.path.join(folder, ERRORS), "wb") as errors:
            return subprocess.run(
                [
                    sys.executable,
                    "-c",
                    _START,
                    folder,
                    _WORKER,
                    _PACKAGE,
                    _ROOT,
                ],
                cwd=folder,  # -c imports from there first: it holds no code
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                timeout=limits.seconds,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"--verify: the graph '{meta}' does not end within --verify_timeout="
            f"{limits.seconds:g} seconds; allow it more, or leave out --verify"
        ) from error


def _environment():
    """Returns that of this process, without its GPUs, whose memory has no bound."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [os.path.abspath(path) for path in inherited if path]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(paths),
        CUDA_VISIBLE_DEVICES="-1",
        TF_CPP_MIN_LOG_LEVEL="3",
    )


def _too_large(meta, limits):
    return UserError(
        f"--verify: the graph '{meta}' takes more memory than "
        f"--verify_memory_gib={limits.memory_gib:g} allows; allow it more, or leave "
        "out --verify"
    )


def _crashed(folder, meta, limits, status):
    said = _last_line(os.path.join(folder, ERRORS))
    if "bad_alloc" in said:
        return _too_large(meta, limits)
    by = f"status {status}"
    if status < 0:
        by = "the signal " + signal.Signals(-status).name
    return UserError(
        f"--verify: the process that runs the graph '{meta}' ended by {by}"
        f"{said and ': '}{said}; it may be that it takes more memory than the "
        f"machine has, or than --verify_memory_gib={limits.memory_gib:g} allows"
    )


def _last_line(path):
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - 2000, 0))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    lines = [line for line in lines if not _LOGGED.match(line)]
    last = lines[-1] if lines else ""
    return "".join(c for c in last if c.isprintable()).strip()[:300]
