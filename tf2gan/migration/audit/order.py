"""Puts the operations of a graph in an order in which they can run."""

from typing import Dict, Iterator, List, Mapping, Set, Tuple

from tf2gan.migration.audit.nodes import Node


def run_order(nodes: Mapping[str, Node]) -> List[List[str]]:
    """Returns lists of operations that await each other, in the order they run.

    All but loops are lists of one. This is Tarjan's algorithm (1972), without
    recursion, since a graph may be as deep as it is large.
    """
    return list(_Search(nodes).components())


class _Search:
    """The search through what each operation awaits, and how far it is."""

    def __init__(self, nodes):
        self._nodes = nodes
        self._number: Dict[str, int] = {}
        self._lowest: Dict[str, int] = {}
        self._open: List[str] = []
        self._is_open: Set[str] = set()
        self._path: List[Tuple[str, Iterator[str]]] = []

    def components(self):
        """Yields each set of operations once all that it awaits has been yielded."""
        for first in self._nodes:
            if first not in self._number:
                self._enter(first)
            while self._path:
                name = self._advance()
                if (
                    name is not None
                    and self._lowest[name] == self._number[name]
                ):
                    yield self._close(name)

    def _enter(self, name):
        self._number[name] = self._lowest[name] = len(self._number)
        self._open.append(name)
        self._is_open.add(name)
        self._path.append((name, iter(self._nodes[name].awaited())))

    def _advance(self):
        """Goes one step deeper, or back; returns the operation it is done with."""
        name, awaited = self._path[-1]
        for other in awaited:
            if other not in self._number:
                self._enter(other)
                return None
            if other in self._is_open:
                self._lower(name, self._number[other])
        self._path.pop()
        if self._path:
            self._lower(self._path[-1][0], self._lowest[name])
        return name

    def _lower(self, name, number):
        self._lowest[name] = min(self._lowest[name], number)

    def _close(self, name):
        """Returns the operations that were opened since this one, and it."""
        component = []
        while not component or component[-1] != name:
            component.append(self._open.pop())
        self._is_open.difference_update(component)
        return component
