"""Writes and reads Keras models, with their optimizers, as files."""

import os
import tempfile
from typing import Dict, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration import (
    map_file,
    optimizer_state,
    outputs,
    table_file,
    tf1_checkpoint,
)
from tf2gan.migration.variable_map import VariableMap

_RESTORE_ERRORS = (
    tf.errors.OpError,
    ValueError,
    AssertionError,
    IndexError,
    TypeError,
)
_FILES = 3  # that each value is in: .weights.h5, .keras, the checkpoint
_ITEM_BYTES = 8  # of the largest type
_ENTRY_BYTES = 4096  # around a value, in HDF5


def write(
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    folder: str,
    overwrite: bool,
    sources: Sequence[str],
) -> None:
    """Writes models, a `tf.train.Checkpoint` of them all, and a map.

    Args:
      models: by name.
      mapping: by which they got their values.
      folder: to be made, or replaced whole.
      overwrite: whether a folder that is not empty may be replaced.
      sources: files that must not lie in a folder that is replaced.

    Raises:
      UserError: if the folder cannot be written, or is not empty and
        `overwrite` is false.
    """
    with outputs.staged(folder, overwrite, sources) as part:
        outputs.require_space(part, _most_bytes(models))
        for name, model in models.items():
            model.save_weights(os.path.join(part, name + ".weights.h5"))
            _save(model, os.path.join(part, name + ".keras"))
        inner = os.path.join(part, "checkpoints")
        os.makedirs(inner)
        tracked(models).write(os.path.join(inner, "model"))
        with open(os.path.join(inner, "checkpoint"), "w") as file:
            file.write('model_checkpoint_path: "model"\n')
        with open(os.path.join(part, "map.json"), "w") as file:
            file.write(map_file.dump(mapping))


def tracked(models: Dict[str, keras.Model]) -> tf.train.Checkpoint:
    """Returns the `tf.train.Checkpoint` of models and their optimizers."""
    objects = dict(models)
    for name, model in models.items():
        optimizer = optimizer_state.built(model)
        if optimizer is not None:
            objects[name + "_optimizer"] = optimizer
    return tf.train.Checkpoint(**objects)


def restore(models: Dict[str, keras.Model], path: str) -> None:
    """Gives models the state in a checkpoint that `write` wrote.

    Raises:
      UserError: if it is damaged or of other models.
    """
    path = tf1_checkpoint.find(path)
    table_file.read_bundle_index(path)
    try:
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
            if tf1_checkpoint.is_pattern(path):
                path = tf1_checkpoint.link(path, folder)
            tracked(models).read(path).assert_consumed()
    except _RESTORE_ERRORS as error:
        line = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"cannot restore '{path}' into the models: {line[0][:300]}"
        ) from error


def _most_bytes(models):
    """Returns what the files of models take at most."""
    values = [v for model in models.values() for v in model.variables]
    for model in models.values():
        # Whatever optimizer it is, `.keras` has its variables.
        values += getattr(getattr(model, "optimizer", None), "variables", [])
    size = sum(np.prod(v.shape) * _ITEM_BYTES + _ENTRY_BYTES for v in values)
    return int(_FILES * size)


def _save(model, path):
    try:
        model.save(path)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"Keras cannot save the model '{model.name}' whole: {error}; give its "
            "own layers a get_config()"
        ) from error
