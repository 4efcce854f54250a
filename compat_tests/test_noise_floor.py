"""What both sides compute differs by no more than rounding, which is measured first."""

import dataclasses
import json

import noise_floor
import numpy as np
import pytest
import tensorflow as tf

from tf2gan import training as training2
from tf2gan.common import specs

# The sides may differ by so many times the floor, which is the median of a few samples
# of rounding; another, of other kernels, can be some times larger.
MULTIPLE = 8
# A floor above would prove nothing. Seen: 2e-6 and 5e-15, both of gradients.
GREATEST_FLOOR = {"float32": 1e-5, "float64": 1e-13}
# Relative; above the bound of every kind, and far below the faults of ports.
FAULT = {"float32": 1e-4, "float64": 1e-12}
SPEC = specs.get_spec("dcgan28")
# Where a fault must show. Biases and betas are left out: so early they are a few
# thousandths, and a ten-thousandth of that is lost among activations of size one.
FAULTY_VARIABLES = ("/kernel", "/gamma", "/moving_mean", "/moving_variance")
# A ten-thousandth of batch norm's epsilon is less than the floor.
FAULTY_CONSTANTS = ("leaky_relu_slope", "batch_norm_momentum")


class Bench:
    """One side, what it computes in several orders, and how far others may differ."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.trainer, self.state, self.batch = noise_floor.prepare(dtype)
        self.references = self.measure(self.trainer)
        self.samples = [
            noise_floor.largest(self.references[0], reference)
            for reference in self.references[1:]
        ]

    def measure(self, trainer, orders=None):
        """Returns what a trainer computes in each order."""
        return [
            noise_floor.measure(trainer, self.state, self.batch, order)
            for order in orders or noise_floor.orders()
        ]

    @property
    def floor(self):
        return noise_floor.floor(self.samples, self.dtype)

    def differences(self, measured):
        """Returns by kind how far another is from this side in the same orders."""
        pairs = zip(self.references, measured)
        return noise_floor.median([noise_floor.largest(*p) for p in pairs])

    def table(self, title, measured):
        """Returns lines of text: of each kind the floor, difference, and bound."""
        lines = [f"{title:16} {'floor':>10} {'difference':>10} {'bound':>10}"]
        for kind, (size, where) in self.differences(measured).items():
            floor = self.floor[kind]
            lines.append(
                f"{kind:16} {floor:10.1e} {size:10.1e} {MULTIPLE * floor:10.1e}"
                f"  {where if size else ''}"
            )
        return "\n".join(lines)

    def beyond(self, measured):
        """Returns the kinds whose difference is beyond the bound."""
        found, floor = self.differences(measured), self.floor
        return {k for k in found if found[k][0] > MULTIPLE * floor[k]}


@pytest.fixture(scope="module")
def process():
    """Measures the floor of threads, in float32, while this process goes on."""
    with noise_floor.start_of_threads("float32") as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def of_threads(process, benches):
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return {kind: tuple(found) for kind, found in json.loads(output).items()}


@pytest.fixture(scope="module")
def benches(process):
    return {dtype: Bench(dtype) for dtype in FAULT}


@pytest.fixture(scope="module")
def float32(benches, of_threads):
    benches["float32"].samples.append(of_threads)
    return benches["float32"]


@pytest.fixture(params=sorted(FAULT))
def bench(request, benches, float32):
    return benches[request.param]


@pytest.fixture
def eagerly():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


# Traced in float64, a side takes long to start; `test_training.py` has it so.
@pytest.mark.parametrize(
    "dtype, traced",
    [("float32", True), ("float32", False), ("float64", False)],
)
def test_both_sides_differ_by_rounding_only(
    benches, float32, dtype, traced, request, show
):
    if not traced:
        request.getfixturevalue("eagerly")
    bench = benches[dtype]
    measured = bench.measure(training2.Trainer(SPEC, dtype=dtype))
    title = f"{dtype}, {'traced' if traced else 'eager'}"
    show(bench.table(title, measured))
    assert not bench.beyond(measured)


def test_the_floor_is_that_of_rounding(bench):
    assert max(bench.floor.values()) < GREATEST_FLOOR[bench.dtype]
    for kind in ("activation", "gradient"):
        assert bench.floor[kind] > np.finfo(bench.dtype).eps, "not reordered"


def test_numbers_of_threads_reach_the_kernels(of_threads):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU sums in its own order")
    assert of_threads["gradient"][0] > 0


def test_the_median_of_other_orders_is_within_the_bound(float32):
    measured = float32.measure(float32.trainer, noise_floor.orders()[::-1])
    assert not float32.beyond(measured)


@pytest.mark.parametrize("kind", noise_floor.KINDS)
def test_a_fault_in_one_tensor_of_a_kind_is_beyond_the_bound(bench, kind):
    fault = FAULT[bench.dtype]

    def spoil(reference):
        name = next(n for n in reference if reference[n][0] == kind)
        value = reference[name][1]
        # Noisy gradients are zero, and so is a share of them: they are moved.
        moved = kind.startswith("noisy")
        faulty = value + fault if moved else value * (1 + fault)
        return dict(reference, **{name: (kind, faulty)})

    assert bench.beyond([spoil(r) for r in bench.references]) == {kind}


def test_a_fault_in_one_variable_is_beyond_the_bound(float32):
    names = [name for name in float32.state if name.endswith(FAULTY_VARIABLES)]
    assert len(names) == 8 + 5 + 10
    for name in names:
        value = float32.state[name] * (1 + FAULT["float32"])
        faulty = dict(float32.state, **{name: value})
        measured = noise_floor.measure(float32.trainer, faulty, float32.batch)
        assert float32.beyond([measured]), name


@pytest.mark.parametrize("constant", FAULTY_CONSTANTS)
def test_a_fault_in_one_constant_is_beyond_the_bound(
    float32, eagerly, constant
):
    value = getattr(SPEC, constant) * (1 - FAULT["float32"])
    faulty = training2.Trainer(dataclasses.replace(SPEC, **{constant: value}))
    measured = noise_floor.measure(faulty, float32.state, float32.batch)
    assert float32.beyond([measured])
