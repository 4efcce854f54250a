"""Loads somebody's Keras 3 models and lists their variables."""

import collections
import dataclasses
import re
from typing import Any, Dict, FrozenSet, List, Tuple

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import names, user_code

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
    """Lists the variables of models without random seeds, as Keras orders them.

    That is the order of creation along a chain of layers, as in a Sequential model.
    Between branches of a functional model it is that of depth, and says nothing.
    In a subclassed model it is the order of its attributes, taken for that of
    creation.

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
    layers, before = _layers_of_variables(model), _layers_before(model)
    found, numbers, keys_of = [], {}, collections.defaultdict(list)
    for variable in model.weights:
        layer, kind = layers.get(id(variable), (None, ""))
        scope = layer, variable.path.rpartition("/")[0]
        number = numbers.setdefault(scope, len(numbers))
        key = _key(name, variable.path, keys)
        earlier = before.get(layer, set()) - {layer}
        after = frozenset(k for each in earlier for k in keys_of[each])
        keys_of[layer].append(key)
        found.append(
            KerasVariable(
                key, name, variable.path, number, kind, variable, after
            )
        )
    return found


def _key(model, path, keys):
    key = path if path.startswith(model + "/") else f"{model}/{path}"
    number = 2
    while key in keys:  # Keras lets two layers have one name
        key = f"{key.split('#')[0]}#{number}"
        number += 1
    keys.add(key)
    return key


def _layers_of_variables(layer):
    """Returns by id of a variable the identity and class of its layer."""
    inner = getattr(layer, "layers", None)
    if not inner:
        kind = type(layer).__name__
        return {id(v): (id(layer), kind) for v in layer.weights}
    found = {}
    for each in inner:
        found.update(_layers_of_variables(each))
    return found


def _layers_before(model):
    """Returns by id of an innermost layer the ids of those that come before it."""
    if not getattr(model, "layers", None):
        return {id(model): set()}
    if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth"):
        ancestors = _ancestors(model)
    else:
        ids = [id(layer) for layer in model.layers]
        ancestors = {each: set(ids[:n]) for n, each in enumerate(ids)}
    inner = {id(layer): _layers_before(layer) for layer in model.layers}
    found = {}
    for layer, leaves in inner.items():
        # Layers that are used again behind each other have no order.
        outer = {
            each
            for each in ancestors.get(layer, ())
            if layer not in ancestors.get(each, ())
        }
        earlier = {leaf for each in outer for leaf in inner.get(each, ())}
        for leaf, before in leaves.items():
            found.setdefault(leaf, set()).update(before, earlier)
    return found


def _ancestors(model):
    """Returns by id of a layer the ids of those that its inputs depend on."""
    before, found = {}, collections.defaultdict(set)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            known = [p for p in node.parent_nodes if id(p) in before]
            before[id(node)] = set().union(
                *({id(p.operation)} | before[id(p)] for p in known)
            )
            found[id(node.operation)] |= before[id(node)]
    return found
