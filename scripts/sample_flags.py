"""The flags of both sampling scripts, and the pictures that they ask for."""

from absl import flags

from tf2gan.common import drawing
from tf2gan.common.errors import UserError

FLAGS = flags.FLAGS
_ENDINGS = {"grid": ".png", "walk": ".png", "film": ".gif"}

flags.DEFINE_string(
    "run_dir", None, "Folder of the run. Default: runs/ and the side's name."
)
flags.DEFINE_enum(
    "kind",
    "grid",
    sorted(_ENDINGS),
    "grid: random samples. walk: each row goes from one latent to another. "
    "film: a GIF of the grid at every checkpoint that the run kept.",
)
flags.DEFINE_string(
    "output", None, "Picture to write. Default: the kind, in the run's folder."
)
flags.DEFINE_integer("rows", 8, "Rows of images.", lower_bound=1)
flags.DEFINE_integer("columns", 10, "Images per row.", lower_bound=1)
flags.DEFINE_integer(
    "seed",
    0,
    "Decides the latents.",
    lower_bound=0,
    upper_bound=2**63 - 1,
)
flags.DEFINE_string(
    "checkpoint",
    None,
    "Checkpoint to draw from: its path, name or iteration. Default: the latest.",
)


def run_dir(framework: str) -> str:
    """Returns the folder of the run to sample from."""
    return "runs/" + framework if FLAGS.run_dir is None else FLAGS.run_dir


def draw(sampler, framework: str) -> None:
    """Draws the picture that the flags describe and says where it is.

    Raises:
      UserError: if the flags or the checkpoint cannot be used.
    """
    ending = _ENDINGS[FLAGS.kind]
    output = FLAGS.output or "{}/{}{}".format(
        run_dir(framework), FLAGS.kind, ending
    )
    if not output.endswith(ending):
        raise UserError(
            "--output='{}' should end in {} for --kind={}".format(
                output, ending, FLAGS.kind
            )
        )
    if FLAGS.kind == "film" and FLAGS.checkpoint:
        raise UserError(
            "--checkpoint='{}' and --kind=film exclude each other: a film shows "
            "every checkpoint".format(FLAGS.checkpoint)
        )
    try:
        _draw(sampler, output)
    except OSError as error:
        raise UserError(
            "cannot write --output='{}': {}; name another file".format(
                output, error.strerror
            )
        ) from error
    print("wrote " + output)


def _draw(sampler, output):
    layout = (FLAGS.rows, FLAGS.columns, FLAGS.seed)
    if FLAGS.kind == "film":
        drawing.draw_film(sampler, output, *layout)
    elif FLAGS.kind == "walk":
        drawing.draw_walk(sampler, output, *layout, FLAGS.checkpoint)
    else:
        drawing.draw_grid(sampler, output, *layout, FLAGS.checkpoint)
