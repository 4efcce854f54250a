"""Pairs optimizers with the powers of beta and step counts that their phases move.

At the start of a trace all of them are alike, and what they are called need not say to
which optimizer they belong. The recorded calls do: an optimizer's own move in the
phases that train its model.
"""

import dataclasses
from typing import Collection, Iterable, List, Mapping, Optional

import numpy as np

from tf2gan.migration import recorded_counters, slots
from tf2gan.migration.keras_models import KerasVariable
from tf2gan.migration.slots import Inventory
from tf2gan.migration.traces import Trace
from tf2gan.migration.variable_map import OptimizerPair, VariableMap

_REASON = "by what its phase moves"
_NONE = slots.Powers(None, None, "")


def counted(
    optimizer: OptimizerPair, state: Mapping[str, np.ndarray]
) -> OptimizerPair:
    """Returns the pair of an optimizer with the step count of a state.

    It is None where nothing in the state tells it.
    """
    steps = None
    if optimizer.beta2_power in state:
        _, steps = slots.find_steps(float(state[optimizer.beta2_power]))
    elif optimizer.global_step in state:
        steps = int(state[optimizer.global_step])
    return dataclasses.replace(optimizer, steps=steps)


def as_recorded(
    mapping: VariableMap,
    inventory: Inventory,
    variables: Iterable[KerasVariable],
    trace: Trace,
    betas: Collection[float],
) -> VariableMap:
    """Returns a map whose optimizers have what moves in their phases, and no other's.

    A step count that moves in several networks' phases, or in none, is no single
    optimizer's. Where no call of its phases tells, an optimizer keeps what it had,
    unless that is another's: then it has the powers of beta that are left, if these
    are the only ones, or none.

    Args:
      mapping: of models and trace.
      inventory: of the trace's variables.
      variables: of the models.
      trace: that was recorded.
      betas: beta2 of the models' Adams.
    """
    told = recorded_counters.evidence(trace, inventory, betas)
    phases = _phases_of(mapping, variables, trace)
    dtypes = {variable.name: variable.dtype for variable in trace.variables}
    optimizers = []
    for old in mapping.optimizers:
        own, others = phases[old.model], _others(phases, old.model)
        new = _with_powers(old, inventory, told, own, others)
        new = _with_step(new, inventory, told, own, others, dtypes)
        if new != old:
            new = dataclasses.replace(new, reason=_REASON)
        optimizers.append(new)
    optimizers = _without_others_powers(optimizers, inventory, told, phases)
    optimizers = _without_shared_steps(optimizers, phases)
    return dataclasses.replace(mapping, optimizers=tuple(optimizers))


def _phases_of(mapping, variables, trace):
    """Returns by model the names of the phases that train it."""
    models = {variable.key: variable.model for variable in variables}
    owners = {pair.tf1: models.get(pair.keras) for pair in mapping.pairs}
    return {
        optimizer.model: [
            phase.name
            for phase in trace.phases
            if optimizer.model in {owners.get(name) for name in phase.trains}
        ]
        for optimizer in mapping.optimizers
    }


def _others(phases, model):
    """Returns the phases that train other models alone."""
    return {p for found in phases.values() for p in found} - set(phases[model])


def _with_powers(optimizer, inventory, told, own, others):
    found = [
        powers
        for powers in inventory.powers
        if told.moves(powers.beta2, own)
        and not told.moves(powers.beta2, others)
    ]
    if optimizer.family != slots.ADAM or len(found) != 1:
        return optimizer
    return _having(optimizer, found[0])


def _having(optimizer, powers):
    return dataclasses.replace(
        optimizer, beta1_power=powers.beta1, beta2_power=powers.beta2
    )


def _with_step(optimizer, inventory, told, own, others, dtypes):
    found = [
        step
        for step in inventory.steps
        if told.moves(step, own) and not told.moves(step, others)
    ]
    step, had = _one_of(found, optimizer.global_step), optimizer.global_step
    if step is None and had in inventory.steps:
        idle = bool(own) and told.rests(had, own)
        step = None if idle or told.moves(had, others) else had
    new = dataclasses.replace(
        optimizer,
        global_step=step,
        step_dtype=dtypes.get(step, optimizer.step_dtype),
    )
    return _without_steps(new)


def _without_steps(optimizer):
    """Returns an optimizer of unknown steps if nothing is left that tells them."""
    if optimizer.global_step is None and optimizer.beta2_power is None:
        return dataclasses.replace(optimizer, steps=None)
    return optimizer


def _one_of(found: List[str], preferred: Optional[str]) -> Optional[str]:
    if preferred in found:
        return preferred
    return found[0] if len(found) == 1 else None


def _without_others_powers(optimizers, inventory, told, phases):
    """Takes powers from optimizers that move in other models' phases."""
    losing = [
        o.model
        for o in optimizers
        if o.beta2_power in {powers.beta2 for powers in inventory.powers}
        and told.moves(o.beta2_power, _others(phases, o.model))
    ]
    held = {o.beta2_power for o in optimizers}
    left = [p for p in inventory.powers if p.beta2 not in held]
    found = []
    for optimizer in optimizers:
        if optimizer.model in losing:
            own = phases[optimizer.model]
            free = [p for p in left if not own or not told.rests(p.beta2, own)]
            powers = free[0] if len(free) == len(losing) == 1 else _NONE
            optimizer = _without_steps(_having(optimizer, powers))
            optimizer = dataclasses.replace(optimizer, reason=_REASON)
        found.append(optimizer)
    return found


def _without_shared_steps(optimizers, phases):
    """Takes a step count from all that have it, if they are not trained together."""
    owners = {}
    for optimizer in optimizers:
        owners.setdefault(optimizer.global_step, []).append(optimizer.model)
    shared = {
        step
        for step, models in owners.items()
        if len({tuple(phases[model]) for model in models}) > 1
    }
    return [
        _without_steps(dataclasses.replace(o, global_step=None))
        if o.global_step in shared
        else o
        for o in optimizers
    ]
