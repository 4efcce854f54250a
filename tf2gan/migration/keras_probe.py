"""Shows what the layers of somebody's Keras models give, where the user's steps do not.

The outputs are those of a call for training. Such a call moves averages and the states
of random numbers; all variables get their values back after it.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import keras
import numpy as np

from tf2gan.common.specs import DISCRIMINATOR, GENERATOR
from tf2gan.migration import keras_models
from tf2gan.migration.variable_map import VariableMap

# Of the call on generated images, as TF1 names the second call of a network.
_SECOND = "_1"

Arrays = Dict[str, np.ndarray]


def activations(
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    feed: Optional[Callable[..., Arrays]] = None,
) -> Optional[Callable[[Any, Any], Arrays]]:
    """Returns a function of images and latents that gives the layers' outputs.

    Its names are those of the scopes of the layers' variables in TF1, as in
    `training.Trainer.activations`: `discriminator/conv2d` sees the real images,
    `discriminator_1/conv2d` the generated ones. It gives nothing where the models do
    not take such a batch.

    Args:
      models: by name.
      mapping: that of their variables.
      feed: what the user's steps make of a batch for the networks, None for the same.

    Returns:
      The function; None if there is no functional or Sequential `generator` and
      `discriminator` with named layers.
    """
    try:
        probes = [
            _Probe(models[n], n, mapping) for n in (GENERATOR, DISCRIMINATOR)
        ]
    # A help in finding causes must not end a replay, whatever Keras makes of a model.
    except Exception:
        return None

    def shown(images, latent):
        try:
            return _shown(*probes, *_fed(feed, images, latent))
        except Exception:
            return {}

    return shown


class _Probe:
    """A network that gives its result, and the outputs of its layers by name."""

    def __init__(self, model: keras.Model, name: str, mapping: VariableMap):
        scopes = _scopes(model, name, mapping)
        layers = [x for x in model.layers if id(x) in scopes]
        if not layers:
            raise ValueError("no layer has a variable of the map")
        found = [scopes[id(layer)] for layer in layers]
        [inputs] = model.inputs
        self.variables = model.variables
        self._names = [
            scope if found.count(scope) == 1 else f"{name}/{layer.name}"
            for layer, scope in zip(layers, found)
        ]
        self._model = keras.Model(
            inputs, [model.outputs[0], *[x.output for x in layers]]
        )

    def __call__(self, inputs: Any, suffix: str = "") -> Tuple[Any, Arrays]:
        result, *outputs = self._model(inputs, training=True)
        names = [_with_suffix(name, suffix) for name in self._names]
        arrays = map(keras.ops.convert_to_numpy, outputs)
        return result, dict(zip(names, arrays))


def _shown(generator, discriminator, images, latent):
    with _unchanged(generator.variables + discriminator.variables):
        generated, found = generator(latent)
        for inputs, suffix in ((images, ""), (generated, _SECOND)):
            found.update(discriminator(inputs, suffix)[1])
    return found


def _fed(feed, images, latent):
    if feed is None:
        return images, latent
    fed = feed(images, latent)
    return fed.get("images", images), fed.get("latent", latent)


@contextlib.contextmanager
def _unchanged(variables: List[keras.Variable]) -> Iterator[None]:
    # A StatelessScope holds back only what goes through Keras's own `assign`.
    values = [np.array(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values):
            variable.assign(value)


def _scopes(model, name, mapping):
    """Returns by id of a layer the one scope that its variables have in TF1."""
    paired = {pair.keras: pair.tf1 for pair in mapping.pairs}
    found = {}
    for variable in keras_models.variables({name: model}):
        if variable.key in paired:
            scope = paired[variable.key].rpartition("/")[0]
            found[id(variable.variable)] = scope
    scopes = {
        id(layer): {found[id(v)] for v in layer.weights if id(v) in found}
        for layer in model.layers
    }
    return {key: one.pop() for key, one in scopes.items() if len(one) == 1}


def _with_suffix(name, suffix):
    network, slash, rest = name.partition("/")
    return network + suffix + slash + rest
