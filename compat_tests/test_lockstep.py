"""In float64 both sides are the same program, for a thousand iterations."""

import devices
import helpers
import pytest

from tf2gan.common import datasets, specs
from tf2gan.migration import lockstep

BATCH = 8
SEED = 7
# GAN training is chaotic: free runs that differ by one rounding part by 1e-8 in a
# hundred iterations and by everything in three hundred. These do not differ by one.
TOLERANCE = lockstep.Tolerance(relative=1e-9, noise=1e-8)
# Iterations in which activations, gradients and samples are compared too.
WATCHED = 3


pytestmark = pytest.mark.usefixtures("graphs_as_written")


def _run(model, update_ops, iterations, watch):
    """Runs the lockstep on the CPU, where sums have one order."""
    spec = specs.get_spec(model)
    images = helpers.images_for(spec)
    batches = datasets.Batches(images, spec, BATCH, SEED, dtype="float64")
    reference, candidate = (
        devices.OnDevice("CPU", side, spec, update_ops, "float64")
        for side in ("tf1", "tf2")
    )
    reference.initialize(SEED)
    return lockstep.run(
        reference,
        candidate,
        batches.iterate(0, iterations),
        TOLERANCE,
        watch=watch,
    )


def _assert_alike(report, iterations):
    assert report.first is None, str(report.first)
    assert report.iterations == iterations
    noisiest = report.noisiest
    assert noisiest is None or "/bias" in noisiest.name


@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
@pytest.mark.parametrize("model", specs.model_names())
def test_three_iterations_are_the_same(model, update_ops, show):
    report = _run(model, update_ops, WATCHED, watch=True)
    show(f"{model}, {update_ops}, float64\n{report}")
    _assert_alike(report, WATCHED)
    assert {"activation", "gradient", "sample"} <= set(report.largest)


@pytest.mark.slow
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
@pytest.mark.parametrize("model", specs.model_names())
def test_a_thousand_iterations_are_the_same(model, update_ops, show):
    report = _run(model, update_ops, 1000, watch=False)
    show(f"{model}, {update_ops}, float64\n{report}")
    _assert_alike(report, 1000)
