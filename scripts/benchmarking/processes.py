"""The benchmark's workers, as the process that asks them sees them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from tf2gan.common.errors import UserError

HERE = Path(__file__).resolve().parents[1]
WORKER = "benchmarking.worker"
SECONDS_TO_END = 10


class Worker:
    """A process that measures one thing, and waits without using the CPU."""

    def __init__(
        self, label: str, python: str = sys.executable, **variables: str
    ) -> None:
        """Starts it.

        Args:
          label: what it measures, for messages.
          python: the interpreter.
          **variables: of its environment, besides those of this process.

        Raises:
          UserError: if the interpreter cannot be started.
        """
        self.label = label
        self._python = python
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment(**variables),
                text=True,
            )
        except OSError as error:
            raise UserError(
                f"cannot start '{python}' to measure {label}: {error.strerror}"
            ) from error

    def send(self, do: str, **arguments: Any) -> None:
        """Sends a command; `receive` waits for its answer."""
        try:
            self._process.stdin.write(
                json.dumps({"do": do, **arguments}) + "\n"
            )
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._died() from error

    def receive(self) -> Any:
        """Returns the answer; UserError if it failed, or the process died."""
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        answer = self._parse(line)
        if "error" in answer:
            raise UserError(f"cannot measure {self.label}: {answer['error']}")
        return answer["answer"]

    def _parse(self, line):
        try:
            return json.loads(line)
        except ValueError as error:
            raise UserError(
                f"'{self._python}' is no Python to measure {self.label} with; it "
                f"says {line.strip()!r:.60}"
            ) from error

    def ask(self, do: str, **arguments: Any) -> Any:
        """Sends a command and returns its answer; UserError as `receive`."""
        self.send(do, **arguments)
        return self.receive()

    def stop(self, now: bool = False) -> None:
        """Tells the process to end, as soon as it has answered or `now`."""
        if now:
            self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self) -> None:
        """Ends the process; what it prints no longer matters."""
        self.stop()
        self._process.stdout.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _died(self):
        status = self._process.wait()
        ended = f"ended with status {status}"
        if status < 0:
            ended = f"was ended by {signal.Signals(-status).name}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        last = f", its last words: {said[-1]}" if said else ""
        return UserError(f"the process for {self.label} {ended}{last}")


class Workers:
    """Starts workers, and ends all of them with the block."""

    def __init__(self) -> None:
        """Starts none yet."""
        self._all: List[Worker] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind, error, trace) -> None:
        for worker in self._all:
            worker.stop(now=error is not None)
        for worker in self._all:
            worker.close()

    def start(self, *arguments: Any, **options: Any) -> Worker:
        """Starts a worker; see `Worker`."""
        worker = Worker(*arguments, **options)
        self._all.append(worker)
        return worker


def environment(**variables: str) -> Dict[str, str]:
    """Returns that of a process that finds this checkout, on any TensorFlow."""
    found = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **variables}
    paths = [
        str(HERE.parent),
        str(HERE),
        os.environ.get("PYTHONPATH", ""),
    ]
    found["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # TensorFlow 2 sets it as it is imported; 1.15 would give up its own defaults.
    found.pop("TF2_BEHAVIOR", None)
    return found
