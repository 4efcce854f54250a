"""Finds the train ops of a graph: what each trains, with what, and what it counts."""

import dataclasses
import difflib
from typing import Dict, Iterable, List, Sequence, Set, Tuple, Union

import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration.audit.model import Model
from tf2gan.migration.audit.train_op_names import (
    train_op_members,
    train_op_names,
)
from tf2gan.migration.audit.variables import (
    HANDLE,
    REFERENCES,
    Write,
    argument_names,
)

# What an optimizer's kernel takes that is no constant of the optimizer.
_NO_CONSTANT = {"", "grad", "indices", "delta"}
_POWER = "_power"
# More than any GAN has; a file may name any number.
MOST_TRAIN_OPS = 100

Constant = Union[float, int, bool, str]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optimizer with constants, and the variables that it trains with them.

    Attributes:
      name: that of its kernel, as "Adam"; "" where variables are assigned to
        without one.
      constants: names and values; a text where the graph holds no value, as
        "placeholder lr".
      variables: their names.
    """

    name: str
    constants: Tuple[Tuple[str, Constant], ...]
    variables: Tuple[str, ...]


@dataclasses.dataclass
class TrainOp:
    """An operation that trains.

    Attributes:
      name: its name.
      runs: other train ops that it runs, by name.
      operations: the names of all that it runs.
      optimizers: what it trains with.
      steps: the step counts that it increases, by name, with the operations.
    """

    name: str
    runs: List[str]
    operations: Set[str]
    optimizers: List[Optimizer]
    steps: Dict[str, List[str]]

    @property
    def variables(self) -> List[str]:
        """The names of the variables that it trains."""
        found = [v for o in self.optimizers for v in o.variables]
        return list(dict.fromkeys(found))


def find_train_ops(model: Model, names: Sequence[str] = ()) -> List[TrainOp]:
    """Returns the train ops of a graph.

    Args:
      model: the graph.
      names: of the train ops; without any they are what a user would run.

    Raises:
      UserError: if the graph has no operation of a given name.
    """
    members = train_op_members(model)
    chosen = [_checked(model, name) for name in names]
    chosen = chosen or train_op_names(model, members)
    if len(chosen) > MOST_TRAIN_OPS:
        raise UserError(
            f"'{model.graph.source}' has {len(chosen):,} train ops, more than "
            f"{MOST_TRAIN_OPS}; name those to audit with --train_op"
        )
    operations = {name: model.flow.ancestors(name) for name in chosen}
    return [
        _train_op(
            model, name, operations[name], _inside(name, operations, members)
        )
        for name in chosen
    ]


def _checked(model, name):
    operation = name.partition(":")[0]
    if operation in model.flow.nodes:
        return operation
    near = difflib.get_close_matches(operation, model.flow.nodes, n=3)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise UserError(
        f"--train_op='{name}': the graph has no such operation{hint}"
    )


def _inside(name, operations, members):
    """Returns the train ops that another one runs."""
    return [
        member
        for member in dict.fromkeys([*members, *operations])
        if member != name and member in operations[name]
    ]


def _train_op(model, name, operations, runs):
    writes = [
        write
        for write in model.variables.writes
        if write.node.name in operations and model.flow.runs(write.node.name)
    ]
    steps: Dict[str, List[str]] = {}
    for write in writes:
        if _counts(model, write):
            steps.setdefault(write.variable, []).append(write.node.name)
    return TrainOp(name, runs, operations, _optimizers(model, writes), steps)


def _counts(model, write):
    return (
        write.node.op in ("AssignAdd", "AssignAddVariableOp")
        and model.variables.all[write.variable].counts
    )


def _optimizers(model, writes: Iterable[Write]) -> List[Optimizer]:
    applied = [w for w in writes if w.optimizer]
    groups: Dict[Tuple, Dict[str, None]] = {}
    for write in applied:
        key = (write.optimizer, _constants(model, write))
        groups.setdefault(key, {}).setdefault(write.variable)
    for write in writes:
        if not write.optimizer and write.variable in model.weights:
            groups.setdefault(("", ()), {}).setdefault(write.variable)
    return [
        Optimizer(name, constants, tuple(variables))
        for (name, constants), variables in groups.items()
    ]


def _constants(model, write):
    node = write.node
    names = argument_names(node.op, len(node.inputs))
    found = [
        (name, constant(model, tensor))
        for name, tensor in zip(names, node.inputs)
        if tensor in write.values
        and name not in _NO_CONSTANT
        and not name.endswith(_POWER)
    ]
    if "use_nesterov" in node.attr and node.attr["use_nesterov"].b:
        found.append(("use_nesterov", True))
    return tuple(found)


def constant(model: Model, tensor) -> Constant:
    """Returns the value of a scalar, or a text that says where it is from."""
    root = _before_casts(model, tensor)
    node = model.flow.nodes[root[0]]
    value = model.flow.constant(root)
    if value is not None:
        return _shortest(value)
    if node.op in ("Placeholder", "PlaceholderWithDefault", "PlaceholderV2"):
        return f"placeholder {node.name}"
    variables = model.variables.behind(root)
    if node.op in REFERENCES or node.op == HANDLE or variables:
        return f"variable {', '.join(sorted(variables)) or node.name}"
    return f"computed by {node.name}"


def _before_casts(model, tensor):
    seen, root = set(), model.flow.root(tensor)
    while root not in seen and model.flow.nodes[root[0]].op == "Cast":
        seen.add(root)
        root = model.flow.root(model.flow.nodes[root[0]].inputs[0])
    return root


def _shortest(value):
    """Returns the number as one would write it: 0.001 is no float32 number."""
    if isinstance(value, np.floating):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else str(value)
