"""The losses of a GAN, by name: the discriminator's and the generator's."""

from typing import Callable, Tuple

import tensorflow as tf


def sigmoid_cross_entropy(logits: tf.Tensor, label: float) -> tf.Tensor:
    """Returns the mean cross entropy of `logits` [B, 1] against one label.

    It is taken of logits: of probabilities it would need clipping, and a logit
    of 50 against the label 0 would cost 16 where it should cost 50.
    """
    labels = tf.fill(tf.shape(logits), tf.constant(label, logits.dtype))
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def cross_entropy_discriminator(
    real_logits: tf.Tensor, fake_logits: tf.Tensor
) -> tf.Tensor:
    """Asks the discriminator for 1 on real images and 0 on generated ones."""
    real_loss = sigmoid_cross_entropy(real_logits, 1.0)
    fake_loss = sigmoid_cross_entropy(fake_logits, 0.0)
    return real_loss + fake_loss


def cross_entropy_generator(fake_logits: tf.Tensor) -> tf.Tensor:
    """Asks the generator for images that the discriminator takes for real.

    It is -log D(G(z)), which Goodfellow et al. (2014) recommend because its
    gradients do not vanish.
    """
    return sigmoid_cross_entropy(fake_logits, 1.0)


LOSSES = {
    "sigmoid_cross_entropy": (
        cross_entropy_discriminator,
        cross_entropy_generator,
    ),
}


def get_losses(name: str) -> Tuple[Callable, Callable]:
    """Returns two functions: the discriminator's loss and the generator's.

    The first takes (real_logits, fake_logits), the second (fake_logits).

    Raises:
      ValueError: if no loss has that name.
    """
    if name not in LOSSES:
        raise ValueError(
            f"unknown loss '{name}'; known are: {', '.join(LOSSES)}"
        )
    return LOSSES[name]
