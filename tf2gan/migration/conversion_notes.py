"""What a user should know of a conversion that can nevertheless be carried out."""

import dataclasses
from typing import Container, Dict, Iterator, List

import keras
import numpy as np

from tf2gan.migration import names, optimizer_state, slots
from tf2gan.migration.exchange import optimizers_of
from tf2gan.migration.optimizer_pairing import NO_OWN_STEPS, GraphPowers
from tf2gan.migration.slots import Inventory
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint
from tf2gan.migration.variable_map import OptimizerPair, VariableMap

# TF1's defaults, which are not those of Keras.
_EPSILONS = {slots.ADAM: 1e-8, slots.RMSPROP: 1e-10}
_MOST_RANGES = 20  # in a note
_MOST_PAIRS = 10  # in a note
_MOST_NAMES = 10  # in a note
_MOST_MISSING = 3  # in a note


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the notes are about.

    Attributes:
      checkpoint: of TF1.
      models: of Keras, by name.
      inventory: what is in the checkpoint.
      map: to be carried out.
      is_given: whether a user wrote the map.
      is_refused: whether its optimizers could not be paired.
      graph: what the graph beside the checkpoint says of powers of beta.
    """

    checkpoint: Tf1Checkpoint
    models: Dict[str, keras.Model]
    inventory: Inventory
    map: VariableMap
    is_given: bool
    is_refused: bool
    graph: GraphPowers


def notes(facts: Facts) -> List[str]:
    """Returns the notes, a line each."""
    found = list(_roles(facts)) if facts.is_given else []
    for kind in (
        _shadows,
        _slots_left,
        _variables_left,
        _values,
        _optimizers,
        _models_left,
        _shared_powers,
        _steps,
        _others,
    ):
        found += kind(facts)
    return found


def not_written(mapping: VariableMap, written: Container[str]) -> List[str]:
    """Returns a note on what a checkpoint lacks that goes back to TF1 alone.

    Args:
      mapping: that the conversion to Keras left.
      written: names of what goes back.
    """
    known = (*mapping.carried, *mapping.unused, *mapping.left)
    missing = [f"{name:.100}" for name in known if name not in written]
    if not missing:
        return []
    return [
        f"{len(missing)} variables of the old checkpoint are not in the new one "
        f"({_first(missing, _MOST_MISSING)}), and a Saver that expects them will not "
        "restore it; --base=OLD takes them from the old checkpoint"
    ]


def _roles(facts) -> Iterator[str]:
    """Says where a given map pairs what the names say to be different things."""
    odd = [p for p in facts.map.pairs if _differ(p.tf1, p.keras)]
    if odd:
        shown = _first([f"{p.tf1} with {p.keras}" for p in odd], _MOST_PAIRS)
        yield (
            "the map pairs what is not the same by its names: "
            f"{shown}; was one taken for another?"
        )


def _differ(tf1, keras_key):
    """Tells whether two names say different roles."""
    roles = {names.parse(name).role for name in (tf1, keras_key)} - {None}
    # People call either kernel of a cell a kernel.
    return len(roles) > 1 and roles != {names.KERNEL, names.RECURRENT_KERNEL}


def _first(texts, count):
    more = len(texts) - count
    return ", ".join(texts[:count] + ([f"and {more} more"] if more > 0 else []))


def _shadows(facts) -> Iterator[str]:
    taken = {pair.tf1 for pair in facts.map.pairs}
    left = {
        shadow: owner
        for shadow, owner in facts.inventory.averages.items()
        if shadow not in taken
    }
    if left:
        shadow, owner = next(iter(left.items()))
        yield (
            f"{len(left)} shadow variables of "
            f"ExponentialMovingAverage are left behind ({shadow} of {owner}, "
            "...); to take them, put their names into the map in place of "
            "those of their variables, and add --weights_only"
        )


def _slots_left(facts) -> Iterator[str]:
    carried = {s.tf1 for pair in facts.map.optimizers for s in pair.slots}
    left = [s for s in facts.inventory.slots if s.name not in carried]
    if left:
        kinds = sorted({slot.optimizer for slot in left})
        yield f"{len(left)} slots of {', '.join(kinds)} are left behind"


def _variables_left(facts) -> Iterator[str]:
    named = {p.tf1 for p in facts.map.pairs} | set(facts.map.unused)
    named |= {name for u in facts.map.unpaired for name in u.candidates}
    ignored = [n for n in facts.inventory.variables if n not in named]
    if ignored:
        shown = ", ".join(ignored[:_MOST_NAMES])
        yield "left behind, as the map does not name them: " + shown


def _values(facts) -> Iterator[str]:
    """Says what is in the vectors that no name tells apart."""
    unclear = [u for u in facts.map.unpaired if len(u.candidates) > 1]
    candidates = dict.fromkeys(n for u in unclear for n in u.candidates)
    vectors = [n for n in candidates if _is_vector(facts.checkpoint, n)]
    if vectors:
        # Values are read of those that are shown alone.
        shown = [_range(facts.checkpoint, n) for n in vectors[:_MOST_RANGES]]
        shown = _first(shown + vectors[_MOST_RANGES:], _MOST_RANGES)
        yield (
            f"values, which decide nothing here: {shown}; no moving variance "
            "is negative, and it starts at 1, as gamma does; beta, moving means "
            "and most biases start at 0"
        )


def _is_vector(checkpoint, name):
    """Tells whether a name, of which a map may be wrong, is one with values."""
    variable = checkpoint.variables.get(name)
    return variable and len(variable.shape) == 1 and variable.shape[0] > 0


def _range(checkpoint, name):
    value = checkpoint.read(name)
    return f"{name} {np.min(value):.3g} to {np.max(value):.3g}"


def _optimizers(facts) -> Iterator[str]:
    for pair in facts.map.optimizers:
        optimizer = getattr(facts.models.get(pair.model), "optimizer", None)
        yield description(pair)
        if optimizer is not None:
            yield from _epsilon(pair, optimizer)
            yield from _momentum(pair, optimizer)
        yield from _uncounted(pair, facts.inventory.steps)
        yield from _contradiction(pair, facts.graph)


def description(pair: OptimizerPair) -> str:
    """Returns what is carried over of an optimizer, in a line."""
    steps = "unknown steps" if pair.steps is None else f"{pair.steps} steps"
    return (
        f"{pair.family} of {pair.model}: {len(pair.slots)} slots, {steps} "
        f"({pair.reason})"
    )


def _epsilon(pair, optimizer) -> Iterator[str]:
    epsilon = getattr(optimizer, "epsilon", None)
    default = _EPSILONS.get(pair.family)
    if None not in (epsilon, default) and epsilon != default:
        yield (
            f"{pair.family} of {pair.model} is compiled with epsilon="
            f"{epsilon:g}; TF1's default is {default:g}, and no checkpoint "
            "holds it"
        )


def _momentum(pair, optimizer) -> Iterator[str]:
    """Says where SGD's momentum goes on in another way than TF1's."""
    if pair.family != slots.MOMENTUM:
        return
    if optimizer_state.has_schedule(optimizer):
        yield (
            f"Momentum of {pair.model} follows a schedule: Keras keeps the "
            "learning rate in its momentum and TF1 does not, so they agree in "
            "the next step only"
        )
    if optimizer.nesterov:
        yield (
            f"Momentum of {pair.model} is compiled with nesterov=True; no "
            "checkpoint says whether TF1's had use_nesterov"
        )


def _uncounted(pair, steps) -> Iterator[str]:
    """Says where step counts are, but nothing tells that one is an optimizer's."""
    if steps and pair.reason == NO_OWN_STEPS:
        yield (
            f"{pair.family} of {pair.model} starts at step 0 in Keras: nothing "
            f"tells that {_first(steps, _MOST_NAMES)} counts its steps and no "
            'other\'s; where that matters, as on a schedule, add "steps" to its '
            "entry in the map"
        )


def _contradiction(pair, graph) -> Iterator[str]:
    """Says where a given map contradicts the graph beside the checkpoint."""
    told = {powers for s in pair.slots for powers in graph.get(s.tf1, ())}
    if told and pair.beta2_power and pair.powers not in told:
        says = " or ".join(sorted(beta2 for _, beta2 in told))
        yield (
            f"the map gives {pair.beta2_power} to {pair.model}, but its kernels "
            f"in the .meta file take {says}"
        )


def _models_left(facts) -> Iterator[str]:
    """Says which models a given map has no optimizer of, and others it has."""
    owners = [pair.model for pair in facts.map.optimizers]
    if not owners or facts.map.unpaired or facts.is_refused:
        return
    for model in optimizers_of(facts.models):
        if model not in owners:
            yield (
                f'the map\'s "optimizers" have no entry of {model}, whose state '
                "is left behind"
            )


def _shared_powers(facts) -> Iterator[str]:
    """Says which models share powers of beta, which only a given map can do."""
    owners = {}
    for pair in facts.map.optimizers:
        owners.setdefault(pair.beta2_power, []).append(pair.model)
    for name, models in owners.items():
        if name is not None and len(models) > 1:
            yield (
                f"the map gives {name} to {' and '.join(models)}; only one "
                "optimizer that trained both in TF1 has the same for both"
            )


def _steps(facts) -> Iterator[str]:
    counted = [p for p in facts.map.optimizers if p.steps is not None]
    for step in facts.inventory.steps:
        value = int(facts.checkpoint.read(step))
        if counted and value not in [p.steps for p in counted]:
            says = ", ".join(f"{p.model} {p.steps}" for p in counted)
            yield (
                f"{step} is {value}, but the optimizers have done: {says}; was "
                "it shared by both, or counted elsewhere?"
            )


def _others(facts) -> Iterator[str]:
    if facts.inventory.others:
        shown = ", ".join(facts.inventory.others[:_MOST_NAMES])
        yield "left behind as no part of a network: " + shown
