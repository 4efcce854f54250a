"""Finds constants in functional Keras models, and changes them for a while."""

import contextlib
import dataclasses
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import keras


@dataclasses.dataclass(frozen=True)
class Constant:
    """A number that a layer or operation computes with: `owner.name`.

    Attributes:
      owner: that has it.
      name: of its attribute, a number or a tuple of arguments.
      place: in the tuple; -1 for a number.
    """

    owner: Any
    name: str
    place: int = -1


@dataclasses.dataclass(frozen=True)
class Kind:
    """Constants of one meaning.

    Attributes:
      find: returns those of a model.
      values: what people and libraries choose for them.
    """

    find: Callable[[keras.Model], List[Constant]]
    values: Tuple[float, ...]


def epsilons(model: keras.Model) -> List[Constant]:
    """Returns what batch norm adds to the variance."""
    return [
        Constant(layer, "epsilon")
        for layer in model.layers
        if hasattr(layer, "moving_variance") and hasattr(layer, "epsilon")
    ]


def slopes(model: keras.Model) -> List[Constant]:
    """Returns the slopes of leaky ReLUs, also of those written max(x, 0.2 * x)."""
    found = []
    # Keras has no public list of the operations that are no layers.
    for operation in model._operations:
        if hasattr(operation, "negative_slope"):
            found.append(Constant(operation, "negative_slope"))
        elif type(operation).__name__ == "Multiply":
            found += _factors(operation)
    return found


def _factors(operation):
    arguments = operation._inbound_nodes[0].arguments
    return [
        Constant(arguments, "args", place)
        for place, value in enumerate(arguments.args)
        if isinstance(value, float) and 0 < value < 1
    ]


KINDS = (Kind(epsilons, (1e-3, 1e-5)), Kind(slopes, (0.2, 0.01, 0.1, 0.3)))


@contextlib.contextmanager
def changed(constants: Sequence[Constant], value: float) -> Iterator[None]:
    """Gives constants another value until the block ends."""
    old = [getattr(constant.owner, constant.name) for constant in constants]
    try:
        for constant in constants:
            _set(constant, value)
        yield
    finally:
        for constant, value_ in zip(constants, old):
            setattr(constant.owner, constant.name, value_)


def _set(constant, value):
    if constant.place >= 0:
        given = list(getattr(constant.owner, constant.name))
        given[constant.place] = value
        value = tuple(given)
    setattr(constant.owner, constant.name, value)
