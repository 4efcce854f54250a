"""Transposed convolutions to few channels, as convolutions to blocks of pixels.

A vector unit computes sixteen channels at a time. A last layer that makes one
leaves the others idle; a block of 4 x 4 pixels of one channel fills them.
"""

import functools
import os
import pathlib
from typing import Sequence

import numpy as np
import tensorflow as tf

_LANES = 16  # float32 numbers in a vector of AVX-512
_SIDES = (4, 2)  # of a block, the best first
_CHANNELS = range(2, 129)  # of the inputs; with others the order is another


def block_side(
    inputs: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int], padding: str
) -> int:
    """Returns how long and wide blocks should be, in pixels.

    It is 1 where there should be none: where `has_vector_kernels` is false, for
    other types than float32, which have other kernels, and where the sums would
    come in another order: with a stride, with a kernel larger than the images,
    and with one channel or more than 128.

    Args:
      inputs: [B, H, W, channels].
      kernel: [h, w, filters, channels].
      strides: of the transposed convolution, [2].
      padding: "same" or "valid".
    """
    _, height, width, channels = inputs.shape
    kernel_height, kernel_width, filters, _ = kernel.shape
    if (
        inputs.dtype != tf.float32
        or None in (height, width)
        or (*strides, padding) != (1, 1, "same")
        or kernel_height > height
        or kernel_width > width
        or channels not in _CHANNELS
        or not has_vector_kernels()
    ):
        return 1
    fitting = (
        side
        for side in _SIDES
        if not height % side
        and not width % side
        and side**2 * filters <= _LANES
    )
    return next(fitting, 1)


@functools.lru_cache(maxsize=None)
def has_vector_kernels() -> bool:
    """Returns whether float32 convolutions run on oneDNN's AVX-512 kernels.

    TensorFlow takes them by default on a Linux machine that also has AVX-512's
    instructions for neural networks. Its own kernels lose little on a single
    channel, and sum in another order.
    """
    if tf.config.list_physical_devices("GPU"):
        return False
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "AVX512").upper()
    wanted = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1").lower()
    if wanted in ("0", "false") or "512" not in allowed:
        return False
    try:
        processors = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return " avx512_vnni " in processors


def conv2d_transpose(
    inputs: tf.Tensor, kernel: tf.Tensor, side: int
) -> tf.Tensor:
    """Applies the transpose of a convolution of stride 1, padded to the same size.

    Gradients are those of `tf.nn.conv2d_transpose`, and where `block_side` is
    more than 1 so are the outputs, to the last bit: the products of a pixel are
    summed in the same order, with zeros in between.

    Args:
      inputs: [B, H, W, channels], float32.
      kernel: [h, w, filters, channels].
      side: of a block in pixels; divides H and W. See `block_side`.

    Returns:
      [B, H, W, filters].
    """

    @tf.custom_gradient
    def apply(inputs, kernel):
        def gradient(upstream):
            of_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=upstream,
                filter_sizes=kernel.shape,
                out_backprop=inputs,
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
            return tf.nn.conv2d(upstream, kernel, 1, "SAME"), of_kernel

        return _by_blocks(inputs, kernel, side), gradient

    return apply(inputs, kernel)


def _by_blocks(inputs, kernel, side):
    height, width, filters, _ = kernel.shape
    padding = [[0, 0], _padding(height), _padding(width), [0, 0]]
    blocks = tf.nn.conv2d(
        inputs, _kernel_of_blocks(kernel, side), side, padding
    )
    # What TensorFlow makes of an empty batch has not that shape.
    size = [inputs.shape[1] // side, inputs.shape[2] // side]
    blocks = tf.reshape(blocks, [-1, *size, side * side * filters])
    return tf.nn.depth_to_space(blocks, side)


def _padding(length):
    """Returns how many pixels a kernel of that length reaches to either side."""
    after = (length - 1) // 2
    return [length - 1 - after, after]


def _kernel_of_blocks(kernel, side):
    """Returns the kernel that makes all pixels of a block from what they need.

    Its shape is [h + side - 1, w + side - 1, channels, side * side * filters].
    """
    height, width, filters, channels = kernel.shape
    uses = _uses(height, width, side)
    # Index h * w is beyond the kernel's elements: a row of zeros.
    elements = tf.reshape(kernel, [height * width, filters, channels])
    elements = tf.pad(elements, [[0, 1], [0, 0], [0, 0]])
    spread = tf.transpose(tf.gather(elements, uses), [0, 1, 5, 2, 3, 4])
    return tf.reshape(spread, [*uses.shape[:2], channels, side**2 * filters])


@functools.lru_cache(maxsize=None)
def _uses(height, width, side):
    """Returns which element of a kernel leads from each input to each pixel.

    The shape is [h + side - 1, w + side - 1, side, side]: inputs, then pixels.
    """
    rows, columns = _offsets(height, side), _offsets(width, side)
    inside = rows[:, None, :, None] < height
    inside = inside & (columns[None, :, None, :] < width)
    elements = rows[:, None, :, None] * width + columns[None, :, None, :]
    return np.where(inside, elements, height * width)


def _offsets(length, side):
    """Returns along one axis the element from each input to each pixel.

    `length` where there is none. Shape [length + side - 1, side].
    """
    inputs = np.arange(length + side - 1)[:, None]
    offsets = np.arange(side) + length - 1 - inputs
    return np.where((offsets >= 0) & (offsets < length), offsets, length)
