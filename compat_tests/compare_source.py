"""Trains the original's graph and tf1gan in step on TensorFlow 1.15.5, in float64.

    python3.7 compat_tests/compare_source.py --update_ops=source --steps=100

prints as JSON the variables of both, and the largest difference of each kind over
all iterations. With --fault=adam_epsilon=1e-7 tf1gan has that constant instead, to show
that it is noticed.
"""

import argparse
import dataclasses
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import fingerprints  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from source_graph import SourceTrainer  # noqa: E402

from tf1gan.training import Trainer  # noqa: E402
from tf2gan.common.specs import UPDATE_POLICIES, get_spec  # noqa: E402

BATCH_SIZE = 16


def compare(source, port, steps):
    """Returns {kind: (difference, where)} after training both for `steps`."""
    batches = fingerprints.make_batches("float64", BATCH_SIZE)
    for trainer in (source, port):
        trainer.initialize(fingerprints.SEED)
    found = _differences("state", source.state(), port.state(), 0)
    for step, batch in enumerate(batches.iterate(0, steps), 1):
        found += _differences(
            "gradient", source.gradients(*batch), port.gradients(*batch), step
        )
        losses1, losses2 = source.train_step(*batch), port.train_step(*batch)
        for name, loss1, loss2 in zip(("loss_D", "loss_G"), losses1, losses2):
            error = float(abs(loss1 - loss2) / abs(loss1))
            found.append(("loss", "{} {}".format(name, step), error))
        found += _differences("state", source.state(), port.state(), step)
    return fingerprints.largest(found)


def _differences(what, expected, actual, step):
    found = []
    for name in sorted(set(expected) | set(actual)):
        kind = fingerprints.kind_of(name, what)
        value1, value2 = expected[name], actual[name]
        error = np.max(np.abs(value1 - value2))
        if not kind.startswith("noisy"):
            error = fingerprints.relative(error, np.max(np.abs(value1)))
        where = "{}, iteration {}".format(name, step)
        found.append((kind, where, float(error)))
    return found


def describe(trainer):
    """Returns [name, shape, type, trainable] of all variables.

    Those of the networks are in the order of their creation. The optimizers' are
    sorted: the original makes its global steps first, tf1gan with the train ops.
    """
    with trainer.graph.as_default():
        trainable = {variable.op.name for variable in tf.trainable_variables()}
    rows = [
        [
            name,
            variable.shape.as_list(),
            variable.dtype.base_dtype.name,
            name in trainable,
        ]
        for name, variable in trainer.variables().items()
    ]
    return {
        "networks": [row for row in rows if not _is_optimizers(row[0])],
        "optimizers": sorted(row for row in rows if _is_optimizers(row[0])),
    }


def _is_optimizers(name):
    return "/Adam" in name or "_power" in name or name.endswith("_step")


def _spec(fault):
    spec = get_spec("dcgan28")
    if not fault:
        return spec
    constant, value = fault.split("=")
    return dataclasses.replace(spec, **{constant: float(value)})


def main():
    """Reads the command line and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update_ops", choices=UPDATE_POLICIES, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--fault", metavar="CONSTANT=VALUE")
    arguments = parser.parse_args()
    tf.compat.v1.logging.set_verbosity("ERROR")
    source = SourceTrainer(arguments.update_ops, "float64", threads=0)
    port = Trainer(_spec(arguments.fault), arguments.update_ops, "float64")
    report = {
        "tensorflow": tf.__version__,
        "source": describe(source),
        "port": describe(port),
        "largest": compare(source, port, arguments.steps),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
