"""Shows an audit: as aligned tables for the terminal, and as JSON."""

import json
import os
import textwrap
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence

from tf2gan.common.errors import UserError
from tf2gan.migration.audit.auditor import Audit
from tf2gan.migration.audit.findings import Finding

FORMAT = "tf2gan audit 1"
# Longer lists are in the JSON in full.
MOST_NAMES = 3
INDENT = "  "
# Of sentences; with the labels before them they fit a terminal of 80 columns.
WIDTH = 64


def as_text(audit: Audit) -> str:
    """Returns the tables: train ops, moving averages, findings."""
    parts = [_heading(audit)]
    parts += [_train_op(train_op) for train_op in audit.train_ops]
    parts += [_averages(audit)] if audit.updates else []
    parts.append(_findings(audit.findings))
    parts += [f"note: {remark}" for remark in audit.remarks]
    return "\n\n".join(parts)


def as_dictionary(audit: Audit) -> Dict[str, Any]:
    """Returns all of an audit, with every name, as JSON takes it."""
    return {
        "format": FORMAT,
        "graph": audit.graph.source,
        "tensorflow": audit.graph.version,
        "operations": audit.count,
        "train_ops": [_train_op_dictionary(t) for t in audit.train_ops],
        "moving_averages": [
            {
                "variable": name,
                "updates": counts,
                "saved": None if audit.saved is None else name in audit.saved,
            }
            for name, counts in audit.updates.items()
        ],
        "findings": [_finding_dictionary(f) for f in audit.findings],
        "remarks": audit.remarks,
    }


def write_json(audit: Audit, path: str) -> None:
    """Writes an audit as JSON; it may replace an earlier audit, but nothing else.

    Raises:
      UserError: if another file has that name, or it cannot be written.
    """
    target = Path(path)
    content = json.dumps(as_dictionary(audit), indent=2) + "\n"
    try:
        if target.exists() and not _is_audit(target):
            raise UserError(
                f"--json='{path}' is there and is no audit; name another file"
            )
        unfinished = target.with_name(target.name + ".tmp")
        unfinished.write_text(content)
        os.replace(unfinished, target)
    except OSError as error:
        raise UserError(
            f"cannot write --json='{path}': {error.strerror}; name another file"
        ) from error


def _is_audit(path):
    start = json.dumps({"format": FORMAT}, indent=2)[: -len("\n}")]
    with path.open("rb") as file:
        return file.read(len(start)) == start.encode()


def _heading(audit):
    version = audit.graph.version
    written = f", written by TensorFlow {version}" if version else ""
    return f"{audit.graph.source}: {audit.count:,} operations{written}"


def _train_op(train_op):
    rows = [["runs", name] for name in train_op.runs]
    for optimizer in train_op.optimizers:
        constants = [f"{name}={value}" for name, value in optimizer.constants]
        name = optimizer.name or "assignments"
        rows.append(["optimizer", " ".join([name, *constants])])
        rows += [["trains", layer] for layer in _layers(optimizer.variables)]
    rows += [["step", name] for name in train_op.steps]
    return "\n".join([f"train op {train_op.name}", *_table(_once(rows))])


def _layers(variables: Iterable[str]) -> List[str]:
    """Returns texts as "scope: kernel, bias"."""
    layers: Dict[str, List[str]] = {}
    for variable in variables:
        scope, _, name = variable.rpartition("/")
        layers.setdefault(scope, []).append(name)
    return [
        f"{scope}: {', '.join(names)}" if scope else ", ".join(names)
        for scope, names in layers.items()
    ]


def _once(rows):
    """Leaves out a label that is that of the row above."""
    return [
        ["" if i and rows[i - 1][0] == label else label, text]
        for i, (label, text) in enumerate(rows)
    ]


def _averages(audit):
    names = [train_op.name for train_op in audit.train_ops]
    rows = [["updates of", *names, "saved"]]
    for average, counts in audit.updates.items():
        saved = "" if audit.saved is None else _yes(average in audit.saved)
        rows.append([average, *(str(counts[name]) for name in names), saved])
    if audit.saved is None:
        rows = [row[:-1] for row in rows]
    return "\n".join(_table(rows, indent=""))


def _yes(value):
    return "yes" if value else "no"


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "no findings"
    lines = []
    for finding in findings:
        about = f" in {finding.train_op}" if finding.train_op else ""
        lines.append(f"{finding.severity}: {finding.code}{about}")
        rows = [["means", line] for line in _wrapped(finding.meaning)]
        rows += [["cure", line] for line in _wrapped(finding.cure)]
        rows += [["variables", name] for name in _some(finding.variables)]
        rows += [["operations", name] for name in _some(finding.operations)]
        lines += [*_table(_once(rows)), ""]
    return "\n".join(lines[:-1])


def _wrapped(sentence):
    return textwrap.wrap(sentence, WIDTH, break_on_hyphens=False)


def _some(names):
    more = len(names) - MOST_NAMES
    first = list(names[:MOST_NAMES])
    return first + [f"and {more} more"] if more > 0 else first


def _table(rows, indent=INDENT):
    """Returns lines whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        (indent + INDENT.join(map(str.ljust, row, widths))).rstrip()
        for row in rows
    ]


def _train_op_dictionary(train_op):
    return {
        "name": train_op.name,
        "runs": train_op.runs,
        "optimizers": [
            {
                "optimizer": optimizer.name,
                "constants": dict(optimizer.constants),
                "variables": list(optimizer.variables),
            }
            for optimizer in train_op.optimizers
        ],
        "steps": list(train_op.steps),
    }


def _finding_dictionary(finding):
    return {
        "code": finding.code,
        "severity": finding.severity,
        "train_op": finding.train_op,
        "operations": list(finding.operations),
        "variables": list(finding.variables),
        "meaning": finding.meaning,
        "cure": finding.cure,
    }
