"""Makes somebody's Keras 3 models and train steps an implementation for a replay.

The user gives two functions. One takes no arguments and returns the models, as for
`convert_checkpoint.py`; an optimizer whose state is to be compared is given to
`model.compile`. The other takes the dictionary of the models by name and returns the
steps: an object with the methods, or a dictionary with the functions,

    discriminator_step(images, latent)    trains once and returns the loss
    generator_step(images, latent)        the same

and, if wanted, `feed`, `activations` and `gradients`, which `lockstep.run` describes;
gradients may go by the models' own names (generator/dense/kernel), too. Without
`activations`, those of functional models that are called generator and discriminator
are derived. State goes through a map of variables, the map that `convert_checkpoint.py`
proposes, writes and reads.
"""

import dataclasses
from typing import Any, Dict, List, Mapping, Optional

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import (
    average_names,
    convert,
    exchange,
    keras_probe,
    slots,
    tf1_checkpoint,
)
from tf2gan.migration.report import PHASES
from tf2gan.migration.traces import Trace
from tf2gan.migration.variable_map import VariableMap

_OPTIONAL = ("feed", "activations")
_KNOWN = (*PHASES, *_OPTIONAL, "gradients")


class KerasImplementation:
    """Models, steps, and the map of their variables, under the trace's names.

    Moving averages are called `LAYER/moving_mean` and `LAYER/moving_variance`, whatever
    the trace calls them.

    Attributes:
      notes: how optimizers were paired, and what is left behind, a line each.
      warnings: what is not compared, a line each.
    """

    def __init__(
        self,
        models: Dict[str, keras.Model],
        steps: Any,
        trace: Trace,
        given: Optional[VariableMap] = None,
    ) -> None:
        """Takes a map or proposes one.

        Args:
          models: by name.
          steps: an object with the steps, or a dictionary of functions.
          trace: whose variables the models have.
          given: the map, None to have one proposed.

        Raises:
          UserError: if a step is missing, an entry of the dictionary is unknown or
            no function, or the map does not fit.
        """
        conversion = convert.Conversion(
            _TraceCheckpoint(trace), models, convert.Options(), given
        )
        conversion.check_map()
        self.notes: List[str] = conversion.notes
        self._models = models
        mapping = _with_powers(
            conversion.map, conversion.inventory.powers, trace
        )
        recorded = [variable.name for variable in trace.variables]
        self._map = average_names.standard(mapping, models, recorded)
        self._names = {
            pair.tf1: own.tf1
            for pair, own in zip(mapping.pairs, self._map.pairs)
        }
        self._steps = _Steps(steps)
        for name in _KNOWN:
            self._offer(name)
        self._probe()
        self.warnings = _not_compared(self.names(trace))

    def state(self) -> Dict[str, np.ndarray]:
        """Returns the values of models and optimizers by the trace's names."""
        return exchange.to_tf1(self._models, self._map)

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Sets all variables of models and optimizers."""
        counted = tuple(_counted(o, state) for o in self._map.optimizers)
        mapping = dataclasses.replace(self._map, optimizers=counted)
        exchange.load_values(self._models, mapping, state.__getitem__)

    def names(self, trace: Trace) -> Dict[str, Optional[str]]:
        """Returns the trace's names and the own ones, None for what is not there.

        They are the same but for moving averages of other names than TF1's.
        """
        own = self.state()
        recorded = [variable.name for variable in trace.variables]
        names = {name: self._names.get(name, name) for name in recorded}
        return {
            n: other if other in own else None for n, other in names.items()
        }

    def _offer(self, name):
        method = self._steps.find(name)
        if method is not None:
            offered = self._by_tf1(method) if name == "gradients" else method
            setattr(self, name, offered)

    def _probe(self):
        """Shows the layers' outputs where the user's steps do not."""
        if self._steps.find("activations") is not None:
            return
        derived = keras_probe.derive(
            self._models, self._map, self._steps.find("feed")
        )
        if derived is not None:
            self.activations = derived.shown
            self.variants = derived.variants

    def _by_tf1(self, gradients):
        pairs = {pair.keras: pair for pair in self._map.pairs}

        def renamed(images, latent):
            values = gradients(images, latent)
            own = {n: np.array(v) for n, v in values.items() if n in pairs}
            others = {n: v for n, v in values.items() if n not in pairs}
            found = {pairs[n].tf1: pairs[n].to_tf1(v) for n, v in own.items()}
            return {**others, **found}

        return renamed


class _Steps:
    """The user's functions, as attributes or as entries."""

    def __init__(self, steps):
        self._steps = steps
        if isinstance(steps, dict):
            _check_known(steps)
        for name in PHASES:
            if self.find(name) is None:
                raise UserError(
                    f"a {type(steps).__name__} without {name}; expected an object "
                    f"or a dictionary with {' and '.join(PHASES)}"
                )

    def find(self, name):
        if isinstance(self._steps, dict):
            found = self._steps.get(name)
        else:
            found = getattr(self._steps, name, None)
        return found if callable(found) else None


def _check_known(steps):
    """Refuses entries that nobody would call, such as misspelt ones."""
    unknown = [name for name in steps if name not in _KNOWN]
    if unknown:
        raise UserError(
            f"the dictionary has {unknown[0]!r:.60}; known are {', '.join(_KNOWN)}"
        )
    for name, value in steps.items():
        if not callable(value):
            raise UserError(
                f"the dictionary's {name} is a {type(value).__name__}; expected "
                "a function of images and latent"
            )


class _TraceCheckpoint:
    """The initial state of a trace, as a conversion reads a checkpoint."""

    is_tf2 = False
    meta_path = ""

    def __init__(self, trace):
        self.path = trace.folder
        self._values = trace.initial_state()
        self.variables = {
            name: tf1_checkpoint.Variable(name, value.shape, value.dtype)
            for name, value in self._values.items()
        }

    def read(self, name):
        return self._values[name]


def _not_compared(names):
    missing = [name for name, own in names.items() if own is None]
    if not missing:
        return []
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    listed = ", ".join(missing[:10])
    return [f"not compared, as the models do not have them: {listed}{more}"]


def _with_powers(mapping, powers, trace):
    """Returns a map whose optimizers have the powers that move in their phases.

    At the start all powers of beta are alike, and what they are called need not say
    to which optimizer they belong.
    """
    moved = _moved(trace)
    optimizers = []
    for optimizer in mapping.optimizers:
        trained = {slot.of for slot in optimizer.slots}
        own = [
            p
            for phase in trace.phases
            for p in powers
            if trained <= set(phase.trains)
            and p.beta2 in moved.get(phase.name, ())
        ]
        if len(own) == 1:
            optimizer = dataclasses.replace(
                optimizer, beta1_power=own[0].beta1, beta2_power=own[0].beta2
            )
        optimizers.append(optimizer)
    return dataclasses.replace(mapping, optimizers=tuple(optimizers))


def _moved(trace):
    """Returns by phase the variables that its first recorded call changed."""
    found, before = {}, trace.initial_state()
    for call in trace.calls():
        before = {**before, **call.changed}
        if call.variables and call.phase not in found:
            found[call.phase] = {
                name
                for name, value in call.variables.items()
                if not np.array_equal(before.get(name), value)
            }
        before = call.variables
        if len(found) == len(trace.phases):
            break
    return found


def _counted(optimizer, state):
    """Returns the pair of an optimizer with the step count of a state."""
    steps = optimizer.steps
    if optimizer.beta2_power is not None:
        _, steps = slots.find_steps(float(state[optimizer.beta2_power]))
    elif optimizer.global_step is not None:
        steps = int(state[optimizer.global_step])
    return dataclasses.replace(optimizer, steps=steps)
