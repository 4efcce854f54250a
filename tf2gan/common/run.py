"""One training run: its folder, its schedule and its books.

In its folder are `config.json`, the configuration; `losses.csv`, the losses of every
iteration; `checkpoints/model-<iteration>`, the newest few; `logs/` for TensorBoard;
`samples/epoch001.png` and so on; and, once it has ended, `losses.png`, the curves.
"""

import contextlib
import math
import os
import shutil

import numpy as np

from tf2gan.common import config as config_lib
from tf2gan.common import datasets, images, latent, plots, specs
from tf2gan.common.errors import DivergenceError, UserError
from tf2gan.common.interrupt import Interrupted, StopRequest
from tf2gan.common.losses_file import LossesFile
from tf2gan.common.progress import Progress
from tf2gan.common.run_state import unwritable

SAMPLES_PER_ROW = 10
LOSSES_REMEMBERED = 5
LOCK_NAME = ".lock"
RESULTS = (
    "checkpoints",
    "logs",
    "samples",
    "losses.csv",
    "losses.png",
    "grid.png",
    "walk.png",
    "film.gif",
)


class Run:
    """Keeps the books of a run; `training.train` owns the loop.

    Attributes:
      config: the run's configuration.
      spec: of its model.
      batches: the images and latents of every iteration.
      total_steps: iterations of the whole run.
      step: iterations done so far.
    """

    def __init__(self, config: config_lib.TrainConfig) -> None:
        """Loads the data and claims the folder; nothing is written before both fit.

        Raises:
          UserError: if the data set does not fit, or the folder is taken.
        """
        self.config = config
        self.spec = specs.get_spec(config.model)
        loaded = datasets.load_images(
            config.dataset, self.spec, config.data_dir
        )
        self.batches = datasets.Batches(
            loaded,
            self.spec,
            config.batch_size,
            config.seed,
            config.steps_per_epoch,
            config.dtype,
        )
        self.total_steps = config.epochs * self.batches.steps_per_epoch
        self.step = 0
        self._recent = []
        self._signal_number = None
        self._exit = contextlib.ExitStack()
        self._digest = loaded.digest()
        self._claim_folder()

    def path(self, name: str) -> str:
        """Returns the path of `name` in the run's folder."""
        return os.path.join(self.config.output_dir, name)

    def __enter__(self) -> "Run":
        self._stop = self._exit.enter_context(StopRequest())
        return self

    def __exit__(self, *exception) -> None:
        self._exit.close()

    def start(self, step: int) -> None:
        """Begins or goes on after iteration `step`, the one of the checkpoint.

        Raises:
          UserError: if the run is complete already, or its losses do not reach
            that far.
        """
        picture = self.path("losses.png")
        if step >= self.total_steps and os.path.exists(picture):
            raise UserError(
                "the run in '{}' is complete: it has its {} iterations; raise "
                "--epochs to go on".format(self.config.output_dir, step)
            )
        self.step = step
        with _writing(self.path("losses.csv")):
            self._losses = LossesFile(self.path("losses.csv"), step)
        self._exit.callback(self._losses.close)
        if os.path.exists(picture):  # it marks a run as finished
            os.remove(picture)
        with _writing(self.path("config.json")):
            self._write_config()
        self._progress = Progress(
            step, self.total_steps, self.batches.steps_per_epoch
        )
        self._exit.callback(self._progress.close)
        if step:
            self._progress.message("resuming after iteration {}".format(step))

    def record(self, loss_d: float, loss_g: float) -> None:
        """Books the losses of the iteration that has just been done.

        Raises:
          DivergenceError: if one of them is NaN or infinite.
          UserError: if they cannot be written.
        """
        step, loss_d, loss_g = self.step + 1, float(loss_d), float(loss_g)
        if not (math.isfinite(loss_d) and math.isfinite(loss_g)):
            raise DivergenceError(self._divergence(step, loss_d, loss_g))
        with _writing(self._losses.path):
            self._losses.append(step, self._epoch(step), loss_d, loss_g)
        self.step = step
        self._recent = self._recent[1 - LOSSES_REMEMBERED :] + [
            (loss_d, loss_g)
        ]
        self._progress.update(step, loss_d, loss_g)
        # Read once per iteration: what asks later must get the same answer.
        self._signal_number = self._stop.signal_number

    def _divergence(self, step, loss_d, loss_g):
        before = ", ".join(
            "{:.6g}/{:.6g}".format(d, g) for d, g in self._recent
        )
        return (
            "the losses of iteration {} are not finite: loss_D={}, loss_G={} (before "
            "it, D/G: {}); the last good checkpoint is kept in '{}', try a lower "
            "--learning_rate".format(
                step, loss_d, loss_g, before or "none", self.path("checkpoints")
            )
        )

    @property
    def epoch_ended(self) -> bool:
        """Whether the iteration just done was the last of its epoch."""
        return self.step % self.batches.steps_per_epoch == 0

    @property
    def samples_due(self) -> bool:
        """Whether to draw samples now: after the first and every n-th epoch."""
        epoch = self._epoch(self.step)
        return self.epoch_ended and (
            epoch == 1 or epoch % self.config.sample_every == 0
        )

    @property
    def checkpoint_due(self) -> bool:
        """Whether to save a checkpoint now; always before the run leaves its loop."""
        epoch = self._epoch(self.step)
        return (
            (self.epoch_ended and epoch % self.config.checkpoint_every == 0)
            or self.step == self.total_steps
            or self.stopping
        )

    @property
    def stopping(self) -> bool:
        """Whether a signal asked the run to stop."""
        return self._signal_number is not None

    def sync(self) -> None:
        """Brings the losses to the disk, so that no checkpoint is ahead of them."""
        with _writing(self._losses.path):
            self._losses.sync()

    def sample_latents(self) -> np.ndarray:
        """Returns latents [20, size]: ten random ones, then a walk of ten."""
        seed, epoch = self.config.seed, self._epoch(self.step)
        random = latent.sample_latent(
            self.spec, SAMPLES_PER_ROW, seed, "samples", epoch
        )
        walk = latent.latent_walk(
            self.spec, SAMPLES_PER_ROW, seed, "walk", epoch
        )
        return np.concatenate([random, walk]).astype(self.config.dtype)

    def save_samples(self, samples: np.ndarray) -> None:
        """Writes the picture of the epoch: a row of samples, a row of a walk."""
        grid = images.image_grid(
            samples, SAMPLES_PER_ROW, self.spec.image_range
        )
        name = "epoch{:03d}.png".format(self._epoch(self.step))
        path = os.path.join(self.path("samples"), name)
        with _writing(path):
            images.save_png(path, grid)

    def finish(self) -> None:
        """Says how the run ended and draws the curves.

        Raises:
          Interrupted: if a signal ended it.
        """
        with _writing(self.path("losses.png")):
            plots.plot_losses(
                {self.config.framework: self._losses.path},
                self.path("losses.png"),
            )
        if self.stopping and self.step < self.total_steps:
            raise Interrupted(
                self._signal_number,
                "stopped after iteration {} of {}; checkpoint saved, go on with "
                "--resume --output_dir={}".format(
                    self.step, self.total_steps, self.config.output_dir
                ),
            )
        self._progress.message(
            "done: {} iterations, results in {}".format(
                self.step, self.config.output_dir
            )
        )

    def _epoch(self, step):
        return -(-step // self.batches.steps_per_epoch)

    def _claim_folder(self):
        folder = self.config.output_dir
        try:
            os.makedirs(folder, exist_ok=True)
            self._check_folder(_held(folder))
            self._lock(os.path.join(folder, LOCK_NAME))
            # Another process may have begun, and ended, a run in between.
            self._check_folder(_held(folder))
            if not self.config.resume:
                _remove_results(folder)
                self._write_config()
            for name in ("checkpoints", "logs", "samples"):
                os.makedirs(self.path(name), exist_ok=True)
        except OSError as error:
            raise UserError(
                "cannot use --output_dir '{}': {}; name another folder".format(
                    folder, error.strerror
                )
            ) from error

    def _write_config(self):
        config_lib.write_config(
            self.path("config.json"), self.config, images_digest=self._digest
        )

    def _check_folder(self, held):
        folder, config_path = self.config.output_dir, self.path("config.json")
        if self.config.resume:
            _check_digest(self.config, config_path, self._digest)
        elif held and "config.json" not in held:
            raise UserError(
                "--output_dir '{}' holds other files ({}) and no run; name another "
                "folder".format(folder, ", ".join(sorted(held)[:3]))
            )
        elif held and not self.config.overwrite:
            raise UserError(
                "--output_dir '{}' holds a run already; add --resume to go on with "
                "it, --overwrite to replace it, or name another folder".format(
                    folder
                )
            )
        elif held:
            # Many programs have a config.json; nothing of theirs is replaced.
            config_lib.read_config(config_path)

    def _lock(self, path):
        """Keeps a second process out; the lock ends with this process."""
        try:
            import fcntl
        except ImportError:  # not a POSIX system: go without
            return
        file = self._exit.enter_context(open(path, "a"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                "another process is training in '{}'; wait for it, or name another "
                "--output_dir".format(self.config.output_dir)
            ) from error


@contextlib.contextmanager
def _writing(path):
    """Makes of a full disk, and its like, an error that names the file."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def _check_digest(config, config_path, digest):
    saved = config_lib.read_config(config_path).get("images_digest")
    if saved != digest:
        raise UserError(
            "cannot resume '{}': the images of data set '{}' are not those that the "
            "run began with (checksum {}, now {})".format(
                config.output_dir, config.dataset, saved, digest
            )
        )


def _held(folder):
    return set(os.listdir(folder)) - {LOCK_NAME, "config.json.part"}


def _remove_results(folder):
    for name in RESULTS:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)
