"""Finds constants in functional Keras models, and changes them for a while."""

import contextlib
import dataclasses
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import keras

# What Keras and `tf2gan.layers` call the slope of a leaky ReLU.
_SLOPES = ("negative_slope", "slope")


@dataclasses.dataclass(frozen=True)
class Constant:
    """A number that a layer or operation computes with: `owner.name`.

    Attributes:
      owner: that has it.
      name: of its attribute, a number or a tuple of arguments.
      place: in the tuple; -1 for a number.
      share: what else multiplies it: the value that counts is the product.
    """

    owner: Any
    name: str
    place: int = -1
    share: float = 1.0


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
    found, products = [], {}
    # Keras has no public list of the operations that are no layers.
    for operation in model._operations:
        own = [name for name in _SLOPES if hasattr(operation, name)]
        if own:
            found.append(Constant(operation, own[0]))
        elif type(operation).__name__ == "Multiply":
            _multiply(operation, products)
    factors = [c for c, product in products.values() if 0 < product < 1]
    return found + factors


def _multiply(operation, products):
    """Notes a factor and the product, in place of those of a factor before it."""
    arguments = operation._inbound_nodes[0].arguments
    for place, value in enumerate(arguments.args):
        if isinstance(value, float):
            other = arguments.args[1 - place]._keras_history.operation
            _, share = products.pop(id(other), (None, 1.0))
            constant = Constant(arguments, "args", place, share)
            products[id(operation)] = (constant, value * share)


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
    value /= constant.share
    if constant.place >= 0:
        given = list(getattr(constant.owner, constant.name))
        given[constant.place] = value
        value = tuple(given)
    setattr(constant.owner, constant.name, value)
