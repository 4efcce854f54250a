"""Writes checkpoints of a discriminator whose batch norms are in one mode for good.

Runs on TensorFlow 1.15.5 too, by itself: `python fixed_modes.py FOLDER`.
"""

import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf

# By name of a checkpoint, whether its two batch norms train; None: as it is fed.
MODES = {
    "both": (True, True),
    "first": (True, False),
    "neither": (False, False),
    "fed": (None, None),
}


def discriminator(images, modes):
    """Returns logits [B, 1]; the first batch norm is the fused one."""
    layers = _layers()
    fed = tf.placeholder(tf.bool, [], "is_training") if None in modes else None
    first, second = (fed if mode is None else mode for mode in modes)
    with tf.variable_scope("discriminator"):
        x = layers.conv2d(images, 3, 2, name="conv")  # [B, 3, 3, 3]
        x = layers.batch_normalization(x, training=first, name="norm_1")
        x = layers.dense(tf.reshape(x, [-1, 27]), 5, name="dense")
        x = layers.batch_normalization(x, training=second, name="norm_2")
        return layers.dense(x, 1, name="logits")


def _layers():
    if tf.__version__.startswith("1."):
        return tf.layers
    from tf1gan import layers

    return layers


def write(folder):
    """Writes a checkpoint and its graph for each of `MODES`."""
    enabled = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()  # a condition is to be TF1's
    try:
        _write(folder)
    finally:
        if enabled:
            tf.enable_control_flow_v2()


def _write(folder):
    for name, modes in MODES.items():
        with tf.Graph().as_default(), tf.Session() as session:
            discriminator(tf.placeholder(tf.float32, [None, 4, 4, 1]), modes)
            random = np.random.RandomState(0)
            for variable in tf.global_variables():
                value = random.uniform(0.1, 0.5, variable.shape.as_list())
                variable.load(value.astype(np.float32), session)
            path = os.path.join(folder, name, "model.ckpt")
            os.makedirs(os.path.dirname(path))
            tf.train.Saver().save(session, path)


if __name__ == "__main__":
    write(sys.argv[1])
