"""The pairing of a checkpoint's variables with those of Keras models."""

import dataclasses
import json
from typing import List, Mapping, Optional, Tuple

import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import names
from tf2gan.migration.keras_models import KerasVariable
from tf2gan.migration.tf1_checkpoint import Variable

# What a variable has of each optimizer, in the words of `SlotPair`, sorted.
_SLOTS = {
    "Adam": [["m", "v"]],
    "RMSProp": [["momentum", "rms"], ["mg", "momentum", "rms"]],
    "Momentum": [["momentum"]],
    "GradientDescent": [],
}
# Why a variable of Keras has no partner where only another model can mend that, by
# its role.
MENDED_IN_MODEL = {
    names.GAMMA: "TF1's layer had no scale, the default of tf.contrib's and slim's "
    "batch_norm; build the Keras layer with scale=False",
    names.BETA: "TF1's layer had no offset; build the Keras layer with center=False",
    names.BIAS: "TF1's layer had no bias, as those of tf.contrib and slim with a "
    "normalizer_fn; build the Keras layer with use_bias=False",
}
# In a message; a bias and what its batch norm has are so many.
_MOST_NAMES = 5


@dataclasses.dataclass(frozen=True)
class Pair:
    """One variable on both sides.

    Attributes:
      tf1: name in the checkpoint.
      keras: key in the models.
      shape: in the checkpoint.
      dtype: in the checkpoint.
      reason: why they are a pair.
      transpose: order of axes, to be applied first, or None.
      reshape: the shape in Keras, to be given afterwards, or None.
    """

    tf1: str
    keras: str
    shape: Tuple[int, ...]
    dtype: str
    reason: str = "by hand"
    transpose: Optional[Tuple[int, ...]] = None
    reshape: Optional[Tuple[int, ...]] = None

    def to_keras(self, value: np.ndarray) -> np.ndarray:
        """Returns the value as Keras holds it."""
        if self.transpose is not None:
            value = np.transpose(value, self.transpose)
        return value if self.reshape is None else value.reshape(self.reshape)

    def to_tf1(self, value: np.ndarray) -> np.ndarray:
        """Returns the value as the checkpoint holds it."""
        if self.transpose is None:
            return value.reshape(self.shape)
        moved = [self.shape[axis] for axis in self.transpose]
        return value.reshape(moved).transpose(np.argsort(self.transpose))


@dataclasses.dataclass(frozen=True)
class Assumed:
    """A variable of Keras that the checkpoint does not have, and its value."""

    keras: str
    value: float


@dataclasses.dataclass(frozen=True)
class Unpaired:
    """A variable of Keras without a partner, and the candidates, if any."""

    keras: str
    candidates: Tuple[str, ...] = ()
    why: str = ""


@dataclasses.dataclass(frozen=True)
class SlotPair:
    """A slot on both sides.

    Attributes:
      tf1: name of the slot in the checkpoint.
      of: name of its variable there.
      slot: what it is: "m" and "v" of Adam, "rms", "mg" and "momentum" of
        RMSProp, "momentum" of Momentum.
    """

    tf1: str
    of: str
    slot: str


@dataclasses.dataclass(frozen=True)
class OptimizerPair:
    """An optimizer on both sides.

    Attributes:
      model: the Keras model whose optimizer it is.
      family: "Adam", "RMSProp", "Momentum" or "GradientDescent"; "" where a map
        leaves it to the proposal.
      slots: of every variable that it trains; none of GradientDescent, and none
        where a map leaves them to the proposal.
      steps: how many it has done; None if the checkpoint does not say.
      beta1_power: name of Adam's power of beta1, or None.
      beta2_power: the same of beta2.
      global_step: name of the step counter that agrees, or None.
      step_dtype: its type.
      reason: how the steps were found.
    """

    model: str
    family: str = ""
    slots: Tuple[SlotPair, ...] = ()
    steps: Optional[int] = None
    beta1_power: Optional[str] = None
    beta2_power: Optional[str] = None
    global_step: Optional[str] = None
    step_dtype: str = "int64"
    reason: str = "by hand"

    @property
    def powers(self) -> Tuple[Optional[str], Optional[str]]:
        """The names of both of Adam's powers."""
        return self.beta1_power, self.beta2_power


@dataclasses.dataclass(frozen=True)
class VariableMap:
    """Everything that a conversion does, and what it leaves.

    Attributes:
      pairs: of variables.
      assumed: what the checkpoint does not have.
      unused: variables of networks that no model has a place for.
      unpaired: what is to be told before a conversion.
      optimizers: of the models.
      left: names of all else in the checkpoint that is not carried over.
    """

    pairs: Tuple[Pair, ...]
    assumed: Tuple[Assumed, ...] = ()
    unused: Tuple[str, ...] = ()
    unpaired: Tuple[Unpaired, ...] = ()
    optimizers: Tuple[OptimizerPair, ...] = ()
    left: Tuple[str, ...] = ()

    @property
    def carried(self) -> List[str]:
        """The names in the checkpoint of what is carried over."""
        names_of = [pair.tf1 for pair in self.pairs]
        for pair in self.optimizers:
            names_of += [slot.tf1 for slot in pair.slots]
            names_of += [n for n in (*pair.powers, pair.global_step) if n]
        return names_of

    def table(self) -> str:
        """Returns the map as a table, a line per variable."""
        rows = [(p.tf1, p.keras, _form(p), p.reason) for p in self.pairs]
        rows += [
            ("(assumed)", a.keras, f"= {a.value:g}", "not in the checkpoint")
            for a in self.assumed
        ]
        rows += [(n, "(unused)", "", "") for n in self.unused]
        rows += [
            (", ".join(u.candidates) or "(none)", u.keras, "REFUSED", u.why)
            for u in self.unpaired
        ]
        head = ("TF1", "Keras", "shape", "reason")
        return "\n".join(_columns([head, *rows]))


def _form(pair):
    form = "x".join(map(str, pair.shape)) or "scalar"
    if pair.transpose is not None:
        form += f" transpose {list(pair.transpose)}"
    if pair.reshape is not None:
        form += f" reshape {list(pair.reshape)}"
    return form


def _columns(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        yield "  ".join(cells).rstrip()


def check(
    variable_map: VariableMap,
    tf1: Optional[Mapping[str, Variable]],
    keras: List[KerasVariable],
) -> None:
    """Raises `UserError` unless a map can be carried out.

    Args:
      variable_map: of anybody.
      tf1: all variables of the checkpoint; None if it is yet to be written.
      keras: the variables of the models.
    """
    by_key = {variable.key: variable for variable in keras}
    _check_names(variable_map, tf1, by_key)
    for pair in variable_map.pairs:
        _check_pair(pair, tf1, by_key[pair.keras])
    owners = set()
    for optimizer in variable_map.optimizers:
        if optimizer.model in owners:
            raise UserError(
                f"the map has two optimizers of '{optimizer.model:.60}'; keep one"
            )
        owners.add(optimizer.model)
        _check_slots(optimizer)
        _check_optimizer(optimizer, variable_map, tf1, by_key)


def _check_names(variable_map, tf1, by_key):
    pairs, assumed = variable_map.pairs, variable_map.assumed
    used_tf1 = [pair.tf1 for pair in pairs] + list(variable_map.unused)
    used_keras = [pair.keras for pair in pairs] + [a.keras for a in assumed]
    for side, used, known in (
        ("checkpoint", used_tf1, tf1),
        ("models", used_keras, by_key),
    ):
        seen = set()
        for name in used:
            if known is not None and name not in known:
                raise UserError(
                    f"the map names {name!r:.120}, not in the {side}"
                )
            if name in seen:
                raise UserError(f"the map names {name!r:.120} twice")
            seen.add(name)
    left = list(variable_map.unpaired)
    listed = {u.keras for u in left}
    left += [
        Unpaired(key, (), "not in the map")
        for key in by_key
        if key not in used_keras and key not in listed
    ]
    if left:
        raise UserError(_refusal(left, tf1))


def _refusal(left, tf1):
    """Says what has no partner, a clause per reason, and how to tell it."""
    clauses = {}
    for each in left:
        among = _some(each.candidates)
        why = f"{each.why}: {among}" if among else each.why
        clauses.setdefault(why, []).append(each.keras)
    text = "; ".join(f"{_some(keys)} ({why})" for why, keys in clauses.items())
    found = f"{len(left)} variables have no partner: {text[:900]}"
    if all(each.why in MENDED_IN_MODEL.values() for each in left):
        return found
    return (
        f"{found}; write the map with "
        f"--write_map=FILE, complete it{_example(left, tf1 or {})}, and give it "
        "back with --map=FILE"
    )


def _example(left, tf1):
    """Shows an entry for the first variable that one of several may be."""
    for each in left:
        known = [tf1[name] for name in each.candidates if name in tf1]
        if len(known) > 1 and len({v.shape for v in known}) == 1:
            entry = {
                "tf1": "NAME",
                "keras": each.keras,
                "shape": list(known[0].shape),
                "dtype": known[0].dtype.name,
            }
            return f' with entries in "variables" such as {json.dumps(entry)}'
    return ""


def _some(texts):
    shown, more = texts[:_MOST_NAMES], len(texts) - _MOST_NAMES
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _check_pair(pair, tf1, variable):
    dtype = _dtype(pair)
    if tf1 is not None:
        found = tf1[pair.tf1]
        if found.shape != pair.shape or found.dtype != dtype:
            raise UserError(
                f"the map says that '{pair.tf1}' is {pair.dtype} "
                f"{list(pair.shape)}, in the checkpoint it is {found.dtype} "
                f"{list(found.shape)}"
            )
    if not np.can_cast(dtype, variable.dtype, "safe"):
        raise UserError(
            f"'{pair.tf1}' is {dtype}, '{pair.keras}' is {variable.dtype}: digits "
            f"would be lost; build the model with "
            f"keras.config.set_dtype_policy('{dtype}')"
        )
    shape = _shape_in_keras(pair)
    if shape != variable.shape:
        raise UserError(
            f"'{pair.tf1}' comes as {list(shape)}, but '{pair.keras}' is "
            f"{list(variable.shape)}; nothing is transposed or reshaped unless "
            "the map's entry says so"
        )


def _dtype(pair):
    try:
        return np.dtype(pair.dtype)
    except TypeError as error:
        raise UserError(
            f"the map says that '{pair.tf1}' is of type '{pair.dtype:.40}'"
        ) from error


def _shape_in_keras(pair):
    shape = pair.shape
    if pair.transpose is not None:
        if sorted(pair.transpose) != list(range(len(shape))):
            raise UserError(
                f"the map transposes '{pair.tf1}' {list(shape)} by "
                f"{list(pair.transpose)}, which is no order of its axes"
            )
        shape = tuple(shape[axis] for axis in pair.transpose)
    if pair.reshape is not None:
        if _count(shape) != _count(pair.reshape):
            raise UserError(
                f"the map reshapes '{pair.tf1}' {list(shape)} to "
                f"{list(pair.reshape)}, which holds another number of elements"
            )
        shape = pair.reshape
    return tuple(shape)


def _count(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def _check_slots(optimizer):
    """Refuses slots that are not those of the family, once for each variable."""
    if optimizer.family not in _SLOTS:
        raise UserError(
            f"the map has an optimizer '{optimizer.family:.60}' of "
            f"'{optimizer.model:.60}'; expected one of {', '.join(_SLOTS)}"
        )
    held = {}
    for slot in optimizer.slots:
        held.setdefault(slot.of, []).append(slot.slot)
    first = sorted(next(iter(held.values()), ()))
    for name, found in held.items():
        if sorted(found) not in _SLOTS[optimizer.family]:
            raise UserError(
                f"the map gives '{name:.100}' the slots {sorted(found)} of "
                f"{optimizer.family}; expected "
                + " or ".join(map(str, _SLOTS[optimizer.family]))
            )
        if sorted(found) != first:
            raise UserError(
                f"the map gives '{name:.100}' the slots {sorted(found)}, other "
                f"variables of '{optimizer.model:.60}' {first}"
            )


def _check_optimizer(optimizer, variable_map, tf1, by_key):
    shapes = {pair.tf1: pair.shape for pair in variable_map.pairs}
    models = {variable.model for variable in by_key.values()}
    if optimizer.model not in models:
        raise UserError(f"the map has an optimizer of '{optimizer.model:.60}'")
    scalars = (
        optimizer.beta1_power,
        optimizer.beta2_power,
        optimizer.global_step,
    )
    named = {name: () for name in scalars if name is not None}
    for slot in optimizer.slots:
        if slot.of not in shapes:
            raise UserError(
                f"the map has the slot '{slot.tf1:.100}' of '{slot.of:.100}', "
                "which it pairs with nothing"
            )
        if slot.tf1 in named:
            raise UserError(f"the map names '{slot.tf1:.100}' twice")
        named[slot.tf1] = shapes[slot.of]
    for name, shape in named.items():
        if tf1 is not None and (name not in tf1 or tf1[name].shape != shape):
            raise UserError(
                f"the map names '{name:.100}' of shape {list(shape)}, not in the "
                "checkpoint"
            )
