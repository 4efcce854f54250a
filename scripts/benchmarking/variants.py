"""The train step of tf2gan with other threads, compilers and precisions.

What two processes of one thread need, side by side and without waiting for each other,
is the least that the same kernels can take on two cores.
"""

import dataclasses
from typing import Any, Dict, List

import numpy as np

from benchmarking import measuring, results
from benchmarking.processes import Worker, Workers

DEFAULT = "by default"
_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to run the train step.

    Attributes:
      name: in the table.
      environment: variables of its processes.
      config: fields of `TrainConfig`.
      on_each_core: whether a process per core runs, at the same time.
    """

    name: str
    environment: Dict[str, str] = dataclasses.field(default_factory=dict)
    config: Dict[str, Any] = dataclasses.field(default_factory=dict)
    on_each_core: bool = False


VARIANTS = (
    Variant(DEFAULT),
    Variant("one operation at a time", {"TF_NUM_INTEROP_THREADS": "1"}),
    Variant("one thread in each operation", {"TF_NUM_INTRAOP_THREADS": "1"}),
    Variant("one thread", _ONE_THREAD),
    Variant("one thread; a process per core, together", _ONE_THREAD, {}, True),
    Variant("--jit_compile", config={"jit_compile": True}),
    Variant("--run_eagerly", config={"run_eagerly": True}),
    Variant(
        "--precision=mixed_bfloat16", config={"precision": "mixed_bfloat16"}
    ),
    Variant("--precision=mixed_float16", config={"precision": "mixed_float16"}),
)


def measure(
    rounds: int, iterations: int, settings: Dict[str, Any]
) -> Dict[str, List[float]]:
    """Returns by variant the seconds of each iteration.

    With a process on each core they are those between any two iterations' ends.

    Args:
      rounds: how often each variant gets its turn.
      iterations: timed ones per turn.
      settings: arguments of `subjects.Training`, without `config`.
    """
    found = {variant.name: [] for variant in VARIANTS}
    with Workers() as workers:
        teams = {v.name: _start(workers, v, settings) for v in VARIANTS}
        for team in teams.values():
            for worker in team:
                worker.receive()
        for _ in measuring.rounds_of("variants", rounds):
            for name, team in teams.items():
                found[name].extend(_run(team, iterations))
    return found


def _start(workers, variant, settings) -> List[Worker]:
    count = results.machine()["cores"] if variant.on_each_core else 1
    team = [
        workers.start(f"tf2gan, {variant.name}", **variant.environment)
        for _ in range(count)
    ]
    for worker in team:
        worker.send("make", kind="training", config=variant.config, **settings)
    return team


def _run(team: List[Worker], iterations: int) -> List[float]:
    """Has all of them run at the same time."""
    for worker in team:
        worker.send("run", iterations=iterations)
    seconds = [worker.receive() for worker in team]
    return (np.mean(seconds, axis=0) / len(team)).tolist()
