"""Writes a comparison's report as one page that needs nothing else."""

import re
from html import escape
from typing import Iterator, List, Sequence

from tf2gan.migration import dataflow, plot_svg
from tf2gan.migration.hazards import HAZARDS
from tf2gan.migration.report import KINDS, Report, Tensor, in_words
from tf2gan.migration.report_text import (
    coverage,
    grouped_averages,
    none_recognised,
    number,
    unordered,
    verdict,
    without_causes,
    worst_first,
)

_MARKS = {
    dataflow.OK: ("ok", "ok"),
    dataflow.DIFFERENT: ("bad", "different"),
    dataflow.NOT_COMPARED: ("none", "not compared"),
}

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --raised: #f5f6f8;
  --ink: #1b1f24; --soft: #59636e; --line: #d6dae0; --good: #1a7f37;
  --bad: #c62828; --first: #fff0ee; --plain: #0b62c4; --quiet: #8a6100; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b;
  --raised: #1d2127; --ink: #e6e9ed; --soft: #a0aab5; --line: #363c45;
  --good: #57c96f; --bad: #ff8a80; --first: #3a2022; --plain: #6cb2ff;
  --quiet: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 20px 16px 60px; }
h1 { font-size: 1.5em; margin: 0 0 .2em; }
h2 { font-size: 1.15em; margin: 2em 0 .6em; padding-bottom: .2em;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1em; margin: 0 0 .4em; }
code, td.name, .leaf { font-family: ui-monospace, "DejaVu Sans Mono", Menlo,
  Consolas, monospace; font-size: .88em; overflow-wrap: anywhere; }
.verdict { border-left: 5px solid; padding: .5em .9em; margin: .8em 0;
  background: var(--raised); overflow-wrap: anywhere; }
.verdict.ok { border-color: var(--good); }
.verdict.bad { border-color: var(--bad); }
.soft { color: var(--soft); }
.ok > b, b.ok { color: var(--good); }
.bad > b, b.bad { color: var(--bad); }
b.none { color: var(--soft); font-weight: 500; }
.cause { background: var(--raised); border-radius: 6px; padding: .8em 1em;
  margin: 0 0 .8em; }
dl { display: grid; grid-template-columns: minmax(5.5em, max-content) 1fr;
  gap: .15em 1em; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
ol.flow, ol.flow ul { list-style: none; margin: 0; padding: 0; }
ol.flow > li { border-left: 3px solid var(--line); padding: .25em 0 .25em .9em; }
ol.flow > li.ok { border-color: var(--good); }
ol.flow > li.bad { border-color: var(--bad); }
ol.flow summary, ol.flow .stage { display: flex; flex-wrap: wrap; gap: 0 1em; }
ol.flow summary { cursor: pointer; }
ol.flow summary::before { content: "\\25B8"; color: var(--soft); }
ol.flow details[open] summary::before { content: "\\25BE"; }
ol.flow ul { padding: .2em 0 .4em 1.6em; }
.stage-name { min-width: 23em; font-weight: 600; }
li.first-here { background: var(--first); }
.mark { font-weight: 700; color: var(--bad); }
.scroll { overflow-x: auto; max-height: 34em; overflow-y: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93em; }
th, td { text-align: left; padding: .25em .7em .25em 0; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; position: sticky; top: 0;
  background: var(--ground); white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap;
  padding-right: 1.2em;
  font-variant-numeric: tabular-nums; }
td.name { min-width: 16em; } td:first-child { white-space: nowrap; }
.plots { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
figure { margin: 0; background: var(--raised); border-radius: 6px;
  padding: .7em .8em .4em; }
figcaption { font-weight: 600; margin-bottom: .2em; }
svg { width: 100%; height: auto; display: block; }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); }
svg .tick { fill: var(--soft); font-size: 11px; }
svg .bound { stroke: var(--bad); stroke-dasharray: 5 4; }
svg polyline { fill: none; stroke-width: 1.8; }
svg polyline.plain { stroke: var(--plain); } svg circle.plain { fill: var(--plain); }
svg polyline.quiet { stroke: var(--quiet); } svg circle.quiet { fill: var(--quiet); }
.key span { display: inline-block; margin-right: 1em; }
.key i { display: inline-block; width: 1.4em; margin: 0 .3em .25em 0;
  border-top: 3px solid var(--plain); }
.key i.quiet { border-color: var(--quiet); }
.key i.bound { border-top: 2px dashed var(--bad); }
"""

# The page is told to load nothing, should a name ever slip through as markup.
_HEAD = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'\">"
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>{title}</title><style>{style}</style></head><body><main>"
)


def to_html(report: Report) -> str:
    """Returns the whole page."""
    title = "Comparison: " + _outcome(report)[0]
    parts = [
        _HEAD.format(title=title, style=_STYLE),
        *_top(report),
        *_causes(report),
        *_tree(report),
        *_plots(report),
        *_averages(report),
        *_tensors(report),
        *_settings(report),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _top(report) -> Iterator[str]:
    style = "ok" if report.alike else "bad"
    word, outcome = _outcome(report)
    reference = report.settings.get("reference", "reference")
    candidate = report.settings.get("candidate", "candidate")
    yield f"<h1>{_code(candidate)} against {_code(reference)}</h1>"
    yield (f'<p class="verdict {style}"><b>{word}</b>{escape(outcome)}</p>')
    if report.first and report.unordered():
        yield f"<p>{escape(unordered(report))}</p>"
    for sentence in coverage(report):
        yield f"<p>{escape(sentence)}</p>"
    for warning in report.warnings:
        yield f"<p><b>warning:</b> {escape(warning)}</p>"
    for note in report.notes:
        yield f"<p><b>note:</b> {escape(note)}</p>"


def _outcome(report):
    """Returns the word of the verdict, and what follows it."""
    [(word, outcome)] = re.findall(r"(?s)^(\w+)(.*)", verdict(report))
    return word, outcome


def _causes(report) -> Iterator[str]:
    if not report.first and not report.raced:
        return
    yield "<h2>Likely causes</h2>"
    if not report.causes:
        said = none_recognised(report)
        yield f'<p class="soft">{escape(said[0].upper() + said[1:])}.</p>'
    if report.without_causes:
        yield f"<p>{escape(without_causes(report))}</p>"
    for cause in report.causes:
        hazard = HAZARDS[cause.hazard]
        rows = {
            "measured": cause.measured,
            "where": f"iteration {cause.iteration}, {cause.phase}",
            "cause": hazard.cause,
            "symptom": hazard.symptom,
            "cure": hazard.cure,
        }
        yield (
            f'<section class="cause"><h3>{escape(cause.finding)}</h3>'
            f"{_pairs(rows)}</section>"
        )


def _tree(report) -> Iterator[str]:
    iteration, phase = dataflow.moment(report)
    yield f"<h2>Dataflow of iteration {iteration}, {escape(phase)}</h2>"
    yield '<ol class="flow">'
    for node in dataflow.tree(report):
        style, word = _MARKS[node.status]
        head = (
            f'<span class="stage-name">{escape(node.name)}</span>'
            f'<b class="{style}">{word}</b>'
            f'<span class="soft">{escape(node.summary())}</span>'
        )
        if node.first:
            head += '<span class="mark">first difference</span>'
        yield f'<li class="{style}">{_stage(report, node, head)}</li>'
    yield "</ol>"


def _stage(report, node, head):
    if not node.leaves:
        return f'<div class="stage">{head}</div>'
    is_open = " open" if node.first else ""
    leaves = "".join(_leaf(report, leaf) for leaf in node.leaves)
    return (
        f"<details{is_open}><summary>{head}</summary>"
        f"<ul>{leaves}</ul></details>"
    )


def _leaf(report, leaf):
    style = "ok" if leaf.allowed else "bad"
    here = leaf is report.first
    apart = leaf.note or number(leaf.counted)
    return (
        f'<li class="leaf{" first-here" if here else ""}">'
        f'{escape(leaf.name)} <b class="{style}">{escape(apart)}</b>'
        + (' <span class="mark">&larr; first</span>' if here else "")
        + "</li>"
    )


def _plots(report) -> Iterator[str]:
    if not report.history:
        return
    yield "<h2>Differences over iterations</h2>"
    yield (
        '<p class="key soft">The largest of each kind after every phase. '
        '<span><i></i>relative</span> <span><i class="quiet"></i>absolute, '
        'where the true gradient is zero</span> <span><i class="bound"></i>'
        "relative tolerance</span></p>"
    )
    yield '<div class="plots">'
    for kind in KINDS:
        tensors = [t for t in report.tensors() if t.kind == kind]
        if tensors:
            yield _figure(report, kind, tensors)
    yield "</div>"


def _figure(report, kind, tensors: Sequence[Tensor]):
    lines = []
    for style, noisy, title in (
        ("plain", False, "relative"),
        ("quiet", True, "absolute, no true gradient"),
    ):
        chosen = [t for t in tensors if t.noisy == noisy]
        if chosen:
            lines.append((style, f"{kind}, {title}", _largest(report, chosen)))
    picture = plot_svg.plot(
        lines, report.tolerance.relative, f"differences of kind {kind}"
    )
    return f"<figure><figcaption>{escape(kind)}</figcaption>{picture}</figure>"


def _largest(report, tensors):
    """Returns the largest difference after each phase, as points."""
    phases, points = report.phases(), {}
    for tensor in tensors:
        for d in tensor.history:
            share = (phases.index(d.phase) + 1) / len(phases)
            x = d.iteration - 1 + share
            points[x] = max(points.get(x, 0.0), d.counted)
    return sorted(points.items())


def _averages(report) -> Iterator[str]:
    if not report.averages:
        return
    yield "<h2>Updates of the moving averages</h2>"
    rows = [
        [
            f"{row.iteration}, {row.phase}",
            f"{len(names)} of {in_words(row.name.partition('/')[0])}",
            row.reference,
            row.candidate,
            _word(row.alike),
        ]
        for row, names in grouped_averages(report)
    ]
    heads = ["iteration", "averages", "reference", "candidate", "values"]
    yield _table(heads, rows)


def _tensors(report) -> Iterator[str]:
    plain = [t for t in report.tensors() if not t.noisy]
    noisy = [t for t in report.tensors() if t.noisy]
    bounds = report.tolerance
    yield "<h2>Tensors</h2>"
    yield (
        f'<p class="soft">Allowed: {bounds.relative:g} of the largest element. '
        "The tolerance needed is the largest difference, the worst first.</p>"
    )
    yield _tensor_table(plain)
    if noisy:
        yield "<h2>Tensors without a true gradient</h2>"
        yield (
            '<p class="soft">Biases in front of batch norm and their slots: '
            "Adam makes steps out of their rounding noise. Allowed: "
            f"{bounds.noise:g}, absolute.</p>"
        )
        yield _tensor_table(noisy)


def _tensor_table(tensors: List[Tensor]):
    rows = [
        [
            t.kind,
            t.name,
            number(t.absolute),
            number(t.relative),
            t.worst.note or number(t.needed),
            f"{t.worst.iteration}, {t.worst.phase}",
            _word(t.allowed),
        ]
        for t in worst_first(tensors)
    ]
    heads = [
        "kind",
        "tensor",
        "absolute",
        "relative",
        "needed",
        "largest at",
        "verdict",
    ]
    return _table(heads, rows, numbers=(2, 3, 4), names=(1,))


def _settings(report) -> Iterator[str]:
    rows = dict(report.settings, iterations=str(report.iterations))
    yield f"<h2>Settings</h2>{_pairs(rows)}"


def _pairs(rows):
    cells = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in rows.items()
    )
    return f"<dl>{cells}</dl>"


def _table(heads, rows, numbers=(), names=()):
    """Returns a table; every cell is escaped."""

    def style(column):
        if column in numbers:
            return ' class="number"'
        return ' class="name"' if column in names else ""

    head = "".join(
        f"<th{style(i)}>{escape(h)}</th>" for i, h in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{style(i)}>{_cell(c)}</td>" for i, c in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


class _Word(str):
    """The outcome of a row, shown in its colour."""


def _word(alike):
    return _Word("ok" if alike else "different")


def _cell(value):
    if isinstance(value, _Word):
        style = "ok" if value == "ok" else "bad"
        return f'<b class="{style}">{value}</b>'
    return escape(value)


def _code(value):
    return f"<code>{escape(value)}</code>"
