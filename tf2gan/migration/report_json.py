"""Writes a comparison's report as JSON, for other programs."""

import dataclasses
import json
import math
from typing import Any, Dict, Optional

from tf2gan.migration import dataflow
from tf2gan.migration.hazards import HAZARDS
from tf2gan.migration.report import Difference, Report, Tensor

FORMAT = "tf2gan comparison"
VERSION = 2


def to_json(report: Report) -> str:
    """Returns the report as a JSON object.

    Its members: `format` and `version`; `settings`, `warnings`, `tolerance`,
    `iterations`, `alike`; `unordered`, the moving averages that a recording updated
    in another order than the candidate, and `raced`, whether these are all that
    differs, so that the two are not `alike` and there is no `first`;
    `averages_aside`, whether moving averages were not compared at all; `first`, the
    first difference or null; `causes`, each with the texts of the catalogue;
    `averages`, the verdicts on moving averages;
    `dataflow`, the tree of the step that differed first; `tensors`, each with its
    largest differences, the tolerance it would need and its history as rows of
    iteration, phase, absolute and relative difference. Where a difference is not
    finite, since one side lacks the tensor or has another shape or NaN, it is null.
    Of a replay `compared_wholly` and `compared_by_losses` are the steps, as iteration
    and phase, with and without recorded variables, and `without_causes` those that
    differ and whose variables before were not recorded; `unrecorded` are the phases
    without a call, and with one the two are not `alike`; `not_shown` says which of
    activations and gradients the implementation does not give; `losses` what its
    loss and the recorded one were recognised as, by step, where they differ, empty if
    unknown.
    """
    return json.dumps(as_dictionary(report), indent=1, allow_nan=False)


def as_dictionary(report: Report) -> Dict[str, Any]:
    """Returns what `to_json` writes."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "settings": dict(report.settings),
        "warnings": list(report.warnings),
        "notes": list(report.notes),
        "tolerance": dataclasses.asdict(report.tolerance),
        "iterations": report.iterations,
        "compared_wholly": report.wholly,
        "compared_by_losses": report.by_losses,
        "without_causes": report.without_causes,
        "unrecorded": report.unrecorded,
        "not_shown": report.not_shown,
        "losses": report.losses,
        "alike": report.alike,
        "first": _difference(report.first),
        "raced": report.raced,
        "averages_aside": report.averages_aside,
        "unordered": [_difference(d) for d in report.unordered()],
        "causes": [_cause(cause) for cause in report.causes],
        "averages": [dataclasses.asdict(row) for row in report.averages],
        "dataflow": _dataflow(report),
        "tensors": [_tensor(tensor) for tensor in report.tensors()],
    }


def _difference(difference: Optional[Difference]):
    if difference is None:
        return None
    return dict(
        dataclasses.asdict(difference),
        absolute=_finite(difference.absolute),
        relative=_finite(difference.relative),
    )


def _cause(cause):
    hazard = dataclasses.asdict(HAZARDS[cause.hazard])
    hazard.pop("key")
    return dict(dataclasses.asdict(cause), catalogue=hazard)


def _dataflow(report):
    iteration, phase = dataflow.moment(report)
    stages = [
        {
            "name": node.name,
            "status": node.status,
            "first": node.first,
            "tensors": [
                {
                    "name": leaf.name,
                    "status": dataflow.OK
                    if leaf.allowed
                    else dataflow.DIFFERENT,
                }
                for leaf in node.leaves
            ],
        }
        for node in dataflow.tree(report)
    ]
    return {"iteration": iteration, "phase": phase, "stages": stages}


def _tensor(tensor: Tensor):
    return {
        "kind": tensor.kind,
        "name": tensor.name,
        "true_gradient": not tensor.noisy,
        "allowed": tensor.allowed,
        "absolute": _finite(tensor.absolute),
        "relative": _finite(tensor.relative),
        "needed": _finite(tensor.needed),
        "history": [
            [d.iteration, d.phase, _finite(d.absolute), _finite(d.relative)]
            for d in tensor.history
        ],
    }


def _finite(value):
    return value if math.isfinite(value) else None
