"""The original GAN's graph with TensorFlow 1.15's own layers, as ground truth.

It takes every constant from TensorFlow 1.15's defaults and none from our specs, and
builds only there: `tf.layers` and `tf.contrib` are gone from TensorFlow 2.
"""

import tensorflow as tf

from tf2gan.common import randomness
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR

LATENT_SIZE = 100


class SourceTrainer:
    """The original's two networks, losses and train ops, with our seeded start.

    Its methods are those of `tf1gan.training.Trainer`.
    """

    def __init__(
        self, update_ops="source", dtype="float32", pinned=True, threads=1
    ):
        """Builds the graph.

        Args:
          update_ops: "source": each train op waits for all updates of moving
            averages, as in the original; "scoped": for those of its own network.
          dtype: "float32" or "float64".
          pinned: whether the average of real images is updated before that of
            generated ones. The original does not say: each discriminator average
            has two updates in a `session.run`, and nothing orders them. Either may
            come first, or both may read the old value. Averages are comparable
            only when pinned; losses and weights do not depend on it.
          threads: of the session; with one, sums have one order and a repetition
            gives the same bits. 0 for as many as there are cores.

        Raises:
          RuntimeError: if TF2_BEHAVIOR=1, which a process that imported TensorFlow 2
            hands on; 1.15 then makes resource variables and another `tf.cond`.
        """
        if tf.executing_eagerly():
            raise RuntimeError(
                "unset TF2_BEHAVIOR: the original ran without it"
            )
        self.dtype = dtype
        self.graph = tf.Graph()
        with self.graph.as_default():
            self._step_d = tf.Variable(0, False, name="D_global_step")
            self._step_g = tf.Variable(0, False, name="G_global_step")
            self._build_networks()
            if pinned:
                _pin_updates()
            self._train_d = self._train_op(
                self._loss_d, DISCRIMINATOR, update_ops, self._step_d
            )
            self._train_g = self._train_op(
                self._loss_g, GENERATOR, update_ops, self._step_g
            )
            self._build_gradients()
            self._initializer = tf.global_variables_initializer()
        config = tf.ConfigProto(
            intra_op_parallelism_threads=threads,
            inter_op_parallelism_threads=threads,
        )
        self.session = tf.Session(graph=self.graph, config=config)

    def _build_networks(self):
        self._images = tf.placeholder(self.dtype, [None, 28, 28, 1])
        self._latent = tf.placeholder(self.dtype, [None, LATENT_SIZE])
        self._is_training = tf.placeholder(tf.bool)
        self._generated = _generator(self._latent, self._is_training)
        real = _discriminator(self._images, self._is_training)
        fake = _discriminator(self._generated, self._is_training, reuse=True)
        self._loss_d = _cross_entropy(real, tf.ones_like) + _cross_entropy(
            fake, tf.zeros_like
        )
        self._loss_g = _cross_entropy(fake, tf.ones_like)

    def _train_op(self, loss, network, update_ops, step):
        scope = {"source": None, "scoped": network}[update_ops]
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)
        with tf.control_dependencies(updates):
            return tf.train.AdamOptimizer().minimize(
                loss, global_step=step, var_list=tf.trainable_variables(network)
            )

    def _build_gradients(self):
        # Those of `minimize` wait for the updates; these run none.
        self._gradients = {}
        for loss, network in (
            (self._loss_d, DISCRIMINATOR),
            (self._loss_g, GENERATOR),
        ):
            variables = tf.trainable_variables(network)
            names = [variable.op.name for variable in variables]
            self._gradients.update(zip(names, tf.gradients(loss, variables)))

    def variables(self):
        """Returns all variables by name, in the order of their creation."""
        with self.graph.as_default():
            return {v.op.name: v for v in tf.global_variables()}

    def initialize(self, seed):
        """Gives every variable its initial value; kernels follow the seed."""
        values = {
            variable.initializer.inputs[1]: randomness.glorot_uniform(
                variable.shape.as_list(), seed, name
            )
            for name, variable in self.variables().items()
            if name.endswith("/kernel")
        }
        self.session.run(self._initializer, values)

    def discriminator_step(self, images, latent):
        """Trains the discriminator once; returns its loss before that."""
        return self._run([self._train_d, self._loss_d], images, latent)[1]

    def generator_step(self, images, latent):
        """Trains the generator once; returns its loss before that."""
        return self._run([self._train_g, self._loss_g], images, latent)[1]

    def train_step(self, images, latent):
        """Trains discriminator, then generator; returns (loss_D, loss_G)."""
        loss_d = self.discriminator_step(images, latent)
        return loss_d, self.generator_step(images, latent)

    def gradients(self, images, latent):
        """Returns the gradient of each weight, of its network's loss, by name."""
        return self._run(self._gradients, images, latent)

    def state(self):
        """Returns the values of all variables by name."""
        return self.session.run(self.variables())

    def _run(self, fetches, images, latent):
        feed = {
            self._images: images,
            self._latent: latent,
            self._is_training: True,
        }
        return self.session.run(fetches, feed)


def _generator(latent, training):
    with tf.variable_scope("generator"):
        x = tf.layers.dense(latent, 7 * 7 * 128)  # [B, 6272]
        x = tf.reshape(x, [-1, 7, 7, 128])  # [B, 7, 7, 128]
        x = tf.nn.relu(_normalize(x, training))
        x = _upsample(x, 64, 2)  # [B, 14, 14, 64]
        x = tf.nn.relu(_normalize(x, training))
        x = _upsample(x, 32, 2)  # [B, 28, 28, 32]
        x = tf.nn.relu(_normalize(x, training))
        return tf.tanh(_upsample(x, 1, 1))  # [B, 28, 28, 1]


def _discriminator(images, training, reuse=None):
    with tf.variable_scope("discriminator", reuse=reuse):
        x = _leaky_relu(_downsample(images, 32))  # [B, 14, 14, 32]
        x = _downsample(x, 64)  # [B, 7, 7, 64]
        x = _leaky_relu(_normalize(x, training))
        x = _downsample(x, 128)  # [B, 4, 4, 128]
        x = _leaky_relu(_normalize(x, training))
        x = tf.contrib.layers.flatten(x)  # [B, 2048]
        return tf.layers.dense(x, 1)  # [B, 1]


def _upsample(x, filters, stride):
    return tf.layers.conv2d_transpose(
        x, filters, [5, 5], strides=(stride, stride), padding="SAME"
    )


def _downsample(x, filters):
    return tf.layers.conv2d(x, filters, [5, 5], strides=(2, 2), padding="SAME")


def _normalize(x, training):
    # The default takes the fused kernel, of which there is none for float64.
    fused = False if x.dtype == tf.float64 else None
    return tf.layers.batch_normalization(x, training=training, fused=fused)


def _leaky_relu(x):
    return tf.maximum(x, 0.2 * x)


def _cross_entropy(logits, labels_like):
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(
            labels=labels_like(logits), logits=logits
        )
    )


def _pin_updates():
    """Lets each update for generated images read what that for real ones wrote.

    The control dependency is on the subtraction that reads the average, not on
    the generated pass: so asking for a loss still runs no update.
    """
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, DISCRIMINATOR)
    half = len(updates) // 2
    for real, fake in zip(updates[:half], updates[half:]):
        first, second = _assignment(real), _assignment(fake)
        if _variable(first) != _variable(second):
            raise RuntimeError(
                "updates of {} and {} are no pair".format(real.name, fake.name)
            )
        # average -= (average - value) * decay
        difference = second.inputs[1].op.inputs[0].op
        difference._add_control_input(real)


def let_both_read_old():
    """Lets both updates of a pair read the average before either writes it."""
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, DISCRIMINATOR)
    half = len(updates) // 2
    for pair in zip(updates[:half], updates[half:]):
        first, second = (_assignment(update) for update in pair)
        for write, other in ((first, second), (second, first)):
            write._add_control_input(other.inputs[1].op.inputs[0].op)


def _assignment(update):
    """Finds the assignment of an update; in float64 it lies inside a `tf.cond`."""
    pending = [update]
    while pending:
        operation = pending.pop()
        if operation.type == "AssignSub":
            return operation
        pending.extend(tensor.op for tensor in operation.inputs)
    raise RuntimeError("{} assigns nothing".format(update.name))


def _variable(assignment):
    operation = assignment.inputs[0].op
    while operation.type == "RefSwitch":
        operation = operation.inputs[0].op
    return operation.name
