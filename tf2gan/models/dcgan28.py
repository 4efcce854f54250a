"""A deep convolutional GAN (Radford et al., 2016) for 28 x 28 pixels."""

import keras

from tf2gan import layers
from tf2gan.common.errors import UserError
from tf2gan.common.specs import GanSpec


def generator(
    latent: keras.KerasTensor, training: None, spec: GanSpec
) -> keras.KerasTensor:
    """Maps latent vectors [B, 100] to images [B, 28, 28, 1] in [-1, 1].

    Raises:
      UserError: if the spec's height or width is no multiple of 4.
    """
    height, width = _first_size(spec)  # 7, 7
    units = height * width * 128
    # TF1: the scope makes the variables, or finds those it made before.
    # TF2: the model that is put together here owns them.
    with keras.name_scope("generator"):
        x = layers.dense(latent, units, name="dense")  # [B, 6272]
        x = keras.ops.reshape(x, [-1, height, width, 128])  # [B, 7, 7, 128]
        x = _batch_normalization(x, training, spec, "batch_normalization")
        x = keras.ops.relu(x)
        x = _upsample(x, 64, 2, "conv2d_transpose")  # [B, 14, 14, 64]
        x = _batch_normalization(x, training, spec, "batch_normalization_1")
        x = keras.ops.relu(x)
        x = _upsample(x, 32, 2, "conv2d_transpose_1")  # [B, 28, 28, 32]
        x = _batch_normalization(x, training, spec, "batch_normalization_2")
        x = keras.ops.relu(x)
        x = _upsample(x, 1, 1, "conv2d_transpose_2")  # [B, 28, 28, 1]
        return keras.ops.tanh(x)


def discriminator(
    images: keras.KerasTensor, training: None, spec: GanSpec
) -> keras.KerasTensor:
    """Maps images [B, 28, 28, 1] to logits [B, 1], positive for real ones."""
    with keras.name_scope("discriminator"):
        x = _downsample(images, 32, "conv2d")  # [B, 14, 14, 32]
        x = layers.leaky_relu(x, spec.leaky_relu_slope)
        x = _downsample(x, 64, "conv2d_1")  # [B, 7, 7, 64]
        x = _batch_normalization(x, training, spec, "batch_normalization")
        x = layers.leaky_relu(x, spec.leaky_relu_slope)
        x = _downsample(x, 128, "conv2d_2")  # [B, 4, 4, 128]
        x = _batch_normalization(x, training, spec, "batch_normalization_1")
        x = layers.leaky_relu(x, spec.leaky_relu_slope)
        x = layers.flatten(x)  # [B, 2048]
        return layers.dense(x, 1, name="dense")  # [B, 1]


def _first_size(spec):
    """Returns the height and width that are doubled twice."""
    height, width, _ = spec.image_shape
    if height % 4 or width % 4:
        raise UserError(
            "{} makes no images of {} x {} pixels; both must be multiples of "
            "4".format(spec.name, height, width)
        )
    return height // 4, width // 4


def _upsample(x, filters, stride, name):
    return layers.conv2d_transpose(
        x, filters, kernel_size=5, strides=stride, padding="same", name=name
    )


def _downsample(x, filters, name):
    return layers.conv2d(
        x, filters, kernel_size=5, strides=2, padding="same", name=name
    )


def _batch_normalization(x, training, spec, name):
    return layers.batch_normalization(
        x,
        momentum=spec.batch_norm_momentum,
        epsilon=spec.batch_norm_epsilon,
        training=training,
        name=name,
    )
