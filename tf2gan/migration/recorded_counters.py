"""Tells which phases of a trace move a power of beta or a step count.

Variables may be recorded after some calls only, and calls of several phases may lie
between two recorded values. A train op counts once per call, so how far a counter moved
says of which phases' calls it was, unless several sums of calls are the same.
"""

import collections
import dataclasses
import itertools
from typing import Collection, Dict, FrozenSet, Iterable, List, Optional, Set

import numpy as np

from tf2gan.migration.slots import Inventory
from tf2gan.migration.traces import Trace

_MOST_PHASES = 10  # every set of them is looked at; of more, none
# Float32's rounding shifts a count of some hundred calls by less, even near 1.
_ROUNDING = 0.1


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the recorded calls tell.

    Attributes:
      moving: by counter, the phases that are known to move it.
      resting: by counter, the phases that are known not to.
    """

    moving: Dict[str, FrozenSet[str]]
    resting: Dict[str, FrozenSet[str]]

    def moves(self, name: str, phases: Iterable[str]) -> bool:
        """Whether one of the phases is known to move a counter."""
        return not self.moving[name].isdisjoint(phases)

    def rests(self, name: str, phases: Iterable[str]) -> bool:
        """Whether all of the phases are known not to move a counter."""
        return self.resting[name].issuperset(phases)


def evidence(
    trace: Trace, inventory: Inventory, betas: Collection[float]
) -> Evidence:
    """Returns what a trace tells of its powers of beta2 and its step counts.

    Args:
      trace: that was recorded.
      inventory: of its variables.
      betas: that any of the powers may be of.
    """
    phases = [phase.name for phase in trace.phases]
    state = trace.initial_state()
    counters = [_Steps(name, state, phases) for name in inventory.steps]
    counters += [
        _Power(powers.beta2, state, phases, betas)
        for powers in inventory.powers
    ]
    for call in trace.calls() if len(phases) <= _MOST_PHASES else ():
        for counter in counters:
            counter.follow(call)
        if all(len(counter.possible) == 1 for counter in counters):
            break
    return Evidence(
        {c.name: frozenset.intersection(*c.possible) for c in counters},
        {
            c.name: frozenset(phases) - frozenset.union(*c.possible)
            for c in counters
        },
    )


class _Steps:
    """A step count, and the sets of phases that may be all that move it."""

    def __init__(self, name, state, phases):
        self.name = name
        self.possible: Set[FrozenSet[str]] = _subsets(phases)
        self._value = state[name]
        self._calls: Dict[str, int] = collections.Counter()

    def follow(self, call):
        """Takes a call, whether or not it shows the value after it."""
        if self.name in call.changed:
            self._start(call.changed[self.name])
        self._calls[call.phase] += 1
        if self.name in call.variables:
            self._learn(call.variables[self.name])
            self._start(call.variables[self.name])

    def _start(self, value):
        self._value, self._calls = value, collections.Counter()

    def _learn(self, value):
        called = frozenset(self._calls)
        if np.array_equal(value, self._value):
            if self._can_move():
                self._keep(lambda phases: not phases & called)
            return
        self._keep(lambda phases: phases & called)
        if len(called) > 1:
            counts = self._counts(value)
            self._keep(
                lambda phases: sum(self._calls[p] for p in phases) in counts
            )

    def _keep(self, fits):
        """Drops what does not fit, unless nothing does: it does not count calls."""
        self.possible = {p for p in self.possible if fits(p)} or self.possible

    def _can_move(self):
        return True

    def _counts(self, value) -> List[Optional[int]]:
        """Returns how many calls may have moved it to a value."""
        return [int(value) - int(self._value)]


class _Power(_Steps):
    """A power of beta."""

    def __init__(self, name, state, phases, betas):
        super().__init__(name, state, phases)
        self._betas = [beta for beta in betas if 0.0 < beta < 1.0]

    def _can_move(self):
        return float(self._value) != 0.0  # used up

    def _counts(self, value):
        before, after = float(self._value), float(value)
        if not 0.0 < after < before:
            return []
        counts = [np.log(after / before) / np.log(b) for b in self._betas]
        return [round(n) for n in counts if abs(n - round(n)) < _ROUNDING]


def _subsets(phases):
    """Returns all sets of phases; of too many, two that leave everything open."""
    if len(phases) > _MOST_PHASES:
        return {frozenset(), frozenset(phases)}
    return {
        frozenset(chosen)
        for size in range(len(phases) + 1)
        for chosen in itertools.combinations(phases, size)
    }
