"""Converts the training state of a registry model, in both directions.

Both sides name their variables alike, so every variable has its partner by name:
weights, moving averages, Adam's slots and powers, global steps. A folder of a run
becomes one that the other side's training script can resume.
"""

import dataclasses
import json
import os
import shutil
from typing import Callable, Dict, Optional

import numpy as np

from tf2gan.checkpoint import Checkpointer
from tf2gan.common import config as config_lib
from tf2gan.common import specs
from tf2gan.common.errors import UserError
from tf2gan.common.run_state import check_finite, check_names_and_shapes
from tf2gan.migration import outputs, slots, tf1_checkpoint
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint
from tf2gan.training import Trainer

_OBJECT_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_OTHERS = {"tf1": "tf2", "tf2": "tf1"}
# TF1 numbers the powers in the order in which the optimizers were made.
_POWERS = (
    (specs.DISCRIMINATOR, "", "D_global_step"),
    (specs.GENERATOR, "_1", "G_global_step"),
)
_FILES = 3  # that a value may be in
_ROOM = 2**20  # bytes for what is around the values
_STEP_DTYPE = np.int32  # of TF1's steps; Keras counts in int64


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint of a registry model, read and checked.

    Attributes:
      path: of the checkpoint.
      framework: "tf1" or "tf2", the side that wrote it.
      spec: of the model.
      state: all variables by their names in TF1.
      dtype: of the weights.
      run_dir: folder of the run that it belongs to, None if to none.
    """

    path: str
    framework: str
    spec: specs.GanSpec
    state: Dict[str, np.ndarray]
    dtype: str
    run_dir: Optional[str]

    @property
    def step(self) -> int:
        """Iterations done."""
        return int(self.state["G_global_step"])


def read(path: str, model: Optional[str], framework: str) -> Source:
    """Reads a checkpoint of a registry model.

    Args:
      path: of the checkpoint, or of a run's folder.
      model: name of the model; None takes that of the run.
      framework: "tf1" or "tf2", the side that wrote it.

    Raises:
      UserError: if it is damaged, of another model or side, or contradicts
        itself.
    """
    checkpoint = Tf1Checkpoint(path)
    if checkpoint.is_tf2 != (framework == "tf2"):
        wrote = "tf.train.Checkpoint" if checkpoint.is_tf2 else "TF1's Saver"
        raise UserError(
            f"the checkpoint '{checkpoint.path}' was written by {wrote}; "
            f"--to={_OTHERS[framework]} expects one of the other side"
        )
    run_dir = _run_dir(checkpoint.path)
    config = _config(run_dir, framework)
    model = model or (config and config["model"])
    if config and model != config["model"]:
        raise UserError(
            f"the run in '{run_dir}' is of the model {config['model']}, not of "
            f"--model={model}"
        )
    if not model:
        raise UserError(
            f"'{path}' belongs to no run that says of which model it is; add "
            "--model or --keras_model"
        )
    spec = specs.get_spec(model)
    state = _state(checkpoint, framework, spec)
    dtype = state["generator/dense/kernel"].dtype.name
    if config:
        spec = dataclasses.replace(spec, beta1=config["beta1"])
    check(checkpoint.path, spec, state, known_beta1=bool(config))
    return Source(checkpoint.path, framework, spec, state, dtype, run_dir)


def _run_dir(path):
    folder = os.path.dirname(os.path.dirname(os.path.abspath(path)))
    inside = os.path.basename(os.path.dirname(os.path.abspath(path)))
    has_config = os.path.exists(os.path.join(folder, "config.json"))
    return folder if inside == "checkpoints" and has_config else None


def _config(run_dir, framework):
    if run_dir is None:
        return None
    config = config_lib.read_config(os.path.join(run_dir, "config.json"))
    if config["framework"] != framework:
        raise UserError(
            f"the run in '{run_dir}' is of {config['framework']} already"
        )
    return config


def _state(checkpoint, framework, spec):
    found = {_name(n, framework): n for n in checkpoint.variables}
    found.pop("save_counter", None)
    kernel = found.get("generator/dense/kernel")
    dtype = checkpoint.variables[kernel].dtype.name if kernel else "float32"
    if dtype not in config_lib.DTYPES:
        raise UserError(
            f"the weights in '{checkpoint.path}' are of type {dtype}"
        )
    expected = Trainer(spec, dtype=dtype).variables()
    try:
        shapes = {  # without the memory that a hostile shape would take
            name: np.broadcast_to(False, checkpoint.variables[of].shape)
            for name, of in found.items()
        }
        check_names_and_shapes(
            {name: v.shape.as_list() for name, v in expected.items()}, shapes
        )
    except ValueError as error:
        raise UserError(
            f"'{checkpoint.path}' is no checkpoint of {spec.name}: "
            f"{str(error)[:400]}"
        ) from error
    state = {name: checkpoint.read(of) for name, of in found.items()}
    for name, value in state.items():
        _check_dtype(name, value, expected[name].dtype.as_numpy_dtype)
    check_finite(state, int(state["G_global_step"]))
    return state


def _check_dtype(name, value, expected):
    is_step = name.endswith("global_step")
    if value.dtype.kind != "i" if is_step else value.dtype != expected:
        raise UserError(
            f"'{name}' is of type {value.dtype}, expected "
            f"{'an integer' if is_step else np.dtype(expected).name}"
        )


def _name(name, framework):
    if framework == "tf1":
        return name
    # tf.train.Checkpoint escapes the slashes of attribute names.
    return name.replace(_OBJECT_SUFFIX, "").replace(".S", "/")


def check(
    path: str,
    spec: specs.GanSpec,
    state: Dict[str, np.ndarray],
    known_beta1: bool = True,
) -> None:
    """Raises `UserError` if powers of beta and global steps contradict each other.

    Args:
      path: of the checkpoint, for the message.
      spec: with the betas.
      state: all variables by name.
      known_beta1: whether `spec.beta1` is the one that the run had.
    """
    for network, suffix, step_name in _POWERS:
        steps = int(state[step_name])
        power = float(state["beta2_power" + suffix])
        if steps < 0 or slots.power_after(spec.beta2, steps) != power:
            counted = slots.steps_of(power, spec.beta2)
            says = "no step count" if counted is None else f"{counted} steps"
            raise UserError(
                f"'{path}' contradicts itself: {step_name} says {steps} steps of "
                f"the {network}, beta2_power{suffix} says {says}; it is damaged "
                "or was edited"
            )
        power = float(state["beta1_power" + suffix])
        if known_beta1 and slots.power_after(spec.beta1, steps) != power:
            raise UserError(
                f"'{path}' contradicts its run: beta1_power{suffix} is {power:g} "
                f"after {steps} steps, which is no power of beta1={spec.beta1:g}"
            )


def write(
    source: Source,
    folder: str,
    overwrite: bool = False,
    check: Optional[Callable[[Source, str], None]] = None,
) -> str:
    """Writes a checkpoint for the other side; returns its path.

    Of a run, the folder becomes one that the other side's script can resume. For
    TF2 there are the Keras models too: `<network>.keras` and
    `<network>.weights.h5`.

    Args:
      source: what to write.
      folder: where; it is made.
      overwrite: whether files there may be replaced.
      check: is called with the source and the path of the checkpoint before
        anything is moved to the folder; what it raises leaves the folder as it was.

    Raises:
      UserError: if the folder cannot be written, or is not empty and `overwrite`
        is false.
    """
    name = f"model-{source.step}"
    with outputs.staged(folder, overwrite, [source.path]) as part:
        inner = os.path.join(part, "checkpoints")
        if source.framework == "tf1":
            size = sum(value.nbytes for value in source.state.values())
            outputs.require_space(part, _FILES * size + _ROOM)
            _write_tf2(source, part, inner)
        else:
            state = {n: _as_tf1(n, v) for n, v in source.state.items()}
            tf1_checkpoint.write(os.path.join(inner, name), state)
        if source.run_dir:
            _write_run(source, part, folder)
        if check:
            check(source, os.path.join(inner, name))
    return os.path.join(folder, "checkpoints", name)


def _write_tf2(source, part, inner):
    trainer = trainer_of(source)
    os.makedirs(inner)
    Checkpointer(trainer, inner).save(source.step)
    _save_models(trainer, part)


def _save_models(trainer, part):
    for network in (trainer.generator, trainer.discriminator):
        network.save(os.path.join(part, network.name + ".keras"))
        network.save_weights(os.path.join(part, network.name + ".weights.h5"))


def trainer_of(source: Source) -> Trainer:
    """Returns a trainer of the TF2 side in the state of a checkpoint."""
    trainer = Trainer(source.spec, dtype=source.dtype)
    trainer.load_state(source.state)
    return trainer


def _as_tf1(name, value):
    if not name.endswith("global_step"):
        return value
    if value > np.iinfo(_STEP_DTYPE).max:
        raise UserError(f"'{name}' is {value}, more than TF1's int32 holds")
    return value.astype(_STEP_DTYPE)


def _write_run(source, part, folder):
    path = os.path.join(source.run_dir, "config.json")
    content = config_lib.read_config(path)
    content.update(framework=_OTHERS[source.framework], output_dir=folder)
    with open(os.path.join(part, "config.json"), "w") as file:
        json.dump(content, file, indent=2, sort_keys=True)
        file.write("\n")
    losses = os.path.join(source.run_dir, "losses.csv")
    if os.path.exists(losses):
        shutil.copy(losses, os.path.join(part, "losses.csv"))
