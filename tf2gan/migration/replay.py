"""Runs an implementation on a recorded training and names the first difference.

It gets the recorded variables and, call by call, the recorded inputs; after every
call, all that was recorded is compared in the order in which a step computes it:
feed, loss, gradient, slot, weight, moving average, step count.
"""

from typing import Any, Dict, List, Optional

import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import lockstep, traces
from tf2gan.migration.lockstep import Difference, Report, Tolerance

ARGUMENTS = ("images", "latent")


def replay(
    folder: str,
    implementation: Any,
    tolerance: Tolerance = Tolerance(),  # noqa: B008 (frozen)
    inputs: Optional[Dict[str, str]] = None,
    steps: Optional[Dict[str, str]] = None,
    variables: Optional[Dict[str, Optional[str]]] = None,
    resync: bool = False,
    stop: bool = False,
) -> Report:
    """Runs the recorded steps and compares them with the record.

    In the report, iteration n is the n-th call of its phase.

    Args:
      folder: written by `tf1gan/trace.py`.
      implementation: has the methods that `lockstep.run` describes; those that the
        trace has no counterpart of (activations, samples) are not called.
      tolerance: how far the two may be apart.
      inputs: {"images": recorded name, "latent": recorded name}; the same names if
        None. A call that had only one of them gets the other from the call before.
      steps: {phase of the trace: method}; the same names if None.
      variables: {recorded name: name in the implementation, or None for one that it
        does not have}; names that are not in it, and all if None, are the same on
        both sides.
      resync: whether to load the recorded variables before each call, so that each
        step's own fault shows and not only the first.
      stop: whether to end at the first difference.

    Raises:
      UserError: if the trace cannot be read, or does not fit the implementation.
    """
    trace = traces.read(folder)
    side = _Implementation(trace, implementation, inputs, steps, variables)
    comparison = _Comparison(tolerance)
    side.load(trace.initial_state())
    report = Report()
    for call in trace.calls():
        side.load(call.changed)
        for difference in comparison.call(call, side):
            report.add(difference)
        report.iterations = max(report.iterations, comparison.iteration)
        if stop and report.first:
            break
        if resync:
            side.load(call.variables)
    return report


class _Implementation:
    """An implementation that goes by the trace's names."""

    def __init__(self, trace, implementation, inputs, steps, variables):
        self._wrapped = implementation
        self._names = _names(trace, implementation.state(), variables or {})
        self._recorded_names = {v: k for k, v in self._names.items()}
        self._inputs = _input_names(inputs or {})
        self._steps = _methods(trace, implementation, steps or {})
        self._arguments = {}

    def load(self, recorded):
        """Sets the variables that are given, and leaves the others."""
        if not recorded:
            return
        state = dict(self._wrapped.state())
        for name, value in recorded.items():
            if name in self._names:
                state[self._names[name]] = value
        self._wrapped.load_state(state)

    def take_inputs(self, call):
        """Sets the arguments of the next step; returns them by their names."""
        for argument in ARGUMENTS:
            name = self._inputs[argument]
            if name in call.inputs:
                self._arguments[argument] = call.inputs[name]
            elif argument not in self._arguments:
                raise UserError(
                    f"call {call.number} of the trace has no input '{name}', but "
                    f"{_listed(call.inputs)}; say in `inputs` which of them is "
                    f"'{argument}'"
                )
        return dict(self._arguments)

    def feed(self):
        """Returns what the implementation feeds its networks."""
        if not hasattr(self._wrapped, "feed"):
            return dict(self._arguments)
        return self._wrapped.feed(*self._batch())

    def gradients(self):
        """Returns the gradients by recorded name; None if it cannot show them."""
        if not hasattr(self._wrapped, "gradients"):
            return None
        return self._renamed(self._wrapped.gradients(*self._batch()))

    def step(self, phase):
        """Trains; returns the loss."""
        return np.array(
            getattr(self._wrapped, self._steps[phase])(*self._batch())
        )

    def state(self):
        """Returns copies of the variables by recorded name."""
        return self._renamed(self._wrapped.state())

    def _batch(self):
        return [self._arguments[argument] for argument in ARGUMENTS]

    def _renamed(self, values):
        return {
            self._recorded_names[name]: np.array(value)
            for name, value in values.items()
            if name in self._recorded_names
        }


class _Comparison:
    """Compares calls, and knows which variables have no true gradient."""

    def __init__(self, tolerance):
        self._tolerance = tolerance
        self._calls = {}
        self._noisy = set()
        self.iteration = 0

    def call(self, call, side) -> List[Difference]:
        """Runs a recorded call and returns the comparisons in order."""
        self.iteration = self._calls.get(call.phase, 0) + 1
        self._calls[call.phase] = self.iteration
        recorded = side.take_inputs(call)
        fed = side.feed()
        gradients = self._gradients(call, side)
        loss = side.step(call.phase)
        found = [("feed", n, (recorded[n], fed.get(n))) for n in recorded]
        found.append(("loss", call.phase, (call.loss, loss)))
        if gradients is not None:
            found += [
                ("gradient", n, (value, gradients.get(n)))
                for n, value in call.gradients.items()
            ]
        found += _states(call.variables, side.state())
        return [self._compare(call.phase, *item) for item in found]

    def _gradients(self, call, side):
        """Returns the gradients before a call, if they are to be compared."""
        first = self.iteration == 1
        if not call.gradients and not first:
            return None
        gradients = side.gradients()
        if first:
            # With an unknown optimizer none are recorded.
            for group in (
                [call.gradients] if call.gradients else _split(gradients)
            ):
                self._note_noisy(group)
        return gradients

    def _note_noisy(self, gradients):
        """Finds a network's variables with no gradient but rounding noise."""
        sizes = {
            name: np.max(np.abs(value), initial=0)
            for name, value in gradients.items()
        }
        bound = self._tolerance.quiet * max(sizes.values())
        self._noisy.update(name for name, x in sizes.items() if x < bound)

    def _compare(self, phase, kind, name, values):
        missing = values[1] is None
        absolute, relative = (
            (np.inf, np.inf) if missing else lockstep.distance(*values)
        )
        noisy = any(name == n or name.startswith(n + "/") for n in self._noisy)
        bound = self._tolerance.noise if noisy else self._tolerance.relative
        allowed = (absolute if noisy else relative) <= bound
        return Difference(
            self.iteration,
            phase,
            kind,
            name,
            absolute,
            relative,
            noisy,
            allowed,
        )


def _split(gradients):
    """Returns the gradients of each network apart."""
    groups = {}
    for name, value in (gradients or {}).items():
        groups.setdefault(name.split("/")[0], {})[name] = value
    return list(groups.values())


def _states(recorded, state):
    """Returns kind, name and both values of the variables that both sides have."""
    found = [
        (lockstep.kind_of(name), name, (value, state[name]))
        for name, value in recorded.items()
        if name in state
    ]
    return sorted(found, key=lambda item: lockstep.KINDS.index(item[0]))


def _names(trace, state, variables):
    """Returns {recorded name: implementation's name}; UserError unless they fit."""
    recorded = [variable.name for variable in trace.variables]
    _check_known("variables", "the trace's variables", variables, recorded)
    names = {name: variables.get(name, name) for name in recorded}
    names = {name: other for name, other in names.items() if other is not None}
    twice = [n for n in names.values() if list(names.values()).count(n) > 1]
    if twice:
        raise UserError(
            f"`variables` gives {_listed(twice)} more than one recorded variable"
        )
    unknown = [name for name, other in names.items() if other not in state]
    if unknown:
        raise UserError(
            f"the implementation has no variables for the trace's "
            f"{_listed(unknown)}; name theirs in `variables`, or null"
        )
    # A step count that the script did not keep decides nothing.
    lacking = [
        name
        for name in state
        if name not in names.values() and lockstep.kind_of(name) != "step count"
    ]
    if lacking:
        raise UserError(
            f"the trace has no values for the implementation's {_listed(lacking)}; "
            "name its own in `variables`"
        )
    for variable in trace.variables:
        if variable.name in names:
            _check_shape(variable, state[names[variable.name]])
    return names


def _input_names(inputs):
    _check_known("inputs", "the arguments", inputs, ARGUMENTS)
    return {argument: inputs.get(argument, argument) for argument in ARGUMENTS}


def _methods(trace, implementation, steps):
    phases = [phase.name for phase in trace.phases]
    _check_known("steps", "the trace's phases", steps, phases)
    methods = {phase: steps.get(phase, phase) for phase in phases}
    for phase, method in methods.items():
        if method not in lockstep.PHASES or not hasattr(implementation, method):
            raise UserError(
                f"phase '{phase}' of the trace is no step of the implementation; "
                f"say in `steps` which of {_listed(lockstep.PHASES)} it is"
            )
    return methods


def _check_known(argument, what, given, known):
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UserError(
            f"`{argument}` names {_listed(unknown)}, not among {what}: "
            f"{_listed(known)}"
        )


def _check_shape(variable, other):
    if variable.shape != np.shape(other):
        raise UserError(
            f"variable '{variable.name}' has the shape {variable.shape}, that "
            f"of the implementation {np.shape(other)}; choose the model that was "
            "recorded, or mend `variables`"
        )


def _listed(names):
    names = [f"'{name}'" for name in names]
    more = "" if len(names) <= 4 else f" and {len(names) - 4} more"
    return ", ".join(names[:4]) + more if names else "none"
