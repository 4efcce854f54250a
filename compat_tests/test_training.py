"""Both sides train alike: equal weights and batches give equal losses and state."""

import functools

import helpers
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as framework_config

from tf1gan import training as training1
from tf2gan import training as training2
from tf2gan.common import datasets, specs
from tf2gan.common.config import TrainConfig
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR

BATCH = 16
STEPS = 10
SEED = 7

# Float64 rounding after ten iterations, relative; losses were seen at 1e-13, tensors,
# by their largest element, at 2e-10: moving means follow the noisy biases below.
TOLERANCE = 1e-10
STATE_TOLERANCE = 1e-9
# For what has no gradient, see there: the share of the largest gradient below which
# one is nothing but rounding, and how far Adam's steps out of it may be apart.
QUIET = 1e-10
NOISY_BOUND = 1e-8


@pytest.fixture(scope="module", params=sorted(specs.SPECS))
def spec(request):
    return specs.get_spec(request.param)


@pytest.fixture(scope="module")
def batches(spec):
    images = helpers.images_for(spec)
    return {
        dtype: datasets.Batches(images, spec, BATCH, SEED, dtype=dtype)
        for dtype in ("float32", "float64")
    }


@functools.lru_cache(maxsize=None)
def _built(side, spec, update_ops, dtype):
    return (training1, training2)[side].Trainer(spec, update_ops, dtype)


def _trainers(spec, update_ops="source", dtype="float64"):
    """Returns both sides' trainers in their initial state; tests share them."""
    trainers = [_built(side, spec, update_ops, dtype) for side in (0, 1)]
    for trainer in trainers:
        trainer.initialize(SEED)
    return trainers


@functools.lru_cache(maxsize=None)
def _without_gradient(spec):
    """Names variables whose gradient is zero but for rounding.

    They are the biases in front of batch norm, which takes them away again.
    """
    trainer = training2.Trainer(spec, dtype="float64")  # one of its own
    trainer.initialize(SEED)
    gradients = trainer.gradients(*_noise(spec))
    sizes = {name: np.max(np.abs(g)) for name, g in gradients.items()}
    return tuple(n for n in sizes if sizes[n] < QUIET * max(sizes.values()))


def _noise(spec):
    return helpers.noise_batch(spec, BATCH, "float64", SEED)


def _assert_same_state(spec, state1, state2):
    assert set(state1) == set(state2)
    for name in state1:
        noisy = name.startswith(_without_gradient(spec))
        size = np.max(np.abs(state1[name]))
        np.testing.assert_allclose(
            state2[name],
            state1[name],
            rtol=0,
            atol=NOISY_BOUND if noisy else STATE_TOLERANCE * size,
            err_msg=name,
        )


def test_both_sides_start_from_the_same_state(spec):
    state1, state2 = [trainer.state() for trainer in _trainers(spec)]
    assert sorted(state1) == sorted(state2)
    for name in state1:
        assert np.array_equal(state1[name], state2[name]), name
        kind = "f" if "step" not in name else "i"
        assert state1[name].dtype.kind == state2[name].dtype.kind == kind
    kernels = [name for name in state1 if name.endswith("/kernel")]
    assert kernels and all(state1[name].dtype == "float64" for name in kernels)


@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_both_sides_train_alike_in_float64(spec, batches, update_ops):
    trainer1, trainer2 = _trainers(spec, update_ops)
    for images, latents in batches["float64"].iterate(0, STEPS):
        losses1 = trainer1.train_step(images, latents)
        losses2 = trainer2.train_step(images, latents)
        np.testing.assert_allclose(losses2, losses1, rtol=TOLERANCE)
    assert trainer1.global_step == trainer2.global_step == STEPS
    _assert_same_state(spec, trainer1.state(), trainer2.state())


@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_both_sides_train_alike_in_float32(spec, batches, update_ops):
    """On a CPU both call the same kernels in the same order: the same bits.

    On a GPU sums may come in another order. Then Adam's first steps, which are of
    the size of the learning rate however small a gradient is, part the weights.
    """
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    trainer1, trainer2 = _trainers(spec, update_ops, "float32")
    for images, latents in batches["float32"].iterate(0, 5):
        losses1 = trainer1.train_step(images, latents)
        losses2 = [float(loss) for loss in trainer2.train_step(images, latents)]
        np.testing.assert_allclose(losses2, losses1, rtol=1e-3 if on_gpu else 0)
    state1, state2 = trainer1.state(), trainer2.state()
    assert on_gpu or all(np.array_equal(state1[n], state2[n]) for n in state1)


def test_float32_averages_and_samples_are_the_same(spec, batches):
    """Images in float32 go through the fused kernel, which float64 does not reach."""
    trainer1, trainer2 = _trainers(spec, dtype="float32")
    images, latents = batches["float32"].batch(0)
    for trainer in (trainer1, trainer2):
        trainer.discriminator_step(images, latents)
    state1, state2 = trainer1.state(), trainer2.state()
    # On a GPU, sums of 1e3 to 1e5 float32 numbers in another order; on a CPU, nothing.
    for name in _averages(state1):
        np.testing.assert_allclose(
            state2[name], state1[name], rtol=1e-5, atol=1e-7, err_msg=name
        )
    trainer2.load_state(state1)
    np.testing.assert_allclose(
        trainer2.generate(latents), trainer1.generate(latents), atol=1e-5
    )


def _averages(state):
    return [name for name in state if "/moving_" in name]


def _updates(trainer, step, images, latents):
    """Returns the networks whose moving averages a step changes."""
    before = trainer.state()
    getattr(trainer, step)(images, latents)
    after = trainer.state()
    return {
        name.split("/")[0]
        for name in _averages(before)
        if not np.array_equal(before[name], after[name])
    }


@pytest.mark.parametrize("side", [0, 1], ids=["tf1", "tf2"])
@pytest.mark.parametrize(
    "update_ops, step, networks",
    [
        ("source", "discriminator_step", {GENERATOR, DISCRIMINATOR}),
        ("source", "generator_step", {GENERATOR, DISCRIMINATOR}),
        ("scoped", "discriminator_step", {DISCRIMINATOR}),
        ("scoped", "generator_step", {GENERATOR}),
    ],
)
def test_a_step_updates_the_averages_of_its_policy(
    spec, batches, side, update_ops, step, networks
):
    trainer = _trainers(spec, update_ops)[side]
    batch = batches["float64"].batch(0)
    averages = {name.split("/")[0] for name in _averages(trainer.state())}
    assert _updates(trainer, step, *batch) == networks & averages


@pytest.mark.parametrize("side", [0, 1], ids=["tf1", "tf2"])
def test_a_step_trains_its_own_network_only(spec, batches, side):
    trainer = _trainers(spec)[side]
    before = trainer.state()
    trainer.discriminator_step(*batches["float64"].batch(0))
    after = trainer.state()
    kernels = [name for name in before if name.endswith("/kernel")]
    changed = {n for n in kernels if not np.array_equal(before[n], after[n])}
    assert changed == {n for n in kernels if n.startswith(DISCRIMINATOR)}
    assert (after["D_global_step"], after["G_global_step"]) == (1, 0)


@pytest.mark.parametrize("side", [0, 1], ids=["tf1", "tf2"])
def test_evaluating_and_sampling_change_nothing(spec, batches, side):
    trainer = _trainers(spec)[side]
    images, latents = batches["float64"].batch(0)
    trainer.train_step(images, latents)
    before = trainer.state()
    losses = [float(loss) for loss in trainer.evaluate(images, latents)]
    trainer.generate(latents)
    after = trainer.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    first, _ = trainer.train_step(images, latents)
    assert float(first) == pytest.approx(losses[0], rel=1e-12)


@pytest.mark.parametrize("side", [0, 1], ids=["tf1", "tf2"])
def test_a_sample_depends_on_its_own_latent_alone(spec, batches, side):
    trainer = _trainers(spec)[side]
    images, latents = batches["float64"].batch(0)
    trainer.train_step(images, latents)
    together = trainer.generate(latents)
    alone = trainer.generate(latents[3:4])
    assert together.shape == (BATCH, *spec.image_shape)
    np.testing.assert_allclose(together[3:4], alone, rtol=1e-12, atol=1e-14)


# Of the largest element. Float64 rounding, and a hundred units of float32's.
INFERENCE_TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def _layers_apart(trainers, batch, training):
    """Returns the layers whose outputs differ between the sides."""
    one, other = (t.activations(*batch, training) for t in trainers)
    assert list(one) == list(other)
    bound = INFERENCE_TOLERANCE[trainers[0].dtype]
    return {
        name
        for name in one
        if np.abs(one[name] - other[name]).max()
        > bound * np.abs(one[name]).max()
    }


@pytest.mark.parametrize("dtype", sorted(INFERENCE_TOLERANCE))
def test_every_layer_infers_alike_and_by_the_averages(spec, batches, dtype):
    trainers = _trainers(spec, dtype=dtype)
    batch = batches[dtype].batch(0)
    trainers[0].train_step(*batch)
    state = trainers[0].state()
    trainers[1].load_state(state)
    assert _layers_apart(trainers, batch, False) == set()
    averages = [name for name in state if "/moving_" in name]
    for name in averages:
        changed = dict(state, **{name: state[name] + 1e-3})
        trainers[1].load_state(changed)
        layer = name.rsplit("/", 1)[0]
        assert layer in _layers_apart(trainers, batch, False)
        assert _layers_apart(trainers, batch, True) == set()


@pytest.mark.parametrize("side", [0, 1], ids=["tf1", "tf2"])
def test_determinism_is_switched_on_and_off(side):
    """Graph rewriting goes off with it; only the latter has a public way back."""
    framework = ("tf1", "tf2")[side]
    configure = (training1, training2)[side].configure_runtime
    options = tf.config.optimizer.get_experimental_options
    try:
        configure(TrainConfig(framework, "unused", deterministic=True))
        assert framework_config.is_op_determinism_enabled()
        assert options()["disable_meta_optimizer"]
        configure(TrainConfig(framework, "unused", deterministic=False))
        assert not options()["disable_meta_optimizer"]
    finally:
        framework_config.disable_op_determinism()


def test_state_moves_from_one_side_to_the_other(spec, batches):
    trainer1, trainer2 = _trainers(spec, "scoped")
    for images, latents in batches["float64"].iterate(0, 3):
        trainer1.train_step(images, latents)
    trainer2.load_state(trainer1.state())
    batch = batches["float64"].batch(3)
    np.testing.assert_allclose(
        trainer2.train_step(*batch), trainer1.train_step(*batch), rtol=TOLERANCE
    )
    _assert_same_state(spec, trainer1.state(), trainer2.state())


@pytest.mark.parametrize("side", [0, 1], ids=["tf1", "tf2"])
@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_a_state_that_does_not_fit_is_refused(spec, side, fault):
    trainer = _trainers(spec)[side]
    state, name = trainer.state(), "beta"
    if fault == "missing":
        del state["beta1_power"]
    elif fault == "unknown":
        state["beta3_power"] = state["beta1_power"]
    else:
        name = next(name for name in state if state[name].ndim)
        state[name] = state[name][:-1]
    with pytest.raises(ValueError, match=name):
        trainer.load_state(state)


# It has that kernel; not every GAN does.
@pytest.mark.parametrize("spec", ["dcgan28"], indirect=True)
@pytest.mark.parametrize("fault", ["outputs", "variance"])
def test_a_fault_in_the_fused_kernel_is_noticed(
    spec, batches, fault, monkeypatch
):
    from tf2gan import layers

    fused = layers.BatchNormalization._fused

    def faulty(self, inputs, gamma, beta, training):
        outputs, mean, variance = fused(self, inputs, gamma, beta, training)
        if fault == "variance":
            return outputs, mean, variance * 15 / 16
        return outputs * (1.0 if training else 0.5), mean, variance

    monkeypatch.setattr(layers.BatchNormalization, "_fused", faulty)
    _built.cache_clear()
    try:
        with pytest.raises(AssertionError, match="moving_variance|Mismatch"):
            test_float32_averages_and_samples_are_the_same(spec, batches)
    finally:
        _built.cache_clear()


def test_keras_objects_survive_being_saved():
    import keras

    from tf2gan import layers, optimizers

    layer = layers.BatchNormalization(
        0.9, 1e-5, scale=False, name="a", dtype="float64"
    )
    adam = optimizers.Adam(0.1, 0.5, 0.9, 1e-6)
    for thing in (layer, adam):
        config = keras.saving.serialize_keras_object(thing)
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is type(thing)
        assert again.get_config() == thing.get_config()


def test_eager_steps_equal_traced_ones(spec, batches):
    trainer, batch = _trainers(spec)[1], batches["float64"].batch(0)
    losses_traced, state_traced = trainer.train_step(*batch), trainer.state()
    trainer.initialize(SEED)
    tf.config.run_functions_eagerly(True)
    try:
        losses_eager = trainer.train_step(*batch)
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_allclose(losses_eager, losses_traced, rtol=TOLERANCE)
    _assert_same_state(spec, trainer.state(), state_traced)


@pytest.mark.parametrize("side", [0, 1], ids=["tf1", "tf2"])
def test_initializing_again_begins_again(spec, batches, side):
    trainer = _trainers(spec)[side]
    before = trainer.state()
    trainer.train_step(*batches["float64"].batch(0))
    assert trainer.global_step == 1
    trainer.initialize(SEED)
    after = trainer.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)
