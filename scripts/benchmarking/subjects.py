"""What a worker of the benchmark measures: a trainer, or products of matrices.

All times are lists of seconds. Keeps to Python 3.7 and TensorFlow 1.15.
"""

import importlib
import os
import platform
import resource
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from benchmarking import trainers

WARM_UP = 10  # iterations before anything is timed
SAMPLES = 20  # images that the training scripts draw at a time
MEBIBYTE = 2**20


class Training:
    """Iterations of a trainer, on batches in NumPy, until both losses are numbers."""

    def __init__(
        self,
        side: str,
        model: str,
        update_ops: str,
        batch_size: int,
        image_size: Optional[int] = None,
        config: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Makes the trainer and warms it up.

        Args:
          side: "tf1gan", "tf2gan", or "tf.layers" for the source's graph.
          model: name of the spec.
          update_ops: "source" or "scoped".
          batch_size: images per iteration.
          image_size: height and width, in place of the spec's.
          config: other fields of `TrainConfig`, for tf2gan.

        Raises:
          UserError: if the side or the model cannot be made.
        """
        spec = trainers.spec_of(model, image_size)
        self._side = side
        self._trainer = trainers.make_trainer(
            side, spec, update_ops, **(config or {})
        )
        self._batches = trainers.make_batches(spec, batch_size)
        self._next = 0
        for _ in range(WARM_UP):
            self._iterate()

    def run(self, iterations: int) -> List[float]:
        """Times iterations, after one that is not timed.

        That one finds in the caches what another process left there.
        """
        self._iterate()
        return [seconds(self._iterate) for _ in range(iterations)]

    def phases(self, repetitions: int) -> Dict[str, List[float]]:
        """Times each part of a training run, after a call that is not timed."""
        with tempfile.TemporaryDirectory() as folder:
            parts = self._phases(folder)
            found = {}
            for name, part in parts.items():
                part()
                found[name] = [seconds(part) for _ in range(repetitions)]
        return found

    def profile(self, iterations: int) -> Dict[str, float]:
        """Returns milliseconds per iteration by kind of kernel; tf2gan alone."""
        from benchmarking import profile

        return profile.profile(self._iterate, iterations)

    def _iterate(self):
        self._call(self._trainer.train_step)

    def _call(self, step):
        """Calls a step with the next batch and waits for its losses."""
        losses = step(*self._batches[self._next])
        self._next = (self._next + 1) % len(self._batches)
        return np.array(losses, "float64")

    def _phases(self, folder):
        trainer = self._trainer
        training = importlib.import_module(self._side + ".training")
        checkpoint = importlib.import_module(self._side + ".checkpoint")
        checkpointer = checkpoint.Checkpointer(trainer, folder)
        writer = training.open_summaries(folder, trainer)
        images, latent = self._batches[0]
        drawn = latent[: min(SAMPLES, len(latent))]
        return {
            "train_step": lambda: self._call(trainer.train_step),
            "discriminator_step": lambda: self._call(
                trainer.discriminator_step
            ),
            "generator_step": lambda: self._call(trainer.generator_step),
            "evaluate": lambda: self._call(trainer.evaluate),
            "generate": lambda: trainer.generate(drawn),
            "save checkpoint": lambda: checkpointer.save(trainer.global_step),
            "write summaries": lambda: trainer.write_summaries(
                writer, images, latent
            ),
        }


class MatrixProduct:
    """Products of square float32 matrices, the fastest arithmetic there is."""

    def __init__(self) -> None:
        """Makes nothing yet: `scan` needs the machine for itself."""
        import tensorflow as tf

        self._multiply = tf.function(tf.linalg.matmul)
        self._matrix = None

    def scan(self, sizes: Sequence[int], repetitions: int) -> Dict[int, float]:
        """Returns the best rate by size, and keeps to the best size from then on.

        Rates are in operations per second.
        """
        rates = {}
        for size in sizes:
            self._choose(size)
            best = min(self.run(repetitions))
            rates[size] = product_flops(size) / best
        self._choose(max(rates, key=rates.get))
        return rates

    def run(self, iterations: int) -> List[float]:
        """Times products, after one that is not timed."""
        self._product()
        return [seconds(self._product) for _ in range(iterations)]

    def _choose(self, size):
        import tensorflow as tf

        random = np.random.RandomState(0)
        values = random.uniform(-1, 1, [size, size]).astype("float32")
        self._matrix = tf.constant(values)

    def _product(self):
        # One element is enough to wait for, and to copy from a GPU.
        self._multiply(self._matrix, self._matrix)[0, 0].numpy()


def product_flops(size: int) -> int:
    """Returns the operations of a product of matrices [size, size]."""
    return 2 * size**3


def versions() -> Dict[str, str]:
    """Returns those of what is at work in this process."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("tensorflow", "keras", "tf_keras"):
        if name in sys.modules:
            found[name] = sys.modules[name].__version__
    return found


def memory() -> Dict[str, Any]:
    """Returns resident memory in MiB: the present and the greatest there was.

    The present one is None where there is no /proc.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    return {"present": _resident(), "peak": peak / MEBIBYTE}


def _resident():
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def seconds(function: Callable) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _loop(**settings):
    from benchmarking import loop  # of tf2gan alone

    return loop.Loop(**settings)


KINDS = {"training": Training, "matrix_product": MatrixProduct, "loop": _loop}
