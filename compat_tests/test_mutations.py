"""Every fault of the hazard catalogue is found by the lockstep, where it is."""

import functools

import mutations
import pytest
import tensorflow as tf

from tf1gan import training as training1
from tf2gan import training as training2
from tf2gan.common import datasets, specs
from tf2gan.migration import lockstep

SPEC = specs.get_spec("dcgan28")
BATCH = 8
ITERATIONS = 2
SEED = 3
# Float32 is traced: then the twins agree to the last bit on a CPU. On a GPU the sums
# of some thousand numbers come in another order.
TOLERANCES = {
    "float32": lockstep.Tolerance(relative=1e-6, noise=1e-3, quiet=1e-5),
    "float64": lockstep.Tolerance(),
}
FEWEST = 25
found = {}


@functools.lru_cache(maxsize=None)
def _reference(update_ops, dtype):
    return training1.Trainer(SPEC, update_ops, dtype)


@pytest.fixture(autouse=True)
def traced_again():
    yield
    tf.config.run_functions_eagerly(False)


def _compare(candidate, update_ops, dtype):
    # Without tracing a faulty trainer is made in a second.
    tf.config.run_functions_eagerly(dtype == "float64")
    reference = _reference(update_ops, dtype)
    reference.initialize(SEED)
    images = datasets.load_images("mnist10k", SPEC)
    batches = datasets.Batches(images, SPEC, BATCH, SEED, dtype=dtype)
    return lockstep.run(
        reference,
        candidate,
        batches.iterate(0, ITERATIONS),
        TOLERANCES[dtype],
        stop=True,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_without_a_fault_nothing_is_found(update_ops, dtype):
    report = _compare(
        training2.Trainer(SPEC, update_ops, dtype), update_ops, dtype
    )
    assert report.first is None, report
    assert report.iterations == ITERATIONS
    kinds = set(lockstep.KINDS)
    assert set(report.largest) == kinds
    assert (
        report.noisiest.name.endswith("bias") or "/Adam" in report.noisiest.name
    )


@pytest.mark.parametrize(
    "entry", mutations.MUTATIONS, ids=lambda entry: entry.title
)
def test_a_fault_is_found_where_it_is(entry, monkeypatch):
    candidate = entry.apply(monkeypatch, SPEC, entry.update_ops, entry.dtype)
    first = _compare(candidate, entry.update_ops, entry.dtype).first
    assert first is not None, "not noticed"
    assert (first.kind, first.phase) == (entry.kind, entry.phase), first
    assert first.name.startswith(entry.place), first
    found[entry.title] = first


def test_the_catalogue_is_long_enough_and_each_entry_says_all(show):
    assert len(mutations.MUTATIONS) >= FEWEST
    titles = [entry.title for entry in mutations.MUTATIONS]
    assert len(set(titles)) == len(titles)
    for entry in mutations.MUTATIONS:
        assert all(mutations.texts(entry)), entry
    rows = [f"{title:72} {first}" for title, first in found.items()]
    show("\n".join([f"{len(rows)} faults, and where each is found:", *rows]))
