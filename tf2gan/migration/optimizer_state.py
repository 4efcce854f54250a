"""Moves the state of TF1's optimizers into those of Keras, and back.

The two keep the same numbers, with one exception: TF1's momentum is a sum of
gradients, Keras's is that sum times minus the learning rate. The rate is that of the
next step, so that this step is the same on both sides.
"""

import dataclasses
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import slots
from tf2gan.migration.slots import (
    ADAM,
    GRADIENT_DESCENT,
    MOMENTUM,
    RMSPROP,
)
from tf2gan.migration.variable_map import OptimizerPair
from tf2gan.optimizers import Adam

ADVICE = (
    '; compile the model otherwise, edit the map\'s "optimizers", or leave the '
    "state behind with --weights_only"
)


@dataclasses.dataclass(frozen=True)
class Target:
    """An optimizer of Keras in TF1's words.

    Attributes:
      family: "Adam", "RMSProp", "Momentum" or "GradientDescent".
      optimizer: itself, built.
      slots: its variables by what TF1 calls them, in the order of `variables`.
      variables: that it trains.
    """

    family: str
    optimizer: Any
    slots: Mapping[str, Sequence[keras.Variable]]
    variables: Sequence[keras.Variable]

    def slot(self, name: str, variable: keras.Variable):
        """Returns the slot of a variable, None if there is none."""
        held = self.slots.get(name)
        if not held:
            return None
        found = [v is variable for v in self.variables]
        return held[found.index(True)] if True in found else None

    @property
    def scale(self) -> Dict[str, float]:
        """What TF1's slots are multiplied by."""
        if self.family != MOMENTUM:
            return {}
        return {"momentum": -float(self.optimizer.learning_rate.numpy())}

    @property
    def betas(self) -> Tuple[float, float]:
        """Beta1 and beta2 of an Adam."""
        if isinstance(self.optimizer, Adam):
            return self.optimizer.beta1, self.optimizer.beta2
        return self.optimizer.beta_1, self.optimizer.beta_2


def target(model: keras.Model) -> Optional[Target]:
    """Describes the optimizer that a model was compiled with; None if with none.

    Raises:
      UserError: if TF1 has none like it.
    """
    optimizer = built(model)
    if optimizer is None:
        return None
    family, held = _slots_in_keras(model, optimizer)
    _check_options(model, optimizer)
    return Target(family, optimizer, held, list(model.trainable_variables))


def built(model: keras.Model) -> Any:
    """Returns the optimizer that a model was compiled with, with its slots, or None."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)
    return optimizer


def has_schedule(optimizer: keras.optimizers.Optimizer) -> bool:
    """Tells whether the learning rate follows the steps."""
    schedule = keras.optimizers.schedules.LearningRateSchedule
    return isinstance(optimizer._learning_rate, schedule)


def _steps_as(optimizer, kind):
    """Tells whether an optimizer's step is a kind's, as AdamW's is Adam's."""
    is_kind = isinstance(optimizer, kind)
    return is_kind and type(optimizer).update_step is kind.update_step


# What Keras's optimizers can do besides, and TF1's cannot; off if not true.
_EXTRAS = (
    "amsgrad",
    "weight_decay",
    "use_ema",
    "gradient_accumulation_steps",
)


def _check_options(model, optimizer):
    """Refuses what would go on in another way than TF1's optimizer."""
    for option in _EXTRAS:
        value = getattr(optimizer, option, None)
        if value:
            raise UserError(
                f"the model '{model.name}' is compiled with "
                f"{type(optimizer).__name__}({option}={value}), which no "
                "optimizer of TF1 does" + ADVICE
            )


def _slots_in_keras(model, optimizer):
    if _steps_as(optimizer, Adam):
        return ADAM, {"m": optimizer.m, "v": optimizer.v}
    if _steps_as(optimizer, keras.optimizers.Adam):
        return ADAM, {"m": optimizer._momentums, "v": optimizer._velocities}
    if _steps_as(optimizer, keras.optimizers.RMSprop):
        return RMSPROP, {
            "rms": optimizer._velocities,
            "mg": optimizer._average_gradients,
            "momentum": optimizer._momentums,
        }
    if _steps_as(optimizer, keras.optimizers.SGD):
        if not optimizer.momentum:
            return GRADIENT_DESCENT, {}
        return MOMENTUM, {"momentum": optimizer.momentums}
    raise UserError(
        f"the model '{model.name}' is compiled with {type(optimizer).__name__}; "
        "slots are carried over to Adam, RMSprop and SGD" + ADVICE
    )


def load(pair: OptimizerPair, of: Target, variables, read) -> None:
    """Gives an optimizer of Keras the state in a checkpoint.

    RMSprop without momentum keeps no slot for it. TF1's does, but does not use
    what is in it.

    Args:
      pair: what to carry over.
      of: the optimizer.
      variables: by name in TF1, (pair, Keras variable).
      read: returns the value of a variable of the checkpoint.

    Raises:
      UserError: if the slots of Momentum cannot be scaled by the learning rate.
    """
    # First, as a learning rate that scales the slots may follow a schedule.
    if pair.steps is not None:
        of.optimizer.iterations.assign(pair.steps)
    _check_scale(pair, of)
    for slot in pair.slots:
        mapped, variable = variables[slot.of]
        held = of.slot(slot.slot, variable)
        if held is not None:
            value = mapped.to_keras(read(slot.tf1))
            factor = of.scale.get(slot.slot, 1.0)
            held.assign(value if factor == 1.0 else value * factor)
    if isinstance(of.optimizer, Adam):
        _load_powers(pair, of, read)


def _load_powers(pair, of, read):
    """Sets the powers of beta, by the steps where no variable is known to be them."""
    adam = of.optimizer
    held = (adam.beta1_power, adam.beta2_power)
    for variable, name, beta in zip(held, pair.powers, of.betas):
        if name is not None:
            variable.assign(read(name))
        elif pair.steps is not None:
            variable.assign(slots.power_after(beta, pair.steps))


def _check_scale(pair, of):
    """Refuses a learning rate that TF1's slots cannot be told from Keras's by."""
    for rate in of.scale.values():
        if pair.slots and (rate == 0.0 or not np.isfinite(rate)):
            steps = int(of.optimizer.iterations.numpy())
            raise UserError(
                f"{pair.family} of '{pair.model}' has a learning rate of "
                f"{abs(rate):g} after {steps} steps, by which Keras scales its "
                "slots" + ADVICE
            )


def dump(
    pair: OptimizerPair, of: Target, variables
) -> Dict[str, Optional[np.ndarray]]:
    """Returns the state of an optimizer of Keras by names in TF1.

    What the optimizer does not keep is None.

    Raises:
      UserError: if the slots of Momentum cannot be scaled by the learning rate.
    """
    _check_scale(pair, of)
    values = {}
    for slot in pair.slots:
        mapped, variable = variables[slot.of]
        held = of.slot(slot.slot, variable)
        if held is None:
            values[slot.tf1] = None
            continue
        factor = of.scale.get(slot.slot, 1.0)
        value = held.numpy() if factor == 1.0 else held.numpy() / factor
        values[slot.tf1] = mapped.to_tf1(value).astype(mapped.dtype)
    steps = int(of.optimizer.iterations.numpy())
    if pair.global_step is not None:
        values[pair.global_step] = np.asarray(steps, pair.step_dtype)
    if pair.beta1_power is not None:
        values[pair.beta1_power] = slots.power_after(of.betas[0], steps)
    if pair.beta2_power is not None:
        values[pair.beta2_power] = slots.power_after(of.betas[1], steps)
    return values
