"""Reads from a graph which powers of beta each of Adam's kernels takes.

The file is only parsed, within bounds; nothing of it is imported or run.
"""

import collections
from typing import Dict, Optional, Set, Tuple

from tf2gan.migration import messages

_KERNELS = ("ApplyAdam", "ResourceApplyAdam")
_VARIABLES = ("VariableV2", "Variable", "VarHandleOp")
# Their first input is a variable, its reference or its value, and so are they.
_HAND_ON = (
    "Identity",
    "ReadVariableOp",
    "Cast",
    "Switch",
    "RefSwitch",
    "Enter",
    "RefEnter",
)
# Inputs of the kernels: variable, m, v, power of beta1, power of beta2, ...
_M, _BETA1_POWER, _BETA2_POWER = 1, 3, 4


def read(path: str) -> Dict[str, Set[Tuple[str, str]]]:
    """Returns, by the name of Adam's m, the powers of beta that go with it.

    Args:
      path: of a .meta file.

    Returns:
      Sets of pairs (power of beta1, power of beta2), by their variables' names; one
      pair in each, unless optimizers share slots.

    Raises:
      UserError: if the file holds no graph, or is too large.
    """
    message = messages.read_message(path)
    definition = getattr(message, "graph_def", message)
    nodes = {node.name: node for node in definition.node}
    found = collections.defaultdict(set)
    for node in definition.node:
        if node.op in _KERNELS and len(node.input) > _BETA2_POWER:
            m, beta1, beta2 = (
                _variable(nodes, node.input[place])
                for place in (_M, _BETA1_POWER, _BETA2_POWER)
            )
            if None not in (m, beta1, beta2):
                found[m].add((beta1, beta2))
    return dict(found)


def _variable(nodes, tensor) -> Optional[str]:
    """Returns the name of the variable that a tensor is, None if it is none."""
    seen = set()
    while tensor not in seen:
        seen.add(tensor)
        node = nodes.get(tensor.split(":")[0])
        if node is None:
            return None
        if node.op in _VARIABLES:
            return node.name
        if node.op not in _HAND_ON or not node.input:
            return None
        tensor = node.input[0]
    return None
