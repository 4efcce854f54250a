"""The checks of batch normalization that is in one mode for good."""

from typing import Iterator

from tf2gan.migration.audit.findings import Finding
from tf2gan.migration.audit.nodes import Node
from tf2gan.migration.audit.subject import Subject, named
from tf2gan.migration.audit.updates import FUSED, FUSED_AVERAGES

# Batch norm without the fused kernel: the root of the variance and epsilon.
_ADDITIONS = {"Add", "AddV2"}
_ROOTS = {"Rsqrt", "Sqrt", "Pow"}


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
            yield Finding("training-false", *named(found), train_op.name)


def training_true(subject: Subject) -> Iterator[Finding]:
    """Finds layers in training mode whose averages are there for nothing."""
    unread = [
        (average, update)
        for average, update in subject.averages.updates()
        if not average.uses and subject.model.flow.runs(update.name)
    ]
    if unread:
        yield Finding("training-true", *named(unread))
    alone = [node.name for node in _without_averages(subject)]
    if alone:
        yield Finding("training-true", tuple(alone))


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
