"""The parts of the benchmark, each of which can be asked for by itself."""

import dataclasses
import itertools
from typing import Any, Dict, List, Optional, Tuple

from benchmarking import measuring, starting, trainers
from benchmarking import variants as other_ways
from benchmarking.measuring import Case, Floor, Measurement
from benchmarking.processes import Workers
from tf2gan.common.errors import UserError
from tf2gan.common.specs import UPDATE_POLICIES

SIDES = ("tf2gan", "tf1gan")
# Cost against size, and the loop: on the fastest a fixed cost shows most.
FASTEST = ("tf2gan", "scoped")
ROUNDS_PER_START = 5  # starts take long
LOOP_BLOCKS = 4  # of `iterations`, between the ends of two epochs


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure, and how thoroughly; see the flags of benchmark.py."""

    model: str
    batch_size: int
    batch_sizes: Tuple[int, ...]
    image_sizes: Tuple[int, ...]
    image_batch_size: int
    rounds: int
    iterations: int
    reference: bool
    tf115_python: Optional[str]

    def measure(self, title: str, cases, floor: Floor) -> List[Measurement]:
        """Measures cases in turn, see `measuring.measure`."""
        return measuring.measure(
            title, cases, floor, self.rounds, self.iterations
        )


def steps(options: Options, floor: Floor) -> List[Measurement]:
    """Measures all implementations in both policies."""
    named = list(itertools.product(SIDES, reversed(UPDATE_POLICIES)))
    if options.reference:
        named.append((trainers.SOURCE, "source"))
    cases = [_case(options, *names) for names in named]
    if options.tf115_python:
        cases += [
            _case(options, "tf1gan", policy, tf115_python=options.tf115_python)
            for policy in reversed(UPDATE_POLICIES)
        ]
    return options.measure("steps", cases, floor)


def batch_sizes(options: Options, floor: Floor) -> List[Measurement]:
    """Measures the cost against the size of the batch."""
    cases = [
        _case(options, *FASTEST, batch_size=size)
        for size in options.batch_sizes
    ]
    return options.measure("batch sizes", cases, floor)


def image_sizes(options: Options, floor: Floor) -> List[Measurement]:
    """Measures the cost against the size of the images."""
    cases = [
        _case(
            options,
            *FASTEST,
            batch_size=options.image_batch_size,
            image_size=size,
        )
        for size in options.image_sizes
    ]
    return options.measure("image sizes", cases, floor)


def phases(options: Options, _) -> Dict[str, Dict[str, List[float]]]:
    """Returns by implementation and phase the seconds of each call."""
    cases = [
        _case(options, *names)
        for names in itertools.product(SIDES, reversed(UPDATE_POLICIES))
    ]
    found = {case.label: {} for case in cases}
    with Workers() as workers:
        started = [(case.label, case.start(workers)) for case in cases]
        for _, worker in started:
            worker.receive()
        for _ in measuring.rounds_of("phases", options.rounds):
            for label, worker in started:
                timed = worker.ask("phases", repetitions=1)
                for phase, seconds in timed.items():
                    found[label].setdefault(phase, []).extend(seconds)
    return found


def loop(options: Options, _) -> Dict[str, Any]:
    """Returns what `loop.Loop.run` does, and the lengths of an epoch and a block.

    Raises:
      UserError: if the data set has fewer than two batches.
    """
    side, policy = FASTEST
    digits = trainers.count_digits(options.model)
    per_epoch = digits // options.batch_size
    if per_epoch < 2:
        raise UserError(
            f"--batch_size={options.batch_size}: the loop is timed between two "
            f"batches of {digits} images; lower it, or leave loop out of --parts"
        )
    per_block = min(LOOP_BLOCKS * options.iterations, per_epoch - 1)
    with Workers() as workers:
        worker = workers.start(f"the training loop of {side}")
        worker.ask(
            "make",
            kind="loop",
            model=options.model,
            update_ops=policy,
            batch_size=options.batch_size,
        )
        found = worker.ask("run", rounds=options.rounds, iterations=per_block)
    lengths = {
        "iterations_per_epoch": per_epoch,
        "iterations_per_block": per_block,
    }
    return {**found, **lengths}


def startup(options: Options, _) -> Dict[str, Dict[str, List[float]]]:
    """Returns what `starting.measure` does."""
    starts = max(1, options.rounds // ROUNDS_PER_START)
    return starting.measure(starts, options.batch_size)


def variants(options: Options, _) -> Dict[str, Dict[str, List[float]]]:
    """Returns what `variants.measure` does, of the fastest."""
    case = _case(options, *FASTEST)
    found = other_ways.measure(
        options.rounds, options.iterations, case.settings()
    )
    return {case.label: found}


def profile(options: Options, _) -> Dict[str, float]:
    """Returns what `profile.profile` does, after a turn without it."""
    with Workers() as workers:
        worker = _case(options, *FASTEST).start(workers)
        worker.receive()
        worker.ask("run", iterations=options.iterations)
        return worker.ask("profile", iterations=options.iterations)


def _case(options, side, update_ops, batch_size=None, **settings):
    size = batch_size or options.batch_size
    return Case(side, update_ops, options.model, size, **settings)


PARTS = {
    "steps": steps,
    "batch_sizes": batch_sizes,
    "image_sizes": image_sizes,
    "phases": phases,
    "loop": loop,
    "startup": startup,
    "variants": variants,
    "profile": profile,
}
