"""Reads from a graph whose steps each step counter counts.

The file is only parsed, within bounds; nothing of it is imported or run.
"""

from typing import Dict, FrozenSet, NamedTuple

from tf2gan.migration import graphs
from tf2gan.migration.audit.model import Model
from tf2gan.migration.audit.train_ops import find_train_ops


class Counted(NamedTuple):
    """What the train ops train that increase a step counter.

    Attributes:
      always: the names of variables that no other train op trains, where all of
        these train them and count once; their steps are the counter's.
      ever: the names of all that they train.
    """

    always: FrozenSet[str]
    ever: FrozenSet[str]


def read(path: str) -> Dict[str, Counted]:
    """Returns what each step counter counts that train ops increase.

    Args:
      path: of a .meta file.

    Raises:
      UserError: if the file holds no graph, or is damaged or too large.
    """
    train_ops = find_train_ops(Model(graphs.from_file(path)))
    steps = {step for train_op in train_ops for step in train_op.steps}
    return {step: _counted(train_ops, step) for step in steps}


def _counted(train_ops, step):
    counting = [t for t in train_ops if step in t.steps]
    ever = frozenset(v for t in counting for v in t.variables)
    if any(len(train_op.steps[step]) > 1 for train_op in counting):
        return Counted(frozenset(), ever)
    always = (
        variable
        for variable in ever
        if [t for t in train_ops if variable in t.variables] == counting
    )
    return Counted(frozenset(always), ever)
