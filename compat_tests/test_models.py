"""Layers, variables and checkpoints of every GAN: shapes, names, types and counts.

What is expected of a GAN stands in `NETWORKS`, under the name of its spec; all else
follows from the registry. Runs on TensorFlow 1.15.5 too, for the first side.
"""

import collections
import functools
import importlib
import os

import helpers
import numpy as np
import pytest
import tensorflow as tf

from tf2gan.common import specs
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR

DTYPES = ("float32", "float64")
BATCH_SIZES = (1, 3, 16)
SEED = 5
STEP = 4
# Keras counts its steps in int64; the original did in int32.
STEP_DTYPES = {"tf1": "int32", "tf2": "int64"}

# A layer with variables. Its output is without the batch; variables are pairs of
# name and shape, in the order in which `tf.layers` made them.
Layer = collections.namedtuple("Layer", "name output variables")
Variable = collections.namedtuple("Variable", "name shape dtype trainable")
# Layers of both networks, and the numbers of trained and of other parameters.
Gan = collections.namedtuple("Gan", "layers counts")


def _affine(name, kernel, output):
    return Layer(name, output, [("kernel", kernel), ("bias", output[-1:])])


def _batch_normalization(name, output):
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return Layer(name, output, [(each, output[-1:]) for each in names])


NETWORKS = {
    "dcgan28": Gan(
        {
            GENERATOR: [
                _affine("dense", (100, 6272), (6272,)),
                _batch_normalization("batch_normalization", (7, 7, 128)),
                _affine("conv2d_transpose", (5, 5, 64, 128), (14, 14, 64)),
                _batch_normalization("batch_normalization_1", (14, 14, 64)),
                _affine("conv2d_transpose_1", (5, 5, 32, 64), (28, 28, 32)),
                _batch_normalization("batch_normalization_2", (28, 28, 32)),
                _affine("conv2d_transpose_2", (5, 5, 1, 32), (28, 28, 1)),
            ],
            DISCRIMINATOR: [
                _affine("conv2d", (5, 5, 1, 32), (14, 14, 32)),
                _affine("conv2d_1", (5, 5, 32, 64), (7, 7, 64)),
                _batch_normalization("batch_normalization", (7, 7, 64)),
                _affine("conv2d_2", (5, 5, 64, 128), (4, 4, 128)),
                _batch_normalization("batch_normalization_1", (4, 4, 128)),
                _affine("dense", (2048, 1), (1,)),
            ],
        },
        {GENERATOR: (890817, 448), DISCRIMINATOR: (259457, 384)},
    ),
}

sides = pytest.mark.parametrize("side", helpers.SIDES)
models = pytest.mark.parametrize("model", sorted(specs.SPECS))
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def _network_variables(model, dtype):
    """Returns the variables of both networks, in order of their creation."""
    return [
        Variable(
            "{}/{}/{}".format(network, layer.name, name),
            shape,
            dtype,
            not name.startswith("moving_"),
        )
        for network in (GENERATOR, DISCRIMINATOR)
        for layer in NETWORKS[model].layers[network]
        for name, shape in layer.variables
    ]


def _trained(model, network, dtype):
    return [
        row
        for row in _network_variables(model, dtype)
        if row.trainable and row.name.startswith(network + "/")
    ]


def _optimizer_variables(model, dtype, side):
    """Returns steps, powers and slots; the first optimizer is the discriminator's."""
    found = []
    for network, step, suffix in (
        (DISCRIMINATOR, "D_global_step", ""),
        (GENERATOR, "G_global_step", "_1"),
    ):
        found.append(Variable(step, (), STEP_DTYPES[side], False))
        for power in ("beta1_power", "beta2_power"):
            found.append(Variable(power + suffix, (), "float32", False))
        for row in _trained(model, network, dtype):
            for slot in ("/Adam", "/Adam_1"):
                found.append(
                    row._replace(name=row.name + slot, trainable=False)
                )
    return found


def _outputs(model, batch_size):
    """Returns [(name, shape)] of the layers' outputs, in the order of a step."""
    calls = (
        (GENERATOR, GENERATOR),
        (DISCRIMINATOR, DISCRIMINATOR),  # on real images
        (DISCRIMINATOR, DISCRIMINATOR + "_1"),  # on generated ones
    )
    return [
        (scope + "/" + layer.name, (batch_size,) + layer.output)
        for network, scope in calls
        for layer in NETWORKS[model].layers[network]
    ]


def _module(side, name):
    return importlib.import_module("{}gan.{}".format(side, name))


def _build(side, model, dtype):
    """Returns a new trainer and the names of its variables as they were made."""
    make = functools.partial(
        _module(side, "training").Trainer, specs.get_spec(model), dtype=dtype
    )
    trainer, names = _noting_tf1(make) if side == "tf1" else _noting_tf2(make)
    trainer.initialize(SEED)
    return trainer, names


def _noting_tf1(make):
    trainer = make()
    return trainer, list(trainer.variables())


def _noting_tf2(make):
    made = []

    def note(next_creator, **arguments):
        made.append(next_creator(**arguments))
        return made[-1]

    with tf.variable_creator_scope(note):
        trainer = make()
    names = {v.ref(): name for name, v in trainer.variables().items()}
    return trainer, [names[v.ref()] for v in made if v.ref() in names]


_built = functools.lru_cache(maxsize=None)(_build)


def _trained_names(side, trainer):
    if side == "tf1":
        trained = trainer.graph.get_collection("trainable_variables")
        return {variable.op.name for variable in trained}
    networks = (trainer.generator, trainer.discriminator)
    return {v.path for n in networks for v in n.trainable_variables}


def _described(side, trainer, order):
    """Returns all variables in order of their creation."""
    variables, trained = trainer.variables(), _trained_names(side, trainer)
    for name, variable in variables.items():
        assert variable.trainable == (name in trained), name
    return [
        Variable(
            name,
            tuple(variables[name].shape.as_list()),
            variables[name].dtype.base_dtype.name,
            name in trained,
        )
        for name in order
    ]


def _batch(model, batch_size, dtype):
    return helpers.noise_batch(specs.get_spec(model), batch_size, dtype, SEED)


def _uncovered(table, registry):
    """Returns what has no entry, and the entries of what is no more."""
    return sorted(set(registry) ^ set(table))


def _check_networks(built, side, model, dtype):
    found = [
        row
        for row in _described(side, *built)
        if row.name.split("/")[0] in (GENERATOR, DISCRIMINATOR)
        and not row.name.endswith(("/Adam", "/Adam_1"))
    ]
    assert found == _network_variables(model, dtype)


def _check_optimizers(built, side, model, dtype):
    found = _described(side, *built)
    networks = _network_variables(model, dtype)
    expected = _optimizer_variables(model, dtype, side)
    assert sorted(set(found) - set(networks)) == sorted(expected)
    assert len(found) == len(networks) + len(expected)
    for slot in ("/Adam", "/Adam_1", "_power", "_power_1", "_global_step"):
        order = [row.name for row in found if row.name.endswith(slot)]
        assert order == [r.name for r in expected if r.name.endswith(slot)]


def _check_outputs(trainer, model, batch_size, dtype):
    images, latents = _batch(model, batch_size, dtype)
    outputs = trainer.activations(images, latents)
    found = [(name, value.shape) for name, value in outputs.items()]
    assert found == _outputs(model, batch_size)
    generated = trainer.generate(latents)
    assert generated.shape == images.shape
    assert {v.dtype for v in [generated, *outputs.values()]} == {
        np.dtype(dtype)
    }


def _marked_state(trainer):
    """Returns a state in which no two variables have the same value."""
    state = trainer.state()
    return {
        name: np.full_like(state[name], number)
        for number, name in enumerate(sorted(state), 1)
    }


def _check_checkpoint(trainer, side, folder):
    """Saves marked variables; reads the file, and restores what was changed."""
    checkpointer_class = _module(side, "checkpoint").Checkpointer
    checkpointer = checkpointer_class(trainer, str(folder / "checkpoints"))
    marked = _marked_state(trainer)
    trainer.load_state(marked)
    checkpointer.save(STEP)
    _assert_same(marked, _saved(side, folder))
    trainer.initialize(SEED)
    checkpointer.restore()
    _assert_same(marked, trainer.state())


def _saved(side, folder):
    """Returns the content of the file; Keras's side counts its saves there too."""
    saved = helpers.final_state(side, folder, STEP)
    if side == "tf2":
        assert saved.pop("save_counter") == STEP
    return saved


def _assert_same(expected, actual):
    assert sorted(actual) == sorted(expected)
    for name in expected:
        assert actual[name].dtype == expected[name].dtype, name
        assert np.array_equal(actual[name], expected[name]), name


def test_every_gan_of_the_registry_has_an_entry_and_no_entry_is_stale():
    assert _uncovered(NETWORKS, specs.SPECS) == []


def test_a_gan_without_entry_and_a_stale_entry_are_noticed():
    assert _uncovered(["one"], ["one", "added"]) == ["added"]
    assert _uncovered(["one", "removed"], ["one"]) == ["removed"]


@sides
@models
@dtypes
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_every_output_has_its_shape(side, model, dtype, batch_size):
    trainer, _ = _built(side, model, dtype)
    _check_outputs(trainer, model, batch_size, dtype)


@sides
@models
def test_one_trainer_trains_on_batches_of_any_size(side, model):
    trainer, _ = _built(side, model, "float32")
    trainer.initialize(SEED)
    for batch_size in BATCH_SIZES:
        losses = trainer.train_step(*_batch(model, batch_size, "float32"))
        assert [np.shape(loss) for loss in losses] == [(), ()]
        assert np.all(np.isfinite(losses))


@sides
@models
@dtypes
def test_the_networks_have_their_variables_in_order(side, model, dtype):
    _check_networks(_built(side, model, dtype), side, model, dtype)


@sides
@models
@dtypes
def test_the_optimizers_have_their_variables_in_order(side, model, dtype):
    _check_optimizers(_built(side, model, dtype), side, model, dtype)


@sides
@models
def test_the_networks_have_as_many_parameters_as_the_original(side, model):
    trainer, _ = _built(side, model, "float32")
    trained, state = _trained_names(side, trainer), trainer.state()
    for network, counts in NETWORKS[model].counts.items():
        names = {
            row.name
            for row in _network_variables(model, "float32")
            if row.name.startswith(network + "/")
        }
        sizes = [
            sum(state[name].size for name in chosen)
            for chosen in (names & trained, names - trained)
        ]
        assert tuple(sizes) == counts, network


@sides
@models
@dtypes
def test_a_checkpoint_has_the_names_of_tf1_and_restores_each(
    side, model, dtype, tmp_path
):
    trainer, _ = _built(side, model, dtype)
    _check_checkpoint(trainer, side, tmp_path)
    expected = _network_variables(model, dtype)
    expected += _optimizer_variables(model, dtype, side)
    saved = _saved(side, tmp_path)
    found = [(n, v.shape, v.dtype.name) for n, v in sorted(saved.items())]
    assert found == sorted(tuple(row[:3]) for row in expected)


@models
@pytest.mark.skipif(
    "tf2" not in helpers.SIDES, reason="tf2gan needs TensorFlow 2"
)
def test_a_tf2_checkpoint_holds_nothing_else(model, tmp_path):
    trainer, _ = _built("tf2", model, "float32")
    checkpointer = _module("tf2", "checkpoint").Checkpointer(
        trainer, str(tmp_path)
    )
    path = checkpointer.save(STEP)
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    names = [name.replace("/", ".S") for name in trainer.variables()]
    expected = {name + suffix for name in [*names, "save_counter"]}
    found = {name for name, _ in tf.train.list_variables(path)}
    assert found - {"_CHECKPOINTABLE_OBJECT_GRAPH"} == expected
    assert os.path.basename(path) == "model-{}".format(STEP)


def _wider_layer(monkeypatch, side):
    layers = _module(side, "layers")
    original = layers.conv2d_transpose

    def wider(inputs, filters, *arguments, **named):
        more = 2 * filters if named["name"] == "conv2d_transpose" else filters
        return original(inputs, more, *arguments, **named)

    monkeypatch.setattr(layers, "conv2d_transpose", wider)


def _gamma_and_beta_exchanged(monkeypatch, side):
    names = {"gamma": "beta", "beta": "gamma"}
    _patch_variables(
        monkeypatch, side, lambda name, *rest: (names.get(name, name), *rest)
    )


def _averages_trained(monkeypatch, side):
    def without_false(*arguments):
        return arguments[:-1] if arguments[-1] is False else arguments

    _patch_variables(monkeypatch, side, without_false)


def _patch_variables(monkeypatch, side, change):
    """Changes the arguments with which batch normalization makes variables."""
    layers = _module(side, "layers")
    if side == "tf1":
        make = layers._variable
        monkeypatch.setattr(layers, "_variable", lambda *a: make(*change(*a)))
        return
    owner = layers.BatchNormalization
    add = owner._variable
    monkeypatch.setattr(
        owner, "_variable", lambda self, *a: add(self, *change(*a))
    )


def _generators_optimizer_first(monkeypatch, side):
    """As where the generator's train op was written above the discriminator's."""
    trainer_class = _module(side, "training").Trainer

    def train_ops(self, update_ops):
        self._train_op(self._loss_g, GENERATOR, update_ops, "G_global_step")
        self._train_op(self._loss_d, DISCRIMINATOR, update_ops, "D_global_step")

    def optimizers(self, update_ops):
        self.optimizer_g = self._optimizer(self.generator)
        self.optimizer_d = self._optimizer(self.discriminator)

    name, fault = {
        "tf1": ("_build_train_ops", train_ops),
        "tf2": ("_build_optimizers", optimizers),
    }[side]
    monkeypatch.setattr(trainer_class, name, fault)


def _batch_size_fixed(monkeypatch, side):
    owner = (
        tf.compat.v1 if side == "tf1" else importlib.import_module("keras").ops
    )
    reshape = owner.reshape
    monkeypatch.setattr(
        owner, "reshape", lambda x, shape: reshape(x, [16, *shape[1:]])
    )


def _powers_exchanged_in_the_file(monkeypatch, side):
    """As where one optimizer's variables are saved under the other's names."""
    names = {"beta1_power": "beta1_power_1", "beta1_power_1": "beta1_power"}
    train = _module(side, "checkpoint").tf.train

    def exchanged(variables):
        return {names.get(name, name): v for name, v in variables.items()}

    if side == "tf1":
        saver = train.Saver
        trainer, _ = _built("tf1", "dcgan28", "float32")
        monkeypatch.setattr(
            train,
            "Saver",
            lambda **named: saver(exchanged(trainer.variables()), **named),
        )
        return
    checkpoint = train.Checkpoint
    monkeypatch.setattr(
        train, "Checkpoint", lambda **named: checkpoint(**exchanged(named))
    )


def _nothing(monkeypatch, side):
    pass


@sides
@pytest.mark.parametrize(
    "plant, check, dtype, message",
    [
        (_wider_layer, _check_networks, "float32", "128"),
        (_gamma_and_beta_exchanged, _check_networks, "float32", "gamma"),
        (_averages_trained, _check_networks, "float32", "moving_mean"),
        (_nothing, _check_networks, "float64", "float64"),
        (_nothing, _check_optimizers, "float64", "float64"),
        (
            _generators_optimizer_first,
            _check_optimizers,
            "float32",
            "power|Adam",
        ),
    ],
)
def test_a_fault_in_the_variables_is_noticed(
    side, plant, check, dtype, message, monkeypatch
):
    """With no plant the fault is float32 where float64 was asked for."""
    plant(monkeypatch, side)
    built = _build(side, "dcgan28", "float32")
    with pytest.raises(AssertionError, match=message):
        check(built, side, "dcgan28", dtype)


@sides
@pytest.mark.parametrize(
    "plant, message",
    [(_wider_layer, "128"), (_batch_size_fixed, "reshape")],
)
def test_a_fault_in_the_outputs_is_noticed(side, plant, message, monkeypatch):
    plant(monkeypatch, side)
    trainer, _ = _build(side, "dcgan28", "float32")
    errors = (AssertionError, tf.errors.InvalidArgumentError)
    with pytest.raises(errors, match=message):
        _check_outputs(trainer, "dcgan28", 3, "float32")


@sides
def test_exchanged_names_in_a_checkpoint_are_noticed(
    side, monkeypatch, tmp_path
):
    _powers_exchanged_in_the_file(monkeypatch, side)
    trainer, _ = _built(side, "dcgan28", "float32")
    with pytest.raises(AssertionError, match="beta1_power"):
        _check_checkpoint(trainer, side, tmp_path)
