"""Trains a GAN the TF1 way: a graph, placeholders and a session.

python scripts/train_tf1.py --epochs=5 --output_dir=runs/tf1
"""

import command_line
import train_flags
from absl import flags

flags.adopt_module_key_flags(train_flags)
flags.adopt_module_key_flags(command_line)


def main() -> None:
    """Makes the configuration and trains."""
    config = train_flags.make_config("tf1")
    from tf1gan import training

    training.train(config)


if __name__ == "__main__":
    command_line.run(main)
