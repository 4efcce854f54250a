"""Finds which operations a user runs in order to train."""

import dataclasses
from typing import Dict, FrozenSet, List, Sequence, Set

from tf2gan.migration.audit.dataflow import EXITS, MERGES, SAME
from tf2gan.migration.audit.model import TRAIN_OP, Model

# TF1 names the kernels of an optimizer train_op/update_variable/ApplyAdam.
_UPDATE = "/update_"
# Each is walked from; a file may hold any number.
MOST_CANDIDATES = 1000
MOST_MEMBERS = 101


@dataclasses.dataclass(frozen=True)
class _Runner:
    """An operation that runs train ops or kernels, and what it writes itself.

    Attributes:
      name: its name.
      inside: the train ops that it runs.
      top: those of them that no other of them runs.
      run: all operations that it runs.
      writes: those that change a variable.
    """

    name: str
    inside: FrozenSet[str]
    top: List[str]
    run: Set[str]
    writes: Set[str]


def train_op_members(model: Model) -> List[str]:
    """Returns what optimizers gave as train ops.

    That is the collection TRAIN_OP. Where a graph has no collections, the names of
    the optimizers' kernels tell.
    """
    members = model.collection(TRAIN_OP)[:MOST_MEMBERS]
    return members or _named_by_kernels(model)


def train_op_names(model: Model, members: Sequence[str]) -> List[str]:
    """Returns what a user runs, each once.

    A train op that is grouped with more, as in `tf.group(train_op, updates)`, or
    that more waits for, is run by the name of the group. A group of several train
    ops is listed besides them. What only reads after the training is no train op.

    Args:
      model: the graph.
      members: as `train_op_members` gives them.
    """
    runners = _runners(model, members)
    groups = _without_lists(model, _outermost(model, runners))
    replaced = _repeated(model, members)
    names: Dict[str, None] = {}
    for member in members:
        own = [g.name for g in groups if g.top == [member]]
        names.update(dict.fromkeys(own))
        if not own and member not in replaced:
            names[member] = None
    names.update(dict.fromkeys(g.name for g in groups if len(g.top) > 1))
    found = [*names, *_ends(model, names)]
    return _outside(model, found) or found


def _outside(model, names):
    """Leaves out what is inside of a condition or loop that another one runs."""
    inside = [name for name in names if model.flow.is_inside(name)]
    others = [name for name in names if name not in inside]
    run = set().union(*map(model.flow.ancestors, others)) if inside else set()
    return [name for name in names if name not in inside or name not in run]


def _named_by_kernels(model):
    found: Dict[str, Set[str]] = {}
    for write in model.variables.writes:
        if not write.optimizer or len(found) >= MOST_MEMBERS:
            continue
        kernel = write.node.name
        parts = kernel.split(_UPDATE)
        for count in range(1, len(parts)):
            name = _UPDATE.join(parts[:count])
            if name in model.flow.nodes and name not in found:
                found[name] = model.flow.ancestors(name)
            if kernel in found.get(name, ()):
                break
    return [name for name, run in found.items() if run - {name}]


def _runners(model, members) -> List[_Runner]:
    """Returns what waits for train ops, and adds a write or another train op."""
    run = {member: model.flow.ancestors(member) for member in members}
    inner = set().union(*run.values())
    after = set().union(*(model.flow.descendants(m) for m in members))
    found = []
    for name in _candidates(model, after - inner, after):
        ran = model.flow.ancestors(name)
        inside = [m for m in members if m in ran]
        top = [
            m
            for m in inside
            if not any(m in run[other] for other in inside if other != m)
        ]
        writes = _writes(model, ran)
        more = writes - _writes(model, set().union(*(run[m] for m in top)))
        if len(top) > 1 or more or any(map(model.flow.is_inside, top)):
            found.append(_Runner(name, frozenset(inside), top, ran, writes))
    return found


def _candidates(model, names, after) -> List[str]:
    """Returns those of `names` that one may run for what they do, the last first."""
    found = [
        name
        for name in reversed(model.flow.in_order())
        if name in names and _is_run(model, name, after)
    ]
    return found[:MOST_CANDIDATES]


def _is_run(model, name, after):
    """Tells whether an operation is there for what it does, not for what it reads.

    A value of before that is handed on after the training, such as the loss, is what
    `slim` runs. A variable that is read then, or what is computed then, is not.
    """
    node = model.flow.nodes[name]
    if model.flow.is_inside(name):
        return False
    if node.op == "NoOp" or name in model.variables.at:
        return True
    if model.flow.consumers[name] or model.variables.behind((name, 0)):
        return False
    if _is_outcome(node):
        return True
    return node.op in SAME and not any(
        source in after and not _is_outcome(model.flow.nodes[source])
        for source, _ in node.inputs
    )


def _is_outcome(node):
    """Tells whether an operation gives what a condition, loop or function gave."""
    return node.op in MERGES | EXITS or bool(node.ends)


def _outermost(model, runners: Sequence[_Runner]) -> List[_Runner]:
    """Leaves out what is a part of another one.

    A group of one train op within a group of several stays: either may be run.
    """
    kept: List[_Runner] = []
    for runner in runners:
        outer = [other for other in kept if runner.name in other.run]
        if outer and (
            model.flow.nodes[runner.name].op != "NoOp"
            or any(runner.name.startswith(o.name + "/") for o in outer)
            or any(runner.inside == o.inside for o in outer)
        ):
            continue
        kept = [other for other in kept if not _is_part(other, runner)]
        if not any(_is_part(runner, other) for other in kept):
            kept.append(runner)
    return kept


def _is_part(one, other):
    return one.inside == other.inside and one.writes <= other.writes


def _without_lists(model, groups: Sequence[_Runner]) -> List[_Runner]:
    """Leaves out writes that wait side by side: Python runs them as a list."""
    alone = [g for g in groups if g.name in model.variables.at]
    return [
        group
        for group in groups
        if group not in alone
        or sum(other.inside == group.inside for other in alone) == 1
    ]


def _repeated(model, members):
    """Returns train ops that another one runs without doing more, as in `slim`."""
    run = {member: model.flow.ancestors(member) for member in members}
    writes = {member: _writes(model, run[member]) for member in members}
    return {
        one
        for one in members
        for other in members
        if one != other and one in run[other] and writes[one] == writes[other]
    }


def _ends(model, names) -> List[str]:
    """Returns what is at the end of all that other optimizers' kernels do."""
    ran = set().union(*(model.flow.ancestors(name) for name in names))
    after: Set[str] = set()
    for write in model.variables.writes:
        kernel = write.node.name
        known = kernel in ran or kernel in after
        if write.optimizer and not known and model.flow.runs(kernel):
            after |= model.flow.descendants(kernel)
    found: List[_Runner] = []
    for name in _candidates(model, after, after):
        if not any(name in other.run for other in found):
            run = model.flow.ancestors(name)
            writes = _writes(model, run)
            found.append(_Runner(name, frozenset(), [], run, writes))
    return [group.name for group in _outermost(model, found)][::-1]


def _writes(model, operations):
    return {name for name in operations if name in model.variables.at}
