"""Proposes which variable of a checkpoint is which variable of the Keras models.

Evidence is used in this order, and stands in the map beside each pair: equal
names; the automatic numbers of TF1's names, which are the order of creation, where
all shapes follow and Keras's layers depend on each other in that order; the layer or
the scope of a variable that is paired already; and a shape that only one variable
has. What is left is listed and refused.
"""

import collections
import itertools
from typing import Dict, List, Mapping, Optional

from tf2gan.migration import names
from tf2gan.migration.keras_models import KerasVariable
from tf2gan.migration.tf1_checkpoint import Variable
from tf2gan.migration.variable_map import Assumed, Pair, Unpaired, VariableMap

# Stands in a map for the variable of Keras that one of TF1 lacks.
NOTHING = "(nothing)"
_TRANSPOSED = ("transpose", "deconv")
_INITIAL = {names.MOVING_MEAN: 0.0, names.MOVING_VARIANCE: 1.0}
_MOST_MODELS = 4  # all orders of so many are tried


def propose(
    tf1: Mapping[str, Variable],
    keras: List[KerasVariable],
    assume_moving: bool = False,
) -> VariableMap:
    """Returns a map of all variables of the models, with what is not paired.

    Args:
      tf1: the networks' variables in the checkpoint.
      keras: the variables of the models.
      assume_moving: whether moving averages that were not saved may be taken to
        be the initial ones, 0 and 1.
    """
    groups = _groups(tf1, keras)
    pairs, unpaired = {}, []
    for old, new in groups:
        found = _Matcher(old, new).run()
        pairs.update(found)
        unpaired += _what_is_left(old, new, found)
    asked = {name for old, _ in groups for name in old}
    assumed = _assumed(unpaired, keras) if assume_moving else []
    taken = {a.keras for a in assumed}
    return VariableMap(
        tuple(pairs[v.key] for v in keras if v.key in pairs),
        tuple(assumed),
        tuple(name for name in tf1 if name not in asked),
        tuple(u for u in unpaired if u.keras not in taken),
    )


def _what_is_left(tf1, keras, pairs) -> List[Unpaired]:
    """Lists what of a network has no partner, on both sides."""
    used = {pair.tf1 for pair in pairs.values()}
    left = [variable for name, variable in tf1.items() if name not in used]
    found = [_unpaired(v, left) for v in keras if v.key not in pairs]
    candidates = {name for each in found for name in each.candidates}
    return found + [
        Unpaired(NOTHING, (v.name,), "no variable of the models is like it")
        for v in left
        if v.name not in candidates
    ]


def _assumed(unpaired, keras) -> List[Assumed]:
    """Returns the moving averages that are nowhere, with their initial values."""
    roles = {v.key: v.role for v in keras if v.is_moving}
    return [
        Assumed(u.keras, _INITIAL[roles[u.keras]])
        for u in unpaired
        if u.keras in roles and not u.candidates
    ]


def _unpaired(variable, left) -> Unpaired:
    """Says why a variable has no partner."""
    like = [
        t.name
        for t in left
        if t.shape == variable.shape and _fits(t.name, variable)
    ]
    if like:
        why = "several fit and no name tells which"
        if len(like) == 1:
            why = "it fits several and no name tells which"
        return Unpaired(variable.key, tuple(like), why)
    if variable.is_moving:
        why = (
            "never saved, as by a Saver that was given the trainable variables; "
            "--assume_moving=initial takes 0 and 1"
        )
        return Unpaired(variable.key, (), why)
    sized = [t for t in left if _count(t.shape) == _count(variable.shape)]
    sized = [t for t in sized if _fits(t.name, variable)]
    if sized:
        shapes = ", ".join(str(list(t.shape)) for t in sized[:3])
        return Unpaired(
            variable.key,
            tuple(t.name for t in sized),
            f"its shape {list(variable.shape)} differs from {shapes}; add a "
            '"transpose" or "reshape" to the map',
        )
    return Unpaired(variable.key, (), "the checkpoint has nothing like it")


def _count(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def _fits(name, variable):
    return names.parse(name).role in (None, variable.role)


def _groups(tf1, keras):
    """Splits into [(variables in TF1 by name, variables in Keras)] by network."""
    models = list(dict.fromkeys(v.model for v in keras))
    by_model = collections.defaultdict(dict)
    for name, variable in tf1.items():
        by_model[names.network(name, models)][name] = variable
    groups, nameless = [], []
    for model in models:
        own = [v for v in keras if v.model == model]
        if by_model[model]:
            groups.append((by_model[model], own))
        else:
            nameless += own
    if nameless:
        scope = _only_scope(by_model[None], nameless)
        groups.append((scope, nameless))
    return groups


def _only_scope(tf1, keras):
    """Returns the one outer scope with the kernels of the models, else all."""
    wanted = collections.Counter(v.shape for v in keras if len(v.shape) > 1)
    scopes = collections.defaultdict(dict)
    for name, variable in tf1.items():
        scopes[name.split("/")[0]][name] = variable
    fitting = [
        scope
        for scope in scopes.values()
        if wanted
        == collections.Counter(
            v.shape for v in scope.values() if len(v.shape) > 1
        )
    ]
    return fitting[0] if len(fitting) == 1 else tf1


class _Matcher:
    """Pairs the variables of one network, or of several that share no scopes."""

    def __init__(self, tf1, keras):
        self._tf1: Dict[str, Variable] = dict(tf1)
        self._keras: List[KerasVariable] = list(keras)
        self._models = list(dict.fromkeys(v.model for v in keras))
        self._pairs: Dict[str, Pair] = {}
        self._of: Dict[str, KerasVariable] = {}

    def run(self) -> Dict[str, Pair]:
        """Returns the pairs by key in Keras."""
        self._by_name()
        before = -1
        while before != len(self._pairs):
            before = len(self._pairs)
            self._by_order()
            self._by_layer()
            self._by_scope()
            if before == len(self._pairs):
                self._by_shape()
        return self._pairs

    def _pair(self, tf1, keras, reason):
        variable = self._tf1[tf1]
        self._of[tf1] = keras
        self._pairs[keras.key] = Pair(
            tf1, keras.key, variable.shape, variable.dtype.name, reason
        )

    def _left_tf1(self):
        return [v for n, v in self._tf1.items() if n not in self._of]

    def _left_keras(self, model=None):
        return [
            v
            for v in self._keras
            if v.key not in self._pairs and model in (None, v.model)
        ]

    def _by_name(self):
        """Pairs equal names, where a numbered series is the same on both sides."""
        if len(self._models) > 1:
            return  # automatic numbers of several networks say nothing by name
        old = _series({_after_scope(n, self._models[0]): n for n in self._tf1})
        new = _series({_after_scope(v.key, v.model): v for v in self._keras})
        for template in sorted(set(old) & set(new)):
            if set(old[template]) != set(new[template]):
                continue
            couples = [
                (old[template][n], new[template][n]) for n in old[template]
            ]
            if all(self._tf1[t].shape == k.shape for t, k in couples):
                for tf1, keras in couples:
                    self._pair(tf1, keras, "same name")

    def _by_order(self):
        """Pairs by TF1's numbers under the one order of the models that fits."""
        found = []
        for order in itertools.permutations(self._models[:_MOST_MODELS]):
            keras = [v for m in order for v in self._keras if v.model == m]
            couples = self._ordered(keras)
            if couples is not None:
                found.append(couples)
        if not found:
            return
        for tf1, keras, reason in found[0]:
            agreed = all((tf1, keras, reason) in other for other in found[1:])
            if agreed and tf1 not in self._of:
                self._pair(tf1, keras, reason)

    def _ordered(self, keras) -> Optional[List]:
        """Returns the pairs of all series that fit.

        None if one does not fit and there are several models, whose order is then
        another. What was paired before must agree: numbers that contradict one
        shape say nothing about the others.
        """
        hints = any(_is_transposed(name) for name in self._tf1)
        kinds = collections.defaultdict(lambda: collections.defaultdict(list))
        for variable in self._tf1.values():
            template = names.parse(variable.name).template
            kinds[_kind_in_tf1(variable, hints)][template].append(variable)
        couples = []
        for kind, templates in kinds.items():
            unfinished = [
                members
                for members in templates.values()
                if any(m.name not in self._of for m in members)
            ]
            if len(unfinished) != 1 or not _is_one_series(unfinished[0]):
                continue
            like = self._like(kind, hints, keras, unfinished[0])
            if len(like) != len(unfinished[0]):
                continue
            pairs = list(zip(unfinished[0], like))
            if all(self._agree(*pair) for pair in pairs):
                couples += [
                    couple
                    for couple in _numbered(pairs)
                    if _has_a_place(couple[1], like)
                ]
            elif len(self._models) > 1:
                return None
        return couples

    def _like(self, kind, hints, keras, members):
        """Returns what a series may be in Keras: its kind, not paired elsewhere."""
        own = {self._of[m.name].key for m in members if m.name in self._of}
        return [
            v
            for v in keras
            if _is_kind(v, kind, hints)
            and (v.key not in self._pairs or v.key in own)
        ]

    def _agree(self, member, keras):
        paired = self._of.get(member.name, keras)
        return member.shape == keras.shape and paired.key == keras.key

    def _by_layer(self):
        """Pairs a bias with that of the layer whose kernel is paired, and so on."""
        layers = {}
        for name, keras in self._of.items():
            parsed = names.parse(name)
            if parsed.role:
                layers[parsed.layer] = (name, keras)
        for variable in self._left_tf1():
            parsed = names.parse(variable.name)
            name, keras = layers.get(parsed.layer, (None, None))
            if parsed.role and keras:
                self._join(variable, keras, [keras.layer], f"beside {name}")

    def _by_scope(self):
        """Pairs batch norm inside a layer's scope with that behind the layer."""
        layers = {names.parse(n).layer: (n, k) for n, k in self._of.items()}
        for variable in self._left_tf1():
            parsed = names.parse(variable.name)
            outer = parsed.template.rpartition("/")[0]
            depth = len(parsed.numbers) - 1
            name, keras = layers.get((outer, parsed.numbers[:depth]), (0, None))
            if keras and parsed.role not in (names.KERNEL, names.BIAS, None):
                behind = self._behind(keras)
                self._join(variable, keras, behind, f"in the scope of {name}")

    def _behind(self, keras):
        """Returns the layers between a layer and the next one with a kernel."""
        behind = []
        for variable in self._keras:
            if variable.model == keras.model and variable.layer > keras.layer:
                if variable.role == names.KERNEL:
                    break
                behind.append(variable.layer)
        return behind

    def _join(self, variable, keras, layers, reason):
        role = names.parse(variable.name).role
        found = [
            v
            for v in self._left_keras(keras.model)
            if v.layer in layers
            and v.role == role
            and v.shape == variable.shape
        ]
        if len(found) == 1:
            self._pair(variable.name, found[0], reason)

    def _by_shape(self):
        """Pairs what has a shape of its own among what is left."""
        left = self._left_tf1()
        for keras in self._left_keras():
            fits = [
                v
                for v in left
                if v.shape == keras.shape and _fits(v.name, keras)
            ]
            rivals = [
                k
                for k in self._left_keras()
                if fits and k.shape == keras.shape and _fits(fits[0].name, k)
            ]
            if len(fits) == 1 and len(rivals) == 1:
                self._pair(fits[0].name, keras, "the only one of its shape")
                return  # it may decide more by its layer


def _series(named):
    """Groups names by what they are without their numbers."""
    series = collections.defaultdict(dict)
    for name, value in named.items():
        template = "/".join(names.split_numbers(p)[0] for p in name.split("/"))
        series[template][name] = value
    return series


def _after_scope(name, model):
    """Returns a name without the scopes down to that of its network."""
    parts = name.split("/")
    for number, part in enumerate(parts[:-2]):
        if names.network(part, [model]):
            return "/".join(parts[number + 1 :])
    return name


def _has_a_place(variable, series):
    """Tells whether Keras's graph orders a variable among all of its shape."""
    rivals = [
        v
        for v in series
        if v.shape == variable.shape
        and v.model == variable.model
        and v.key != variable.key
    ]
    return all(
        (variable.key in v.after) != (v.key in variable.after) for v in rivals
    )


def _numbered(pairs):
    if len(pairs) == 1:
        return [(pairs[0][0].name, pairs[0][1], "the only one of its kind")]
    return [
        (member.name, keras, f"number {number} of {len(pairs)} in order")
        for number, (member, keras) in enumerate(pairs, 1)
    ]


def _is_transposed(name):
    return any(word in name.lower() for word in _TRANSPOSED)


def _kind_in_tf1(variable, hints):
    role = names.parse(variable.name).role
    if role is None:
        return None, names.parse(variable.name).template, False
    transposed = (
        hints and role == names.KERNEL and _is_transposed(variable.name)
    )
    return role, len(variable.shape), transposed


def _is_kind(keras, kind, hints):
    role, rank, transposed = kind
    if role is None:
        return True
    is_transposed = hints and role == names.KERNEL and "Transpose" in keras.kind
    return (keras.role, len(keras.shape), is_transposed) == (
        role,
        rank,
        transposed,
    )


def _is_one_series(members):
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
