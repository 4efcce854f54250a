"""Infers from values which batches updated a moving average in a step, in which order.

A step shows only what an average was before and after it. Every way of updating it
from the batches that its network sees leads to another value, so the value tells the
way. The arithmetic is NumPy's, in float64.
"""

import collections
import dataclasses
import itertools
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np

from tf2gan.common.specs import DISCRIMINATOR, GENERATOR, GanSpec

STEPS = ("discriminator_step", "generator_step")

# What a network is called on; the activations of its passes have these prefixes.
LATENT, REAL, GENERATED = "latent", "real", "generated"
PASSES = {
    GENERATOR: {LATENT: GENERATOR},
    DISCRIMINATOR: {REAL: DISCRIMINATOR, GENERATED: DISCRIMINATOR + "_1"},
}
MOST_UPDATES = 3


@dataclasses.dataclass(frozen=True)
class Updates:
    """The updates of one moving average in one step.

    Attributes:
      batches: from which each update takes its value, in order.
      from_old: whether all start from the value before the step; otherwise each
        starts from what the one before it left.
    """

    batches: Tuple[str, ...]
    from_old: bool = False

    def __str__(self) -> str:
        """Returns such as `2: real, generated`; ` | ` stands for no order."""
        names = (" | " if self.from_old else ", ").join(self.batches)
        return "{}: {}".format(len(self.batches), names) if names else "0"


class NotExplained(AssertionError):
    """The value of a moving average has no explanation, or several."""


def possible_updates(batches: Sequence[str]) -> List[Updates]:
    """Lists all ways to update an average up to three times from these batches."""
    ordered = [
        Updates(chosen)
        for count in range(MOST_UPDATES + 1)
        for chosen in itertools.product(batches, repeat=count)
    ]
    unordered = [
        Updates(chosen, from_old=True)
        for count in range(2, MOST_UPDATES + 1)
        for chosen in itertools.combinations_with_replacement(batches, count)
    ]
    return ordered + unordered


def updated(
    old: np.ndarray,
    values: Dict[str, np.ndarray],
    decay: float,
    updates: Updates,
) -> np.ndarray:
    """Returns what an average [channels] is after updates from values by batch."""
    new = np.asarray(old, np.float64)
    if updates.from_old:
        return new + sum(decay * (values[b] - new) for b in updates.batches)
    for batch in updates.batches:
        new = (1 - decay) * new + decay * values[batch]
    return new


def explain(
    old: np.ndarray,
    new: np.ndarray,
    values: Dict[str, np.ndarray],
    decay: float,
    tolerance: float,
) -> Updates:
    """Finds the only updates that lead from one value [channels] to another.

    Args:
      old: the average before a step.
      new: the average after it.
      values: the mean or variance of each batch, by the batch's name.
      decay: the weight of a new value.
      tolerance: the largest error of a channel, over the largest number that goes
        into the average: the old value, or a batch's times its weight.

    Raises:
      NotExplained: if no updates, or several, lead to `new`.
    """
    terms = [old] + [decay * value for value in values.values()]
    size = max(np.max(np.abs(term)) for term in terms)
    errors = {
        updates: _distance(updated(old, values, decay, updates), new) / size
        for updates in possible_updates(list(values))
    }
    found = [updates for updates in errors if errors[updates] <= tolerance]
    if len(found) == 1:
        return found[0]
    nearest = sorted(errors, key=errors.get)[: max(2, len(found))]
    raise NotExplained(
        "{} explanations within {:.0e}; the nearest are {}".format(
            len(found),
            tolerance,
            " and ".join("({}) {:.0e}".format(u, errors[u]) for u in nearest),
        )
    )


def _distance(expected, actual):
    return float(np.max(np.abs(expected - actual)))


def averages(state: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Returns the moving averages in a state by name."""
    return {name: state[name] for name in state if "/moving_" in name}


def decay_of(momentum: float, fused: bool) -> float:
    """Returns the weight of a new value, rounded to float32 as in `tf.layers`."""
    if fused:
        return float(np.float32(1) - np.float32(momentum))
    return float(np.float32(1 - momentum))


def moments(
    inputs: np.ndarray, channels: int, fused: bool
) -> Dict[str, np.ndarray]:
    """Returns what a batch [B, ...] adds to a layer's two moving averages.

    The fused kernel's variance is corrected for the mean's being one of the same
    batch (Bessel): it divides by one less than the count.
    """
    rows = np.asarray(inputs, np.float64).reshape([-1, channels])
    variance = np.mean((rows - rows.mean(0)) ** 2, axis=0)
    if fused:
        variance *= len(rows) / (len(rows) - 1)
    return {"moving_mean": rows.mean(0), "moving_variance": variance}


def is_fused(outputs: np.ndarray) -> bool:
    """Whether `tf.layers` takes the fused kernel for a layer of these outputs."""
    return outputs.ndim == 4 and outputs.dtype == np.float32


class Statistics:
    """What each batch of a step would add to each moving average.

    Attributes:
      values: {average: {batch: mean or variance [channels]}}.
      decays: {average: weight of a new value}.
    """

    def __init__(
        self, trainer, spec: GanSpec, images: np.ndarray, latent: np.ndarray
    ) -> None:
        """Computes them from the activations in front of batch normalization.

        Args:
          trainer: of any side; nothing in it changes.
          spec: names the momentum that the trainer ought to have.
          images: the real ones, [B, height, width, channels].
          latent: [B, latent_size].
        """
        self.values, self.decays = {}, {}
        activations = trainer.activations(images, latent)
        for name, average in averages(trainer.state()).items():
            network, layer, which = name.split("/")
            fused = is_fused(activations[network + "/" + layer])
            self.decays[name] = decay_of(spec.batch_norm_momentum, fused)
            self.values[name] = {
                batch: moments(
                    inputs_of(scope + "/" + layer, activations),
                    average.size,
                    fused,
                )[which]
                for batch, scope in PASSES[network].items()
            }

    def updated(self, old: np.ndarray, name: str, updates: Updates):
        """Returns what the average called `name` is after updates."""
        return updated(old, self.values[name], self.decays[name], updates)

    def explain(
        self,
        old: Dict[str, np.ndarray],
        new: Dict[str, np.ndarray],
        tolerance: float,
    ) -> Dict[str, Updates]:
        """Explains every average; NotExplained names the one that it cannot."""
        found = {}
        for name, values in self.values.items():
            try:
                found[name] = explain(
                    old[name], new[name], values, self.decays[name], tolerance
                )
            except NotExplained as error:
                raise NotExplained("{}: {}".format(name, error)) from error
        return found


def inputs_of(layer: str, activations: Dict[str, np.ndarray]) -> np.ndarray:
    """Returns the output in front of a layer, which may have another shape."""
    names = list(activations)  # in order of the layers
    return activations[names[names.index(layer) - 1]]


def measure(
    trainer,
    spec: GanSpec,
    images: np.ndarray,
    latent: np.ndarray,
    tolerance: float,
) -> Dict[str, Dict[str, Updates]]:
    """Runs both steps and returns {step: {average: its updates}}.

    The averages start from zero: next to a large old value rounding could hide in
    which order two small ones were added.

    Raises:
      NotExplained: if a value after a step has no explanation, or several.
    """
    state = trainer.state()
    zeros = {name: 0 * state[name] for name in averages(state)}
    trainer.load_state(dict(state, **zeros))
    ledger = {}
    for step in STEPS:
        statistics = Statistics(trainer, spec, images, latent)
        old = averages(trainer.state())
        getattr(trainer, step)(images, latent)
        new = averages(trainer.state())
        ledger[step] = statistics.explain(old, new, tolerance)
    return ledger


def count_outcomes(
    step: Callable[[], Dict[str, np.ndarray]],
    old: Dict[str, np.ndarray],
    values: Dict[str, Dict[str, np.ndarray]],
    decay: float,
    tolerance: float,
    repeats: int,
) -> Dict[str, Dict[str, int]]:
    """Repeats a step and counts by average how its values came about.

    Args:
      step: starts from averages `old` each time and returns the new ones.
      old: by name.
      values: {average: {batch: mean or variance [channels]}}.
      decay: the weight of a new value.
      tolerance: see `explain`.
      repeats: of the step.

    Returns:
      {average: {updates as a text, or the message of NotExplained: count}}.
    """
    counts = {name: collections.Counter() for name in old}
    for _ in range(repeats):
        new = step()
        for name in old:
            try:
                outcome = explain(
                    old[name], new[name], values[name], decay, tolerance
                )
            except NotExplained as error:
                outcome = error
            counts[name][str(outcome)] += 1
    return counts


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligns rows of texts; the first is the header."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
