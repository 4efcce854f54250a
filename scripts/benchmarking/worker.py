"""One implementation in a process of its own, as `benchmark.py` starts it.

Reads a command per line from stdin and answers each with a line on stdout, both JSON:
{"do": "run", "iterations": 5} is answered with {"answer": [0.1, ...]}, or with
{"error": "..."}. Keeps to Python 3.7 and TensorFlow 1.15, where it runs too.
"""

import json
import os
import sys
import traceback

from tf2gan.common.errors import UserError


def main() -> None:
    """Answers until stdin ends."""
    answers = _take_stdout()
    subject = _Subject()
    for line in iter(sys.stdin.readline, ""):
        answers.write(json.dumps(_answer(subject, json.loads(line))) + "\n")
        answers.flush()


def _take_stdout():
    """Returns stdout; what others print from now on goes to stderr."""
    sys.stdout.flush()
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return kept


def _answer(subject, command):
    try:
        return {"answer": getattr(subject, command.pop("do"))(**command)}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"error": "{}: {}".format(type(error).__name__, error)}


class _Subject:
    """The commands; all but `make` are for what `make` has made."""

    def make(self, kind, **settings):
        from benchmarking import subjects

        self._made = subjects.KINDS[kind](**settings)
        return subjects.versions()

    def memory(self):
        from benchmarking import subjects

        return subjects.memory()

    def __getattr__(self, name):
        return getattr(self._made, name)


if __name__ == "__main__":
    main()
