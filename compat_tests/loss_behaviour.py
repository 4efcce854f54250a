"""Asks whether two sides' loss curves, over many free float32 runs, are alike.

    python compat_tests/loss_behaviour.py --seeds=8 --iterations=100 \
        --fault=beta1=0.5 --output=runs/loss_behaviour.png

trains both sides, and tf2gan with a constant of the spec changed on purpose, prints
the tests and draws the curves. Each side has seeds of its own: from equal seeds the
twins compute the same bits on a CPU, and there would be nothing to test.

The test: every run is summed up in eight numbers, see `summaries`. If the sides are
alike, it is chance which run belongs to which side. So for each number the difference
of the two sides' means is held against that of every other way to share the runs out:
an exact permutation test. The sides differ if any of the eight p-values is at most
LEVEL / 8 (Bonferroni), which alike sides do with a probability of at most LEVEL.
"""

import argparse
import dataclasses
import functools
import itertools
import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from tf2gan.common import datasets, specs

LEVEL = 0.01
SEEDS = 8  # runs of a side; the least p-value is then 2 / 12870, an eighth of LEVEL / 8
LEAST_SEEDS = 7  # with 6 the least p-value, 2 / 924, is above LEVEL / 8
MOST_SEEDS = 10  # 184,756 ways to share the runs out: all are looked at
ITERATIONS = 100
LEAST_ITERATIONS = 10  # or a window is empty
BATCH_SIZE = 16
PAIRS = 2  # runs of tf2gan from seeds of tf1gan
LOSSES = ("loss_D", "loss_G")
# Where the windows of a curve begin and end, as shares of its length.
WINDOWS = ((0.0, 0.1), (0.1, 0.4), (0.4, 1.0))
# A loss below it, of a discriminator that is sure, counts as this: its logarithm
# would outweigh the rest of the curve.
LEAST_LOSS = 1e-6


class Comparison(NamedTuple):
    """One summary of the runs on two sides.

    Attributes:
      summary: its name.
      mean1: over the runs of the first side.
      mean2: over those of the second.
      p_value: of the permutation test.
      differs: whether that is at most the corrected level.
    """

    summary: str
    mean1: float
    mean2: float
    p_value: float
    differs: bool

    def __str__(self) -> str:
        return "{:<38} {:8.3f} {:8.3f}  p = {:.5f}{}".format(
            *self[:4], "  DIFFERS" if self.differs else ""
        )


def train(
    trainer: Any, seeds: Sequence[int], iterations: int
) -> np.ndarray:  # [runs, iterations, 2]
    """Trains freely once per seed; returns loss_D and loss_G of every iteration."""
    images = datasets.load_images("mnist10k", trainer.spec)
    curves = []
    for seed in seeds:
        trainer.initialize(seed)
        batches = datasets.Batches(images, trainer.spec, BATCH_SIZE, seed)
        curves.append(
            [
                [float(loss) for loss in trainer.train_step(*batch)]
                for batch in batches.iterate(0, iterations)
            ]
        )
    return np.array(curves)


def summaries(curves: np.ndarray) -> Dict[str, np.ndarray]:
    """Sums up each run in eight numbers, which are returned as arrays [runs] by name.

    For both losses they are the mean logarithm in three windows, and how restless
    the curve is: the deviation of the logarithm's change from one iteration to the
    next. Logarithms, because the losses range over several powers of ten.

    Args:
      curves: [runs, iterations, 2].
    """
    logarithms = np.log(np.maximum(curves, LEAST_LOSS))
    length = curves.shape[1]
    found = {}
    for loss, values in zip(LOSSES, np.moveaxis(logarithms, 2, 0)):
        for window in WINDOWS:
            first, last = (int(round(share * length)) for share in window)
            name = f"mean log {loss}, iterations {first + 1} to {last}"
            found[name] = values[:, first:last].mean(axis=1)
        found[f"restlessness of log {loss}"] = np.diff(values).std(axis=1)
    return found


def permutation_test(sample1: np.ndarray, sample2: np.ndarray) -> float:
    """Returns the exact two-sided p-value of equal distributions.

    It is the share of all ways to divide the values into samples of these sizes,
    the given one among them, whose means are as far apart as those given, or more.
    """
    values = np.concatenate([sample1, sample2])
    sums = values[_divisions(len(values), len(sample1))].sum(axis=1)
    means1 = sums / len(sample1)
    means2 = (values.sum() - sums) / len(sample2)
    differences = np.abs(means1 - means2)
    # The given division is the first. Ties must not depend on the rounding of sums.
    rounding = 1e-12 * np.abs(values).max()
    return float(np.mean(differences >= differences[0] - rounding))


@functools.lru_cache(maxsize=1)
def _divisions(count, chosen):
    """Returns [divisions, chosen] indices: all ways to choose, the first ones first."""
    return np.array(list(itertools.combinations(range(count), chosen)))


def compare(curves1: np.ndarray, curves2: np.ndarray) -> List[Comparison]:
    """Tests every summary of two sides' curves [runs, iterations, 2]."""
    if not (np.isfinite(curves1).all() and np.isfinite(curves2).all()):
        raise ValueError("a loss is not a finite number")
    side1, side2 = summaries(curves1), summaries(curves2)
    found = []
    for name in side1:
        p_value = permutation_test(side1[name], side2[name])
        found.append(
            Comparison(
                name,
                float(side1[name].mean()),
                float(side2[name].mean()),
                p_value,
                p_value <= LEVEL / len(side1),
            )
        )
    return found


def describe_pairs(curves1: np.ndarray, curves2: np.ndarray) -> List[str]:
    """Says of runs from equal seeds how long they agree, and how far they part."""
    lines = []
    for number, (run1, run2) in enumerate(zip(curves1, curves2)):
        equal = np.all(run1 == run2, axis=1)
        count = len(equal) if equal.all() else int(np.argmin(equal))
        largest = np.max(np.abs(run1 - run2) / np.abs(run1))
        lines.append(
            f"seed {number}: the same bits in the first {count} of {len(equal)} "
            f"iterations, losses at most {largest:.2g} apart, relative"
        )
    return lines


def draw(curves: Dict[str, np.ndarray], picture: str) -> None:
    """Draws tf1gan's runs beside those of each other side, a column for each.

    All runs are thin and each side's median is thick.

    Args:
      curves: by side, each [runs, iterations, 2]; the first is in every column.
      picture: path of the PNG to write.
    """
    # The object interface, not pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first, *others = curves
    figure = Figure(figsize=(5 * len(others), 7), constrained_layout=True)
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        len(LOSSES), len(others), sharex=True, sharey="row", squeeze=False
    )
    for index, loss in enumerate(LOSSES):
        panels[index, 0].set_ylabel(loss)
        for panel, other in zip(panels[index], others):
            for side, color in ((first, "C0"), (other, "C1")):
                _draw_side(panel, side, curves[side][:, :, index], color)
            panel.set_yscale("log")
            panel.grid(alpha=0.3)
    for panel, other in zip(panels[0], others):
        panel.set_title(f"{first} and {other}", fontsize="medium")
        panel.legend(loc="upper right", fontsize="small")
    for panel in panels[-1]:
        panel.set_xlabel("iteration")
    figure.savefig(picture + ".part", format="png", dpi=100)
    os.replace(picture + ".part", picture)


def _draw_side(panel, side, values, color):
    values = np.maximum(values, LEAST_LOSS)
    iterations = np.arange(1, values.shape[1] + 1)
    panel.plot(iterations, values.T, color=color, linewidth=0.5, alpha=0.4)
    median = np.median(values, axis=0)
    panel.plot(iterations, median, color=color, linewidth=2, label=side)


def train_sides(
    seeds: int, iterations: int, faults: Dict[str, Dict[str, float]]
) -> Dict[str, np.ndarray]:
    """Trains tf1gan and tf2gan from seeds of their own, and faulty tf2gans.

    Args:
      seeds: runs of a side.
      iterations: of each run.
      faults: by name the constants of the spec that are changed in tf2gan.

    Returns:
      Curves [runs, iterations, 2] by side: "tf1gan", "tf2gan", "pairs" (tf2gan from
      the first seeds of tf1gan), and the names of the faults.
    """
    # Where only the statistics are wanted, TensorFlow need not be there.
    from tf1gan import training as training1
    from tf2gan import training as training2

    spec = specs.get_spec("dcgan28")
    seeds1, seeds2 = range(seeds), range(seeds, 2 * seeds)
    trainer = training2.Trainer(spec)
    curves = {
        "tf1gan": train(training1.Trainer(spec), seeds1, iterations),
        "tf2gan": train(trainer, seeds2, iterations),
        "pairs": train(trainer, seeds1[:PAIRS], iterations),
    }
    for name, changes in faults.items():
        faulty = training2.Trainer(dataclasses.replace(spec, **changes))
        curves[name] = train(faulty, seeds2, iterations)
    return curves


def report(curves: Dict[str, np.ndarray]) -> str:
    """Returns the tests of all sides against tf1gan, as lines of text."""
    lines = []
    for side, runs in curves.items():
        if side in ("tf1gan", "pairs"):
            continue
        lines.append(f"tf1gan and {side}, means over the runs:")
        lines += [str(found) for found in compare(curves["tf1gan"], runs)]
    lines.append("tf1gan and tf2gan from equal seeds:")
    return "\n".join(lines + describe_pairs(curves["tf1gan"], curves["pairs"]))


def _fault(text):
    name, _, value = text.partition("=")
    if not isinstance(getattr(specs.DCGAN28, name, None), float):
        raise argparse.ArgumentTypeError(
            f"'{name}' is no constant of the spec, such as beta1"
        )
    return name, float(value)


def main() -> None:
    """Reads the command line, trains, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument(
        "--fault",
        type=_fault,
        metavar="CONSTANT=VALUE",
        action="append",
        default=[],
        help="a constant of the spec to change in tf2gan, as in beta1=0.5",
    )
    parser.add_argument("--output", default="runs/loss_behaviour.png")
    arguments = parser.parse_args()
    output = Path(arguments.output)
    if not LEAST_SEEDS <= arguments.seeds <= MOST_SEEDS:
        parser.error(f"--seeds must lie between {LEAST_SEEDS} and {MOST_SEEDS}")
    if arguments.iterations < LEAST_ITERATIONS:
        parser.error(f"--iterations must be at least {LEAST_ITERATIONS}")
    if output.exists():
        parser.error(f"{output} exists; name another --output")
    faults = {
        f"tf2gan with {name} = {value:g}": {name: value}
        for name, value in arguments.fault
    }
    curves = train_sides(arguments.seeds, arguments.iterations, faults)
    print(report(curves))
    output.parent.mkdir(parents=True, exist_ok=True)
    del curves["pairs"]
    draw(curves, str(output))
    print(f"The curves are in {output}.")


if __name__ == "__main__":
    main()
