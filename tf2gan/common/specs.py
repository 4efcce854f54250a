"""One frozen spec per GAN, and the registry by name.

Both sides read every constant from here, so that no framework default decides
anything. Adding a GAN is one `GanSpec` below and one file of the same name in
`tf1gan/models` and in `tf2gan/models`.
"""

import dataclasses
from typing import Dict, List, Tuple

from tf2gan.common.errors import UserError

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"
UPDATE_POLICIES = ("source", "scoped")


@dataclasses.dataclass(frozen=True)
class GanSpec:
    """Everything that defines one GAN apart from its layers.

    Attributes:
      name: the registry's key, and the name of the two files with the layers.
      image_shape: height, width and channels of an image.
      image_range: the values of a black and a white pixel as the network sees
        them.
      latent_size: length of a latent vector.
      latent_distribution: "uniform" on [-1, 1) or "normal" (mean 0, deviation 1).
      loss: a name known to `losses.get_losses`.
      learning_rate: Adam's step size.
      beta1: Adam's decay of the first moment.
      beta2: Adam's decay of the second moment.
      adam_epsilon: Adam's denominator term. TF1's default is 1e-8, Keras's 1e-7.
      leaky_relu_slope: slope of the discriminator's leaky ReLU below zero.
      batch_norm_momentum: weight of the old value in a moving average.
      batch_norm_epsilon: added to the variance before its root is taken.
      batch_size: images per iteration.
      epochs: passes over the data set.
      sample_every: epochs between two sample pictures, after that of the first.
    """

    name: str
    image_shape: Tuple[int, int, int]
    image_range: Tuple[float, float]
    latent_size: int
    latent_distribution: str
    loss: str
    learning_rate: float
    beta1: float
    beta2: float
    adam_epsilon: float
    leaky_relu_slope: float
    batch_norm_momentum: float
    batch_norm_epsilon: float
    batch_size: int
    epochs: int
    sample_every: int


DCGAN28 = GanSpec(
    name="dcgan28",
    image_shape=(28, 28, 1),
    # The generator ends in a tanh, yet the images lie in [0, 1]: half of its
    # range is never asked for. The original did so, and it trains well.
    image_range=(0.0, 1.0),
    latent_size=100,
    latent_distribution="uniform",
    loss="sigmoid_cross_entropy",
    learning_rate=0.001,
    beta1=0.9,
    beta2=0.999,
    adam_epsilon=1e-8,
    leaky_relu_slope=0.2,
    batch_norm_momentum=0.99,
    batch_norm_epsilon=0.001,
    batch_size=100,
    epochs=100,
    sample_every=5,
)

SPECS: Dict[str, GanSpec] = {spec.name: spec for spec in (DCGAN28,)}


def model_names() -> List[str]:
    """Returns the names of all GANs, sorted."""
    return sorted(SPECS)


def get_spec(name: str) -> GanSpec:
    """Returns the spec called `name`; raises `UserError` for an unknown name."""
    if name not in SPECS:
        known = ", ".join(model_names())
        raise UserError("unknown model '{}'; known are: {}".format(name, known))
    return SPECS[name]


def update_scopes(policy: str, network: str) -> Tuple[str, ...]:
    """Names the networks whose moving averages a train step updates.

    Args:
      policy: "source", where every train step runs every update in the graph (a
        bare `tf.get_collection(tf.GraphKeys.UPDATE_OPS)`), or "scoped", where
        it runs those of the network that it trains.
      network: the network that the step trains.

    Returns:
      Scope names, in the order in which their updates were made.

    Raises:
      UserError: if the policy is unknown.
    """
    if policy == "source":
        return (GENERATOR, DISCRIMINATOR)
    if policy == "scoped":
        return (network,)
    known = ", ".join(UPDATE_POLICIES)
    raise UserError(
        "unknown update_ops '{}'; known are: {}".format(policy, known)
    )
