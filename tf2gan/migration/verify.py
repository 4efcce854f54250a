"""Runs both sides of a conversion on the same inputs and compares their outputs."""

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Tuple

import keras
import numpy as np
import tensorflow as tf

from tf2gan.common import randomness
from tf2gan.common.errors import UserError
from tf2gan.migration import user_code
from tf2gan.migration.meta_graph import MetaGraph, may_be, read_meta
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint
from tf2gan.migration.variable_map import VariableMap

BATCH_SIZE = 4


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One output of both sides.

    Attributes:
      name: of the output.
      shape: of the output.
      difference: largest of two elements; infinite if shapes differ or one is NaN.
      size: largest element of the TF1 side.
      tensor: what TF1 calls it, where that is another name.
    """

    name: str
    shape: Tuple[int, ...]
    difference: float
    size: float
    tensor: str = ""


def compare(
    reference: Mapping[str, Any], candidate: Mapping[str, Any]
) -> List[Comparison]:
    """Compares outputs by name; what the candidate lacks is infinitely far off."""
    rows = []
    for name, value in reference.items():
        one = np.asarray(value, np.float64)
        other = np.asarray(candidate.get(name, np.nan), np.float64)
        difference = np.inf
        if one.shape == other.shape:
            difference = float(np.max(np.abs(one - other), initial=0.0))
        if np.isnan(difference):
            difference = np.inf
        size = float(np.max(np.abs(one), initial=0.0))
        rows.append(Comparison(name, one.shape, difference, size))
    return rows


def report(rows: List[Comparison], tolerance: float) -> bool:
    """Prints a line per output; returns whether all are within the tolerance."""
    labels = [
        f"{row.name} = {row.tensor}" if row.tensor else row.name for row in rows
    ]
    width = max(map(len, labels))
    for row, label in zip(rows, labels):
        verdict = "" if row.difference <= tolerance else "  DIFFERS"
        print(
            f"verify  {label:{width}}  {str(list(row.shape)):>18}  "
            f"{row.difference:.3g} apart, values up to {row.size:.3g}{verdict}"
        )
    return all(row.difference <= tolerance for row in rows)


def seeded(shape, dtype, seed: int, name: str) -> np.ndarray:
    """Returns an input on [-1, 1), a function of seed and name."""
    return (2.0 * randomness.uniform(shape, seed, name) - 1.0).astype(dtype)


def verify_graph(
    checkpoint: Tf1Checkpoint,
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    given_inputs: Mapping[str, str],
    given_outputs: Mapping[str, str],
    seed: int = 0,
) -> List[Comparison]:
    """Runs the graph beside a checkpoint and the models on seeded inputs.

    Args:
      checkpoint: with a `.meta` file beside it.
      models: loaded from it.
      mapping: as it was carried out.
      given_inputs: by the name of a placeholder, the model whose input it takes,
        a number, true or false, or the path of an .npy file; by the name of a
        model, the file of its input.
      given_outputs: by model, the name of the tensor that it computes.
      seed: decides the inputs.

    Raises:
      UserError: if the graph cannot be had, or its inputs or outputs are not to
        be told.
    """
    graph = MetaGraph(read_meta(checkpoint.path + ".meta"))
    inputs = _model_inputs(models, given_inputs, seed)
    wanted = {
        name: given_outputs.get(name) or graph.find_output(name, model, mapping)
        for name, model in models.items()
    }
    feeds = {}
    for name, tensor in graph.placeholders(wanted.values()).items():
        text = given_inputs.get(name, given_inputs.get(name + ":0"))
        if text is None and graph.has_default(name):
            continue
        model, value = _fed(name, tensor, text, inputs)
        feeds[name + ":0"] = value
        if model:
            inputs[model] = value  # with the batch size that TF1 asks for
    reference = graph.run(wanted, feeds, checkpoint)
    candidate = {
        name: _computed(name, model, inputs[name])
        for name, model in models.items()
    }
    rows = compare(_in_shape(reference, candidate), candidate)
    return [dataclasses.replace(row, tensor=wanted[row.name]) for row in rows]


def _computed(name, model, value):
    """Returns what a model makes of its input; whatever it raises is one line."""
    label = f"--verify: the model '{name}'"
    output = user_code.call(label, lambda: model(value, training=False))
    if isinstance(output, (dict, list, tuple)):
        raise UserError(
            f"{label} has {len(output)} outputs; only models with one can be "
            "verified"
        )
    return keras.ops.convert_to_numpy(output)


def _in_shape(reference, candidate):
    """Reshapes what has as many elements: the networks may flatten otherwise."""
    return {
        name: np.reshape(value, candidate[name].shape)
        if np.size(value) == candidate[name].size
        else value
        for name, value in reference.items()
    }


def _model_inputs(models, given, seed):
    inputs = {}
    for name, model in models.items():
        if name in given:
            inputs[name] = _given(name, given[name], np.float32, {})
            continue
        shapes = [tuple(i.shape) for i in getattr(model, "inputs", None) or []]
        if len(shapes) != 1:
            raise UserError(
                f"--verify needs models with one keras.Input; '{name}' has "
                f"{len(shapes)}"
            )
        shape = tuple(size or BATCH_SIZE for size in shapes[0])
        dtype = keras.backend.standardize_dtype(model.inputs[0].dtype)
        inputs[name] = seeded(shape, dtype, seed, name)
    return inputs


def _fed(name, tensor, text, inputs):
    """Returns the model whose input a placeholder is, if any, and its value."""
    if text is None:
        model = _guess(tensor, inputs)
    elif text in inputs:
        model = text
    else:
        return None, _given(name, text, tensor.dtype.as_numpy_dtype, inputs)
    if model is None:
        return None, np.zeros(_sizes(tensor), bool)
    return model, _as(tensor, inputs[model])


def _sizes(tensor):
    """Returns the shape of a flag, a single one if the placeholder has none."""
    if tensor.shape.rank is None:
        return []
    return [size or BATCH_SIZE for size in tensor.shape.as_list()]


def _given(name, text, dtype, inputs):
    """Returns the value that the user wants."""
    try:
        if text.endswith(".npy"):
            # Mapped first: a header that lies about its length takes no memory.
            with np.errstate(over="ignore"):  # of the product of its sizes
                mapped = np.load(text, mmap_mode="r", allow_pickle=False)
            return np.array(mapped)
        value = {"true": 1.0, "false": 0.0}.get(text.lower())
        value = float(text) if value is None else value
        return np.asarray(value).astype(dtype)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"--inputs={name}={text}: expected one of the models "
            f"({', '.join(inputs)}), a number, true, false, or an .npy file "
            f"without objects: {str(error)[:200]}"
        ) from error


def _guess(tensor, inputs) -> Optional[str]:
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
    repeats = -(-size // len(value))
    value = np.concatenate([value] * repeats)[:size]
    return value.astype(tensor.dtype.as_numpy_dtype)
