"""Loads somebody's Keras 3 models and lists their variables."""

import collections
import dataclasses
import re
from typing import Any, Dict, FrozenSet, List, Tuple

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import layer_order, names, user_code

_FILE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")


@dataclasses.dataclass(frozen=True)
class KerasVariable:
    """A variable of a Keras model.

    Attributes:
      key: the model's name and the variable's path in it, what a map names.
      model: name of the model.
      path: in the model.
      layer: position of its layer among those of the model that have variables.
      kind: class of the layer.
      variable: itself.
      after: keys of the model's variables that are created before it, however the
        model is built: what does not depend on the other has no order, and the
        variables of one layer have none.
    """

    key: str
    model: str
    path: str
    layer: int
    kind: str
    variable: keras.Variable
    after: FrozenSet[str] = frozenset()

    @property
    def role(self) -> str:
        """Kernel, bias, gamma and so on."""
        last = self.path.split("/")[-1]
        return names.parse(last).role or last

    @property
    def shape(self) -> Tuple[int, ...]:
        """Of the value."""
        return tuple(self.variable.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the value."""
        return np.dtype(keras.backend.standardize_dtype(self.variable.dtype))

    @property
    def is_moving(self) -> bool:
        """Whether it is a moving average of batch normalization."""
        return self.role in names.MOVING


def load_models(source: str) -> Dict[str, keras.Model]:
    """Calls a function that returns Keras models.

    Args:
      source: `path/to/file.py:function` or `package.module:function`. The
        function takes no arguments and returns a model, a list of models, or a
        dictionary of models by name. An optimizer whose state is wanted is
        given to `model.compile`.

    Returns:
      The models by name.

    Raises:
      UserError: if the function cannot be had, fails, or returns anything else.
    """
    label = f"--keras_model='{source}'"
    function = user_code.load_function(source, label)
    return _named(source, user_code.call(label, function))


def _named(source, models):
    if isinstance(models, keras.Model):
        models = [models]
    if isinstance(models, (list, tuple)):
        models = _by_name(source, models)
    if not isinstance(models, dict) or not models:
        raise UserError(
            f"--keras_model='{source}' returned {type(models).__name__}; "
            "expected a Keras 3 model, or a list or dictionary of models with "
            "different names"
        )
    for name, model in models.items():
        _check(source, name, model)
    return models


def _by_name(source, models):
    found = {}
    for number, model in enumerate(models):
        name = getattr(model, "name", str(number))
        if name in found:
            raise UserError(
                f"--keras_model='{source}' returned two models of the name "
                f"'{name:.60}'; give them different names, or return a dictionary"
            )
        found[name] = model
    return found


def _check(source, name, model):
    if not isinstance(name, str) or not _FILE_NAME.match(name):
        raise UserError(
            f"--keras_model='{source}': {name!r:.60} is no name of a model; "
            "files are called after it, use letters, digits, _ . and -"
        )
    if not isinstance(model, keras.Model):
        raise UserError(
            f"--keras_model='{source}': '{name}' is a {type(model).__name__}, "
            "expected a Keras 3 model"
        )
    if not model.built or not model.weights:
        raise UserError(
            f"--keras_model='{source}': the model '{name}' has no variables "
            "yet; give it a keras.Input, or call it once, before returning it"
        )


def variables(models: Dict[str, Any]) -> List[KerasVariable]:
    """Lists the variables of models without random seeds, by depth.

    That is the order of creation along a chain of layers, as in a Sequential model.
    Between branches of a functional model it is that of depth, and says nothing.
    A subclassed model is ordered by what its `call` does with symbolic inputs; the
    order of its attributes, where that cannot be told, says nothing.

    Raises:
      UserError: if two models share a variable.
    """
    _check_unshared(models)
    found, keys = [], set()
    for name, model in models.items():
        found += _variables_of(name, model, keys)
    return found


def _check_unshared(models):
    """Refuses a variable of two models, which two of TF1 could overwrite in turn."""
    owners = {}
    for name, model in models.items():
        for variable in model.weights:
            owner = owners.setdefault(id(variable), name)
            if owner != name:
                raise UserError(
                    f"the models '{owner}' and '{name}' share the variable "
                    f"'{variable.path:.100}'; return only the one, or only models "
                    "of which none is part of another: what they share is theirs "
                    "all the same"
                )


def _variables_of(name, model, keys):
    layers, before = layer_order.owners(model), layer_order.before(model)
    found, numbers, keys_of = [], {}, collections.defaultdict(list)
    for variable in layer_order.weights(model):
        layer, kind = layers.get(id(variable), (None, ""))
        scope = layer, variable.path.rpartition("/")[0]
        number = numbers.setdefault(scope, len(numbers))
        key = _key(name, variable.path, keys)
        keys_of[layer].append(key)
        made = KerasVariable(key, name, variable.path, number, kind, variable)
        found.append((layer, made))
    return [
        dataclasses.replace(
            variable,
            after=frozenset(
                key
                for earlier in before.get(layer, set()) - {layer}
                for key in keys_of[earlier]
            ),
        )
        for layer, variable in found
    ]


def _key(model, path, keys):
    key = path if path.startswith(model + "/") else f"{model}/{path}"
    number = 2
    while key in keys:  # Keras lets two layers have one name
        key = f"{key.split('#')[0]}#{number}"
        number += 1
    keys.add(key)
    return key
