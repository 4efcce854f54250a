"""What one phase showed of both implementations, for those who look for the cause."""

import dataclasses
from typing import Dict, FrozenSet, Iterator, List, Optional, Tuple

import numpy as np

from tf2gan.migration.report import NETWORKS, Difference

Arrays = Dict[str, np.ndarray]


@dataclasses.dataclass
class Side:
    """One implementation in one phase; what it cannot show is empty.

    Attributes:
      before: the state before the phase, by TF1 names.
      after: the state after it.
      loss: that the phase returned.
      feed: what the networks were fed.
      activations: outputs of the layers before the phase, in order of the layers.
      gradients: of each network's loss, before the phase, by variable.
      samples: images for inference, drawn after the phase.
    """

    before: Arrays = dataclasses.field(default_factory=dict)
    after: Arrays = dataclasses.field(default_factory=dict)
    loss: Optional[float] = None
    feed: Arrays = dataclasses.field(default_factory=dict)
    activations: Arrays = dataclasses.field(default_factory=dict)
    gradients: Arrays = dataclasses.field(default_factory=dict)
    samples: Optional[np.ndarray] = None

    def calls(self, layer: str) -> List[str]:
        """Returns the activations of a layer: one per call of its network.

        `discriminator/dense` is called as `discriminator/dense` on real images and
        as `discriminator_1/dense` on generated ones.
        """
        network, _, rest = layer.partition("/")
        return [
            name
            for name in self.activations
            if name.partition("/")[2] == rest
            and network_of(name.partition("/")[0]) == network
        ]

    def inputs_of(self, call: str, channels: int) -> Optional[np.ndarray]:
        """Returns what a layer normalizes: the activation before, [N, channels].

        None where there is none, or its size is no multiple of `channels`.
        """
        scope, before = call.partition("/")[0], None
        for name, value in self.activations.items():
            if name == call:
                break
            if name.partition("/")[0] == scope:
                before = value
        if before is None or np.size(before) % channels:
            return None
        return np.reshape(np.asarray(before, np.float64), [-1, channels])

    def logits(self, scope: str) -> Optional[np.ndarray]:
        """Returns the last activation of a call of a network, [B, 1]."""
        names = [n for n in self.activations if n.partition("/")[0] == scope]
        return (
            np.asarray(self.activations[names[-1]], np.float64)
            if names
            else None
        )


@dataclasses.dataclass
class Evidence:
    """One phase of a comparison.

    Attributes:
      iteration: from 1.
      phase: one of `report.PHASES`; of a recording, the one that it corresponds to.
      reference: what the right side showed, or a recording of it.
      candidate: what the other side showed.
      differences: the comparisons that were made of it.
      previous: the phase before this one.
      recorded: whether the reference is a recording, which nobody can run again.
      optimizer_counts: step counts of the candidate that are those of its optimizers,
        each of which has one of its own.
    """

    iteration: int
    phase: str
    reference: Side
    candidate: Side
    differences: List[Difference] = dataclasses.field(default_factory=list)
    previous: Optional["Evidence"] = None
    recorded: bool = False
    optimizer_counts: FrozenSet[str] = frozenset()

    def __post_init__(self) -> None:
        """Lets the candidate's activations stand in for those not recorded.

        What is measured by them must first fit the reference, so they are not taken
        on trust.
        """
        if not self.reference.activations:
            self.reference = dataclasses.replace(
                self.reference, activations=self.candidate.activations
            )

    @property
    def borrowed(self) -> bool:
        """Whether the reference's activations are the candidate's."""
        return self.reference.activations is self.candidate.activations

    @property
    def sides(self) -> Tuple[Side, Side]:
        """Reference and candidate."""
        return self.reference, self.candidate

    @property
    def network(self) -> str:
        """The network that the phase trains; "" if its name does not tell."""
        return NETWORKS.get(self.phase, "")

    def differs(self, kind: str, prefix: str = "") -> bool:
        """Whether a tensor of that kind is beyond the tolerance."""
        return any(
            not d.allowed and d.kind == kind and d.name.startswith(prefix)
            for d in self.differences
        )

    def quiet(self) -> set:
        """Returns the names whose true gradient is zero."""
        return {d.name for d in self.differences if d.noisy}

    def trained(self) -> Iterator[str]:
        """Yields the variables that have Adam slots and moved on both sides."""
        quiet = self.quiet()
        for name in self.reference.after:
            if name in quiet or name + "/Adam_1" not in self.reference.after:
                continue
            if all(_moved(side, name) for side in self.sides):
                yield name


def _moved(side, name):
    names = (name, name + "/Adam", name + "/Adam_1")
    if not all(n in side.before and n in side.after for n in names):
        return False
    return not np.array_equal(side.before[name], side.after[name])


def network_of(scope: str) -> str:
    """Returns the network of a name scope: "discriminator" for "discriminator_1"."""
    stem, _, number = scope.rpartition("_")
    return stem if stem and number.isdigit() else scope
