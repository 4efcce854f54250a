"""The trainers that the benchmark measures, and their batches.

Keeps to Python 3.7 and TensorFlow 1.15.
"""

import dataclasses
import importlib
import os
import sys
import types
from typing import Any, List, Optional, Tuple

import numpy as np

from tf2gan.common import datasets, specs
from tf2gan.common.config import TrainConfig
from tf2gan.common.errors import UserError

SEED = 0
BATCHES = 8  # different ones, taken in turn
SOURCE = "tf.layers"
_FRAMEWORKS = {"tf1gan": "tf1", "tf2gan": "tf2"}
_SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE_GRAPH = os.path.join(
    os.path.dirname(_SCRIPTS), "compat_tests", "source_graph.py"
)


def spec_of(model: str, image_size: Optional[int] = None) -> specs.GanSpec:
    """Returns a model's spec, for images of another height and width if given."""
    spec = specs.get_spec(model)
    if image_size is None:
        return spec
    shape = (image_size, image_size, spec.image_shape[2])
    return dataclasses.replace(spec, image_shape=shape)


def make_trainer(
    side: str, spec: specs.GanSpec, update_ops: str, **config: Any
) -> Any:
    """Makes a trainer as the training scripts do, and gives it its weights.

    Args:
      side: "tf1gan", "tf2gan", or "tf.layers" for the source's graph.
      spec: of the GAN.
      update_ops: "source" or "scoped".
      **config: other fields of `TrainConfig`, for tf2gan.

    Raises:
      UserError: if it cannot be made.
    """
    if side == SOURCE:
        trainer = _make_source(update_ops)
    else:
        trainer = _make_twin(side, spec, update_ops, config)
    trainer.initialize(SEED)
    return trainer


def make_batches(
    spec: specs.GanSpec, batch_size: int
) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Returns batches of digits, or of noise where these do not fit the spec."""
    try:
        images = datasets.load_images(datasets.EMBEDDED, spec)
    except UserError:
        random = np.random.RandomState(SEED)
        pixels = random.randint(0, 256, (batch_size,) + spec.image_shape)
        images = datasets.Images("noise", pixels.astype("uint8"))
    batches = datasets.Batches(images, spec, batch_size, SEED)
    return list(batches.iterate(0, BATCHES))


def count_digits(model: str) -> int:
    """Returns how many images mnist10k has; UserError if they do not fit the model."""
    return len(datasets.load_images(datasets.EMBEDDED, specs.get_spec(model)))


def _make_twin(side, spec, update_ops, fields):
    training = importlib.import_module(side + ".training")
    config = TrainConfig(_FRAMEWORKS[side], "unused", **fields)
    training.configure_runtime(config)
    if not fields:
        return training.Trainer(spec, update_ops)
    trainer = training.Trainer(spec, update_ops, config.dtype, config.precision)
    if config.jit_compile:
        import tensorflow as tf

        trainer.train_step = tf.function(trainer.train_step, jit_compile=True)
    return trainer


def _make_source(update_ops):
    """Builds the source's graph with the `tf.layers` of the legacy Keras package.

    Its file is written for TensorFlow 1.15's names, which it gets here. The updates
    of averages are not pinned: the source did not do so.
    """
    import tensorflow.compat.v1 as tf

    tf.logging.set_verbosity(tf.logging.ERROR)
    tf.disable_v2_behavior()
    try:
        flatten = tf.layers.flatten
    except (AttributeError, ImportError) as error:
        raise UserError(
            "the source's graph needs the legacy Keras package: pip install "
            "tf_keras ({})".format(error)
        ) from error
    sys.path.insert(0, os.path.dirname(SOURCE_GRAPH))
    import source_graph

    source_graph.tf = _Tf1Names(tf, flatten)
    return source_graph.SourceTrainer(update_ops, pinned=False, threads=0)


class _Tf1Names:
    """TensorFlow with the one name of `tf.contrib` that the source uses."""

    def __init__(self, tf, flatten):
        self._tf = tf
        layers = types.SimpleNamespace(flatten=flatten)
        self.contrib = types.SimpleNamespace(layers=layers)

    def __getattr__(self, name):
        return getattr(self._tf, name)
