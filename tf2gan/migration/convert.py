"""Converts checkpoints of anybody's TF1 networks to their Keras 3 models."""

import dataclasses
import os
from typing import Dict, List, Optional

import keras
import numpy as np

from tf2gan.common.errors import UserError
from tf2gan.migration import (
    conversion_notes,
    exchange,
    graph_powers,
    graph_steps,
    keras_files,
    names,
    optimizer_pairing,
    optimizer_state,
    pairing,
    slots,
    variable_map,
)
from tf2gan.migration.keras_models import variables
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint
from tf2gan.migration.variable_map import VariableMap


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
        self.map = dataclasses.replace(self.map, left=self._left())
        facts = conversion_notes.Facts(
            checkpoint,
            models,
            self.inventory,
            self.map,
            given is not None,
            self._refusal is not None,
            self._graph,
        )
        self.notes += conversion_notes.notes(facts)

    def _propose(self):
        return pairing.propose(
            self.inventory.variables, self._keras, self._options.assume_moving
        )

    def _left(self):
        """Returns what of the checkpoint a map neither carries over nor lists."""
        listed = {*self.map.carried, *self.map.unused}
        listed |= {name for u in self.map.unpaired for name in u.candidates}
        return tuple(n for n in self.checkpoint.variables if n not in listed)

    def _add_optimizers(self):
        """Pairs the optimizers, once all variables have their partners."""
        try:
            if not self.map.unpaired and exchange.optimizers_of(self.models):
                self._check_variables()
                found = self._optimizers()
                self.map = dataclasses.replace(self.map, optimizers=found)
        except UserError as error:
            self._refusal = error

    def _optimizers(self):
        """Returns the map's optimizers completed, or those that are proposed."""
        targets, given = (
            exchange.optimizers_of(self.models),
            self.map.optimizers,
        )
        trained = {model: self._trained(self.map, model) for model in targets}
        for model in [pair.model for pair in given] or targets:
            self._refuse_averages(model, trained.get(model, ()))
        fitting = [pair for pair in given if self._is_fitting(pair, targets)]
        if given and len(fitting) < len(given):
            return given  # which `check` refuses
        scalars = [n for p in self.inventory.powers for n in (p.beta1, p.beta2)]
        scalars += self.inventory.steps
        scalars += [n for pair in given for n in pair.powers if n]
        values = {name: float(self.checkpoint.read(name)) for name in scalars}
        dtypes = {
            name: self.checkpoint.variables[name].dtype.name
            for name in self.inventory.steps
        }
        self._graph = self._in_graph(
            graph_powers.read, "powers of beta", len(self.inventory.powers) > 1
        )
        counted = self._in_graph(
            graph_steps.read, "step counts", bool(self.inventory.steps)
        )
        return tuple(
            optimizer_pairing.propose(
                self.inventory,
                values,
                trained,
                targets,
                dtypes,
                self._graph,
                given,
                counted,
            )
        )

    def _refuse_averages(self, model, trained):
        """Refuses to go on training from averages with the state of others."""
        taken = [n for n in trained if n in self.inventory.averages]
        if taken:
            raise UserError(
                f"the map gives the model '{model}' shadow variables of "
                f"ExponentialMovingAverage, such as {taken[0]:.100}, but the slots "
                "in the checkpoint belong to the variables and not to their "
                "averages; leave the optimizers' state behind with --weights_only"
            )

    def _is_fitting(self, pair, targets):
        """Tells whether an optimizer of a given map can be completed."""
        named = [name for name in pair.powers if name is not None]
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

    def _in_graph(self, read, what, is_needed):
        """Returns what the graph beside the checkpoint says, if it is needed."""
        path = self.checkpoint.meta_path
        if not is_needed or not os.path.isfile(path):
            return {}
        try:
            return read(path)
        except UserError as error:
            self.notes.append(f"no {what} are told by the graph: {error}")
            return {}

    def _trained(self, found, model):
        by_key = {variable.key: variable for variable in self._keras}
        own = {p.tf1: by_key[p.keras] for p in found.pairs}
        return {
            name: variable.variable
            for name, variable in own.items()
            if variable.model == model and variable.variable.trainable
        }

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
        targets = (
            exchange.optimizers_of(self.models) if self.map.optimizers else {}
        )
        for pair in self.map.optimizers:
            self._check_optimizer(pair, targets)
        self._check_powers()

    def _check_optimizer(self, pair, targets):
        """Refuses an optimizer that is not the model's, or not of all it trains."""
        if pair.model not in targets:
            raise UserError(exchange.not_compiled(pair.model))
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
        targets = (
            exchange.optimizers_of(self.models) if self.map.optimizers else {}
        )
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
        exchange.load_values(self.models, self.map, self.checkpoint.read)

    def write(self, folder: str, overwrite: bool = False) -> None:
        """Writes the models, a `tf.train.Checkpoint` of them all, and the map.

        Raises:
          UserError: if the folder cannot be written, or is not empty and
            `overwrite` is false.
        """
        sources = [self.checkpoint.path]
        keras_files.write(self.models, self.map, folder, overwrite, sources)


def _with_unused(found):
    """Moves what no model has a place for from the refused to the unused."""
    nowhere = [u for u in found.unpaired if u.keras == pairing.NOTHING]
    names_of = tuple(name for u in nowhere for name in u.candidates)
    return dataclasses.replace(
        found,
        unused=found.unused + names_of,
        unpaired=tuple(u for u in found.unpaired if u not in nowhere),
    )
