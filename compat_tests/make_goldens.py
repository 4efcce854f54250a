"""Records what the original's graph computes on real TensorFlow 1.15.5.

    python3.7 compat_tests/make_goldens.py

writes compat_tests/goldens/<policy>_<dtype>.npz anew.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import fingerprints  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from source_graph import SourceTrainer  # noqa: E402

from tf2gan.common.specs import UPDATE_POLICIES  # noqa: E402

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens")


def make_golden(update_ops, dtype):
    """Returns a record of the original's graph, and how it was made."""
    trainer = SourceTrainer(update_ops, dtype)
    golden = fingerprints.record(trainer, trainer.gradients, dtype)
    golden["update_ops"] = np.array(update_ops)
    golden["dtype"] = np.array(dtype)
    golden["tensorflow"] = np.array(tf.__version__)
    golden["seed"] = np.array(fingerprints.SEED)
    golden["batch_size"] = np.array(fingerprints.BATCH_SIZE)
    golden["steps"] = np.array(fingerprints.STEPS[dtype])
    return golden


def main():
    """Reads the command line and writes all goldens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", default=FOLDER)
    folder = parser.parse_args().output_dir
    if tf.__version__ != "1.15.5":
        parser.error("goldens come from TensorFlow 1.15.5 only")
    tf.compat.v1.logging.set_verbosity("ERROR")
    for update_ops in UPDATE_POLICIES:
        for dtype in sorted(fingerprints.STEPS):
            name = "{}_{}.npz".format(update_ops, dtype)
            golden = make_golden(update_ops, dtype)
            np.savez_compressed(os.path.join(folder, name), **golden)


if __name__ == "__main__":
    main()
