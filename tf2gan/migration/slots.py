"""Tells the variables of a network from those that optimizers keep.

TF1 names a slot after its variable: `dense/kernel/Adam` and `dense/kernel/Adam_1`
are Adam's moments, `optimize/dense/kernel/Adam` those of an optimizer whose
`minimize` was called in a scope. Adam's powers of beta and the global steps are
variables by themselves. All are found by name and shape; nothing is read.
"""

import collections
import dataclasses
import re
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np

from tf2gan.migration import names
from tf2gan.migration.tf1_checkpoint import Variable

ADAM, RMSPROP, MOMENTUM = "Adam", "RMSProp", "Momentum"
GRADIENT_DESCENT = "GradientDescent"  # has no slots
# What an optimizer was called, as far as its kind can be told from it.
_FAMILIES = (
    # Their slots look like Adam's and mean something else.
    (
        re.compile("(adamw|adamax|amsgrad|(?<![a-z])nadam)(?![a-z])", re.I),
        "another",
    ),
    (re.compile("adam", re.I), ADAM),
    (re.compile("rms", re.I), RMSPROP),
    (re.compile("momentum", re.I), MOMENTUM),
    (re.compile("^(adagrad|adadelta|ftrl|proximal)", re.I), "another"),
)
_POWER = re.compile(r"^(?:(.*)/)?beta([12])_power(?:_(\d+))?$")
_AVERAGE = re.compile(r"^ExponentialMovingAverage(_\d+)?$")
_NUMBERED = re.compile(r"^(.*?)(?:_(\d+))?$")
_DEBIAS = ("biased", "local_step")


@dataclasses.dataclass(frozen=True)
class Slot:
    """A variable that an optimizer keeps for a variable of a network.

    Attributes:
      name: of the slot.
      variable: name of the network's variable.
      family: "Adam", "RMSProp", "Momentum" or "another", which may be no
        optimizer at all.
      optimizer: the optimizer's name in TF1, without a number.
      prefix: scope in which `minimize` was called; mostly empty.
      number: 0 without one.
    """

    name: str
    variable: str
    family: str
    optimizer: str
    prefix: str
    number: int

    @property
    def is_optimizers(self) -> bool:
        """Whether its name is that of an optimizer, and not of anything else."""
        return any(pattern.search(self.optimizer) for pattern, _ in _FAMILIES)


@dataclasses.dataclass(frozen=True)
class Powers:
    """Adam's two powers of beta.

    Attributes:
      beta1: name of the variable with beta1's.
      beta2: name of the variable with beta2's.
      prefix: scope in which `minimize` was called; mostly empty.
    """

    beta1: str
    beta2: str
    prefix: str


@dataclasses.dataclass
class Inventory:
    """What is in a checkpoint.

    Attributes:
      variables: of the networks, by name.
      slots: of optimizers.
      powers: of Adams.
      steps: names of the global steps.
      averages: by the name of a shadow variable of
        `tf.train.ExponentialMovingAverage` that of its variable, which may not
        have been saved.
      others: names of what is none of these.
    """

    variables: Dict[str, Variable]
    slots: List[Slot]
    powers: List[Powers]
    steps: List[str]
    averages: Dict[str, str]
    others: List[str]

    def slots_of(self, variable: str) -> Dict[Tuple[str, str], List[Slot]]:
        """Returns a variable's slots by optimizer name and prefix, in order."""
        found = collections.defaultdict(list)
        for slot in self.slots:
            if slot.variable == variable:
                found[slot.optimizer, slot.prefix].append(slot)
        for key in found:
            found[key].sort(key=lambda slot: slot.number)
        return dict(found)


def classify(variables: Mapping[str, Variable]) -> Inventory:
    """Sorts the variables of a checkpoint into kinds, by names and shapes."""
    inventory = Inventory({}, [], _powers(variables), [], {}, [])
    taken = {n for p in inventory.powers for n in (p.beta1, p.beta2)}
    for name, variable in variables.items():
        if name in taken:
            continue
        slot = _slot(variable, variables)
        average = _average(variable, variables)
        if _is_debias(variable):
            inventory.others.append(name)
        elif average:
            inventory.averages[name] = average
        elif slot:
            inventory.slots.append(slot)
        elif _is_step(variable):
            inventory.steps.append(name)
        elif not _is_weight(variable):
            inventory.others.append(name)
        else:
            inventory.variables[name] = variable
    return inventory


def _powers(variables):
    found = collections.defaultdict(dict)
    for name, variable in variables.items():
        match = _POWER.match(name)
        if match and variable.shape == ():
            found[match[1] or "", int(match[3] or 0)][match[2]] = name
    return [
        Powers(pair["1"], pair["2"], prefix)
        for (prefix, _), pair in sorted(found.items())
        if len(pair) == 2
    ]


def _average(variable, variables):
    """Returns the name of a shadow variable's variable, None if it is no shadow.

    The scope of `apply` stands in front, as in train/generator/w/Exponential...
    """
    path, _, last = variable.name.rpartition("/")
    if not path or not _AVERAGE.match(last):
        return None
    return _owner(path, variable, variables) or path


def _is_debias(variable):
    """Tells whether a variable is what `zero_debias` keeps beside an average."""
    last = variable.name.split("/")[-1]
    return variable.dtype.kind == "f" and last in _DEBIAS


def _slot(variable, variables) -> Optional[Slot]:
    path, _, last = variable.name.rpartition("/")
    words, number = _NUMBERED.match(last).groups()
    family = next((f for p, f in _FAMILIES if p.search(words)), None)
    if not path or (not family and names.parse(variable.name).role):
        return None
    owner = _owner(path, variable, variables)
    if family is None and owner != path and "/" not in (owner or ""):
        return None  # w in another scope is another w
    if owner not in variables or variables[owner].shape != variable.shape:
        return None
    prefix = path[: -len(owner)].rstrip("/")
    family = family or "another"
    return Slot(variable.name, owner, family, words, prefix, int(number or 0))


def _owner(path, variable, variables):
    """Returns the longest end of a slot's path that names a like variable."""
    parts = path.split("/")
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        if name in variables and variables[name].shape == variable.shape:
            return name
    return None


def _is_step(variable):
    return (
        variable.shape == ()
        and variable.dtype.kind in "iu"
        and "step" in variable.name.lower()
    )


def _is_weight(variable):
    return variable.dtype.kind == "f" and not _POWER.match(variable.name)


_MOST_STEPS = 1_000_000
# The decays that people give Adam for its second moment.
USUAL_BETA2 = (0.999, 0.99, 0.9, 0.9999, 0.98, 0.95, 0.997, 0.5)


def powers_after(beta: float, steps: int) -> np.ndarray:
    """Returns TF1's power of beta after 0, 1, ... `steps` steps, as float32.

    It starts at beta and is multiplied once per step. Numbers below float32's
    normal range become 0, as TensorFlow's threads flush them.
    """
    powers = np.multiply.accumulate(np.full(steps + 1, beta, np.float32))
    powers[powers < np.finfo(np.float32).tiny] = 0.0
    return powers


def power_after(beta: float, steps: int) -> np.float32:
    """Returns TF1's power of beta after so many steps."""
    if not 0 <= beta < 1 or steps < 0:
        raise ValueError(f"beta {beta}, {steps} steps")
    if steps >= _MOST_STEPS:  # zero for every usual beta
        return np.float32(0.0)
    return powers_after(beta, steps)[-1]


def steps_of(power: float, beta: float) -> Optional[int]:
    """Returns the step count of a power of beta.

    None if it is not one of TF1's powers of this beta to the last bit, or is so
    far gone that it is 0 (0.999 after some 87,000 steps).
    """
    if not 0.0 < np.float32(power) <= np.float32(beta) < 1.0:
        return None
    least = np.log(float(np.finfo(np.float32).tiny)) / np.log(beta)
    powers = powers_after(beta, int(min(least + 2, _MOST_STEPS)))
    found = np.flatnonzero(powers == np.float32(power))
    return int(found[0]) if len(found) == 1 else None


def find_steps(power: float) -> Tuple[Optional[float], Optional[int]]:
    """Returns beta2 and the steps of its power; (None, None) if no usual one fits."""
    for beta in USUAL_BETA2:
        steps = steps_of(power, beta)
        if steps is not None:
            return beta, steps
    return None, None
