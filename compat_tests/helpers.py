"""What several tests share: the scripts, run here or apart, and tiny data sets."""

import dataclasses
import importlib
import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from absl import flags

from tf2gan.common import datasets, errors

# A Python 3.7 with TensorFlow 1.15.5 and this package installed.
TF115_PYTHON = os.environ.get("TF115_PYTHON")
WITHOUT_TF115 = "TF115_PYTHON names no Python 3.7 with TensorFlow 1.15.5"

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
# TensorFlow 1.15 needs Python 3.7 and has the first side only.
SIDES = ("tf1", "tf2") if sys.version_info >= (3, 9) else ("tf1",)

# Two iterations of four images, in the current folder.
TINY_RUN = (
    "--dataset=tiny.npz",
    "--output_dir=run",
    "--batch_size=4",
    "--steps_per_epoch=2",
    "--epochs=1",
)


@dataclasses.dataclass
class Outcome:
    """How a script ended."""

    status: int
    out: str
    err: str


def environment():
    """Returns that of a script: this checkout, which must be quiet by itself."""
    variables = dict(os.environ, PYTHONPATH=str(ROOT))
    variables.pop("TF_CPP_MIN_LOG_LEVEL", None)
    # TensorFlow 2 sets it as it is imported; 1.15 would give up its own defaults.
    variables.pop("TF2_BEHAVIOR", None)
    return variables


def run_script(name, *arguments, cwd):
    """Runs `name`.py as a process of its own."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / (name + ".py")), *arguments],
        cwd=str(cwd),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def call_script(name, *arguments):
    """Runs `name`.py in this process, which saves the start; returns its status."""
    script = _import_script(name)
    command_line = sys.modules["command_line"]
    with mock.patch.object(sys, "argv", [name + ".py", *arguments]):
        try:
            command_line.run(script.main)
        except SystemExit as end:
            return end.code or 0
    raise AssertionError("a script ends in sys.exit")


def _import_script(name):
    """Imports a script anew, so that no flag has a value or is defined twice."""
    defined = flags.FLAGS.flags_by_module_dict()
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)
        for flag in list(defined.get(path.stem, [])):
            if flag.name in flags.FLAGS:
                delattr(flags.FLAGS, flag.name)
    with mock.patch.object(sys, "path", [str(SCRIPTS), *sys.path]):
        return importlib.import_module(name)


def tiny_images(count=8, seed=0):
    """Returns uint8 images [count, 28, 28] of noise."""
    random = np.random.RandomState(seed)
    return random.randint(0, 256, [count, 28, 28]).astype(np.uint8)


def images_for(spec):
    """Returns the digits that come with the package, or noise if they do not fit."""
    try:
        return datasets.load_images(datasets.EMBEDDED, spec)
    except errors.UserError:
        random = np.random.RandomState(0)
        pixels = random.randint(0, 256, [32, *spec.image_shape])
        return datasets.Images("noise", pixels.astype(np.uint8))


def noise_batch(spec, size, dtype, seed):
    """Returns images and latents [size, ...] of noise."""
    random = np.random.RandomState(seed)
    images = random.uniform(*spec.image_range, size=(size,) + spec.image_shape)
    latents = random.uniform(-1, 1, [size, spec.latent_size])
    return images.astype(dtype), latents.astype(dtype)


def multiplied(beta, steps):
    """TF1's power of beta, as NumPy multiplies and TensorFlow flushes it."""
    power = np.float32(beta)
    for _ in range(steps):
        power = np.float32(power * np.float32(beta))
        power = power if power >= np.finfo(np.float32).tiny else np.float32(0)
    return power


def npz_bytes(**arrays):
    """Returns the content of an .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def idx_bytes(images, magic=0x803, shape=None):
    """Returns the content of an IDX file, whose header may lie about the shape."""
    header = struct.pack(">4I", magic, *(shape or images.shape))
    return header + images.tobytes()


def write_files(folder, files):
    """Writes a dictionary of paths and their content, in bytes."""
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def final_state(side, run, step):
    """Returns the variables of a run's checkpoint by their names in TF1."""
    import tensorflow as tf

    path = Path(run) / "checkpoints" / "model-{}".format(step)
    reader = tf.train.load_checkpoint(str(path))
    names = list(reader.get_variable_to_shape_map())
    if side == "tf1":
        return {name: reader.get_tensor(name) for name in names}
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    return {
        name[: -len(suffix)].replace(".S", "/"): reader.get_tensor(name)
        for name in names
        if name.endswith(suffix)
    }


def assert_same_averages(state, other, tolerance=1e-9):
    """Compares the moving averages of two states.

    Variances are held to the tolerance relative to the largest of their tensor. A
    moving mean follows the bias in front of it, which steps by its rounding noise
    whatever its size; so means are held to it as they are.
    """
    averages = [name for name in state if "/moving_" in name]
    assert len(averages) == 10
    for name in averages:
        size = np.abs(state[name]).max() if name.endswith("variance") else 1.0
        np.testing.assert_allclose(
            other[name],
            state[name],
            rtol=0,
            atol=tolerance * size,
            err_msg=name,
        )
