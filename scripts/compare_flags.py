"""The flags of compare.py, and what they describe."""

import dataclasses
import os
import platform
from typing import Any, Callable, Dict, Iterator, List, Tuple

import command_line
import numpy as np
from absl import flags

from tf2gan.common import specs
from tf2gan.common.config import DTYPES
from tf2gan.common.errors import UserError
from tf2gan.migration.report import TOLERANCES, Report, Tolerance

FLAGS = flags.FLAGS
_SPEC = specs.get_spec("dcgan28")

flags.DEFINE_string(
    "reference",
    "tf1:dcgan28",
    "The implementation that is right: SIDE:MODEL[,CONSTANT=VALUE...] with the "
    "side tf1 or tf2, path/to/file.py:function or package.module:function.",
)
flags.DEFINE_string(
    "candidate", "tf2:dcgan28", "The one to compare with it, named likewise."
)
flags.DEFINE_string(
    "name_map",
    None,
    "JSON file: an object of the reference's names, or the trace's, and the "
    "candidate's. A layer's name stands for its variables, a variable's for its "
    "slots; in a replay null stands for what the candidate does not have. With "
    "--keras_model: a map as convert_checkpoint.py --write_map writes it, or an "
    "object in which every value is null.",
)
flags.DEFINE_enum(
    "model",
    _SPEC.name,
    specs.model_names(),
    "Decides shape and range of the images, and the latents.",
)
flags.DEFINE_string(
    "dataset",
    "mnist10k",
    "mnist10k, mnist, fashion_mnist, the path of an .npz file or of a folder of "
    "pictures.",
)
flags.DEFINE_string(
    "data_dir", None, "Folder with the IDX file of mnist or fashion_mnist."
)
flags.DEFINE_string(
    "batches",
    None,
    "In place of a data set: an .npz file with the arrays images [iterations, "
    "batch, ...] and latent [iterations, batch, size].",
)
flags.DEFINE_integer("iterations", 3, "Iterations to run.", lower_bound=1)
flags.DEFINE_integer("batch_size", 8, "Images per iteration.", lower_bound=2)
flags.DEFINE_integer(
    "seed", 0, "Decides weights, shuffles and noise.", lower_bound=0
)
flags.DEFINE_enum(
    "update_ops",
    "source",
    specs.UPDATE_POLICIES,
    "Moving averages that a train step updates: those of both networks (source) "
    "or of the one it trains (scoped).",
)
flags.DEFINE_enum("dtype", "float64", DTYPES, "Type of weights and batches.")
flags.DEFINE_bool(
    "resync",
    False,
    "Give the candidate the reference's state before each phase, so that each "
    "step's own fault shows and not only the first.",
)
flags.DEFINE_float(
    "tolerance",
    None,
    "Largest difference in a tensor over its largest element. Default: 1e-9, in "
    "float32 1e-6.",
    lower_bound=0,
)
flags.DEFINE_float(
    "noise",
    None,
    "Absolute bound where the true gradient is zero. Default: 1e-8, in float32 "
    "1e-3.",
    lower_bound=0,
)
flags.DEFINE_string("json", None, "File to write the report to, as JSON.")
flags.DEFINE_string("html", None, "File to write the report to, as one page.")
flags.DEFINE_bool("overwrite", False, "Replace the files that are written.")


@dataclasses.dataclass(frozen=True)
class Output:
    """A file of the report."""

    path: str
    to_text: Callable[[Report], str]

    def write(self, report: Report) -> None:
        """Writes it whole or not at all."""
        partial = self.path + ".partial"
        with open(partial, "w", encoding="utf-8") as file:
            file.write(self.to_text(report))
        os.replace(partial, self.path)
        print("wrote " + self.path)


def outputs() -> List[Output]:
    """Returns the files to write, once it is sure that they can be written.

    Raises:
      UserError: if a file is there already, or its folder is not.
    """
    from tf2gan.migration import report_html, report_json

    wanted = [
        ("json", FLAGS.json, report_json.to_json),
        ("html", FLAGS.html, report_html.to_html),
    ]
    for name, path, _ in wanted:
        if path is not None:
            command_line.check_output(name, path)
    return [Output(path, write) for _, path, write in wanted if path]


def tolerance(dtype: str) -> Tolerance:
    """Returns that of a type, with what the flags change."""
    given = {"relative": FLAGS.tolerance, "noise": FLAGS.noise}
    return dataclasses.replace(
        TOLERANCES[dtype],
        **{name: value for name, value in given.items() if value is not None},
    )


def implementations() -> Tuple[Any, Any]:
    """Makes reference and candidate; UserError if one cannot be made."""
    from tf2gan.migration import implementations as made

    names = made.read_names(FLAGS.name_map) if FLAGS.name_map else {}
    reference = implementation("reference", FLAGS.reference, FLAGS.dtype)
    candidate = implementation("candidate", FLAGS.candidate, FLAGS.dtype)
    unknown = made.unknown_names(names, reference)
    if unknown:
        raise UserError(
            f"--name_map='{FLAGS.name_map}': the reference has no '{unknown[0]}'"
        )
    return reference, made.Renamed(candidate, names) if names else candidate


def implementation(role: str, text: str, dtype: str) -> Any:
    """Makes an implementation by its name; UserError if it cannot be made."""
    import tensorflow as tf

    from tf2gan.migration import implementations as made

    # TF32 alone would be a difference of 1e-3 on a GPU.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    settings = made.Settings(FLAGS.model, FLAGS.update_ops, dtype, FLAGS.seed)
    makers = {"tf1": _make_tf1, "tf2": _make_tf2}
    return made.make(text, settings, makers, role)


def _make_tf1(*settings):
    from tf1gan.training import Trainer

    return Trainer(*settings)


def _make_tf2(*settings):
    from tf2gan.training import Trainer

    return Trainer(*settings)


def batches() -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Returns the batches of the data set, or those of a file."""
    if FLAGS.batches:
        return _read_batches(FLAGS.batches)
    from tf2gan.common import datasets

    spec = specs.get_spec(FLAGS.model)
    images = datasets.load_images(FLAGS.dataset, spec, FLAGS.data_dir)
    made = datasets.Batches(
        images, spec, FLAGS.batch_size, FLAGS.seed, dtype=FLAGS.dtype
    )
    return made.iterate(0, FLAGS.iterations)


def _read_batches(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            images, latent = file["images"], file["latent"]
    except Exception as error:
        raise UserError(
            f"cannot read --batches='{path}' ({error}); expected an .npz file "
            "with the arrays images and latent"
        ) from error
    if images.ndim < 2 or images.shape[:2] != latent.shape[:2]:
        raise UserError(
            f"--batches='{path}': images {images.shape} and latent "
            f"{latent.shape} should begin with the same [iterations, batch]"
        )
    if len(images) < FLAGS.iterations:
        raise UserError(
            f"--batches='{path}' has {len(images)} iterations, "
            f"--iterations={FLAGS.iterations} are asked for"
        )
    pairs = zip(images.astype(FLAGS.dtype), latent.astype(FLAGS.dtype))
    return iter(list(pairs)[: FLAGS.iterations])


def settings() -> Dict[str, str]:
    """Returns what the report says of how it was made."""
    data = FLAGS.batches or f"{FLAGS.dataset}, batches of {FLAGS.batch_size}"
    return {
        "reference": FLAGS.reference,
        "candidate": FLAGS.candidate,
        "data": f"{data}, seed {FLAGS.seed}",
        **common_settings(FLAGS.dtype),
    }


def common_settings(dtype: str) -> Dict[str, str]:
    """Returns what the report says of every comparison."""
    import keras
    import tensorflow as tf

    bounds = tolerance(dtype)
    found = {
        "update_ops": FLAGS.update_ops,
        "dtype": dtype,
        "tolerance": f"{bounds.relative:g} relative, {bounds.noise:g} absolute "
        "where the true gradient is zero",
        "resync": "before each phase" if FLAGS.resync else "no",
        "versions": f"TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"NumPy {np.__version__}, Python {platform.python_version()}",
    }
    if FLAGS.name_map:
        found["name map"] = FLAGS.name_map
    return found
