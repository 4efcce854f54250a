"""Measures how far rounding alone moves what a side computes: its noise floor.

One side computes the same thing in other orders: the images of a batch are reordered,
and, as a process of its own, by other numbers of threads:

    TF_OVERRIDE_GLOBAL_THREADPOOL=1 python compat_tests/noise_floor.py

prints the latter as JSON. Without that variable TensorFlow has one pool of threads
for all sessions of a process, and passes over the number that a session asks for.
"""

import argparse
import json
import os
import subprocess
import sys
from typing import Any, Dict, List, Optional, Tuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import fingerprints  # noqa: E402
import helpers  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402

from tf1gan import training as training1  # noqa: E402
from tf2gan.common import specs  # noqa: E402

BATCH_SIZE = 8
# Iterations before, so that no bias and no average is at its initial value.
WARM_UP = 3
THREADS = (1, 2)
ORDERS = 5
KINDS = (
    "activation",
    "loss",
    "gradient",
    "noisy gradient",
    "moving mean",
    "moving variance",
    "sample",
)
Batch = Tuple[np.ndarray, np.ndarray]
Measured = Dict[str, Tuple[str, np.ndarray]]
Largest = Dict[str, Tuple[float, str]]


def prepare(dtype: str) -> Tuple[Any, Dict[str, np.ndarray], Batch]:
    """Returns tf1gan's trainer, a state after some iterations, and a batch."""
    trainer = training1.Trainer(specs.get_spec("dcgan28"), dtype=dtype)
    trainer.initialize(fingerprints.SEED)
    batches = fingerprints.make_batches(dtype, BATCH_SIZE)
    for batch in batches.iterate(0, WARM_UP):
        trainer.train_step(*batch)
    return trainer, trainer.state(), batches.batch(WARM_UP)


def measure(
    trainer: Any,
    state: Dict[str, np.ndarray],
    batch: Batch,
    order: Optional[np.ndarray] = None,
) -> Measured:
    """Returns (kind, value) by name of all that a side computes from a state.

    Those are activations, losses and gradients in training mode, the moving
    averages after a discriminator's step, and samples in inference mode.

    Args:
      trainer: of either side; it is left in another state.
      state: to start from.
      batch: images and latents.
      order: permutation in which the batch is computed. Activations and samples are
        put back; all else is a mean over the batch, and the same but for rounding.
    """
    order = np.arange(len(batch[0])) if order is None else order
    images, latent = (values[order] for values in batch)
    back = np.argsort(order)
    trainer.load_state(state)
    activations = trainer.activations(images, latent)
    found = {n: ("activation", v[back]) for n, v in activations.items()}
    losses = zip(("loss_D", "loss_G"), trainer.evaluate(images, latent))
    found.update({n: ("loss", np.asarray(v)) for n, v in losses})
    gradients = trainer.gradients(images, latent)
    found.update(_by_kind(gradients, "gradient"))
    found["samples"] = ("sample", trainer.generate(latent)[back])
    trainer.discriminator_step(images, latent)
    after = trainer.state()
    averages = {n: v for n, v in after.items() if "/moving_" in n}
    found.update(_by_kind(averages, "state"))
    return found


def _by_kind(values, what):
    return {n: (fingerprints.kind_of(n, what), v) for n, v in values.items()}


def largest(reference: Measured, other: Measured) -> Largest:
    """Returns of each kind the largest difference, and the name of the tensor.

    A tensor's is its largest in any element, relative to the largest element of the
    reference. A noisy gradient, one that is zero but for rounding, is absolute.

    Raises:
      ValueError: if the two are not of the same tensors.
    """
    if set(reference) != set(other):
        odd = sorted(set(reference) ^ set(other))
        raise ValueError("only one side has {}".format(odd))
    found = []
    for name, (kind, value) in reference.items():
        one, two = value.astype(np.float64), other[name][1].astype(np.float64)
        difference = np.max(np.abs(one - two))
        if not kind.startswith("noisy"):
            size = np.max(np.abs(one))
            difference = fingerprints.relative(difference, size)
        found.append((kind, name, float(difference)))
    return fingerprints.largest(found)


def orders() -> List[np.ndarray]:
    """Returns permutations of a batch, the first of which leaves it as it is."""
    random = np.random.RandomState(0)
    others = [random.permutation(BATCH_SIZE) for _ in range(ORDERS)]
    return [np.arange(BATCH_SIZE)] + others


def median(differences: List[Largest]) -> Largest:
    """Returns of each kind the median of several differences.

    Not the largest: where rounding takes the input of a ReLU across zero, its
    gradient jumps. Among thousands of inputs that happens in some orders, and then
    gradients were seen to differ by 2e-3 in float32, a thousand times the median.
    """
    return {
        kind: sorted(found[kind] for found in differences)[
            len(differences) // 2
        ]
        for kind in KINDS
    }


def of_threads(dtype: str) -> Largest:
    """Returns the differences between numbers of threads; see the file's text."""
    trainer, state, batch = prepare(dtype)
    one, other = (
        measure(_with_threads(trainer, count), state, batch)
        for count in THREADS
    )
    return largest(one, other)


def _with_threads(trainer, count):
    config = tf.ConfigProto(intra_op_parallelism_threads=count)
    trainer.session = tf.Session(graph=trainer.graph, config=config)
    return trainer


def start_of_threads(dtype: str) -> subprocess.Popen:
    """Starts `of_threads` as a process, whose output is JSON."""
    environment = helpers.environment()
    environment["TF_OVERRIDE_GLOBAL_THREADPOOL"] = "1"
    return subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--dtype=" + dtype],
        env=environment,
        stdout=subprocess.PIPE,
    )


def floor(differences: List[Largest], dtype: str) -> Dict[str, float]:
    """Returns by kind the median of the differences of a side from itself.

    It is at least the spacing of numbers near the largest element: nothing is
    rounded more finely than that.
    """
    spacing = float(np.finfo(dtype).eps)
    found = median(differences)
    return {kind: max(spacing, found[kind][0]) for kind in KINDS}


def main() -> None:
    """Reads the command line and prints the floor of numbers of threads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dtype", default="float32")
    print(json.dumps(of_threads(parser.parse_args().dtype)))


if __name__ == "__main__":
    main()
