"""Pairs optimizers with the powers of beta and step counts that their phases move.

At the start of a trace all of them are alike, and what they are called need not say to
which optimizer they belong. The recorded calls do: an optimizer's own move in the
phases that train its model.
"""

import dataclasses
from typing import Dict, Iterable, List, Mapping, Optional, Set

import numpy as np

from tf2gan.migration import slots
from tf2gan.migration.keras_models import KerasVariable
from tf2gan.migration.slots import Inventory
from tf2gan.migration.traces import Trace
from tf2gan.migration.variable_map import OptimizerPair, VariableMap

_REASON = "by what its phase moves"


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
) -> VariableMap:
    """Returns a map whose optimizers have what moves in their phases, and no other's.

    A step count that moves in several networks' phases, or in none, is no single
    optimizer's. Where no call of its phases tells, an optimizer keeps what it had.

    Args:
      mapping: of models and trace.
      inventory: of the trace's variables.
      variables: of the models.
      trace: that was recorded.
    """
    moved = _moved(trace)
    models = {variable.key: variable.model for variable in variables}
    optimizers = []
    for optimizer in mapping.optimizers:
        names = {
            pair.tf1
            for pair in mapping.pairs
            if models.get(pair.keras) == optimizer.model
        }
        own = [
            p.name
            for p in trace.phases
            if p.name in moved and names & set(p.trains)
        ]
        if own:
            told = _with_powers(optimizer, inventory, moved, own)
            told = _with_step(told, inventory, moved, own, trace)
            if told != optimizer:
                told = dataclasses.replace(told, reason=_REASON)
            optimizer = told
        optimizers.append(optimizer)
    return dataclasses.replace(mapping, optimizers=tuple(optimizers))


def _with_powers(optimizer, inventory, moved, phases):
    found = [
        powers
        for powers in inventory.powers
        if any(powers.beta2 in moved[phase] for phase in phases)
    ]
    if optimizer.family != slots.ADAM or len(found) != 1:
        return optimizer
    return dataclasses.replace(
        optimizer, beta1_power=found[0].beta1, beta2_power=found[0].beta2
    )


def _with_step(optimizer, inventory, moved, phases, trace):
    others = [names for phase, names in moved.items() if phase not in phases]
    found = [
        step
        for step in inventory.steps
        if any(step in moved[phase] for phase in phases)
        and not any(step in names for names in others)
    ]
    step = _one_of(found, optimizer.global_step)
    dtypes = {variable.name: variable.dtype for variable in trace.variables}
    dtype = dtypes.get(step, optimizer.step_dtype)
    told = dataclasses.replace(optimizer, global_step=step, step_dtype=dtype)
    if step is None and optimizer.beta2_power is None:
        told = dataclasses.replace(told, steps=None)
    return told


def _one_of(found: List[str], preferred: Optional[str]) -> Optional[str]:
    if preferred in found:
        return preferred
    return found[0] if len(found) == 1 else None


def _moved(trace) -> Dict[str, Set[str]]:
    """Returns by phase the variables that its first fully recorded call changed."""
    found, before = {}, trace.initial_state()
    for call in trace.calls():
        if before and call.variables and call.phase not in found:
            before = {**before, **call.changed}
            found[call.phase] = {
                name
                for name, value in call.variables.items()
                if not np.array_equal(before[name], value)
            }
        before = call.variables
        if len(found) == len(trace.phases):
            break
    return found
