"""Both sides on every device there is: where they compute, and how nearly the same.

The models name no device, so each test differs from CPU to GPU in a name only.
`pytest -m gpu` runs those for the GPU alone.
"""

import functools

import devices
import helpers
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as framework_config

from tf1gan import layers as layers1
from tf2gan import layers as layers2
from tf2gan.common import specs
from tf2gan.migration import lockstep

SEED = 13
BATCH = 4
ITERATIONS = 2
# A GPU sums in another order, and may convolve by Winograd's algorithm, which costs
# a decimal digit. TF32 errs by some 500 times the floor.
MARGIN = 30
TF32_BITS = 10  # of the mantissa
FUSED_EPSILON = 1.001e-5
MOVING_VARIANCE = 1e-6

sides = pytest.mark.parametrize("side", sorted(devices.TRAINERS))
models = pytest.mark.parametrize("model", sorted(specs.SPECS))
policies = pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(scope="module", autouse=True)
def exact_kernels():
    """Deterministic kernels and no TF32, until this file is done."""
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    yield
    # There is no public way back.
    framework_config.disable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(tf32)


@functools.lru_cache(maxsize=None)
def _built(device, side, model, update_ops, dtype):
    """Returns a trainer that tests share; they initialize it."""
    spec = specs.get_spec(model)
    return devices.OnDevice(device, side, spec, update_ops, dtype)


def _batches(model, dtype, count):
    spec = specs.get_spec(model)
    for number in range(count):
        yield helpers.noise_batch(spec, BATCH, dtype, [SEED, number])


# Parts of the names of operations, by themselves or fused with others.
COMPUTATIONS = ("Conv2D", "MatMul", "BiasAddGrad", "ResourceApplyAdam", "Tanh")
VARIABLE = "VarHandleOp"
# TensorFlow keeps int32 variables in the memory of the CPU.
ON_CPU = {"tf1": {"D_global_step", "G_global_step"}, "tf2": set()}


def _assert_placed(placements, device):
    """Takes pairs of a name and the kind of its device."""
    elsewhere = sorted({name for name, kind in placements if kind != device})
    assert not elsewhere, "not on the {}".format(device)


def _variable_placements(side, trainer, batch):
    variables = trainer.variables()
    if side == "tf2":
        placed = {n: devices.kind_of(v.device) for n, v in variables.items()}
    else:
        ran = devices.tf1_placements(trainer, batch)
        placed = {name: kind for name, op, kind in ran if op == VARIABLE}
    assert set(placed) == set(variables)
    return [(n, kind) for n, kind in placed.items() if n not in ON_CPU[side]]


@sides
@models
@dtypes
def test_every_variable_is_on_the_device(side, model, dtype, device):
    trainer = _built(device, side, model, "source", dtype)
    trainer.initialize(SEED)
    (batch,) = _batches(model, dtype, 1)
    _assert_placed(_variable_placements(side, trainer, batch), device)


@models
@dtypes
def test_a_session_computes_on_the_device(model, dtype, device):
    trainer = _built(device, "tf1", model, "source", dtype)
    trainer.initialize(SEED)
    (batch,) = _batches(model, dtype, 1)
    ran = devices.tf1_placements(trainer, batch)
    for part in COMPUTATIONS:
        placed = [(name, kind) for name, op, kind in ran if part in op]
        assert placed, part
        _assert_placed(placed, device)


@models
@dtypes
def test_traced_steps_compute_on_the_device(model, dtype, device):
    """Without soft placement an operation that cannot run there is an error."""
    soft = tf.config.get_soft_device_placement()
    tf.config.set_soft_device_placement(False)
    try:
        trainer = _built(device, "tf2", model, "source", dtype)
        trainer.initialize(SEED)
        (batch,) = _batches(model, dtype, 1)
        losses = trainer.train_step(*batch)
    finally:
        tf.config.set_soft_device_placement(soft)
    kinds = [("loss", devices.kind_of(loss.device)) for loss in losses]
    _assert_placed(kinds, device)


@sides
def test_variables_elsewhere_are_noticed(side):
    trainer = _built("CPU", side, "dcgan28", "source", "float32")
    trainer.initialize(SEED)
    (batch,) = _batches("dcgan28", "float32", 1)
    with pytest.raises(AssertionError, match="not on the GPU"):
        _assert_placed(_variable_placements(side, trainer, batch), "GPU")


@models
@policies
@pytest.mark.parametrize("resync", [False, True], ids=["free", "resync"])
def test_float64_steps_agree_to_1e_9(model, update_ops, resync, device):
    reference, candidate = [
        _built(device, side, model, update_ops, "float64")
        for side in ("tf1", "tf2")
    ]
    reference.initialize(SEED)
    batches = _batches(model, "float64", ITERATIONS)
    tolerance = lockstep.Tolerance(relative=1e-9, noise=1e-8)
    report = lockstep.run(
        reference, candidate, batches, tolerance, resync=resync
    )
    print(device, report)
    assert report.first is None, report
    assert set(report.largest) == set(lockstep.KINDS)


def _evaluate(trainer, state, batches):
    """Returns {kind: [{name: value}]} of all that a step computes, by batch."""
    trainer.load_state(state)
    found = {"activation": [], "loss": [], "gradient": []}
    for images, latents in batches:
        batch = images.astype(trainer.dtype), latents.astype(trainer.dtype)
        found["activation"].append(trainer.activations(*batch))
        losses = [float(loss) for loss in trainer.evaluate(*batch)]
        found["loss"].append(dict(zip(("loss_D", "loss_G"), losses)))
        found["gradient"].append(trainer.gradients(*batch))
    return found


def _errors(truth, found):
    """Returns the largest error of each kind, relative to a tensor's size.

    That of a gradient is relative to the largest of its network: some are zero but
    for rounding.
    """
    errors = {}
    for kind in truth:
        for expected, actual in zip(truth[kind], found[kind]):
            for name, value in expected.items():
                size = _size(expected, name, kind)
                error = np.abs(np.subtract(actual[name], value)).max() / size
                errors[kind] = max(errors.get(kind, 0.0), error)
    return errors


def _size(values, name, kind):
    if kind != "gradient":
        return np.abs(values[name]).max()
    network = name.split("/")[0] + "/"
    return max(np.abs(values[n]).max() for n in values if n.startswith(network))


def _rounded_state(model):
    """Returns an initial state that float32 and float64 can both hold."""
    trainer = _built("CPU", "tf1", model, "source", "float32")
    trainer.initialize(SEED)
    return trainer.state()


@functools.lru_cache(maxsize=None)
def _on_cpu(side, model, dtype):
    """Returns what a CPU computes from numbers that float32 can hold."""
    trainer = _built("CPU", side, model, "source", dtype)
    batches = _batches(model, "float32", ITERATIONS)
    return _evaluate(trainer, _rounded_state(model), batches)


def _check_float32(side, model, found):
    """Float32 may err by some times what it errs on a CPU, by kind of value."""
    truth = _on_cpu(side, model, "float64")
    floor = _errors(truth, _on_cpu(side, model, "float32"))
    errors = _errors(truth, found)
    print(side, "floor:", floor, "errors:", errors)
    for kind, error in errors.items():
        least = max(floor[kind], np.finfo("float32").eps)
        assert error <= MARGIN * least, kind


@sides
@models
def test_float32_errs_no_more_than_on_a_cpu(side, model, device):
    trainer = _built(device, side, model, "source", "float32")
    batches = _batches(model, "float32", ITERATIONS)
    found = _evaluate(trainer, _rounded_state(model), batches)
    _check_float32(side, model, found)


@sides
@models
def test_float64_values_are_those_of_a_cpu_to_1e_10(side, model, device):
    trainer = _built(device, side, model, "source", "float64")
    batches = _batches(model, "float32", ITERATIONS)
    found = _evaluate(trainer, _rounded_state(model), batches)
    errors = _errors(_on_cpu(side, model, "float64"), found)
    assert max(errors.values()) <= 1e-10, errors


@sides
def test_tf32_would_be_noticed(side):
    """Its products are of numbers with ten bits; so here are the kernels alone."""
    state = _rounded_state("dcgan28")
    for name in state:
        if name.endswith("/kernel"):
            mantissa, exponent = np.frexp(state[name])
            mantissa = np.round(mantissa * 2**TF32_BITS) / 2**TF32_BITS
            state[name] = np.ldexp(mantissa, exponent)
    trainer = _built("CPU", side, "dcgan28", "source", "float32")
    batches = _batches("dcgan28", "float32", ITERATIONS)
    found = _evaluate(trainer, state, batches)
    with pytest.raises(AssertionError, match="activation"):
        _check_float32(side, "dcgan28", found)


def _tf1_outputs(values, epsilon, training):
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        outputs = layers1.batch_normalization(
            tf.constant(values), epsilon=epsilon, training=training
        )
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            variance = v1.global_variables("batch_normalization/moving_var")[0]
            session.run(variance.assign([MOVING_VARIANCE] * values.shape[-1]))
            return session.run(outputs)


def _tf2_outputs(values, epsilon, training):
    layer = layers2.BatchNormalization(epsilon=epsilon, dtype=values.dtype.name)
    layer.build(values.shape)
    layer.moving_variance.assign([MOVING_VARIANCE] * values.shape[-1])
    return layer(values, training=training).numpy()


OUTPUTS = {"tf1": _tf1_outputs, "tf2": _tf2_outputs}


def _check_least_epsilon(side, device, epsilon, training):
    """Of batches, and of moving averages, whose variance is below it."""
    random = np.random.RandomState(SEED)
    values = random.normal(0, 1e-3, [4, 5, 5, 3]).astype("float32")
    with devices.use(device):
        outputs = OUTPUTS[side](values, epsilon, training)
    exact = values.astype("float64")
    mean, variance = 0.0, MOVING_VARIANCE
    if training:
        mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    used = max(epsilon, FUSED_EPSILON)
    expected = (exact - mean) / np.sqrt(variance + used)
    # Rounding of float32. 1e-5 and 1.001e-5 are told apart: outputs of the size of
    # 1 differ by 3e-4.
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=3e-5)


@sides
@pytest.mark.parametrize("epsilon", [1e-6, 1e-5, 1e-2])
@pytest.mark.parametrize("training", [True, False])
def test_the_fused_kernels_epsilon_is_at_least_cudnns(
    side, epsilon, training, device
):
    _check_least_epsilon(side, device, epsilon, training)


@pytest.mark.parametrize("side, layers", [("tf1", layers1), ("tf2", layers2)])
@pytest.mark.parametrize("epsilon", [1e-6, 1e-5])
@pytest.mark.parametrize("training", [True, False])
def test_a_smaller_epsilon_is_noticed(
    side, layers, epsilon, training, monkeypatch
):
    monkeypatch.setattr(layers, "LEAST_FUSED_EPSILON", 0.0)
    with pytest.raises(AssertionError, match="Not equal"):
        _check_least_epsilon(side, "CPU", epsilon, training)
