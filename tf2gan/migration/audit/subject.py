"""What is audited, as every check takes it."""

from typing import Any, Iterable, List, NamedTuple, Tuple

from tf2gan.migration.audit.averages import Average, Averages
from tf2gan.migration.audit.model import Model
from tf2gan.migration.audit.train_ops import TrainOp


class Subject(NamedTuple):
    """What is audited: a graph, its moving averages and its train ops."""

    model: Model
    averages: Averages
    train_ops: List[TrainOp]


def named(found: Iterable[Tuple[Average, Any]]) -> Tuple[Tuple[str, ...], ...]:
    """Returns the operations and the variables of pairs (average, operation)."""
    operations = dict.fromkeys(thing.name for _, thing in found)
    return tuple(operations), tuple(dict.fromkeys(a.name for a, _ in found))
