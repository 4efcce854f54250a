"""Compares two implementations of a GAN and says where, and why, they differ.

python scripts/compare.py lockstep --reference=tf1:dcgan28 --candidate=tf2:dcgan28
python scripts/compare.py replay TRACE --model=dcgan28

`lockstep` trains both on the same batches from the same state. `replay` runs one on
what tf1gan/trace.py recorded of a legacy script.

An implementation is a model of the registry, with changed constants if wanted
(tf2:dcgan28,beta1=0.5), or a Python function (path/to/file.py:function,
package.module:function) that returns an object with the methods
discriminator_step(images, latent), generator_step(images, latent), state() and
load_state(state), and, where it can, feed(images, latent), activations(images, latent),
gradients(images, latent) and generate(latent); see tf2gan/migration/lockstep.py.

For a replay, --keras_model may name a function that returns Keras 3 models, and --step
one that takes them (a dictionary by name) and returns an object with the two steps;
see tf2gan/migration/keras_implementation.py. Exit status: 0 alike, 1 different (also if
only by the order in which the recorded script updated moving averages), or a phase was
never recorded (or an error, which is one line on stderr), 2 a flag that cannot be
parsed.
"""

import command_line
import compare_flags
import replay_flags
from absl import flags

from tf2gan.migration import report_text

FLAGS = flags.FLAGS
STATUS_ALIKE, STATUS_DIFFERENT = 0, 1

flags.adopt_module_key_flags(compare_flags)
flags.adopt_module_key_flags(replay_flags)
flags.adopt_module_key_flags(command_line)


def _lockstep():
    from tf2gan.migration import lockstep

    reference, candidate = compare_flags.implementations()
    report = lockstep.run(
        reference,
        candidate,
        compare_flags.batches(),
        compare_flags.tolerance(FLAGS.dtype),
        resync=FLAGS.resync,
    )
    report.settings = compare_flags.settings()
    return report


def _replay(trace):
    from tf2gan.migration import replay, traces

    recorded = traces.read(trace)
    dtype = replay_flags.dtype_of(recorded)
    candidate = replay_flags.candidate(recorded, dtype)
    report = replay.replay(
        trace,
        candidate.implementation,
        compare_flags.tolerance(dtype),
        replay_flags.inputs(),
        replay_flags.steps(),
        candidate.variables,
        FLAGS.resync,
        averages_aside=FLAGS.averages_aside,
    )
    report.notes += candidate.notes
    report.warnings += candidate.warnings
    report.settings = replay_flags.settings(recorded, dtype)
    return report


COMMANDS = {"lockstep": _lockstep, "replay": _replay}


def main(command: str, *arguments: str) -> int:
    """Makes the report of a command, prints and writes it; returns the status."""
    make_report = _command(command, arguments)
    command_line.require_keras_on_tensorflow()
    outputs = compare_flags.outputs()
    report = make_report(*arguments)
    print(report_text.text(report))
    for output in outputs:
        output.write(report)
    return STATUS_ALIKE if report.alike else STATUS_DIFFERENT


def _command(name, arguments):
    """Returns the function of a command; an error of the flags if there is none."""
    if name not in COMMANDS:
        raise flags.Error(
            "unknown command '{}'; known are: {}".format(
                name, ", ".join(COMMANDS)
            )
        )
    command_line.check_arguments(COMMANDS[name], arguments)
    replay_flags.check_command(name)
    return COMMANDS[name]


if __name__ == "__main__":
    command_line.run(main)
