"""A GAN whose batch norm is made by hand, as in scripts of 2016, and its Keras port.

Averages are called pop_mean and pop_var, are assigned as whole values, and the second
update of a step waits for the first, or both read the old value and one is lost.
"""

import keras
import numpy as np
import tensorflow as tf1_or_tf2
import tensorflow.compat.v1 as tf

from tf1gan import trace

RATE, DECAY, EPSILON = 0.125, 0.9, 1e-3
LATENT, PIXELS, HIDDEN, BATCH = 2, 3, 4, 8
SIZES = {
    "generator/w": [LATENT, PIXELS],
    "discriminator/w1": [PIXELS, HIDDEN],
    "discriminator/w2": [HIDDEN, 1],
}


class Script:
    """The graph, and a session in which it was not trained yet."""

    def __init__(self, flat=False, raced=False):
        """Builds it.

        Args:
          flat: whether all variables of a network lie in its scope alone.
          raced: whether both updates of a discriminator's average read the old value.
        """
        self._flat, self._raced = flat, raced
        self._updates, self._reads, self._variables = {}, {}, {}
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x = tf.placeholder(tf.float64, [None, PIXELS], "images")
            self.z = tf.placeholder(tf.float64, [None, LATENT], "latent")
            self._build()
            initializer = tf.global_variables_initializer()
        self.session = tf.Session(graph=self.graph)
        self.session.run(initializer)

    def _build(self):
        made = tf.matmul(self.z, self._weight("generator/w"))
        made = tf.tanh(self._norm("generator/bn", made))
        real, fake = self._logits(self.x), self._logits(made)
        self.d_loss = _cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0)
        self.g_loss = _cross_entropy(fake, 1.0)
        updates = [u for pair in self._updates.values() for u in pair]
        optimizer = tf.train.GradientDescentOptimizer(RATE)
        self.d_train, self.g_train = (
            self._minimize(optimizer, loss, network, updates)
            for loss, network in (
                (self.d_loss, "discriminator"),
                (self.g_loss, "generator"),
            )
        )

    def _minimize(self, optimizer, loss, network, updates):
        variables = [
            v for v in tf.trainable_variables() if v.name.startswith(network)
        ]
        train = optimizer.minimize(loss, var_list=variables)
        return tf.group(train, *updates)

    def _logits(self, x):
        hidden = tf.matmul(x, self._weight("discriminator/w1"))
        hidden = tf.nn.relu(self._norm("discriminator/bn", hidden))
        return tf.matmul(hidden, self._weight("discriminator/w2"))

    def _norm(self, layer, x):
        mean, variance = tf.nn.moments(x, [0])
        size = x.shape[-1]
        self._update(layer, "pop_mean", mean, np.zeros(size))
        self._update(layer, "pop_var", variance, np.ones(size))
        scale = self._variable(layer, "gamma", np.ones(size), True)
        offset = self._variable(layer, "beta", np.zeros(size), True)
        return tf.nn.batch_normalization(
            x, mean, variance, offset, scale, EPSILON
        )

    def _update(self, layer, name, value, initial):
        average = self._variable(layer, name, initial, False)
        updates = self._updates.setdefault((layer, name), [])
        reads = self._reads.setdefault((layer, name), [])
        before = [] if self._raced else updates
        with tf.control_dependencies(before):
            old = average.read_value()
        reads.append(old.op)
        updates.append(_assigned(average, old, value))
        if self._raced and len(updates) == 2:
            _let_one_be_lost(updates, reads, name == "pop_mean")

    def _weight(self, name):
        random = np.random.RandomState(len(name))
        network, _, last = name.partition("/")
        initial = random.normal(size=SIZES[name])
        return self._variable(network, last, initial, True)

    def _variable(self, layer, name, initial, trainable):
        network, _, rest = layer.partition("/")
        if self._flat and rest:
            full = "{}/{}_{}".format(network, rest, name)
        else:
            full = "{}/{}".format(layer, name)
        if full not in self._variables:
            self._variables[full] = tf.Variable(
                initial, trainable=trainable, name=full, dtype=tf.float64
            )
        return self._variables[full]

    def record(self, folder, steps=2):
        """Trains and leaves a trace."""
        phases = [
            trace.Phase("discriminator_step", self.d_train, self.d_loss),
            trace.Phase("generator_step", self.g_train, self.g_loss),
        ]
        with self.session:
            trace.record(
                self.session,
                str(folder),
                phases,
                inputs={"images": self.x, "latent": self.z},
            )
            random = np.random.RandomState(0)
            for _ in range(steps):
                feed = {
                    self.x: random.normal(1, 2, [BATCH, PIXELS]),
                    self.z: random.uniform(-1, 1, [BATCH, LATENT]),
                }
                self.session.run(self.d_train, feed)
                self.session.run(self.g_train, feed)
        return str(folder)


def _assigned(average, old, value):
    return tf.assign(average, old * DECAY + value * (1 - DECAY))


def _let_one_be_lost(updates, reads, on_generated):
    """Lets both updates read before either writes, so that the first one is lost."""
    for update in updates:
        for read in reads:
            update.op._add_control_input(read)
    early, late = updates[::-1] if on_generated else updates
    late.op._add_control_input(early.op)


def _cross_entropy(logits, label):
    labels = tf.fill(tf.shape(logits), tf.cast(label, logits.dtype))
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def models(momentum=DECAY):
    """Returns the networks in Keras."""

    def dense(units):
        return keras.layers.Dense(units, use_bias=False, dtype="float64")

    def norm():
        return keras.layers.BatchNormalization(
            momentum=momentum, epsilon=EPSILON, dtype="float64"
        )

    latent = keras.Input([LATENT], dtype="float64")
    images = keras.Input([PIXELS], dtype="float64")
    made = keras.ops.tanh(norm()(dense(PIXELS)(latent)))
    hidden = keras.ops.relu(norm()(dense(HIDDEN)(images)))
    return {
        "generator": keras.Model(latent, made, name="generator"),
        "discriminator": keras.Model(
            images, dense(1)(hidden), name="discriminator"
        ),
    }


def steps(networks):
    """Returns the two train steps; each moves the averages of both networks."""

    def losses(images, latent):
        made = networks["generator"](latent, training=True)
        real = networks["discriminator"](images, training=True)
        fake = networks["discriminator"](made, training=True)
        of_d = _cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0)
        return {"discriminator": of_d, "generator": _cross_entropy(fake, 1.0)}

    def train(network, images, latent):
        with tf1_or_tf2.GradientTape() as tape:
            loss = losses(images, latent)[network]
        variables = networks[network].trainable_variables
        slopes = tape.gradient(loss, variables)
        for variable, slope in zip(variables, slopes):
            variable.assign(variable - RATE * slope)
        return loss

    return {
        "discriminator_step": lambda x, z: train("discriminator", x, z),
        "generator_step": lambda x, z: train("generator", x, z),
    }
