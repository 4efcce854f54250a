"""Carries values between Keras models and the names that they had in TF1."""

from typing import Callable, Dict, Optional

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import optimizer_state, variable_map
from tf2gan.migration.keras_models import KerasVariable, variables
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint
from tf2gan.migration.variable_map import VariableMap


def load_values(
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    read: Callable[[str], np.ndarray],
) -> None:
    """Gives models, and their optimizers, the values that a map says.

    Args:
      models: by name.
      mapping: that fits them.
      read: returns a value by its name in TF1.

    Raises:
      UserError: if the map has an optimizer that no model was compiled with.
    """
    by_key = {v.key: v.variable for v in variables(models)}
    for pair in mapping.pairs:
        by_key[pair.keras].assign(pair.to_keras(read(pair.tf1)))
    for assumed in mapping.assumed:
        variable = by_key[assumed.keras]
        variable.assign(np.full(variable.shape, assumed.value))
    targets = optimizers_of(models) if mapping.optimizers else {}
    for pair in mapping.optimizers:
        if pair.model not in targets:
            raise UserError(not_compiled(pair.model))
        optimizer_state.load(
            pair, targets[pair.model], _by_tf1(mapping, by_key), read
        )


def to_tf1(
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    base: Optional[Tf1Checkpoint] = None,
) -> Dict[str, np.ndarray]:
    """Returns the values of models by names in TF1.

    Args:
      models: by name.
      mapping: as `keras_files.write` wrote it.
      base: a checkpoint whose other variables are taken along.

    Raises:
      UserError: if the map does not fit, or gives one step counter to optimizers
        that have done other numbers of steps.
    """
    known = variables(models)
    variable_map.check(mapping, base and base.variables, known)
    by_key: Dict[str, KerasVariable] = {v.key: v.variable for v in known}
    values = base.read_all() if base else {}
    for pair in mapping.pairs:
        value = pair.to_tf1(by_key[pair.keras].numpy())
        values[pair.tf1] = value.astype(pair.dtype)
    targets = optimizers_of(models) if mapping.optimizers else {}
    _check_counters(mapping, targets)
    for pair in mapping.optimizers:
        if pair.model not in targets:
            raise UserError(not_compiled(pair.model))
        by_tf1 = _by_tf1(mapping, by_key)
        state = optimizer_state.dump(pair, targets[pair.model], by_tf1)
        kept = {n: v for n, v in state.items() if v is not None}
        lost = [n for n, v in state.items() if v is None and n not in values]
        # What Keras does not keep, as RMSprop its unused momentum, is zero.
        zeros = {n: np.zeros_like(values[_owner(pair, n)]) for n in lost}
        values = {**values, **kept, **zeros}
    return values


def optimizers_of(
    models: Dict[str, keras.Model],
) -> Dict[str, optimizer_state.Target]:
    """Returns the optimizers that models were compiled with, by model."""
    found = {name: optimizer_state.target(m) for name, m in models.items()}
    return {name: target for name, target in found.items() if target}


def not_compiled(model: str) -> str:
    """Returns the message for a map that has an optimizer of that model."""
    return (
        f"the map has an optimizer of '{model}', but that model was not compiled "
        "with one"
    )


def _check_counters(mapping, targets):
    """Refuses two optimizers that would write other steps into one variable."""
    owners = {}
    for pair in mapping.optimizers:
        if pair.model in targets:
            count = int(targets[pair.model].optimizer.iterations.numpy())
            for field in ("global_step", "beta1_power", "beta2_power"):
                owner = (pair, count)
                name = getattr(pair, field)
                other, steps = owners.setdefault((field, name), owner)
                if name is not None and steps != count:
                    raise UserError(
                        f"the map gives {name:.100} to {other.family} of "
                        f"'{other.model}', which has done {steps} steps, and to "
                        f"{pair.family} of '{pair.model}', which has done {count}; "
                        f'write "{field}": null into the entry of one of them in '
                        'the map\'s "optimizers"'
                    )


def _by_tf1(mapping, by_key):
    return {pair.tf1: (pair, by_key[pair.keras]) for pair in mapping.pairs}


def _owner(pair, name):
    return next(slot.of for slot in pair.slots if slot.tf1 == name)
