"""Measures on one side what an implementation does, from what it shows.

Each number is taken from one side alone: from its own inputs and outputs. So it does
not depend on whether anything before it was right. A measurement that does not fit
its own formula gives None.
"""

import dataclasses
import itertools
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np

from tf2gan.migration.evidence import Arrays, Side

# Elements taken of each variable, from the smallest second moment to the largest.
ELEMENTS = 20000
LEAST_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class AdamStep:
    """An Adam step measured: weight -= alpha m / (sqrt(v) + epsilon).

    Attributes:
      alpha: the step size, with its correction for the first steps.
      alpha_error: standard error of `alpha`, relative.
      epsilon: the denominator's term.
      epsilon_error: standard error of `epsilon`.
    """

    alpha: float
    alpha_error: float
    epsilon: float
    epsilon_error: float


def adam_step(side: Side, names: List[str]) -> Optional[AdamStep]:
    """Fits alpha and epsilon to the moves of variables with Adam slots."""
    parts = [_moves(side, name) for name in names]
    if not parts:
        return None
    ratio, root = (np.concatenate(column) for column in zip(*parts))
    if len(ratio) < 3:
        return None
    # m / move = (sqrt(v) + epsilon) / alpha, each weighted by its own size.
    columns = np.stack([root / ratio, 1 / ratio], 1)
    scale = np.sqrt(np.sum(columns**2, 0))
    solution, *_ = np.linalg.lstsq(columns / scale, np.ones(len(ratio)), None)
    open_ = columns / scale @ solution - 1
    slope, offset = solution / scale
    error = float(np.sqrt(np.mean(open_**2)))
    if slope <= 0 or error > 1e-2:
        return None
    covariance = np.linalg.pinv((columns / scale).T @ (columns / scale))
    errors = max(error, 1e-12) * np.sqrt(np.diag(covariance)) / scale
    return AdamStep(
        1 / slope, errors[0] / slope, offset / slope, errors[1] / slope
    )


def _moves(side, name):
    """Returns m / move and sqrt(v) of elements whose move is not rounding."""
    m, v, old, new = (
        np.asarray(values, float).ravel()
        for values in (
            side.after[name + "/Adam"],
            side.after[name + "/Adam_1"],
            side.before[name],
            side.after[name],
        )
    )
    move = old - new
    rounding = np.finfo(np.asarray(side.after[name]).dtype).eps * np.abs(old)
    clear = (np.abs(move) > 1e3 * rounding) & (v > 0) & (m * move > 0)
    order = np.argsort(v[clear])[:: max(1, int(clear.sum()) // ELEMENTS)]
    m, v, move = (values[clear][order] for values in (m, v, move))
    return m / move, np.sqrt(v)


def powers(side: Side) -> Dict[str, Tuple[float, float]]:
    """Returns a beta's power before and after, where the phase changed it."""
    found = {}
    for name, after in side.after.items():
        before = side.before.get(name)
        if "_power" in name and before is not None and before != after:
            found[name] = (float(before), float(after))
    return found


def plain(number: float) -> float:
    """Returns the short decimal that a float32 number stands for."""
    return float(str(np.float32(number)))


def normalizations(side: Side) -> Iterator[Tuple[str, str, np.ndarray]]:
    """Yields call, layer and inputs [N, channels] of each batch norm shown."""
    for name in side.before:
        layer, _, last = name.rpartition("/")
        if last != "moving_variance":
            continue
        for call in side.calls(layer):
            inputs = side.inputs_of(call, np.size(side.before[name]))
            if inputs is not None:
                yield call, layer, inputs


def batch_norm_epsilon(
    side: Side, call: str, layer: str, inputs: np.ndarray
) -> Tuple[Optional[float], Optional[float]]:
    """Measures what is added to the variance: of the batch, of the moving average.

    Of the two the one that is None is not what the layer divides by.
    """
    outputs = np.asarray(side.activations[call])
    tight = 1e-4 if outputs.dtype == np.float32 else 1e-8
    outputs = outputs.astype(float).reshape(inputs.shape)
    variance = inputs.var(0)
    gamma = np.asarray(side.before.get(layer + "/gamma", 1.0), float)
    centred = inputs - inputs.mean(0)
    clear = (variance > LEAST_VARIANCE) & np.broadcast_to(
        gamma != 0, variance.shape
    )
    slope = (centred * outputs).mean(0)[clear] / variance[clear]
    total = np.broadcast_to(gamma, variance.shape)[clear] ** 2 / slope**2
    moving = np.asarray(side.before[layer + "/moving_variance"], float)
    return (
        _constant(total - variance[clear], total, tight),
        _constant(total - moving[clear], total, tight),
    )


def _constant(values, sizes, tight):
    """Returns the mean if all values are the same, to a share of their sizes."""
    if not values.size or not np.all(np.isfinite(values)):
        return None
    weights = 1 / sizes**2
    mean = float(np.sum(values * weights) / np.sum(weights))
    return mean if np.max(np.abs(values - mean) / sizes) < tight else None


def leaky_slopes(side: Side) -> Iterator[Tuple[str, float]]:
    """Yields the slope of the activation in front of each dense layer.

    A dense layer after max(x, slope x) gives a linear function of the slope.
    """
    for kernel, weight in side.before.items():
        layer = kernel.rpartition("/")[0]
        if np.ndim(weight) != 2:
            continue
        for call in side.calls(layer):
            inputs = side.inputs_of(call, len(weight))
            outputs = np.asarray(side.activations[call])
            if inputs is None or len(inputs) != len(outputs):
                continue
            bias = vector_beside(side.before, layer)
            if bias is not None:
                outputs = outputs - bias
            slope = _slope(inputs, outputs, weight)
            if slope is not None:
                yield call, slope


def vector_beside(values: Arrays, layer: str) -> Optional[np.ndarray]:
    """Returns the bias of a layer, whatever a script called it; None if it has none."""
    vectors = [
        value
        for name, value in values.items()
        if name.rpartition("/")[0] == layer and np.ndim(value) == 1
    ]
    return vectors[0] if len(vectors) == 1 else None


def _slope(inputs, outputs, weight):
    positive = np.maximum(inputs, 0) @ weight
    negative = np.minimum(inputs, 0) @ weight
    size = np.sum(negative**2)
    if not size:
        return None
    slope = float(np.sum(negative * (outputs - positive)) / size)
    open_ = outputs - positive - slope * negative
    tight = 1e-3 if outputs.dtype == np.float32 else 1e-6
    close = np.max(np.abs(open_)) <= tight * np.max(np.abs(outputs))
    return slope if close else None


def softplus(values: np.ndarray) -> np.ndarray:
    """Returns log(1 + exp(x)): the cross entropy of a logit x against label 0."""
    return np.logaddexp(0.0, values)


def cross_entropy(logits: np.ndarray, label: float) -> float:
    """Returns the mean sigmoid cross entropy of logits against one label."""
    return float(np.mean(softplus(logits) - label * logits))


def clipped_cross_entropy(
    logits: np.ndarray, label: float, clip: float = 1e-7
) -> float:
    """Returns that of probabilities, clipped as Keras clips them."""
    share = np.clip(1 / (1 + np.exp(-logits)), clip, 1 - clip)
    losses = -label * np.log(share) - (1 - label) * np.log(1 - share)
    return float(np.mean(losses))


def labels(
    loss: float, of_bias: float, real: np.ndarray, fake: np.ndarray
) -> Optional[Tuple[float, float]]:
    """Finds the labels of a discriminator's sigmoid cross entropy.

    Loss and gradient of the last bias are two linear equations for the two labels.

    Args:
      loss: the sum of the mean cross entropies.
      of_bias: its gradient by the bias of the last layer.
      real: logits of real images.
      fake: logits of generated ones.

    Returns:
      The labels of real and of generated images; None if nothing decides them.
    """
    matrix = np.array([[real.mean(), fake.mean()], [1.0, 1.0]])
    if np.linalg.cond(matrix) > 1e6:
        return None
    total = np.mean(softplus(real)) + np.mean(softplus(fake)) - loss
    both = np.mean(1 / (1 + np.exp(-real))) + np.mean(1 / (1 + np.exp(-fake)))
    one, other = np.linalg.solve(matrix, [total, both - of_bias])
    return float(one), float(other)


def rearrangements(
    array: np.ndarray,
) -> Iterator[Tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Yields what may happen to a tensor on its way, with its name."""
    for axis in range(array.ndim):
        yield f"axis {axis} reversed", lambda a, i=axis: np.flip(a, i)
    for axes in itertools.permutations(range(array.ndim)):
        if axes != tuple(range(array.ndim)):
            yield f"axes in the order {axes}", lambda a, p=axes: a.transpose(p)
            yield (
                f"axes in the order {axes}, then reshaped",
                lambda a, p=axes: a.transpose(p).reshape(a.shape),
            )


def scale_between(one: np.ndarray, other: np.ndarray) -> Optional[float]:
    """Returns c where other = c one; None if there is no such number."""
    one, other = np.asarray(one, float), np.asarray(other, float)
    size = np.sum(one * one)
    if one.shape != other.shape or not size:
        return None
    scale = float(np.sum(one * other) / size)
    tight = 1e-4 * np.sqrt(np.sum(other**2))
    return (
        scale if np.sqrt(np.sum((other - scale * one) ** 2)) <= tight else None
    )
