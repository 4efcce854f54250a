"""Latent vectors: random ones, and a walk between two of them."""

import numpy as np

from tf2gan.common import randomness
from tf2gan.common.specs import GanSpec


def sample_latent(
    spec: GanSpec, count: int, seed: int, purpose: str, step: int = 0
) -> np.ndarray:
    """Draws latent vectors from the spec's distribution.

    Returns:
      float64 array [count, latent_size]: uniform on [-1, 1), or normal with
      mean 0 and deviation 1. Every value is exact in float32.

    Raises:
      ValueError: if the spec names another distribution.
    """
    shape = (count, spec.latent_size)
    if spec.latent_distribution == "uniform":
        return 2.0 * randomness.uniform(shape, seed, purpose, step) - 1.0
    if spec.latent_distribution == "normal":
        return randomness.normal(shape, seed, purpose, step)
    raise ValueError(
        "unknown latent_distribution '{}' in spec '{}'; "
        "expected uniform or normal".format(spec.latent_distribution, spec.name)
    )


def latent_walk(
    spec: GanSpec, count: int, seed: int, purpose: str, step: int = 0
) -> np.ndarray:
    """Walks in a straight line between two random latent vectors.

    The stride is the distance divided by `count`, not by `count` - 1, and the
    last vector is the end point itself, so the last stride is twice as long as
    the others. That is how the original's `get_moving_noise` walks.

    Returns:
      float64 array [count, latent_size]; a walk of one is its end point.
    """
    start, end = sample_latent(spec, 2, seed, purpose, step)
    strides = np.arange(count, dtype=np.float64)[:, np.newaxis] / count
    walk = start + strides * (end - start)
    walk[-1] = end
    return walk
