"""A DCGAN as people wrote it in 2017, with the lines that record it.

    python legacy_script.py FOLDER [--float64] [--every=2] [--steps=3]
        [--save=CHECKPOINT]
        [--in_order | --both_read_old]

Globals, automatic names, unnamed placeholders, noise from NumPy. It records into the
folder. On TensorFlow 1.x the layers are those of `tf.layers`, on 2.x of `tf1gan`.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

try:
    import tensorflow.compat.v1 as tf
except ImportError:  # before TensorFlow 1.13
    import tensorflow as tf

if tf.__version__.startswith("1."):
    layers = tf.layers
    tf.logging.set_verbosity(tf.logging.ERROR)
else:
    from tf1gan import layers

    tf.disable_v2_behavior()

try:
    import gan_trace as trace  # a copy next to the script, as a user has it
except ImportError:
    from tf1gan import trace


def option(name, default):
    given = [a.split("=")[1] for a in sys.argv if a.startswith(name + "=")]
    return int(given[0]) if given else default


batch_size = 8
learning_rate = 0.001
folder = sys.argv[1]
dtype = tf.float64 if "--float64" in sys.argv else tf.float32


def batch_norm(x):
    if layers is getattr(tf, "layers", None) and dtype == tf.float64:
        # The fused kernel refuses float64.
        return layers.batch_normalization(x, training=is_training, fused=False)
    return layers.batch_normalization(x, training=is_training)


def lrelu(x):
    return tf.maximum(x, 0.2 * x)


def generator(z):
    with tf.variable_scope("generator"):
        h = layers.dense(z, 7 * 7 * 128)
        h = tf.reshape(h, [-1, 7, 7, 128])
        h = tf.nn.relu(batch_norm(h))
        h = layers.conv2d_transpose(h, 64, [5, 5], (2, 2), "same")
        h = tf.nn.relu(batch_norm(h))
        h = layers.conv2d_transpose(h, 32, [5, 5], (2, 2), "same")
        h = tf.nn.relu(batch_norm(h))
        return tf.tanh(layers.conv2d_transpose(h, 1, [5, 5], (1, 1), "same"))


def discriminator(x, reuse=None):
    with tf.variable_scope("discriminator", reuse=reuse):
        h = lrelu(layers.conv2d(x, 32, [5, 5], (2, 2), "same"))
        h = lrelu(batch_norm(layers.conv2d(h, 64, [5, 5], (2, 2), "same")))
        h = lrelu(batch_norm(layers.conv2d(h, 128, [5, 5], (2, 2), "same")))
        return layers.dense(tf.reshape(h, [-1, 4 * 4 * 128]), 1)


def cross_entropy(logits, labels):
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=labels)
    )


tf.set_random_seed(0)
x = tf.placeholder(dtype, [None, 28, 28, 1])
z = tf.placeholder(dtype, [None, 100])
is_training = tf.placeholder(tf.bool)

G = generator(z)
D_real = discriminator(x)
D_fake = discriminator(G, reuse=True)

d_loss = cross_entropy(D_real, tf.ones_like(D_real)) + cross_entropy(
    D_fake, tf.zeros_like(D_fake)
)
g_loss = cross_entropy(D_fake, tf.ones_like(D_fake))

d_vars = [v for v in tf.trainable_variables() if "discriminator" in v.name]
g_vars = [v for v in tf.trainable_variables() if "generator" in v.name]

if "--in_order" in sys.argv and layers is getattr(tf, "layers", None):
    # Nobody did this in 2017: the two updates of a moving average raced.
    import source_graph

    source_graph._pin_updates()
if "--both_read_old" in sys.argv:
    import source_graph  # one way in which that race can end, on TensorFlow 1.x

    source_graph.let_both_read_old()

with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    d_train = tf.train.AdamOptimizer(learning_rate).minimize(
        d_loss, var_list=d_vars
    )
    g_train = tf.train.AdamOptimizer(learning_rate).minimize(
        g_loss, var_list=g_vars
    )

sess = tf.InteractiveSession()
sess.run(tf.global_variables_initializer())

trace.record(
    sess,
    folder,
    [
        trace.Phase("discriminator_step", d_train, d_loss),
        trace.Phase("generator_step", g_train, g_loss),
    ],
    inputs={"images": x, "latent": z},
    every=option("--every", 1),
    calls=2 * option("--steps", 3),
)

np.random.seed(0)
for step in range(option("--steps", 3)):
    # Black around white noise: like digits, it meets a bias of zero.
    batch = np.zeros([batch_size, 28, 28, 1])
    batch[:, 6:22, 6:22] = np.random.uniform(0, 1, [batch_size, 16, 16, 1])
    noise = np.random.uniform(-1, 1, [batch_size, 100])
    feed = {x: batch, z: noise, is_training: True}
    _, d_value = sess.run([d_train, d_loss], feed)
    feed[z] = np.random.uniform(-1, 1, [batch_size, 100])
    _, g_value = sess.run([g_train, g_loss], feed)
    print("{} {!r} {!r}".format(step, float(d_value), float(g_value)))

for path in [a.split("=")[1] for a in sys.argv if a.startswith("--save=")]:
    tf.train.Saver().save(sess, path)
