"""Every fault of the hazard catalogue is found by the lockstep, and by its cause."""

import functools

import mutations
import pytest
import tensorflow as tf

from tf1gan import training as training1
from tf2gan import training as training2
from tf2gan.common import datasets, specs
from tf2gan.migration import lockstep
from tf2gan.migration.hazards import HAZARDS
from tf2gan.migration.report import TOLERANCES

pytestmark = pytest.mark.usefixtures("unguarded")

SPEC = specs.get_spec("dcgan28")
BATCH = 8
ITERATIONS = 2
SEED = 3
FEWEST = 41
# No fault of a port: `test_unordered` puts it into recordings.
OF_RECORDINGS = ["recording-raced"]
found = {}


@functools.lru_cache(maxsize=None)
def _reference(update_ops, dtype):
    return training1.Trainer(SPEC, update_ops, dtype)


@pytest.fixture(autouse=True)
def traced_again():
    yield
    tf.config.run_functions_eagerly(False)


def _compare(candidate, update_ops, dtype, resync=False):
    # Without tracing a faulty trainer is made in a second. Float32 is traced: then the
    # twins agree to the last bit on a CPU.
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
        resync=resync,
        stop=not resync,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("update_ops", specs.UPDATE_POLICIES)
def test_without_a_fault_nothing_is_found(update_ops, dtype):
    report = _compare(
        training2.Trainer(SPEC, update_ops, dtype), update_ops, dtype
    )
    assert report.first is None, str(report.first)
    assert report.causes == []
    assert all(row.reference == row.candidate for row in report.averages)
    assert report.iterations == ITERATIONS
    kinds = set(lockstep.KINDS)
    assert set(report.largest) == kinds
    assert (
        report.noisiest.name.endswith("bias") or "/Adam" in report.noisiest.name
    )


@pytest.mark.parametrize(
    "entry", mutations.MUTATIONS, ids=lambda entry: entry.key
)
def test_a_fault_is_found_where_it_is_and_by_its_cause_alone(
    entry, monkeypatch
):
    candidate = entry.apply(monkeypatch, SPEC, entry.update_ops, entry.dtype)
    report = _compare(candidate, entry.update_ops, entry.dtype)
    first = report.first
    assert first is not None, "not noticed"
    assert (first.kind, first.phase) == (entry.kind, entry.phase), first
    assert first.name.startswith(entry.place), first
    found[entry.title] = report
    expected = [] if entry.finding is None else [entry.key]
    assert [cause.hazard for cause in report.causes] == expected
    assert all(entry.finding in cause.finding for cause in report.causes)


def test_moments_by_the_number_as_written_are_found_in_float32_too(monkeypatch):
    [entry] = [e for e in mutations.MUTATIONS if e.key == "moment-rate-exact"]
    candidate = entry.apply(monkeypatch, SPEC, "source", "float32")
    report = _compare(candidate, "source", "float32")
    assert report.first.kind == "slot"
    assert [cause.hazard for cause in report.causes] == [entry.key]


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry", mutations.MUTATIONS, ids=lambda entry: entry.key
)
def test_in_all_phases_of_a_resynced_run_no_other_cause_is_claimed(
    entry, monkeypatch
):
    candidate = entry.apply(monkeypatch, SPEC, entry.update_ops, entry.dtype)
    report = _compare(candidate, entry.update_ops, entry.dtype, resync=True)
    assert report.iterations == ITERATIONS
    expected = set() if entry.finding is None else {entry.key}
    assert {cause.hazard for cause in report.causes} == expected


def test_every_hazard_of_the_catalogue_is_planted(show):
    assert len(HAZARDS) >= FEWEST
    planted = [entry.key for entry in mutations.MUTATIONS] + OF_RECORDINGS
    assert sorted(HAZARDS) == sorted(planted)
    titles = [hazard.title for hazard in HAZARDS.values()]
    assert len(set(titles)) == len(titles)
    for hazard in HAZARDS.values():
        assert hazard.cause and hazard.symptom and hazard.cure, hazard
    rows = [f"{len(found)} faults, where each is found, and its likely cause:"]
    for title, report in found.items():
        rows.append(f"{title:72} {report.first}")
        rows += [f"    {c.finding}; {c.measured}" for c in report.causes]
    show("\n".join(rows))
