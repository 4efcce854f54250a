"""Adam on both sides, after every step, against TF1's formula in NumPy.

Runs on TensorFlow 1.15.5 too, for the first side.
"""

import dataclasses
import functools
import importlib

import helpers
import numpy as np
import pytest
import tensorflow as tf

from tf2gan.common import specs
from tf2gan.common.specs import DISCRIMINATOR, GENERATOR

LEARNING_RATE = 1e-3
BETA2 = 0.999
EPSILON = 1e-8
SEED = 11
BATCH = 2
# Two computations of one gradient were seen to be 3 roundings apart on a CPU.
GRADIENT_ROUNDINGS = 300
SMALLEST = np.finfo("float32").tiny  # of normal numbers
# By network: its name in `global_step`, and the suffix of its optimizer's powers.
STEP_NAMES = {DISCRIMINATOR: "D_global_step", GENERATOR: "G_global_step"}
SUFFIXES = {DISCRIMINATOR: "", GENERATOR: "_1"}
PHASES = ((DISCRIMINATOR, GENERATOR), (GENERATOR, DISCRIMINATOR))

# One element each: no gradient at all, one near epsilon, one whose square is infinite
# in float32, one that comes every third step, one whose square float32 takes for
# zero, and one that changes its sign.
GRADIENTS = np.array(
    [
        [0.0, 1e-7, 1e30, 0.0, 1e-30, 3.0],
        [0.0, 1e-7, 1e30, 0.0, 1e-30, -2.0],
        [0.0, 1e-7, 1e30, 5.0, 1e-30, -4.0],
    ]
)
# Past the underflow of 0.5^t in float32.
UNDERFLOW = 126
STEPS = UNDERFLOW + 5

sides = pytest.mark.parametrize("side", helpers.SIDES)
models = pytest.mark.parametrize("model", sorted(specs.SPECS))
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
betas = pytest.mark.parametrize("beta1", [0.9, 0.5])


class NumpyAdam:
    """The formula of `tf.train.AdamOptimizer`, and what it remembers."""

    def __init__(self, variable, beta1, epsilon=EPSILON):
        self.variable = variable
        self.m = np.zeros_like(variable)
        self.v = np.zeros_like(variable)
        self.power1 = np.float32(beta1)
        self.power2 = np.float32(BETA2)
        self.steps = 0
        self._beta1, self._beta2 = np.float32(beta1), np.float32(BETA2)
        self._epsilon = np.float32(epsilon)

    def step(self, gradient):
        """Moves the variable along a gradient of its own type."""
        number = self.variable.dtype.type
        with np.errstate(all="ignore"):
            self.m = moment(self.m, gradient, self._beta1)
            self.v = moment(self.v, gradient**2, self._beta2)
            step = alpha(self.power1, self.power2, number)
            divisor = np.sqrt(self.v) + number(self._epsilon)
            self.variable = self.variable - self.m * step / divisor
            self.power1 = _flush(self.power1 * self._beta1)
            self.power2 = self.power2 * self._beta2
        self.steps += 1

    def state(self):
        """Returns all that is remembered, by name."""
        return {
            "variable": self.variable,
            "m": self.m,
            "v": self.v,
            "power1": self.power1,
            "power2": self.power2,
            "steps": self.steps,
        }


def moment(old, new, beta):
    """Returns the moment after a step; `beta` is a float32 number."""
    return old + (new - old) * (old.dtype.type(1) - old.dtype.type(beta))


def alpha(power1, power2, number):
    """Returns the step size: float32 powers, computed in the variable's type."""
    one = number(1)
    bias_correction = np.sqrt(one - number(power2)) / (one - number(power1))
    return number(np.float32(LEARNING_RATE)) * bias_correction


def _flush(power):
    """Makes zero of what is below the normal numbers, as TensorFlow's threads do."""
    return power if power >= SMALLEST else np.float32(0)


def _adam_class(side):
    return importlib.import_module(side + "gan.optimizers").Adam


class Tf1Variable:
    """A variable and its optimizer in a graph."""

    def __init__(self, adam_class, start, beta1, **more):
        v1 = tf.compat.v1
        with tf.Graph().as_default():
            self._gradient = v1.placeholder(start.dtype, start.shape)
            variable = v1.get_variable(
                "w", initializer=start, use_resource=True
            )
            count = v1.train.get_or_create_global_step()
            adam = adam_class(LEARNING_RATE, beta1, BETA2, **more)
            pairs = [(self._gradient, variable)]
            self._train = adam.apply_gradients(pairs, count)
            self._state = {
                "variable": variable,
                "m": adam.get_slot(variable, "m"),
                "v": adam.get_slot(variable, "v"),
                "steps": count,
            }
            powers = adam._get_beta_accumulators()
            self._state.update(power1=powers[0], power2=powers[1])
            self._session = v1.Session()
            self._session.run(v1.global_variables_initializer())

    def step(self, gradient):
        self._session.run(self._train, {self._gradient: gradient})

    def state(self):
        return self._session.run(self._state)


class Tf2Variable:
    """A variable and its optimizer in eager mode."""

    def __init__(self, adam_class, start, beta1, **more):
        import keras

        self._variable = keras.Variable(start, dtype=str(start.dtype), name="w")
        self._adam = adam_class(LEARNING_RATE, beta1, BETA2, **more)
        self._adam.build([self._variable])
        self._apply = tf.function(
            lambda gradient: self._adam.apply([gradient], [self._variable])
        )

    def step(self, gradient):
        self._apply(tf.constant(gradient))

    def state(self):
        adam = self._adam
        variables = {
            "variable": self._variable,
            "m": adam.m[0],
            "v": adam.v[0],
            "power1": adam.beta1_power,
            "power2": adam.beta2_power,
            "steps": adam.iterations,
        }
        return {name: value.numpy() for name, value in variables.items()}


VARIABLES = {"tf1": Tf1Variable, "tf2": Tf2Variable}


def _check_steps(side, dtype, beta1, steps, adam_class=None, **more):
    """Compares after every step."""
    start = np.zeros(GRADIENTS.shape[1:], dtype)
    adam_class = adam_class or _adam_class(side)
    variable = VARIABLES[side](adam_class, start, beta1, **more)
    model = NumpyAdam(start, beta1)
    for step in range(steps):
        gradient = GRADIENTS[step % len(GRADIENTS)].astype(dtype)
        variable.step(gradient)
        model.step(gradient)
        _compare(variable.state(), model.state(), step + 1)


def _compare(actual, expected, step):
    """A step rounds some five times; the sum of all steps is the variable."""
    epsilon = np.finfo(expected["variable"].dtype).eps
    largest = np.abs(GRADIENTS[:, -1]).max()
    bounds = {
        # The gradient that changes its sign leaves a difference of larger numbers.
        "m": (8 * epsilon, 8 * epsilon * largest),
        "v": (8 * epsilon * step**0.5, 0),
        "variable": (8 * epsilon * step**0.5, 8 * epsilon * LEARNING_RATE),
        "power1": (0, SMALLEST),  # not every device flushes
        "power2": (0, 0),
        "steps": (0, 0),
    }
    for name, (relative, absolute) in bounds.items():
        np.testing.assert_allclose(
            actual[name],
            expected[name],
            rtol=relative,
            atol=absolute,
            err_msg="{} after step {}".format(name, step),
        )


@sides
@dtypes
@betas
def test_every_step_is_that_of_the_formula(side, dtype, beta1):
    _check_steps(side, dtype, beta1, STEPS)


def test_the_formula_meets_the_extremes_it_is_there_for():
    """No gradient, no step; an infinite square; a power that is no more."""
    model = NumpyAdam(np.zeros(6, "float32"), 0.5)
    model.step(GRADIENTS[0].astype("float32"))
    assert model.variable[0] == 0 and model.variable[2] == 0
    assert np.isinf(model.v[2]) and model.v[4] == 0
    for _ in range(UNDERFLOW - 2):
        model.step(GRADIENTS[0].astype("float32"))
    assert np.isnan(model.variable[2])
    assert model.power1 == SMALLEST
    model.step(GRADIENTS[0].astype("float32"))
    assert model.power1 == 0 and model.steps == UNDERFLOW


@functools.lru_cache(maxsize=None)
def _built(side, model, beta1, dtype):
    spec = dataclasses.replace(
        specs.get_spec(model),
        learning_rate=LEARNING_RATE,
        beta1=beta1,
        beta2=BETA2,
        adam_epsilon=EPSILON,
    )
    training = importlib.import_module(side + "gan.training")
    return training.Trainer(spec, "scoped", dtype)


def _batch(trainer, iteration):
    seed = [SEED, iteration]
    return helpers.noise_batch(trainer.spec, BATCH, trainer.dtype, seed)


def _check_trainer(trainer, beta1, iterations=2):
    """Compares after every step of both networks, each from the state before it."""
    trainer.initialize(SEED)
    for iteration in range(iterations):
        batch = _batch(trainer, iteration)
        for network, other in PHASES:
            gradients = trainer.gradients(*batch)
            before = trainer.state()
            getattr(trainer, network + "_step")(*batch)
            after = trainer.state()
            _check_other_untouched(before, after, other)
            _check_counts(before, after, network, beta1, iteration)
            _check_slots(before, after, gradients, network, beta1)


def _check_other_untouched(before, after, other):
    theirs = [
        name
        for name in before
        if name.startswith(other + "/") and "/moving_" not in name
    ]
    assert any(name.endswith("/Adam_1") for name in theirs)
    theirs += ["beta1_power" + SUFFIXES[other], "beta2_power" + SUFFIXES[other]]
    for name in [*theirs, STEP_NAMES[other]]:
        assert np.array_equal(before[name], after[name]), name


def _check_counts(before, after, network, beta1, iteration):
    assert after[STEP_NAMES[network]] == iteration + 1
    for name, beta in (("beta1_power", beta1), ("beta2_power", BETA2)):
        name += SUFFIXES[network]
        beta = np.float32(beta)
        assert after[name].dtype == np.float32
        assert iteration or before[name] == beta, name
        assert after[name] == before[name] * beta, name


def _check_slots(before, after, gradients, network, beta1):
    """Follows a step from the gradient to m, from there to v, and to the weight.

    The gradient is computed twice, here and in the step, and rounded by a share of
    the largest in its network. What it was in the step, m tells.
    """
    powers = [
        before[name + SUFFIXES[network]]
        for name in ("beta1_power", "beta2_power")
    ]
    names = [name for name in gradients if name.startswith(network + "/")]
    largest = max(np.abs(gradients[name]).max() for name in names)
    for name in names:
        m = _check_first_moment(before, after, gradients, name, beta1, largest)
        _check_second_moment(before, after, m, name)
        _check_weight(before, after, powers, name)


def _check_first_moment(before, after, gradients, name, beta1, largest):
    """Returns the gradient that the slot shows, and how it is rounded there."""
    slot, beta1 = name + "/Adam", np.float32(beta1)
    old, new = before[slot], after[slot]
    rounding = np.finfo(old.dtype).eps
    expected = moment(old, gradients[name], beta1)
    _assert_near(slot, new, expected, GRADIENT_ROUNDINGS * rounding * largest)
    return old + (new - old) / (1 - old.dtype.type(beta1))


def _check_second_moment(before, after, gradient, name):
    slot = name + "/Adam_1"
    rounding = np.finfo(gradient.dtype).eps
    expected = moment(before[slot], gradient**2, np.float32(BETA2))
    _assert_near(slot, after[slot], expected, 32 * rounding * expected.max())


def _check_weight(before, after, powers, name):
    number = before[name].dtype.type
    m, v = after[name + "/Adam"], after[name + "/Adam_1"]
    divisor = np.sqrt(v) + number(np.float32(EPSILON))
    expected = before[name] - m * alpha(*powers, number) / divisor
    size = np.abs(before[name]).max() + LEARNING_RATE
    bound = 8 * np.finfo(number).eps * size
    _assert_near(name, after[name], expected, bound)


def _assert_near(name, actual, expected, bound):
    assert actual.dtype == expected.dtype, name
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=bound, err_msg=name
    )


@sides
@models
@pytest.mark.parametrize("dtype, beta1", [("float64", 0.9), ("float32", 0.5)])
def test_a_step_moves_the_slots_of_its_own_network_by_the_formula(
    side, model, dtype, beta1
):
    _check_trainer(_built(side, model, beta1, dtype), beta1)


def _epsilon_outside(side, monkeypatch):
    """Adds epsilon after the bias correction, as in the paper's Algorithm 1."""
    if side == "tf1":

        class Adam(_adam_class(side)):
            def _prepare(self):
                super()._prepare()
                power2 = self._get_beta_accumulators()[1]
                self._epsilon_t = self._epsilon_t * tf.sqrt(1.0 - power2)

        return Adam
    apply = tf.raw_ops.ResourceApplyAdam

    def faulty(**given):
        correction = tf.sqrt(1 - given["beta2_power"])
        return apply(**dict(given, epsilon=given["epsilon"] * correction))

    monkeypatch.setattr(tf.raw_ops, "ResourceApplyAdam", faulty)
    return _adam_class(side)


@sides
@dtypes
def test_keras_epsilon_is_noticed(side, dtype):
    with pytest.raises(AssertionError, match="variable after step 1"):
        _check_steps(side, dtype, 0.9, 1, epsilon=1e-7)


@sides
@dtypes
def test_epsilon_outside_the_bias_correction_is_noticed(
    side, dtype, monkeypatch
):
    adam_class = _epsilon_outside(side, monkeypatch)
    with pytest.raises(AssertionError, match="variable after step 1"):
        _check_steps(side, dtype, 0.9, 1, adam_class)


class _FreshPowers(NumpyAdam):
    """As Keras has it: beta^t computed anew in each step."""

    def step(self, gradient):
        super().step(gradient)
        self.power2 = np.float32(BETA2 ** (self.steps + 1))


class _DoubleBetas(NumpyAdam):
    """Constants that were not rounded to float32."""

    def __init__(self, variable, beta1):
        super().__init__(variable, beta1)
        self._beta1, self._beta2 = beta1, BETA2


@pytest.mark.parametrize(
    "faulty, message",
    [(_FreshPowers, "power2 after step"), (_DoubleBetas, "m after step 1")],
)
def test_another_rounding_is_noticed(faulty, message):
    models = [kind(np.zeros(6), 0.9) for kind in (NumpyAdam, faulty)]
    with pytest.raises(AssertionError, match=message):
        for step in range(20):
            for model in models:
                model.step(GRADIENTS[0])
            _compare(*[model.state() for model in models], step + 1)


class _Renamed:
    """A trainer whose state has names exchanged."""

    def __init__(self, trainer, pairs):
        self._trainer = trainer
        self._names = dict(pairs, **{b: a for a, b in pairs.items()})

    def __getattr__(self, name):
        return getattr(self._trainer, name)

    def state(self):
        state = self._trainer.state()
        return {self._names.get(name, name): v for name, v in state.items()}


DENSE = "discriminator/dense/kernel"


@sides
@pytest.mark.parametrize(
    "pairs",
    [
        {"beta1_power": "beta1_power_1", "beta2_power": "beta2_power_1"},
        {"D_global_step": "G_global_step"},
        {DENSE + "/Adam": DENSE + "/Adam_1"},
        {DENSE + "/Adam": "generator/dense/kernel/Adam"},
    ],
    ids=["powers", "steps", "moments", "networks"],
)
def test_exchanged_slots_are_noticed(side, pairs):
    trainer = _Renamed(_built(side, "dcgan28", 0.9, "float64"), pairs)
    with pytest.raises(AssertionError):
        _check_trainer(trainer, 0.9, iterations=1)


@pytest.mark.skipif(
    "tf2" not in helpers.SIDES, reason="tf2gan needs Python 3.9"
)
def test_the_learning_rate_is_a_float32_number_whatever_keras_is_set_to():
    assert _moved_by_keras_adam("float64") == _moved_by_keras_adam("float32")


def _moved_by_keras_adam(floatx):
    import keras

    from tf2gan.optimizers import Adam

    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        variable = keras.Variable([1.0], dtype="float64")
        optimizer = Adam(2e-4, 0.5, 0.999, 1e-8)
        optimizer.build([variable])
        optimizer.apply([tf.ones([1], tf.float64)], [variable])
    finally:
        keras.config.set_floatx(before)
    return variable.numpy()
