"""Converts a TF1 checkpoint to Keras 3 models and TF2 training state, and back.

python scripts/convert_checkpoint.py --checkpoint=runs/tf1 --output_dir=runs/tf2
python scripts/convert_checkpoint.py --checkpoint=logs/model.ckpt-9000 \
    --keras_model=my_models.py:networks --output_dir=converted --verify
"""

import os

import command_line
from absl import flags

from tf2gan.common import specs
from tf2gan.common.errors import UserError

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
    "Print the map and write nothing; status 1 if it cannot be carried out.",
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
    "With --to=tf1: TF1 checkpoint to take all other variables from.",
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
    "Largest difference that --verify accepts.",
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
flags.DEFINE_bool("overwrite", False, "Replace files of an earlier conversion.")
flags.adopt_module_key_flags(command_line)


def main() -> None:
    """Converts what the flags say."""
    command_line.require_keras_on_tensorflow()
    _check_flags()
    if FLAGS.keras_model is None:
        _convert_registry()
    elif FLAGS.to == "tf2":
        _convert_to_keras()
    else:
        _convert_to_tf1()


def _check_flags():
    if FLAGS.output_dir is None and not FLAGS.dry_run:
        raise UserError(
            "--output_dir is missing; name a folder for the results"
        )
    if FLAGS.model and FLAGS.keras_model:
        raise UserError("--model and --keras_model exclude each other")
    back = FLAGS.to == "tf1" and FLAGS.keras_model
    if FLAGS.keras_model is None and (FLAGS.map or FLAGS.write_map):
        raise UserError(
            "--map and --write_map are for --keras_model; the variables of a model "
            "of this package have the same names on both sides"
        )
    if back and FLAGS.verify:
        raise UserError(
            "--verify runs TF1's graph, which --to=tf1 --keras_model does not have; "
            "convert the result to TF2 with --verify, its .meta file beside it"
        )
    if FLAGS.checkpoint is None and not back:
        raise UserError("--checkpoint is missing; name a checkpoint or a run")
    if back and FLAGS.map is None:
        raise UserError(
            "--to=tf1 needs --map: the map.json that the conversion to TF2 left"
        )


def _convert_registry():
    from tf2gan.migration import registry

    framework = "tf1" if FLAGS.to == "tf2" else "tf2"
    source = registry.read(FLAGS.checkpoint, FLAGS.model, framework)
    if FLAGS.dry_run:
        for name, value in source.state.items():
            shape = "x".join(map(str, value.shape)) or "scalar"
            print(f"{name:60} {shape:>14}  same name")
        return
    path = registry.write(source, FLAGS.output_dir, FLAGS.overwrite)
    print(
        f"{len(source.state)} variables of {source.spec.name} after "
        f"{source.step} iterations: wrote {path}"
    )
    if FLAGS.verify:
        _verify_registry(source, path)


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
    if FLAGS.dry_run:
        return
    conversion.load()
    if FLAGS.verify:
        _verify_graph(checkpoint, models, conversion.map)
    conversion.write(FLAGS.output_dir, FLAGS.overwrite)
    print(f"wrote {', '.join(models)} to {FLAGS.output_dir}")


def _convert_to_tf1():
    from tf2gan.migration import (
        convert,
        keras_models,
        map_file,
        outputs,
        tf1_checkpoint,
    )

    models = keras_models.load_models(FLAGS.keras_model)
    mapping = map_file.read_map(FLAGS.map)
    if FLAGS.checkpoint:
        convert.restore(models, FLAGS.checkpoint)
    base = tf1_checkpoint.Tf1Checkpoint(FLAGS.base) if FLAGS.base else None
    values = convert.to_tf1(models, mapping, base)
    if FLAGS.dry_run:
        print(mapping.table())
        return
    with outputs.staged(FLAGS.output_dir, FLAGS.overwrite) as part:
        tf1_checkpoint.write(os.path.join(part, "model.ckpt"), values)
    print(f"wrote {len(values)} variables to {FLAGS.output_dir}/model.ckpt")


def _verify_graph(checkpoint, models, mapping):
    from tf2gan.migration import verify

    rows = verify.verify_graph(
        checkpoint,
        models,
        mapping,
        _pairs("inputs"),
        _pairs("outputs"),
        FLAGS.seed,
    )
    _finish(verify.report(rows, FLAGS.tolerance))


def _finish(within):
    if not within:
        raise UserError(
            f"the two sides differ by more than --tolerance={FLAGS.tolerance:g}"
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
