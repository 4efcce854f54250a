"""Runs both sides of a conversion on the same inputs and compares their outputs."""

import dataclasses
import os
from typing import Any, Dict, List, Mapping, Tuple

import keras
import numpy as np

from tf2gan.common import randomness
from tf2gan.common.errors import UserError
from tf2gan.migration import batch_statistics, graph_process, slots, user_code
from tf2gan.migration.feeds import BATCH_SIZE
from tf2gan.migration.graph_process import Limits
from tf2gan.migration.meta_graph import batch_advice
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint
from tf2gan.migration.variable_map import VariableMap

_TINY = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One output of both sides.

    Attributes:
      name: of the output.
      shape: of the output.
      difference: largest of two elements; infinite if shapes differ or one is NaN.
      size: largest element of the TF1 side.
      tensor: what TF1 calls it, where that is another name.
      note: how it was compared, where that is not what one expects.
    """

    name: str
    shape: Tuple[int, ...]
    difference: float
    size: float
    tensor: str = ""
    note: str = ""

    @property
    def relative(self) -> float:
        """The difference as a part of the size; infinite where that is 0.

        0 if it is below float32's normal numbers, which some kernels flush to zero.
        """
        if self.difference < _TINY:
            return 0.0
        return self.difference / self.size if self.size > 0 else np.inf


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
    """Prints a line per output; returns whether all are within the tolerance.

    Args:
      rows: of the outputs.
      tolerance: the largest difference of an output, as a part of its largest value
        on TF1's side.
    """
    labels = [
        f"{row.name} = {row.tensor}" if row.tensor else row.name for row in rows
    ]
    width = max(map(len, labels))
    for row, label in zip(rows, labels):
        verdict = ""
        if not row.relative <= tolerance:
            verdict = f"  DIFFERS by {row.relative:.3g} of its size"
        print(
            f"verify  {label:{width}}  {str(list(row.shape)):>18}  "
            f"{row.difference:.3g} apart, values up to {row.size:.3g}{verdict}"
        )
    for row in rows:
        if row.note:
            print("note: " + row.note)
    return all(row.relative <= tolerance for row in rows)


def seeded(shape, dtype, seed: int, name: str) -> np.ndarray:
    """Returns an input on [-1, 1), a function of seed and name.

    Of integers it is 0 and 1 in turn: whatever they mean, such as classes or rows of
    a table, mostly there are two.
    """
    if np.dtype(dtype).kind in "iu":
        return np.resize(np.arange(2), shape).astype(dtype)
    return (2.0 * randomness.uniform(shape, seed, name) - 1.0).astype(dtype)


def verify_graph(
    checkpoint: Tf1Checkpoint,
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    given_inputs: Mapping[str, str],
    given_outputs: Mapping[str, str],
    seed: int = 0,
    limits: Limits = Limits(),  # noqa: B008 (it is frozen)
    meta: str = "",
) -> List[Comparison]:
    """Runs the graph of a checkpoint and the models on seeded inputs.

    The graph is run in a process of its own, on the CPU. Batch norm that it has in
    training mode for good normalizes by the batch in the models too, and a note in
    the result says so. Where the map names the shadow variable of an
    `ExponentialMovingAverage` and the graph takes its owner, the owner has the
    shadow's value, as by `variables_to_restore`.

    Args:
      checkpoint: of TF1.
      models: in the same state.
      mapping: as it was carried out.
      given_inputs: by the name of a placeholder, the model whose input it takes,
        a number, true or false, or the path of an .npy file; by the name of a
        model, the file of its input.
      given_outputs: by model, the name of the tensor that it computes.
      seed: decides the inputs.
      limits: of that process.
      meta: path of the graph; by default it is beside the checkpoint.

    Raises:
      UserError: if the graph cannot be had, goes beyond the limits, or its inputs
        or outputs are not to be told.
    """
    _check_names(given_outputs, models)
    inputs = _model_inputs(models, given_inputs, seed)
    networks = {
        name: _network(name, model, mapping, given_outputs.get(name))
        for name, model in models.items()
    }
    fed, values = _given_to_placeholders(given_inputs, inputs)
    question = {
        "meta": os.path.abspath(meta or checkpoint.meta_path),
        "checkpoint": os.path.abspath(checkpoint.path),
        "networks": networks,
        "owners": slots.classify(checkpoint.variables).averages,
        "fed": fed,
    }
    _check_meta(question["meta"])
    arrays = {"inputs/" + name: value for name, value in inputs.items()}
    arrays.update(values)
    answer, found = graph_process.ask(question, arrays, limits)
    unread = batch_statistics.unread(models, mapping, answer["read"])
    candidate = {}
    for name, model in models.items():
        with batch_statistics.kept(model), batch_statistics.by_batch(
            model, unread[name]
        ):
            candidate[name] = _computed(name, model, found["inputs/" + name])
    reference = {name: found["outputs/" + name] for name in models}
    _check_batches(reference, candidate)
    rows = compare(_in_shape(reference, candidate), candidate)
    return [
        dataclasses.replace(
            row,
            tensor=answer["tensors"][row.name],
            note=batch_statistics.note(
                row.name, models[row.name], unread[row.name]
            ),
        )
        for row in rows
    ]


def _check_names(given_outputs, models):
    for name, tensor in given_outputs.items():
        if name not in models:
            raise UserError(
                f"--outputs={name}=...: no such model; there are: "
                f"{', '.join(models)}"
            )
        if ":" not in tensor:
            raise UserError(
                f"--outputs={name}={tensor}: that names an operation, not a tensor; "
                f"did you mean {tensor}:0?"
            )


def _check_meta(path):
    if not os.path.isfile(path):
        raise UserError(
            f"--verify: no graph '{path}'; copy the .meta file beside the "
            "checkpoint, or leave out --verify"
        )


def _network(name, model, mapping, output):
    """Returns by what the process is to find the output of a network."""
    own = [p.tf1 for p in mapping.pairs if p.keras.split("/", 1)[0] == name]
    shape = None if output else list(_only_output(name, model).shape)
    return {"variables": own, "output": output, "shape": shape}


def _only_output(name, model):
    outputs = getattr(model, "outputs", None) or ()
    if len(outputs) != 1:
        raise UserError(
            f"--verify: the model '{name}' has {len(outputs) or 'no'} symbolic "
            "outputs, so its tensor cannot be found; name it with "
            f"--outputs={name}=TENSOR:0"
        )
    return outputs[0]


def _given_to_placeholders(given, inputs):
    """Returns the models that placeholders are given, and the values."""
    others = {n: text for n, text in given.items() if n not in inputs}
    fed = {name: text for name, text in others.items() if text in inputs}
    values = {
        "given/" + name: _given(name, text, inputs)
        for name, text in others.items()
        if name not in fed
    }
    return fed, values


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


def _check_batches(reference, candidate):
    """Refuses outputs of different numbers of rows, as a fixed batch size makes."""
    for name, value in reference.items():
        one, other = np.shape(value), candidate[name].shape
        if np.size(value) != candidate[name].size and one[:1] != other[:1]:
            raise UserError(
                f"--verify: the output of '{name}' is {list(one)} in the graph and "
                f"{list(other)} in Keras; {batch_advice(name)}"
            )


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
            inputs[name] = _batch(name, given[name])
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


def _batch(name, text):
    value = _given(name, text, {})
    if value.ndim == 0 or len(value) == 0:
        raise UserError(
            f"--inputs={name}={text}: expected an .npy file with a batch of inputs "
            "of that model"
        )
    return value


def _given(name, text, inputs):
    """Returns the value that the user wants."""
    try:
        if text.endswith(".npy"):
            # Mapped first: a header that lies about its length takes no memory.
            with np.errstate(over="ignore"):  # of the product of its sizes
                mapped = np.load(text, mmap_mode="r", allow_pickle=False)
            return np.array(mapped)
        value = {"true": 1.0, "false": 0.0}.get(text.lower())
        value = float(text) if value is None else value
        return np.asarray(value, np.float64)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"--inputs={name}={text}: expected one of the models "
            f"({', '.join(inputs)}), a number, true, false, or an .npy file "
            f"without objects: {str(error)[:200]}"
        ) from error
