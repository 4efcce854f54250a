"""A script whose updates of moving averages raced is told from a faulty port."""

import html
import json

import numpy as np
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


class Lossy(NumpyGan):
    """Assigns whole values, as `tf.assign` does: of two that race one is lost."""

    def __init__(self, lost_of_mean="generated", lost_of_variance="real"):
        super().__init__()
        self._lost = {"mean": lost_of_mean, "variance": lost_of_variance}

    def _average(self, network, shown, order):
        before = dict(self.values)
        if network == "generator":
            super()._average(network, shown, order)
            return
        kept = {}
        for average, lost in self._lost.items():
            self.values = dict(before)
            made = [call for call in ("real", "generated") if call != lost]
            super()._average(network, shown, made)
            kept[STEM + average] = self.values[STEM + average]
        self.values.update(kept)


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
        (
            Lossy(),
            {
                "the update on generated images was lost",
                "the update on real images was lost",
            },
        ),
        (
            Lossy(lost_of_variance=None),
            {"the update on generated images was lost"},
        ),
    ],
    ids=["old value", "reversed", "mixed", "lost", "one lost"],
)
def test_an_unordered_update_is_told_from_a_fault_and_not_called_alike(
    recorded, orders, resync, replayed
):
    report = replayed(recorded, resync=resync)
    assert report.first is None, report
    assert report.raced and not report.alike
    [cause] = report.causes
    assert (cause.hazard, cause.phase) == ("recording-raced", D_STEP)
    assert all(order in cause.measured for order in orders)
    certain = "raced: its port need not follow" in cause.finding
    assert certain == (orders != {"generated before real"})
    assert {d.unordered for d in report.unordered()} == orders
    lost = "images was lost" in str(orders)
    assert len(report.unordered()) == ITERATIONS * (len(orders) if lost else 2)
    assert report.largest["moving average"].relative < 1e-9
    verdicts = [
        row
        for row in report.averages
        if row.name.startswith("discriminator") and row.phase == D_STEP
    ]
    assert {r.reference for r in verdicts} - {"real before generated"} == {
        "matches TF1's unordered update: " + order for order in orders
    }
    assert {r.candidate for r in verdicts} == {"real before generated"}


def test_every_report_says_that_the_order_was_left_to_chance(replayed):
    report = replayed(NumpyGan(order=RACE))
    page = report_html.to_html(report)
    for said in (
        "different only in the order of the recording's own updates: no other",
        "6 values of moving averages match TF1's unordered update",
        "the recorded script's own updates of moving averages raced: its port",
        "scripts/audit_graph.py on the script's .meta lists the race",
        "--averages_aside",
    ):
        assert said in " ".join(report_text.text(report).split())
        assert html.escape(said) in page.replace("<b>", "").replace("</b>", "")
    assert "<title>Comparison: different</title>" in page
    read = json.loads(report_json.to_json(report))
    assert (read["alike"], read["raced"], read["first"]) == (False, True, None)
    assert {d["name"] for d in read["unordered"]} == {
        STEM + "mean",
        STEM + "variance",
    }


def test_a_trace_in_order_has_no_unordered_update(replayed):
    report = replayed(NumpyGan())
    assert report.alike and not report.raced
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
        (NumpyGan(order=("real",)), NumpyGan(), "evaluation-updates"),
        (Off(order=RACE), NumpyGan(), None),
    ],
    ids=["race", "reversed", "momentum", "no second update", "off"],
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


# Keras's batch norm weighs a new value by 0.01, TF1's by that number in float32.
KERAS_MOMENTUM = 1 - float(1 - np.float32(0.99))


def test_a_race_is_the_recordings_also_where_the_ports_rate_is_off(replayed):
    port = NumpyGan(momentum=KERAS_MOMENTUM)
    report = replayed(NumpyGan(order=RACE), port, resync=True)
    assert report.first.kind == "moving average" and not report.raced
    assert {cause.hazard for cause in report.causes} == {"recording-raced"}


class Closed:
    """A port that shows nothing of its layers."""

    def __init__(self, port):
        for name in ("state", "load_state", D_STEP, "generator_step"):
            setattr(self, name, getattr(port, name))


@pytest.mark.parametrize("rate", [0.01, 0.002])
def test_without_layers_to_look_at_a_race_is_pointed_out(rate, replayed):
    report = replayed(
        NumpyGan(order=RACE), Closed(NumpyGan(learning_rate=rate))
    )
    assert not report.raced
    said = "moving averages alone differ, as they do where the script's own"
    text = " ".join(report_text.text(report).split())
    assert (said in text) == (rate == 0.01)


def test_averages_set_aside_leave_the_rest_to_compare(replayed):
    report = replayed(NumpyGan(order=("real",)), averages_aside=True)
    assert report.alike and "moving average" not in report.largest
    assert report_text.verdict(report).startswith(
        "alike, with moving averages set aside: "
    )
    assert json.loads(report_json.to_json(report))["averages_aside"] is True


def test_averages_set_aside_hide_no_other_fault(tmp_path):
    folder = tmp_path / "trace"
    batches = numpy_gan.batches(ITERATIONS)
    numpy_trace.write(folder, NumpyGan(order=RACE), batches)
    report = replay(str(folder), numpy_gan.slow(), averages_aside=True)
    assert report.first.kind == "weight" and not report.alike


def test_averages_set_aside_are_the_recorded_ones_from_then_on(replayed):
    port, recorded = NumpyGan(), NumpyGan(order=RACE)
    replayed(recorded, port, averages_aside=True)
    for which in ("mean", "variance"):
        assert np.array_equal(
            port.values[STEM + which], recorded.values[STEM + which]
        )
