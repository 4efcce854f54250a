"""In float64 both sides are the same program: a thousand iterations, bit by bit."""

import pytest
import tensorflow as tf

from tf1gan import training as training1
from tf2gan import training as training2
from tf2gan.common import datasets, specs
from tf2gan.migration import lockstep

BATCH = 8
SEED = 7
# GAN training is chaotic: free runs that differ by one rounding part by 1e-8 in a
# hundred iterations and by everything in three hundred. These do not differ by one.
TOLERANCE = lockstep.Tolerance(relative=1e-9, noise=1e-8)
# Iterations in which activations, gradients and samples are compared too.
WATCHED = 3


@pytest.fixture(autouse=True)
def graphs_as_written():
    """Grappler rewrites sums and products, in each of the two graphs otherwise."""
    options = tf.config.optimizer
    before = options.get_experimental_options().get("disable_meta_optimizer")
    options.set_experimental_options({"disable_meta_optimizer": True})
    yield
    options.set_experimental_options({"disable_meta_optimizer": bool(before)})


def _pair(model, update_ops):
    spec = specs.get_spec(model)
    images = datasets.load_images("mnist10k", spec)
    batches = datasets.Batches(images, spec, BATCH, SEED, dtype="float64")
    reference, candidate = (
        side.Trainer(spec, update_ops, "float64")
        for side in (training1, training2)
    )
    reference.initialize(SEED)
    return reference, candidate, batches


def _assert_alike(report, iterations, show, title):
    show(f"{title}\n{report}")
    assert report.first is None, report
    assert report.iterations == iterations
    assert report.noisiest.name.endswith(("bias", "Adam", "Adam_1"))


@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
@pytest.mark.parametrize("model", specs.model_names())
def test_three_iterations_are_the_same(model, update_ops, show):
    reference, candidate, batches = _pair(model, update_ops)
    report = lockstep.run(
        reference, candidate, batches.iterate(0, WATCHED), TOLERANCE
    )
    _assert_alike(report, WATCHED, show, f"{model}, {update_ops}, float64")
    assert set(report.largest) == set(lockstep.KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
@pytest.mark.parametrize("model", specs.model_names())
def test_a_thousand_iterations_are_the_same(model, update_ops, show):
    reference, candidate, batches = _pair(model, update_ops)
    report = lockstep.run(
        reference, candidate, batches.iterate(0, 1000), TOLERANCE, watch=False
    )
    _assert_alike(report, 1000, show, f"{model}, {update_ops}, float64")
