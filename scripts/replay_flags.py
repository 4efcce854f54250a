"""The flags of compare.py replay, and the implementation that they describe."""

import dataclasses
from typing import Any, Dict, List, Mapping, Optional

import compare_flags
from absl import flags

from tf2gan.common.config import DTYPES
from tf2gan.common.errors import UserError

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "keras_model",
    None,
    "Function that returns Keras 3 models (path/to/file.py:function or "
    "package.module:function), to be replayed in place of --model.",
)
flags.DEFINE_string(
    "step",
    None,
    "Function that takes the models of --keras_model, a dictionary by name, and "
    "returns an object, or a dictionary of functions, with "
    "discriminator_step(images, latent) and generator_step(images, latent), and, to "
    "find more causes, activations(images, latent), gradients(images, latent) and "
    "feed(images, latent), each returning arrays by name; see "
    "tf2gan/migration/README.md.",
)
flags.DEFINE_list(
    "inputs",
    [],
    "What the trace calls a step's inputs: images=NAME, latent=NAME.",
)
flags.DEFINE_list(
    "steps",
    [],
    "Which steps the trace's phases are: NAME=discriminator_step, "
    "NAME=generator_step.",
)
flags.DEFINE_bool(
    "averages_aside",
    False,
    "Leave moving averages uncompared and take the recorded ones: for a script whose "
    "own updates of them race, so that no port can have the same.",
)

_ONLY = {
    "lockstep": (
        "reference",
        "dataset",
        "data_dir",
        "batches",
        "iterations",
        "batch_size",
    ),
    "replay": ("keras_model", "step", "inputs", "steps", "averages_aside"),
}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What is replayed.

    Attributes:
      implementation: as `replay.replay` takes it.
      variables: the implementation's names by those of the trace.
      notes: what the user should know of it.
      warnings: what of it is not compared.
    """

    implementation: Any
    variables: Mapping[str, Optional[str]]
    notes: List[str] = dataclasses.field(default_factory=list)
    warnings: List[str] = dataclasses.field(default_factory=list)


def check_command(command: str) -> None:
    """Raises `absl.flags.Error` if flags do not go together."""
    for other, names in _ONLY.items():
        given = [name for name in names if FLAGS[name].present]
        if other != command and given:
            raise flags.Error(f"--{given[0]} is for {other}, not for {command}")
    if bool(FLAGS.keras_model) != bool(FLAGS.step):
        raise flags.Error("--keras_model and --step need each other")
    if FLAGS.keras_model and FLAGS["candidate"].present:
        raise flags.Error("--keras_model and --candidate exclude each other")
    inputs(), steps()


def inputs() -> Dict[str, str]:
    """Returns the trace's names of the arguments of a step."""
    return _pairs("inputs")


def steps() -> Dict[str, str]:
    """Returns the steps by the trace's phases."""
    return _pairs("steps")


def _pairs(flag):
    pairs = {}
    for text in FLAGS[flag].value:
        name, _, value = text.partition("=")
        if not name or not value or name in pairs:
            raise flags.Error(
                f"--{flag}={text}: expected NAME=NAME, each name once"
            )
        pairs[name] = value
    return pairs


def dtype_of(trace: Any) -> str:
    """Returns --dtype, or the type of the weights that were recorded."""
    if FLAGS["dtype"].present:
        return FLAGS.dtype
    found = {v.dtype for v in trace.variables if v.trainable} & set(DTYPES)
    if len(found) != 1:
        raise UserError(
            f"the trace's weights are of {len(found)} types; choose with --dtype"
        )
    return found.pop()


def candidate(trace: Any, dtype: str) -> Candidate:
    """Makes what the flags say; UserError if it cannot be made."""
    if FLAGS.keras_model:
        return _keras_candidate(trace)
    from tf2gan.migration import implementations

    names = {}
    if FLAGS.name_map:
        names = implementations.read_names(FLAGS.name_map, absent=True)
    made = compare_flags.implementation("candidate", _name(), dtype)
    return Candidate(made, names)


def _name():
    if FLAGS["candidate"].present:
        return FLAGS.candidate
    return "tf2:" + FLAGS.model


def _keras_candidate(trace):
    from tf2gan.migration import (
        implementations,
        keras_implementation,
        keras_models,
        user_code,
    )

    label = f"--step='{FLAGS.step}'"
    of_models = f"--keras_model='{FLAGS.keras_model}'"
    given, absent = _map()
    models = keras_models.load_models(FLAGS.keras_model)
    function = user_code.load_function(FLAGS.step, label)
    made = user_code.call(label, function, models)
    if all(callable(getattr(made, n, None)) for n in ("state", "load_state")):
        return Candidate(implementations.Guarded(made, label), {})
    steps = user_code.call(label, keras_implementation.Steps, made)
    if FLAGS.name_map:
        of_models += f" with --name_map='{FLAGS.name_map}'"
    own = user_code.call(
        of_models,
        keras_implementation.KerasImplementation,
        models,
        steps,
        trace,
        given,
        absent,
    )
    guarded = implementations.Guarded(own, label)
    return Candidate(guarded, own.names(trace), own.notes, own.warnings)


def _map():
    """Returns the map of --name_map, and what an object of names says to be absent."""
    from tf2gan.migration import map_file

    if not FLAGS.name_map:
        return None, ()
    absent = map_file.read_absent(FLAGS.name_map)
    if absent is not None:
        return None, absent
    return map_file.read_map(FLAGS.name_map, "--name_map"), ()


def settings(trace: Any, dtype: str) -> Dict[str, str]:
    """Returns what the report says of how it was made."""
    chosen = {"candidate": _name()}
    common = compare_flags.common_settings(dtype)
    if FLAGS.keras_model:
        chosen = {"candidate": FLAGS.keras_model, "step": FLAGS.step}
        del common["update_ops"]  # decided by the user's steps
    return {
        "reference": f"{trace.folder}, {trace.length} calls recorded by "
        f"TensorFlow {trace.tensorflow}",
        **chosen,
        **common,
    }
