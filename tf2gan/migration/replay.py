"""Runs an implementation on a recorded training and names the first difference.

It gets the recorded variables and, call by call, the recorded inputs; after every
call, all that was recorded is compared in the order in which a step computes it:
feed, loss, gradient, slot, weight, moving average, step count.

A script whose two updates of a moving average race (on real and on generated images,
in one `session.run`) recorded one of several results. Where a recorded average is,
within the tolerance, that of another order than the candidate's, this is no fault of
the candidate: the report has it as the unordered update that it is, names the race, and
calls the two neither alike nor the average a first difference. The candidate goes on
with the recorded value.

A recording may have variables after chosen steps only. Between these the candidate runs
freely, and of a step without them feeds and losses are compared. A cause is looked for
where the variables before a step are known: at the beginning, and after a step with
variables.
"""

import dataclasses
from typing import Any, Dict, Mapping, Optional

import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import (
    average_names,
    averages,
    implementations,
    lockstep,
    traces,
    trials,
)
from tf2gan.migration.evidence import Evidence, Side
from tf2gan.migration.report import Report, Tolerance

ARGUMENTS = lockstep.FEEDS


def replay(
    folder: str,
    implementation: Any,
    tolerance: Tolerance = Tolerance(),  # noqa: B008 (frozen)
    inputs: Optional[Dict[str, str]] = None,
    steps: Optional[Dict[str, str]] = None,
    variables: Optional[Mapping[str, Optional[str]]] = None,
    resync: bool = False,
    stop: bool = False,
    averages_aside: bool = False,
) -> Report:
    """Runs the recorded steps and compares them with the record.

    In the report, iteration n is the n-th call of its phase. Tensors and phases have
    their recorded names; what causes say of tensors is in the implementation's.

    Args:
      folder: written by `tf1gan/trace.py`.
      implementation: has the methods that `lockstep.run` describes; of those that the
        trace has no counterpart of, activations serve to find causes, and samples
        are not drawn.
      tolerance: how far the two may be apart.
      inputs: {"images": recorded name, "latent": recorded name}; the same names if
        None. A call that had only one of them gets the other from the call before.
      steps: {phase of the trace: method}; the same names if None.
      variables: {recorded name: name in the implementation, or None for one that it
        does not have}; a layer's name stands for its variables, a variable's for its
        slots. Names that are not in it, and all if None, are the same on both sides.
      resync: whether to load the recorded variables after each call that has them, so
        that each step's own fault shows and not only the first.
      stop: whether to end at the first difference.
      averages_aside: whether to leave moving averages uncompared and give the
        implementation the recorded ones after each call that has them.

    Returns:
      All comparisons, and causes and verdicts as `lockstep.run` gives them.

    Raises:
      UserError: if the trace cannot be read, or does not fit the implementation.
    """
    trace = traces.read(folder)
    side = _Implementation(trace, implementation, inputs, steps, variables)
    comparison = _Comparison(
        tolerance, side, trace.initial_state(), resync, averages_aside
    )
    report = Report(
        tolerance=tolerance,
        warnings=trace.warnings(),
        averages_aside=averages_aside,
    )
    for call in trace.calls():
        evidence = comparison.call(call)
        _take_into(report, call, evidence, resync, side)
        if stop and report.first:
            break
        if resync:
            side.load(call.variables)
    else:
        _note_unrecorded(report, trace)
    shown = ("activations", "gradients")
    report.losses = comparison.losses
    report.not_shown = [what for what in shown if not side.has_shown(what)]
    return report


def _note_unrecorded(report, trace):
    """Says which phases were never compared."""
    compared = report.phases()
    report.unrecorded = [
        phase.name for phase in trace.phases if phase.name not in compared
    ]
    for phase in report.unrecorded:
        report.warnings.append(
            f"the trace has no call of {phase}, so nothing of it was compared; "
            "record more calls"
        )


def _take_into(report, call, evidence, resync, side):
    """Adds a call's comparisons, and says how much was compared."""
    step = (evidence.iteration, call.phase)
    report.iterations = max(report.iterations, evidence.iteration)
    (report.wholly if call.variables else report.by_losses).append(step)
    is_known = bool(evidence.reference.before)
    is_first = not report.first
    labels = _Labels(side, call.phase)
    lockstep.take_into(report, evidence, resync, labels.on, is_known)
    differs = not all(d.allowed for d in evidence.differences)
    if differs and not is_known and (resync or is_first):
        report.without_causes.append(step)


class _Implementation:
    """An implementation that takes what the trace holds, by its own names."""

    def __init__(self, trace, implementation, inputs, steps, variables):
        self._wrapped = implementation
        self._names = _names(trace, implementation.state(), variables or {})
        self.recorded_names = {v: k for k, v in self._names.items()}
        self._inputs = _input_names(inputs or {})
        self._steps = _methods(trace, implementation, steps or {})
        self._arguments = {}
        self._shown = set()
        self.optimizer_counts = getattr(
            implementation, "optimizer_counts", frozenset()
        )
        self._trained = {v.name for v in trace.variables if v.trainable}
        self._trained.update(n for phase in trace.phases for n in phase.trains)

    def kind(self, recorded, own):
        """Returns the kind of a variable.

        Where the trace's name does not say that it is a moving average, the
        implementation's may, or that nothing trains it.
        """
        kind = lockstep.kind_of(recorded)
        if kind != "weight" or recorded in self._trained:
            return kind
        is_average = average_names.is_average(recorded)
        return "moving average" if is_average else lockstep.kind_of(own)

    def own(self, recorded):
        """Returns recorded arrays by the implementation's names."""
        return {
            self._names[name]: value
            for name, value in recorded.items()
            if name in self._names
        }

    def load(self, recorded):
        """Sets the variables that are given, and leaves the others."""
        if recorded:
            self.load_own(self.own(recorded))

    def load_own(self, values):
        """Does the same by the implementation's names."""
        state = dict(self._wrapped.state())
        state.update(values)
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
                    f"{_listed(call.inputs)}; say in --inputs which of them is "
                    f"'{argument}', as in {argument}=NAME"
                )
        return dict(self._arguments)

    def feed(self):
        """Returns what the implementation feeds its networks."""
        if not hasattr(self._wrapped, "feed"):
            return dict(self._arguments)
        return self._wrapped.feed(*self._batch())

    def shows(self, method):
        """Whether it has gradients or activations to show."""
        return hasattr(self._wrapped, method)

    def shown(self, method):
        """Returns its gradients or activations; nothing if it cannot show them."""
        if not self.shows(method):
            return {}
        found = _copies(getattr(self._wrapped, method)(*self._batch()))
        if found:
            self._shown.add(method)
        return found

    def variants(self, candidate):
        """Returns activations with changed constants, from before its step."""
        if not self.shows("variants"):
            return []
        self.load_own(candidate.before)
        found = self._wrapped.variants(*self._batch())
        self.load_own(candidate.after)
        return found

    def has_shown(self, method):
        """Whether there have been gradients or activations at least once."""
        return method in self._shown

    def method(self, phase):
        """Returns which step a phase of the trace is."""
        return self._steps[phase]

    def step(self, phase):
        """Trains; returns the loss."""
        return np.array(
            getattr(self._wrapped, self.method(phase))(*self._batch())
        )

    def state(self):
        """Returns copies of the variables that the trace has."""
        state = self._wrapped.state()
        known = {n: v for n, v in state.items() if n in self.recorded_names}
        return _copies(known)

    def _batch(self):
        return [self._arguments[argument] for argument in ARGUMENTS]


@dataclasses.dataclass(frozen=True)
class _Labels:
    """The trace's names, for what was found under those of the implementation."""

    side: _Implementation
    phase: str

    def on(self, entry):
        """Returns a difference, verdict or cause with them."""
        changes = {"phase": self.phase}
        name = getattr(entry, "name", None)
        if name in self.side.recorded_names:
            changes["name"] = self.side.recorded_names[name]
        if getattr(entry, "kind", None) == "loss":
            changes["name"] = self.phase
        return dataclasses.replace(entry, **changes)


class _Comparison:
    """Compares calls, and knows the recorded state and which gradients are zero."""

    def __init__(self, tolerance, side, initial, resync, averages_aside):
        self._tolerance, self._side = tolerance, side
        self._resync, self._has_differed = resync, False
        self._averages_aside = averages_aside
        self._calls = {}
        self.losses = {}  # of both sides, by step, where looked for
        self._noisy = set()
        self._recorded = side.own(initial)  # empty where nothing is
        self._previous = None
        side.load(initial)

    def call(self, call) -> Evidence:
        """Runs a recorded call and compares, in order."""
        number = self._calls[call.phase] = self._calls.get(call.phase, 0) + 1
        self._side.load(call.changed)
        fed = self._side.take_inputs(call)
        reference, candidate = self._reference(call, fed), self._before()
        if number == 1:
            self._note_noisy(reference, candidate)
        candidate.loss = self._side.step(call.phase)
        candidate.after = self._side.state()
        evidence = Evidence(
            number,
            self._side.method(call.phase),
            reference,
            candidate,
            previous=self._previous,
            recorded=True,
            optimizer_counts=self._side.optimizer_counts,
        )
        self._compare_all(evidence)
        self._settle(evidence)
        self._allow_unordered(evidence)
        if self._averages_aside:
            self._take_averages(evidence.reference.after)
        self._previous = dataclasses.replace(evidence, previous=None)
        return evidence

    def _reference(self, call, fed):
        """Returns what was recorded; no variables where they were left out."""
        before = self._recorded
        if before:
            before = dict(before, **self._side.own(call.changed))
        after = self._recorded = self._side.own(call.variables)
        return Side(
            before=before,
            after=after,
            loss=call.loss,
            feed=fed,
            gradients=self._side.own(call.gradients),
        )

    def _before(self):
        """Returns what the implementation shows before it runs a step."""
        return Side(
            before=self._side.state(),
            feed=_copies(self._side.feed()),
            activations=self._side.shown("activations"),
            gradients=self._side.shown("gradients"),
        )

    def _note_noisy(self, reference, candidate):
        """Finds a network's variables with no gradient but rounding noise."""
        # With an unknown optimizer none are recorded.
        groups = [reference.gradients] if reference.gradients else []
        for group in groups or _split(candidate.gradients):
            sizes = {n: np.max(np.abs(v), initial=0) for n, v in group.items()}
            bound = self._tolerance.quiet * max(sizes.values())
            self._noisy.update(name for name, x in sizes.items() if x < bound)

    def _compare_all(self, evidence):
        one, other = evidence.sides
        found = [
            ("feed", n, (v, other.feed.get(n))) for n, v in one.feed.items()
        ]
        found.append(("loss", evidence.phase, (one.loss, other.loss)))
        if self._side.shows("gradients"):
            found += [
                ("gradient", name, (value, other.gradients.get(name)))
                for name, value in one.gradients.items()
            ]
        found += self._states(one.after, other.after)
        if self._averages_aside:
            found = [item for item in found if item[0] != "moving average"]
        evidence.differences = [
            self._compare(evidence, kind, name, values)
            for kind, name, values in found
        ]

    def _states(self, recorded, state):
        """Returns kind, name and both values of the variables, in order of kinds."""
        names = self._side.recorded_names
        found = [
            (self._side.kind(names[name], name), name, (value, state.get(name)))
            for name, value in recorded.items()
        ]
        return sorted(found, key=lambda item: lockstep.KINDS.index(item[0]))

    def _compare(self, evidence, kind, name, values):
        noisy = any(name == n or name.startswith(n + "/") for n in self._noisy)
        return lockstep.compare(
            evidence, kind, name, values, noisy, self._tolerance
        )

    def _settle(self, evidence):
        """Looks for the activations behind a loss where a cause is looked for."""
        wanted = self._resync or not self._has_differed
        self._has_differed |= not all(d.allowed for d in evidence.differences)
        if wanted and evidence.differs("loss") and evidence.reference.before:
            variants = self._side.variants(evidence.candidate)
            losses = trials.settle(evidence, variants, self._tolerance.relative)
            if variants:
                self.losses[evidence.phase] = losses

    def _take_averages(self, recorded):
        averages_ = {
            name: value
            for kind, name, (value, _) in self._states(recorded, {})
            if kind == "moving average"
        }
        if averages_:
            self._side.load_own(averages_)

    def _allow_unordered(self, evidence):
        """Tells averages that the recording updated in another order from others."""
        if all(difference.allowed for difference in evidence.differences):
            return
        results = averages.unordered(evidence)
        recorded = evidence.reference.after
        accepted = {}
        for place, difference in enumerate(evidence.differences):
            name = difference.name
            for order, value in results.get(name, ()):
                explained = dataclasses.replace(
                    self._compare(
                        evidence, difference.kind, name, (recorded[name], value)
                    ),
                    unordered=order,
                )
                if explained.allowed:
                    evidence.differences[place] = explained
                    accepted[name] = recorded[name]
        if accepted:
            self._side.load_own(accepted)


def _copies(named):
    """An implementation may hand out what it goes on changing."""
    return {name: np.array(value) for name, value in named.items()}


def _split(gradients):
    """Returns the gradients of each network apart."""
    groups = {}
    for name, value in (gradients or {}).items():
        groups.setdefault(name.split("/")[0], {})[name] = value
    return list(groups.values())


def _names(trace, state, variables):
    """Returns {recorded name: implementation's name}; UserError unless they fit."""
    recorded = [variable.name for variable in trace.variables]
    unknown = [
        name
        for name in variables
        if not any((n + "/").startswith(name + "/") for n in recorded)
    ]
    if unknown:
        raise UserError(
            f"--name_map names {_listed(unknown)}, not among the trace's "
            f"variables: {_listed(recorded)}"
        )
    names = {
        name: implementations.renamed(name, variables) for name in recorded
    }
    names = {name: other for name, other in names.items() if other is not None}
    twice = [n for n in names.values() if list(names.values()).count(n) > 1]
    if twice:
        raise UserError(
            f"--name_map gives {_listed(twice)} more than one recorded variable"
        )
    unknown = [name for name, other in names.items() if other not in state]
    if unknown:
        raise UserError(
            f"the implementation has no variables for the trace's "
            f"{_listed(unknown)}; name its own in --name_map, or null"
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
            "name the trace's in --name_map"
        )
    for variable in trace.variables:
        if variable.name in names:
            _check_shape(variable, state[names[variable.name]])
    return names


def _input_names(inputs):
    _check_known("--inputs", "the arguments", inputs, ARGUMENTS)
    return {argument: inputs.get(argument, argument) for argument in ARGUMENTS}


def _methods(trace, implementation, steps):
    phases = [phase.name for phase in trace.phases]
    _check_known("--steps", "the trace's phases", steps, phases)
    methods = {phase: steps.get(phase, phase) for phase in phases}
    for phase, method in methods.items():
        if method not in lockstep.PHASES or not hasattr(implementation, method):
            raise UserError(
                f"phase '{phase}' of the trace is no step of the implementation; "
                f"say in --steps which of {_listed(lockstep.PHASES)} it is, as in "
                f"{phase}={lockstep.PHASES[0]}"
            )
    return methods


def _check_known(argument, what, given, known):
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UserError(
            f"{argument} names {_listed(unknown)}, not among {what}: "
            f"{_listed(known)}"
        )


def _check_shape(variable, other):
    if variable.shape != np.shape(other):
        raise UserError(
            f"variable '{variable.name}' has the shape {variable.shape}, that "
            f"of the implementation {np.shape(other)}; choose the model that was "
            "recorded, or mend --name_map"
        )


def _listed(names):
    names = [f"'{name}'" for name in names]
    more = "" if len(names) <= 4 else f" and {len(names) - 4} more"
    return ", ".join(names[:4]) + more if names else "none"
