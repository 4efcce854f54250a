"""Checkpoints of other people's GANs, in many naming styles, become Keras models.

`foreign/` holds what `make_foreign.py` made with TensorFlow 1.15.5: checkpoints, and
what their graphs compute. `foreign_models.py` holds the same networks in Keras.
"""

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import foreign_models
import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf2gan import optimizers
from tf2gan.common.errors import UserError
from tf2gan.migration import (
    conversion_notes,
    convert,
    exchange,
    graph_powers,
    keras_files,
    keras_models,
    map_file,
    meta_graph,
    slots,
    tf1_checkpoint,
    variable_map,
    verify,
)
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint

tf1 = tf.compat.v1

FOREIGN = Path(__file__).parent / "foreign"
# Two float32 kernels of different versions, on values of about 1.
TOLERANCE = 1e-6

needs_tf115 = pytest.mark.skipif(
    not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115
)

# By layer as Keras makes them; batch norm's averages come after its weights.
GENERATOR = (
    "dense/kernel",
    "dense/bias",
    "batch_normalization/gamma",
    "batch_normalization/beta",
    "conv2d_transpose/kernel",
    "conv2d_transpose/bias",
    "batch_normalization_1/gamma",
    "batch_normalization_1/beta",
    "conv2d_transpose_1/kernel",
    "conv2d_transpose_1/bias",
)
DISCRIMINATOR = (
    "conv2d/kernel",
    "conv2d/bias",
    "conv2d_1/kernel",
    "conv2d_1/bias",
    "batch_normalization/gamma",
    "batch_normalization/beta",
    "dense/kernel",
    "dense/bias",
)
TRAINED = {"generator": GENERATOR, "discriminator": DISCRIMINATOR}


def conversion(case, models, given=None, **options):
    models = models if callable(models) else getattr(foreign_models, models)
    made = models()
    if isinstance(made, keras.Model):
        made = [made]
    if not isinstance(made, dict):
        made = {model.name: model for model in made}
    checkpoint = Tf1Checkpoint(str(FOREIGN / case))
    options = convert.Options(**options)
    return convert.Conversion(checkpoint, made, options, given)


def outputs_differ_by(case, models):
    """Returns how far the models are from what the graph computed, at most."""
    with np.load(FOREIGN / case / "expected.npz") as expected:
        found = []
        for name, model in models.items():
            inputs = expected["z" if model.inputs[0].shape[1] == 3 else "x"]
            name = name if name in expected else expected.files[-1]
            outputs = model(inputs, training=False).numpy()
            shape = expected[name].shape
            found.append(np.abs(outputs.reshape(shape) - expected[name]).max())
        return max(found)


def raw(case):
    """Returns the values in a checkpoint as TensorFlow reads them."""
    folder = FOREIGN / case
    path = tf.train.latest_checkpoint(str(folder))
    reader = tf.train.load_checkpoint(path)
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names}


@pytest.mark.parametrize(
    "case, models",
    [
        ("layers_scoped", "layers"),
        ("layers_scoped", "layers_other_order"),
        ("layers_unscoped", "layers"),
        ("layers_unscoped", "layers_other_order"),
        ("layers_interleaved", "interleaved"),
        ("contrib_layers", "contrib"),
        ("slim_deep", "slim_deep"),
        ("raw_scoped", "raw_scoped"),
        ("raw_flat", "raw_flat"),
        ("raw_unnamed", "raw_unnamed"),
        ("scoped_slots", "layers"),
        ("rmsprop", "layers"),
        ("momentum", "layers"),
        ("overlapping", "layers"),
        ("averaged", "averaged"),
        ("averaged_in_scopes", "averaged_in_scopes"),
    ],
)
def test_the_models_compute_what_the_graph_computed(case, models):
    converted = conversion(case, models)
    converted.load()
    assert outputs_differ_by(case, converted.models) < TOLERANCE


def test_a_wrong_pairing_shows_in_the_outputs():
    converted = conversion("slim_deep", "slim_deep")
    converted.load()
    (model,) = converted.models.values()
    kernels = [w for w in model.weights if len(w.shape) == 4]
    second, tenth = kernels[3].numpy(), kernels[11].numpy()
    kernels[3].assign(tenth)
    kernels[11].assign(second)
    assert outputs_differ_by("slim_deep", converted.models) > 1e-4


def test_numbers_order_as_numbers():
    pairs = conversion("slim_deep", "slim_deep").map.pairs
    kernels = [p.tf1 for p in pairs if "/Conv" in p.tf1 and "weights" in p.tf1]
    numbers = ["", *(f"_{n}" for n in range(1, 12))]
    assert kernels == [f"critic/Conv{number}/weights" for number in numbers]


def refused(case, models, *messages, **options):
    with pytest.raises(UserError) as error:
        conversion(case, models, **options).load()
    text = str(error.value)
    assert "\n" not in text
    for message in messages:
        assert message in text


def test_shapes_without_names_are_refused_and_listed():
    refused(
        "raw_ambiguous",
        "raw_ambiguous",
        "2 variables have no partner",
        "several fit and no name tells which: generator/early, generator/late",
        "--write_map",
    )


# By layer, as the script made them: beta, gamma, mean, variance.
UNNAMED_NORMS = {
    "beta": ("Variable_1", "Variable_7"),
    "gamma": ("Variable_2", "Variable_8"),
    "moving_mean": ("Variable_3", "Variable_9"),
    "moving_variance": ("Variable_4", "Variable_10"),
}


def test_what_numbers_do_not_tell_of_a_layer_is_refused_and_listed():
    refused(
        "raw_unnamed_norm",
        "raw_unnamed_norm",
        "9 variables have no partner",
        "no name tells gamma, beta, moving_mean and moving_variance of one layer",
        ": Variable_1, Variable_2, Variable_3, Variable_4)",
        ": Variable_6, Variable_7, Variable_8, Variable_9, Variable_10)",
        'entries in "variables" such as {"tf1": "NAME", "keras": "generator/',
    )


def test_values_are_shown_where_no_name_tells_and_decide_nothing():
    converted = conversion("raw_unnamed_norm", "raw_unnamed_norm")
    (note,) = [n for n in converted.notes if "decide nothing" in n]
    bias = raw("raw_unnamed_norm")["Variable_6"]
    assert f"Variable_6 {bias.min():.3g} to {bias.max():.3g}" in note
    assert "no moving variance is negative" in note


def completed(tmp_path, proposed, partners):
    """Completes a proposed map as a user would, and reads it."""
    path = tmp_path / "map.json"
    map_file.write_map(str(path), proposed, overwrite=True)
    content = json.loads(path.read_text())
    values = raw("raw_unnamed_norm")
    for entry in content.pop("unpaired"):
        name = partners(entry["keras"])
        assert name in entry["candidates"]
        shape = list(values[name].shape)
        content["variables"].append(pair(name, entry["keras"], shape=shape))
    path.write_text(json.dumps(content))
    return map_file.read_map(str(path))


def unnamed_partner(key):
    """Returns what the script made for a variable of the Keras model."""
    layer, role = key.split("/")[-2:]
    if role == "bias":
        return "Variable_6"
    return UNNAMED_NORMS[role][layer == "second"]


def named_norms():
    """The same model, whose names hold in the next process, too."""
    model = foreign_models.raw_unnamed_norm()
    norms = [v for v in model.layers if "batch_norm" in v.name]
    names = {norms[0].name: "first", norms[1].name: "second"}
    return keras.models.clone_model(
        model,
        clone_function=lambda layer: type(layer).from_config(
            {
                **layer.get_config(),
                "name": names.get(layer.name, "own_" + layer.name),
            }
        ),
    )


def exchanged(key):
    """Somebody who takes gamma for beta."""
    words = {"gamma": "beta", "beta": "gamma"}
    front, _, role = key.rpartition("/")
    return unnamed_partner(f"{front}/{words.get(role, role)}")


def swapped_norm(mapping):
    """A map by a user who took gamma for beta."""
    keys = {
        f"{layer}/{role}": f"{layer}/{other}"
        for layer in {p.keras.rpartition("/")[0] for p in mapping.pairs}
        for role, other in (("gamma", "beta"), ("beta", "gamma"))
    }
    pairs = [
        dataclasses.replace(p, keras=keys.get(p.keras, p.keras))
        for p in mapping.pairs
    ]
    return dataclasses.replace(mapping, pairs=tuple(pairs))


def test_a_map_that_exchanges_roles_is_noted():
    models = foreign_models.layers()
    right = conversion("layers_scoped", lambda: models).map
    for given, noted in ((right, False), (swapped_norm(right), True)):
        converted = conversion("layers_scoped", lambda: models, given)
        notes = [n for n in converted.notes if "taken for another" in n]
        assert bool(notes) == noted
        converted.check()
    assert "generator/batch_normalization/beta with generator/" in notes[0]


def test_what_numbers_do_not_tell_is_imported_by_a_map_of_hand(tmp_path):
    models = [named_norms()]
    proposed = conversion("raw_unnamed_norm", lambda: models).map
    for partner, is_right in ((exchanged, False), (unnamed_partner, True)):
        given = completed(tmp_path, proposed, partner)
        converted = conversion("raw_unnamed_norm", lambda: models, given)
        converted.load()
        apart = outputs_differ_by("raw_unnamed_norm", converted.models)
        assert (apart < TOLERANCE) == is_right
    assert apart < TOLERANCE


def test_moving_averages_that_were_never_saved_are_refused():
    refused(
        "no_moving_statistics",
        "layers",
        "6 variables have no partner",
        "never saved, as by a Saver that was given the trainable variables",
        "--assume_moving=initial",
    )


def test_moving_averages_that_were_never_saved_can_be_assumed():
    converted = conversion("no_moving_statistics", "layers", assume_moving=True)
    converted.load()
    averages = [
        variable
        for model in converted.models.values()
        for variable in model.non_trainable_weights
    ]
    assert len(averages) == 6
    for variable in averages:
        expected = float(variable.path.endswith("variance"))
        np.testing.assert_array_equal(variable.numpy(), expected)
    assert {a.value for a in converted.map.assumed} == {0.0, 1.0}


def test_moving_averages_that_were_never_updated_are_refused():
    refused(
        "frozen_statistics",
        "layers",
        "moving averages of 'generator' are still 0 and 1",
        "saved but never updated",
        "--assume_moving=initial",
    )


def test_moving_averages_that_were_never_updated_can_be_taken():
    converted = conversion("frozen_statistics", "layers", assume_moving=True)
    converted.load()
    assert outputs_differ_by("frozen_statistics", converted.models) < TOLERANCE


def test_a_gamma_that_contrib_does_not_have_is_refused():
    refused(
        "contrib_layers",
        "contrib_with_gamma",
        "gamma (TF1's layer had no scale, the default of tf.contrib's and slim's",
        "build the Keras layer with scale=False)",
    )


def bias_left_out():
    latent = keras.Input([3])
    x = latent
    for units in (6, 6, 6):
        x = keras.layers.Dense(units, "relu")(x)
    last = keras.layers.Dense(16, use_bias=False)(x)
    return keras.Model(latent, last, name="generator")


def test_what_no_model_has_a_place_for_is_refused():
    refused(
        "raw_flat",
        bias_left_out,
        "(nothing) (no variable of the models is like it: G_b4)",
    )
    conversion("raw_flat", bias_left_out, unused=True).load()


def test_a_network_that_is_not_asked_for_is_unused():
    generator = foreign_models.layers_generator
    converted = conversion("layers_scoped", generator)
    converted.load()
    assert outputs_differ_by("layers_scoped", converted.models) < TOLERANCE
    assert len(converted.map.unused) == 10
    assert all(n.startswith("discriminator/") for n in converted.map.unused)


def of_type(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = foreign_models.raw_unnamed()
    finally:
        keras.config.set_dtype_policy(before)
    assert model.weights[0].dtype == policy
    return model


def test_digits_are_not_lost():
    converted = conversion("raw_unnamed", lambda: of_type("float64"))
    converted.load()
    assert outputs_differ_by("raw_unnamed", converted.models) < TOLERANCE
    refused("raw_unnamed", lambda: of_type("float16"), "digits would be lost")


# Optimizers.


def slots_in_keras(optimizer, name):
    return [v.numpy() for v in getattr(optimizer, name)]


def slots_in_tf1(values, model, ending, prefix=""):
    return [
        values[f"{prefix}{model}/{name}/{ending}"] for name in TRAINED[model]
    ]


def assert_all_equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "case, prefixes, steps",
    [
        ("layers_scoped", ("", ""), {"generator": 3, "discriminator": 6}),
        (
            "scoped_slots",
            ("optimize/g_opt/", "optimize/d_opt/"),
            {"generator": 1, "discriminator": 3},
        ),
    ],
)
def test_the_slots_and_steps_of_adam_are_carried_over(case, prefixes, steps):
    converted = conversion(case, "layers_adam")
    converted.load()
    values = raw(case)
    for prefix, (name, model) in zip(prefixes, converted.models.items()):
        for slot, ending in (("_momentums", "Adam"), ("_velocities", "Adam_1")):
            assert_all_equal(
                slots_in_keras(model.optimizer, slot),
                slots_in_tf1(values, name, ending, prefix),
            )
        assert int(model.optimizer.iterations.numpy()) == steps[name]


def test_the_slots_of_rmsprop_are_carried_over():
    converted = conversion("rmsprop", "layers_rmsprop")
    converted.load()
    values = raw("rmsprop")
    endings = {
        "generator": {"_velocities": "RMSProp"},
        "discriminator": {
            "_velocities": "RMSProp",
            "_average_gradients": "RMSProp_1",
            "_momentums": "RMSProp_2",
        },
    }
    for name, slots_of in endings.items():
        for slot, ending in slots_of.items():
            assert_all_equal(
                slots_in_keras(converted.models[name].optimizer, slot),
                slots_in_tf1(values, name, ending),
            )


def test_the_slots_of_momentum_are_scaled_as_keras_keeps_them():
    converted = conversion("momentum", "layers_momentum")
    converted.load()
    values = raw("momentum")
    for name, model in converted.models.items():
        found = slots_in_keras(model.optimizer, "momentums")
        expected = slots_in_tf1(values, name, "Momentum")
        for one, other in zip(found, expected):
            # One float32 product, of the learning rate 1e-3.
            np.testing.assert_allclose(one, -1e-3 * other, rtol=1e-6)


def layers_of_rate(rate):
    models = foreign_models.layers_momentum()
    for model in models:
        model.compile(keras.optimizers.SGD(rate, momentum=0.9))
    return models


def test_the_slots_of_momentum_are_scaled_by_the_rate_after_the_steps():
    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.25 / (1.0 + tf.cast(step, tf.float32))

    converted = conversion("momentum", lambda: layers_of_rate(Schedule()))
    pairs = {
        pair.model: dataclasses.replace(pair, steps=3)
        for pair in converted.map.optimizers
    }
    converted.map = dataclasses.replace(
        converted.map, optimizers=tuple(pairs.values())
    )
    converted.load()
    values = raw("momentum")
    for name, model in converted.models.items():
        found = slots_in_keras(model.optimizer, "momentums")
        expected = slots_in_tf1(values, name, "Momentum")
        # A power of two: the product is exact.
        assert_all_equal(found, [-0.0625 * value for value in expected])


def test_a_learning_rate_of_zero_cannot_scale_momentum():
    refused("momentum", lambda: layers_of_rate(0.0), "a learning rate of 0")


def compiled(make):
    """Returns a function that makes both networks, compiled alike."""

    def models():
        made = foreign_models.layers()
        for model in made:
            model.compile(make())
        return made

    return models


@pytest.mark.parametrize(
    "case, make, message",
    [
        (
            "layers_scoped",
            lambda: keras.optimizers.AdamW(1e-3, beta_1=0.5),
            "AdamW(weight_decay=0.004)",
        ),
        (
            "layers_scoped",
            lambda: keras.optimizers.Adam(1e-3, 0.5, weight_decay=1e-4),
            "Adam(weight_decay=0.0001)",
        ),
        (
            "layers_scoped",
            lambda: optimizers.Adam(1e-3, 0.5, weight_decay=1e-4),
            "Adam(weight_decay=0.0001)",
        ),
        (
            "layers_scoped",
            lambda: keras.optimizers.Adam(1e-3, 0.5, amsgrad=True),
            "Adam(amsgrad=True)",
        ),
        (
            "layers_scoped",
            lambda: keras.optimizers.Adam(1e-3, 0.5, use_ema=True),
            "Adam(use_ema=True)",
        ),
        (
            "layers_scoped",
            lambda: keras.optimizers.Adam(
                1e-3, 0.5, gradient_accumulation_steps=2
            ),
            "Adam(gradient_accumulation_steps=2)",
        ),
        (
            "layers_scoped",
            lambda: keras.optimizers.Nadam(1e-3, 0.5),
            "is compiled with Nadam",
        ),
        (
            "layers_scoped",
            lambda: OwnAdam(1e-3, 0.5),
            "is compiled with OwnAdam",
        ),
        (
            "rmsprop",
            lambda: keras.optimizers.RMSprop(1e-3, weight_decay=0.1),
            "RMSprop(weight_decay=0.1)",
        ),
        (
            "momentum",
            lambda: keras.optimizers.SGD(1e-3, 0.9, weight_decay=0.1),
            "SGD(weight_decay=0.1)",
        ),
    ],
)
def test_an_optimizer_that_goes_on_otherwise_than_tf1s_is_refused(
    case, make, message
):
    refused(case, compiled(make), message, "--weights_only")


class OwnAdam(keras.optimizers.Adam):
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(-gradient, variable, learning_rate)


def test_adamw_without_decay_is_adam():
    make = compiled(
        lambda: keras.optimizers.AdamW(1e-3, weight_decay=0.0, beta_1=0.5)
    )
    converted = conversion("layers_scoped", make)
    converted.load()
    values = raw("layers_scoped")
    for name, model in converted.models.items():
        assert_all_equal(
            slots_in_keras(model.optimizer, "_momentums"),
            slots_in_tf1(values, name, "Adam"),
        )


def test_another_optimizer_does_not_keep_weights_from_moving(tmp_path):
    make = compiled(lambda: keras.optimizers.Nadam(1e-3))
    converted = converted_folder(
        "layers_scoped", make, tmp_path, weights_only=True
    )
    assert outputs_differ_by("layers_scoped", converted.models) < TOLERANCE
    back = exchange.to_tf1(converted.models, converted.map)
    np.testing.assert_array_equal(
        back["generator/dense/kernel"],
        raw("layers_scoped")["generator/dense/kernel"],
    )


def without_slots(values):
    for name in list(values):
        if "Adam" in name or "_power" in name:
            values.pop(name)


def test_gradient_descent_keeps_its_steps_alone(tmp_path):
    checkpoint = written(tmp_path, without_slots)
    make = compiled(lambda: keras.optimizers.SGD(1e-3))
    models = {model.name: model for model in make()}
    converted = convert.Conversion(checkpoint, models, convert.Options())
    converted.load()
    steps = {n: int(m.optimizer.iterations.numpy()) for n, m in models.items()}
    assert steps == {"generator": 3, "discriminator": 6}
    assert "GradientDescent of generator: 0 slots, 3 steps" in str(
        converted.notes
    )
    converted.write(str(tmp_path / "converted"))
    given = map_file.read_map(str(tmp_path / "converted" / "map.json"))
    assert given.optimizers == converted.map.optimizers
    back = exchange.to_tf1(models, given)
    expected = {name: checkpoint.read(name) for name in checkpoint.variables}
    assert set(back) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


@pytest.mark.parametrize(
    "case, slots_of",
    [("momentum", "Momentum"), ("layers_scoped", "Adam")],
)
def test_slots_are_not_lost_to_gradient_descent(case, slots_of):
    refused(
        case,
        compiled(lambda: keras.optimizers.SGD(1e-3)),
        "SGD without momentum",
        f"slots of {slots_of}",
    )


@pytest.mark.parametrize("rate", [0.0, np.inf, np.nan])
def test_a_learning_rate_that_scales_nothing_is_refused_on_the_way_back(rate):
    converted = conversion("momentum", "layers_momentum")
    converted.load()
    for model in converted.models.values():
        model.optimizer.learning_rate = rate
    with pytest.raises(UserError, match="has a learning rate of .* after 0"):
        exchange.to_tf1(converted.models, converted.map)


class Falling(keras.optimizers.schedules.LearningRateSchedule):
    """From 1 to 0 in 4 steps."""

    def __call__(self, step):
        return 1.0 - tf.cast(step, tf.float32) / 4.0

    def get_config(self):
        return {}


def test_on_a_schedule_the_next_step_is_that_of_tf1():
    """Momentum in TF1: accumulator = 0.9 accumulator + gradient."""
    converted = conversion("momentum", lambda: layers_of_rate(Falling()))
    assert any("they agree in the next step only" in n for n in converted.notes)
    converted.load()
    model = converted.models["generator"]
    trained = model.trainable_variables
    gradients = [tf.fill(v.shape, 0.5) for v in trained]
    model.optimizer.apply(gradients, trained)
    assert int(model.optimizer.iterations.numpy()) == 1
    before = [v.numpy() for v in trained]
    back = exchange.to_tf1(converted.models, converted.map)
    model.optimizer.apply(gradients, trained)
    for name, old, variable in zip(GENERATOR, before, trained):
        accumulator = 0.9 * back[f"generator/{name}/Momentum"] + 0.5
        expected = old - 0.75 * accumulator  # the rate after one step
        # Float32's rounding of steps of about 1.
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-5)
    model.optimizer.iterations.assign(4)
    with pytest.raises(UserError, match="a learning rate of 0 after 4 steps"):
        exchange.to_tf1(converted.models, converted.map)


def test_several_optimizers_of_the_same_variables_are_refused():
    refused(
        "overlapping",
        "layers_adam_9",
        "several Adam optimizers trained the model 'generator'",
        "2 or 4 slots",
        "--weights_only",
    )
    conversion("overlapping", "layers_adam_9", weights_only=True).load()


def test_another_optimizer_than_tf1s_is_refused():
    refused(
        "rmsprop",
        "layers_adam",
        "no slots of Adam for every variable of the model 'generator'",
        "slots of: RMSProp",
    )


def test_another_beta1_than_tf1s_is_refused():
    refused("layers_scoped", "layers_adam_9", "beta1=0.9", "beta1=0.5 fits")


def written(tmp_path, change):
    """Writes a variation of layers_scoped as another Saver would."""
    values = raw("layers_scoped")
    change(values)
    tf1_checkpoint.write(str(tmp_path / "model"), values)
    return Tf1Checkpoint(str(tmp_path / "model"))


def without_steps(values):
    values.pop("D_global_step")
    values.pop("G_global_step")


def one_step_of_nobody(values):
    without_steps(values)
    values["global_step"] = np.int64(6)  # as many as the discriminator's


def powers_shared(values):
    values.pop("beta1_power_1")
    values.pop("beta2_power_1")


@pytest.mark.parametrize(
    "change, message",
    [
        (without_steps, r"cannot tell which powers .*power \(6 steps\)"),
        (one_step_of_nobody, "cannot tell which powers of beta belong"),
        (powers_shared, "shares its powers of beta with that of another model"),
    ],
)
def test_powers_without_evidence_are_refused(change, message, tmp_path):
    models = {m.name: m for m in foreign_models.layers_adam()}
    checkpoint = written(tmp_path, change)
    found = convert.Conversion(checkpoint, models, convert.Options())
    with pytest.raises(UserError, match=message) as error:
        found.load()
    assert "\n" not in str(error.value)
    assert "generator/dense/kernel" in found.map.table()


def filled_in(tmp_path, found, powers, keep=("model",)):
    """Writes a map, names powers of beta in it as a user would, and reads it."""
    path = tmp_path / "map.json"
    map_file.write_map(str(path), found, overwrite=True)
    content = json.loads(path.read_text())
    for entry in content["optimizers"]:
        assert entry["beta1_power"] is None and entry["beta2_power"] is None
        assert len(entry["slots"]) == 2 * len(TRAINED[entry["model"]])
        entry["beta1_power"] = "beta1_power" + powers[entry["model"]]
        entry["beta2_power"] = "beta2_power" + powers[entry["model"]]
        for key in set(entry) - {"beta1_power", "beta2_power", *keep}:
            del entry[key]
    path.write_text(json.dumps(content))
    return map_file.read_map(str(path))


@pytest.mark.parametrize(
    "keep", [("model",), ("model", "family", "slots", "reason")]
)
def test_two_names_in_a_map_are_enough_where_powers_lack_evidence(
    keep, tmp_path
):
    models = {m.name: m for m in foreign_models.layers_adam()}
    checkpoint = written(tmp_path, without_steps)
    found = convert.Conversion(checkpoint, models, convert.Options())
    powers = {"generator": "_1", "discriminator": ""}
    given = filled_in(tmp_path, found.map, powers, keep)
    converted = convert.Conversion(checkpoint, models, convert.Options(), given)
    converted.load()
    assert steps_done(models) == {"generator": 3, "discriminator": 6}
    kernel = "generator/dense/kernel"
    np.testing.assert_array_equal(
        models["generator"].optimizer._momentums[0].numpy(),
        checkpoint.read(kernel + "/Adam"),
    )
    assert "Adam of generator: 20 slots, 3 steps (from the map)" in (
        converted.notes
    )


def test_powers_of_beta_that_a_map_gives_to_both_are_noted(tmp_path):
    models = {m.name: m for m in foreign_models.layers_adam()}
    checkpoint = written(tmp_path, without_steps)
    found = convert.Conversion(checkpoint, models, convert.Options())
    powers = {"generator": "_1", "discriminator": "_1"}
    given = filled_in(tmp_path, found.map, powers)
    notes = convert.Conversion(
        checkpoint, models, convert.Options(), given
    ).notes
    both = "the map gives beta2_power_1 to generator and discriminator"
    assert any(note.startswith(both) for note in notes)


def steps_done(models):
    return {n: int(m.optimizer.iterations.numpy()) for n, m in models.items()}


def test_a_map_that_names_one_power_of_beta_is_refused(tmp_path):
    models = {m.name: m for m in foreign_models.layers_adam()}
    entry = variable_map.OptimizerPair("generator", beta1_power="beta1_power")
    found = conversion("layers_scoped", lambda: models).map
    given = dataclasses.replace(found, optimizers=(entry,))
    with pytest.raises(UserError, match="names beta1_power alone; name both"):
        conversion("layers_scoped", lambda: models, given).load()


def write_graph(path, first, second, resource):
    """Writes a graph whose two Adams train a layer of each network, in order."""
    with tf.Graph().as_default():
        for network in (first, second):
            with tf1.variable_scope(network, use_resource=resource):
                kernel = tf1.get_variable("dense/kernel", [2, 2])
            adam = tf1.train.AdamOptimizer()
            adam.minimize(tf.reduce_sum(kernel), var_list=[kernel])
        tf1.train.export_meta_graph(path)


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize(
    "order, steps",
    [
        (("discriminator", "generator"), {"generator": 3, "discriminator": 6}),
        (("generator", "discriminator"), {"generator": 6, "discriminator": 3}),
    ],
)
def test_the_graph_beside_a_checkpoint_tells_the_powers_of_beta(
    order, steps, resource, tmp_path
):
    models = {m.name: m for m in foreign_models.layers_adam()}
    checkpoint = written(tmp_path, without_steps)
    write_graph(checkpoint.meta_path, *order, resource)
    converted = convert.Conversion(checkpoint, models, convert.Options())
    converted.load()
    assert steps_done(models) == steps
    assert any("kernels take in the .meta file" in n for n in converted.notes)


def test_a_map_that_contradicts_the_graph_or_lacks_a_model_is_noted(tmp_path):
    models = {m.name: m for m in foreign_models.layers_adam()}
    checkpoint = written(tmp_path, without_steps)
    write_graph(checkpoint.meta_path, "discriminator", "generator", False)
    right = convert.Conversion(checkpoint, models, convert.Options())
    assert not any("map" in note for note in right.notes)
    entry = variable_map.OptimizerPair(
        "generator", beta1_power="beta1_power", beta2_power="beta2_power"
    )
    given = dataclasses.replace(right.map, optimizers=(entry,))
    notes = convert.Conversion(
        checkpoint, models, convert.Options(), given
    ).notes
    assert (
        "the map gives beta2_power to generator, but its kernels in the .meta "
        "file take beta2_power_1" in notes
    )
    assert any("no entry of discriminator" in note for note in notes)


def test_a_graph_of_115_tells_the_powers_of_each_variable():
    found = graph_powers.read(str(FOREIGN / "raw_scoped" / "model.ckpt.meta"))
    trained = {name for name in raw("raw_scoped") if name.endswith("/Adam")}
    assert found == dict.fromkeys(trained, {("beta1_power", "beta2_power")})


def test_a_damaged_graph_tells_no_powers_of_beta(tmp_path):
    models = {m.name: m for m in foreign_models.layers_adam()}
    checkpoint = written(tmp_path, without_steps)
    Path(checkpoint.meta_path).write_bytes(b"\xff" * 100)
    converted = convert.Conversion(checkpoint, models, convert.Options())
    assert any("is damaged or holds no graph" in n for n in converted.notes)
    with pytest.raises(UserError, match="cannot tell which powers of beta"):
        converted.load()


def test_the_script_writes_a_map_to_fill_the_powers_of_beta_into(
    tmp_path, capfd
):
    checkpoint = written(tmp_path, without_steps)
    arguments = (
        f"--checkpoint={checkpoint.path}",
        f"--keras_model={Path(foreign_models.__file__)}:layers_adam",
        f"--write_map={tmp_path / 'map.json'}",
        "--dry_run",
    )
    assert helpers.call_script("convert_checkpoint", *arguments) == 1
    out, err = capfd.readouterr()
    assert "generator/dense/kernel" in out
    assert (
        "to 'generator', 'discriminator': beta1_power with beta2_power (6 steps), "
        "beta1_power_1 with beta2_power_1 (3 steps); " in err
    )
    found = map_file.read_map(str(tmp_path / "map.json")).optimizers
    assert [pair.model for pair in found] == ["generator", "discriminator"]


# Whose step counter it is.


def rmsprop_with_steps(tmp_path, *counting, **steps):
    """RMSProp of both networks and step counters, of which nothing tells the steps.

    Args:
      tmp_path: folder to write to.
      *counting: for each train op in the .meta file the networks that it trains and
        the counters that it increases; no file without any.
      **steps: counters by name.
    """
    values = raw("rmsprop")
    values.update({name: np.int64(count) for name, count in steps.items()})
    tf1_checkpoint.write(str(tmp_path / "model"), values)
    checkpoint = Tf1Checkpoint(str(tmp_path / "model"))
    if counting:
        write_counting_graph(checkpoint, counting, steps)
    return checkpoint


def write_counting_graph(checkpoint, counting, steps):
    shapes = {n: v.shape for n, v in checkpoint.variables.items()}
    with tf.Graph().as_default():
        counters = {n: tf1.get_variable(n, [], tf.int64) for n in steps}
        trained = {
            network: [
                tf1.get_variable(
                    f"{network}/{name}", shapes[f"{network}/{name}"]
                )
                for name in names
            ]
            for network, names in TRAINED.items()
        }
        for what in counting:
            ops = []
            for name in what:
                if name in counters:
                    ops.append(tf1.assign_add(counters[name], 1))
                else:
                    own = trained[name]
                    loss = tf.add_n([tf.reduce_sum(v) for v in own])
                    optimizer = tf1.train.RMSPropOptimizer(0.1)
                    ops.append(optimizer.minimize(loss, var_list=own))
            tf.group(*ops)
        tf1.train.export_meta_graph(checkpoint.meta_path)


def pairs_of(checkpoint, models=None):
    models = models or {m.name: m for m in foreign_models.layers_rmsprop()}
    converted = convert.Conversion(checkpoint, models, convert.Options())
    converted.load()
    pairs = {pair.model: pair for pair in converted.map.optimizers}
    return {n: (p.steps, p.global_step) for n, p in pairs.items()}, converted


NONE, OURS = (None, None), (20, "global_step")


@pytest.mark.parametrize(
    "counting, expected",
    [
        ([["generator", "global_step"], ["discriminator"]], (OURS, NONE)),
        ([["generator"], ["discriminator", "global_step"]], (NONE, OURS)),
        (
            [["generator", "global_step"], ["discriminator", "global_step"]],
            (NONE, NONE),
        ),
        ([["generator", "global_step", "global_step"]], (NONE, NONE)),
        # Each may have been run without the group, too.
        ([["generator", "discriminator", "global_step"]], (NONE, NONE)),
        ([["generator"], ["discriminator"]], (NONE, NONE)),
        ([], (NONE, NONE)),
    ],
)
def test_a_step_counter_is_that_of_the_train_op_that_increases_it(
    counting, expected, tmp_path
):
    checkpoint = rmsprop_with_steps(tmp_path, *counting, global_step=20)
    found, converted = pairs_of(checkpoint)
    assert (found["generator"], found["discriminator"]) == expected
    for model, told in found.items():
        iterations = converted.models[model].optimizer.iterations
        assert int(iterations.numpy()) == (told[0] or 0)
        start = f"RMSProp of {model} starts at step 0 in Keras: nothing tells"
        noted = [n for n in converted.notes if n.startswith(start)]
        assert bool(noted) == (told == NONE)


def test_the_train_op_outweighs_the_name_of_a_step_counter(tmp_path):
    steps = {"d_step": 40, "g_step": 20}
    found, _ = pairs_of(rmsprop_with_steps(tmp_path, **steps))
    assert found["discriminator"] == (40, "d_step")
    assert found["generator"] == (20, "g_step")
    counting = [["generator", "d_step"], ["discriminator"]]
    found, _ = pairs_of(rmsprop_with_steps(tmp_path, *counting, **steps))
    assert found["generator"] == (40, "d_step")
    assert found["discriminator"] == NONE


@pytest.mark.parametrize("is_alone", [True, False])
def test_the_only_step_counter_is_that_of_the_only_optimizer(
    is_alone, tmp_path
):
    checkpoint = rmsprop_with_steps(tmp_path, global_step=20)
    if is_alone:
        values = {
            name: checkpoint.read(name)
            for name in checkpoint.variables
            if "discriminator" not in name
        }
        tf1_checkpoint.write(str(tmp_path / "alone"), values)
        checkpoint = Tf1Checkpoint(str(tmp_path / "alone"))
    models = {m.name: m for m in foreign_models.layers_rmsprop()}
    found, _ = pairs_of(checkpoint, {"generator": models["generator"]})
    assert found == {"generator": OURS if is_alone else NONE}


def test_an_adam_is_given_no_step_counter_of_another_that_agrees(tmp_path):
    def alike(values):
        without_steps(values)
        for beta in ("beta1_power", "beta2_power"):
            values[beta] = values[beta + "_1"]
        values["global_step"] = np.int64(3)

    models = {m.name: m for m in foreign_models.layers_adam()}
    checkpoint = written(tmp_path, alike)
    found, _ = pairs_of(checkpoint, models)
    assert set(found.values()) == {(3, "global_step")}
    grouped = [["generator", "discriminator", "global_step"]]
    write_counting_graph(checkpoint, grouped, ["global_step"])
    found, _ = pairs_of(checkpoint, models)
    assert set(found.values()) == {(3, "global_step")}
    counting = [["generator", "global_step"], ["discriminator"]]
    write_counting_graph(checkpoint, counting, ["global_step"])
    found, _ = pairs_of(checkpoint, models)
    assert found["generator"] == (3, "global_step")
    assert found["discriminator"] == (3, None)


def test_where_powers_are_used_up_a_step_counter_only_stands_for_the_steps(
    tmp_path,
):
    def used_up(values):
        without_steps(values)
        for name in values:
            if "_power" in name:
                values[name] = np.float32(0)
        values["global_step"] = np.int64(100_000)

    models = {m.name: m for m in foreign_models.layers_adam()}
    found, converted = pairs_of(written(tmp_path, used_up), models)
    assert set(found.values()) == {(100_000, None)}
    stands = "they are used up, and global_step stands for its steps"
    assert sum(stands in note for note in converted.notes) == 2


def test_a_damaged_graph_tells_no_step_counter(tmp_path):
    checkpoint = rmsprop_with_steps(tmp_path, global_step=20)
    Path(checkpoint.meta_path).write_bytes(b"\xff" * 100)
    found, converted = pairs_of(checkpoint)
    assert set(found.values()) == {NONE}
    assert any("no step counts are told" in note for note in converted.notes)


@pytest.mark.parametrize("mended", [False, True])
def test_two_optimizers_do_not_write_other_steps_into_one_counter(
    mended, tmp_path
):
    _, converted = pairs_of(rmsprop_with_steps(tmp_path, global_step=20))
    claimed = (
        dataclasses.replace(pair, global_step="global_step")
        for pair in converted.map.optimizers
    )
    mapping = dataclasses.replace(converted.map, optimizers=tuple(claimed))
    for model in converted.models.values():
        model.optimizer.iterations.assign(25)
    back = exchange.to_tf1(converted.models, mapping)
    assert back["global_step"] == 25
    converted.models["discriminator"].optimizer.iterations.assign(30)
    if mended:
        mapping = with_null(mapping, "discriminator", tmp_path)
        assert exchange.to_tf1(converted.models, mapping)["global_step"] == 25
        return
    with pytest.raises(UserError) as error:
        exchange.to_tf1(converted.models, mapping)
    assert (
        "gives global_step to RMSProp of 'generator', which has done 25 steps, "
        "and to RMSProp of 'discriminator', which has done 30; write "
        '"global_step": null into the entry of one' in str(error.value)
    )


def with_null(mapping, model, tmp_path):
    """Edits a map as a user is told to."""
    path = tmp_path / "map.json"
    map_file.write_map(str(path), mapping, overwrite=True)
    content = json.loads(path.read_text())
    for entry in content["optimizers"]:
        if entry["model"] == model:
            entry["global_step"] = None
    path.write_text(json.dumps(content))
    return map_file.read_map(str(path))


@pytest.mark.parametrize("model", ["generator", "discriminator"])
def test_the_moving_averages_of_one_network_do_not_excuse_the_others(
    model, tmp_path
):
    def forget(values):
        for name, value in values.items():
            if name.startswith(model) and name.endswith("moving_mean"):
                values[name] = np.zeros_like(value)
            if name.startswith(model) and name.endswith("moving_variance"):
                values[name] = np.ones_like(value)

    models = {m.name: m for m in foreign_models.layers()}
    checkpoint = written(tmp_path, forget)
    converted = convert.Conversion(checkpoint, models, convert.Options())
    with pytest.raises(UserError, match=f"averages of '{model}' are still 0"):
        converted.load()


def test_a_step_that_disagrees_is_noted(tmp_path):
    """One step for both networks counts twice per iteration."""
    checkpoint = written(
        tmp_path, lambda values: values.update(global_step=np.int64(9))
    )
    models = {m.name: m for m in foreign_models.layers_adam()}
    notes = convert.Conversion(checkpoint, models, convert.Options()).notes
    assert any("global_step is 9, but the optimizers" in note for note in notes)


def test_slots_are_told_from_weights_by_name_and_shape():
    inventory = slots.classify(
        Tf1Checkpoint(str(FOREIGN / "averaged")).variables
    )
    shadow = "generator/dense_2/kernel/ExponentialMovingAverage"
    assert inventory.averages == {shadow: "generator/dense_2/kernel"}
    assert "generator/dense/kernel" in inventory.variables  # partitioned


def test_shadow_variables_in_scopes_are_told_from_weights():
    converted = conversion("averaged_in_scopes", "averaged_in_scopes")
    shadow = "ExponentialMovingAverage"
    inner = "trainer/ema/trainer/ema/mul"  # that of a tensor
    assert converted.inventory.averages == {
        f"train/generator/w/{shadow}": "generator/w",
        f"train/generator/v/{shadow}": "generator/v",
        f"trainer/ema/generator/w/{shadow}": "generator/w",
        f"{inner}/{shadow}": inner,
    }
    assert set(converted.inventory.variables) == {"generator/w", "generator/v"}
    (note,) = [n for n in converted.notes if "shadow variables" in n]
    assert note.startswith("4 shadow variables")
    assert f"(train/generator/v/{shadow} of generator/v, ...)" in note
    assert any("1 slots of slow are left behind" in n for n in converted.notes)
    assert any(
        f"{shadow}/biased" in n and f"{shadow}/local_step" in n
        for n in converted.notes
    )


def adam_models():
    return {m.name: m for m in foreign_models.layers_adam()}


def with_shadows(values):
    for name in [n for n in values if n.endswith("/kernel")]:
        values[f"ema/{name}/ExponentialMovingAverage"] = values[name] + 1


def of_averages(mapping, network):
    """A map by a user who takes the averages of a network's kernels."""
    pairs = [
        dataclasses.replace(p, tf1=f"ema/{p.tf1}/ExponentialMovingAverage")
        if p.tf1.startswith(network) and p.tf1.endswith("/kernel")
        else p
        for p in mapping.pairs
    ]
    return dataclasses.replace(mapping, pairs=tuple(pairs))


@pytest.mark.parametrize("with_optimizers", [True, False])
def test_averages_in_place_of_variables_have_no_slots(
    with_optimizers, tmp_path
):
    models = adam_models()
    checkpoint = written(tmp_path, with_shadows)
    found = convert.Conversion(checkpoint, models, convert.Options())
    assert any(n.startswith("6 shadow variables") for n in found.notes)
    given = of_averages(found.map, "generator")
    if not with_optimizers:
        given = dataclasses.replace(given, optimizers=())
    converted = convert.Conversion(checkpoint, models, convert.Options(), given)
    with pytest.raises(
        UserError, match="not to their averages; .*--weights_on"
    ):
        converted.load()
    assert any(n.startswith("3 shadow variables") for n in converted.notes)


def test_averages_in_place_of_variables_are_taken_without_state(tmp_path):
    models = adam_models()
    checkpoint = written(tmp_path, with_shadows)
    options = convert.Options(weights_only=True)
    given = convert.Conversion(checkpoint, models, options).map
    for network in models:
        given = of_averages(given, network)
    converted = convert.Conversion(checkpoint, models, options, given)
    converted.load()
    kernel = "generator/dense/kernel"
    np.testing.assert_array_equal(
        models["generator"].weights[0].numpy(), checkpoint.read(kernel) + 1
    )
    assert not any("shadow variables" in note for note in converted.notes)


def variables_in_tf1(*names, shape=(3, 3)):
    kind = np.dtype("float32")
    return {n: tf1_checkpoint.Variable(n, shape, kind) for n in names}


def test_a_shadow_without_its_variable_is_no_weight():
    shadow = "train/generator/w/ExponentialMovingAverage_1"
    inventory = slots.classify(variables_in_tf1(shadow, "generator/v"))
    assert inventory.averages == {shadow: "train/generator/w"}
    assert list(inventory.variables) == ["generator/v"]


def test_a_short_name_in_another_scope_is_no_slots_owner():
    names = ["w", "generator/w/v", "generator/w"]
    inventory = slots.classify(variables_in_tf1(*names[:2]))
    assert list(inventory.variables) == names[:2]
    inventory = slots.classify(variables_in_tf1(*names))
    assert [slot.variable for slot in inventory.slots] == ["generator/w"]


@pytest.mark.parametrize("name", ["AdamW", "AdaMax", "Nadam", "AMSGrad"])
def test_slots_that_look_like_those_of_adam_are_not(name):
    found = slots.classify(
        variables_in_tf1("g/w", f"g/w/{name}", f"g/w/{name}_1")
    )
    assert [slot.family for slot in found.slots] == ["another", "another"]
    assert all(slot.is_optimizers for slot in found.slots)


# The step counts.


@pytest.mark.parametrize("beta", [0.9, 0.5, 0.999])
@pytest.mark.parametrize("steps", [0, 1, 125, 126, 1000, 50000])
def test_powers_of_beta_are_those_of_tf1(beta, steps):
    power = slots.power_after(beta, steps)
    assert power.dtype == np.float32
    assert power == helpers.multiplied(beta, steps)
    if power:
        assert slots.steps_of(float(power), beta) == steps


def test_tensorflow_multiplies_the_powers_so():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        power = tf.compat.v1.get_variable("power", initializer=0.5)
        step = power.assign(power * 0.5)
        session.run(power.initializer)
        for count in range(1, 131):
            assert session.run(step) == slots.power_after(0.5, count)


def test_a_power_of_another_beta_has_no_step_count():
    assert slots.steps_of(float(helpers.multiplied(0.99, 30)), 0.999) is None
    assert slots.steps_of(0.0, 0.999) is None
    assert slots.find_steps(float(helpers.multiplied(0.99, 30))) == (0.99, 30)


# The map as a file.


def test_a_map_that_was_edited_decides(tmp_path):
    proposed = conversion("raw_ambiguous", "raw_ambiguous").map
    path = tmp_path / "map.json"
    map_file.write_map(str(path), proposed, overwrite=False)
    content = json.loads(path.read_text())
    for entry, name in zip(content.pop("unpaired"), ("early", "late")):
        content["variables"].append(
            {
                "tf1": f"generator/{name}",
                "keras": entry["keras"],
                "shape": [6, 6],
                "dtype": "float32",
            }
        )
    path.write_text(json.dumps(content))
    given = map_file.read_map(str(path))
    converted = conversion("raw_ambiguous", "raw_ambiguous", given)
    # The models are made anew: their automatic names have moved on.
    assert set(given.unpaired) == set()
    with pytest.raises(UserError, match="not in the models"):
        converted.load()


def named_model():
    z = keras.Input([3])
    x = keras.ops.tile(z, [1, 2])
    for name in ("one", "two"):
        x = keras.layers.Dense(6, "relu", use_bias=False, name=name)(x)
    x = keras.layers.Dense(2, use_bias=False, name="three")(x)
    return keras.Model(z, x, name="generator")


def pair(tf1, keras_name, **more):
    shape = more.pop("shape", [6, 6])
    entry = {"tf1": tf1, "keras": keras_name, "shape": shape}
    return dict(entry, dtype="float32", **more)


def edited(tmp_path, *entries, **more):
    path = tmp_path / "map.json"
    content = {"version": 1, "variables": list(entries), **more}
    path.write_text(json.dumps(content))
    return map_file.read_map(str(path))


FIRST = pair("generator/early", "generator/one/kernel")
SECOND = pair("generator/late", "generator/two/kernel")
THIRD = pair("generator/out/w", "generator/three/kernel", shape=[6, 2])


def test_a_pairing_by_hand_computes_what_the_graph_computed(tmp_path):
    given = edited(tmp_path, FIRST, SECOND, THIRD)
    converted = conversion("raw_ambiguous", named_model, given)
    converted.load()
    assert outputs_differ_by("raw_ambiguous", converted.models) < TOLERANCE


def test_a_pairing_by_hand_can_transpose_and_reshape_and_back(tmp_path):
    turned = pair("generator/early", "generator/one/kernel", transpose=[1, 0])
    formed = pair("generator/late", "generator/two/kernel", reshape=[6, 6])
    given = edited(tmp_path, turned, formed, THIRD)
    converted = conversion("raw_ambiguous", named_model, given)
    converted.load()
    values = raw("raw_ambiguous")
    kernel = converted.models["generator"].weights[0].numpy()
    np.testing.assert_array_equal(kernel, values["generator/early"].T)
    back = exchange.to_tf1(converted.models, given)
    for name, value in values.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize(
    "entries, message",
    [
        ([FIRST, FIRST, THIRD], "names 'generator/early' twice"),
        (
            [FIRST, pair("generator/early", "generator/two/kernel"), THIRD],
            "names 'generator/early' twice",
        ),
        (
            [FIRST, pair("generator/late", "generator/one/kernel"), THIRD],
            "names 'generator/one/kernel' twice",
        ),
        (
            [pair("../../etc/passwd", "generator/one/kernel"), SECOND, THIRD],
            "names '../../etc/passwd', not in the checkpoint",
        ),
        (
            [pair("generator/early", "/generator/one/kernel"), SECOND, THIRD],
            "names '/generator/one/kernel', not in the models",
        ),
        ([FIRST, SECOND], "generator/three/kernel (not in the map)"),
        (
            [dict(FIRST, transpose=[0, 0]), SECOND, THIRD],
            "which is no order of its axes",
        ),
        (
            [dict(FIRST, transpose=[0, 1, 2]), SECOND, THIRD],
            "which is no order of its axes",
        ),
        (
            [dict(FIRST, reshape=[6, 7]), SECOND, THIRD],
            "another number of elements",
        ),
        ([dict(FIRST, reshape=[36]), SECOND, THIRD], "comes as [36]"),
        ([dict(FIRST, shape=[36]), SECOND, THIRD], "in the checkpoint it is"),
        (
            [dict(FIRST, dtype="object"), SECOND, THIRD],
            "in the checkpoint it is",
        ),
        ([dict(FIRST, dtype="a type"), SECOND, THIRD], "is of type 'a type'"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(entries, message, tmp_path):
    given = edited(tmp_path, *entries)
    with pytest.raises(UserError) as error:
        conversion("raw_ambiguous", named_model, given).load()
    assert message in str(error.value)


def test_candidates_of_a_map_may_be_unknown_or_empty(tmp_path):
    checkpoint_path = str(tmp_path / "model")
    values = {"empty": np.zeros([0], np.float32), **raw("raw_ambiguous")}
    tf1_checkpoint.write(checkpoint_path, values)
    left = {"keras": "generator/one/kernel", "candidates": ["?", "empty"]}
    given = edited(tmp_path, SECOND, THIRD, unpaired=[left])
    with pytest.raises(UserError, match="1 variables have no partner"):
        convert.Conversion(
            Tf1Checkpoint(checkpoint_path),
            {"generator": named_model()},
            convert.Options(),
            given,
        ).load()


# There and back.


def converted_folder(case, models, tmp_path, **options):
    converted = conversion(case, models, **options)
    converted.load()
    converted.write(str(tmp_path / "converted"))
    return converted


@pytest.mark.parametrize(
    "case, models",
    [("layers_scoped", "layers_adam"), ("scoped_slots", "layers_adam")],
)
def test_there_and_back_every_variable_is_the_same_to_the_bit(
    case, models, tmp_path
):
    converted = converted_folder(case, models, tmp_path)
    given = map_file.read_map(str(tmp_path / "converted" / "map.json"))
    for model in converted.models.values():  # what is read back must matter
        for variable in model.weights + model.optimizer.variables:
            variable.assign(np.ones(variable.shape))
    keras_files.restore(converted.models, str(tmp_path / "converted"))
    back = exchange.to_tf1(converted.models, given)
    values = raw(case)
    assert set(back) == set(values)
    for name, value in values.items():
        assert back[name].dtype == value.dtype, name
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_what_was_left_behind_comes_back_from_the_base():
    converted = conversion("rmsprop", "layers_rmsprop")
    converted.load()
    back = exchange.to_tf1(
        converted.models, converted.map, converted.checkpoint
    )
    for name, value in raw("rmsprop").items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_a_map_lists_all_that_is_left_behind(tmp_path):
    converted = converted_folder(
        "averaged", "averaged", tmp_path, weights_only=True
    )
    given = map_file.read_map(str(tmp_path / "converted" / "map.json"))
    assert given == converted.map
    back = exchange.to_tf1(converted.models, given)
    assert set(back) | set(given.left) == set(raw("averaged"))
    assert not set(back) & set(given.left)
    (note,) = conversion_notes.not_written(given, back)
    assert note.startswith(f"{len(given.left)} variables of the old checkpoint")
    assert given.left[0] in note and "--base=OLD" in note
    whole = exchange.to_tf1(converted.models, given, converted.checkpoint)
    assert conversion_notes.not_written(given, whole) == []


def test_the_files_hold_the_models(tmp_path):
    converted = converted_folder("layers_scoped", "layers_adam", tmp_path)
    folder = tmp_path / "converted"
    for name, model in converted.models.items():
        whole = keras.models.load_model(folder / (name + ".keras"))
        assert_all_equal(whole.get_weights(), model.get_weights())
        assert_all_equal(
            [v.numpy() for v in whole.optimizer.variables],
            [v.numpy() for v in model.optimizer.variables],
        )
    made = foreign_models.layers()
    for model in made:
        model.load_weights(folder / (model.name + ".weights.h5"))
        expected = converted.models[model.name].get_weights()
        assert_all_equal(model.get_weights(), expected)


def test_a_checkpoint_of_other_models_is_refused(tmp_path):
    converted_folder("layers_scoped", "layers_adam", tmp_path)
    model = foreign_models.raw_unnamed()
    with pytest.raises(UserError, match="cannot restore"):
        keras_files.restore({"generator": model}, str(tmp_path / "converted"))


def test_training_goes_on_in_keras_as_it_would_have_in_tf1(tmp_path):
    """Adam's next step, from NumPy, of every variable that it trains."""
    converted = conversion("layers_scoped", "layers_adam")
    converted.load()
    model, values = converted.models["generator"], raw("layers_scoped")
    gradients = [
        np.full(v.shape, 0.1, np.float32) for v in model.trainable_weights
    ]
    model.optimizer.apply(
        [tf.constant(g) for g in gradients], model.trainable_weights
    )
    for name, variable in zip(GENERATOR, model.trainable_weights):
        name = "generator/" + name
        first, second = values[name + "/Adam"], values[name + "/Adam_1"]
        first = 0.5 * first + 0.5 * 0.1
        second = 0.999 * second + 0.001 * 0.1**2
        rate = 1e-3 * np.sqrt(1 - 0.999**4) / (1 - 0.5**4)
        expected = values[name] - rate * first / (np.sqrt(second) + 1e-8)
        # Float32's rounding of steps of 1e-3.
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-6)


# The graph beside the checkpoint.


def verified(case="raw_scoped", inputs=None, outputs=None, spoil=False):
    converted = conversion(case, case)
    converted.load()
    if spoil:
        weight = converted.models["generator"].weights[0]
        weight.assign(weight + 1e-3)
    rows = verify.verify_graph(
        converted.checkpoint,
        converted.models,
        converted.map,
        inputs or {},
        outputs or {},
    )
    return {row.name: row for row in rows}


def test_the_graph_in_the_meta_file_verifies_the_models():
    rows = verified()
    assert set(rows) == {"generator", "discriminator"}
    assert all(row.difference < TOLERANCE for row in rows.values())
    assert all(row.size > 0.1 for row in rows.values())


def test_a_weight_that_is_off_is_seen_by_verify():
    rows = verified(spoil=True)
    assert rows["generator"].difference > 1e-5
    assert rows["discriminator"].difference < TOLERANCE


def test_inputs_and_outputs_can_be_named():
    rows = verified(
        inputs={"z:0": "generator", "is_training:0": "false"},
        outputs={"generator": "generator/Tanh:0"},
    )
    assert rows["generator"].difference < TOLERANCE
    logits = verified(outputs={"generator": "generator/g_h1_lin/add:0"})
    assert logits["generator"].difference > 1e-4
    with pytest.raises(UserError, match="the graph has no 'nothing'"):
        verified(outputs={"generator": "nothing:0"})


def test_without_a_graph_verify_says_so():
    with pytest.raises(UserError, match="no graph .*copy the .meta file"):
        verified("raw_flat")


def hostile_meta(tmp_path, operation):
    """A copy of raw_scoped whose generator also does something else."""
    shutil.copytree(FOREIGN / "raw_scoped", tmp_path / "hostile")
    path = tmp_path / "hostile" / "model.ckpt.meta"
    meta = meta_graph.read_meta(str(path))
    with tf.Graph().as_default() as graph:
        operation(str(tmp_path / "written"))
        added = graph.as_graph_def().node
    meta.graph_def.node.extend(added)
    tanh = next(n for n in meta.graph_def.node if n.name == "generator/Tanh")
    tanh.input.append("^" + added[-1].name)
    path.write_bytes(meta.SerializeToString())
    return Tf1Checkpoint(str(tmp_path / "hostile"))


@pytest.mark.parametrize(
    "operation",
    [
        lambda path: tf.raw_ops.WriteFile(filename=path, contents="x"),
        lambda path: tf.raw_ops.ReadFile(filename=path),
        lambda path: tf.raw_ops.PyFunc(input=[], token="t", Tout=[tf.float32]),
        lambda path: tf.raw_ops.PrintV2(input="x"),
    ],
)
def test_a_graph_that_reaches_outside_is_not_run(operation, tmp_path):
    converted = conversion("raw_scoped", "raw_scoped")
    converted.load()
    checkpoint = hostile_meta(tmp_path, operation)
    with pytest.raises(UserError, match="it is not run|cannot tell which"):
        verify.verify_graph(
            checkpoint,
            converted.models,
            converted.map,
            {},
            {"generator": "generator/Tanh:0"},
        )
    assert not (tmp_path / "written").exists()


# On TensorFlow 1.15.5 itself.


@needs_tf115
@pytest.mark.slow
def test_the_committed_checkpoints_are_what_115_makes(tmp_path):
    script = str(Path(__file__).parent / "make_foreign.py")
    subprocess.run(
        [
            helpers.TF115_PYTHON,
            "-W",
            "ignore",
            script,
            str(tmp_path / "foreign"),
        ],
        env=helpers.environment(),
        check=True,
        timeout=300,
        stderr=subprocess.DEVNULL,
    )
    made = sorted(os.listdir(tmp_path / "foreign"))
    assert made == sorted(os.listdir(FOREIGN))
    for case in made:
        path = tf.train.latest_checkpoint(str(tmp_path / "foreign" / case))
        reader = tf.train.load_checkpoint(path)
        committed = raw(case)
        assert set(reader.get_variable_to_shape_map()) == set(committed)
        for name, value in committed.items():
            found = reader.get_tensor(name)
            assert (found.dtype, found.shape) == (value.dtype, value.shape)
            # The updates of an average that is updated twice race, and other
            # numbers of threads add in other orders.
            np.testing.assert_allclose(found, value, rtol=0.05, atol=0.01)


RESTORE = """
import sys, numpy as np, tensorflow as tf
first, second = map(tf.train.load_checkpoint, sys.argv[1:])
types = first.get_variable_to_dtype_map()
for name, shape in first.get_variable_to_shape_map().items():
    tf.get_variable(name, shape, types[name], tf.zeros_initializer())
with tf.Session() as session:
    tf.train.Saver().restore(session, sys.argv[2])
    for variable in tf.global_variables():
        value = first.get_tensor(variable.op.name)
        assert np.array_equal(session.run(variable), value), variable
print("restored", len(tf.global_variables()))
"""


@needs_tf115
@pytest.mark.slow
def test_the_saver_of_115_restores_what_comes_back(tmp_path):
    converted = conversion("layers_scoped", "layers_adam")
    converted.load()
    back = exchange.to_tf1(converted.models, converted.map)
    written = str(tmp_path / "model.ckpt")
    tf1_checkpoint.write(written, back)
    original = str(FOREIGN / "layers_scoped" / "model.ckpt")
    done = subprocess.run(
        [
            helpers.TF115_PYTHON,
            "-W",
            "ignore",
            "-c",
            RESTORE,
            original,
            written,
        ],
        env=helpers.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=100,
    )
    assert done.stdout.decode().split() == ["restored", str(len(back))]


# The script.


def test_the_script_converts_and_verifies(tmp_path, capfd):
    folder = tmp_path / "converted"
    arguments = (
        f"--checkpoint={FOREIGN / 'raw_scoped'}",
        f"--keras_model={Path(foreign_models.__file__)}:raw_scoped",
        f"--output_dir={folder}",
    )
    assert (
        helpers.call_script("convert_checkpoint", *arguments, "--verify") == 0
    )
    out, err = capfd.readouterr()
    assert err == ""
    assert "generator/g_h0_lin/Matrix" in out
    assert out.count("verify  ") == 2
    assert sorted(os.listdir(folder)) == [
        "checkpoints",
        "discriminator.keras",
        "discriminator.weights.h5",
        "generator.keras",
        "generator.weights.h5",
        "map.json",
    ]
    assert helpers.call_script("convert_checkpoint", *arguments) == 1
    assert "is not empty" in capfd.readouterr().err
    tight = (*arguments, "--verify", "--tolerance=0", "--overwrite")
    before = (folder / "generator.keras").read_bytes()
    assert helpers.call_script("convert_checkpoint", *tight) == 1
    assert "differ by more than --tolerance=0" in capfd.readouterr().err
    assert (folder / "generator.keras").read_bytes() == before


def test_a_dry_run_prints_the_map_and_writes_nothing(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = (
        f"--checkpoint={FOREIGN / 'layers_scoped'}",
        f"--keras_model={Path(foreign_models.__file__)}:layers",
        "--dry_run",
    )
    assert helpers.call_script("convert_checkpoint", *arguments) == 0
    assert "the only one of its kind" in capfd.readouterr().out
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("more", [[], ["--tolerance=0"]])
def test_a_dry_run_verifies_and_writes_nothing(
    more, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = (
        f"--checkpoint={FOREIGN / 'raw_scoped'}",
        f"--keras_model={Path(foreign_models.__file__)}:raw_scoped",
        "--dry_run",
        "--verify",
        *more,
    )
    status = helpers.call_script("convert_checkpoint", *arguments)
    assert status == bool(more)
    assert capfd.readouterr().out.count("verify  ") == 2
    assert os.listdir(tmp_path) == []


def test_models_come_from_a_module_too(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    models = keras_models.load_models("foreign_models:layers")
    assert set(models) == {"generator", "discriminator"}


def test_two_models_of_one_name_are_refused(tmp_path):
    source = tmp_path / "twins.py"
    source.write_text(
        "import keras\n"
        "def make():\n"
        "    layer = lambda: keras.layers.Dense(2)\n"
        "    inputs = keras.Input([3])\n"
        "    return [keras.Model(inputs, layer()(inputs), name='g')] * 2\n"
    )
    with pytest.raises(UserError, match="two models of the name 'g'"):
        keras_models.load_models(f"{source}:make")


def test_a_dry_run_says_by_its_status_that_a_map_is_incomplete(tmp_path, capfd):
    written_map = tmp_path / "map.json"
    arguments = (
        f"--checkpoint={FOREIGN / 'raw_ambiguous'}",
        f"--keras_model={Path(foreign_models.__file__)}:raw_ambiguous",
        f"--write_map={written_map}",
        "--dry_run",
    )
    assert helpers.call_script("convert_checkpoint", *arguments) == 1
    out, err = capfd.readouterr()
    assert "REFUSED" in out
    assert err.startswith("error: 2 variables have no partner: ")
    assert len(map_file.read_map(str(written_map)).unpaired) == 2
    assert helpers.call_script("convert_checkpoint", *arguments) == 1
    assert "is there already" in capfd.readouterr().err


def test_optimizers_follow_a_map_that_was_completed_by_hand():
    models = foreign_models.layers_adam()
    proposed = conversion("layers_scoped", lambda: models).map
    by_hand = dataclasses.replace(proposed, optimizers=())
    converted = conversion("layers_scoped", lambda: models, by_hand)
    assert converted.map == proposed
    left = conversion(
        "layers_scoped", lambda: models, by_hand, weights_only=True
    )
    assert left.map.optimizers == ()
    assert "36 slots of Adam are left behind" in left.notes


def with_slots(pair, change):
    return dataclasses.replace(pair, slots=tuple(change(list(pair.slots))))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: [p, p], "two optimizers of 'generator'"),
        (lambda p: [dataclasses.replace(p, family="Ada")], "expected one of"),
        (lambda p: [dataclasses.replace(p, family="RMSProp")], "of RMSProp"),
        (lambda p: [dataclasses.replace(p, steps=4)], "has done 4 steps"),
        (lambda p: [with_slots(p, lambda s: s[1:])], r"the slots \['v'\]"),
        (lambda p: [with_slots(p, lambda s: s[2:])], "it differs in"),
        (
            lambda p: [
                with_slots(
                    p,
                    lambda s: [dataclasses.replace(s[0], slot="v"), *s[1:]],
                )
            ],
            r"the slots \['v', 'v'\]",
        ),
    ],
)
def test_a_map_whose_optimizer_does_not_fit_is_refused(change, message):
    models = foreign_models.layers_adam()
    proposed = conversion("layers_scoped", lambda: models).map
    (pair,) = [p for p in proposed.optimizers if p.model == "generator"]
    given = dataclasses.replace(proposed, optimizers=tuple(change(pair)))
    with pytest.raises(UserError, match=message):
        conversion("layers_scoped", lambda: models, given).load()


def test_a_map_for_another_optimizer_than_the_compiled_is_refused():
    models = foreign_models.layers_adam()
    given = conversion("layers_scoped", lambda: models).map
    for model in models:
        model.compile(keras.optimizers.RMSprop())
    with pytest.raises(UserError, match="was compiled with RMSProp"):
        conversion("layers_scoped", lambda: models, given).load()


def test_weights_only_leaves_behind_the_optimizers_of_a_given_map():
    models = foreign_models.layers_adam()
    given = conversion("layers_scoped", lambda: models).map
    assert given.optimizers
    left = conversion("layers_scoped", lambda: models, given, weights_only=True)
    left.load()
    assert left.map.optimizers == ()
    assert int(models[0].optimizer.iterations.numpy()) == 0


def test_a_variable_that_an_edited_map_forgets_is_noted(tmp_path):
    z = keras.Input([3])
    x = keras.layers.Dense(6, use_bias=False, name="one")(
        keras.ops.tile(z, [1, 2])
    )
    model = keras.Model(z, x, name="generator")
    given = edited(tmp_path, FIRST)
    notes = conversion("raw_ambiguous", lambda: model, given).notes
    assert notes == [
        "left behind, as the map does not name them: generator/late, "
        "generator/out/w"
    ]


def test_an_epsilon_other_than_tf1s_is_noted():
    def compiled():
        models = foreign_models.layers()
        for model in models:
            model.compile(keras.optimizers.Adam(1e-3, 0.5))
        return models

    notes = conversion("layers_scoped", compiled).notes
    assert sum("epsilon=1e-07; TF1's default is 1e-08" in n for n in notes) == 2
    notes = conversion("layers_scoped", "layers_adam").notes
    assert not any("epsilon" in note for note in notes)
