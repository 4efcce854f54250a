"""Writes a comparison's report for the terminal, within 100 columns."""

import textwrap
from typing import Dict, Iterator, List, Sequence, Tuple

from tf2gan.migration import dataflow, gan_losses
from tf2gan.migration.hazards import HAZARDS
from tf2gan.migration.report import (
    KINDS,
    NETWORKS,
    AverageVerdict,
    Report,
    Step,
    Tensor,
    in_words,
)

WIDTH = 100
# Of the tensors that need the largest tolerance.
ROWS = 8
MOST_LISTED = 8
# Where causes are told by what an implementation may show.
_TOLD_BY = {
    "activations": "layers and averages",
    "gradients": "labels and between loss and slots",
}
_MARKS = {
    dataflow.OK: "ok",
    dataflow.DIFFERENT: "DIFFERENT",
    dataflow.NOT_COMPARED: "-",
}


def text(report: Report) -> str:
    """Returns the whole report."""
    sections = (
        _verdict(report),
        _causes(report),
        _tree(report),
        _kinds(report),
        _tensors(report),
        _averages(report),
    )
    return "\n\n".join(
        "\n".join(lines) for lines in map(list, sections) if lines
    )


def verdict(report: Report) -> str:
    """Returns the outcome as a sentence."""
    iterations = _count(report.iterations, "iteration")
    if report.first:
        return f"different, first in {report.first}"
    if report.raced:
        return (
            f"different{_compared(report)} only in the order of the recording's own "
            f"updates: no other difference beyond the tolerance in {iterations}; "
            f"{unordered(report)}"
        )
    return (
        f"alike{_compared(report)}: no difference beyond the tolerance in "
        f"{iterations}"
    )


def _compared(report):
    """Returns what was compared, where this is not all."""
    said = ""
    if report.averages_aside:
        said = ", with moving averages set aside"
    if report.unrecorded:
        said += (
            f" in {' and '.join(report.phases())}; "
            f"{' and '.join(report.unrecorded)} not recorded"
        )
    return said


def none_recognised(report: Report) -> str:
    """Returns that no cause was, and what might have shown one."""
    said = [
        f"the port gives no {what}, without which causes in {_TOLD_BY[what]} cannot "
        "be told"
        for what in _wanting(report)
    ]
    said += [_of_losses(step, *both) for step, both in report.losses.items()]
    said += filter(None, [_may_have_raced(report)])
    return "none recognised" + ": " * bool(said) + "; ".join(said)


def _wanting(report):
    """Returns what the port does not show and might tell a cause by.

    Of losses that differ, gradients tell no more than labels of a cross entropy.
    """
    by_labels = [own.startswith("sigmoid") for own, _ in report.losses.values()]
    of_use = not report.losses or any(by_labels)
    return [x for x in report.not_shown if x != "gradients" or of_use]


def _of_losses(step, own, recorded):
    """Returns what was tried to explain a recorded loss."""
    if own:
        return (
            f"the port's loss in the {step} is {own}, but neither another loss nor "
            "this one with other epsilons, slopes or modes gives the recorded one"
        )
    tried = gan_losses.tried(NETWORKS.get(step, ""))
    said = f"the port's loss in the {step} is none of those tried: {tried}; "
    if recorded:
        return (
            f"{said}the recorded loss is {recorded} of the port's own logits, so the "
            "port computes another loss, or calls its networks otherwise"
        )
    return said + "so causes in layers cannot be told by it"


def _may_have_raced(report):
    """Says so where averages alone differ, and what the layers gave is not known."""
    kinds = {t.kind for t in report.tensors() if not t.allowed}
    if "activations" not in report.not_shown or kinds != {"moving average"}:
        return ""
    return (
        "moving averages alone differ, as they do where the script's own updates "
        "of them race: scripts/audit_graph.py on its .meta says if they can"
    )


def unordered(report: Report) -> str:
    """Returns how many updates came in an order that TF1 left to chance, if any."""
    count = len(report.unordered())
    if not count:
        return ""
    return (
        f"{_count(count, 'value')} of moving averages match TF1's unordered "
        "update, in another order than the candidate's"
    )


def coverage(report: Report) -> List[str]:
    """Returns which steps of a replay were compared in part; none if all wholly."""
    if not report.by_losses:
        return []
    return [
        f"compared wholly: {_steps(report.wholly)}",
        "compared by feeds and losses only, as no variables were recorded after "
        f"them: {_steps(report.by_losses)}",
    ]


def without_causes(report: Report) -> str:
    """Returns where, and why, no cause can be told; empty if there is no such step."""
    if not report.without_causes:
        return ""
    return (
        f"no cause can be told of {_steps(report.without_causes)}: the variables "
        "before were not recorded, so the fault may be in an earlier step, and a "
        "moving average may differ by the order of TF1's updates alone; record with "
        "every=1"
    )


def _steps(steps: Sequence[Step]) -> str:
    """Returns as "iterations 1, 3 of d; iteration 2 of g"."""
    phases: Dict[str, List[int]] = {}
    for iteration, phase in steps:
        phases.setdefault(phase, []).append(iteration)
    return "; ".join(
        f"iteration{'s' * (len(found) > 1)} {_listed(found)} of {phase}"
        for phase, found in phases.items()
    )


def _listed(numbers):
    more = len(numbers) - MOST_LISTED
    listed = ", ".join(map(str, numbers[:MOST_LISTED]))
    return f"{listed} and {more} more" if more > 0 else listed


def number(value: float) -> str:
    """Returns a difference in few characters."""
    return "0" if value == 0 else f"{value:.2e}"


def grouped_averages(
    report: Report,
) -> List[Tuple[AverageVerdict, List[str]]]:
    """Returns verdicts that say the same of several averages of a phase as one."""
    groups = {}
    for row in report.averages:
        key = (
            row.iteration,
            row.phase,
            row.name.partition("/")[0],
            row.reference,
            row.candidate,
            row.alike,
        )
        groups.setdefault(key, []).append(row)
    return [(rows[0], [row.name for row in rows]) for rows in groups.values()]


def worst_first(tensors: Sequence[Tensor]) -> List[Tensor]:
    """Sorts tensors by the tolerance that they would need."""
    return sorted(tensors, key=lambda tensor: -tensor.needed)


def table(
    rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> List[str]:
    """Aligns rows in columns; those numbered in `right` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def _verdict(report) -> Iterator[str]:
    for name, value in report.settings.items():
        yield from _indented(f"{name:14} {value}", 0, 15)
    if report.settings:
        yield ""
    for warning in report.warnings:
        yield from _indented(f"warning: {warning}", 0, 9)
    for note in report.notes:
        yield from _indented(f"note: {note}", 0, 6)
    if report.warnings or report.notes:
        yield ""
    yield from textwrap.wrap(verdict(report), WIDTH, break_on_hyphens=False)
    for sentence in coverage(report):
        yield from _indented(sentence, 0)
    if report.first and report.unordered():
        yield from textwrap.wrap(unordered(report), WIDTH)


def _causes(report) -> Iterator[str]:
    if report.first is None and not report.raced:
        return
    if report.causes:
        yield "likely causes"
    else:
        yield from _indented(f"likely causes: {none_recognised(report)}", 0)
    yield from _indented(without_causes(report), 2, 0)
    for number_, cause in enumerate(report.causes, 1):
        hazard = HAZARDS[cause.hazard]
        yield from _indented(f"{number_}. {cause.finding}", 2)
        for name, value in (
            ("measured", cause.measured),
            ("where", f"iteration {cause.iteration}, {cause.phase}"),
            ("cause", hazard.cause),
            ("cure", hazard.cure),
        ):
            yield from _indented(f"{name:9}{value}", 5, 9)


def _indented(content, indent, more=3):
    return textwrap.wrap(
        content,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + more),
        break_on_hyphens=False,
    )


def _tree(report) -> Iterator[str]:
    iteration, phase = dataflow.moment(report)
    yield f"dataflow of iteration {iteration}, {phase}"
    for node in dataflow.tree(report):
        mark = _MARKS[node.status]
        yield f"  {mark:10} {node.name:42} {node.summary()}"
        for leaf in node.different()[:ROWS]:
            here = "<- first" if leaf is report.first else ""
            apart = _short(leaf.note or number(leaf.counted), 25)
            name = _short(leaf.name, 75 - max(len(apart), 15))
            gap = " " * (76 - len(name) - len(apart))
            yield f"{'':13}{name}{gap}{apart} {here}".rstrip()
        left = len(node.different()) - ROWS
        if left > 0:
            yield f"             and {left} more"


def _kinds(report) -> Iterator[str]:
    yield "largest differences by kind"
    rows = [("kind", "absolute", "relative", "tensor", "iteration")]
    for kind in KINDS:
        largest = report.largest.get(kind)
        if largest:
            rows.append(_row(kind, largest))
    if report.noisiest:
        rows.append(_row("no true gradient", report.noisiest))
    yield from ("  " + line for line in table(rows, (1, 2, 4)))


def _row(kind, difference):
    return (
        kind,
        number(difference.absolute),
        number(difference.relative),
        _short(difference.name, 48),
        str(difference.iteration),
    )


def _tensors(report) -> Iterator[str]:
    """The tolerance that would be needed, of the worst tensors."""
    plain = [t for t in report.tensors() if not t.noisy and t.relative]
    noisy = [t for t in report.tensors() if t.noisy and t.absolute]
    bounds = report.tolerance
    yield from _needed(
        f"relative tolerance needed ({bounds.relative:g} is allowed)", plain
    )
    if plain and noisy:
        yield ""
    yield from _needed(
        "without a true gradient, such as biases in front of batch norm: "
        f"absolute ({bounds.noise:g} is allowed)",
        noisy,
    )


def _needed(title, tensors):
    if not tensors:
        return
    yield title
    rows = [
        (
            number(t.needed),
            t.kind,
            _short(t.name, 60),
            "" if t.allowed else "over",
        )
        for t in worst_first(tensors)[:ROWS]
    ]
    yield from ("  " + line for line in table(rows, (0,)))
    if len(tensors) > ROWS:
        yield f"  and {len(tensors) - ROWS} more that need less"


def _averages(report) -> Iterator[str]:
    if not report.averages:
        return
    yield "updates of the moving averages"
    for row, names in grouped_averages(report):
        network = in_words(row.name.partition("/")[0])
        count = _count(len(names), "average")
        yield f"  iteration {row.iteration}, {row.phase}, {count} of {network}"
        if row.reference == row.candidate:
            values = "alike" if row.alike else "from other values"
            yield f"      both: {row.reference}; {values}"
        else:
            yield f"      reference: {row.reference}"
            yield f"      candidate: {row.candidate}"


def _short(name, width):
    """Leaves out the beginning of a long name: its end tells more."""
    return name if len(name) <= width else "..." + name[3 - width :]


def _count(number_, noun):
    return f"{number_} {noun}" + ("" if number_ == 1 else "s")
