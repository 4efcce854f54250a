"""Runs two implementations of a GAN side by side and names the first difference.

Both get the same state and the same batches. After every phase (the
discriminator's step, the generator's step) everything that the two can show is
compared in the order in which a step computes it: feed, activation, loss, gradient,
slot, weight, moving average, sample. The first to differ is where to look.
"""

import dataclasses
from typing import Any, Dict, Iterable, List, Optional, Tuple

import numpy as np

PHASES = ("discriminator_step", "generator_step")

FEEDS = ("images", "latent")

# In the order in which a step computes them.
KINDS = (
    "feed",
    "activation",
    "loss",
    "gradient",
    "slot",
    "weight",
    "moving average",
    "step count",
    "sample",
)


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far two implementations may be apart.

    Attributes:
      relative: largest difference in a tensor over its largest element.
      noise: absolute bound for weights, slots and gradients whose true gradient is
        zero, such as a bias in front of batch norm: Adam makes steps out of its
        rounding noise.
      quiet: a gradient counts as zero if its largest element is below this share
        of the largest in its network.
    """

    relative: float = 1e-9
    noise: float = 1e-8
    quiet: float = 1e-10


@dataclasses.dataclass(frozen=True)
class Difference:
    """One tensor of one phase, as the two implementations have it.

    Attributes:
      iteration: from 1.
      phase: one of `PHASES`.
      kind: one of `KINDS`.
      name: of the tensor.
      absolute: largest difference of two elements; infinite if only one is NaN.
      relative: the same over the largest element of the reference.
      noisy: whether the true gradient is zero, so that `absolute` is what counts.
      allowed: whether it is within the tolerance.
    """

    iteration: int
    phase: str
    kind: str
    name: str
    absolute: float
    relative: float
    noisy: bool
    allowed: bool

    def __str__(self) -> str:
        return (
            f"iteration {self.iteration}, {self.phase}, {self.kind} {self.name}: "
            f"{self.absolute:.3g} apart, {self.relative:.3g} of its size"
        )


@dataclasses.dataclass
class Report:
    """What a lockstep run found.

    Attributes:
      first: the first difference beyond the tolerance, None if there is none.
      largest: of each kind the largest relative difference, noisy ones apart.
      noisiest: the largest absolute difference of a tensor with no true gradient.
      iterations: how many were run.
    """

    first: Optional[Difference] = None
    largest: Dict[str, Difference] = dataclasses.field(default_factory=dict)
    noisiest: Optional[Difference] = None
    iterations: int = 0

    def add(self, difference: Difference) -> None:
        """Takes a comparison into account."""
        if not difference.allowed and self.first is None:
            self.first = difference
        if difference.noisy:
            if (
                not self.noisiest
                or difference.absolute > self.noisiest.absolute
            ):
                self.noisiest = difference
            return
        largest = self.largest.get(difference.kind)
        if largest is None or difference.relative > largest.relative:
            self.largest[difference.kind] = difference

    def __str__(self) -> str:
        lines = [f"{self.iterations} iterations"]
        lines.append(f"first difference: {self.first or 'none'}")
        for kind in KINDS:
            if kind in self.largest:
                lines.append(f"largest of kind {kind}: {self.largest[kind]}")
        if self.noisiest:
            lines.append(f"largest without a true gradient: {self.noisiest}")
        return "\n".join(lines)


def kind_of(name: str) -> str:
    """Returns the kind of a variable by its name in TF1."""
    last = name.split("/")[-1]
    if last in ("Adam", "Adam_1") or "_power" in last:
        return "slot"
    if last.startswith("moving_"):
        return "moving average"
    if last.endswith("global_step"):
        return "step count"
    return "weight"


def distance(reference: Any, candidate: Any) -> Tuple[float, float]:
    """Returns the largest absolute difference, and that over the reference's size.

    Tensors of other shapes, and a NaN on one side only, are infinitely far apart.
    """
    one, other = np.asarray(reference), np.asarray(candidate)
    if one.shape != other.shape:
        return np.inf, np.inf
    if np.array_equal(one, other):
        return 0.0, 0.0
    one, other = one.astype(np.float64), other.astype(np.float64)
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return np.inf, np.inf
    absolute = float(np.max(np.abs(np.nan_to_num(one - other))))
    size = float(np.max(np.abs(np.nan_to_num(one))))
    if absolute == 0.0:
        return 0.0, 0.0
    return absolute, absolute / size if size else np.inf


def run(
    reference: Any,
    candidate: Any,
    batches: Iterable[Tuple[np.ndarray, np.ndarray]],
    tolerance: Tolerance = Tolerance(),  # noqa: B008 (frozen)
    resync: bool = False,
    watch: bool = True,
    stop: bool = False,
) -> Report:
    """Trains both on the same batches and compares all they can show.

    An implementation has the methods `discriminator_step(images, latent)` and
    `generator_step(images, latent)`, each returning its loss, `state()` and
    `load_state(state)` with arrays by TF1 variable names; and, if it can, methods
    that change nothing: `feed(images, latent)`, `activations(images, latent)` and
    `gradients(images, latent)`, each returning arrays by name, and
    `generate(latent)`, returning images for inference. The `Trainer` of both sides
    is such an implementation.

    Args:
      reference: the implementation that is right.
      candidate: the other one; it is given the reference's state first.
      batches: pairs of images and latents.
      tolerance: how far the two may be apart.
      resync: whether to give the candidate the reference's state before each phase,
        so that each step's own fault shows and not only the first.
      watch: whether to compare also what takes extra runs: feeds, activations,
        gradients and samples.
      stop: whether to end at the first difference.
    """
    candidate.load_state(reference.state())
    report, comparison = Report(), _Comparison(reference, candidate, tolerance)
    for iteration, batch in enumerate(batches, start=1):
        report.iterations = iteration
        for phase in PHASES:
            if resync:
                candidate.load_state(reference.state())
            for difference in comparison.phase(iteration, phase, batch, watch):
                report.add(difference)
            if stop and report.first:
                return report
    return report


class _Comparison:
    """Two implementations and what is known of their gradients."""

    def __init__(self, reference, candidate, tolerance):
        self._pair = (reference, candidate)
        self._tolerance = tolerance
        self._noisy = set()

    def phase(self, iteration, phase, batch, watch) -> List[Difference]:
        """Runs one phase on both sides; returns the comparisons in order."""
        found = []

        def compare(kind, name, values):
            found.append(self._compare(iteration, phase, kind, name, values))

        activations = self._both("activations", batch) if watch else None
        gradients = (
            self._both("gradients", batch) if watch or iteration == 1 else None
        )
        if gradients and iteration == 1:
            self._note_noisy(gradients[0])
        feeds = [_feed(side, batch) for side in self._pair] if watch else None
        for name, values in _pairs(feeds):
            compare("feed", name, values)
        for name, values in _pairs(activations):
            compare("activation", name, values)
        compare(
            "loss", phase, [getattr(side, phase)(*batch) for side in self._pair]
        )
        network = phase.split("_")[0]
        for name, values in _pairs(gradients):
            if name.startswith(network + "/"):
                compare("gradient", name, values)
        states = [side.state() for side in self._pair]
        for name, values in sorted(_pairs(states), key=_order):
            compare(kind_of(name), name, values)
        if watch and all(hasattr(side, "generate") for side in self._pair):
            samples = [side.generate(batch[1]) for side in self._pair]
            compare("sample", "generate", samples)
        return found

    def _both(self, method, batch):
        if not all(hasattr(side, method) for side in self._pair):
            return None
        return [getattr(side, method)(*batch) for side in self._pair]

    def _note_noisy(self, gradients):
        """Finds the variables whose gradient is zero but for rounding."""
        sizes = {
            name: np.max(np.abs(value)) for name, value in gradients.items()
        }
        for name, size in sizes.items():
            network = name.split("/")[0]
            largest = max(
                s for n, s in sizes.items() if n.split("/")[0] == network
            )
            if size < self._tolerance.quiet * largest:
                self._noisy.add(name)

    def _compare(self, iteration, phase, kind, name, values):
        absolute, relative = distance(*values)
        noisy = any(name == n or name.startswith(n + "/") for n in self._noisy)
        bound = self._tolerance.noise if noisy else self._tolerance.relative
        allowed = (absolute if noisy else relative) <= bound
        return Difference(
            iteration, phase, kind, name, absolute, relative, noisy, allowed
        )


def _feed(side, batch):
    """Returns what a side feeds its networks: the batch, unless it says otherwise."""
    return (
        side.feed(*batch) if hasattr(side, "feed") else dict(zip(FEEDS, batch))
    )


def _pairs(sides):
    """Yields each name with both values; what one side lacks is not a number."""
    if sides is None:
        return
    reference, candidate = sides
    for name in list(reference) + [n for n in candidate if n not in reference]:
        yield name, (reference.get(name, np.nan), candidate.get(name, np.nan))


def _order(item):
    return KINDS.index(kind_of(item[0]))
