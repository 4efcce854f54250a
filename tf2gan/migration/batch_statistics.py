"""Finds and runs batch norms that a graph has in training mode for good.

Such a graph was built with `is_training=True`, so nothing that is fed has it take the
moving averages. To be compared with it, Keras has to normalize by the batch too.
"""

import contextlib
import functools
import inspect
from typing import Collection, Dict, Iterable, Iterator, List

import keras
import numpy as np

from tf2gan.migration.keras_models import KerasVariable, variables
from tf2gan.migration.variable_map import VariableMap

_MOST_NAMES = 3


def unread(
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    read: Dict[str, Collection[str]],
) -> Dict[str, List[KerasVariable]]:
    """Returns by model the moving averages of layers whose averages are not read.

    Args:
      models: by name.
      mapping: of their variables.
      read: by model, names in TF1 of the variables that its output depends on.
    """
    tf1 = {pair.keras: pair.tf1 for pair in mapping.pairs}
    averages = [v for v in variables(models) if v.is_moving]
    taken = {_layer(v) for v in averages if tf1.get(v.key) in read[v.model]}
    left = [v for v in averages if _layer(v) not in taken]
    return {name: [v for v in left if v.model == name] for name in models}


def _layer(variable):
    return variable.model, variable.layer


def note(name: str, model: keras.Model, averages: List[KerasVariable]) -> str:
    """Returns what is to be said of a model with such averages; "" without any."""
    if not averages:
        return ""
    names = _names({_layer(v): v.key.rpartition("/")[0] for v in averages})
    start = (
        f"the graph has batch norm of '{name}' in training mode for good, as by "
        f"is_training=True ({names})"
    )
    if _have_training_mode(_layers_of(model, averages)):
        return (
            f"{start}: verified by the statistics of the batch on both sides, so "
            "nothing is said of its moving averages, which inference takes in Keras"
        )
    return (
        f"{start}, and Keras's layers cannot be set to it, since they are frozen or "
        "their call takes no 'training': compared is Keras's inference, which takes "
        "the moving averages, so the outputs differ"
    )


def _names(layers):
    more = len(layers) - _MOST_NAMES
    first = ", ".join(list(layers.values())[:_MOST_NAMES])
    return f"{first} and {more} more" if more > 0 else first


@contextlib.contextmanager
def by_batch(
    model: keras.Model, averages: List[KerasVariable]
) -> Iterator[None]:
    """Has the layers that hold some moving averages normalize by the batch.

    All others, such as dropout, keep the mode that the model is called in. Layers
    that cannot be set to training mode stay as they are.
    """
    layers = _layers_of(model, averages)
    with contextlib.ExitStack() as stack:
        if _have_training_mode(layers):
            for layer in layers:
                layer.call = _training(layer.call)
                stack.callback(delattr, layer, "call")
        yield


@contextlib.contextmanager
def kept(model: keras.Model) -> Iterator[None]:
    """Gives all variables of a model back the values that they had before.

    Normalizing by the batch moves the averages; so it does where the model itself
    calls a layer with `training=True`.
    """
    # Copies: what TensorFlow returns may lie in its own memory.
    values = [
        (v, np.array(keras.ops.convert_to_numpy(v))) for v in model.variables
    ]
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)


def _layers_of(model, averages):
    """Returns the innermost layers that hold the averages."""
    wanted = {id(average.variable) for average in averages}
    return [
        layer
        for layer in model._flatten_layers()
        if any(id(v) in wanted for v in layer._non_trainable_variables)
    ]


def _have_training_mode(layers: Iterable[keras.layers.Layer]) -> bool:
    return all(
        layer.trainable
        and "training" in inspect.signature(layer.call).parameters
        for layer in layers
    )


def _training(call):
    """Returns a layer's `call` that trains, however it is called."""
    signature = inspect.signature(call)

    @functools.wraps(call)
    def called(*arguments, **named):
        bound = signature.bind(*arguments, **named)
        bound.arguments["training"] = True
        return call(*bound.args, **bound.kwargs)

    return called
