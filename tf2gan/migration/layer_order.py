"""Which layers of a Keras model come before which, by what depends on what.

Only that is an order of creation in TF1 too: the layer behind is made after the one
whose outputs it takes. Attributes of a class, and branches, may stand in any order.
"""

import collections
from typing import Any, Dict, List, Set, Tuple

import keras


def owners(layer: keras.layers.Layer) -> Dict[int, Tuple[int, str]]:
    """Returns by id of a variable the identity and class of its innermost layer."""
    found = {id(v): (id(layer), type(layer).__name__) for v in layer.weights}
    for inner in _inside(layer):
        found.update(owners(inner))
    return found


def weights(layer: keras.layers.Layer) -> List[keras.Variable]:
    """Returns the variables of a layer, those of layers inside it by depth."""
    inside = list(_inside(layer))
    traced = None if hasattr(layer, "_nodes_by_depth") else _traced(layer)
    if traced is not None and not isinstance(layer, keras.Sequential):
        depth = {id(each): n for n, each in enumerate(traced.layers)}
        inside.sort(key=lambda each: depth.get(id(each), len(depth)))
    found = [v for each in inside for v in weights(each)]
    inner = {id(variable) for variable in found}
    own = [v for v in layer.weights if id(v) not in inner]
    return list({id(v): v for v in own + found}.values())


def before(layer: keras.layers.Layer) -> Dict[int, Set[int]]:
    """Returns by id of a layer, itself or inside it, the ids of those before it."""
    found: Dict[int, Set[int]] = {id(layer): set()}
    inside = _inside(layer)
    if not inside:
        return found
    ancestors = _order_inside(layer)
    inner = {id(each): before(each) for each in inside}
    for each, leaves in inner.items():
        # Layers that are used again behind each other have no order.
        outer = {
            other
            for other in ancestors.get(each, ())
            if each not in ancestors.get(other, ())
        }
        earlier = {leaf for other in outer for leaf in inner.get(other, ())}
        for leaf, own in leaves.items():
            found.setdefault(leaf, set()).update(own, earlier)
    return found


def _inside(layer) -> List[keras.layers.Layer]:
    """Returns the layers that a model, or a layer that a user wrote, consists of."""
    if isinstance(layer, keras.Model):
        return layer.layers
    if type(layer).__module__.split(".")[0] == "keras":
        return []
    return getattr(layer, "_layers", [])


def _order_inside(layer) -> Dict[int, Set[int]]:
    """Returns by id of a layer inside another the ids of those before it."""
    if hasattr(layer, "_nodes_by_depth"):
        return _ancestors(layer)
    if isinstance(layer, keras.Sequential):
        ids = [id(each) for each in layer.layers]
        return {each: set(ids[:n]) for n, each in enumerate(ids)}
    traced = _traced(layer)
    return {} if traced is None else _ancestors(traced)


def _traced(layer) -> Any:
    """Returns what a user's `call` does as a functional model, None if unknown."""
    shapes = (layer.get_build_config() or {}).get("input_shape")
    try:
        inputs = keras.tree.map_shape_structure(
            lambda shape: keras.Input(batch_shape=shape), shapes
        )
        with (
            keras.StatelessScope()
        ):  # a `call` may assign, as spectral norm does
            return keras.Model(inputs, layer.call(inputs))
    except Exception:  # whatever a call raises that was not made for this
        return None


def _ancestors(model):
    """Returns by id of a layer the ids of those that its inputs depend on."""
    before, found = {}, collections.defaultdict(set)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            known = [p for p in node.parent_nodes if id(p) in before]
            before[id(node)] = set().union(
                *({id(p.operation)} | before[id(p)] for p in known)
            )
            found[id(node.operation)] |= before[id(node)]
    return found
