"""The configuration of a run: checked once, kept as JSON beside its results."""

import dataclasses
import json
import os
import typing
from typing import Any, Dict, Optional

from tf2gan.common import specs
from tf2gan.common.errors import UserError

FRAMEWORKS = ("tf1", "tf2")
PRECISIONS = ("mixed_float16", "mixed_bfloat16")
DTYPES = ("float32", "float64")

# What decides every number of a run. A resumed run must agree in all of them.
TRAJECTORY = (
    "framework",
    "model",
    "dataset",
    "dtype",
    "update_ops",
    "seed",
    "batch_size",
    "steps_per_epoch",
    "learning_rate",
    "beta1",
    "tf32",
    "precision",
    "jit_compile",
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What a training run needs to know; see `scripts/train_flags.py` for help.

    Fields that are None take the value of the model's spec, except `data_dir`
    (no folder) and `steps_per_epoch` (all batches of the data set).
    """

    framework: str
    output_dir: str
    model: str = "dcgan28"
    dataset: str = "mnist10k"
    data_dir: Optional[str] = None
    epochs: Optional[int] = None
    steps_per_epoch: Optional[int] = None
    batch_size: Optional[int] = None
    learning_rate: Optional[float] = None
    beta1: Optional[float] = None
    update_ops: str = "source"
    dtype: str = "float32"
    seed: int = 0
    sample_every: Optional[int] = None
    checkpoint_every: int = 1
    keep_checkpoints: int = 5
    deterministic: bool = False
    tf32: bool = False
    run_eagerly: bool = False
    precision: Optional[str] = None
    jit_compile: bool = False
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self):
        spec = specs.get_spec(self.model)
        for name in (
            "epochs",
            "batch_size",
            "learning_rate",
            "beta1",
            "sample_every",
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(spec, name))
        self._check()

    def _check(self):
        _require_choice("framework", self.framework, FRAMEWORKS)
        _require_choice("update_ops", self.update_ops, specs.UPDATE_POLICIES)
        _require_choice("dtype", self.dtype, DTYPES)
        for name in (
            "epochs",
            "batch_size",
            "sample_every",
            "checkpoint_every",
        ):
            _require_at_least(name, getattr(self, name), 1)
        if self.steps_per_epoch is not None:
            _require_at_least("steps_per_epoch", self.steps_per_epoch, 1)
        _require_at_least("keep_checkpoints", self.keep_checkpoints, 0)
        if not 0 <= self.seed < 2**63:
            raise UserError("--seed={} is not in [0, 2**63)".format(self.seed))
        # Beyond these powers float32 has only zero and infinity.
        if not 2.0**-126 <= self.learning_rate < 2.0**128:
            raise UserError(
                "--learning_rate={} is not a positive number that float32 "
                "holds".format(self.learning_rate)
            )
        if not 0 <= self.beta1 < 1:
            raise UserError("--beta1={} is not in [0, 1)".format(self.beta1))
        self._check_speed()
        if self.resume and self.overwrite:
            raise UserError("--resume and --overwrite exclude each other")
        if not self.output_dir:
            raise UserError(
                "--output_dir is empty; name a folder for the results"
            )

    def _check_speed(self):
        if self.precision is not None:
            _require_choice("precision", self.precision, PRECISIONS)
        if self.precision is not None and self.dtype != "float32":
            raise UserError(
                "--precision={} excludes --dtype={}: it is float32 of which a part "
                "is done in 16 bits; leave one of them out".format(
                    self.precision, self.dtype
                )
            )
        if self.jit_compile and self.run_eagerly:
            raise UserError(
                "--jit_compile and --run_eagerly exclude each other"
            )
        if self.framework == "tf1" and (self.precision or self.jit_compile):
            raise UserError(
                "--precision and --jit_compile are TF2's; train with "
                "scripts/train_tf2.py"
            )

    def spec(self) -> specs.GanSpec:
        """Returns the model's spec with the constants that this run changes."""
        return dataclasses.replace(
            specs.get_spec(self.model),
            learning_rate=self.learning_rate,
            beta1=self.beta1,
        )

    def trajectory(self) -> Dict[str, Any]:
        """Returns the settings that decide every number of the run."""
        return {name: getattr(self, name) for name in TRAJECTORY}


def _require_choice(name, value, choices):
    if value not in choices:
        raise UserError(
            "--{}={}: expected one of {}".format(
                name, value, ", ".join(choices)
            )
        )


def _require_at_least(name, value, least):
    if value < least:
        raise UserError("--{}={} is less than {}".format(name, value, least))


def write_config(path: str, config: TrainConfig, **facts: Any) -> None:
    """Writes the configuration and further facts as JSON, whole or not at all."""
    content = dict(dataclasses.asdict(config), **facts)
    with open(path + ".part", "w") as file:
        json.dump(content, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".part", path)


def read_config(path: str) -> Dict[str, Any]:
    """Reads what `write_config` wrote; raises `UserError` if it is something else."""
    try:
        with open(path) as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(
            "cannot read the run's configuration '{}': {}; put the file back, or "
            "name another folder".format(path, error)
        ) from error
    if isinstance(content, dict):  # a run from before there were these
        for name in ("precision", "jit_compile"):
            content.setdefault(name, getattr(TrainConfig, name))
    problem = _find_problem(content)
    if problem:
        raise UserError(
            "'{}' is not the configuration of a run: {}; put the file back, or "
            "name another folder".format(path, problem)
        )
    return content


def _find_problem(content):
    """Says what is wrong with the JSON of a configuration; None if nothing is."""
    if not isinstance(content, dict):
        return "it holds no settings"
    for name in TRAJECTORY:
        if name not in content:
            return "it has no '{}'".format(name)
    for name, hint in typing.get_type_hints(TrainConfig).items():
        kinds = getattr(hint, "__args__", (hint,))
        if name in content and not _is_one_of(content[name], kinds):
            return "its '{}' is {!r:.40}".format(name, content[name])
    return None


def _is_one_of(value, kinds):
    # Not isinstance: to Python True is an int.
    return type(value) in kinds or (type(value) is int and float in kinds)


def resume_config(framework: str, output_dir: str, given: Dict[str, Any]):
    """Returns the configuration with which a run goes on.

    Args:
      framework: "tf1" or "tf2".
      output_dir: folder of the run.
      given: the settings that the user gave; the run's own stand in for the rest.

    Raises:
      UserError: if the folder holds no run, or a given setting that decides the
        run's numbers differs from the run's own.
    """
    path = os.path.join(output_dir, "config.json")
    if not os.path.exists(path):
        raise UserError(
            "nothing to resume in '{}': it has no config.json; leave out --resume "
            "to start a run there".format(output_dir)
        )
    saved = read_config(path)
    for name, value in dict(given, framework=framework).items():
        if name in TRAJECTORY and saved[name] != value:
            advice = "leave out --" + name
            if name == "framework":
                advice = "use scripts/train_{}.py".format(saved[name])
            raise UserError(
                "cannot resume '{0}' with another {1}: the run has {1}={2}, asked "
                "for was {1}={3}; {4}".format(
                    output_dir, name, saved[name], value, advice
                )
            )
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    settings = {name: saved[name] for name in fields & set(saved)}
    settings.update(given, output_dir=output_dir, resume=True, overwrite=False)
    return TrainConfig(**settings)


def finished_config(framework: str, run_dir: str) -> TrainConfig:
    """Returns the configuration of the run in a folder, to sample from it.

    Raises:
      UserError: if the folder holds no run, or one of the other framework.
    """
    path = os.path.join(run_dir, "config.json")
    if not os.path.exists(path):
        raise UserError(
            "no run in '{}': it has no config.json; name the --output_dir of a "
            "training run".format(run_dir)
        )
    trained_by = read_config(path)["framework"]
    if trained_by != framework:
        raise UserError(
            "the run in '{0}' was trained by {1}; use "
            "scripts/sample_{1}.py".format(run_dir, trained_by)
        )
    return resume_config(framework, run_dir, {})
