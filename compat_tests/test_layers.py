"""`tf1gan.layers` stands in for `tf.layers` in code as it was written in 2017."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tf1gan import layers
from tf1gan import training as training1
from tf2gan.common import specs

SPEC = specs.get_spec("dcgan28")


def _legacy_generator(noise, is_training):
    """A generator with automatic names, as the original has it."""
    with tf.variable_scope("generator"):
        x = layers.dense(noise, 128 * 7 * 7)
        x = tf.reshape(x, [-1, 7, 7, 128])
        x = tf.nn.relu(layers.batch_normalization(x, training=is_training))
        x = layers.conv2d_transpose(
            x, 64, [5, 5], strides=(2, 2), padding="SAME"
        )
        x = tf.nn.relu(layers.batch_normalization(x, training=is_training))
        x = layers.conv2d_transpose(
            x, 32, [5, 5], strides=(2, 2), padding="SAME"
        )
        x = tf.nn.relu(layers.batch_normalization(x, training=is_training))
        x = layers.conv2d_transpose(
            x, 1, [5, 5], strides=(1, 1), padding="SAME"
        )
        return tf.tanh(x)


def _legacy_discriminator(images, is_training, reuse=None):
    with tf.variable_scope("discriminator") as scope:
        if reuse:
            scope.reuse_variables()
        x = layers.conv2d(images, 32, [5, 5], strides=(2, 2), padding="SAME")
        x = tf.maximum(x, x * 0.2)
        x = layers.conv2d(x, 64, [5, 5], strides=(2, 2), padding="SAME")
        x = layers.batch_normalization(x, training=is_training)
        x = tf.maximum(x, x * 0.2)
        x = layers.conv2d(x, 128, [5, 5], strides=(2, 2), padding="SAME")
        x = layers.batch_normalization(x, training=is_training)
        x = tf.maximum(x, x * 0.2)
        return layers.dense(layers.flatten(x), 1, activation=None)


def test_automatic_names_are_those_of_the_model():
    with tf.Graph().as_default():
        training = tf.placeholder(tf.bool, [])
        images = _legacy_generator(
            tf.placeholder(tf.float32, [None, 100]), training
        )
        real = tf.placeholder(tf.float32, [None, 28, 28, 1])
        _legacy_discriminator(real, training)
        _legacy_discriminator(images, training, reuse=True)
        legacy = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    model = {
        name: variable.shape.as_list()
        for name, variable in training1.Trainer(SPEC).variables().items()
    }
    assert len(legacy) == 36
    assert legacy.items() <= model.items()
    assert len(updates) == 2 * (3 + 2 * 2)


def test_a_layer_is_shared_by_name_and_reuse():
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(np.eye(3, dtype=np.float32))
        first = layers.dense(inputs, 2, name="shared")
        second = layers.dense(inputs, 2, name="shared", reuse=True)
        other = layers.dense(inputs, 2)
        with pytest.raises(ValueError, match="already exists"):
            layers.dense(inputs, 2, name="shared")
        session.run(tf.global_variables_initializer())
        values = session.run([first, second, other])
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_initializers_and_activations_are_used():
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = layers.conv2d(
            -tf.ones([1, 3, 3, 1]),
            1,
            3,
            activation=tf.nn.relu,
            kernel_initializer=tf.constant_initializer(-2.0),
        )
        session.run(tf.global_variables_initializer())
        assert session.run(outputs).tolist() == [[[[18.0]]]]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_and_a_fed_training_flag_do_the_same(training, dtype):
    """Against NumPy: outputs, and the averages after one update."""
    values = np.random.RandomState(0).normal(3, 2, [4, 5, 5, 6]).astype(dtype)
    mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    count = values[..., 0].size
    corrected = (
        variance * count / (count - 1) if dtype == "float32" else variance
    )
    used = (mean, variance) if training else (0.0, 1.0)
    expected = (values - used[0]) / np.sqrt(used[1] + 1e-3)
    for flag in (training, "fed"):
        with tf.Graph().as_default(), tf.Session() as session:
            inputs = tf.constant(values)
            fed = tf.placeholder(tf.bool, [])
            outputs = layers.batch_normalization(
                inputs, training=fed if flag == "fed" else flag
            )
            session.run(tf.global_variables_initializer())
            updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
            assert len(updates) == (0 if flag is False else 2)
            feed = {fed: training}
            # Half of float32's digits; the kernels sum in another order.
            np.testing.assert_allclose(
                session.run(outputs, feed), expected, rtol=1e-4, atol=1e-5
            )
            session.run(updates, feed)
            averages = session.run(tf.global_variables()[2:])
        share = 0.01 if training else 0.0
        np.testing.assert_allclose(averages[0], share * mean, rtol=1e-5)
        np.testing.assert_allclose(
            averages[1], 1 - share + share * corrected, rtol=1e-6
        )


def test_two_updates_of_one_average_run_in_their_order():
    """Real before generated: a - (a - r) d, then the same with the other value."""
    with tf.Graph().as_default(), tf.Session() as session:
        for value in (10.0, -20.0):
            layers.batch_normalization(
                tf.fill([4, 1], value),
                momentum=0.5,
                training=True,
                name="a",
                reuse=tf.AUTO_REUSE,
            )
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        initializer = tf.global_variables_initializer()
        mean = tf.global_variables()[2]
        for _ in range(50):
            session.run(initializer)
            session.run(updates)
            assert session.run(mean).tolist() == [-7.5]
