"""A GAN with any loss, in a TF1 graph and in Keras, for tests of replays.

The networks are small, and have what ports often change: batch norm, leaky ReLUs, and
names of the script's own. The losses are written once more in TensorFlow.
"""

import keras
import numpy as np
import tensorflow as tf
from tensorflow.compat import v1 as tf1

from tf1gan import layers, trace
from tf2gan.layers import BatchNormalization

RATE = 0.125
STEPS = 2
BATCH = 6
mean, square, relu = tf.reduce_mean, tf.square, tf.nn.relu

# Of the discriminator and of the generator, by logits of real and generated images.
LOSSES = {
    "least squares": (
        lambda r, f: 0.5 * (mean(square(r - 1)) + mean(square(f))),
        lambda f: 0.5 * mean(square(f - 1)),
    ),
    "without 1/2": (
        lambda r, f: mean(square(r - 1)) + mean(square(f)),
        lambda f: mean(square(f - 1)),
    ),
    "labels of -1": (
        lambda r, f: 0.5 * (mean(square(r - 1)) + mean(square(f + 1))),
        lambda f: 0.5 * mean(square(f)),
    ),
    "smoothed": (
        lambda r, f: mean(square(r - 0.9)) + mean(square(f)),
        lambda f: mean(square(f - 0.9)),
    ),
    "Wasserstein": (lambda r, f: mean(f) - mean(r), lambda f: -mean(f)),
    "critic's gain": (lambda r, f: mean(r) - mean(f), lambda f: -mean(f)),
    "hinge": (
        lambda r, f: mean(relu(1 - r)) + mean(relu(1 + f)),
        lambda f: -mean(f),
    ),
    "of nobody": (lambda r, f: mean(r * f), lambda f: mean(f**4)),
}


def record(folder, loss, dtype="float64"):
    """Writes a trace of a script with one of `LOSSES`."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf1.placeholder(dtype, [None, 4], "images")
        z = tf1.placeholder(dtype, [None, 3], "latent")
        made = _generator(z)
        real, fake = _discriminator(x), _discriminator(made)
        losses = LOSSES[loss][0](real, fake), LOSSES[loss][1](fake)
        tf1.set_random_seed(0)
        with tf1.control_dependencies(layers.update_ops(["g_net", "d_net"])):
            train = [
                tf1.train.GradientDescentOptimizer(RATE).minimize(
                    loss, var_list=tf1.trainable_variables(scope)
                )
                for loss, scope in zip(losses, ("d_net", "g_net"))
            ]
        initializer = tf1.global_variables_initializer()
    phases = [
        trace.Phase(name, op, value)
        for name, op, value in zip(
            ("discriminator_step", "generator_step"), train, losses
        )
    ]
    random = np.random.RandomState(0)
    with tf1.Session(graph=graph) as session:
        session.run(initializer, {})
        inputs = {"images": x, "latent": z}
        trace.record(session, str(folder), phases, inputs=inputs)
        for _ in range(STEPS):
            feed = {x: random.rand(BATCH, 4), z: random.randn(BATCH, 3)}
            for op in train:
                session.run(op, feed)
    return str(folder)


def _generator(z):
    with tf1.variable_scope("g_net"):
        h = tf.nn.relu(_norm(_linear(z, 6, "fc1", bias=False), "fc1"))
        return tf.tanh(_linear(h, 4, "fc2"))


def _discriminator(x):
    with tf1.variable_scope("d_net", reuse=tf1.AUTO_REUSE):
        h = _leaky(_linear(x, 8, "fc1"))
        h = _leaky(_norm(_linear(h, 5, "fc2", bias=False), "fc2"))
        return _linear(h, 1, "fc3")


def _linear(x, units, scope, bias=True):
    with tf1.variable_scope(scope):
        normal = tf1.random_normal_initializer(0, 0.7, seed=len(scope) + units)
        shape = [x.shape[-1], units]
        weights = tf1.get_variable("weights", shape, x.dtype, normal)
        y = tf.matmul(x, weights)
        if bias:
            y += tf1.get_variable("biases", [units], x.dtype, normal)
        return y


def _norm(x, scope):
    with tf1.variable_scope(scope):
        return layers.batch_normalization(x, training=True, name="BatchNorm")


def _leaky(x):
    return tf.maximum(x, 0.2 * x)


def models(dtype="float64", epsilon=1e-3, slope=0.2):
    """Returns the port's networks by name."""

    def dense(units, name, bias=True):
        return keras.layers.Dense(units, use_bias=bias, dtype=dtype, name=name)

    def norm(name):
        return BatchNormalization(epsilon=epsilon, dtype=dtype, name=name)

    def leaky(h):
        return keras.ops.maximum(h, slope * h)

    z, x = keras.Input([3], dtype=dtype), keras.Input([4], dtype=dtype)
    h = keras.ops.relu(norm("g_bn1")(dense(6, "g_fc1", False)(z)))
    made = keras.ops.tanh(dense(4, "g_fc2")(h))
    h = leaky(dense(8, "d_fc1")(x))
    h = leaky(norm("d_bn2")(dense(5, "d_fc2", False)(h)))
    return {
        "generator": keras.Model(z, made, name="generator"),
        "discriminator": keras.Model(x, dense(1, "d_fc3")(h)),
    }


def steps(networks, loss, inference=False, factor=1.0, simultaneous=False):
    """Returns the port's steps.

    Args:
      networks: of `models`.
      loss: one of `LOSSES`.
      inference: whether the generator's step calls the discriminator for inference.
      factor: of the discriminator's loss.
      simultaneous: whether the generator's loss is that before the discriminator's
        step.
    """
    generator, discriminator = (
        networks[name] for name in ("generator", "discriminator")
    )
    of_d, of_g = LOSSES[loss]

    def logits(images, latent, training=True):
        made = generator(latent, training=True)
        real = discriminator(images, training=training)
        return real, discriminator(made, training=training)

    def train(model, tape, value):
        variables = model.trainable_variables
        for variable, slope in zip(variables, tape.gradient(value, variables)):
            variable.assign(variable - RATE * slope)
        return value

    early = []

    def discriminator_step(images, latent):
        with tf.GradientTape() as tape:
            real, fake = logits(images, latent)
            value = factor * of_d(real, fake)
        early[:] = [of_g(fake)]
        return train(discriminator, tape, value)

    def generator_step(images, latent):
        with tf.GradientTape() as tape:
            value = of_g(logits(images, latent, not inference)[1])
        value = train(generator, tape, value)
        return early[0] if simultaneous else value

    return {
        "discriminator_step": discriminator_step,
        "generator_step": generator_step,
    }
