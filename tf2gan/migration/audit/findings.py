"""What an audit can find: codes that stay, how severe each is, its meaning and cure."""

import dataclasses
from typing import Dict, List, NamedTuple, Optional, Tuple

ERROR = "error"
WARNING = "warning"
NOTE = "note"
SEVERITIES = (NOTE, WARNING, ERROR)  # from the least on


class Kind(NamedTuple):
    """What all findings of a code have in common."""

    severity: str
    meaning: str
    cure: str


KINDS: Dict[str, Kind] = {
    "update-not-run": Kind(
        ERROR,
        "No train op runs these updates, so the moving averages keep their initial "
        "values and samples drawn with them are wrong.",
        "Make the train op, `minimize` included, under "
        "`tf.control_dependencies(update_ops)`.",
    ),
    "update-partly-run": Kind(
        NOTE,
        "No train op runs these updates, though other updates of the same moving "
        "averages run.",
        "Check that this is meant: these batches do not count in the averages.",
    ),
    "update-in-place": Kind(
        WARNING,
        "These updates are outside UPDATE_OPS and run whenever the layer's output is "
        "computed, so evaluating a loss changes the moving averages.",
        "Leave `updates_collections` at UPDATE_OPS and let the train op run the "
        "updates.",
    ),
    "race": Kind(
        ERROR,
        "One run updates these moving averages twice and nothing orders the two, so "
        "both may read the old value and results differ from run to run.",
        "Let the second update read the average under a control dependency on the "
        "first one.",
    ),
    "weights-race": Kind(
        ERROR,
        "One run changes these weights twice, such as by a step and by clipping, and "
        "nothing orders the two, so either may be lost.",
        "Make the second one, its value included, under "
        "`tf.control_dependencies([first])`.",
    ),
    "unordered-steps": Kind(
        WARNING,
        "One run makes these steps and nothing orders them, so one may take its "
        "gradients through the other's weights of before or after their step.",
        "Run one after the other, or make the second one, its gradients included, "
        "under `tf.control_dependencies([first])`.",
    ),
    "not-compared": Kind(
        WARNING,
        "One run changes these variables, or computes with them, in so many places "
        "that the order of some was not looked at: those may race, or may not.",
        "Audit one train op at a time by `--train_op=NAME`, and look at what is left "
        "by hand.",
    ),
    "foreign-update": Kind(
        WARNING,
        "The train op moves averages of layers of which it trains nothing; if their "
        "own train op does so too, they move twice per iteration.",
        "Give the train op the updates of its own network: "
        "`tf.get_collection(UPDATE_OPS, scope)`.",
    ),
    "training-false": Kind(
        ERROR,
        "The train op runs through batch normalization that is in inference mode for "
        "good: it normalizes by the moving averages and does not update them.",
        "Pass `training=True`, or a placeholder, in the graph that trains.",
    ),
    "training-true": Kind(
        WARNING,
        "Batch normalization is in training mode for good: nothing in the graph "
        "reads its moving averages, so a sample depends on the others of its batch.",
        "Pass a placeholder as `training`, or build the sampling graph with "
        "`training=False`.",
    ),
    "average-not-saved": Kind(
        ERROR,
        "This Saver saves the layers but not their moving averages, so a model that "
        "is restored from its checkpoints has their initial values.",
        "Save global variables, not only trainable ones.",
    ),
    "shared-global-step": Kind(
        WARNING,
        "Several train ops increase this step count, so it grows by more than one "
        "per iteration and schedules that follow it run too fast.",
        "Give each optimizer a step of its own, or only one of them the step.",
    ),
    "contrib-op": Kind(
        ERROR,
        "These operations are from tf.contrib, which TensorFlow 2 does not have.",
        "Replace them by operations of TensorFlow, or of TensorFlow Addons.",
    ),
    "unknown-op": Kind(
        ERROR,
        "This TensorFlow does not know these operations: they were removed, or come "
        "from a library of the user's.",
        "Replace them, or build their library for TensorFlow 2.",
    ),
    "no-tf2-kernel": Kind(
        ERROR,
        "This TensorFlow knows these operations but has no kernel for their types.",
        "Replace them, or cast to a type that has a kernel.",
    ),
    "no-gpu-kernel": Kind(
        NOTE,
        "A train op needs these operations and they have no kernel for a GPU, so "
        "their tensors go to the CPU and back.",
        "Replace them, or compute them outside of the training step.",
    ),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be.

    Attributes:
      code: a key of `KINDS`; codes do not change.
      operations: the names of those concerned.
      variables: the names of those concerned.
      train_op: the name of the one that it is about, None if about the graph.
    """

    code: str
    operations: Tuple[str, ...] = ()
    variables: Tuple[str, ...] = ()
    train_op: Optional[str] = None

    @property
    def severity(self) -> str:
        """One of `SEVERITIES`."""
        return KINDS[self.code].severity

    @property
    def meaning(self) -> str:
        """A sentence that says what it means."""
        return KINDS[self.code].meaning

    @property
    def cure(self) -> str:
        """A sentence that says what to do."""
        return KINDS[self.code].cure


def by_severity(findings: List[Finding]) -> List[Finding]:
    """Returns findings, the worst first, else in the order of `KINDS`."""
    codes = list(KINDS)
    return sorted(
        findings,
        key=lambda f: (-SEVERITIES.index(f.severity), codes.index(f.code)),
    )


def at_least(findings: List[Finding], severity: str) -> List[Finding]:
    """Returns those that are as severe as `severity` or worse."""
    least = SEVERITIES.index(severity)
    return [f for f in findings if SEVERITIES.index(f.severity) >= least]
