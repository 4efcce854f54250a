"""Batch norm that a graph has in training mode for good is verified in that mode."""

import contextlib
import dataclasses
import shutil
import subprocess
from types import SimpleNamespace

import fixed_modes
import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf2gan.migration import (
    batch_statistics,
    convert,
    exchange,
    graph_worker,
    tf1_checkpoint,
    verify,
)
from tf2gan.migration.meta_graph import MetaGraph
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint, write

# Float32: a batch of four is divided by its deviation twice.
TOLERANCE = 1e-5
DIFFERENT = 1e-2

ON_1X = pytest.param(
    "1.15.5",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(
            not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115
        ),
    ],
)


@pytest.fixture(scope="module", params=["2.x", ON_1X])
def folder(request, tmp_path_factory):
    """A checkpoint and its graph for each of `fixed_modes.MODES`."""
    folder = tmp_path_factory.mktemp("modes")
    if request.param == "2.x":
        fixed_modes.write(str(folder))
    else:
        subprocess.run(
            [helpers.TF115_PYTHON, fixed_modes.__file__, str(folder)],
            env=helpers.environment(),
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=100,
        )
    return folder


def network(**norm):
    """The same discriminator in Keras, and dropout, which is not to be switched on."""
    images = keras.Input([4, 4, 1])
    x = keras.layers.Conv2D(3, 2, name="conv")(images)
    x = keras.layers.BatchNormalization(name="norm_1")(x, **norm)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Dense(5, name="dense")(keras.layers.Flatten()(x))
    x = keras.layers.BatchNormalization(name="norm_2")(x, **norm)
    x = keras.layers.Dense(1, name="logits")(x)
    return keras.Model(images, x, name="discriminator")


def verified(folder, name, model=None, change=None, **options):
    """Verifies a checkpoint's graph and a model, after a change to the model."""
    model = model or network()
    models = {"discriminator": model}
    checkpoint = Tf1Checkpoint(str(folder / name))
    options = convert.Options(**options)
    converted = convert.Conversion(checkpoint, models, options)
    converted.load()
    if change:
        change(model)
    (row,) = verify.verify_graph(checkpoint, models, converted.map, {}, {})
    return row


def test_training_mode_for_good_is_that_of_both_sides(folder):
    row = verified(folder, "both")
    assert row.difference < TOLERANCE and row.size > DIFFERENT
    assert "batch norm of 'discriminator' in training mode for good" in row.note
    assert "discriminator/norm_1, discriminator/norm_2" in row.note
    assert "\n" not in row.note


def test_without_it_the_outputs_would_differ(folder, monkeypatch):
    monkeypatch.setattr(
        batch_statistics, "unread", lambda models, *_: dict.fromkeys(models, [])
    )
    assert verified(folder, "both").difference > DIFFERENT


def test_each_layer_has_the_mode_that_it_has_in_the_graph(folder):
    row = verified(folder, "first")
    assert row.difference < TOLERANCE
    assert "norm_1" in row.note and "norm_2" not in row.note


def test_averages_that_were_never_saved_are_not_missed(folder, tmp_path):
    """As by a Saver of the trainable variables: the graph does not need them."""
    checkpoint = Tf1Checkpoint(str(folder / "both"))
    saved = checkpoint.read_all()
    saved = {n: value for n, value in saved.items() if "moving_" not in n}
    write(str(tmp_path / "weights" / "model.ckpt"), saved)
    shutil.copy(checkpoint.meta_path, str(tmp_path / "weights"))
    row = verified(tmp_path, "weights", assume_moving=True)
    assert row.difference < TOLERANCE and "for good" in row.note


@pytest.mark.parametrize("name", ["neither", "fed"])
def test_inference_is_compared_without_a_note(name, folder):
    row = verified(folder, name)
    assert row.difference < TOLERANCE and row.note == ""


SHADOW = "/ExponentialMovingAverage"


def with_shadows(folder, name, wanted, tmp_path):
    """A checkpoint with shadow variables, and one whose owners have their values."""
    checkpoint = Tf1Checkpoint(str(folder / name))
    saved = checkpoint.read_all()
    moved = {n: 0.5 * v for n, v in saved.items() if wanted in n}
    shadows = {"ema/" + n + SHADOW: value for n, value in moved.items()}
    contents = {"shadows": {**saved, **shadows}, "owners": {**saved, **moved}}
    for kind, values in contents.items():
        write(str(tmp_path / kind / "model.ckpt"), values)
        shutil.copy(checkpoint.meta_path, str(tmp_path / kind))
    return tmp_path


def verified_with_shadows(folder):
    """Verifies with a map that names every shadow variable there is."""
    models = {"discriminator": network()}
    checkpoint = Tf1Checkpoint(str(folder / "shadows"))
    options = convert.Options(weights_only=True)
    found = convert.Conversion(checkpoint, models, options).map
    shadows = {n: "ema/" + n + SHADOW for n in checkpoint.variables}
    pairs = [
        dataclasses.replace(p, tf1=shadows[p.tf1])
        if shadows[p.tf1] in checkpoint.variables
        else p
        for p in found.pairs
    ]
    given = dataclasses.replace(found, pairs=tuple(pairs))
    converted = convert.Conversion(checkpoint, models, options, given)
    converted.load()
    (row,) = verify.verify_graph(checkpoint, models, given, {}, {})
    return row


@pytest.mark.parametrize("wanted", ["/moving_", "/"])
@pytest.mark.parametrize("name", ["neither", "fed"])
def test_shadow_variables_in_the_map_stand_for_what_inference_takes(
    name, wanted, folder, tmp_path
):
    both = with_shadows(folder, name, wanted, tmp_path)
    row = verified_with_shadows(both)
    assert row.difference < TOLERANCE and row.note == ""
    assert row.size == verified(both, "owners").size
    assert abs(row.size - verified(folder, name).size) > DIFFERENT


def test_taken_for_themselves_they_would_count_as_unread(
    folder, tmp_path, monkeypatch
):
    nothing = SimpleNamespace(averages={})
    monkeypatch.setattr(
        verify, "slots", SimpleNamespace(classify=lambda _: nothing)
    )
    both = with_shadows(folder, "neither", "/moving_", tmp_path)
    row = verified_with_shadows(both)
    assert row.difference > DIFFERENT and "for good" in row.note


@pytest.mark.parametrize("wanted", ["/moving_", "/"])
def test_training_mode_for_good_is_seen_through_shadow_variables(
    wanted, folder, tmp_path
):
    row = verified_with_shadows(with_shadows(folder, "both", wanted, tmp_path))
    assert row.difference < TOLERANCE
    assert "discriminator/norm_1, discriminator/norm_2" in row.note


def test_shadow_variables_of_one_layer_say_nothing_of_another(folder, tmp_path):
    row = verified_with_shadows(with_shadows(folder, "first", "/", tmp_path))
    assert row.difference < TOLERANCE
    assert "norm_1" in row.note and "norm_2" not in row.note


def test_shadow_variables_that_the_graph_itself_reads_stand_for_themselves():
    owners = {n + SHADOW: n for n in ("w", "mean", "paired")}
    taken = {"w" + SHADOW, "w", "mean", "paired"}
    found = graph_worker._standing_in({*owners, "paired"}, taken, owners)
    assert found == {"mean" + SHADOW}


def of_epsilon(epsilon, scale):
    """Changes the epsilon of a model's batch norm, and the size of its outputs."""

    def change(model):
        for name in ("norm_1", "norm_2"):
            model.get_layer(name).epsilon = epsilon
        for weight in model.get_layer("logits").weights:
            weight.assign(weight * scale)

    return change


@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize("epsilon, within", [(1e-3, True), (1e-5, False)])
def test_a_wrong_epsilon_is_seen_in_outputs_of_any_size(
    epsilon, within, scale, folder
):
    models = {"discriminator": network()}
    checkpoint = Tf1Checkpoint(str(folder / "neither"))
    converted = convert.Conversion(checkpoint, models, convert.Options())
    converted.load()
    of_epsilon(epsilon, scale)(models["discriminator"])
    values = exchange.to_tf1(models, converted.map, checkpoint)
    path = str(folder / f"scaled_{epsilon}_{scale}")
    tf1_checkpoint.write(path, values)
    (row,) = verify.verify_graph(
        Tf1Checkpoint(path),
        models,
        converted.map,
        {},
        {},
        meta=checkpoint.meta_path,
    )
    assert verify.report([row], 1e-5) == within
    assert scale < row.size < 10 * scale


def off(model):
    kernel = model.get_layer("dense").kernel
    kernel.assign(kernel + np.eye(*kernel.shape))


def frozen(model):
    model.get_layer("norm_1").trainable = False


def test_a_weight_that_is_off_is_seen_in_training_mode_too(folder):
    assert verified(folder, "both", change=off).difference > DIFFERENT


def test_layers_that_cannot_train_are_said_to_be_the_cause(folder):
    row = verified(folder, "both", change=frozen)
    assert row.difference > DIFFERENT
    assert (
        "for good" in row.note and "compared is Keras's inference" in row.note
    )


@pytest.mark.parametrize("norm", [{}, {"training": True}])
def test_verifying_moves_no_average(norm, folder):
    """Also where the model itself is in training mode for good."""
    model = network(**norm)
    row = verified(folder, "both", model)
    assert row.difference < TOLERANCE
    checkpoint = Tf1Checkpoint(str(folder / "both"))
    for layer in ("norm_1", "norm_2"):
        for average in ("moving_mean", "moving_variance"):
            np.testing.assert_array_equal(
                getattr(model.get_layer(layer), average),
                checkpoint.read(f"discriminator/{layer}/{average}"),
            )
    assert "call" not in vars(model.get_layer("norm_1"))


def test_the_averages_would_move_if_they_were_not_kept(folder, monkeypatch):
    monkeypatch.setattr(
        batch_statistics, "kept", lambda _: contextlib.nullcontext()
    )
    model = network()
    verified(folder, "both", model)
    checkpoint = Tf1Checkpoint(str(folder / "both"))
    expected = checkpoint.read("discriminator/norm_1/moving_mean")
    found = model.get_layer("norm_1").moving_mean.numpy()
    assert np.abs(found - expected).max() > 0


def test_a_fused_kernel_that_is_given_averages_in_training_mode_ignores_them():
    graph = MetaGraph(fused_with_averages())
    assert graph.read_by("y:0") == {"gamma"}
    assert graph.read_by("inference:0") == {"gamma", "mean"}


def fused_with_averages():
    """As TensorFlow 2 writes it; with defaults left out `is_training` is missing."""
    meta = tf.compat.v1.MetaGraphDef()
    for name in ("gamma", "mean"):
        meta.graph_def.node.add(name=name, op="VarHandleOp")
        read = meta.graph_def.node.add(name=name + "/Read", op="ReadVariableOp")
        read.input.append(name)
    meta.graph_def.node.add(name="x", op="Placeholder")
    for name in ("y", "inference"):
        node = meta.graph_def.node.add(name=name, op="FusedBatchNormV3")
        node.input.extend(["x", *["gamma/Read"] * 2, *["mean/Read:0"] * 2])
    node.attr["is_training"].b = False
    return meta


def test_the_script_says_so_in_a_line(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    status = helpers.call_script(
        "convert_checkpoint",
        f"--checkpoint={folder / 'both'}",
        f"--keras_model={__file__}:network",
        "--output_dir=two",
        "--verify",
    )
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")
    notes = [line for line in out.splitlines() if "for good" in line]
    assert len(notes) == 1 and notes[0].startswith("note: the graph has")
