"""The speed that the project wants, and whether a run of the benchmark shows it."""

import dataclasses
from typing import Any, Callable, Dict, List, Optional

from benchmarking.results import REFERENCE

MOST_SECONDS_TO_START = 12
FLAT = (
    64,
    512,
)  # batch sizes between which the cost of an image should not change


@dataclasses.dataclass(frozen=True)
class Target:
    """A figure that should not be exceeded.

    Attributes:
      text: what the figure is.
      most: its greatest value.
      of: takes the figures; raises KeyError if what is needed was not measured.
    """

    text: str
    most: float
    of: Callable[[Dict[str, Any]], float]

    def judge(self, figures: Dict[str, Any]) -> Dict[str, Any]:
        """Returns the figure, None if not measured, and whether it holds."""
        value = self._value(figures)
        return {
            "text": self.text,
            "most": self.most,
            "measured": value,
            "holds": None if value is None else value <= self.most,
        }

    def _value(self, figures) -> Optional[float]:
        try:
            return self.of(figures)
        except KeyError:
            return None


def judge(figures: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Returns for each target its text, bound, measured value and whether it holds."""
    return [target.judge(figures) for target in TARGETS]


def _step(label):
    return lambda figures: _row(figures, label)["milliseconds"]["median"]


def _row(figures, label):
    return {row["label"]: row for row in figures["steps"]}[label]


def _over(label, other):
    return lambda figures: _step(label)(figures) / _step(other)(figures)


def flatness(figures: Dict[str, Any]) -> float:
    """Returns the dearest image's cost over the cheapest's, less 1.

    Raises:
      KeyError: if the batch sizes at both ends were not measured.
    """
    costs = {
        row["batch_size"]: row["milliseconds_per_image"]
        for row in figures["batch_sizes"]
        if FLAT[0] <= row["batch_size"] <= FLAT[1]
    }
    for size in FLAT:
        costs[size]  # noqa: B018  both ends are needed
    return max(costs.values()) / min(costs.values()) - 1


def _start(figures):
    return figures["startup"]["train_tf2.py"]["total"]["median"] / 1000


TARGETS = (
    Target(
        "tf2gan scoped over the floor",
        1.3,
        lambda figures: _row(figures, "tf2gan scoped")["to_floor"],
    ),
    Target(
        "tf2gan scoped over the source's graph",
        0.65,
        _over("tf2gan scoped", REFERENCE),
    ),
    Target(
        "tf2gan source over the source's graph",
        0.85,
        _over("tf2gan source", REFERENCE),
    ),
    Target(
        "tf1gan source over the source's graph",
        1.0,
        _over("tf1gan source", REFERENCE),
    ),
    Target(
        "tf2gan scoped over tf1gan scoped on TF 1.15",
        0.25,
        _over("tf2gan scoped", "tf1gan scoped on TF 1.15"),
    ),
    Target(
        "tf2gan scoped over tf1gan source on TF 1.15",
        0.25,
        _over("tf2gan scoped", "tf1gan source on TF 1.15"),
    ),
    Target(
        "what the training loop adds to a bare train step",
        0.03,
        lambda figures: figures["loop"]["overhead_with_summaries"],
    ),
    Target(
        "seconds from the command to the first iteration of train_tf2.py",
        MOST_SECONDS_TO_START,
        _start,
    ),
    Target(
        "dearest over cheapest image, less 1, batch {} to {}".format(*FLAT),
        0.15,
        flatness,
    ),
)
