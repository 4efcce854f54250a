"""Random numbers as functions of (seed, purpose, step).

Everything random in a run comes from here: initial weights, shuffles, latent
noise. The numbers are the raw output of the counter-based Philox4x64-10
generator (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3")
put into shape by arithmetic that is exact, so that every NumPy version gives the
same ones, and a resumed run sees what the uninterrupted one would have seen.
"""

import hashlib
from typing import Sequence

import numpy as np


def random_bits(
    count: int, seed: int, purpose: str, step: int = 0
) -> np.ndarray:
    """Returns `count` random 64-bit integers, a function of the other arguments.

    Args:
      count: how many.
      seed: of the run, in [0, 2**64).
      purpose: names the stream; different purposes are independent.
      step: position within the purpose, such as the iteration or the epoch.
    """
    digest = hashlib.sha256(purpose.encode("utf-8")).digest()
    key = np.array(
        [seed, int.from_bytes(digest[:8], "little")], dtype=np.uint64
    )
    counter = np.array([0, 0, step, 0], dtype=np.uint64)
    return np.random.Philox(counter=counter, key=key).random_raw(count)


def uniform(
    shape: Sequence[int], seed: int, purpose: str, step: int = 0
) -> np.ndarray:
    """Returns float64 values uniform on [0, 1), multiples of 2**-24.

    On that grid float32 holds each value, and each value times two less one,
    exactly: float32 and float64 runs see the same noise.
    """
    bits = random_bits(int(np.prod(shape)), seed, purpose, step)
    return ((bits >> np.uint64(40)) * 2.0**-24).reshape(shape)


def normal(
    shape: Sequence[int], seed: int, purpose: str, step: int = 0
) -> np.ndarray:
    """Returns float64 values of mean 0 and deviation 1 (Box and Muller, 1958).

    They are rounded to float32's grid: logarithm and cosine may differ in the
    last bit between NumPy versions, and this rounding takes that away.
    """
    first, second = uniform((2, int(np.prod(shape))), seed, purpose, step)
    radius = np.sqrt(-2.0 * np.log1p(-first))
    values = radius * np.cos(2.0 * np.pi * second)
    return values.astype(np.float32).astype(np.float64).reshape(shape)


def permutation(
    count: int, seed: int, purpose: str, step: int = 0
) -> np.ndarray:
    """Returns the numbers 0 to `count` - 1 in random order."""
    return np.argsort(random_bits(count, seed, purpose, step), kind="stable")


def glorot_uniform(shape: Sequence[int], seed: int, name: str) -> np.ndarray:
    """Returns initial float64 weights uniform on [-limit, limit).

    The limit is sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010), as in
    `tf.glorot_uniform_initializer`; a kernel of rank 4 counts each fan once per
    pixel of its window.

    Args:
      shape: of the kernel, with the two channel axes last, in either order.
      seed: of the run.
      name: of the variable; each has a stream of its own.
    """
    window = int(np.prod(shape[:-2]))
    limit = np.sqrt(6.0 / (window * (shape[-2] + shape[-1])))
    return limit * (2.0 * uniform(shape, seed, "weights/" + name) - 1.0)
