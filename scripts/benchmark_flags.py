"""The flags of benchmark.py, and what they ask for."""

import importlib.util
import os
import shutil
from typing import List, Optional

import command_line
from absl import flags
from benchmarking import chart, trainers
from benchmarking.parts import PARTS, Options

from tf2gan.common import specs
from tf2gan.common.errors import UserError

FLAGS = flags.FLAGS
NOT_BY_DEFAULT = ("variants", "profile")
_SPEC = specs.get_spec("dcgan28")

flags.DEFINE_list(
    "parts",
    [name for name in PARTS if name not in NOT_BY_DEFAULT],
    "What to measure: all implementations (steps), the cost against batch_sizes and "
    "image_sizes, the phases of a run, the training loop against the bare train step "
    "(loop), the time to the first iteration (startup). Not by default: tf2gan with "
    "other threads, compilers and precisions (variants), and which kernels take its "
    "time (profile).",
)
flags.DEFINE_enum("model", _SPEC.name, specs.model_names(), "The GAN.")
flags.DEFINE_integer(
    "batch_size", _SPEC.batch_size, "Images per iteration.", lower_bound=1
)
flags.DEFINE_list(
    "batch_sizes", [1, 10, 32, 64, 100, 128, 256, 512, 1000], "Batch sizes."
)
flags.DEFINE_list("image_sizes", [16, 28, 32, 64], "Heights, equal to widths.")
flags.DEFINE_integer(
    "image_batch_size",
    32,
    "Images per iteration of image_sizes.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "rounds", 15, "Turns that everything gets, alternately.", lower_bound=1
)
flags.DEFINE_integer(
    "iterations", 5, "Timed iterations per turn.", lower_bound=1
)
flags.DEFINE_bool(
    "reference",
    False,
    "Measure the source's graph on tf.layers too, with tf_keras.",
)
flags.DEFINE_string(
    "tf115_python",
    None,
    "Python 3.7 with TensorFlow 1.15.5, to measure tf1gan there too.",
)
flags.DEFINE_string("json", None, "File to write all figures to.")
flags.DEFINE_string("chart", None, "Picture to draw, .png.")
flags.DEFINE_bool("overwrite", False, "Replace the files that are written.")
flags.DEFINE_bool(
    "check", False, "Exit with status 1 if a target does not hold."
)


def parts() -> List[str]:
    """Returns the parts to measure, in order; `absl.flags.Error` for another."""
    known = list(PARTS)
    for name in FLAGS.parts:
        if name not in known:
            raise flags.Error(
                f"--parts={name}: expected some of {','.join(known)}"
            )
    if not FLAGS.parts:
        raise flags.Error("--parts is empty: nothing to measure")
    return [name for name in known if name in FLAGS.parts]


def options() -> Options:
    """Returns what the flags say.

    Raises:
      absl.flags.Error: if a list holds something else than sizes.
      UserError: if what --reference or --tf115_python need is not there.
    """
    if FLAGS.reference:
        _check_reference()
    return Options(
        model=FLAGS.model,
        batch_size=FLAGS.batch_size,
        batch_sizes=_sizes("batch_sizes"),
        image_sizes=_sizes("image_sizes"),
        image_batch_size=FLAGS.image_batch_size,
        rounds=FLAGS.rounds,
        iterations=FLAGS.iterations,
        reference=FLAGS.reference,
        tf115_python=_interpreter(),
    )


def _sizes(name):
    found = []
    for text in FLAGS[name].value:
        if not str(text).isdecimal() or not int(text):
            raise flags.Error(f"--{name}={text}: expected numbers from 1 on")
        found.append(int(text))
    if not found:
        raise flags.Error(f"--{name} is empty: expected numbers from 1 on")
    return tuple(dict.fromkeys(found))


def _check_reference():
    if not importlib.util.find_spec("tf_keras"):
        raise UserError(
            "--reference needs the legacy Keras package: pip install tf_keras"
        )
    if not os.path.exists(trainers.SOURCE_GRAPH):
        raise UserError(
            f"--reference needs '{trainers.SOURCE_GRAPH}'; run the script "
            "of a checkout"
        )
    if FLAGS.model != _SPEC.name:
        raise UserError(f"--reference is for --model={_SPEC.name} alone")


def _interpreter() -> Optional[str]:
    if FLAGS.tf115_python is None:
        return None
    found = shutil.which(FLAGS.tf115_python)
    if found is None:
        raise UserError(
            f"--tf115_python='{FLAGS.tf115_python}': there is no such program; name "
            "a Python 3.7 with TensorFlow 1.15.5"
        )
    return found


def check_outputs() -> None:
    """Raises `UserError` unless --json and --chart can be written."""
    for name in ("json", "chart"):
        if FLAGS[name].value is not None:
            command_line.check_output(name, FLAGS[name].value)
    if FLAGS.chart and not set(parts()) & set(chart.PANELS):
        raise UserError(
            "--chart: nothing to draw; --parts should have one of "
            f"{','.join(chart.PANELS)}"
        )
