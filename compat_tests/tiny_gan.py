"""Two networks of one matrix each, in a TF1 graph and in NumPy, for tests of traces.

d_loss = mean((x D - 1)^2) + mean((z G D)^2)    g_loss = mean((z G D - 1)^2)
"""

import numpy as np
import tensorflow.compat.v1 as tf

from tf1gan import trace

RATE = 0.125  # TF1 rounds it to float32


class TinyGraph:
    """The GAN of a script: globals, in other words."""

    def __init__(self):
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x = tf.placeholder(tf.float64, [None, 3], "pixels")
            self.z = tf.placeholder(tf.float64, [None, 2], "noise")
            self.noise_of_the_graph = tf.random_uniform(
                [4, 2], dtype=tf.float64
            )
            self.g = _variable(
                "generator/w", [[0.5, -1.0, 2.0], [1.0, 0.3, 0.1]]
            )
            self.d = _variable("discriminator/w", [[0.2], [-0.4], [0.7]])
            self.sparse = tf.sparse_placeholder(tf.float64, [4, 3], "sparse")
            self.words = tf.placeholder(tf.string, [], "words")
            self.updates = _variable("updates", 0.0, False)
            self.label = tf.Variable("a name", False, name="label")
            self.build(self.z)
            self.sevens = tf.assign(self.g, np.full([2, 3], 7.0))
            self.initializer = tf.global_variables_initializer()
        self.session = tf.Session(graph=self.graph)
        self.session.run(self.initializer)

    def build(self, latent):
        fake = tf.matmul(tf.matmul(latent, self.g), self.d)
        real = tf.matmul(self.x, self.d)
        self.d_loss = _mean_square(real - 1) + _mean_square(fake)
        self.g_loss = _mean_square(fake - 1)
        self.count = tf.assign_add(self.updates, 1.0)
        optimizer = tf.train.GradientDescentOptimizer(RATE)
        with tf.control_dependencies([self.count]):
            self.d_train = optimizer.minimize(self.d_loss, var_list=[self.d])
            self.g_train = optimizer.minimize(self.g_loss, var_list=[self.g])

    def feed(self, seed):
        random = np.random.RandomState(seed)
        return {self.x: random.rand(4, 3), self.z: random.rand(4, 2)}

    def record(self, folder, **settings):
        phases = [
            trace.Phase("d", self.d_train, self.d_loss),
            trace.Phase("g", self.g_train, self.g_loss),
        ]
        return trace.record(self.session, str(folder), phases, **settings)

    def train(self, steps=2):
        for step in range(steps):
            self.session.run([self.d_train, self.d_loss], self.feed(step))
            latent = self.feed(step + 100)[self.z]
            self.session.run(self.g_train, {self.z: latent})


class TinyTwin:
    """The same in NumPy, as somebody's port."""

    def __init__(self, rate=RATE):
        self.rate = rate
        self.values = {"G": np.zeros([2, 3]), "D": np.zeros([3, 1])}

    def discriminator_step(self, images, latent):
        real, fake = self._outputs(images, latent)
        step = self.gradients(images, latent)["D"]
        self.values["D"] = self.values["D"] - self.rate * step
        return np.mean((real - 1) ** 2) + np.mean(fake**2)

    def generator_step(self, images, latent):
        _, fake = self._outputs(images, latent)
        step = self.gradients(images, latent)["G"]
        self.values["G"] = self.values["G"] - self.rate * step
        return np.mean((fake - 1) ** 2)

    def gradients(self, images, latent):
        real, fake = self._outputs(images, latent)
        g, d = self.values["G"], self.values["D"]
        count = len(latent)
        of_d = images.T @ (real - 1) + (latent @ g).T @ fake
        of_g = latent.T @ (fake - 1) @ d.T
        return {"D": 2 * of_d / count, "G": 2 * of_g / count}

    def state(self):
        return dict(self.values)

    def load_state(self, state):
        self.values = dict(state)

    def _outputs(self, images, latent):
        g, d = self.values["G"], self.values["D"]
        return images @ d, latent @ g @ d


# How the recorded names are those of `TinyTwin`.
MAPPING = {
    "inputs": {"images": "pixels", "latent": "noise"},
    "steps": {"d": "discriminator_step", "g": "generator_step"},
    "variables": {
        "generator/w": "G",
        "discriminator/w": "D",
        "updates": None,
    },
}


def _variable(name, value, trainable=True):
    return tf.Variable(np.array(value), trainable=trainable, name=name)


def _mean_square(x):
    return tf.reduce_mean(tf.square(x))
