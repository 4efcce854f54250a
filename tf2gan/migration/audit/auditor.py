"""Audits a graph: its train ops, its moving averages and all that is found."""

import dataclasses
from typing import Dict, List, Optional, Sequence

from tf2gan.migration import graphs
from tf2gan.migration.audit import checks, operations
from tf2gan.migration.audit.averages import Averages
from tf2gan.migration.audit.findings import Finding, by_severity
from tf2gan.migration.audit.model import Model
from tf2gan.migration.audit.subject import Subject
from tf2gan.migration.audit.train_ops import TrainOp, find_train_ops

NO_TRAIN_OP = (
    "the graph has no train op: nothing can be said about updates; --train_op "
    "names one"
)


@dataclasses.dataclass
class Audit:
    """What an audit says.

    Attributes:
      graph: what was audited.
      count: how many operations it has, those in functions once for each call.
      train_ops: what each train op trains, and with what.
      updates: by moving average and train op the number of updates in one run.
      saved: the moving averages that are saved, and left out by no Saver of their
        layer; None without a Saver.
      findings: what is wrong or may be, the worst first.
      remarks: what could not be checked.
    """

    graph: graphs.Graph
    count: int
    train_ops: List[TrainOp]
    updates: Dict[str, Dict[str, int]]
    saved: Optional[List[str]]
    findings: List[Finding]
    remarks: List[str]


def audit(graph: graphs.Graph, train_ops: Sequence[str] = ()) -> Audit:
    """Audits a graph without running it.

    Args:
      graph: as `graphs.read` gives it.
      train_ops: the names of the operations that train; without any they are found.

    Raises:
      UserError: if the graph is damaged or has no operation of a given name.
    """
    model = Model(graph)
    averages = Averages(model)
    subject = Subject(model, averages, find_train_ops(model, train_ops))
    every = (
        *checks.CHECKS,
        operations.missing_operations,
        operations.missing_gpu_kernels,
    )
    remarks = [] if subject.train_ops else [NO_TRAIN_OP]
    return Audit(
        graph,
        len(model.flow.nodes),
        subject.train_ops,
        _updates(subject),
        _saved(subject),
        by_severity([finding for check in every for finding in check(subject)]),
        remarks + operations.remarks(),
    )


def _updates(subject):
    """Returns {average: {train op: how many updates one run makes}}."""
    return {
        average.name: {
            train_op.name: subject.averages.count(
                update
                for update in average.updates
                if update.name in train_op.operations
            )
            for train_op in subject.train_ops
        }
        for average in subject.averages.all.values()
    }


def _saved(subject):
    if not subject.model.savers:
        return None
    saved = set().union(*subject.model.savers.values())
    for left_out in checks.left_out(subject).values():
        saved -= set(left_out)
    return [name for name in subject.averages.all if name in saved]
