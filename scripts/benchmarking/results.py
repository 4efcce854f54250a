"""Makes of what was measured the figures that are shown, drawn and kept as JSON.

Each figure is computed here once, so that table, chart and file cannot differ.
"""

import dataclasses
import functools
import os
import platform
from typing import Any, Dict, List, Optional

import numpy as np

from benchmarking import flops, trainers
from benchmarking.measuring import Floor, Measurement

SETS_OF_STEPS = ("steps", "batch_sizes", "image_sizes")
REFERENCE = trainers.SOURCE + " source"


def summary(seconds: List[float]) -> Dict[str, Any]:
    """Returns the median and the quartiles of times, in milliseconds."""
    milliseconds = np.array(seconds) * 1000
    first, median, third = np.percentile(milliseconds, [25, 50, 75]).tolist()
    return {
        "median": median,
        "first_quartile": first,
        "third_quartile": third,
        "count": len(seconds),
    }


def figures(measured: Dict[str, Any], floor: Floor) -> Dict[str, Any]:
    """Returns the figures of each part that was measured, by its name."""
    found = {"machine": machine()}
    if floor.rate:
        found["floor"] = {
            "operations_per_second": floor.rate,
            "matrix_size": floor.size,
            "best_by_matrix_size": floor.rates,
        }
    for part, value in measured.items():
        if part in SETS_OF_STEPS:
            found[part] = _with_reference([_row(m, floor) for m in value])
        elif part == "loop":
            found[part] = loop_figures(value)
        elif part == "profile":
            found[part] = value
        else:
            found[part] = {
                name: {key: summary(times) for key, times in timed.items()}
                for name, timed in value.items()
            }
    return found


def machine() -> Dict[str, Any]:
    """Returns on what it was measured."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count()
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "platform": platform.platform(),
    }


def _cpu_name():
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].split(":", 1)[1].strip()
    except (OSError, IndexError):
        return platform.processor() or "unknown"


def _row(measurement: Measurement, floor: Floor) -> Dict[str, Any]:
    case, times = measurement.case, summary(measurement.seconds)
    count = operations(
        case.model, case.update_ops, case.batch_size, case.image_size
    )
    at_the_floor = 1000 * count / floor.rate
    return {
        "label": case.label,
        **dataclasses.asdict(case),
        "versions": measurement.versions,
        "milliseconds": times,
        "milliseconds_per_image": times["median"] / case.batch_size,
        "images_per_second": 1000 * case.batch_size / times["median"],
        "operations": count,
        "floor_milliseconds": at_the_floor,
        "to_floor": times["median"] / at_the_floor,
        "peak_memory_mib": measurement.peak_memory,
        "memory_growth_mib": _growth(
            measurement.memory_before, measurement.memory_after
        ),
    }


def _growth(before: Optional[float], after: Optional[float]):
    return None if before is None else after - before


@functools.lru_cache(maxsize=None)
def operations(
    model: str, update_ops: str, batch_size: int, image_size: Optional[int]
) -> int:
    """Returns the operations of an iteration; see `flops`.

    Raises:
      UserError: if the model has no images of that size.
    """
    spec = trainers.spec_of(model, image_size)
    return flops.iteration_flops(spec, update_ops, batch_size)


def _with_reference(rows):
    """Adds what each takes over what the source's graph takes, if that is there."""
    medians = {row["label"]: row["milliseconds"]["median"] for row in rows}
    for row in rows:
        row["to_reference"] = (
            medians[row["label"]] / medians[REFERENCE]
            if REFERENCE in medians
            else None
        )
    return rows


def loop_figures(value: Dict[str, Any]) -> Dict[str, Any]:
    """Returns the times, and the loop's own cost per iteration over the step's.

    Blocks of the loop are compared with the bare steps beside them by their sums, so
    that what happens in few iterations, as the bar's drawing, counts too.

    Args:
      value: what `parts.loop` returned.
    """
    resident, per_epoch = value["resident"], value["iterations_per_epoch"]
    blocks = [-1, value["iterations_per_block"]]
    loop = np.reshape(value["loop"], blocks).sum(axis=1)
    bare = np.reshape(value["bare"], blocks).sum(axis=1)
    within = float(np.median(loop / bare)) - 1

    def per_step(name):
        return float(
            np.median(value[name]) / np.mean(value["bare"]) / per_epoch
        )

    return {
        "milliseconds": {
            name: summary(seconds)
            for name, seconds in value.items()
            if isinstance(seconds, list) and name != "resident"
        },
        "iterations_per_epoch": per_epoch,
        "overhead_within_an_epoch": within,
        "overhead_with_summaries": within + per_step("summaries"),
        "overhead_with_samples_and_checkpoints": within + per_step("epoch_end"),
        "memory_growth_mib": _growth(resident[0], resident[-1]),
    }
