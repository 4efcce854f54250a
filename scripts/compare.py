"""Compares two implementations of a GAN and says where, and why, they differ.

python scripts/compare.py lockstep --reference=tf1:dcgan28 --candidate=tf2:dcgan28

`lockstep` trains both on the same batches from the same state. An implementation is a
model of the registry, with changed constants if wanted (tf2:dcgan28,beta1=0.5), or a
Python function (path/to/file.py:function, package.module:function) that returns an
object with the methods discriminator_step(images, latent), generator_step(images,
latent), state() and load_state(state), and, where it can, feed(images, latent),
activations(images, latent), gradients(images, latent) and generate(latent); see
tf2gan/migration/lockstep.py. Exit status: 0 alike, 1 different (or an error, which is
one line on stderr), 2 a flag that cannot be parsed.
"""

import command_line
import compare_flags
from absl import flags

from tf2gan.migration import report_text

FLAGS = flags.FLAGS
STATUS_ALIKE, STATUS_DIFFERENT = 0, 1

flags.adopt_module_key_flags(compare_flags)
flags.adopt_module_key_flags(command_line)


def _lockstep():
    from tf2gan.migration import lockstep

    reference, candidate = compare_flags.implementations()
    report = lockstep.run(
        reference,
        candidate,
        compare_flags.batches(),
        compare_flags.tolerance(),
        resync=FLAGS.resync,
    )
    report.settings = compare_flags.settings()
    return report


COMMANDS = {"lockstep": _lockstep}


def main(command: str) -> int:
    """Makes the report of a command, prints and writes it; returns the status."""
    if command not in COMMANDS:
        raise flags.Error(
            "unknown command '{}'; known are: {}".format(
                command, ", ".join(COMMANDS)
            )
        )
    command_line.require_keras_on_tensorflow()
    outputs = compare_flags.outputs()
    report = COMMANDS[command]()
    print(report_text.text(report))
    for output in outputs:
        output.write(report)
    return STATUS_DIFFERENT if report.first else STATUS_ALIKE


if __name__ == "__main__":
    command_line.run(main)
