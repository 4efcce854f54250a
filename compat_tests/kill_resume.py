"""Kills a training run at random moments, resumes it, and compares it with one
that was left alone: the losses, the weights and the pictures must be the same bytes.

    python compat_tests/kill_resume.py --side=tf1 --kills=10
"""

import argparse
import filecmp
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT))
ENVIRONMENT.pop("TF2_BEHAVIOR", None)  # see helpers.environment
STEPS_PER_EPOCH = 5
EPOCHS = 14
LAST_KILL = 35  # row; the rest is time for the last signal to arrive
SETTINGS = [
    f"--epochs={EPOCHS}",
    f"--steps_per_epoch={STEPS_PER_EPOCH}",
    "--batch_size=10",
    "--seed=5",
    "--sample_every=2",
    "--deterministic",
]
LONGEST_RUN = 300  # seconds, until something must be wrong
LONGEST_PAUSE = 0.15  # seconds from a row of losses to the kill: an epoch or so


def kill_and_resume(side, kills, folder, seed=0, python=sys.executable):
    """Runs the comparison in `folder`; returns a line per kill.

    After the kills the run is stopped once by SIGTERM, which lets it save.

    Raises:
      AssertionError: if the two runs differ.
      RuntimeError: if a run fails, or ends before it is killed.
    """
    moments = random.Random(seed)
    command = [python, str(ROOT / "scripts" / f"train_{side}.py")]
    whole, killed = folder / "whole", folder / "killed"
    _finish(command + SETTINGS + [f"--output_dir={whole}"])
    report = []
    rows = sorted(moments.sample(range(LAST_KILL), kills)) + [LAST_KILL]
    for row, number in zip(rows, [signal.SIGKILL] * kills + [signal.SIGTERM]):
        pause = moments.uniform(0, LONGEST_PAUSE)
        _stop(command + _arguments(killed), killed, row, pause, number)
        report.append(
            f"{number.name} {pause:.3f} s after row {row}: {_describe(killed)}"
        )
    _finish(command + _arguments(killed))
    compare(whole, killed)
    return report


def compare(whole, killed):
    """Raises AssertionError unless both folders hold the same results."""
    results = ["losses.csv"]
    for pattern in ("checkpoints/model-*", "samples/*"):
        results += sorted(
            str(p.relative_to(whole)) for p in whole.glob(pattern)
        )
    assert f"checkpoints/model-{STEPS_PER_EPOCH * EPOCHS}.index" in results
    different = [
        name
        for name in results
        if not (killed / name).exists()
        or not filecmp.cmp(whole / name, killed / name, shallow=False)
    ]
    assert not different, f"differ from the uninterrupted run: {different}"


def _arguments(folder):
    begun = (folder / "config.json").exists()
    return [f"--output_dir={folder}"] + (["--resume"] if begun else SETTINGS)


def _finish(command):
    done = subprocess.run(
        command,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN,
    )
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr}")


def _stop(command, folder, row, pause, number):
    """Signals the run a while after it has itself booked an iteration past `row`."""
    before = _written(folder)
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + LONGEST_RUN
    while process.poll() is None and time.monotonic() < end:
        if _written(folder) != before and _rows(folder) > row:
            break
        time.sleep(0.002)
    time.sleep(pause)
    process.send_signal(number)
    _, errors = process.communicate()
    if process.returncode not in (-number, 128 + number):
        raise RuntimeError(
            f"{command} ended with {process.returncode}: {errors.decode()}"
        )


def _written(folder):
    path = folder / "losses.csv"
    return path.stat().st_mtime_ns if path.exists() else None


def _rows(folder):
    path = folder / "losses.csv"
    return max(path.read_bytes().count(b"\n") - 1, 0) if path.exists() else 0


def _describe(folder):
    names = sorted(p.name for p in (folder / "checkpoints").glob("*"))
    return f"{_rows(folder)} rows, checkpoint files {len(names)}"


def main():
    """Reads the command line and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=["tf1", "tf2"], required=True)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in kill_and_resume(
            arguments.side,
            arguments.kills,
            pathlib.Path(folder),
            arguments.seed,
        ):
            print(line)
    print(
        f"{arguments.side}: {arguments.kills} kills, not a byte of difference"
    )


if __name__ == "__main__":
    main()
