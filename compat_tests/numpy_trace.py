"""Writes a trace of an implementation in NumPy, as `tf1gan/trace.py` would."""

import json
from pathlib import Path

import numpy as np
import numpy_gan

PHASES = ("discriminator_step", "generator_step")


def write(folder, gan, batches):
    """Trains on the batches and writes every call into a new folder."""
    calls = Path(str(folder), "calls")
    calls.mkdir(parents=True)
    description = {
        "format": "gan trace",
        "version": 1,
        "tensorflow": "none",
        "variables": [
            {
                "name": name,
                "shape": list(value.shape),
                "dtype": value.dtype.name,
                "trainable": name in numpy_gan.SHAPES,
            }
            for name, value in gan.state().items()
        ],
        "phases": [
            {"name": phase, "trains": list(numpy_gan.TRAINED[network])}
            for phase, network in zip(PHASES, ("discriminator", "generator"))
        ],
        "random": [],
        "readers": [],
        "left_out": [],
    }
    Path(str(folder), "trace.json").write_text(json.dumps(description))
    initial = _keyed("variable", gan.state())
    np.savez(str(Path(str(folder), "initial.npz")), **initial)
    dtypes = {name: value.dtype for name, value in gan.state().items()}
    steps = [(phase, *batch) for batch in batches for phase in range(2)]
    for number, step in enumerate(steps, start=1):
        path = calls / "{:08d}.npz".format(number)
        np.savez(str(path), **_call(gan, dtypes, *step))


def _call(gan, dtypes, phase, images, latent):
    trained = list(numpy_gan.TRAINED.values())[::-1][phase]
    gradients = gan.gradients(images, latent)
    loss = getattr(gan, PHASES[phase])(images, latent)
    gan.load_state({n: v.astype(dtypes[n]) for n, v in gan.state().items()})
    gradients = {n: np.array(gradients[n], dtypes[n]) for n in trained}
    return {
        "phase": np.int64(phase),
        "loss": np.array(loss),
        "input/images": images,
        "input/latent": latent,
        **_keyed("gradient", gradients),
        **_keyed("variable", gan.state()),
    }


def _keyed(prefix, values):
    return {prefix + "/" + name: value for name, value in values.items()}
