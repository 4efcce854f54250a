"""What an operation of a flat graph is."""

import dataclasses
from typing import Any, List, Mapping, Optional, Tuple

# Operations of ours, that stand for what a call does.
ARGUMENT = "_Arg"
START = "_Start"

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
CONDITIONS = ("If", "StatelessIf")
CASES = ("Case", "StatelessCase")
LOOPS = ("While", "StatelessWhile")

Tensor = Tuple[str, int]  # the name of an operation, the number of its output


@dataclasses.dataclass
class Node:
    """An operation.

    Attributes:
      name: its own; inside a function after the call's and the function's names.
      op: its type.
      inputs: the tensors that it takes.
      controls: the names of operations that it waits for.
      attr: the attributes of its NodeDef.
      returns: of a call: for each output the tensors that it may be.
      ends: of a call: the names of operations without which it is not over.
      branch: of the start of a branch: its number; 1 is "true", 0 "false".
    """

    name: str
    op: str
    inputs: List[Tensor]
    controls: List[str]
    attr: Mapping[str, Any]
    returns: Optional[List[List[Tensor]]] = None
    ends: List[str] = dataclasses.field(default_factory=list)
    branch: Optional[int] = None

    def awaited(self) -> List[str]:
        """Returns the names of all operations that must have run before."""
        returned = [name for some in self.returns or [] for name, _ in some]
        taken = [name for name, _ in self.inputs]
        return taken + self.controls + self.ends + returned
