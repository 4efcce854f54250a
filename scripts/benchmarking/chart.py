"""Draws the benchmark's figures: implementations, batch sizes, image sizes."""

from typing import Any, Dict

SIDES = {"tf2gan": "tab:blue", "tf1gan": "tab:orange", "tf.layers": "tab:grey"}


def draw(figures: Dict[str, Any], path: str) -> None:
    """Draws a panel for each part that was measured and has one, as a PNG.

    Raises:
      ValueError: if there is nothing to draw.
    """
    # The object interface, not pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = [part for part in PANELS if part in figures]
    if not parts:
        raise ValueError("none of {} was measured".format(", ".join(PANELS)))
    figure = Figure(figsize=(8, 3.5 * len(parts)), constrained_layout=True)
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for part, panel in zip(parts, panels):
        PANELS[part](panel, figures[part])
    figure.savefig(path, format="png", dpi=100)


def _draw_steps(panel, rows):
    rows = rows[::-1]  # the first on top
    names = [
        "{}\nTF {}".format(
            row["label"].replace(" on TF 1.15", ""),
            row["versions"]["tensorflow"],
        )
        for row in rows
    ]
    times = [row["milliseconds"] for row in rows]
    medians = [time["median"] for time in times]
    spread = [
        [time["median"] - time["first_quartile"] for time in times],
        [time["third_quartile"] - time["median"] for time in times],
    ]
    places = range(len(rows))
    colours = [SIDES[row["side"]] for row in rows]
    panel.barh(places, medians, xerr=spread, color=colours, capsize=3)
    for place, row in zip(places, rows):
        panel.plot(
            [row["floor_milliseconds"]] * 2,
            [place - 0.4, place + 0.4],
            color="black",
            label="floor" if not place else None,
        )
    panel.set_yticks(places, names, fontsize=8)
    panel.set_xlabel("ms per iteration, batch {}".format(rows[0]["batch_size"]))
    panel.grid(alpha=0.3, axis="x")
    panel.legend()


def _draw_sizes(panel, rows, key):
    sizes = [row[key] for row in rows]
    at_the_floor = [
        row["floor_milliseconds"] / row["batch_size"] for row in rows
    ]
    costs = [row["milliseconds_per_image"] for row in rows]
    panel.plot(sizes, costs, marker="o", label=rows[0]["label"])
    panel.plot(sizes, at_the_floor, color="black", label="floor")
    panel.set_xticks(sizes, [str(size) for size in sizes], fontsize=8)
    panel.minorticks_off()
    panel.set_ylabel("ms per image")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend()


def _draw_batch_sizes(panel, rows):
    panel.set_xscale("log", base=2)
    _draw_sizes(panel, rows, "batch_size")
    panel.set_xlabel("batch size")


def _draw_image_sizes(panel, rows):
    _draw_sizes(panel, rows, "image_size")
    batch = rows[0]["batch_size"]
    panel.set_xlabel("height and width of an image, batch {}".format(batch))


PANELS = {
    "steps": _draw_steps,
    "batch_sizes": _draw_batch_sizes,
    "image_sizes": _draw_image_sizes,
}
