"""Shows the figures of the benchmark on the terminal."""

from typing import Any, Dict, List, Sequence

from benchmarking.subjects import WARM_UP
from benchmarking.variants import DEFAULT

GIGA = 1e9
KERNELS_SHOWN = 15


def show(figures: Dict[str, Any]) -> str:
    """Returns the tables of all parts that were measured, and the targets."""
    blocks = [_machine(figures)]
    for part, table in _TABLES.items():
        if part in figures:
            blocks.append(table(figures))
    if any(target["measured"] is not None for target in figures["targets"]):
        blocks.append(_targets(figures["targets"]))
    return "\n\n".join(blocks)


def _machine(figures):
    machine = figures["machine"]
    text = "{cpu}, {cores} cores".format(**machine)
    if "floor" in figures:
        text += "\nbest matrix product: {:.0f} GFLOP/s, at {} rows".format(
            figures["floor"]["operations_per_second"] / GIGA,
            figures["floor"]["matrix_size"],
        )
    return text


def _steps(figures):
    rows = figures["steps"]
    size = rows[0]["batch_size"]
    floors = {}
    for row in rows:
        floors.setdefault(row["update_ops"], row)
    lines = [
        [
            f"floor {policy} ({row['operations'] / GIGA:.1f} GFLOP)",
            "",
            f"{row['floor_milliseconds']:.1f}",
        ]
        for policy, row in floors.items()
    ]
    lines += [
        [
            row["label"],
            row["versions"]["tensorflow"],
            *_times(row["milliseconds"]),
            f"{row['to_floor']:.2f}",
            _number(row["to_reference"], ".2f"),
            f"{row['images_per_second']:.0f}",
            *_memory(row),
        ]
        for row in rows
    ]
    heads = ["TF", "ms", "quartiles", "/floor", "/tf.layers", "images/s"]
    title = f"iteration (D step and G step), batch {size}"
    table = _table([title, *heads, "peak MiB", "grew"], lines)
    return table + "\n" + _memory_note(rows)


def _batch_sizes(figures):
    return _sizes(figures["batch_sizes"], "batch_size", "batch")


def _image_sizes(figures):
    rows = figures["image_sizes"]
    batch = rows[0]["batch_size"]
    return _sizes(rows, "image_size", f"pixels across, batch {batch}")


def _sizes(rows, key, title):
    lines = [
        [
            f"{row['label']}, {row[key]}",
            *_times(row["milliseconds"]),
            f"{row['to_floor']:.2f}",
            f"{row['milliseconds_per_image']:.3f}",
            *_memory(row),
        ]
        for row in rows
    ]
    heads = ["ms", "quartiles", "/floor", "ms/image", "peak MiB", "grew"]
    table = _table([f"iteration, {title}", *heads], lines)
    return table + "\n" + _memory_note(rows)


def _phases(figures):
    table = figures["phases"]
    names = list(next(iter(table.values())))
    lines = [
        [name, *(f"{timed[name]['median']:.1f}" for timed in table.values())]
        for name in names
    ]
    lines.append(
        ["saved by one call for both steps"]
        + [f"{_saved(timed):.1f}" for timed in table.values()]
    )
    return _table(["ms of each phase", *table], lines)


def _saved(timed):
    apart = ("discriminator_step", "generator_step")
    both = sum(timed[name]["median"] for name in apart)
    return both - timed["train_step"]["median"]


def _loop(figures):
    loop = figures["loop"]
    times, count = loop["milliseconds"], loop["iterations_per_epoch"]
    names = {
        "bare": "bare train step",
        "loop": "iteration of the loop",
        "waiting": "  of it, taking the next batch",
        "input": "making a batch by itself",
        "summaries": "summaries, once per epoch",
        "epoch_end": "summaries, samples and checkpoint, once per epoch",
    }
    lines = [[text, *_times(times[name])] for name, text in names.items()]
    table = _table(["training loop of tf2gan scoped", "ms", "quartiles"], lines)
    added = [
        ("within an epoch", "overhead_within_an_epoch"),
        (f"with summaries every {count} iterations", "overhead_with_summaries"),
        (
            "with samples and checkpoint",
            "overhead_with_samples_and_checkpoints",
        ),
    ]
    lines = [f"adds {loop[key]:+.1%} {text}" for text, key in added]
    grown = _number(loop["memory_growth_mib"], "+.1f")
    lines.append(f"memory from the first epoch to the last: {grown} MiB")
    return "\n".join([table, *lines])


def _startup(figures):
    lines = [
        [f"{name}: {stage}", f"{times['median'] / 1000:.2f}"]
        for name, stages in figures["startup"].items()
        for stage, times in stages.items()
    ]
    return _table(["start of a process, warm disk", "seconds"], lines)


def _variants(figures):
    ((label, timed),) = figures["variants"].items()
    usual = timed[DEFAULT]["median"]
    lines = [
        [name, *_times(times), f"{times['median'] / usual:.2f}"]
        for name, times in timed.items()
    ]
    heads = [f"iteration of {label}", "ms", "quartiles", f"/{DEFAULT}"]
    return _table(heads, lines)


def _profile(figures):
    kernels = list(figures["profile"].items())
    lines = [[kind, f"{time:.2f}"] for kind, time in kernels[:KERNELS_SHOWN]]
    rest = sum(time for _, time in kernels[KERNELS_SHOWN:])
    lines.append(["all others", f"{rest:.2f}"])
    return _table(["kernels of tf2gan scoped", "ms per iteration"], lines)


def _targets(targets):
    answers = {True: "holds", False: "does not hold", None: "not measured"}
    lines = [
        [
            target["text"],
            _number(target["measured"], ".3g"),
            f"{target['most']:g}",
            answers[target["holds"]],
        ]
        for target in targets
    ]
    return _table(["target", "measured", "at most", ""], lines)


def _times(times):
    quartiles = "[{first_quartile:.1f}, {third_quartile:.1f}]".format(**times)
    return [f"{times['median']:.1f}", quartiles]


def _memory(row):
    return [
        f"{row['peak_memory_mib']:.0f}",
        _number(row["memory_growth_mib"], "+.0f"),
    ]


def _memory_note(rows):
    return (
        "peak: the most memory of the process; grew: MiB more in "
        f"{rows[0]['milliseconds']['count']} iterations, after {WARM_UP} others"
    )


def _number(value, form):
    return "-" if value is None else format(value, form)


def _table(heads: Sequence[str], lines: List[List[str]]) -> str:
    """Aligns the first column left and the others right."""
    rows = [list(heads)]
    rows += [line + [""] * (len(heads) - len(line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


_TABLES = {
    "steps": _steps,
    "batch_sizes": _batch_sizes,
    "image_sizes": _image_sizes,
    "phases": _phases,
    "loop": _loop,
    "startup": _startup,
    "variants": _variants,
    "profile": _profile,
}
