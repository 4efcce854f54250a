"""A port of `legacy_script.py` to TF2 as one writes it: stock Keras 3 layers and Adam.

`models` and `steps` are what `compare.py replay --keras_model=... --step=...` takes;
`models` alone is what `convert_checkpoint.py` takes. A replay notices that Keras's Adam
has another epsilon than TF1's, and then, in `models_with_tf1_adam`, that Keras's batch
norm rounds the weight of a new value otherwise; `models_as_in_tf1` has TF1's.
"""

import keras
import tensorflow as tf

from tf2gan.layers import BatchNormalization as TF1BatchNormalization
from tf2gan.optimizers import Adam as TF1Adam

DTYPE = "float64"
LEARNING_RATE = 1e-3


def _dense(units, name):
    return keras.layers.Dense(units, dtype=DTYPE, name=name)


def _conv(kind, filters, stride, name):
    return kind(
        filters, 5, strides=stride, padding="same", dtype=DTYPE, name=name
    )


def _norm(kind, name):
    return kind(momentum=0.99, epsilon=1e-3, dtype=DTYPE, name=name)


def _leaky_relu(x):
    return keras.ops.maximum(x, 0.2 * x)


def _generator(batch_norm):
    up = keras.layers.Conv2DTranspose
    latent = keras.Input([100], dtype=DTYPE)
    x = _dense(7 * 7 * 128, "dense")(latent)
    x = keras.layers.Reshape([7, 7, 128], dtype=DTYPE)(x)
    x = keras.ops.relu(_norm(batch_norm, "batch_normalization")(x))
    x = _conv(up, 64, 2, "conv2d_transpose")(x)  # [B, 14, 14, 64]
    x = keras.ops.relu(_norm(batch_norm, "batch_normalization_1")(x))
    x = _conv(up, 32, 2, "conv2d_transpose_1")(x)  # [B, 28, 28, 32]
    x = keras.ops.relu(_norm(batch_norm, "batch_normalization_2")(x))
    x = keras.ops.tanh(_conv(up, 1, 1, "conv2d_transpose_2")(x))
    return keras.Model(latent, x, name="generator")


def _discriminator(batch_norm):
    down = keras.layers.Conv2D
    images = keras.Input([28, 28, 1], dtype=DTYPE)
    x = _leaky_relu(_conv(down, 32, 2, "conv2d")(images))  # [B, 14, 14, 32]
    x = _conv(down, 64, 2, "conv2d_1")(x)  # [B, 7, 7, 64]
    x = _leaky_relu(_norm(batch_norm, "batch_normalization")(x))
    x = _conv(down, 128, 2, "conv2d_2")(x)  # [B, 4, 4, 128]
    x = _leaky_relu(_norm(batch_norm, "batch_normalization_1")(x))
    x = keras.layers.Flatten(dtype=DTYPE)(x)
    return keras.Model(images, _dense(1, "dense")(x), name="discriminator")


def _models(batch_norm, optimizer):
    made = [_generator(batch_norm), _discriminator(batch_norm)]
    for model in made:
        model.compile(optimizer=optimizer(LEARNING_RATE))
    return made


def models():
    """Returns both networks with Keras's own batch norm and Adam."""
    return _models(keras.layers.BatchNormalization, keras.optimizers.Adam)


def models_with_tf1_adam():
    """Returns both networks with Keras's batch norm, and Adam as TF1 computes it."""
    return _models(keras.layers.BatchNormalization, TF1Adam)


def models_as_in_tf1():
    """Returns both networks with batch norm and Adam as TF1 computes them."""
    return _models(TF1BatchNormalization, TF1Adam)


def _cross_entropy(logits, label):
    labels = tf.fill(tf.shape(logits), tf.cast(label, logits.dtype))
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def steps(networks):
    """Returns the two train steps; each moves the averages of both networks."""
    generator = networks["generator"]
    discriminator = networks["discriminator"]

    def losses(images, latent):
        fake_images = generator(latent, training=True)
        real = discriminator(images, training=True)
        fake = discriminator(fake_images, training=True)
        of_d = _cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0)
        return of_d, _cross_entropy(fake, 1.0)

    def train(model, which, images, latent):
        with tf.GradientTape() as tape:
            loss = losses(images, latent)[which]
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        model.optimizer.apply(gradients, variables)
        return loss

    return {
        "discriminator_step": lambda x, z: train(discriminator, 0, x, z),
        "generator_step": lambda x, z: train(generator, 1, x, z),
    }
