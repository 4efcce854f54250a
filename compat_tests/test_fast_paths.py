"""Fast paths: those that give TF1's numbers to the last bit, and those that cannot."""

import dataclasses
from unittest import mock

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf1gan import layers as layers1
from tf2gan import layers as layers2
from tf2gan import training, transposed
from tf2gan.common import specs
from tf2gan.common.config import PRECISIONS, TrainConfig
from tf2gan.common.specs import DISCRIMINATOR

SPEC = specs.get_spec("dcgan28")
BATCH = 4
ITERATIONS = 3
SEED = 7
LEAST_NORMAL = np.finfo("float32").tiny


pytestmark = pytest.mark.usefixtures("graphs_as_written")


def _train(trainer, step):
    """Returns the losses and the state after a few calls of a train step."""
    trainer.initialize(SEED)
    losses = [
        step(*helpers.noise_batch(SPEC, BATCH, trainer.dtype, SEED + iteration))
        for iteration in range(ITERATIONS)
    ]
    return np.array(losses), trainer.state()


def _in_two_steps(trainer):
    return lambda images, latent: (
        trainer.discriminator_step(images, latent),
        trainer.generator_step(images, latent),
    )


def _differing(state1, state2):
    assert sorted(state1) == sorted(state2)
    return {n for n in state1 if not np.array_equal(state1[n], state2[n])}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_generating_once_for_both_steps_changes_nothing(update_ops, dtype):
    trainer = training.Trainer(SPEC, update_ops, dtype)
    losses1, state1 = _train(trainer, _in_two_steps(trainer))
    losses2, state2 = _train(trainer, trainer.train_step)
    assert np.array_equal(losses1, losses2)
    assert not _differing(state1, state2)


def test_an_update_that_is_not_done_twice_is_noticed():
    trainer = training.Trainer(SPEC, "source")
    _, right = _train(trainer, _in_two_steps(trainer))
    trainer._scopes_d = (DISCRIMINATOR,)
    _, wrong = _train(trainer, trainer.train_step)
    assert _differing(right, wrong) == {
        name
        for name in right
        if name.startswith("generator/") and "/moving_" in name
    }


def test_a_train_step_generates_images_once():
    trainer = training.Trainer(SPEC, "source")
    batch = helpers.noise_batch(SPEC, BATCH, "float32", SEED)

    def generated(function):
        graph = function.get_concrete_function(*map(tf.constant, batch)).graph
        shape = [BATCH, *SPEC.image_shape]
        return [
            operation
            for operation in graph.get_operations()
            if operation.type == "Tanh"
            and operation.outputs[0].shape.as_list() == shape
        ]

    assert len(generated(trainer.train_step)) == 1
    assert len(generated(trainer.generator_step)) == 1


@pytest.fixture(scope="module")
def slopes():
    """Inputs and upstream gradients, with every sort of zero and smallest number."""
    random = np.random.RandomState(SEED)
    edges = [0.0, -0.0, LEAST_NORMAL, -LEAST_NORMAL, 1e-30, -1e-30, 1e38, -1e38]
    inputs = np.concatenate([np.repeat(edges, 10), random.normal(size=1000)])
    return inputs, random.normal(size=inputs.shape)


def _of_leaky_relu(leaky_relu, inputs, upstream):
    @tf.function
    def both(inputs, upstream):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = leaky_relu(inputs)
        return outputs, tape.gradient(outputs, inputs, upstream)

    return [v.numpy() for v in both(tf.constant(inputs), tf.constant(upstream))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("slope", [0.2, 0.01])
def test_leaky_relu_in_one_kernel_is_that_of_tf1(slopes, slope, dtype):
    arrays = [array.astype(dtype) for array in slopes]
    # Under a slope of 0.01 the smallest numbers become subnormal, which CPU kernels
    # take for 0, on either side.
    expected = _of_leaky_relu(lambda x: layers1.leaky_relu(x, slope), *arrays)
    layer = layers2.LeakyRelu(slope, dtype=dtype)
    actual = _of_leaky_relu(layer, *arrays)
    for theirs, ours in zip(expected, actual):
        assert np.array_equal(theirs, ours)
    at_zero = arrays[0] == 0
    assert np.array_equal(actual[1][at_zero], arrays[1][at_zero])


def test_the_gradient_of_the_library_at_zero_is_noticed(slopes):
    arrays = [array.astype("float32") for array in slopes]
    expected = _of_leaky_relu(lambda x: layers1.leaky_relu(x, 0.2), *arrays)
    actual = _of_leaky_relu(lambda x: tf.nn.leaky_relu(x, 0.2), *arrays)
    wrong = expected[1] != actual[1]
    assert wrong.any() and np.array_equal(wrong, arrays[0] == 0)


def _in_numpy(inputs, kernel):
    """Transposes a convolution of stride 1: each input adds to a window of outputs."""
    (batch, height, width, _), (h, w, filters, _) = inputs.shape, kernel.shape
    full = np.zeros([batch, height + h - 1, width + w - 1, filters])
    for row in range(h):
        for column in range(w):
            window = full[:, row : row + height, column : column + width]
            window += inputs @ kernel[row, column].T
    # What lies on the forward convolution's padding goes.
    top, left = (h - 1) // 2, (w - 1) // 2
    return full[:, top : top + height, left : left + width]


def _transposed(transpose, inputs, kernel, upstream):
    """Returns the outputs and both gradients."""

    @tf.function
    def all_three(inputs, kernel, upstream):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = transpose(inputs, kernel)
        return [outputs] + tape.gradient(outputs, [inputs, kernel], upstream)

    tensors = (tf.constant(v) for v in (inputs, kernel, upstream))
    return [tensor.numpy() for tensor in all_three(*tensors)]


def _plainly(inputs, kernel):
    shape = tf.concat([tf.shape(inputs)[:3], kernel.shape[2:3]], 0)
    return tf.nn.conv2d_transpose(inputs, kernel, shape, 1, "SAME")


def _operands(size, kernel_size, filters, channels, batch=3):
    random = np.random.RandomState(SEED)
    shapes = ([batch, *size, channels], [*kernel_size, filters, channels])
    shapes += ([batch, *size, filters],)
    return [random.normal(size=shape).astype("float32") for shape in shapes]


needs_vector_kernels = pytest.mark.skipif(
    not transposed.has_vector_kernels(),
    reason="tf2gan makes blocks of pixels for oneDNN's AVX-512 kernels alone",
)


@pytest.fixture
def vector_kernels(monkeypatch):
    """Has this machine count as one where blocks are faster."""
    monkeypatch.setattr(transposed, "has_vector_kernels", lambda: True)


BLOCKS = {
    "last layer of dcgan28": ((28, 28), (5, 5), 1, 32, 4),
    "blocks of two pixels": ((6, 10), (5, 5), 1, 32, 2),
    "three filters": ((8, 4), (3, 3), 3, 8, 2),
    "an even kernel": ((8, 8), (4, 4), 2, 16, 2),
    "a kernel that is not square": ((4, 12), (2, 5), 1, 16, 4),
    "a kernel of one element": ((4, 4), (1, 1), 1, 5, 4),
    "a kernel of the image's size": ((4, 8), (4, 7), 1, 3, 4),
}


@pytest.mark.parametrize(
    "size, kernel_size, filters, channels, side", BLOCKS.values(), ids=BLOCKS
)
def test_blocks_of_pixels_are_the_transposed_convolution(
    size, kernel_size, filters, channels, side, vector_kernels
):
    inputs, kernel, upstream = _operands(size, kernel_size, filters, channels)
    found = transposed.block_side(
        tf.constant(inputs), tf.constant(kernel), (1, 1), "same"
    )
    assert found == side
    actual = _transposed(
        lambda x, k: transposed.conv2d_transpose(x, k, side),
        inputs,
        kernel,
        upstream,
    )
    exact = _in_numpy(inputs.astype("float64"), kernel.astype("float64"))
    np.testing.assert_allclose(
        actual[0], exact, atol=1e-5 * np.abs(exact).max()
    )
    expected = _transposed(_plainly, inputs, kernel, upstream)
    for ours, theirs in zip(actual[1:], expected[1:]):
        assert np.array_equal(ours, theirs)


def test_a_block_that_is_shifted_by_a_pixel_is_noticed(monkeypatch):
    inputs, kernel, _ = _operands((8, 8), (5, 5), 1, 4)
    padding = transposed._padding

    def moved(length):
        before, after = padding(length)
        return [before - 1, after + 1]

    monkeypatch.setattr(transposed, "_padding", moved)
    shifted = transposed.conv2d_transpose(
        tf.constant(inputs), tf.constant(kernel), 4
    )
    exact = _in_numpy(inputs, kernel)
    assert np.abs(shifted - exact).max() > 0.1 * np.abs(exact).max()


@needs_vector_kernels
@pytest.mark.parametrize("batch", [1, 16, 100])
@pytest.mark.parametrize("channels", [2, 32, 128])
def test_blocks_of_pixels_have_the_bits_of_the_plain_kernel(batch, channels):
    operands = _operands((28, 28), (5, 5), 1, channels, batch)
    actual = _transposed(
        lambda x, k: transposed.conv2d_transpose(x, k, 4), *operands
    )
    expected = _transposed(_plainly, *operands)
    for ours, theirs in zip(actual, expected):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    "shape, kernel, strides, padding, dtype",
    [
        ((2, 8, 8, 4), (5, 5, 5), (1, 1), "same", "float32"),
        ((2, 8, 7, 4), (5, 5, 1), (1, 1), "same", "float32"),
        ((2, 8, None, 4), (5, 5, 1), (1, 1), "same", "float32"),
        ((2, 8, 8, 1), (5, 5, 1), (1, 1), "same", "float32"),
        ((2, 8, 8, 129), (5, 5, 1), (1, 1), "same", "float32"),
        ((2, 8, 8, 4), (9, 5, 1), (1, 1), "same", "float32"),
        ((2, 8, 8, 4), (5, 9, 1), (1, 1), "same", "float32"),
        ((2, 8, 8, 4), (5, 5, 1), (2, 2), "same", "float32"),
        ((2, 8, 8, 4), (5, 5, 1), (1, 1), "valid", "float32"),
        ((2, 8, 8, 4), (5, 5, 1), (1, 1), "same", "float64"),
    ],
)
def test_other_layers_are_not_made_of_blocks(
    shape, kernel, strides, padding, dtype, vector_kernels
):
    inputs = keras.KerasTensor(shape, dtype)
    kernel = keras.KerasTensor((*kernel, shape[-1]), dtype)
    assert transposed.block_side(inputs, kernel, strides, padding) == 1


def test_channels_that_come_first_are_not_made_of_blocks(vector_kernels):
    layer = layers2.Conv2DTranspose(
        1, 3, padding="same", data_format="channels_first"
    )
    layer.build((2, 8, 8, 8))
    plainly = mock.patch.object(layer, "_conv_transpose", side_effect=KeyError)
    with plainly, pytest.raises(KeyError):
        layer(tf.zeros([2, 8, 8, 8]))


def test_of_an_empty_batch_blocks_make_none(vector_kernels):
    layer = layers2.Conv2DTranspose(1, 5, padding="same")
    assert layer(tf.zeros([0, 8, 8, 4])).shape == (0, 8, 8, 1)


@pytest.mark.parametrize("value", ["0", "false", "False"])
def test_without_onednn_nothing_is_made_of_blocks(value, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", value)
    assert not transposed.has_vector_kernels.__wrapped__()


@needs_vector_kernels
def test_the_last_layer_of_the_generator_is_made_of_blocks():
    trainer = training.Trainer(SPEC, "scoped")
    latent = tf.constant(helpers.noise_batch(SPEC, BATCH, "float32", SEED)[1])
    graph = tf.function(trainer.generator).get_concrete_function(latent).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("DepthToSpace") == 1
    assert kinds.count("Conv2DBackpropInput") == 2


# Of a gradient's length; numbers of 11 and of 8 significant bits were seen to be
# 0.027 and 0.093 apart. The generator's follow the discriminator's first step, in
# which Adam makes full steps of the smallest gradients: they part further.
GRADIENT_ERROR = {"mixed_float16": 0.05, "mixed_bfloat16": 0.15}


def _first_moments(trainer):
    """Trains once; returns losses, a tenth of the gradients of kernels, and state."""
    trainer.initialize(SEED)
    losses = trainer.train_step(
        *helpers.noise_batch(SPEC, BATCH, "float32", SEED)
    )
    state = trainer.state()
    moments = {
        name: value
        for name, value in state.items()
        if name.startswith(DISCRIMINATOR) and name.endswith("/kernel/Adam")
    }
    return np.array(losses), moments, state


def _distance(moment, expected):
    return np.linalg.norm(moment - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def exact():
    return _first_moments(training.Trainer(SPEC))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_mixed_precision_trains_nearly_alike(exact, precision):
    trainer = training.Trainer(SPEC, precision=precision)
    losses, moments, state = _first_moments(trainer)
    layer = trainer.generator.get_layer("dense")
    assert "mixed_" + layer.compute_dtype == precision
    assert {v.dtype.name for v in state.values()} <= {"float32", "int64"}
    np.testing.assert_allclose(losses, exact[0], rtol=GRADIENT_ERROR[precision])
    assert moments and not np.array_equal(losses, exact[0])
    for name in moments:
        distance = _distance(moments[name], exact[1][name])
        assert distance < GRADIENT_ERROR[precision], name
    latents = helpers.noise_batch(SPEC, BATCH, "float32", SEED)[1]
    assert trainer.generate(latents).dtype == np.float32


def test_gradients_too_small_for_float16_are_noticed(exact, monkeypatch):
    monkeypatch.setitem(training._LOSS_SCALES, "mixed_float16", 2.0**-10)
    trainer = training.Trainer(SPEC, precision="mixed_float16")
    _, moments, _ = _first_moments(trainer)
    error = GRADIENT_ERROR["mixed_float16"]
    assert any(_distance(moments[n], exact[1][n]) > error for n in moments)


def test_small_losses_need_the_scale_of_float16(monkeypatch):
    """Of losses that are a 1e-5th, gradients are lost unless they are scaled."""

    def distances(scale):
        monkeypatch.setitem(training._LOSS_SCALES, "mixed_float16", scale)
        pair = [
            training.Trainer(SPEC, precision=precision)
            for precision in (None, "mixed_float16")
        ]
        for trainer in pair:
            loss = trainer._discriminator_loss
            trainer._discriminator_loss = lambda *a, loss=loss: loss(*a) * 1e-5
        right, rounded = (_first_moments(trainer)[1] for trainer in pair)
        return [_distance(rounded[name], right[name]) for name in right]

    error = GRADIENT_ERROR["mixed_float16"]
    assert max(distances(1024.0)) < error
    assert max(distances(None)) > error


def test_a_policy_of_the_process_is_left_alone():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        trainer = training.Trainer(SPEC, dtype="float64")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert trainer.generator.get_layer("dense").compute_dtype == "float64"


def test_updates_are_not_kept_once_nobody_wants_them():
    layer = layers2.BatchNormalization()
    with layers2.update_ops([]) as updates:
        layer(tf.ones([2, 3]), training=True)
    assert len(updates) == 2
    layer(tf.ones([2, 3]), training=True)
    assert len(updates) == 2
    assert layers2._updating.chosen == (None, None)


@pytest.mark.parametrize("scopes", [["generator"], []])
def test_any_choice_of_averages_is_that_of_two_steps(scopes):
    trainer = training.Trainer(SPEC)
    trainer._scopes_d, trainer._scopes_g = ("generator",), tuple(scopes)
    _, apart = _train(trainer, _in_two_steps(trainer))
    _, together = _train(trainer, trainer.train_step)
    assert not _differing(apart, together)


@pytest.mark.parametrize("precision", [None, "mixed_bfloat16"])
def test_a_compiled_run_goes_on(precision, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    helpers.write_files(
        ".", {"tiny.npz": helpers.npz_bytes(x_train=helpers.tiny_images())}
    )
    config = TrainConfig(
        "tf2",
        "run",
        dataset="tiny.npz",
        batch_size=4,
        epochs=1,
        precision=precision,
        jit_compile=True,
    )
    compiled = []
    function = tf.function

    def spy(*arguments, **options):
        step = arguments and getattr(arguments[0], "python_function", None)
        if step and step.__name__ == "train_step":
            compiled.append(options)
        return function(*arguments, **options)

    monkeypatch.setattr(tf, "function", spy)
    training.train(config)
    training.train(dataclasses.replace(config, epochs=2, resume=True))
    assert compiled == 2 * [{"jit_compile": True}]
    assert len((tmp_path / "run/losses.csv").read_text().splitlines()) == 1 + 4


def test_a_compiled_train_step_is_nearly_the_same(exact):
    trainer = training.Trainer(SPEC)
    trainer.train_step = tf.function(trainer.train_step, jit_compile=True)
    losses, moments, _ = _first_moments(trainer)
    np.testing.assert_allclose(losses, exact[0], rtol=1e-5)
    for name in moments:  # XLA sums in another order
        assert _distance(moments[name], exact[1][name]) < 1e-4, name
