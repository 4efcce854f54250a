"""The fast paths of `tf2gan` give the numbers of the plain ones, to the last bit."""

import helpers
import numpy as np
import pytest
import tensorflow as tf

from tf1gan import layers as layers1
from tf2gan import layers as layers2
from tf2gan import training
from tf2gan.common import specs
from tf2gan.common.specs import DISCRIMINATOR

SPEC = specs.get_spec("dcgan28")
BATCH = 4
ITERATIONS = 3
SEED = 7
LEAST_NORMAL = np.finfo("float32").tiny


@pytest.fixture(scope="module", autouse=True)
def graphs_as_written():
    """Grappler rewrites one graph of both steps otherwise than two of one each."""
    options = tf.config.optimizer
    before = options.get_experimental_options().get("disable_meta_optimizer")
    options.set_experimental_options({"disable_meta_optimizer": True})
    yield
    options.set_experimental_options({"disable_meta_optimizer": bool(before)})


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
