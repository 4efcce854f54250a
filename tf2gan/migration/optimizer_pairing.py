"""Finds the slots, powers and steps in a checkpoint for optimizers of Keras."""

import dataclasses
from typing import Dict, List, Mapping, Tuple

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import names, slots
from tf2gan.migration.optimizer_state import ADVICE, Target
from tf2gan.migration.slots import (
    ADAM,
    GRADIENT_DESCENT,
    MOMENTUM,
    RMSPROP,
    Inventory,
    Powers,
)
from tf2gan.migration.variable_map import OptimizerPair, SlotPair

_USUAL_BETA1 = (0.9, 0.5, 0.0, 0.4, 0.8, 0.95, 0.99)
_SLOTS = {
    (ADAM, 2): ("m", "v"),
    (RMSPROP, 2): ("rms", "momentum"),
    (RMSPROP, 3): ("rms", "mg", "momentum"),
    (MOMENTUM, 1): ("momentum",),
}


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
    facts = _Facts(inventory.powers, inventory.steps, scalars, list(targets))
    pairs, taken = [], set()
    for model, wanted in targets.items():
        held = _slots_of_model(model, wanted, inventory, trained[model])
        found, prefix = held
        if wanted.family == ADAM:
            chosen = _choose_powers(model, facts, prefix, taken)
            taken.add(chosen[0].beta2)
            pair = _adam(model, wanted, facts, chosen)
        else:
            pair = _plain(model, wanted, facts)
        dtype = dtypes.get(pair.global_step, "int64")
        pairs.append(dataclasses.replace(pair, slots=found, step_dtype=dtype))
    return pairs


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What a checkpoint says of steps and powers, and the models that ask."""

    powers: List[Powers]
    steps: List[str]
    scalars: Mapping[str, float]
    models: List[str]

    def named_steps(self, model):
        """Returns the global steps that are named after a model."""
        owners = {s: names.network(s, self.models) for s in self.steps}
        return [step for step, owner in owners.items() if owner == model]

    def steps_of(self, model):
        """Returns the same, or else those that are named after no model."""
        owners = {s: names.network(s, self.models) for s in self.steps}
        nobodys = [step for step, owner in owners.items() if owner is None]
        return self.named_steps(model) or nobodys


def _slots_of_model(model, wanted, inventory, trained):
    """Returns the slots of all variables of a model, and their prefix."""
    if wanted.family == GRADIENT_DESCENT:
        _check_no_slots(model, inventory, trained)
        return (), ""
    keys = {}
    for name in trained:
        for key, held in inventory.slots_of(name).items():
            if held[0].family == wanted.family:
                keys.setdefault(key, {})[name] = held
    whole = {key: by for key, by in keys.items() if len(by) == len(trained)}
    if len(whole) != 1:
        raise UserError(_no_single(model, wanted, inventory, whole) + ADVICE)
    ((_, prefix), by_name), *_ = whole.items()
    counts = {len(held) for held in by_name.values()}
    if len(counts) > 1 or (wanted.family, max(counts)) not in _SLOTS:
        raise UserError(
            f"several {wanted.family} optimizers trained the model '{model}': "
            f"its variables have {' or '.join(map(str, sorted(counts)))} slots, and "
            "no name tells whose they are" + ADVICE
        )
    slot_names = _SLOTS[wanted.family, counts.pop()]
    _check_centered(model, wanted, slot_names)
    found = [
        SlotPair(slot.name, name, slot_name)
        for name, held in by_name.items()
        for slot, slot_name in zip(held, slot_names)
    ]
    return tuple(found), prefix


def _check_no_slots(model, inventory, trained):
    """Refuses to go on by plain gradient descent from the slots of another."""
    held = [
        slot.optimizer
        for slot in inventory.slots
        if slot.variable in trained and slot.is_optimizers
    ]
    if held:
        raise UserError(
            f"the model '{model}' is compiled with SGD without momentum, but the "
            f"checkpoint has slots of {', '.join(sorted(set(held)))} for its "
            "variables" + ADVICE
        )


def _check_centered(model, wanted, slot_names):
    in_tf1, in_keras = "mg" in slot_names, bool(wanted.slots.get("mg"))
    if in_tf1 != in_keras:
        side = "checkpoint" if in_tf1 else "model"
        raise UserError(
            f"RMSProp of '{model}' is centered in the {side} only" + ADVICE
        )


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


def _choose_powers(model, facts, prefix, taken) -> Tuple[Powers, str]:
    """Returns the powers of a model's Adam, and the evidence."""
    left = [p for p in facts.powers if p.beta2 not in taken]
    if not left:
        raise UserError(_no_powers(model, taken) + ADVICE)
    if len(left) == 1:
        return left[0], "no other powers of beta are left"
    for reason, choices in _evidence(model, facts, prefix, left):
        if len(choices) == 1:
            return choices[0], reason
    if (
        len({(facts.scalars[p.beta1], facts.scalars[p.beta2]) for p in left})
        == 1
    ):
        return left[0], "all powers of beta are alike"
    counts = {p: slots.find_steps(facts.scalars[p.beta2])[1] for p in left}
    raise UserError(
        f"cannot tell which powers of beta belong to '{model}': "
        + ", ".join(f"{p.beta2} ({counts[p]} steps)" for p in left)
        + ADVICE
    )


def _evidence(model, facts, prefix, left):
    """Yields what may single out the powers of a model."""
    yield (
        "powers of beta in the scope of its slots",
        [p for p in left if prefix and p.prefix == prefix],
    )
    yield (
        "powers of beta named after it",
        [p for p in left if names.network(p.beta2, facts.models) == model],
    )
    counts = [facts.scalars[step] for step in facts.named_steps(model)]
    yield (
        "powers of beta that agree with its global step",
        [
            p
            for p in left
            if slots.find_steps(facts.scalars[p.beta2])[1] in counts
        ],
    )


def _no_powers(model, taken):
    if not taken:
        return f"the checkpoint has no powers of beta for Adam of '{model}'"
    return (
        f"Adam of '{model}' shares its powers of beta with that of another model: "
        "one optimizer trained both, which two optimizers of Keras cannot go on as"
    )


def _adam(model, wanted, facts, chosen):
    powers, reason = chosen
    own_steps = facts.steps_of(model)
    power = facts.scalars[powers.beta2]
    steps = slots.steps_of(power, wanted.betas[1])
    if steps is None and power == 0.0 and len(own_steps) == 1:
        steps = int(facts.scalars[own_steps[0]])  # beta2's power is used up
    if steps is None:
        raise UserError(
            f"cannot tell how many steps Adam of '{model}' has done: "
            f"{powers.beta2} is {power:g}, no power of {wanted.betas[1]:g}, and no "
            "global step is its own" + ADVICE
        )
    _check_beta1(model, wanted, facts.scalars[powers.beta1], steps)
    agreeing = [s for s in own_steps if facts.scalars[s] == steps]
    step = agreeing[0] if agreeing else None
    return OptimizerPair(
        model, ADAM, (), steps, powers.beta1, powers.beta2, step, reason=reason
    )


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
            f"with beta1={wanted.betas[0]:g} of the model's Adam{hint}" + ADVICE
        )


def _plain(model, wanted, facts):
    own_steps = facts.steps_of(model)
    if len(own_steps) != 1:
        return OptimizerPair(model, wanted.family, (), reason="no global step")
    steps = int(facts.scalars[own_steps[0]])
    return OptimizerPair(
        model,
        wanted.family,
        (),
        steps,
        global_step=own_steps[0],
        reason="its global step",
    )
