"""Converts checkpoints of anybody's TF1 networks to their Keras 3 models, and back."""

import dataclasses
import os
import tempfile
from typing import Callable, Dict, List, Optional

import keras
import numpy as np
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration import (
    graph_powers,
    map_file,
    names,
    optimizer_pairing,
    optimizer_state,
    outputs,
    pairing,
    slots,
    table_file,
    tf1_checkpoint,
    variable_map,
)
from tf2gan.migration.keras_models import KerasVariable, variables
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint
from tf2gan.migration.variable_map import VariableMap

_RESTORE_ERRORS = (
    tf.errors.OpError,
    ValueError,
    AssertionError,
    IndexError,
    TypeError,
)
_FILES = 3  # that each value is in: .weights.h5, .keras, the checkpoint
_ITEM_BYTES = 8  # of the largest type
_ENTRY_BYTES = 4096  # around a value, in HDF5
# TF1's defaults, which are not those of Keras.
_EPSILONS = {slots.ADAM: 1e-8, slots.RMSPROP: 1e-10}
_MOST_RANGES = 20  # in a note
_MOST_PAIRS = 10  # in a note


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user allows.

    Attributes:
      assume_moving: moving averages that were never saved, or saved and never
        updated, are taken to be 0 and 1.
      weights_only: the optimizers' state is left behind.
      unused: variables of the checkpoint's networks that no model has a place for
        are left behind.
    """

    assume_moving: bool = False
    weights_only: bool = False
    unused: bool = False


class Conversion:
    """A checkpoint, the models, and the map between them.

    Attributes:
      checkpoint: of TF1.
      models: of Keras, by name.
      inventory: what is in the checkpoint.
      map: to be carried out.
      notes: what a user should know, a line each.
    """

    def __init__(
        self,
        checkpoint: Tf1Checkpoint,
        models: Dict[str, keras.Model],
        options: Options,
        given: Optional[VariableMap] = None,
    ) -> None:
        """Takes a map or proposes one.

        Raises:
          UserError: if the checkpoint is one of TF2. What else is wrong is for
            `check`, so that the map can be shown and edited first.
        """
        if checkpoint.is_tf2:
            raise UserError(
                f"the checkpoint '{checkpoint.path}' was written by "
                "tf.train.Checkpoint, not by TF1's Saver; to go back to TF1, add "
                "--to=tf1"
            )
        self.checkpoint = checkpoint
        self.models = models
        self.inventory = slots.classify(checkpoint.variables)
        self.notes: List[str] = []
        self._keras = variables(models)
        self._options = options
        self._refusal: Optional[UserError] = None
        self._graph: optimizer_pairing.GraphPowers = {}
        self.map = given or self._propose()
        if options.unused:
            self.map = _with_unused(self.map)
        if options.weights_only:
            self.map = dataclasses.replace(self.map, optimizers=())
        else:
            self._add_optimizers()
        if given:
            self._note_roles()
        self._report()

    def _propose(self):
        return pairing.propose(
            self.inventory.variables, self._keras, self._options.assume_moving
        )

    def _add_optimizers(self):
        """Pairs the optimizers, once all variables have their partners."""
        try:
            if not self.map.unpaired and _targets(self.models):
                self._check_variables()
                found = self._optimizers()
                self.map = dataclasses.replace(self.map, optimizers=found)
        except UserError as error:
            self._refusal = error

    def _optimizers(self):
        """Returns the map's optimizers completed, or those that are proposed."""
        targets, given = _targets(self.models), self.map.optimizers
        fitting = [pair for pair in given if self._is_fitting(pair, targets)]
        if given and len(fitting) < len(given):
            return given  # which `check` refuses
        scalars = [n for p in self.inventory.powers for n in (p.beta1, p.beta2)]
        scalars += self.inventory.steps
        scalars += [n for pair in given for n in _powers(pair) if n]
        values = {name: float(self.checkpoint.read(name)) for name in scalars}
        dtypes = {
            name: self.checkpoint.variables[name].dtype.name
            for name in self.inventory.steps
        }
        trained = {model: self._trained(self.map, model) for model in targets}
        self._graph = self._powers_in_graph()
        return tuple(
            optimizer_pairing.propose(
                self.inventory,
                values,
                trained,
                targets,
                dtypes,
                self._graph,
                given,
            )
        )

    def _is_fitting(self, pair, targets):
        """Tells whether an optimizer of a given map can be completed."""
        named = [name for name in _powers(pair) if name is not None]
        if len(named) == 1:
            raise UserError(
                f"the map's optimizer of '{pair.model:.60}' names {named[0]:.100} "
                "alone; name both beta1_power and beta2_power"
            )
        known = self.checkpoint.variables
        return (
            pair.model in targets
            and pair.family in ("", targets[pair.model].family)
            and all(n in known and known[n].shape == () for n in named)
        )

    def _powers_in_graph(self):
        """Returns what the graph beside the checkpoint says, if it is needed."""
        path = self.checkpoint.meta_path
        if len(self.inventory.powers) < 2 or not os.path.isfile(path):
            return {}
        try:
            return graph_powers.read(path)
        except UserError as error:
            self.notes.append(
                f"no powers of beta are told by the graph: {error}"
            )
            return {}

    def _trained(self, found, model):
        by_key = {variable.key: variable for variable in self._keras}
        own = {p.tf1: by_key[p.keras] for p in found.pairs}
        return {
            name: variable.variable
            for name, variable in own.items()
            if variable.model == model and variable.variable.trainable
        }

    def _report(self):
        if self.inventory.averages:
            shadow, owner = next(iter(self.inventory.averages.items()))
            self.notes.append(
                f"{len(self.inventory.averages)} shadow variables of "
                f"ExponentialMovingAverage are left behind ({shadow} of {owner}, "
                "...); to take them, put their names into the map in place of "
                "those of their variables"
            )
        carried = {
            slot.tf1 for pair in self.map.optimizers for slot in pair.slots
        }
        left = [s for s in self.inventory.slots if s.name not in carried]
        if left:
            kinds = sorted({slot.optimizer for slot in left})
            self.notes.append(
                f"{len(left)} slots of {', '.join(kinds)} are left behind"
            )
        named = {p.tf1 for p in self.map.pairs} | set(self.map.unused)
        named |= {name for u in self.map.unpaired for name in u.candidates}
        ignored = [n for n in self.inventory.variables if n not in named]
        if ignored:
            self.notes.append(
                "left behind, as the map does not name them: "
                + ", ".join(ignored[:10])
            )
        self._note_values()
        for pair in self.map.optimizers:
            self.notes.append(_describe(pair))
            self._note_epsilon(pair)
            self._note_momentum(pair)
            self._note_graph(pair)
        self._note_left()
        self._note_powers()
        for step in self.inventory.steps:
            self._note_step(step)
        if self.inventory.others:
            self.notes.append(
                "left behind as no part of a network: "
                + ", ".join(self.inventory.others[:10])
            )

    def _note_roles(self):
        """Says where a given map pairs what the names say to be different things."""
        odd = [p for p in self.map.pairs if _differ(p.tf1, p.keras)]
        if odd:
            shown = [f"{p.tf1} with {p.keras}" for p in odd[:_MOST_PAIRS]]
            more = len(odd) - len(shown)
            shown += [f"and {more} more"] if more else []
            self.notes.append(
                "the map pairs what is not the same by its names: "
                f"{', '.join(shown)}; was one taken for another?"
            )

    def _note_powers(self):
        """Says which models share powers of beta, which only a given map can do."""
        owners = {}
        for pair in self.map.optimizers:
            owners.setdefault(pair.beta2_power, []).append(pair.model)
        for name, models in owners.items():
            if name is not None and len(models) > 1:
                self.notes.append(
                    f"the map gives {name} to {' and '.join(models)}; only one "
                    "optimizer that trained both in TF1 has the same for both"
                )

    def _note_graph(self, pair):
        """Says where a given map contradicts the graph beside the checkpoint."""
        told = {p for s in pair.slots for p in self._graph.get(s.tf1, ())}
        if told and pair.beta2_power and _powers(pair) not in told:
            says = " or ".join(sorted(beta2 for _, beta2 in told))
            self.notes.append(
                f"the map gives {pair.beta2_power} to {pair.model}, but its kernels "
                f"in the .meta file take {says}"
            )

    def _note_left(self):
        """Says which models a given map has no optimizer of, and others it has."""
        owners = [pair.model for pair in self.map.optimizers]
        if not owners or self.map.unpaired or self._refusal:
            return
        for model in _targets(self.models):
            if model not in owners:
                self.notes.append(
                    f'the map\'s "optimizers" have no entry of {model}, whose state '
                    "is left behind"
                )

    def _note_values(self):
        """Says what is in the vectors that no name tells apart."""
        unclear = [u for u in self.map.unpaired if len(u.candidates) > 1]
        candidates = dict.fromkeys(n for u in unclear for n in u.candidates)
        names_of = [name for name in candidates if self._is_vector(name)]
        if names_of:
            shown = [self._range(name) for name in names_of[:_MOST_RANGES]]
            more = len(names_of) - len(shown)
            shown += [f"and {more} more"] if more else []
            self.notes.append(
                f"values, which decide nothing here: {', '.join(shown)}; no "
                "moving variance is negative, and it starts at 1, as gamma does; "
                "beta, moving means and most biases start at 0"
            )

    def _is_vector(self, name):
        """Tells whether a name, of which a map may be wrong, is one with values."""
        variable = self.checkpoint.variables.get(name)
        return variable and len(variable.shape) == 1 and variable.shape[0] > 0

    def _range(self, name):
        value = self.checkpoint.read(name)
        return f"{name} {np.min(value):.3g} to {np.max(value):.3g}"

    def _note_momentum(self, pair):
        """Says where SGD's momentum goes on in another way than TF1's."""
        optimizer = getattr(self.models.get(pair.model), "optimizer", None)
        if pair.family != slots.MOMENTUM or optimizer is None:
            return
        if optimizer_state.has_schedule(optimizer):
            self.notes.append(
                f"Momentum of {pair.model} follows a schedule: Keras keeps the "
                "learning rate in its momentum and TF1 does not, so they agree in "
                "the next step only"
            )
        if optimizer.nesterov:
            self.notes.append(
                f"Momentum of {pair.model} is compiled with nesterov=True; no "
                "checkpoint says whether TF1's had use_nesterov"
            )

    def _note_epsilon(self, pair):
        optimizer = getattr(self.models.get(pair.model), "optimizer", None)
        epsilon = getattr(optimizer, "epsilon", None)
        default = _EPSILONS.get(pair.family)
        if None not in (epsilon, default) and epsilon != default:
            self.notes.append(
                f"{pair.family} of {pair.model} is compiled with epsilon="
                f"{epsilon:g}; TF1's default is {default:g}, and no checkpoint "
                "holds it"
            )

    def _note_step(self, step):
        counted = [p for p in self.map.optimizers if p.steps is not None]
        value = int(self.checkpoint.read(step))
        if counted and value not in [p.steps for p in counted]:
            says = ", ".join(f"{p.model} {p.steps}" for p in counted)
            self.notes.append(
                f"{step} is {value}, but the optimizers have done: {says}; was it "
                "shared by both, or counted elsewhere?"
            )

    def check(self) -> None:
        """Raises `UserError` unless the map can be carried out."""
        self.check_map()
        self._check_averages()
        self._check_steps()

    def _check_variables(self):
        without = dataclasses.replace(self.map, optimizers=())
        variable_map.check(without, self.checkpoint.variables, self._keras)

    def _check_powers(self):
        optimizer_pairing.refuse_unknown_powers(
            self.map.optimizers, self.inventory.powers, self.checkpoint.read
        )

    def check_map(self) -> None:
        """Raises `UserError` unless the map fits checkpoint and models."""
        self._check_variables()
        if self._refusal is not None:
            raise self._refusal
        variable_map.check(self.map, self.checkpoint.variables, self._keras)
        targets = _targets(self.models) if self.map.optimizers else {}
        for pair in self.map.optimizers:
            self._check_optimizer(pair, targets)
        self._check_powers()

    def _check_optimizer(self, pair, targets):
        """Refuses an optimizer that is not the model's, or not of all it trains."""
        if pair.model not in targets:
            raise UserError(_not_compiled(pair.model))
        family = targets[pair.model].family
        if pair.family != family:
            raise UserError(
                f"the map has {pair.family} of '{pair.model}', but that model was "
                f"compiled with {family}" + optimizer_state.ADVICE
            )
        trained = set(self._trained(self.map, pair.model))
        if family == slots.GRADIENT_DESCENT:
            trained = set()  # it keeps nothing
        held = {slot.of for slot in pair.slots}
        if trained != held:
            names_of = ", ".join(sorted(trained ^ held)[:3])
            raise UserError(
                f"the map's {family} of '{pair.model}' must have slots of what that "
                f"model trains, and of nothing else; it differs in: {names_of}"
            )

    def _check_steps(self):
        """Refuses steps of Adam that its power of beta2 contradicts."""
        targets = _targets(self.models) if self.map.optimizers else {}
        for pair in self.map.optimizers:
            if pair.family != slots.ADAM or pair.beta2_power is None:
                continue
            power = float(self.checkpoint.read(pair.beta2_power))
            says = slots.steps_of(power, targets[pair.model].betas[1])
            if says is not None and says != pair.steps:
                raise UserError(
                    f"the map says that Adam of '{pair.model}' has done "
                    f"{pair.steps} steps, {pair.beta2_power} says {says}"
                )

    def _check_averages(self):
        """Refuses a model's moving averages that were saved but never updated."""
        if self._options.assume_moving:
            return
        by_key = {v.key: v for v in self._keras}
        averages = {}
        for pair in self.map.pairs:
            if by_key[pair.keras].is_moving:
                model = by_key[pair.keras].model
                averages.setdefault(model, []).append(pair)
        for model, pairs in averages.items():
            if not any(self._is_updated(p, by_key[p.keras]) for p in pairs):
                raise UserError(
                    f"all {len(pairs)} moving averages of '{model}' are still 0 "
                    "and 1: they were saved but never updated, as where "
                    "UPDATE_OPS were not run; TF1 would sample with them too; "
                    "--assume_moving=initial takes them as they are"
                )

    def _is_updated(self, pair, variable):
        initial = float(variable.role == names.MOVING_VARIANCE)
        return np.any(self.checkpoint.read(pair.tf1) != initial)

    def load(self) -> None:
        """Gives the models, and their optimizers, the values in the checkpoint.

        Raises:
          UserError: if the map cannot be carried out.
        """
        self.check()
        load_values(self.models, self.map, self.checkpoint.read)

    def write(self, folder: str, overwrite: bool = False) -> None:
        """Writes the models, a `tf.train.Checkpoint` of them all, and the map.

        Raises:
          UserError: if the folder cannot be written, or is not empty and
            `overwrite` is false.
        """
        sources = [self.checkpoint.path]
        with outputs.staged(folder, overwrite, sources) as part:
            outputs.require_space(part, _most_bytes(self.models))
            for name, model in self.models.items():
                model.save_weights(os.path.join(part, name + ".weights.h5"))
                _save(model, os.path.join(part, name + ".keras"))
            inner = os.path.join(part, "checkpoints")
            os.makedirs(inner)
            tracked(self.models).write(os.path.join(inner, "model"))
            with open(os.path.join(inner, "checkpoint"), "w") as file:
                file.write('model_checkpoint_path: "model"\n')
            with open(os.path.join(part, "map.json"), "w") as file:
                file.write(map_file.dump(self.map))


def load_values(
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    read: Callable[[str], np.ndarray],
) -> None:
    """Gives models, and their optimizers, the values that a map says.

    Args:
      models: by name.
      mapping: that fits them.
      read: returns a value by its name in TF1.

    Raises:
      UserError: if the map has an optimizer that no model was compiled with.
    """
    by_key = {v.key: v.variable for v in variables(models)}
    for pair in mapping.pairs:
        by_key[pair.keras].assign(pair.to_keras(read(pair.tf1)))
    for assumed in mapping.assumed:
        variable = by_key[assumed.keras]
        variable.assign(np.full(variable.shape, assumed.value))
    targets = _targets(models) if mapping.optimizers else {}
    for pair in mapping.optimizers:
        if pair.model not in targets:
            raise UserError(_not_compiled(pair.model))
        optimizer_state.load(
            pair, targets[pair.model], _by_tf1(mapping, by_key), read
        )


def _most_bytes(models):
    """Returns what the files of models take at most."""
    values = [v for model in models.values() for v in model.variables]
    for model in models.values():
        # Whatever optimizer it is, `.keras` has its variables.
        values += getattr(getattr(model, "optimizer", None), "variables", [])
    size = sum(np.prod(v.shape) * _ITEM_BYTES + _ENTRY_BYTES for v in values)
    return int(_FILES * size)


def _save(model, path):
    try:
        model.save(path)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"Keras cannot save the model '{model.name}' whole: {error}; give its "
            "own layers a get_config()"
        ) from error


def _with_unused(found):
    """Moves what no model has a place for from the refused to the unused."""
    nowhere = [u for u in found.unpaired if u.keras == pairing.NOTHING]
    names_of = tuple(name for u in nowhere for name in u.candidates)
    return dataclasses.replace(
        found,
        unused=found.unused + names_of,
        unpaired=tuple(u for u in found.unpaired if u not in nowhere),
    )


def _describe(pair):
    steps = "unknown steps" if pair.steps is None else f"{pair.steps} steps"
    return (
        f"{pair.family} of {pair.model}: {len(pair.slots)} slots, {steps} "
        f"({pair.reason})"
    )


def _differ(tf1, keras_key):
    """Tells whether two names say different roles."""
    roles = {names.parse(name).role for name in (tf1, keras_key)} - {None}
    # People call either kernel of a cell a kernel.
    return len(roles) > 1 and roles != {names.KERNEL, names.RECURRENT_KERNEL}


def _powers(pair):
    return pair.beta1_power, pair.beta2_power


def _targets(models):
    found = {name: optimizer_state.target(m) for name, m in models.items()}
    return {name: target for name, target in found.items() if target}


def _by_tf1(mapping, by_key):
    return {pair.tf1: (pair, by_key[pair.keras]) for pair in mapping.pairs}


def _not_compiled(model):
    return (
        f"the map has an optimizer of '{model}', but that model was not compiled "
        "with one"
    )


def tracked(models: Dict[str, keras.Model]) -> tf.train.Checkpoint:
    """Returns the `tf.train.Checkpoint` of models and their optimizers."""
    objects = dict(models)
    for name, model in models.items():
        optimizer = optimizer_state.built(model)
        if optimizer is not None:
            objects[name + "_optimizer"] = optimizer
    return tf.train.Checkpoint(**objects)


def restore(models: Dict[str, keras.Model], path: str) -> None:
    """Gives models the state in a checkpoint that `Conversion.write` wrote.

    Raises:
      UserError: if it is damaged or of other models.
    """
    path = tf1_checkpoint.find(path)
    table_file.read_bundle_index(path)
    try:
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
            if tf1_checkpoint.is_pattern(path):
                path = tf1_checkpoint.link(path, folder)
            tracked(models).read(path).assert_consumed()
    except _RESTORE_ERRORS as error:
        line = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"cannot restore '{path}' into the models: {line[0][:300]}"
        ) from error


def _owner(pair, name):
    return next(slot.of for slot in pair.slots if slot.tf1 == name)


def to_tf1(
    models: Dict[str, keras.Model],
    mapping: VariableMap,
    base: Optional[Tf1Checkpoint] = None,
) -> Dict[str, np.ndarray]:
    """Returns the values of models by names in TF1.

    Args:
      models: by name.
      mapping: as `Conversion.write` wrote it.
      base: a checkpoint whose other variables are taken along.

    Raises:
      UserError: if the map does not fit.
    """
    known = variables(models)
    variable_map.check(mapping, base and base.variables, known)
    by_key: Dict[str, KerasVariable] = {v.key: v.variable for v in known}
    values = base.read_all() if base else {}
    for pair in mapping.pairs:
        value = pair.to_tf1(by_key[pair.keras].numpy())
        values[pair.tf1] = value.astype(pair.dtype)
    targets = _targets(models) if mapping.optimizers else {}
    for pair in mapping.optimizers:
        if pair.model not in targets:
            raise UserError(_not_compiled(pair.model))
        by_tf1 = _by_tf1(mapping, by_key)
        state = optimizer_state.dump(pair, targets[pair.model], by_tf1)
        kept = {n: v for n, v in state.items() if v is not None}
        lost = [n for n, v in state.items() if v is None and n not in values]
        # What Keras does not keep, as RMSprop its unused momentum, is zero.
        zeros = {n: np.zeros_like(values[_owner(pair, n)]) for n in lost}
        values = {**values, **kept, **zeros}
    return values
