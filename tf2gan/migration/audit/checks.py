"""The checks of updates, Saver and steps: each yields what it finds."""

import itertools
from typing import Dict, Iterator, List, Set

from tf2gan.migration.audit import collisions, modes
from tf2gan.migration.audit.dataflow import exclusive
from tf2gan.migration.audit.findings import Finding
from tf2gan.migration.audit.model import UPDATE_OPS, by_scope, nearest
from tf2gan.migration.audit.subject import Subject, named
from tf2gan.migration.audit.updates import Update

# Updates that only add: two of them give the same sum in either order.
_ADDING = {
    "AssignAdd",
    "AssignSub",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
}
# Pairs grow with the square; more updates of one average are no GAN's.
_MOST_COMPARED = 40


def updates_not_run(subject: Subject) -> Iterator[Finding]:
    """Finds updates that no train op runs."""
    if not subject.train_ops:
        return
    run = {u.name for t in subject.train_ops for _, u in _run_by(subject, t)}
    moving = {a.name for a, u in subject.averages.updates() if u.name in run}
    lost, partly = [], []
    for operation in _not_run(subject, run):
        variables = _written(subject.model, operation)
        group = partly if variables and variables <= moving else lost
        group.append((operation, variables))
    for code, group in (
        ("update-not-run", lost),
        ("update-partly-run", partly),
    ):
        if group:
            names = set().union(*(variables for _, variables in group))
            yield Finding(code, tuple(o for o, _ in group), _sorted(names))


def updates_in_place(subject: Subject) -> Iterator[Finding]:
    """Finds updates outside the collection that come with a layer's output."""
    found = [
        (average, update)
        for average, update in subject.averages.updates()
        if _is_in_place(subject, update)
    ]
    if found:
        yield Finding("update-in-place", *named(found))


def races(subject: Subject) -> Iterator[Finding]:
    """Finds averages with two updates in one run that nothing orders."""
    for train_op in subject.train_ops:
        updates = [
            (average, _of(subject, train_op, average))
            for average in subject.averages.all.values()
        ]
        found = [
            (average, update)
            for average, of_average in updates
            for update in _racing(subject, of_average)
        ]
        if found:
            yield Finding("race", *named(found), train_op.name)
        left = [a.name for a, every in updates if len(every) > _MOST_COMPARED]
        if left:
            yield Finding("not-compared", (), tuple(left), train_op.name)


def foreign_updates(subject: Subject) -> Iterator[Finding]:
    """Finds updates of networks that their train op does not train."""
    for train_op in subject.train_ops:
        trained = set(train_op.variables)
        found = []
        for average, update in _run_by(subject, train_op):
            beside = subject.model.beside(average.name)
            if beside and not beside & trained:
                found.append((average, update))
        if found:
            yield Finding("foreign-update", *named(found), train_op.name)


def averages_not_saved(subject: Subject) -> Iterator[Finding]:
    """Finds averages that a Saver leaves out, where it saves what is beside them."""
    for saver, names in left_out(subject).items():
        if names:
            operations = tuple(subject.model.save_ops[saver])
            yield Finding("average-not-saved", operations, tuple(names))


def left_out(subject: Subject) -> Dict[str, List[str]]:
    """Returns by Saver the averages of its layers that it does not save.

    Of a layer that the scopes do not tell, a Saver of every weight should have them.
    """
    model = subject.model
    others = by_scope(
        set(model.variables.all) - model.slots - set(subject.averages.all)
    )
    found: Dict[str, List[str]] = {saver: [] for saver in model.savers}
    for name in subject.averages.all:
        # Without a train op nothing tells weights from other variables.
        beside = model.beside(name) or nearest(name, others)
        for saver, saved in model.savers.items():
            whole = not beside and model.weights <= saved
            if name not in saved and (whole or beside & saved):
                found[saver].append(name)
    return found


def shared_global_steps(subject: Subject) -> Iterator[Finding]:
    """Finds step counts that more than one train op increases."""
    counted = {step for t in subject.train_ops for step in t.steps}
    for step in sorted(counted):
        counting = [t for t in subject.train_ops if step in t.steps]
        operations = {name for t in counting for name in t.steps[step]}
        if len(counting) > 1 and len(operations) > 1:
            yield Finding("shared-global-step", _sorted(operations), (step,))


CHECKS = (
    updates_not_run,
    updates_in_place,
    races,
    collisions.weights_changed_twice,
    collisions.steps_unordered,
    foreign_updates,
    modes.training_false,
    modes.training_true,
    averages_not_saved,
    shared_global_steps,
)


def _sorted(names):
    return tuple(sorted(names))


def _run_by(subject, train_op):
    """Returns the updates, with their averages, that a train op runs."""
    return [
        (average, update)
        for average in subject.averages.all.values()
        for update in _of(subject, train_op, average)
    ]


def _of(subject, train_op, average):
    return [
        update
        for update in average.updates
        if update.name in train_op.operations
        and subject.model.flow.runs(update.name)
    ]


def _not_run(subject, run):
    """Returns what is in UPDATE_OPS, or updates an average, and is never run."""
    model = subject.model
    waited = set().union(*(t.operations for t in subject.train_ops))
    for operation in model.collection(UPDATE_OPS):
        nearest = [
            name
            for name in model.nearest_writes(operation)
            if model.flow.runs(name)
        ]
        alive = operation in waited and model.flow.runs(operation)
        if not (set(nearest) <= waited if nearest else alive):
            yield operation
    for _, update in subject.averages.updates():
        if (
            update.name in subject.averages.uncollected
            and update.name not in run
            and not subject.averages.in_place(update)
        ):
            yield update.name


def _written(model, operation) -> Set[str]:
    return {
        write.variable
        for name in model.nearest_writes(operation)
        for write in model.variables.at[name]
    }


def _is_in_place(subject, update: Update):
    return (
        update.name in subject.averages.uncollected
        and subject.model.flow.runs(update.name)
        and bool(subject.averages.in_place(update))
    )


def _racing(subject, updates):
    """Returns those of one average's updates that race with another."""
    choices = subject.model.flow.choices
    racing: List[Update] = []
    for one, other in itertools.combinations(updates[:_MOST_COMPARED], 2):
        if not (
            exclusive(choices(one.name), choices(other.name))
            or _commute(one, other)
            or subject.averages.ordered(one, other)
        ):
            racing += [one, other]
    return [update for update in updates if update in racing]


def _commute(one, other):
    return all(not u.reads and u.write.node.op in _ADDING for u in (one, other))
