"""Draws pictures from the checkpoints of a run of train_tf2.py.

python scripts/sample_tf2.py --run_dir=runs/tf2 --kind=walk
"""

import command_line
import sample_flags
from absl import flags

flags.adopt_module_key_flags(sample_flags)
flags.adopt_module_key_flags(command_line)


def main() -> None:
    """Restores the generator and draws."""
    command_line.require_keras_on_tensorflow()
    from tf2gan.sampling import Sampler

    sample_flags.draw(Sampler(sample_flags.run_dir("tf2")), "tf2")


if __name__ == "__main__":
    command_line.run(main)
