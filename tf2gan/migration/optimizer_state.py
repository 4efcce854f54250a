"""Pairs the slots and step counts of TF1's optimizers with those of Keras's.

The two keep the same numbers, with one exception: TF1's momentum is a sum of
gradients, Keras's is that sum times minus the learning rate.
"""

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import names, slots
from tf2gan.migration.slots import ADAM, MOMENTUM, RMSPROP, Inventory, Powers
from tf2gan.migration.variable_map import OptimizerPair, SlotPair
from tf2gan.optimizers import Adam

_ADVICE = (
    '; compile the model otherwise, edit the map\'s "optimizers", or leave the '
    "state behind with --weights_only"
)
_USUAL_BETA1 = (0.9, 0.5, 0.0, 0.4, 0.8, 0.95, 0.99)
_SLOTS = {
    (ADAM, 2): ("m", "v"),
    (RMSPROP, 2): ("rms", "momentum"),
    (RMSPROP, 3): ("rms", "mg", "momentum"),
    (MOMENTUM, 1): ("momentum",),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """An optimizer of Keras in TF1's words.

    Attributes:
      family: "Adam", "RMSProp" or "Momentum".
      optimizer: itself, built.
      slots: its variables by what TF1 calls them, in the order of `variables`.
      variables: that it trains.
    """

    family: str
    optimizer: Any
    slots: Mapping[str, Sequence[keras.Variable]]
    variables: Sequence[keras.Variable]

    def slot(self, name: str, variable: keras.Variable):
        """Returns the slot of a variable, None if there is none."""
        held = self.slots.get(name)
        if not held:
            return None
        found = [v is variable for v in self.variables]
        return held[found.index(True)] if True in found else None

    @property
    def scale(self) -> Dict[str, float]:
        """What TF1's slots are multiplied by."""
        if self.family != MOMENTUM:
            return {}
        return {"momentum": -float(self.optimizer.learning_rate.numpy())}

    @property
    def betas(self) -> Tuple[float, float]:
        """Beta1 and beta2 of an Adam."""
        if isinstance(self.optimizer, Adam):
            return self.optimizer.beta1, self.optimizer.beta2
        return self.optimizer.beta_1, self.optimizer.beta_2


def target(model: keras.Model) -> Optional[Target]:
    """Describes the optimizer that a model was compiled with; None if with none.

    Raises:
      UserError: if TF1 has none like it.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    family, held = _slots_in_keras(model, optimizer)
    return Target(family, optimizer, held, list(model.trainable_variables))


def _slots_in_keras(model, optimizer):
    if isinstance(optimizer, Adam):
        return ADAM, {"m": optimizer.m, "v": optimizer.v}
    if isinstance(optimizer, keras.optimizers.Adam) and not optimizer.amsgrad:
        return ADAM, {"m": optimizer._momentums, "v": optimizer._velocities}
    if isinstance(optimizer, keras.optimizers.RMSprop):
        return RMSPROP, {
            "rms": optimizer._velocities,
            "mg": optimizer._average_gradients,
            "momentum": optimizer._momentums,
        }
    if isinstance(optimizer, keras.optimizers.SGD):
        return MOMENTUM, {"momentum": optimizer.momentums}
    raise UserError(
        f"the model '{model.name}' is compiled with {type(optimizer).__name__}; "
        "slots are carried over to Adam, RMSprop and SGD with momentum"
        + _ADVICE
    )


def propose(
    inventory: Inventory,
    scalars: Mapping[str, float],
    trained: Mapping[str, Dict[str, keras.Variable]],
    targets: Mapping[str, Target],
    dtypes: Mapping[str, str],
) -> List[OptimizerPair]:
    """Returns the optimizers to carry over.

    Args:
      inventory: of the checkpoint.
      scalars: values of the powers and of the global steps, by name.
      trained: by model, the variables that it trains, by name in TF1.
      targets: by model.
      dtypes: of the global steps, by name.

    Raises:
      UserError: if a model's optimizer has no single one like it in the
        checkpoint, or its step count cannot be told.
    """
    pairs, taken = [], set()
    for model, wanted in targets.items():
        found, prefix = _slots_of_model(
            model, wanted, inventory, trained[model]
        )
        own = _own_steps(model, list(targets), inventory.steps)
        if wanted.family == ADAM:
            pair = _adam(
                (model, list(targets)),
                wanted,
                _choices(inventory, prefix, taken),
                scalars,
                own,
            )
            taken.add(pair.beta2_power)
        else:
            pair = _plain(model, wanted, scalars, own)
        step_dtype = dtypes.get(pair.global_step, "int64")
        pairs.append(
            dataclasses.replace(pair, slots=found, step_dtype=step_dtype)
        )
    return pairs


def _slots_of_model(model, wanted, inventory, trained):
    """Returns the slots of all variables of a model, and their prefix."""
    keys = {}
    for name in trained:
        for key, held in inventory.slots_of(name).items():
            if held[0].family == wanted.family:
                keys.setdefault(key, {})[name] = held
    whole = {key: by for key, by in keys.items() if len(by) == len(trained)}
    if len(whole) != 1:
        raise UserError(_no_single(model, wanted, inventory, whole) + _ADVICE)
    ((_, prefix), by_name), *_ = whole.items()
    counts = {len(held) for held in by_name.values()}
    if len(counts) > 1 or (wanted.family, max(counts)) not in _SLOTS:
        raise UserError(
            f"several {wanted.family} optimizers trained the model '{model}': "
            f"its variables have {' or '.join(map(str, sorted(counts)))} slots, and "
            "no name tells whose they are" + _ADVICE
        )
    slot_names = _SLOTS[wanted.family, counts.pop()]
    lacking = [
        n
        for n in ("rms", "mg")
        if (n in slot_names) != bool(wanted.slots.get(n))
        and wanted.family == RMSPROP
    ]
    if lacking:
        side = "checkpoint" if lacking[0] in slot_names else "model"
        raise UserError(
            f"RMSProp of '{model}' is centered in the {side} only" + _ADVICE
        )
    found = [
        SlotPair(slot.name, name, slot_name)
        for name, held in by_name.items()
        for slot, slot_name in zip(held, slot_names)
    ]
    return tuple(found), prefix


def _no_single(model, wanted, inventory, whole):
    if whole:
        called = ", ".join("/".join(filter(None, k[::-1])) for k in whole)
        return (
            f"several {wanted.family} optimizers trained the model '{model}': "
            f"{called}"
        )
    families = sorted({slot.optimizer for slot in inventory.slots})
    has = ", ".join(families) if families else "none at all"
    return (
        f"the checkpoint has no slots of {wanted.family} for every variable of "
        f"the model '{model}' (it has slots of: {has})"
    )


def _own_steps(model, models, steps):
    """Returns the global steps that may be a model's: by name, else the only one."""
    own = [s for s in steps if names.network(s, models) == model]
    others = [s for s in steps if names.network(s, models) not in (None, model)]
    return own or [s for s in steps if s not in others]


def _choices(inventory, prefix, taken) -> List[Powers]:
    left = [p for p in inventory.powers if p.beta2 not in taken]
    same = [p for p in left if p.prefix == prefix]
    return same if prefix and same else left


def _adam(of, wanted, choices, scalars, own_steps):
    model, models = of
    if not choices:
        raise UserError(
            f"the checkpoint has no powers of beta for Adam of '{model}'"
            + _ADVICE
        )
    counted = {p: _steps(p, wanted, scalars, own_steps) for p in choices}
    reason = "no other powers of beta are left" if len(choices) == 1 else ""
    named = [p for p in choices if names.network(p.beta2, models) == model]
    if len(choices) > 1 and len(named) == 1:
        choices, reason = named, "powers of beta named after it"
    values = {(scalars[p.beta1], scalars[p.beta2]) for p in choices}
    if len(choices) > 1 and len(values) == 1:
        choices, reason = choices[:1], "all powers of beta are alike"
    agreeing = [
        p
        for p in choices
        if any(counted[p] == scalars[step] for step in own_steps)
    ]
    if len(choices) > 1 and len(agreeing) == 1:
        choices, reason = agreeing, "powers of beta that agree with its step"
    if len(choices) > 1:
        raise UserError(
            f"cannot tell which powers of beta belong to '{model}': "
            + ", ".join(f"{p.beta2} ({counted[p]} steps)" for p in choices)
            + _ADVICE
        )
    return _adam_pair(
        model, wanted, choices[0], counted, (scalars, own_steps), reason
    )


def _adam_pair(model, wanted, powers, counted, known, reason):
    scalars, own_steps = known
    steps = counted[powers]
    if steps is None:
        raise UserError(
            f"cannot tell how many steps Adam of '{model}' has done: "
            f"{powers.beta2} is {scalars[powers.beta2]:g}, no power of "
            f"{wanted.betas[1]:g}, and no global step is its own" + _ADVICE
        )
    _check_beta1(model, wanted, scalars[powers.beta1], steps)
    agreeing = [s for s in own_steps if scalars[s] == steps]
    return OptimizerPair(
        model,
        ADAM,
        (),
        steps,
        powers.beta1,
        powers.beta2,
        agreeing[0] if agreeing else None,
        reason=reason,
    )


def _steps(powers, wanted, scalars, own_steps):
    """Returns the steps that beta2's power tells, or else the global step."""
    power = scalars[powers.beta2]
    steps = slots.steps_of(power, wanted.betas[1])
    if steps is None and power == 0.0 and len(own_steps) == 1:
        return int(scalars[own_steps[0]])
    return steps


def _check_beta1(model, wanted, power, steps):
    for beta in (wanted.betas[0], *_USUAL_BETA1):
        if slots.power_after(beta, steps) == np.float32(power):
            break
    else:
        beta = None
    if beta != wanted.betas[0]:
        hint = f"; beta1={beta:g} fits" if beta is not None else ""
        raise UserError(
            f"after {steps} steps beta1's power of '{model}' is {power:g}, but not "
            f"with beta1={wanted.betas[0]:g} of the model's Adam{hint}"
            + _ADVICE
        )


def _plain(model, wanted, scalars, own_steps):
    steps = int(scalars[own_steps[0]]) if len(own_steps) == 1 else None
    reason = "its global step" if own_steps else "no global step"
    step = own_steps[0] if len(own_steps) == 1 else None
    return OptimizerPair(
        model, wanted.family, (), steps, global_step=step, reason=reason
    )


def load(pair: OptimizerPair, of: Target, variables, read) -> None:
    """Gives an optimizer of Keras the state in a checkpoint.

    RMSprop without momentum keeps no slot for it. TF1's does, but does not use
    what is in it.

    Args:
      pair: what to carry over.
      of: the optimizer.
      variables: by name in TF1, (pair, Keras variable).
      read: returns the value of a variable of the checkpoint.
    """
    for slot in pair.slots:
        mapped, variable = variables[slot.of]
        held = of.slot(slot.slot, variable)
        if held is not None:
            value = mapped.to_keras(read(slot.tf1))
            factor = of.scale.get(slot.slot, 1.0)
            held.assign(value if factor == 1.0 else value * factor)
    if pair.steps is not None:
        of.optimizer.iterations.assign(pair.steps)
    if isinstance(of.optimizer, Adam):
        of.optimizer.beta1_power.assign(read(pair.beta1_power))
        of.optimizer.beta2_power.assign(read(pair.beta2_power))


def dump(
    pair: OptimizerPair, of: Target, variables
) -> Dict[str, Optional[np.ndarray]]:
    """Returns the state of an optimizer of Keras by names in TF1.

    What the optimizer does not keep is None.
    """
    values = {}
    for slot in pair.slots:
        mapped, variable = variables[slot.of]
        held = of.slot(slot.slot, variable)
        if held is None:
            values[slot.tf1] = None
            continue
        factor = of.scale.get(slot.slot, 1.0)
        value = held.numpy() if factor == 1.0 else held.numpy() / factor
        values[slot.tf1] = mapped.to_tf1(value).astype(mapped.dtype)
    steps = int(of.optimizer.iterations.numpy())
    if pair.global_step is not None:
        values[pair.global_step] = np.asarray(steps, pair.step_dtype)
    if pair.beta1_power is not None:
        values[pair.beta1_power] = slots.power_after(of.betas[0], steps)
    if pair.beta2_power is not None:
        values[pair.beta2_power] = slots.power_after(of.betas[1], steps)
    return values
