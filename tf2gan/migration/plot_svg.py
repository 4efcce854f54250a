"""Draws differences over iterations as a small SVG, on a logarithmic scale."""

import math
from html import escape
from typing import List, Sequence, Tuple

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 34
# Below the last power of ten stands exact equality, above the first what is not
# finite.
ZERO_ROW, MOST_TICKS = 20, 6

Points = Sequence[Tuple[float, float]]


def plot(
    lines: Sequence[Tuple[str, str, Points]], bound: float, label: str
) -> str:
    """Returns an SVG element.

    Args:
      lines: of each its style class, its title and its points: iteration, whose
        fractions are its phases, and difference.
      bound: the tolerance, drawn across.
      label: what a screen reader says.
    """
    values = [y for _, _, points in lines for _, y in points]
    low, high = _decades([*values, bound])
    end = max([x for _, _, points in lines for x, _ in points], default=1)
    scale = _Scale(low, high, end)
    body = [_axis(scale), _ticks_below(scale), _bound(scale, bound)]
    body += [_line(scale, *line) for line in lines]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(body)}</svg>'
    )


class _Scale:
    """Maps iterations and differences to the picture."""

    def __init__(self, low, high, end):
        self.low, self.high, self.end = low, high, max(end, 1.0)
        self.bottom = HEIGHT - BOTTOM
        self.floor = self.bottom - ZERO_ROW  # of the powers of ten

    def x(self, iteration):
        width = WIDTH - LEFT - RIGHT
        return LEFT + 4 + (width - 8) * iteration / self.end

    def y(self, value):
        if value == 0:
            return self.bottom - 2
        if not math.isfinite(value):
            return TOP - 6
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.floor - (self.floor - TOP) * min(max(share, 0), 1)


def _decades(values):
    logs = [math.log10(v) for v in values if v > 0 and math.isfinite(v)]
    low = math.floor(min(logs, default=-16))
    high = math.ceil(max(logs, default=0))
    return low, max(high, low + 1)


def _axis(scale):
    step = math.ceil((scale.high - scale.low) / MOST_TICKS)
    parts = []
    for power in range(scale.low, scale.high + 1, step):
        y = scale.y(10.0**power)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" '
            f'text-anchor="end">1e{power}</text>'
        )
    y = scale.bottom
    return "".join(parts) + (
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" '
        f'y2="{y}"/><text class="tick" x="{LEFT - 6}" y="{y}" '
        'text-anchor="end">0</text>'
    )


def _ticks_below(scale):
    end = max(int(scale.end), 1)
    step = math.ceil(end / MOST_TICKS)
    marks: List[str] = [
        f'<text class="tick" x="{scale.x(i):.1f}" y="{scale.bottom + 15}" '
        f'text-anchor="middle">{i}</text>'
        for i in range(step, end + 1, step)
    ]
    centre = (LEFT + WIDTH - RIGHT) / 2
    marks.append(
        f'<text class="tick" x="{centre}" y="{HEIGHT - 4}" '
        'text-anchor="middle">iteration</text>'
    )
    return "".join(marks)


def _bound(scale, bound):
    y = scale.y(bound)
    return (
        f'<line class="bound" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
        f'y2="{y:.1f}"/>'
    )


def _line(scale, style, title, points):
    places = [(scale.x(x), scale.y(y)) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>'
        for x, y in (places if len(places) <= 60 else places[-1:])
    )
    return (
        f'<g><title>{escape(title)}</title><polyline class="{style}" '
        f'points="{path}"/>{dots}</g>'
    )
