"""Which evidence pairs a variable of TF1 with one of Keras, and which does not."""

import keras
import numpy as np
import pytest

from tf2gan.migration import keras_models, names, pairing
from tf2gan.migration.tf1_checkpoint import Variable


def in_tf1(**shapes):
    """Variables by name, with "__" for a slash."""
    return {
        name.replace("__", "/"): Variable(
            name.replace("__", "/"), tuple(shape), np.dtype("float32")
        )
        for name, shape in shapes.items()
    }


def dense_model(name, *sizes, layer_names=None):
    x = inputs = keras.Input([sizes[0]])
    for number, units in enumerate(sizes[1:]):
        layer = layer_names[number] if layer_names else None
        x = keras.layers.Dense(units, use_bias=False, name=layer)(x)
    return {name: keras.Model(inputs, x, name=name)}


def paired(tf1, models):
    """Returns the names in TF1 by order of Keras's variables; None if refused."""
    variables = keras_models.variables(models)
    found = {p.keras: p.tf1 for p in pairing.propose(tf1, variables).pairs}
    return [found.get(variable.key) for variable in variables]


def test_numbers_are_an_order():
    tf1 = in_tf1(dense__kernel=[6, 6], dense_1__kernel=[6, 6])
    assert paired(tf1, dense_model("net", 6, 6, 6)) == [
        "dense/kernel",
        "dense_1/kernel",
    ]


def test_ten_comes_after_two():
    scopes = [f"l/conv{n}" for n in ("", *(f"_{i}" for i in range(1, 12)))]
    scopes.reverse()
    assert sorted(scopes, key=names.natural_key) == scopes[::-1]


@pytest.mark.parametrize(
    "first, second",
    [
        ("D__32x32__dense__kernel", "D__64x64__dense__kernel"),
        ("dense_64__kernel", "dense_128__kernel"),
        ("dense_64__kernel", "dense_65__kernel"),
        ("dense_1__kernel", "dense_3__kernel"),
        ("block__dense_1__kernel", "block_1__dense__kernel"),
    ],
)
def test_numbers_that_may_be_anything_are_no_order(first, second):
    tf1 = in_tf1(**{first: [6, 6], second: [6, 6]})
    assert paired(tf1, dense_model("net", 6, 6, 6)) == [None, None]


@pytest.mark.parametrize(
    "first, second",
    [("h0_w", "h1_w"), ("h1_w", "h2_w"), ("a_1__dense__w", "a_1__dense_1__w")],
)
def test_consecutive_numbers_from_zero_or_one_are_an_order(first, second):
    tf1 = in_tf1(**{second: [6, 6], first: [6, 6]})
    expected = [name.replace("__", "/") for name in (first, second)]
    tf1 = {name: tf1[name] for name in sorted(tf1)}
    assert paired(tf1, dense_model("net", 6, 6, 6)) == expected


def test_words_are_no_order():
    tf1 = in_tf1(early__kernel=[6, 6], late__kernel=[6, 6])
    assert paired(tf1, dense_model("net", 6, 6, 6)) == [None, None]


def test_equal_words_are_evidence():
    tf1 = in_tf1(net__late__kernel=[6, 6], net__early__kernel=[6, 6])
    model = dense_model("net", 6, 6, 6, layer_names=["late", "early"])
    assert paired(tf1, model) == ["net/late/kernel", "net/early/kernel"]


def test_names_of_different_numbers_do_not_count_as_equal():
    """Keras went on counting from an earlier model: its dense_1 is TF1's dense."""
    tf1 = in_tf1(net__dense__kernel=[6, 6], net__dense_1__kernel=[6, 6])
    model = dense_model("net", 6, 6, 6, layer_names=["dense_1", "dense_2"])
    assert paired(tf1, model) == ["net/dense/kernel", "net/dense_1/kernel"]


def test_an_order_that_one_shape_contradicts_says_nothing():
    tf1 = in_tf1(
        dense__kernel=[6, 6], dense_1__kernel=[6, 6], dense_2__kernel=[6, 7]
    )
    inputs = keras.Input([6])
    first = keras.layers.Dense(6, use_bias=False)(inputs)
    second = keras.layers.Dense(7, use_bias=False)(first)
    third = keras.layers.Dense(6, use_bias=False)(inputs)
    model = keras.Model(inputs, [second, third])
    kernels = [(6, 6), (6, 7), (6, 6)]
    order = [tuple(w.shape) for w in model.weights]
    if order != kernels:  # Keras lists branches by depth
        pytest.skip(f"the layers come as {order}")
    assert paired(tf1, {"net": model}) == [None, "dense_2/kernel", None]


def residual(inputs):
    """One layer before the branches, one beside two, one behind."""

    def dense(x):
        return keras.layers.Dense(6, use_bias=False)(x)

    first = dense(inputs)
    skip = dense(first)
    return dense(dense(dense(first)) + skip)


def nested(inputs):
    inner = keras.Input([6])
    return keras.Model(inner, residual(inner))(inputs)


@pytest.mark.parametrize("network", [residual, nested])
def test_branches_of_one_shape_have_no_order(network):
    kernels = ["dense__kernel", *(f"dense_{n}__kernel" for n in range(1, 5))]
    tf1 = in_tf1(**{name: [6, 6] for name in kernels})
    inputs = keras.Input([6])
    model = keras.Model(inputs, network(inputs))
    expected = ["dense/kernel", None, None, None, "dense_4/kernel"]
    assert paired(tf1, {"net": model}) == expected


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.skip = keras.layers.Dense(6, use_bias=False)
        self.block = keras.Sequential(
            [keras.layers.Dense(6, use_bias=False) for _ in range(2)]
        )

    def call(self, inputs):
        return self.skip(inputs) + self.block(inputs)


def test_attributes_are_an_order():
    model = Subclassed()
    model(np.zeros([1, 6], np.float32))
    kernels = ["dense__kernel", "dense_1__kernel", "dense_2__kernel"]
    tf1 = in_tf1(**{name: [6, 6] for name in kernels})
    expected = [name.replace("__", "/") for name in kernels]
    assert paired(tf1, {"net": model}) == expected


def test_two_networks_of_one_shape_are_refused():
    tf1 = in_tf1(dense__kernel=[6, 6], dense_1__kernel=[6, 6])
    models = {**dense_model("generator", 6, 6), **dense_model("critic", 6, 6)}
    assert paired(tf1, models) == [None, None]


def test_the_order_of_two_networks_follows_from_one_shape():
    tf1 = in_tf1(
        dense__kernel=[6, 6],
        dense_1__kernel=[6, 6],
        dense_2__kernel=[6, 6],
        dense_3__kernel=[6, 1],
    )
    models = {
        **dense_model("critic", 6, 6, 1),
        **dense_model("generator", 6, 6, 6),
    }
    assert paired(tf1, models) == [
        "dense_2/kernel",
        "dense_3/kernel",
        "dense/kernel",
        "dense_1/kernel",
    ]


@pytest.mark.parametrize(
    "name, network",
    [
        ("generator/dense/kernel", "generator"),
        ("Generator/dense/kernel", "generator"),
        ("model/g_h0_lin/Matrix", "generator"),
        ("G_W1", "generator"),
        ("d_bn1/beta", "discriminator"),
        ("critic/w", "discriminator"),
        ("D_global_step", "discriminator"),
        ("conv2d/kernel", None),
        ("dense_1/kernel", None),
        ("Variable_3", None),
    ],
)
def test_a_name_says_its_network(name, network):
    assert names.network(name, ["generator", "discriminator"]) == network


@pytest.mark.parametrize(
    "name, role",
    [
        ("a/kernel", "kernel"),
        ("a/weights", "kernel"),
        ("a/Matrix", "kernel"),
        ("D_W1", "kernel"),
        ("w_2", "kernel"),
        ("a/biases", "bias"),
        ("b", "bias"),
        ("G_b12", "bias"),
        ("a/BatchNorm/moving_variance", "moving_variance"),
        ("Variable_1", None),
        ("a/web", None),
    ],
)
def test_a_name_says_its_role(name, role):
    assert names.parse(name).role == role


def test_layers_that_are_used_behind_each_other_have_no_order():
    tf1 = in_tf1(dense__kernel=[6, 6], dense_1__kernel=[6, 6])
    first, second = (keras.layers.Dense(6, use_bias=False) for _ in range(2))
    inputs = keras.Input([6])
    model = keras.Model(inputs, first(second(first(inputs))))
    assert paired(tf1, {"net": model}) == [None, None]
