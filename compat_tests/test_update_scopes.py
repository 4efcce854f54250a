"""Scopes that no layer has do not silently leave every moving average as it is."""

import contextlib
import warnings

import keras
import numpy as np
import pytest

from tf2gan import layers, training
from tf2gan.common import specs


def _network(name, scope=None):
    """Returns a network of one batch norm, made under a scope or under none."""
    inputs = keras.Input([3])
    with keras.name_scope(scope) if scope else contextlib.nullcontext():
        outputs = layers.batch_normalization(inputs, name=name)
    return keras.Model(inputs, outputs, name="critic")


def _moves(network, scopes):
    before = [v.numpy() for v in network.non_trainable_variables]
    with layers.update_ops(scopes):
        network(np.ones([4, 3], np.float32), training=True)
    after = [v.numpy() for v in network.non_trainable_variables]
    return not all(map(np.array_equal, before, after))


def test_a_scope_that_no_layer_has_is_warned_of():
    """The name of a functional model is no part of its layers' paths."""
    said = (
        r"update_ops\(\['critic'\]\): no .* first part is 'critic'; there are: "
    )
    said += r".*; name these, or .* keras.name_scope\('critic'\)"
    network = _network("c_bn")
    with pytest.warns(UserWarning, match=said) as found:
        assert not _moves(network, ["critic"])
    assert [w.filename for w in found] == [__file__]
    with pytest.warns(UserWarning, match="first part is 'c_'"):
        assert not _moves(network, ["c_"])
    with pytest.warns(UserWarning, match="first part is 'critic'"):
        assert _moves(network, ["c_bn", "critic"])


def test_layers_of_keras_itself_are_no_layers_of_a_scope():
    inputs = keras.Input([3])
    outputs = keras.layers.BatchNormalization(name="stock")(inputs)
    with pytest.warns(UserWarning, match="first part is 'stock'"):
        assert _moves(keras.Model(inputs, outputs), ["stock"])


@pytest.fixture
def strict():
    """Warnings of this module are errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "update_ops")
        yield


def test_scopes_that_layers_have_are_not_warned_of(strict):
    assert _moves(_network("d1_bn"), ["d1_bn"])
    assert _moves(_network("bn", "scope_of_d"), ["scope_of_d"])
    # Of a step that chooses one network and calls another one first.
    assert not _moves(_network("d2_bn"), ["d1_bn"])
    assert not _moves(_network("d3_bn"), [])


def test_an_error_inside_is_not_covered_by_a_warning(strict):
    with pytest.raises(KeyError), layers.update_ops(["nothing"]):
        _network("d4_bn")(np.ones([4, 3], np.float32), training=True)
        raise KeyError


@pytest.mark.parametrize("policy", specs.UPDATE_POLICIES)
@pytest.mark.parametrize("model", specs.model_names())
def test_a_trainer_names_scopes_that_its_layers_have(
    model, policy, strict, monkeypatch
):
    monkeypatch.setattr(layers, "_known_scopes", {})
    trainer = training.Trainer(specs.get_spec(model), policy)
    for scopes in (trainer._scopes_d, trainer._scopes_g):
        with layers.update_ops(scopes):
            pass
    assert set(layers._known_scopes) == {specs.GENERATOR, specs.DISCRIMINATOR}
