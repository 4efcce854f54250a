"""Draws the curves of losses."""

import os
from typing import Dict

from tf2gan.common.losses_file import read_losses

LOSSES = ("loss_D", "loss_G")


def plot_losses(paths: Dict[str, str], picture: str) -> None:
    """Draws the losses of one or more runs, one panel per loss.

    Args:
      paths: of the CSVs, by the name of the run.
      picture: path of the PNG to write.
    """
    # The object interface, not pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), constrained_layout=True)
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(LOSSES), 1, sharex=True)
    for panel, name in zip(panels, LOSSES):
        for run, path in paths.items():
            losses = read_losses(path)
            panel.plot(
                losses["iteration"], losses[name], label=run, linewidth=0.8
            )
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
        panel.legend()
    panels[-1].set_xlabel("iteration")
    figure.savefig(picture + ".part", format="png", dpi=100)
    os.replace(picture + ".part", picture)
