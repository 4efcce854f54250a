"""Constants behind a loss are found by trial, and the report says what was tried."""

import functools
import json

import keras
import own_averages
import pytest

from tf2gan.migration import (
    keras_implementation,
    report_html,
    report_json,
    report_text,
    traces,
    trials,
)
from tf2gan.migration.replay import replay

KINDS = list(trials.LOSSES)
UNKNOWN = "hinge"


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """A function of a kind of loss that replays a trace of it, once for each."""

    @functools.lru_cache(maxsize=None)
    def run(kind, **constants):
        folder = tmp_path_factory.mktemp("loss") / "trace"
        folder = own_averages.Script(loss=kind).record(folder)
        models = own_averages.models(**constants)
        steps = own_averages.steps(models, kind)
        port = keras_implementation.KerasImplementation(
            models, steps, traces.read(folder)
        )
        return replay(folder, port, variables=port.names(traces.read(folder)))

    return run


def _text(report):
    return " ".join(report_text.text(report).split())


def test_there_are_losses_of_each_kind_and_one_of_none():
    assert set(own_averages.LOSSES) == {*KINDS, UNKNOWN}


@pytest.mark.parametrize("kind", KINDS)
def test_an_epsilon_is_named_under_each_kind_of_loss(kind, replayed):
    report = replayed(kind, epsilon=1e-5)
    assert report.first.kind == "loss"
    [cause] = report.causes
    assert cause.finding == "batch-norm epsilon 1e-05 instead of 0.001"
    said = f"tried for the loss of iteration 1 of discriminator_step: {kind}, which"
    assert said in _text(report)
    assert "in its layers one gives the recorded loss" in _text(report)


def test_of_another_fault_the_report_says_that_no_constant_explains_it(
    replayed,
):
    report = replayed("Wasserstein", output=keras.ops.sigmoid)
    assert report.first.kind == "loss" and report.causes == []
    assert "slope and mode in its layers none gives the recorded" in _text(
        report
    )


def test_of_another_loss_the_report_lists_the_kinds_that_were_tried(replayed):
    report = replayed(UNKNOWN, epsilon=1e-5)
    assert report.first.kind == "loss" and report.causes == []
    said = (
        "tried for the loss of iteration 1 of discriminator_step: sigmoid cross "
        "entropy, least squares, half of least squares, Wasserstein. The port's own "
        "loss is none of these"
    )
    assert said in _text(report)
    assert said.replace("'", "&#x27;") in report_html.to_html(report)
    [trial] = json.loads(report_json.to_json(report))["trials"]
    assert (trial["own"], trial["kinds"]) == ("", KINDS)


@pytest.mark.parametrize("kind", [*KINDS, UNKNOWN])
def test_nothing_is_tried_where_losses_agree(kind, replayed):
    report = replayed(kind)
    assert report.alike and report.trials == []
    assert "tried" not in _text(report)
