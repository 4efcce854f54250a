"""What the benchmark compares, and how it measures it: in turn, in rounds."""

import dataclasses
import sys
from typing import Dict, List, Optional, Sequence

from tqdm import tqdm

from benchmarking import subjects, trainers
from benchmarking.processes import Worker, Workers
from tf2gan.common.errors import UserError

MATRIX_SIZES = (512, 768, 1024, 1536, 2048, 3072, 4096)
PRODUCTS_PER_SIZE = 3
TF115 = "1.15."


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
      side: "tf1gan", "tf2gan", or "tf.layers" for the source's graph.
      update_ops: "source" or "scoped".
      model: name of the spec.
      batch_size: images per iteration.
      image_size: height and width, None for the spec's.
      tf115_python: interpreter with TensorFlow 1.15, None for this one.
    """

    side: str
    update_ops: str
    model: str
    batch_size: int
    image_size: Optional[int] = None
    tf115_python: Optional[str] = None

    @property
    def label(self) -> str:
        """The name in tables."""
        on = " on TF 1.15" if self.tf115_python else ""
        return f"{self.side} {self.update_ops}{on}"

    def settings(self) -> Dict[str, object]:
        """Returns the arguments of `subjects.Training`."""
        return {
            "side": self.side,
            "model": self.model,
            "update_ops": self.update_ops,
            "batch_size": self.batch_size,
            "image_size": self.image_size,
        }

    def start(self, workers: Workers) -> Worker:
        """Starts its process, which begins to make the trainer."""
        variables = {}
        if self.side == trainers.SOURCE:
            variables["TF_USE_LEGACY_KERAS"] = "1"
        worker = workers.start(
            f"{self.label}, batch {self.batch_size}",
            self.tf115_python or sys.executable,
            **variables,
        )
        worker.send("make", kind="training", **self.settings())
        return worker


@dataclasses.dataclass
class Measurement:
    """What was measured of a case; memory is resident and in MiB.

    Attributes:
      case: what was measured.
      versions: of Python and packages, by name.
      seconds: of each iteration.
      memory_before: after the warm-up; None where the system does not say.
      memory_after: after all iterations.
      peak_memory: the greatest of the process.
    """

    case: Case
    versions: Dict[str, str]
    seconds: List[float] = dataclasses.field(default_factory=list)
    memory_before: Optional[float] = None
    memory_after: Optional[float] = None
    peak_memory: Optional[float] = None


class Floor:
    """The best rate of matrix products that was seen in any round."""

    def __init__(self) -> None:
        """Knows no rate yet."""
        self.rates: Dict[int, float] = {}

    @property
    def rate(self) -> Optional[float]:
        """Operations per second; None if nothing was measured."""
        return max(self.rates.values(), default=None)

    @property
    def size(self) -> Optional[int]:
        """Rows of the matrices of the best product."""
        return max(self.rates, key=self.rates.get, default=None)

    def scan(self, worker: Worker) -> None:
        """Has the worker find the size with the best rate, and keep to it."""
        found = worker.ask(
            "scan", sizes=MATRIX_SIZES, repetitions=PRODUCTS_PER_SIZE
        )
        rates = {int(size): rate for size, rate in found.items()}
        self._chosen = max(rates, key=rates.get)
        for size, rate in rates.items():
            self._add(size, rate)

    def measure(self, worker: Worker, iterations: int) -> None:
        """Has the worker make products of that size."""
        seconds = min(worker.ask("run", iterations=iterations))
        flops = subjects.product_flops(self._chosen)
        self._add(self._chosen, flops / seconds)

    def _add(self, size, rate):
        self.rates[size] = max(rate, self.rates.get(size, 0))


def measure(
    title: str,
    cases: Sequence[Case],
    floor: Floor,
    rounds: int,
    iterations: int,
) -> List[Measurement]:
    """Measures cases and the floor in turn.

    Args:
      title: of the progress bar.
      cases: each gets a process of its own.
      floor: learns of the rates that are seen.
      rounds: how often each gets its turn.
      iterations: timed ones per turn.

    Raises:
      UserError: if one cannot be measured.
    """
    with Workers() as workers:
        started = [case.start(workers) for case in cases]
        products = workers.start("the matrix product")
        products.ask("make", kind="matrix_product")
        found = []
        for case, worker in zip(cases, started):
            found.append(Measurement(case, worker.receive()))
            check_version(found[-1])
        floor.scan(products)
        _measure_all(title, found, started, floor, products, rounds, iterations)
    return found


def _measure_all(title, found, workers, floor, products, rounds, iterations):
    pairs = list(zip(found, workers))
    for measurement, worker in pairs:
        measurement.memory_before = worker.ask("memory")["present"]
    for done in rounds_of(title, rounds):
        first = done % len(pairs)  # each is once the first after the product
        for measurement, worker in pairs[first:] + pairs[:first]:
            seconds = worker.ask("run", iterations=iterations)
            measurement.seconds.extend(seconds)
        floor.measure(products, iterations)
    for measurement, worker in pairs:
        memory = worker.ask("memory")
        measurement.memory_after = memory["present"]
        measurement.peak_memory = memory["peak"]


def rounds_of(title: str, rounds: int):
    """Returns the numbers of the rounds, with a bar where there is a terminal."""
    return tqdm(range(rounds), title, disable=None, leave=False)


def check_version(measurement: Measurement) -> None:
    """Raises `UserError` if --tf115_python has another TensorFlow."""
    version = measurement.versions["tensorflow"]
    python = measurement.case.tf115_python
    if python and not version.startswith(TF115):
        raise UserError(
            f"--tf115_python='{python}' has TensorFlow {version}; expected a "
            "Python 3.7 with TensorFlow 1.15.5"
        )
