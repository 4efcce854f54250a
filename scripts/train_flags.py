"""The flags of both training scripts, and the configuration that they make."""

from absl import flags

from tf2gan.common import specs
from tf2gan.common.config import DTYPES, TrainConfig, resume_config

FLAGS = flags.FLAGS
_SPEC = specs.get_spec("dcgan28")

flags.DEFINE_enum("model", _SPEC.name, specs.model_names(), "The GAN to train.")
flags.DEFINE_string(
    "dataset",
    "mnist10k",
    "mnist10k (10,000 images of MNIST that come with the package), mnist, "
    "fashion_mnist, the path of an .npz file or of a folder of pictures.",
)
flags.DEFINE_string(
    "data_dir",
    None,
    "Folder with the IDX file (train-images-idx3-ubyte or .gz) of mnist or "
    "fashion_mnist. Without it keras.datasets downloads them.",
)
flags.DEFINE_string(
    "output_dir",
    None,
    "Folder for the results. Default: runs/ and the side's name.",
)
flags.DEFINE_integer(
    "epochs", _SPEC.epochs, "Passes over the data set.", lower_bound=1
)
flags.DEFINE_integer(
    "steps_per_epoch",
    None,
    "Iterations per epoch. Default: all batches of the data set.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "batch_size", _SPEC.batch_size, "Images per iteration.", lower_bound=1
)
flags.DEFINE_float("learning_rate", _SPEC.learning_rate, "Adam's step size.")
flags.DEFINE_float("beta1", _SPEC.beta1, "Adam's decay of the first moment.")
flags.DEFINE_enum(
    "update_ops",
    "source",
    specs.UPDATE_POLICIES,
    "Moving averages that a train step updates: those of both networks (source) "
    "or of the one it trains (scoped).",
)
flags.DEFINE_enum(
    "dtype", "float32", DTYPES, "Type of weights and activations."
)
flags.DEFINE_integer(
    "seed", 0, "Decides initial weights, shuffles and noise.", lower_bound=0
)
flags.DEFINE_integer(
    "sample_every",
    _SPEC.sample_every,
    "Epochs between sample pictures, after that of the first.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "checkpoint_every", 1, "Epochs between checkpoints.", lower_bound=1
)
flags.DEFINE_integer(
    "keep_checkpoints",
    5,
    "Newest checkpoints to keep; 0 keeps all.",
    lower_bound=0,
)
flags.DEFINE_bool(
    "resume", False, "Go on where the run in --output_dir stopped."
)
flags.DEFINE_bool("overwrite", False, "Replace the run in --output_dir.")
flags.DEFINE_bool(
    "deterministic",
    False,
    "Use deterministic kernels only, and on TensorFlow 2 graphs as they are written.",
)
flags.DEFINE_bool("tf32", False, "Allow TF32 arithmetic on GPUs (less exact).")

_SETTINGS = (
    "model",
    "dataset",
    "data_dir",
    "epochs",
    "steps_per_epoch",
    "batch_size",
    "learning_rate",
    "beta1",
    "update_ops",
    "dtype",
    "seed",
    "sample_every",
    "checkpoint_every",
    "keep_checkpoints",
    "deterministic",
    "tf32",
    "run_eagerly",
    "precision",
    "jit_compile",
)


def make_config(framework: str) -> TrainConfig:
    """Returns the configuration that the flags describe.

    On --resume only flags that were given count; the run's own settings stand in
    for the others. Otherwise a flag that was not given takes the model's default.

    Args:
      framework: "tf1" or "tf2".

    Raises:
      UserError: if they contradict each other, or the run that is to be resumed.
    """
    output_dir = FLAGS.output_dir
    if output_dir is None:
        output_dir = "runs/" + framework
    given = {
        name: FLAGS[name].value
        for name in _SETTINGS
        if name in FLAGS and FLAGS[name].present
    }
    if FLAGS.resume and not FLAGS.overwrite:
        return resume_config(framework, output_dir, given)
    return TrainConfig(
        framework=framework,
        output_dir=output_dir,
        resume=FLAGS.resume,
        overwrite=FLAGS.overwrite,
        **given,
    )
