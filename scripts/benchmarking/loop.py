"""The training loop of tf2gan as it is, against its bare train step.

The real `training.train` runs, in epochs of one block each. At the end of an epoch's
last iteration, before summaries and checkpoint, the same trainer makes as many bare
steps. So both are timed in turn, in one process. Of each epoch the first iteration is
left out, which follows summaries and checkpoint.
"""

import io
import math
import os
import sys
import tempfile
import time
from typing import Any, Dict

import tensorflow as tf

from benchmarking import subjects
from tf2gan import training
from tf2gan.common.config import TrainConfig
from tf2gan.common.run import Run

INPUTS = 20  # batches that are made by themselves, to time that


class Loop:
    """Times the loop on mnist10k, with a progress bar and all its files."""

    def __init__(self, model: str, update_ops: str, batch_size: int) -> None:
        """Keeps what `run` needs."""
        self._settings = {
            "model": model,
            "update_ops": update_ops,
            "batch_size": batch_size,
        }

    def run(self, rounds: int, iterations: int) -> Dict[str, Any]:
        """Trains for `rounds` epochs, after one more, and returns lists of seconds.

        "loop": from one iteration's end to the next, within an epoch. "bare": of a
        train step on a batch that is in TensorFlow already. "waiting": of it, for the
        next batch. "input": of making a batch. "summaries": at the end of an epoch.
        "epoch_end": all that is done there. "resident": memory in MiB after each,
        and after the one more.
        """
        clock = _Clock(iterations)
        sys.stdout = _Terminal(open(os.devnull, "wb"))
        _watch(clock)
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(
                "tf2",
                os.path.join(folder, "run"),
                epochs=rounds + 1,
                steps_per_epoch=iterations + 1,
                sample_every=1,
                **self._settings,
            )
            training.train(config)
        return clock.found


class _Terminal(io.TextIOWrapper):
    """A terminal that nobody looks at, so that the bar is drawn."""

    def isatty(self):
        return True


class _Clock:
    """Reads the time where the loop passes by, and makes the bare steps."""

    def __init__(self, iterations):
        self.iterations = iterations
        self.trainer = None
        self.batch = None
        names = ("loop", "bare", "waiting", "input", "summaries", "epoch_end")
        self.found = {name: [] for name in (*names, "resident")}
        self._start = math.nan

    def iteration_ended(self, run):
        now = time.perf_counter()
        if run.step % (self.iterations + 1) != 1:
            self.found["loop"].append(now - self._start)
        if run.epoch_ended:
            self._make_bare_steps()
        self._start = time.perf_counter()

    def body_ended(self, run):
        if not run.step or not run.epoch_ended:
            return
        self.found["epoch_end"].append(time.perf_counter() - self._start)
        if run.step == self.iterations + 1:
            self._forget()
        memory = subjects.memory()
        self.found["resident"].append(memory["present"])

    def _forget(self):
        """Drops the first epoch, in which functions were traced."""
        for name in set(self.found) - {"input"}:
            self.found[name].clear()

    def _make_bare_steps(self):
        self._bare_step()
        for _ in range(self.iterations):
            self.found["bare"].append(subjects.seconds(self._bare_step))

    def _bare_step(self):
        loss_d, loss_g = self.trainer.train_step(*self.batch)
        return float(loss_d), float(loss_g)


def _watch(clock):
    """Puts the clock into the loop, which stays as it is."""

    class TimedTrainer(training.Trainer):
        def __init__(self, *settings):
            super().__init__(*settings)
            clock.trainer = self

        def write_summaries(self, *arguments):
            start = time.perf_counter()
            super().write_summaries(*arguments)
            clock.found["summaries"].append(time.perf_counter() - start)

    class TimedRun(Run):
        def __init__(self, config):
            super().__init__(config)
            self._iterate = self.batches.iterate
            self.batches.iterate = self._timed_batches
            clock.batch = [
                tf.constant(array) for array in self.batches.batch(0)
            ]
            clock.found["input"] = [
                subjects.seconds(lambda step=step: self.batches.batch(step))
                for step in range(INPUTS)
            ]

        def _timed_batches(self, *steps):
            batches = iter(self._iterate(*steps))
            while True:
                clock.body_ended(self)
                start = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    return
                clock.found["waiting"].append(time.perf_counter() - start)
                yield batch

        def record(self, *losses):
            super().record(*losses)
            clock.iteration_ended(self)

    training.Trainer = TimedTrainer
    training.Run = TimedRun
