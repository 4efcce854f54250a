"""A script whose updates of moving averages raced is told from a faulty port."""

import html
import json

import numpy_gan
import numpy_trace
import pytest
from numpy_gan import NumpyGan

from tf2gan.migration import report_html, report_json, report_text
from tf2gan.migration.replay import replay

RACE = ("race", "real", "generated")
REVERSED = ("generated", "real")
STEM = "discriminator/batch_normalization/moving_"
ITERATIONS = 3
D_STEP = "discriminator_step"


class Mixed(NumpyGan):
    """Its mean and its variance race by themselves, as in TF1."""

    def _average(self, network, shown, order):
        before = dict(self.values)
        super()._average(network, shown, order)
        if network == "generator":
            return
        mean = self.values[STEM + "mean"]
        self.values[STEM + "variance"] = before[STEM + "variance"]
        self.values[STEM + "mean"] = before[STEM + "mean"]
        super()._average(network, shown, REVERSED)
        self.values[STEM + "mean"] = mean


class Off(NumpyGan):
    """Is off by a thousandth of what an update moves, on top of the race."""

    def _average(self, network, shown, order):
        super()._average(network, shown, order)
        self.values[STEM + "mean"] = self.values[STEM + "mean"] + 1e-5


@pytest.fixture
def replayed(tmp_path):
    """Returns the report of a candidate on the trace of another implementation."""

    def run(recorded, candidate=None, **settings):
        folder = tmp_path / "trace"
        numpy_trace.write(folder, recorded, numpy_gan.batches(ITERATIONS))
        return replay(str(folder), candidate or NumpyGan(), **settings)

    return run


@pytest.mark.parametrize("resync", [False, True])
@pytest.mark.parametrize(
    "recorded, orders",
    [
        (NumpyGan(order=RACE), {"both read the old value"}),
        (NumpyGan(order=REVERSED), {"generated before real"}),
        (
            Mixed(order=RACE),
            {"both read the old value", "generated before real"},
        ),
    ],
    ids=["old value", "reversed", "mixed"],
)
def test_an_unordered_update_is_no_difference(
    recorded, orders, resync, replayed
):
    report = replayed(recorded, resync=resync)
    assert report.first is None, report
    assert report.causes == []
    assert {d.unordered for d in report.unordered()} == orders
    assert len(report.unordered()) == 2 * ITERATIONS
    assert report.largest["moving average"].relative < 1e-9
    verdicts = [
        row
        for row in report.averages
        if row.name.startswith("discriminator") and row.phase == D_STEP
    ]
    assert {r.reference for r in verdicts} == {
        "matches TF1's unordered update: " + order for order in orders
    }
    assert {r.candidate for r in verdicts} == {"real before generated"}


def test_every_report_says_that_the_order_was_left_to_chance(replayed):
    report = replayed(NumpyGan(order=RACE))
    said = "6 values of moving averages match TF1's unordered update"
    assert said in " ".join(report_text.text(report).split())
    assert html.escape(said) in report_html.to_html(report)
    read = json.loads(report_json.to_json(report))
    assert {d["name"] for d in read["unordered"]} == {
        STEM + "mean",
        STEM + "variance",
    }


def test_a_trace_in_order_has_no_unordered_update(replayed):
    report = replayed(NumpyGan())
    assert report.first is None
    assert report.unordered() == []


@pytest.mark.parametrize(
    "recorded, candidate, hazard",
    [
        (NumpyGan(), NumpyGan(order=RACE), "updates-race"),
        (NumpyGan(), NumpyGan(order=REVERSED), "updates-reversed"),
        (
            NumpyGan(order=RACE),
            NumpyGan(order=RACE, momentum=0.9),
            "batch-norm-momentum",
        ),
        (NumpyGan(order=("real",)), NumpyGan(), None),
        (Off(order=RACE), NumpyGan(), None),
    ],
    ids=["race", "reversed", "momentum", "lost update", "off"],
)
def test_no_fault_passes_for_an_unordered_update(
    recorded, candidate, hazard, replayed
):
    report = replayed(recorded, candidate, stop=True)
    assert report.first.kind == "moving average"
    assert report.first.name.startswith("discriminator/")
    assert report.first.name not in [d.name for d in report.unordered()]
    if hazard:
        assert report.causes[0].hazard == hazard


def test_both_kinds_of_candidate_pass_once_the_trace_shows_chance(replayed):
    report = replayed(NumpyGan(order=RACE), NumpyGan(order=REVERSED))
    assert report.first is None
    assert len(report.unordered()) == 2 * ITERATIONS


def test_in_float32_the_orders_are_told_apart_too(replayed):
    from tf2gan.migration.report import TOLERANCES

    report = replayed(
        NumpyGan("float32", order=RACE),
        NumpyGan("float32"),
        tolerance=TOLERANCES["float32"],
    )
    assert report.first is None, report
    assert len(report.unordered()) == 2 * ITERATIONS
