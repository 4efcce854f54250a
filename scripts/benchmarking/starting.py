"""How long the training scripts take from the command to their first iteration."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional

from benchmarking import measuring
from benchmarking.processes import HERE, environment
from tf2gan.common.errors import UserError

SCRIPTS = ("train_tf2.py", "train_tf1.py")
LIBRARY = "import tensorflow"
# Ends at once: taking TensorFlow down again is no part of a start.
LIBRARY_CODE = LIBRARY + ", os; os._exit(0)"
# The file whose time of writing ends a stage. The lock is taken when everything is
# imported and the data set is loaded; the configuration is written last before the
# first iteration; there is only one iteration, so its losses are the last written.
STAGES = {
    "imports and data": ".lock",
    "networks and weights": "config.json",
    "first iteration": "losses.csv",
}
TOTAL = "total"


def measure(rounds: int, batch_size: int) -> Dict[str, Dict[str, List[float]]]:
    """Starts the scripts in turn, once before anything counts, for a warm disk.

    Args:
      rounds: how often each counts.
      batch_size: images per iteration.

    Returns:
      By script the seconds of each stage and in total, and of importing TensorFlow
      by itself.

    Raises:
      UserError: if a script fails.
    """
    found = {script: {} for script in (*SCRIPTS, LIBRARY)}
    for done in measuring.rounds_of("startup", rounds + 1):
        for script, stages in found.items():
            seconds = _start(script, batch_size)
            if done:
                for stage, value in seconds.items():
                    stages.setdefault(stage, []).append(value)
    return found


def _start(script, batch_size):
    if script == LIBRARY:
        start = time.perf_counter()
        _run(["-c", LIBRARY_CODE])
        return {TOTAL: time.perf_counter() - start}
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        start = time.time()
        _run(
            [
                str(HERE / script),
                "--epochs=1",
                "--steps_per_epoch=1",
                f"--batch_size={batch_size}",
                f"--output_dir={run}",
            ]
        )
        return _stages(Path(run), start)


def _stages(run, start):
    seconds, before = {}, start
    for stage, name in STAGES.items():
        after = os.stat(run / name).st_mtime
        seconds[stage] = after - before
        before = after
    return {**seconds, TOTAL: before - start}


def _run(arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        said = _last_line(done.stderr)
        raise UserError(f"cannot start {' '.join(arguments[:1])}: {said}")


def _last_line(text: str) -> Optional[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
