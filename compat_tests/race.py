"""Repeats a step of the original's graph on TensorFlow 1.15.5 and looks at averages.

    python3.7 compat_tests/race.py --repeats=20

Each discriminator average has two updates in a step, for real and for generated
images. For the pinned graph, and for the original, which leaves their order open, it
prints as JSON how often each way of updating was seen, from the same state with the
same batch each time.
"""

import argparse
import collections
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import ledger  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from source_graph import LATENT_SIZE, SourceTrainer  # noqa: E402

from tf2gan.common.specs import DISCRIMINATOR  # noqa: E402

SEED = 3
DTYPE = "float32"  # the original's, and the fused kernel's
MOMENTUM = 0.99  # the default of TensorFlow 1.15
TOLERANCE = 1e-5  # rounding is 1e-7, another order at least 1e-4
LATENTS = 4
# Generated images must be made first. The more real ones there are, the later these
# come, until the generated ones overtake them: somewhere there both are as fast.
IMAGES = (4, 16, 64)
# The tensors that the discriminator's two layers of batch norm see.
INPUTS = {
    "batch_normalization": "conv2d_1/BiasAdd:0",
    "batch_normalization_1": "conv2d_2/BiasAdd:0",
}


def count(pinned, repeats):
    """Returns {average: {outcome: count}} over all numbers of images."""
    trainer = SourceTrainer("source", DTYPE, pinned, threads=0)
    total = collections.defaultdict(collections.Counter)
    for images in IMAGES:
        batch = _batch(images)
        _start(trainer)
        counts = ledger.count_outcomes(
            lambda batch=batch: _step(trainer, batch),
            _averages(trainer),
            _values(trainer, batch),
            ledger.decay_of(MOMENTUM, fused=True),
            TOLERANCE,
            repeats,
        )
        for name, outcomes in counts.items():
            total[name].update(outcomes)
    return total


def _batch(images):
    random = np.random.RandomState(SEED)
    return (
        random.uniform(0, 1, [images, 28, 28, 1]).astype(DTYPE),
        random.uniform(-1, 1, [LATENTS, LATENT_SIZE]).astype(DTYPE),
    )


def _start(trainer):
    """Sets the first state, with averages of zero, where rounding hides least."""
    trainer.initialize(SEED)
    for name, variable in trainer.variables().items():
        if name.endswith("/moving_variance"):
            zeros = np.zeros(variable.shape.as_list(), DTYPE)
            variable.load(zeros, trainer.session)


def _step(trainer, batch):
    _start(trainer)
    trainer.discriminator_step(*batch)
    return _averages(trainer)


def _averages(trainer):
    found = ledger.averages(trainer.state())
    return {n: found[n] for n in found if n.startswith(DISCRIMINATOR)}


def _values(trainer, batch):
    values = {}
    for name, average in _averages(trainer).items():
        _, layer, which = name.split("/")
        values[name] = {
            passed: ledger.moments(
                _inputs(trainer, scope, layer, batch), average.size, fused=True
            )[which]
            for passed, scope in ledger.PASSES[DISCRIMINATOR].items()
        }
    return values


def _inputs(trainer, scope, layer, batch):
    name = "{}/{}".format(scope, INPUTS[layer])
    return trainer._run(trainer.graph.get_tensor_by_name(name), *batch)


def main():
    """Reads the command line and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, required=True)
    arguments = parser.parse_args()
    tf.compat.v1.logging.set_verbosity("ERROR")
    report = {
        "tensorflow": tf.__version__,
        "pinned": count(True, arguments.repeats),
        "unpinned": count(False, arguments.repeats),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
