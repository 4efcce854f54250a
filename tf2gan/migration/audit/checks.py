"""The checks of batch normalization, Saver and steps: each yields what it finds."""

import itertools
from typing import Iterator, List, NamedTuple, Set

from tf2gan.migration.audit.averages import (
    FUSED,
    FUSED_AVERAGES,
    Averages,
    Update,
)
from tf2gan.migration.audit.dataflow import exclusive
from tf2gan.migration.audit.findings import Finding
from tf2gan.migration.audit.model import UPDATE_OPS, Model
from tf2gan.migration.audit.nodes import Node
from tf2gan.migration.audit.train_ops import TrainOp

# Updates that only add: two of them give the same sum in either order.
_ADDING = {
    "AssignAdd",
    "AssignSub",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
}
_ADDITIONS = {"Add", "AddV2"}
_ROOTS = {"Rsqrt", "Sqrt", "Pow"}
# Pairs grow with the square; more updates of one average are no GAN's.
_MOST_COMPARED = 40


class Subject(NamedTuple):
    """What is audited: a graph, its moving averages and its train ops."""

    model: Model
    averages: Averages
    train_ops: List[TrainOp]


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
        yield Finding("update-in-place", *_named(found))


def races(subject: Subject) -> Iterator[Finding]:
    """Finds averages with two updates in one run that nothing orders."""
    for train_op in subject.train_ops:
        found = [
            (average, update)
            for average in subject.averages.all.values()
            for update in _racing(subject, _of(subject, train_op, average))
        ]
        if found:
            yield Finding("race", *_named(found), train_op.name)


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
            yield Finding("foreign-update", *_named(found), train_op.name)


def training_false(subject: Subject) -> Iterator[Finding]:
    """Finds layers in inference mode that a train op cannot but run through."""
    trained = {v for t in subject.train_ops for v in t.variables}
    for train_op in subject.train_ops:
        found = [
            (average, node)
            for average in subject.averages.all.values()
            for node in average.uses
            if node.name in train_op.operations
            and _normalizes_always(subject, node, average.name)
            and _is_trained(subject.model, average.name, trained)
        ]
        if found:
            yield Finding("training-false", *_named(found), train_op.name)


def training_true(subject: Subject) -> Iterator[Finding]:
    """Finds layers in training mode whose averages are there for nothing."""
    unread = [
        (average, update)
        for average, update in subject.averages.updates()
        if not average.uses and subject.model.flow.runs(update.name)
    ]
    if unread:
        yield Finding("training-true", *_named(unread))
    alone = [node.name for node in _without_averages(subject)]
    if alone:
        yield Finding("training-true", tuple(alone))


def averages_not_saved(subject: Subject) -> Iterator[Finding]:
    """Finds averages that a Saver leaves out, where it saves what is beside them."""
    saved = subject.model.saved
    if saved is None:
        return
    left_out = []
    for name in subject.averages.all:
        beside = subject.model.beside(name)
        if name not in saved and (not beside or beside & saved):
            left_out.append(name)
    if left_out:
        yield Finding("average-not-saved", (), tuple(left_out))


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
    foreign_updates,
    training_false,
    training_true,
    averages_not_saved,
    shared_global_steps,
)


def _sorted(names):
    return tuple(sorted(names))


def _named(found):
    """Returns the operations and the variables of pairs (average, operation)."""
    operations = dict.fromkeys(thing.name for _, thing in found)
    return tuple(operations), tuple(dict.fromkeys(a.name for a, _ in found))


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


def _normalizes_always(subject, node: Node, average):
    """Tells whether an operation normalizes by an average, whatever is fed."""
    flow, behind = subject.model.flow, subject.model.variables.behind
    if flow.choices(node.name):
        return False
    if FUSED.fullmatch(node.op):
        taken = [node.inputs[place] for place in FUSED_AVERAGES]
    elif node.op in _ADDITIONS and any(
        consumer.op in _ROOTS for consumer in flow.consumers[node.name]
    ):
        taken = node.inputs
    else:
        return False
    return any(
        all(behind(origin) == {average} for origin in flow.origins(tensor))
        for tensor in taken
    )


def _is_trained(model, average, trained):
    """Tells whether the layer is of a network that is trained; if unknown, it is."""
    beside = model.beside(average)
    return not beside or bool(beside & trained)


def _without_averages(subject):
    """Yields fused kernels in training mode for good whose moments nothing averages.

    Layer normalization uses the kernel too, but with no weight as its scale.
    """
    model = subject.model
    averaged = {m for _, u in subject.averages.updates() for m in u.moments}
    for node in model.flow.nodes.values():
        if (
            FUSED.fullmatch(node.op)
            and node.attr["is_training"].b
            and node.name not in averaged
            and not model.flow.choices(node.name)
            and len(node.inputs) > 1
            and _is_weight(model, node.inputs[1])
        ):
            yield node


def _is_weight(model, tensor):
    root = model.flow.root(tensor)
    frozen = model.flow.nodes[root[0]].op == "Const" and root[0].endswith(
        "gamma"
    )
    return frozen or bool(model.variables.behind(tensor))
