"""What TF1's automatic numbers say about the order of variables, and what they do not.

A number orders layers. It does not order variables of one shape in one layer, whose
names say no role: gamma and beta may have been made either way round.
"""

import re
from typing import Dict, FrozenSet, List, Optional, Sequence, Tuple

import keras

from tf2gan.migration import names
from tf2gan.migration.keras_models import KerasVariable
from tf2gan.migration.tf1_checkpoint import Variable

_TRANSPOSED = ("transpose", "deconv")
_CLASSES = frozenset(name.lower() for name in dir(keras.layers))


def layers_up_to(
    variables: Sequence[KerasVariable],
) -> Dict[str, FrozenSet[str]]:
    """Returns by key the kernels of a variable's layer and of those before it.

    What is between two kernels has the same ones: a bias, and gamma, beta and the
    averages of the batch norm behind it, which people who make variables by hand
    write as one layer.
    """
    kernels = [v for v in variables if v.role == names.KERNEL]
    return {
        v.key: frozenset(
            kernel.key
            for kernel in kernels
            if kernel.key in v.after
            or (kernel.model, kernel.layer) == (v.model, v.layer)
        )
        for v in variables
    }


def has_a_place(
    variable: KerasVariable, series: Sequence[KerasVariable]
) -> bool:
    """Tells whether Keras's graph orders a variable in a series as the series does.

    Only others of its shape matter.
    """
    keys = [each.key for each in series]
    position = keys.index(variable.key)
    return all(
        rival.key in variable.after
        if keys.index(rival.key) < position
        else variable.key in rival.after
        for rival in _rivals(variable, series)
    )


def beside(
    variable: KerasVariable,
    series: Sequence[KerasVariable],
    layers: Dict[str, FrozenSet[str]],
) -> List[KerasVariable]:
    """Returns the others of a variable's shape in its own layer.

    Args:
      variable: of Keras.
      series: all that are ordered.
      layers: as `layers_up_to` returns them.
    """
    return [
        rival
        for rival in _rivals(variable, series)
        if layers[rival.key] == layers[variable.key]
    ]


def _rivals(variable, series):
    return [
        v
        for v in series
        if v.shape == variable.shape
        and v.model == variable.model
        and v.key != variable.key
    ]


def is_automatic(variable: KerasVariable) -> bool:
    """Tells whether Keras may have named a variable's layer by itself."""
    layer = ("/" + variable.path).split("/")[-2]
    words = re.sub(r"_\d+$", "", layer).replace("_", "")
    return words in _CLASSES or words == variable.kind.lower()


def is_named_transposed(name: str) -> bool:
    """Tells whether a name in TF1 says that its kernel is a transposed one."""
    return any(word in name.lower() for word in _TRANSPOSED)


def kind_in_tf1(
    variable: Variable, hints: bool
) -> Tuple[Optional[str], object, bool]:
    """Returns what a name in TF1 says of its kind, as `is_kind` takes it.

    Without a role, only variables that are named alike are of a kind.

    Args:
      variable: of TF1.
      hints: whether some names say that their kernels are transposed ones.
    """
    role = names.parse(variable.name).role
    if role is None:
        return None, names.parse(variable.name).template, False
    transposed = (
        hints and role == names.KERNEL and is_named_transposed(variable.name)
    )
    return role, len(variable.shape), transposed


def is_kind(
    variable: KerasVariable,
    kind: Tuple[Optional[str], object, bool],
    hints: bool,
) -> bool:
    """Tells whether a variable of Keras may be of a kind; any is without a role."""
    role, rank, transposed = kind
    if role is None:
        return True
    kernel = hints and role == names.KERNEL
    is_transposed = kernel and "Transpose" in variable.kind
    found = variable.role, len(variable.shape), is_transposed
    return found == (role, rank, transposed)


def is_one_series(members: Sequence[Variable]) -> bool:
    """Tells whether names differ in one automatic number only; it orders them.

    Automatic numbers go on by one, from none, 0 or 1. Others, as in `conv_64`, may
    be sizes, and where two differ, neither is known to be the order.
    """
    parsed = [names.parse(member.name) for member in members]
    if len({(p.template, len(p.numbers)) for p in parsed}) != 1:
        return False
    columns = [sorted(column) for column in zip(*(p.numbers for p in parsed))]
    varying = [column for column in columns if column[0] != column[-1]]
    if not varying:
        return len(parsed) == 1
    first = varying[0][0]
    return (
        len(varying) == 1
        and first in (0, 1)
        and varying[0] == list(range(first, first + len(parsed)))
    )
