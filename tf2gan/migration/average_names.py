"""Gives moving averages the names of TF1's layers, whatever a script called them.

What is said of averages goes by `LAYER/moving_mean` and `LAYER/moving_variance`. A
script may have called them otherwise: which they are, the variables of Keras say that
they are paired with.
"""

import collections
import dataclasses
from typing import Dict, Iterable

import keras

from tf2gan.migration import keras_models, names
from tf2gan.migration.variable_map import VariableMap


def standard(
    mapping: VariableMap,
    models: Dict[str, keras.Model],
    taken: Iterable[str],
) -> VariableMap:
    """Returns a map whose moving averages have the names of TF1's layers.

    Args:
      mapping: of the models' variables.
      models: by name.
      taken: names that other variables have; an average that would get one of these
        keeps its own.
    """
    found = {v.key: v for v in keras_models.variables(models)}
    moving = {
        pair.keras: found[pair.keras]
        for pair in mapping.pairs
        if pair.keras in found and _is_average(found[pair.keras])
    }
    layers = _layers(mapping, moving, found)
    wanted = {
        key: f"{layers[_layer(variable)]}/{variable.role}"
        for key, variable in moving.items()
    }
    count = collections.Counter(wanted.values())
    own = {pair.tf1 for pair in mapping.pairs if pair.keras in moving}
    used = set(taken) - own
    return dataclasses.replace(
        mapping,
        pairs=tuple(
            dataclasses.replace(pair, tf1=wanted[pair.keras])
            if pair.keras in wanted
            and count[wanted[pair.keras]] == 1
            and wanted[pair.keras] not in used
            else pair
            for pair in mapping.pairs
        ),
    )


def _is_average(variable):
    return variable.is_moving and not variable.variable.trainable


def _layers(mapping, moving, found):
    """Returns by layer of Keras the scope of its averages.

    It is that of the layer's variables in TF1, if it is no other layer's: scripts with
    flat names have one scope for a whole network.
    """
    scopes = collections.defaultdict(set)
    for pair in mapping.pairs:
        if pair.keras in found and pair.keras not in moving:
            scope = pair.tf1.rpartition("/")[0]
            scopes[scope].add(_layer(found[pair.keras]))
    own = {_layer(variable): set() for variable in moving.values()}
    for scope, users in scopes.items():
        for layer in users & set(own):
            own[layer].add(scope if len(users) == 1 else "")
    return {
        layer: _scope(layer, found_, mapping, moving)
        for layer, found_ in own.items()
    }


def _scope(layer, scopes, mapping, moving):
    if not scopes:  # neither gamma nor beta
        scopes = {
            pair.tf1.rpartition("/")[0]
            for pair in mapping.pairs
            if pair.keras in moving and _layer(moving[pair.keras]) == layer
        }
    if len(scopes) == 1 and "" not in scopes:
        return scopes.copy().pop()
    return layer


def _layer(variable):
    """Returns `MODEL/LAYER` of a Keras variable."""
    return variable.key.rpartition("/")[0]


def is_average(name: str) -> bool:
    """Whether a variable that is not trained is a moving average, by its name."""
    last = name.rpartition("/")[2]
    if last.startswith("ExponentialMovingAverage"):
        return True
    return names.parse(name).role in names.MOVING
