"""Finds the slots, powers and steps in a checkpoint for optimizers of Keras."""

import dataclasses
import json
from typing import (
    AbstractSet,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import names, slots
from tf2gan.migration.graph_steps import Counted
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


FROM_MAP = "from the map"
NO_OWN_STEPS = "no step count is known to be its own"

# By the name of Adam's m, the names of the powers of beta1 and beta2.
GraphPowers = Mapping[str, AbstractSet[Tuple[str, str]]]
GraphSteps = Mapping[str, Counted]  # by the name of a step counter


def propose(
    inventory: Inventory,
    scalars: Mapping[str, float],
    trained: Mapping[str, Dict[str, keras.Variable]],
    targets: Mapping[str, Target],
    dtypes: Mapping[str, str],
    graph: Optional[GraphPowers] = None,
    given: Sequence[OptimizerPair] = (),
    counted: Optional[GraphSteps] = None,
) -> List[OptimizerPair]:
    """Returns the optimizers to carry over.

    Args:
      inventory: of the checkpoint.
      scalars: values of the powers and of the global steps, by name.
      trained: by model, the variables that it trains, by name in TF1.
      targets: by model.
      dtypes: of the global steps, by name.
      graph: what the graph beside the checkpoint says, if there is one.
      given: entries of a map, which are completed; each is of one of the targets
        and names two powers of beta in `scalars`, or none.
      counted: what the graph says of the step counters that train ops increase.

    Returns:
      One for each of `given`, or else for each model. Where nothing tells the powers
      of beta of an Adam, it has none and its `steps` are None; so are those of
      another optimizer if no step counter is known to be its own.

    Raises:
      UserError: if a model's optimizer has no single one like it in the
        checkpoint, or its step count cannot be told.
    """
    facts = _Facts(
        inventory.powers,
        inventory.steps,
        scalars,
        list(targets),
        graph or {},
        _by_model(counted or {}, trained),
        _only_optimizer(inventory, trained),
    )
    taken = {entry.beta2_power for entry in given} - {None}
    pairs = []
    for entry in given or [OptimizerPair(model) for model in targets]:
        wanted = targets[entry.model]
        found, prefix = entry.slots, ""
        if not found:
            found, prefix = _slots_of_model(
                entry.model, wanted, inventory, trained[entry.model]
            )
        entry = dataclasses.replace(entry, family=wanted.family, slots=found)
        pair = _counted(entry, wanted, facts, prefix, taken)
        dtype = dtypes.get(pair.global_step, pair.step_dtype)
        pairs.append(dataclasses.replace(pair, step_dtype=dtype))
    return pairs


def _by_model(counted, trained):
    """Returns what step counters count with models for their variables."""
    own = {model: set(names_of) for model, names_of in trained.items()}
    return {
        step: Counted(
            frozenset(m for m in own if own[m] and own[m] <= found.always),
            frozenset(m for m in own if own[m] & found.ever),
        )
        for step, found in counted.items()
    }


def _only_optimizer(inventory, trained):
    """Tells whether a checkpoint shows one optimizer alone, that of one model."""
    own = {name for names_of in trained.values() for name in names_of}
    others = [s for s in inventory.slots if s.variable not in own]
    several = len(trained) > 1 or len(inventory.powers) > 1
    return not several and not any(s.is_optimizers for s in others)


def _counted(entry, wanted, facts, prefix, taken):
    """Returns an entry with its powers of beta and its steps."""
    if entry.steps is not None:
        return dataclasses.replace(entry, reason=FROM_MAP)
    if entry.family != ADAM:
        return _plain(entry, facts)
    if entry.beta2_power is not None:
        powers = Powers(entry.beta1_power, entry.beta2_power, "")
        return _adam(entry, wanted, facts, (powers, FROM_MAP))
    chosen = _choose_powers(entry, facts, prefix, taken)
    if chosen is None:
        return dataclasses.replace(entry, reason="powers of beta unknown")
    taken.add(chosen[0].beta2)
    return _adam(entry, wanted, facts, chosen)


def refuse_unknown_powers(
    pairs: Sequence[OptimizerPair],
    powers: Sequence[Powers],
    read: Callable[[str], np.ndarray],
) -> None:
    """Raises `UserError` if there are Adams of unknown steps; says what to fill in.

    Args:
      pairs: optimizers of a map.
      powers: of the checkpoint.
      read: returns a value by its name.
    """
    unknown = [p.model for p in pairs if p.family == ADAM and p.steps is None]
    if not unknown:
        return
    taken = {pair.beta2_power for pair in pairs}
    left = [p for p in powers if p.beta2 not in taken]
    counts = [slots.find_steps(float(read(p.beta2)))[1] for p in left]
    # No name of a candidate: it would be taken for advice.
    entry = {"model": unknown[0], "beta1_power": "NAME", "beta2_power": "NAME"}
    raise UserError(
        "cannot tell which powers of beta belong to "
        + ", ".join(f"'{model}'" for model in unknown)
        + ": "
        + (", ".join(map(_with_steps, left, counts)) or "none are left")
        + "; copy the .meta file beside the checkpoint, which tells it; or write the "
        "map with --write_map=FILE, fill in beta1_power and beta2_power in its "
        f'"optimizers" ({json.dumps(entry)} is enough for one), and give it back '
        "with --map=FILE; or leave the state behind with --weights_only"
    )


def _with_steps(powers, count):
    steps = "unknown steps" if count is None else f"{count} steps"
    return f"{powers.beta1} with {powers.beta2} ({steps})"


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What a checkpoint says of steps and powers, and the models that ask."""

    powers: List[Powers]
    steps: List[str]
    scalars: Mapping[str, float]
    models: List[str]
    graph: GraphPowers
    counted: GraphSteps  # of models, not of variables
    is_alone: bool  # one optimizer trained all

    def in_graph(self, found):
        """Returns the powers of beta that the graph's kernels take with slots."""
        names_of = set()
        for slot in found:
            names_of |= self.graph.get(slot.tf1, set())
        return [p for p in self.powers if (p.beta1, p.beta2) in names_of]

    def own_steps(self, model):
        """Returns the step counters that are known to be those of a model.

        That says the graph, of what its train ops increase, and else the name.
        """
        told = [s for s, found in self._increased() if model in found.always]
        named = self._named(model)
        return told or named or (self._named(None) if self.is_alone else [])

    def possible_steps(self, model):
        """Returns the same, or else those that nothing says to be another's."""
        shared = [s for s, found in self._increased() if model in found.ever]
        return self.own_steps(model) or shared or self._named(None)

    def _increased(self):
        return [(s, self.counted[s]) for s in self.steps if s in self.counted]

    def _named(self, model):
        """Returns what is named after a model, or none, and no train op increases."""
        silent = [step for step in self.steps if step not in self.counted]
        owners = {s: names.network(s, self.models) for s in silent}
        return [step for step, owner in owners.items() if owner == model]


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


def _choose_powers(entry, facts, prefix, taken):
    """Returns the powers of a model's Adam, and the evidence; None without any."""
    model = entry.model
    left = [p for p in facts.powers if p.beta2 not in taken]
    told = facts.in_graph(entry.slots)
    if not left or (len(told) == 1 and told[0].beta2 in taken):
        raise UserError(_no_powers(model, taken) + ADVICE)
    if len(told) == 1:
        return told[0], "powers of beta that its kernels take in the .meta file"
    if len(left) == 1:
        return left[0], "no other powers of beta are left"
    for reason, choices in _evidence(model, facts, prefix, left):
        if len(choices) == 1:
            return choices[0], reason
    values = {(facts.scalars[p.beta1], facts.scalars[p.beta2]) for p in left}
    return (
        (left[0], "all powers of beta are alike") if len(values) == 1 else None
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
    counts = [facts.scalars[step] for step in facts.own_steps(model)]
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


def _adam(entry, wanted, facts, chosen):
    powers, reason = chosen
    model = entry.model
    power = facts.scalars[powers.beta2]
    steps = slots.steps_of(power, wanted.betas[1])
    possible = facts.possible_steps(model)
    if steps is None and power == 0.0:  # beta2's power is used up
        possible = facts.own_steps(model)
        steps, reason = _steps_beyond_powers(model, facts, reason)
    if steps is None:
        raise UserError(
            f"cannot tell how many steps Adam of '{model}' has done: "
            f"{powers.beta2} is {power:g}, no power of {wanted.betas[1]:g}, and no "
            "global step is its own" + ADVICE
        )
    _check_beta1(model, wanted, facts.scalars[powers.beta1], steps)
    agreeing = [s for s in possible if facts.scalars[s] == steps]
    step = agreeing[0] if agreeing else None
    return dataclasses.replace(
        entry,
        steps=steps,
        beta1_power=powers.beta1,
        beta2_power=powers.beta2,
        global_step=entry.global_step or step,
        reason=reason,
    )


def _steps_beyond_powers(model, facts, reason):
    """Returns the steps of an Adam whose powers of beta are 0, and the evidence.

    How many more they are changes no step of it, so another's may stand for them.
    """
    own = facts.own_steps(model)
    found = own or facts.possible_steps(model) or facts.steps
    if len(found) != 1:
        return None, reason
    if not own:
        reason += f"; they are used up, and {found[0]} stands for its steps"
    return int(facts.scalars[found[0]]), reason


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


def _plain(entry, facts):
    own_steps = facts.own_steps(entry.model)
    if len(own_steps) != 1:
        return dataclasses.replace(entry, reason=NO_OWN_STEPS)
    return dataclasses.replace(
        entry,
        steps=int(facts.scalars[own_steps[0]]),
        global_step=own_steps[0],
        reason="its train op increases its step count in the .meta file"
        if own_steps[0] in facts.counted
        else "its global step",
    )
