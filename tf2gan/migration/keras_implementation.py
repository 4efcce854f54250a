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
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import (
    average_names,
    conversion_notes,
    convert,
    exchange,
    keras_models,
    keras_probe,
    recorded_optimizers,
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
      optimizer_counts: the step counts that stand for those of Keras's optimizers.
    """

    def __init__(
        self,
        models: Dict[str, keras.Model],
        steps: Any,
        trace: Trace,
        given: Optional[VariableMap] = None,
        absent: Sequence[str] = (),
    ) -> None:
        """Takes a map or proposes one.

        Args:
          models: by name.
          steps: an object with the steps, or a dictionary of functions.
          trace: whose variables the models have.
          given: the map, None to have one proposed.
          absent: names of the trace's variables, or of their scopes, that the models
            do not have. A step count among them is not compared.

        Raises:
          UserError: if a step is missing, an entry of the dictionary is unknown or
            no function, or the map does not fit.
        """
        self._steps = steps if isinstance(steps, Steps) else Steps(steps)
        conversion = _conversion(models, trace, given)
        self._models = models
        mapping = recorded_optimizers.as_recorded(
            conversion.map,
            conversion.inventory,
            keras_models.variables(models),
            trace,
            _betas(models, conversion.map),
        )
        mapping = _without_steps(mapping, absent)
        self.notes: List[str] = _notes_of(mapping, conversion)
        recorded = [variable.name for variable in trace.variables]
        self._map = average_names.standard(mapping, models, recorded)
        self._names = {
            pair.tf1: own.tf1
            for pair, own in zip(mapping.pairs, self._map.pairs)
        }
        for name in _KNOWN:
            self._offer(name)
        self._probe()
        self._idle = _idle_slots(models, self._map)
        self.optimizer_counts = frozenset(
            o.global_step for o in self._map.optimizers if o.global_step
        )
        _check_absent(absent, self.names(trace))
        self.warnings = self._not_compared(trace, conversion.inventory.steps)

    def state(self) -> Dict[str, np.ndarray]:
        """Returns the values of models and optimizers by the trace's names."""
        state = exchange.to_tf1(self._models, self._map)
        return {n: v for n, v in state.items() if n not in self._idle}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Sets all variables of models and optimizers."""
        mapping = _counted(self._map, state)
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

    def _not_compared(self, trace, steps):
        """Returns a line for each reason why variables of a trace are left out."""
        groups = {}
        for name, own in self.names(trace).items():
            reason = "the models do not have them"
            if name in self._idle:
                reason = "they are RMSProp's momentum, and that of the models has none"
            elif name in steps:
                reason = "they count the steps of no optimizer of the models"
            if own is None:
                groups.setdefault(reason, []).append(name)
        return [
            f"not compared, as {reason}: {_listed(names)}"
            for reason, names in groups.items()
        ]

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


class Steps:
    """The user's functions, as attributes or as entries."""

    def __init__(self, steps: Any) -> None:
        """Takes an object, or a dictionary; `UserError` unless it has both steps."""
        self._steps = steps
        if isinstance(steps, dict):
            _check_known(steps)
        for name in PHASES:
            if self.find(name) is None:
                raise UserError(
                    f"a {type(steps).__name__} without {name}; expected an object "
                    f"or a dictionary with {' and '.join(PHASES)}"
                )

    def find(self, name: str) -> Optional[Callable]:
        """Returns a function, None if there is none of that name."""
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


# A conversion speaks of a checkpoint and of its own flags.
_SAID_OF_A_TRACE = {
    "copy the .meta file beside the checkpoint, which tells it; or ": "",
    "in the checkpoint": "in the trace",
    "the checkpoint": "the trace",
    "--write_map=FILE": "convert_checkpoint.py --write_map=FILE",
    "--map=FILE": "--name_map=FILE",
    "leave the state behind with --weights_only": (
        "do not compile it: its slots are then not compared"
    ),
}
_SAID_OF_A_MAP = 'edit the map\'s "optimizers", '


def _conversion(models, trace, given):
    """Returns the conversion of a trace's start, whose map fits."""
    given = given and _of_trace(given, trace)
    try:
        conversion = convert.Conversion(
            _TraceCheckpoint(trace), models, convert.Options(), given
        )
        conversion.check_map()
    except UserError as error:
        message = str(error)
        if given is None:
            message = message.replace(_SAID_OF_A_MAP, "")
        for said, meant in _SAID_OF_A_TRACE.items():
            message = message.replace(said, meant)
        raise UserError(message) from error
    return conversion


def _betas(models, mapping):
    """Returns beta2 of the models' Adams."""
    targets = exchange.optimizers_of(models) if mapping.optimizers else {}
    adams = [t for t in targets.values() if t.family == slots.ADAM]
    return {target.betas[1] for target in adams}


def _without_steps(mapping, absent):
    optimizers = [
        dataclasses.replace(o, global_step=None)
        if o.global_step in absent
        else o
        for o in mapping.optimizers
    ]
    return dataclasses.replace(mapping, optimizers=tuple(optimizers))


def _check_absent(absent, names):
    """Refuses to leave out what is nowhere, or what the models have."""
    for name in absent:
        under = [n for n in names if (n + "/").startswith(name + "/")]
        if not under:
            raise UserError(
                f"the map says null for '{name:.100}', which is not in the trace"
            )
        had = [n for n in under if names[n] is not None]
        if had:
            raise UserError(
                f"the map says null for '{name:.100}', but the models have "
                f"'{had[0]:.100}'; leave it out of the map"
            )


def _notes_of(mapping, conversion):
    """Returns a conversion's notes, with the optimizers as the trace pairs them."""
    described = {
        conversion_notes.description(old): conversion_notes.description(new)
        for old, new in zip(conversion.map.optimizers, mapping.optimizers)
    }
    return [described.get(note, note) for note in conversion.notes]


def _of_trace(given, trace):
    """Returns a map that was made for a checkpoint as one of the trace's start.

    The script's own checkpoints may be of float32 where its trace is of float64.
    """
    dtypes = {variable.name: variable.dtype for variable in trace.variables}
    pairs = [
        dataclasses.replace(pair, dtype=dtypes.get(pair.tf1, pair.dtype))
        for pair in given.pairs
    ]
    given = dataclasses.replace(given, pairs=tuple(pairs))
    return _counted(given, trace.initial_state())


def _counted(mapping, state):
    """Returns a map with the optimizers' step counts of a state."""
    optimizers = [
        recorded_optimizers.counted(o, state) for o in mapping.optimizers
    ]
    return dataclasses.replace(mapping, optimizers=tuple(optimizers))


def _idle_slots(models, mapping):
    """Returns the slots that TF1's optimizer fills and the model's does not have.

    RMSProp of TF1 writes to its momentum even where that is 0 and it decides nothing.
    """
    targets = exchange.optimizers_of(models) if mapping.optimizers else {}
    return frozenset(
        slot.tf1
        for optimizer in mapping.optimizers
        for slot in optimizer.slots
        if not targets[optimizer.model].slots.get(slot.slot)
    )


def _listed(names):
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
