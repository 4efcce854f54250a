"""Which evidence pairs a variable of TF1 with one of Keras, and which does not."""

import keras
import numpy as np
import pytest

from tf2gan.common.errors import UserError
from tf2gan.migration import keras_models, names, pairing, variable_map
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
    """One layer before the branches, one beside two, one behind.

    Keras names them so by itself in a new process, and TF1 does: no evidence.
    """
    own_names = iter(["dense", *(f"dense_{n}" for n in range(1, 5))])

    def dense(x):
        return keras.layers.Dense(6, use_bias=False, name=next(own_names))(x)

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


def dense_layers(count, prefix="own"):
    return [
        keras.layers.Dense(6, use_bias=False, name=f"{prefix}_{number}")
        for number in range(count)
    ]


class Branches(keras.Model):
    def __init__(self):
        super().__init__()
        self.skip, *block = dense_layers(3)
        self.block = keras.Sequential(block)

    def call(self, inputs):
        return self.skip(inputs) + self.block(inputs)


class Chain(keras.Model):
    """Its attributes stand in another order than its layers."""

    def __init__(self):
        super().__init__()
        self.third, self.first, self.second = dense_layers(3)

    def call(self, inputs):
        return self.third(keras.ops.relu(self.second(self.first(inputs))))


class ChainOfTwoInputs(Chain):
    def call(self, inputs, more):
        return super().call(inputs + more)


class ChainThatCounts(Chain):
    """Assigns in its call, as spectral norm does."""

    def __init__(self):
        super().__init__()
        self.count = self.add_weight(
            name="count", shape=(), initializer="zeros", trainable=False
        )

    def call(self, inputs):
        self.count.assign(self.count + 1.0)
        return super().call(inputs)


class ChainInside(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.chain = Chain()

    def call(self, inputs):
        return self.chain(inputs)


def in_functional(layer):
    inputs = keras.Input([6])
    return keras.Model(inputs, layer(inputs))


def called(model, *inputs):
    model(*inputs)
    return model


ONE = np.zeros([1, 6], np.float32)
THREE = ["dense/kernel", "dense_1/kernel", "dense_2/kernel"]
TURNED = {
    "own_0/kernel": "dense_2/kernel",
    "own_1/kernel": "dense/kernel",
    "own_2/kernel": "dense_1/kernel",
}


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: called(Chain(), ONE), TURNED),
        (lambda: in_functional(Chain()), TURNED),
        (lambda: in_functional(ChainInside()), TURNED),
        (lambda: called(ChainThatCounts(), ONE), TURNED),
        (lambda: called(Branches(), ONE), {}),
        (lambda: called(ChainOfTwoInputs(), ONE, ONE), {}),
    ],
)
def test_attributes_are_no_order_but_what_depends_on_what(make, expected):
    tf1 = in_tf1(**{name.replace("/", "__"): [6, 6] for name in THREE})
    variables = keras_models.variables({"net": make()})
    pairs = pairing.propose(tf1, variables).pairs
    found = {"/".join(p.keras.split("/")[-2:]): p.tf1 for p in pairs}
    assert found == expected


def test_to_look_at_a_model_changes_no_variable_of_it():
    model = called(ChainThatCounts(), ONE)
    before = [value.copy() for value in model.get_weights()]
    keras_models.variables({"net": model})
    assert all(map(np.array_equal, before, model.get_weights()))


def test_numbers_that_contradict_the_graph_are_no_evidence():
    """Keras numbers layers as they are made, TF1 as they are called."""
    tf1 = in_tf1(dense_1__kernel=[6, 6], dense_2__kernel=[6, 6])
    first, second = reversed(dense_layers(3, "dense")[1:])
    inputs = keras.Input([6])
    model = keras.Model(inputs, second(first(inputs)))
    assert paired(tf1, {"net": model}) == [None, None]


def test_two_networks_of_one_shape_are_refused():
    tf1 = in_tf1(dense__kernel=[6, 6], dense_1__kernel=[6, 6])
    models = {**dense_model("generator", 6, 6), **dense_model("critic", 6, 6)}
    assert paired(tf1, models) == [None, None]


def test_numbers_that_contradict_the_names_of_a_user_are_no_evidence():
    """A decoder whose layers count down: d3 is first."""
    names = ["d3", "d2", "d1"]
    models = dense_model("net", *[6] * 4, layer_names=names)
    tf1 = in_tf1(**{f"net__{name}__w": [6, 6] for name in sorted(names)})
    assert paired(tf1, models) == [None, "net/d2/w", None]


def test_a_fifth_network_without_a_name_is_not_passed_over():
    """The first kernel may be that of the first network or of the last."""
    sizes = {"one": 6, "two": 7, "three": 8, "four": 9, "last": 6}
    models = {}
    for name, size in sizes.items():
        inputs = keras.Input([6])
        dense = keras.layers.Dense(size, use_bias=False, name="own_" + name)
        models[name] = keras.Model(inputs, dense(inputs))
    names = ["Variable", "Variable_1", "Variable_2", "Variable_3"]
    tf1 = in_tf1(**dict(zip(names, [[6, 6], [6, 7], [6, 8], [6, 9]])))
    found = pairing.propose(tf1, keras_models.variables(models))
    assert {p.keras.split("/")[0]: p.tf1 for p in found.pairs} == {
        "two": "Variable_1",
        "three": "Variable_2",
        "four": "Variable_3",
    }
    refused = {u.keras.split("/")[0]: u.candidates for u in found.unpaired}
    assert refused == {"one": ("Variable",), "last": ("Variable",)}


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


# Variables without a role in their names.


def unnamed(*shapes):
    """Variable, Variable_1, ... of these shapes."""
    numbers = ["", *(f"_{n}" for n in range(1, len(shapes)))]
    return in_tf1(**{f"Variable{n}": s for n, s in zip(numbers, shapes)})


def one_layer(*others, use_bias=False):
    """A dense layer of 6 units, and other layers behind it."""
    x = inputs = keras.Input([3])
    for layer in (keras.layers.Dense(6, use_bias=use_bias), *others):
        x = layer(x)
    outputs = keras.layers.Dense(2, use_bias=False)(x)
    return {"net": keras.Model(inputs, outputs, name="net")}


def batch_norm(**options):
    return keras.layers.BatchNormalization(**options)


def layer_norm(**options):
    return keras.layers.LayerNormalization(**options)


class Prelu(keras.layers.Layer):
    def build(self, shape):
        self.slope = self.add_weight(shape=shape[1:], name="slope")

    def call(self, inputs):
        return keras.ops.maximum(inputs, self.slope * inputs)


@pytest.mark.parametrize(
    "others, use_bias",
    [
        ([batch_norm], False),
        ([batch_norm], True),
        ([layer_norm], False),
        ([lambda: layer_norm(scale=False)], True),
        ([lambda: layer_norm(center=False)], True),
        ([Prelu], True),
        ([lambda: layer_norm(scale=False), Prelu], False),
    ],
)
def test_a_number_is_no_order_within_a_layer(others, use_bias):
    models = one_layer(*(make() for make in others), use_bias=use_bias)
    vectors = len(next(iter(models.values())).weights) - 2
    tf1 = unnamed([3, 6], *[[6]] * vectors, [6, 2])
    expected = ["Variable", *[None] * vectors, f"Variable_{vectors + 1}"]
    assert paired(tf1, models) == expected


def test_a_number_is_an_order_where_each_shape_of_a_layer_is_one():
    models = one_layer(keras.layers.Dense(6), use_bias=True)
    tf1 = unnamed([3, 6], [6], [6, 6], [6], [6, 2])
    assert paired(tf1, models) == list(tf1)


def test_what_one_name_tells_leaves_one_for_the_other():
    tf1 = in_tf1(Variable=[3, 6], gamma=[6], Variable_1=[6], Variable_2=[6, 2])
    expected = ["Variable", "gamma", "Variable_1", "Variable_2"]
    assert paired(tf1, one_layer(layer_norm())) == expected


def test_a_refusal_names_both_sides_and_an_entry_of_a_map():
    tf1 = unnamed([3, 6], [6], [6], [6, 2])
    variables = keras_models.variables(one_layer(layer_norm(name="norm")))
    proposed = pairing.propose(tf1, variables)
    with pytest.raises(UserError) as error:
        variable_map.check(proposed, tf1, variables)
    text = str(error.value)
    assert "net/norm/gamma, net/norm/beta (no name tells gamma and beta" in text
    assert ": Variable_1, Variable_2)" in text
    assert (
        '{"tf1": "NAME", "keras": "net/norm/gamma", "shape": [6], '
        '"dtype": "float32"}'
    ) in text


def refusal(tf1, models):
    variables = keras_models.variables(models)
    proposed = pairing.propose(tf1, variables)
    with pytest.raises(UserError) as error:
        variable_map.check(proposed, tf1, variables)
    return str(error.value)


def with_norm(*roles, bias=False):
    """What TF1 has of a dense layer, its batch norm, and another dense layer."""
    shapes = {"dense__kernel": [3, 6], "dense_1__kernel": [6, 2]}
    shapes.update({f"dense__norm__{role}": [6] for role in roles})
    if bias:
        shapes["dense__bias"] = [6]
    return in_tf1(**shapes)


AVERAGES = ("moving_mean", "moving_variance")


@pytest.mark.parametrize(
    "roles, use_bias, key, cure",
    [
        (("beta", *AVERAGES), False, "norm/gamma", "scale=False"),
        (("gamma", *AVERAGES), False, "norm/beta", "center=False"),
        (("gamma", "beta", *AVERAGES), True, "/bias", "use_bias=False"),
    ],
)
def test_what_a_layer_of_tf1_has_not_is_to_be_left_out_of_the_model(
    roles, use_bias, key, cure
):
    models = one_layer(batch_norm(name="norm"), use_bias=use_bias)
    text = refusal(with_norm(*roles), models)
    assert text.startswith("1 variables have no partner: net/")
    assert f"{key} (TF1's layer had no " in text
    assert f"build the Keras layer with {cure})" in text
    assert "map" not in text


def test_a_layer_of_which_tf1_has_nothing_is_not_to_be_changed():
    text = refusal(with_norm(), one_layer(layer_norm()))
    assert text.count("the checkpoint has nothing like it") == 1
    assert "TF1's layer" not in text and "--write_map=FILE" in text


def recurrent(kind):
    inputs = keras.Input([2, 4])
    layer = getattr(keras.layers, kind)(4, name="cell")
    return {"net": keras.Model(inputs, layer(inputs), name="net")}


@pytest.mark.parametrize("kind, gates", [("LSTM", 4), ("SimpleRNN", 1)])
def test_two_kernels_of_a_cell_have_no_order(kind, gates):
    tf1 = unnamed([4, 4 * gates], [4, 4 * gates], [4 * gates])
    assert paired(tf1, recurrent(kind)) == [None, None, "Variable_2"]


def test_the_two_kernels_of_a_cell_are_told_by_their_names():
    kernels = ["cell/kernel", "cell/recurrent_kernel", "cell/bias"]
    tf1 = in_tf1(
        cell__recurrent_kernel=[4, 16], cell__kernel=[4, 16], cell__bias=[16]
    )
    assert paired(tf1, recurrent("LSTM")) == kernels


class Attention(keras.layers.Layer):
    """Query, key and value, in the order of attributes; the call's is another."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (
            keras.layers.Dense(6, use_bias=False, name=name)
            for name in ("query", "key", "value")
        )

    def build(self, shape):
        for layer in (self.query, self.key, self.value):
            layer.build(shape)

    def call(self, inputs):
        value = self.value(inputs)
        return value * self.query(inputs) * self.key(inputs)


def test_layers_inside_a_layer_have_no_order():
    tf1 = in_tf1(dense__kernel=[6, 6], dense_1__kernel=[6, 6])
    tf1.update(in_tf1(dense_2__kernel=[6, 6]))
    inputs = keras.Input([6])
    model = keras.Model(inputs, Attention()(inputs))
    assert paired(tf1, {"net": model}) == [None, None, None]


def convolution(kind):
    inputs = keras.Input([4, 4, 2])
    layer = getattr(keras.layers, kind)(2, 3, use_bias=False)
    return {"net": keras.Model(inputs, layer(inputs), name="net")}


@pytest.mark.parametrize(
    "name, kind, fits",
    [
        ("up/deconv_3/w", "Conv2D", False),
        ("up/deconv_3/w", "Conv2DTranspose", True),
        ("deconvolutions/last/w", "Conv2D", True),
        ("g_w", "Conv2D", True),
    ],
)
def test_a_shape_does_not_make_a_transposed_kernel_another(name, kind, fits):
    tf1 = in_tf1(**{name.replace("/", "__"): [3, 3, 2, 2]})
    assert paired(tf1, convolution(kind)) == [name if fits else None]


def norm_in_one_branch():
    inputs = keras.Input([6])
    x = layer_norm(scale=False)(inputs)
    first = keras.layers.Dense(6, use_bias=False, name="one")(x)
    second = keras.layers.Dense(6, use_bias=False, name="two")(x)
    outputs = layer_norm(scale=False)(first) + keras.ops.relu(second)
    return {"net": keras.Model(inputs, outputs, name="net")}


def test_what_is_in_the_scope_of_a_branch_is_not_of_another():
    """TF1 has a norm in the second branch, Keras in the first."""
    tf1 = in_tf1(one__kernel=[6, 6], two__kernel=[6, 6])
    tf1.update(in_tf1(two__norm__beta=[6], first__beta=[6]))
    found = paired(tf1, norm_in_one_branch())
    assert found == [None, "one/kernel", "two/kernel", None]


def test_two_that_claim_one_place_are_refused():
    inputs = keras.Input([3])
    x = keras.layers.Dense(6, use_bias=False, name="one")(inputs)
    model = keras.Model(inputs, layer_norm(scale=False)(x), name="net")
    tf1 = in_tf1(net__one__kernel=[3, 6], net__norm__beta=[6])
    tf1.update(in_tf1(net__norm__offset=[6]))
    assert paired(tf1, {"net": model}) == ["net/one/kernel", None]


# Several networks of one kind.


def twins(*models):
    layers = ["early", "late"]
    made = [dense_model(m, 6, 6, 6, layer_names=layers) for m in models]
    return {name: model for each in made for name, model in each.items()}


def scopes(*names_of):
    return in_tf1(
        **{
            f"{name}__{layer}__kernel": [6, 6]
            for name in names_of
            for layer in ("early", "late")
        }
    )


@pytest.mark.parametrize(
    "in_tf1_called, in_keras",
    [
        (["D_A", "D_B"], ["discriminator_a", "discriminator_b"]),
        (["D_1", "D_2"], ["d1", "d2"]),
        (["generator_A2B", "generator_B2A"], ["g_a2b", "g_b2a"]),
        (["disc", "disc_local"], ["discriminator", "discriminator_local"]),
    ],
)
def test_two_networks_of_one_kind_are_told_by_their_other_words(
    in_tf1_called, in_keras
):
    expected = [
        f"{scope}/{layer}/kernel"
        for scope in in_tf1_called
        for layer in ("early", "late")
    ]
    assert paired(scopes(*in_tf1_called), twins(*in_keras)) == expected
    turned = paired(scopes(*in_tf1_called), twins(*reversed(in_keras)))
    assert turned == expected[2:] + expected[:2]


@pytest.mark.parametrize(
    "in_tf1_called, in_keras",
    [
        (["D_A", "D_B"], ["discriminator"]),
        (["D_A", "D_B"], ["discriminator_1", "discriminator_2"]),
        (["generator", "generator_copy"], ["g"]),
    ],
)
def test_two_networks_of_one_kind_are_refused_where_no_word_tells(
    in_tf1_called, in_keras
):
    found = paired(scopes(*in_tf1_called), twins(*in_keras))
    assert set(found) == {None}


def test_of_a_network_and_its_copy_the_very_name_is_taken():
    found = paired(scopes("generator", "generator_copy"), twins("generator"))
    assert found == ["generator/early/kernel", "generator/late/kernel"]


def test_models_that_share_variables_are_refused():
    models = dense_model("encoder", 6, 6)
    inputs = keras.Input([6])
    whole = keras.Model(inputs, models["encoder"](inputs), name="whole")
    with pytest.raises(UserError, match="'encoder' and 'whole' share the"):
        keras_models.variables({**models, "whole": whole})


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
        ("bn/scale", "gamma"),
        ("bn/offset", "beta"),
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
