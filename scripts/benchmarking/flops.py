"""Counts the floating-point operations of an iteration's dense layers and convolutions.

The count is the usual one, by positions of the window; those on padding count too.
"""

from typing import Any, Dict, List

from tf2gan.common.errors import UserError
from tf2gan.common.specs import GanSpec

# A product and the addition of it.
FLOPS_PER_MULTIPLY_ADD = 2


def iteration_flops(spec: GanSpec, update_ops: str, batch_size: int) -> int:
    """Returns the operations of a D step and a G step of the spec's networks.

    They are those of dense layers, convolutions and transposed convolutions, with
    padding counted as if it were pixels (a fifth of dcgan28's). What else an
    iteration does, normalizing, activations and Adam, is left out: it grows with
    the pixels, these with the pixels times the channels.

    Args:
      spec: of the GAN.
      update_ops: "source" or "scoped"; see `specs.update_scopes`.
      batch_size: images per step.

    Raises:
      UserError: if a network has a layer that cannot be counted.
    """
    from tf2gan.training import Trainer

    trainer = Trainer(spec, update_ops)
    counted = passes(trainer.generator, trainer.discriminator, update_ops)
    return FLOPS_PER_MULTIPLY_ADD * batch_size * sum(counted.values())


def passes(
    generator: Any, discriminator: Any, update_ops: str
) -> Dict[str, int]:
    """Returns the multiply-adds per image of each pass of an iteration.

    The generator runs forward once for both steps. The gradient of a layer's inputs
    is not needed where these are data: in the generator's first layer, and in the
    discriminator's as it is trained.
    """
    of_g, of_d = multiply_adds(generator), multiply_adds(discriminator)
    counted = {
        "generator forward": sum(of_g),
        "generator gradients of kernels": sum(of_g),
        "generator gradients of inputs": sum(of_g[1:]),
        "discriminator forward, D step": 2 * sum(of_d),
        "discriminator gradients of kernels, D step": 2 * sum(of_d),
        "discriminator gradients of inputs, D step": 2 * sum(of_d[1:]),
        "discriminator forward, G step": sum(of_d),
        "discriminator gradients of inputs, G step": sum(of_d),
    }
    if update_ops == "source":
        counted["discriminator forward on real images, G step"] = sum(
            multiply_adds(discriminator, until_last_average=True)
        )
    return counted


def multiply_adds(network: Any, until_last_average: bool = False) -> List[int]:
    """Returns those of an image's way forward, by layer that has a kernel.

    Args:
      network: a Keras model whose layers are a chain.
      until_last_average: whether to stop where the last moving average is updated.

    Raises:
      UserError: if a layer has weights and is none of the known ones.
    """
    chain = list(network.layers)
    if until_last_average:
        while chain and not _has_averages(chain[-1]):
            chain.pop()
    return [
        _multiply_adds_of(layer)
        for layer in chain
        if layer.weights and not _has_averages(layer)
    ]


def _has_averages(layer):
    return hasattr(layer, "moving_mean")


def _multiply_adds_of(layer):
    """Returns the uses of a kernel's elements: one per position it is put at."""
    import keras

    known = keras.layers
    if isinstance(layer, known.Dense):
        positions = layer.output.shape[1:-1]
    elif isinstance(layer, (known.Conv2DTranspose, known.Conv3DTranspose)):
        positions = layer.input.shape[1:-1]
    elif isinstance(layer, (known.Conv2D, known.Conv3D)):
        positions = layer.output.shape[1:-1]
    else:
        raise UserError(
            f"cannot count the operations of layer '{layer.path}', a "
            f"{type(layer).__name__}; known are dense layers, convolutions and "
            "their transposes"
        )
    return _product(positions) * _product(layer.kernel.shape)


def _product(numbers):
    result = 1
    for number in numbers:
        result *= int(number)
    return result
