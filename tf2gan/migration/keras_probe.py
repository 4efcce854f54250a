"""Shows what the layers of somebody's Keras models give, where the user's steps do not.

The outputs are those of a call for training. Such a call moves averages and the states
of random numbers; all variables get their values back after it.
"""

import contextlib
import itertools
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import keras
import numpy as np

from tf2gan.common.specs import DISCRIMINATOR, GENERATOR
from tf2gan.migration import keras_constants, keras_models
from tf2gan.migration.variable_map import VariableMap

# Of the call on generated images, as TF1 names the second call of a network.
_SECOND = "_1"

Arrays = Dict[str, np.ndarray]


class Probe:
    """What the layers of a generator and a discriminator give."""

    def __init__(
        self,
        models: Dict[str, keras.Model],
        mapping: VariableMap,
        feed: Optional[Callable[..., Arrays]],
    ) -> None:
        """Takes functional or Sequential models; see `derive`."""
        self._networks = [
            _Network(models[name], name, mapping)
            for name in (GENERATOR, DISCRIMINATOR)
        ]
        self._feed = feed

    def shown(self, images: Any, latent: Any) -> Arrays:
        """Returns outputs by name, in order of the layers; none if they fail.

        Names are those of the scopes of the layers' variables in TF1, as in
        `training.Trainer.activations`: `discriminator/conv2d` sees the real images,
        `discriminator_1/conv2d` the generated ones. As scripts have scopes of their
        own, the last output of each call is there as `generator`, `discriminator`
        and `discriminator_1`, too.
        """
        return self._tried(images, latent, (True, True))

    def variants(self, images: Any, latent: Any) -> List[Arrays]:
        """Returns the same of networks changed as ports often differ.

        That is: called for inference, or with another epsilon of batch norm or slope
        of leaky ReLU, in one network or both.
        """
        modes = itertools.product((True, False), repeat=2)
        found = [self._tried(images, latent, m) for m in modes if not all(m)]
        for constants, value in self._changes():
            with keras_constants.changed(constants, value):
                found.append(self._tried(images, latent, (True, True)))
        return [shown for shown in found if shown]

    def _changes(self):
        """Yields constants of a kind, of one network or both, and a value."""
        models = [network.model for network in self._networks]
        groups = [models, *([model] for model in models)]
        for group, kind in itertools.product(groups, keras_constants.KINDS):
            constants = [f for model in group for f in _found(kind, model)]
            if constants:
                yield from ((constants, value) for value in kind.values)

    def _tried(self, images, latent, training):
        # A help in finding causes must not end a replay, whatever fails.
        try:
            return self._outputs(*_fed(self._feed, images, latent), training)
        except Exception:
            return {}

    def _outputs(self, images, latent, training):
        generator, discriminator = self._networks
        with _unchanged(generator.variables + discriminator.variables):
            generated, found = generator(latent, training[0])
            for inputs, suffix in ((images, ""), (generated, _SECOND)):
                found.update(discriminator(inputs, training[1], suffix)[1])
        return found


def derive(
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    feed: Optional[Callable[..., Arrays]] = None,
) -> Optional[Probe]:
    """Returns a probe of the networks, None if they cannot be asked for outputs.

    Args:
      models: by name; `generator` and `discriminator` are looked at.
      mapping: that of their variables.
      feed: what the user's steps make of a batch for the networks, None for the same.
    """
    try:
        return Probe(models, mapping, feed)
    # Whatever Keras makes of a model, the replay goes on without.
    except Exception:
        return None


class _Network:
    """A network that gives its result, and the outputs of its layers by name."""

    def __init__(self, model: keras.Model, name: str, mapping: VariableMap):
        scopes = _scopes(model, name, mapping)
        layers = [x for x in model.layers if id(x) in scopes]
        if not layers:
            raise ValueError("no layer has a variable of the map")
        found = [scopes[id(layer)] for layer in layers]
        [inputs] = model.inputs
        self.variables = model.variables
        self._name = name
        self._names = [
            scope if found.count(scope) == 1 else f"{name}/{layer.name}"
            for layer, scope in zip(layers, found)
        ]
        self.model = keras.Model(
            inputs, [model.outputs[0], *[x.output for x in layers]]
        )

    def __call__(
        self, inputs: Any, training: bool, suffix: str = ""
    ) -> Tuple[Any, Arrays]:
        result, *outputs = self.model(inputs, training=training)
        names = [_with_suffix(name, suffix) for name in self._names]
        arrays = list(map(keras.ops.convert_to_numpy, outputs))
        shown = dict(zip(names, arrays))
        shown.setdefault(self._name + suffix, arrays[-1])
        return result, shown


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
    """Returns by id of a layer the one scope that its variables have in TF1.

    Where they have several it is that of its averages, by which these are looked up.
    """
    paired = {pair.keras: pair.tf1 for pair in mapping.pairs}
    found = {}
    for variable in keras_models.variables({name: model}):
        if variable.key in paired:
            scope = paired[variable.key].rpartition("/")[0]
            found[id(variable.variable)] = scope
    scopes = {}
    for layer in model.layers:
        for variables in (layer.non_trainable_weights, layer.weights):
            one = {found[id(v)] for v in variables if id(v) in found}
            if len(one) == 1:
                scopes.setdefault(id(layer), one.pop())
    return scopes


def _with_suffix(name, suffix):
    network, slash, rest = name.partition("/")
    return network + suffix + slash + rest


def _found(kind, model):
    # Part of what is looked at is private to Keras, and may change.
    try:
        return kind.find(model)
    except (AttributeError, IndexError, TypeError):
        return []
