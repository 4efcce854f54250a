"""Measures both sides of the migration, alternately and against the floor.

python scripts/benchmark.py --reference --json=speed.json --chart=speed.png

Times are medians with quartiles. The floor is the time that the arithmetic of an
iteration takes at the rate of the machine's best matrix product, seen in the same run.
Exit status: 0 whatever the speed; with --check 1 if a target that was measured does
not hold.
"""

import datetime
import json
import os
import sys
from typing import Any, Dict, Optional

import benchmark_flags
import command_line
from absl import flags
from benchmarking import chart, measuring, results, subjects, tables
from benchmarking import parts as benchmark_parts
from benchmarking import targets as benchmark_targets

from tf2gan.common.errors import UserError

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(benchmark_flags)
flags.adopt_module_key_flags(command_line)


def main() -> Optional[int]:
    """Measures, shows and writes; returns 1 if --check fails."""
    command_line.require_keras_on_tensorflow()
    parts, options = benchmark_flags.parts(), benchmark_flags.options()
    benchmark_flags.check_outputs()
    if "image_sizes" in parts:
        _check_image_sizes(options)
    measured, floor = {}, measuring.Floor()
    try:
        for part in parts:
            print(f"measuring {part} ...", file=sys.stderr, flush=True)
            measured[part] = benchmark_parts.PARTS[part](options, floor)
    except (UserError, KeyboardInterrupt):
        if measured:  # what took minutes is not thrown away
            _report(measured, floor)
        raise
    targets = _report(measured, floor)["targets"]
    missed = any(target["holds"] is False for target in targets)
    return command_line.STATUS_ERROR if FLAGS.check and missed else None


def _check_image_sizes(options):
    """Raises `UserError` for a size that the model has not, before minutes pass."""
    for size in options.image_sizes:
        results.operations(options.model, "scoped", 1, size)


def _report(measured, floor) -> Dict[str, Any]:
    figures = results.figures(measured, floor)
    figures["targets"] = benchmark_targets.judge(figures)
    print(tables.show(figures), flush=True)
    if FLAGS.json:
        _write(FLAGS.json, lambda path: _write_json(path, figures))
    if FLAGS.chart:
        _write(FLAGS.chart, lambda path: chart.draw(figures, path))
    return figures


def _write_json(path, figures):
    facts = {
        "command": sys.argv,
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "versions": subjects.versions(),
        "settings": benchmark_flags.options().__dict__,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**facts, **figures}, file, indent=2)
        file.write("\n")


def _write(path, write):
    """Writes a file whole or not at all."""
    partial = path + ".partial"
    try:
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"cannot write '{path}': {error.strerror}; name another file"
        ) from error
    print("wrote " + path)


if __name__ == "__main__":
    command_line.run(main)
