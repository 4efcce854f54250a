"""Converts a TF1 checkpoint to Keras 3 models and TF2 training state, and back.

python scripts/convert_checkpoint.py --checkpoint=runs/tf1 --output_dir=runs/tf2
python scripts/convert_checkpoint.py --checkpoint=logs/model.ckpt-9000 \
    --keras_model=my_models.py:networks --output_dir=converted --verify
"""

import contextlib
import dataclasses
import os
import signal
import tempfile

import command_line
from absl import flags

from tf2gan.common import specs
from tf2gan.common.errors import UserError
from tf2gan.common.interrupt import Interrupted

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "checkpoint",
    None,
    "Checkpoint to convert: its path, or the folder of a run. With --to=tf1 and "
    "--keras_model it may be left out: the models are taken as they are.",
)
flags.DEFINE_string("output_dir", None, "Folder for the results.")
flags.DEFINE_enum("to", "tf2", ["tf2", "tf1"], "The side to convert to.")
flags.DEFINE_enum(
    "model",
    None,
    specs.model_names(),
    "The GAN of this package that it is of. Default: that of the run.",
)
flags.DEFINE_string(
    "keras_model",
    None,
    "Your own Keras 3 models: path/to/file.py:function or package.module:function, "
    "which returns a model, or a list or dictionary of models. Compile a model to "
    "have its optimizer's state carried over.",
)
flags.DEFINE_bool(
    "dry_run",
    False,
    "Print the map and write nothing; status 1 if it cannot be carried out. With "
    "--verify the two sides are compared, too.",
)
flags.DEFINE_string("map", None, "Map to use, as --write_map wrote it, edited.")
flags.DEFINE_string("write_map", None, "File to write the map to.")
flags.DEFINE_enum(
    "assume_moving",
    None,
    ["initial"],
    "Moving averages that were never saved, or never updated, are 0 and 1.",
)
flags.DEFINE_bool("weights_only", False, "Leave the optimizers' state behind.")
flags.DEFINE_bool(
    "allow_unused",
    False,
    "Leave behind variables of a network that its model has no place for.",
)
flags.DEFINE_string(
    "base",
    None,
    "With --to=tf1: TF1 checkpoint to take all other variables from, and, for "
    "--verify, the graph in the .meta file beside it.",
)
flags.DEFINE_bool(
    "verify",
    False,
    "Run both sides on seeded inputs; status 1 if they differ. The graph of TF1 is "
    "that of the model, or the .meta file beside the checkpoint.",
)
flags.DEFINE_float(
    "tolerance",
    1e-5,
    "Largest difference that --verify accepts in an output, as a part of its largest "
    "value.",
    lower_bound=0,
)
flags.DEFINE_list(
    "inputs",
    [],
    "For --verify: PLACEHOLDER:0=WHAT, which is the name of a model (its input), a "
    "number, true, false or an .npy file. Default: found; flags are false.",
)
flags.DEFINE_list(
    "outputs", [], "For --verify: MODEL=TENSOR:0, what TF1 calls its output."
)
flags.DEFINE_integer(
    "seed", 0, "Decides the inputs of --verify.", lower_bound=0
)
flags.DEFINE_float(
    "verify_memory_gib",
    4,
    "Memory that a .meta file's graph may take when it is verified (on Linux).",
    lower_bound=0.1,
    upper_bound=2**20,
)
flags.DEFINE_float(
    "verify_timeout",
    300,
    "Seconds that a .meta file's graph may take when it is verified.",
    lower_bound=1,
    upper_bound=10**6,
)
flags.DEFINE_bool("overwrite", False, "Replace files of an earlier conversion.")
flags.adopt_module_key_flags(command_line)

_REGISTRY = "a model of this package"
_TO_KERAS = "--keras_model"
_TO_TF1 = "--to=tf1 --keras_model"
# The conversions that a flag means something for, and why it does not for others.
_MEANT_FOR = {
    "map": (
        [_TO_KERAS, _TO_TF1],
        "the variables of a model of this package have the same names on both sides",
    ),
    "write_map": ([_TO_KERAS], "only there a map is made"),
    "assume_moving": (
        [_TO_KERAS],
        "elsewhere all moving averages are taken as they are",
    ),
    "weights_only": (
        [_TO_KERAS, _TO_TF1],
        "the training state of a model of this package is converted whole",
    ),
    "allow_unused": ([_TO_KERAS], "elsewhere nothing is left without a place"),
    "base": ([_TO_TF1], "only there variables are missing"),
    "inputs": (
        [_TO_KERAS, _TO_TF1],
        "the inputs of a model of this package are known",
    ),
    "outputs": (
        [_TO_KERAS, _TO_TF1],
        "the outputs of a model of this package are known",
    ),
    "verify_memory_gib": (
        [_TO_KERAS, _TO_TF1],
        "the graph of a model of this package needs no bound",
    ),
    "verify_timeout": (
        [_TO_KERAS, _TO_TF1],
        "the graph of a model of this package needs no bound",
    ),
}
_OF_VERIFY = (
    "tolerance",
    "inputs",
    "outputs",
    "seed",
    "verify_memory_gib",
    "verify_timeout",
)


def main() -> None:
    """Converts what the flags say."""
    command_line.require_keras_on_tensorflow()
    conversion = _conversion()
    _check_flags(conversion)
    with _stopped_in_order():
        {
            _REGISTRY: _convert_registry,
            _TO_KERAS: _convert_to_keras,
            _TO_TF1: _convert_to_tf1,
        }[conversion]()


@contextlib.contextmanager
def _stopped_in_order():
    """Has SIGTERM end what is done as Ctrl-C does, with nothing half made left."""
    signals = []

    def stop(number, _):
        signals.append(number)
        # Not `Interrupted`, which Keras would report as a failure of the model.
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        if not signals:
            raise
        message = "interrupted; what was saved before is kept"
        raise Interrupted(signals[0], message) from error
    finally:
        signal.signal(signal.SIGTERM, previous)


def _conversion():
    if FLAGS.model and FLAGS.keras_model:
        raise UserError("--model and --keras_model exclude each other")
    if FLAGS.keras_model is None:
        return _REGISTRY
    return _TO_KERAS if FLAGS.to == "tf2" else _TO_TF1


def _check_flags(conversion):
    if not FLAGS.output_dir and not FLAGS.dry_run:
        raise UserError(
            "--output_dir is missing; name a folder for the results"
        )
    _check_meant(conversion)
    if not FLAGS.checkpoint and conversion != _TO_TF1:
        raise UserError("--checkpoint is missing; name a checkpoint or a run")
    if conversion == _TO_TF1 and FLAGS.map is None:
        raise UserError(
            "--to=tf1 needs --map: the map.json that the conversion to TF2 left"
        )
    if conversion == _TO_TF1 and FLAGS.verify and FLAGS.base is None:
        raise UserError(
            "--verify runs TF1's graph, and --to=tf1 --keras_model makes none; name "
            "by --base the old checkpoint, with its .meta file beside it"
        )


def _check_meant(conversion):
    """Refuses flags that would be ignored."""
    for name, (conversions, why) in _MEANT_FOR.items():
        if FLAGS[name].present and conversion not in conversions:
            raise UserError(
                f"--{name} is for {' and '.join(conversions)}, and this is the "
                f"conversion of {conversion}: {why}; leave it out"
            )
    for name in _OF_VERIFY:
        if FLAGS[name].present and not FLAGS.verify:
            raise UserError(
                f"--{name} is for --verify; add that or leave it out"
            )
        if FLAGS[name].value != FLAGS[name].value:
            raise UserError(f"--{name}=nan is no number; give one")
    if FLAGS.verify and FLAGS.dry_run and conversion == _REGISTRY:
        raise UserError(
            "--verify runs what was converted, and --dry_run converts no model of "
            "this package; leave one of them out"
        )


def _convert_registry():
    from tf2gan.migration import registry

    _check_output(FLAGS.checkpoint)
    framework = "tf1" if FLAGS.to == "tf2" else "tf2"
    source = registry.read(FLAGS.checkpoint, FLAGS.model, framework)
    if FLAGS.dry_run:
        for name, value in source.state.items():
            shape = "x".join(map(str, value.shape)) or "scalar"
            print(f"{name:60} {shape:>14}  same name")
        return
    check = _verify_registry if FLAGS.verify else None
    path = registry.write(source, FLAGS.output_dir, FLAGS.overwrite, check)
    print(
        f"{len(source.state)} variables of {source.spec.name} after "
        f"{source.step} iterations: wrote {path}"
    )


def _verify_registry(source, path):
    import tf1gan.checkpoint
    import tf1gan.training
    import tf2gan.checkpoint
    import tf2gan.training

    paths = {"tf1": path, "tf2": path, source.framework: source.path}
    found = []
    for name, side in (("tf1", tf1gan), ("tf2", tf2gan)):
        trainer = side.training.Trainer(source.spec, dtype=source.dtype)
        folder = os.path.dirname(paths[name])
        side.checkpoint.Checkpointer(trainer, folder).restore(paths[name])
        found.append(_outputs(trainer, source))
    from tf2gan.migration import verify

    _finish(verify.report(verify.compare(*found), FLAGS.tolerance))


def _outputs(trainer, source):
    """Returns what a twin computes of seeded images and latents, by name."""
    from tf2gan.migration.verify import BATCH_SIZE, seeded

    shapes = {
        "images": [BATCH_SIZE, *source.spec.image_shape],
        "latent": [BATCH_SIZE, source.spec.latent_size],
    }
    images, latent = (
        seeded(shape, source.dtype, FLAGS.seed, name)
        for name, shape in shapes.items()
    )
    loss_d, loss_g = trainer.evaluate(images, latent)
    outputs = {"generate": trainer.generate(latent)}
    outputs.update(trainer.activations(images, latent))
    return dict(outputs, loss_D=loss_d, loss_G=loss_g)


def _convert_to_keras():
    from tf2gan.migration import convert, keras_models, map_file
    from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint

    _check_output(FLAGS.checkpoint)
    checkpoint = Tf1Checkpoint(FLAGS.checkpoint)
    models = keras_models.load_models(FLAGS.keras_model)
    options = convert.Options(
        FLAGS.assume_moving == "initial", FLAGS.weights_only, FLAGS.allow_unused
    )
    given = map_file.read_map(FLAGS.map) if FLAGS.map else None
    conversion = convert.Conversion(checkpoint, models, options, given)
    print(conversion.map.table())
    for note in conversion.notes:
        print("note: " + note)
    if FLAGS.write_map:
        map_file.write_map(FLAGS.write_map, conversion.map, FLAGS.overwrite)
    conversion.check()
    if FLAGS.dry_run and not FLAGS.verify:
        return
    conversion.load()
    if FLAGS.verify:
        _verify_graph(checkpoint, models, conversion.map)
    if FLAGS.dry_run:
        return
    conversion.write(FLAGS.output_dir, FLAGS.overwrite)
    print(f"wrote {', '.join(models)} to {FLAGS.output_dir}")


def _convert_to_tf1():
    from tf2gan.migration import (
        conversion_notes,
        exchange,
        keras_files,
        keras_models,
        map_file,
        outputs,
        tf1_checkpoint,
    )

    _check_output(FLAGS.checkpoint, FLAGS.base)
    models = keras_models.load_models(FLAGS.keras_model)
    mapping = given = map_file.read_map(FLAGS.map)
    if FLAGS.weights_only:
        mapping = dataclasses.replace(mapping, optimizers=())
    if FLAGS.checkpoint:
        keras_files.restore(models, FLAGS.checkpoint)
    base = tf1_checkpoint.Tf1Checkpoint(FLAGS.base) if FLAGS.base else None
    values = exchange.to_tf1(models, mapping, base)
    if FLAGS.dry_run:
        print(mapping.table())
    if base is None:
        for note in conversion_notes.not_written(given, values):
            print("note: " + note)
    if FLAGS.dry_run:
        if FLAGS.verify:
            with tempfile.TemporaryDirectory() as part:
                _write_tf1(part, values, models, mapping, base)
        return
    read = [path for path in (FLAGS.checkpoint, FLAGS.base) if path]
    sources = [tf1_checkpoint.find(path) for path in read]
    with outputs.staged(FLAGS.output_dir, FLAGS.overwrite, sources) as part:
        _write_tf1(part, values, models, mapping, base)
    print(f"wrote {len(values)} variables to {FLAGS.output_dir}/model.ckpt")


def _write_tf1(folder, values, models, mapping, base):
    from tf2gan.migration import tf1_checkpoint

    path = os.path.join(folder, "model.ckpt")
    tf1_checkpoint.write(path, values)
    if FLAGS.verify:
        written = tf1_checkpoint.Tf1Checkpoint(path)
        _verify_graph(written, models, mapping, base.meta_path)


def _check_output(*read):
    """Refuses an --output_dir that cannot be written, before anything is computed."""
    from tf2gan.migration import outputs, tf1_checkpoint

    if not FLAGS.dry_run:
        sources = [tf1_checkpoint.find(path) for path in read if path]
        outputs.check(FLAGS.output_dir, FLAGS.overwrite, sources)


def _verify_graph(checkpoint, models, mapping, meta=""):
    from tf2gan.migration import graph_process, verify

    if not graph_process.BOUNDS_MEMORY:
        print(
            "note: the memory that the graph takes is bounded on Linux only, here "
            "--verify_timeout alone holds"
        )
    rows = verify.verify_graph(
        checkpoint,
        models,
        mapping,
        _pairs("inputs"),
        _pairs("outputs"),
        FLAGS.seed,
        graph_process.Limits(FLAGS.verify_memory_gib, FLAGS.verify_timeout),
        meta,
    )
    _finish(verify.report(rows, FLAGS.tolerance))


def _finish(within):
    if not within:
        raise UserError(
            f"the two sides differ by more than --tolerance={FLAGS.tolerance:g} of "
            "the largest value"
        )


def _pairs(flag):
    found = {}
    for text in FLAGS[flag].value:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UserError(f"--{flag}={text}: expected NAME=VALUE")
        found[name] = value
    return found


if __name__ == "__main__":
    command_line.run(main)
