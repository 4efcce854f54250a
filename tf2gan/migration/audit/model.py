"""A graph with what an audit asks of it: collections, variables, weights, savers."""

from typing import Dict, Iterable, List, Set

from tf2gan.migration.audit.dataflow import Dataflow
from tf2gan.migration.audit.flatten import flatten
from tf2gan.migration.audit.variables import Variables
from tf2gan.migration.graphs import Graph

UPDATE_OPS = "update_ops"
TRAIN_OP = "train_op"
TRAINABLE_VARIABLES = "trainable_variables"
SAVE_OPS = {"SaveV2", "Save", "SaveSlices"}
# The inputs of a save operation before the tensors: file, names, perhaps slices.
_BEFORE_TENSORS = {"SaveV2": 3, "Save": 2, "SaveSlices": 3}


class Model:
    """A graph laid out flat, with its variables and collections.

    Attributes:
      graph: as it was read.
      flow: its dataflow.
      variables: its variables and their writers.
      weights: the names of variables that an optimizer trains or may train.
      slots: the names of variables that belong to an optimizer.
      savers: the names of the variables that each Saver saves, by its scope.
    """

    def __init__(self, graph: Graph) -> None:
        """Lays the graph out; UserError if it is damaged."""
        self.graph = graph
        self.flow = Dataflow(flatten(graph.definition))
        self.variables = Variables(self.flow)
        applied = [w for w in self.variables.writes if w.optimizer]
        self.slots: Set[str] = {slot for w in applied for slot in w.slots}
        self.weights: Set[str] = {w.variable for w in applied}
        self.weights |= self._trainable()
        self._inside = by_scope(self.weights)
        self.savers: Dict[str, Set[str]] = {}
        self.save_ops: Dict[str, List[str]] = {}
        self._note_savers()

    def collection(self, name: str) -> List[str]:
        """Returns the operations of a collection, each once, that are there."""
        entries = (self.graph.collections or {}).get(name, [])
        operations = [entry.partition(":")[0] for entry in entries]
        return [
            operation
            for operation in dict.fromkeys(operations)
            if operation in self.flow.nodes
        ]

    def _trainable(self):
        return {
            name
            for operation in self.collection(TRAINABLE_VARIABLES)
            for name in self.variables.behind((operation, 0))
        }

    def _note_savers(self):
        for node in self.flow.nodes.values():
            if node.op in SAVE_OPS:
                # A Saver has a scope of its own, and an operation for each shard.
                scope = node.name.rpartition("/")[0]
                self.save_ops.setdefault(scope, []).append(node.name)
                saved = self.savers.setdefault(scope, set())
                for tensor in node.inputs[_BEFORE_TENSORS[node.op] :]:
                    saved |= self.variables.behind(tensor)

    def nearest_writes(self, operation: str) -> List[str]:
        """Returns the writes that an operation hands on, or that it groups."""
        found, waiting, seen = [], [operation], {operation}
        while waiting:
            name = waiting.pop()
            node = self.flow.nodes[name]
            if name in self.variables.at:
                found.append(name)
                continue
            awaited = [n for n, _ in self.flow.forwarded((name, 0))]
            if node.op in ("NoOp", "Identity", "IdentityN") or node.ends:
                awaited = node.awaited()
            waiting += [n for n in awaited if n not in seen]
            seen |= set(awaited)
        return found

    def beside(self, name: str) -> Set[str]:
        """Returns the weights whose scopes have most in common with a variable's.

        None if no weight has the variable's outermost scope.
        """
        return nearest(name, self._inside)


def nearest(name: str, by_scope: Dict[str, Set[str]]) -> Set[str]:
    """Returns what is in the innermost scope of a variable that has anything."""
    scopes = name.split("/")[:-1]
    for depth in range(len(scopes), 0, -1):
        inside = by_scope.get("/".join(scopes[:depth]))
        if inside:
            return inside
    return set()


def by_scope(names: Iterable[str]) -> Dict[str, Set[str]]:
    """Returns by scope the names inside, at any depth."""
    found: Dict[str, Set[str]] = {}
    for name in names:
        scopes = name.split("/")[:-1]
        for depth in range(1, len(scopes) + 1):
            found.setdefault("/".join(scopes[:depth]), set()).add(name)
    return found
