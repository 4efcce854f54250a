"""Trains a GAN the TF2 way: Keras 3 networks, gradient tapes and tf.function.

python scripts/train_tf2.py --epochs=5 --output_dir=runs/tf2
"""

import command_line
import train_flags
from absl import flags

from tf2gan.common.config import PRECISIONS

flags.adopt_module_key_flags(train_flags)
flags.adopt_module_key_flags(command_line)
flags.DEFINE_bool("run_eagerly", False, "Run every step without tf.function.")
flags.DEFINE_bool(
    "jit_compile",
    False,
    "Compile the train step with XLA. Meant for GPUs; not equal to TF1.",
)
flags.DEFINE_enum(
    "precision",
    None,
    PRECISIONS,
    "Compute in 16 bits, keep weights in float32. Meant for GPUs; not equal to TF1.",
)


def main() -> None:
    """Makes the configuration and trains."""
    command_line.require_keras_on_tensorflow()
    config = train_flags.make_config("tf2")
    from tf2gan import training

    training.train(config)


if __name__ == "__main__":
    command_line.run(main)
