"""Proposes which variable of a checkpoint is which variable of the Keras models.

Evidence is used in this order, and stands in the map beside each pair: equal
names; the automatic numbers of TF1's names, which are the order of creation, where
all shapes follow and Keras's layers depend on each other in that order; the layer or
the scope of a variable that is paired already; and a shape that only one variable
has. Numbers order layers: which of one layer's variables of one shape is gamma, beta
or a bias, only a name tells. What is left is listed and refused.
"""

import collections
import itertools
from typing import Dict, List, Mapping, Optional, Tuple

from tf2gan.migration import names, order
from tf2gan.migration.keras_models import KerasVariable
from tf2gan.migration.tf1_checkpoint import Variable
from tf2gan.migration.variable_map import (
    MENDED_IN_MODEL,
    Assumed,
    Pair,
    Unpaired,
    VariableMap,
)

# Stands in a map for the variable of Keras that one of TF1 lacks.
NOTHING = "(nothing)"
_INITIAL = {names.MOVING_MEAN: 0.0, names.MOVING_VARIANCE: 1.0}
# Kernels of one shape that mean something else than a transposed convolution's.
_NOT_TRANSPOSED = ("Conv1D", "Conv2D", "Conv3D")
_MOST_MODELS = 4  # all orders of so many are tried, and none of more


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
        matcher = _Matcher(old, new)
        found = matcher.run()
        pairs.update(found)
        unpaired += _what_is_left(old, new, found, matcher.unclear)
    asked = {name for old, _ in groups for name in old}
    assumed = _assumed(unpaired, keras) if assume_moving else []
    taken = {a.keras for a in assumed}
    return VariableMap(
        tuple(pairs[v.key] for v in keras if v.key in pairs),
        tuple(assumed),
        tuple(name for name in tf1 if name not in asked),
        tuple(u for u in unpaired if u.keras not in taken),
    )


def _what_is_left(tf1, keras, pairs, unclear) -> List[Unpaired]:
    """Lists what of a network has no partner, on both sides."""
    used = {pair.tf1 for pair in pairs.values()}
    left = [variable for name, variable in tf1.items() if name not in used]
    layers = {key.rpartition("/")[0] for key in pairs}
    found = [
        _unclear(v, unclear, left) or _unpaired(v, left, layers)
        for v in keras
        if v.key not in pairs
    ]
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


def _unclear(variable, unclear, left) -> Optional[Unpaired]:
    """Lists those of one layer among which only a name could tell, if any."""
    if variable.key not in unclear:
        return None
    members, roles = unclear[variable.key]
    remaining = {v.name for v in left}
    return Unpaired(
        variable.key,
        tuple(name for name in members if name in remaining),
        f"no name tells {_and(roles)} of one layer apart, and a number is no "
        "order within a layer",
    )


def _and(words):
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _unpaired(variable, left, layers) -> Unpaired:
    """Says why a variable has no partner; of some layers others have."""
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
    why = "the checkpoint has nothing like it"
    if variable.key.rpartition("/")[0] in layers:
        why = MENDED_IN_MODEL.get(variable.role, why)
    return Unpaired(variable.key, (), why)


def _count(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def _fits(name, variable):
    if variable.kind in _NOT_TRANSPOSED:
        layer = "/".join(name.split("/")[-2:])
        if variable.role == names.KERNEL and order.is_named_transposed(layer):
            return False
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
        self._layers = order.layers_up_to(self._keras)
        # Keys whose numbers say another order than Keras's graph.
        self._contradicted = set()
        # By key, the names and the roles of what one layer has of one shape.
        self.unclear: Dict[str, Tuple[List[str], List[str]]] = {}

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
        model = self._models[0]
        old = _series(_after_scopes(self._tf1, model))
        new = _series({_after_scope(v.key, model): v for v in self._keras})
        for template in sorted(set(old) & set(new)):
            if set(old[template]) != set(new[template]):
                continue
            couples = [
                (old[template][n], new[template][n]) for n in old[template]
            ]
            if all(self._tf1[t].shape == k.shape for t, k in couples):
                self._pair_equals(couples)

    def _pair_equals(self, couples):
        """Pairs equal names, of which Keras's own must follow its graph.

        Its automatic numbers are an order of creation too, but not TF1's.
        """
        series = sorted(
            (keras for _, keras in couples),
            key=lambda keras: names.natural_key(keras.path),
        )
        for tf1, keras in couples:
            if not order.is_automatic(keras) or order.has_a_place(
                keras, series
            ):
                self._pair(tf1, keras, "same name")
            else:
                self._contradicted.add(keras.key)

    def _by_order(self):
        """Pairs by TF1's numbers under the one order of the models that fits."""
        found = []
        tried = self._models if len(self._models) <= _MOST_MODELS else []
        for models in itertools.permutations(tried):
            keras = [v for m in models for v in self._keras if v.model == m]
            self.unclear = {}
            couples = self._ordered(keras)
            if couples is not None:
                found.append((couples, self.unclear))
        self.unclear = found[0][1] if len(found) == 1 else {}
        couples = found[0][0] if found else []
        claims = collections.Counter(keras.key for _, keras, _ in couples)
        for tf1, keras, reason in couples:
            agreed = all((tf1, keras, reason) in other for other, _ in found)
            if agreed and claims[keras.key] == 1 and tf1 not in self._of:
                self._pair(tf1, keras, reason)

    def _ordered(self, keras) -> Optional[List]:
        """Returns the pairs of all series that fit.

        None if one does not fit and there are several models, whose order is then
        another. What was paired before must agree: numbers that contradict one
        shape say nothing about the others.
        """
        hints = any(order.is_named_transposed(name) for name in self._tf1)
        kinds = collections.defaultdict(lambda: collections.defaultdict(list))
        for variable in self._tf1.values():
            template = names.parse(variable.name).template
            kinds[order.kind_in_tf1(variable, hints)][template].append(variable)
        couples = []
        for kind, templates in kinds.items():
            unfinished = [
                members
                for members in templates.values()
                if any(m.name not in self._of for m in members)
            ]
            if len(unfinished) != 1 or not order.is_one_series(unfinished[0]):
                continue
            like = self._like(kind, hints, keras, unfinished[0])
            if len(like) != len(unfinished[0]):
                continue
            pairs = list(zip(unfinished[0], like))
            if all(self._agree(*pair) for pair in pairs):
                couples += self._placed(pairs, like, kind[0] is not None)
            elif len(self._models) > 1:
                return None
        return couples

    def _placed(self, pairs, like, has_role):
        """Returns the couples of a series whose places its numbers tell.

        Those that have no role in their names are unclear within their layer.
        """
        found = []
        members = {keras.key: member.name for member, keras in pairs}
        for tf1, keras, reason in _numbered(pairs):
            rivals = [] if has_role else order.beside(keras, like, self._layers)
            if rivals:
                layer = [v for v in like if v in (keras, *rivals)]
                self.unclear[keras.key] = (
                    [members[v.key] for v in layer],
                    [v.role for v in layer],
                )
            elif keras.key in self._contradicted or _is_other(tf1, keras):
                continue
            elif order.has_a_place(keras, like):
                found.append((tf1, keras, reason))
        return found

    def _like(self, kind, hints, keras, members):
        """Returns what a series may be in Keras: its kind, not paired elsewhere."""
        own = {self._of[m.name].key for m in members if m.name in self._of}
        return [
            v
            for v in keras
            if order.is_kind(v, kind, hints)
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
            if keras.key in variable.after:
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


def _after_scopes(tf1, model):
    """Returns names by what follows the scope of their network.

    Where several scopes hold the same, as generator and generator_copy, only the
    network's very own name tells which is meant.
    """
    found = collections.defaultdict(list)
    for name in tf1:
        found[_after_scope(name, model)].append(name)
    for rest, several in found.items():
        if len(several) > 1:
            found[rest] = [n for n in several if n == f"{model}/{rest}"]
    return {rest: held[0] for rest, held in found.items() if held}


def _after_scope(name, model):
    """Returns a name without the scopes down to that of its network."""
    parts = name.split("/")
    for number, part in enumerate(parts[:-2]):
        if names.network(part, [model]):
            return "/".join(parts[number + 1 :])
    return name


def _is_other(name, keras):
    """Tells whether a user gave a layer the name of another one in TF1."""
    if order.is_automatic(keras):
        return False
    one = names.parse(_after_scope(name, keras.model))
    other = names.parse(_after_scope(keras.key, keras.model))
    return one.template == other.template and one.numbers != other.numbers


def _numbered(pairs):
    if len(pairs) == 1:
        return [(pairs[0][0].name, pairs[0][1], "the only one of its kind")]
    return [
        (member.name, keras, f"number {number} of {len(pairs)} in order")
        for number, (member, keras) in enumerate(pairs, 1)
    ]
