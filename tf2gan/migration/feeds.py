"""Decides what the placeholders of a graph are fed, when it is verified."""

from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration.meta_graph import MetaGraph, may_be

BATCH_SIZE = 4  # where the graph asks for none
_LARGEST_BATCH = 1024

Arrays = Mapping[str, np.ndarray]


def fill(
    graph: MetaGraph,
    placeholders: Mapping[str, tf.Tensor],
    given: Mapping[str, Any],
    inputs: Arrays,
) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
    """Returns what to feed, by tensor, and the inputs of the models.

    Args:
      graph: that they are of.
      placeholders: by name.
      given: by placeholder, with `:0` or without: the name of the model whose input
        it takes, or a value.
      inputs: by model; they get the batch size that the graph asks for.

    Raises:
      UserError: if it is not to be told, or something is given to what is no
        placeholder of these.
    """
    given = {name.split(":")[0]: value for name, value in given.items()}
    _check_names(given, placeholders)
    feeds, used = {}, dict(inputs)
    for name, tensor in placeholders.items():
        left_out = graph.has_default(name) and not _is_flag(tensor)
        if name not in given and left_out:
            continue
        model, value = _fed(tensor, given.get(name), inputs)
        feeds[name + ":0"] = value
        if model:
            used[model] = value
    return feeds, used


def _is_flag(tensor):
    """Tells whether it may say if one trains, by default mostly true."""
    return tensor.dtype == tf.bool and tensor.shape.rank in (None, 0)


def _check_names(given, placeholders):
    for name in given:
        if name not in placeholders:
            needed = ", ".join(sorted(placeholders)[:10]) or "none"
            raise UserError(
                f"--inputs={name:.100}: the outputs need no such placeholder "
                f"(needed: {needed})"
            )


def _fed(tensor, value, inputs):
    """Returns the model whose input a placeholder is, if any, and its value."""
    if value is None:
        model = _guess(tensor, inputs)
    elif isinstance(value, str):
        model = value
    else:
        return None, value
    if model is None:
        return None, np.zeros(_sizes(tensor), bool)
    return model, _as(tensor, inputs[model])


def _sizes(tensor):
    """Returns the shape of a flag, a single one if the placeholder has none."""
    if tensor.shape.rank is None:
        return []
    return [size or BATCH_SIZE for size in tensor.shape.as_list()]


def _guess(tensor, inputs: Arrays) -> Optional[str]:
    """Returns the model whose input a placeholder is; None for a flag."""
    if tensor.dtype == tf.bool:
        return None
    fitting = [m for m, v in inputs.items() if may_be(tensor.shape, v.shape)]
    if len(fitting) == 1 and tensor.shape.rank is not None:
        return fitting[0]
    raise UserError(
        f"--verify: cannot tell what to feed '{tensor.name}' {tensor.shape} "
        f"(fitting: {', '.join(fitting) or 'none'}); say it with "
        f"--inputs={tensor.name}=MODEL, a number, true, false or an .npy file"
    )


def _as(tensor, value):
    """Gives an input the batch size and type that a placeholder asks for."""
    if tensor.shape.rank is None:
        return value.astype(tensor.dtype.as_numpy_dtype)
    shape = tensor.shape.as_list()
    size = len(value) if not shape or shape[0] is None else shape[0]
    if size > _LARGEST_BATCH:
        raise UserError(
            f"--verify: the placeholder '{tensor.name:.100}' asks for a batch of "
            f"{size}; only up to {_LARGEST_BATCH} are fed"
        )
    repeats = -(-size // len(value))
    value = np.concatenate([value] * repeats)[:size]
    return value.astype(tensor.dtype.as_numpy_dtype)
