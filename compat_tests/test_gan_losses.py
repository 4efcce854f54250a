"""In replays of GANs with other losses than the cross entropy, faults are named too."""

import functools
import json

import numpy as np
import pytest
import small_gan

from tf2gan.migration import (
    gan_losses,
    keras_implementation,
    report_json,
    report_text,
    traces,
)
from tf2gan.migration.evidence import Evidence, Side
from tf2gan.migration.fingerprints import losses
from tf2gan.migration.replay import replay
from tf2gan.migration.report import TOLERANCES, Difference

pytestmark = pytest.mark.usefixtures("untraced", "unguarded")

D_STEP, G_STEP = "discriminator_step", "generator_step"
# One of each kind; the other losses differ by a label or a factor.
KINDS = ["least squares", "labels of -1", "critic's gain", "hinge"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A function of a loss and a type that returns the folder of a trace."""

    @functools.lru_cache(maxsize=None)
    def record(loss, dtype):
        folder = tmp_path_factory.mktemp("script") / "trace"
        return small_gan.record(folder, loss, dtype)

    return record


@pytest.fixture
def replayed(recorded):
    """Replays a trace in a port, whose steps may be changed; returns the report."""

    def run(
        loss, dtype="float64", own=None, change=None, steps=(), **constants
    ):
        models = small_gan.models(dtype, **constants)
        made = small_gan.steps(models, own or loss, **dict(steps))
        if change:
            made = change(made)
        trace = traces.read(recorded(loss, dtype))
        port = keras_implementation.KerasImplementation(models, made, trace)
        return replay(
            trace.folder,
            port,
            TOLERANCES[dtype],
            variables=port.names(trace),
            stop=True,
        )

    return run


def _said(report):
    return " ".join(report_text.text(report).split())


@pytest.mark.parametrize("loss", small_gan.LOSSES)
def test_the_right_port_is_alike(loss, replayed):
    report = replayed(loss)
    assert report.alike, report
    assert report.causes == [] and report.losses == {}


FAULTS = {
    "epsilon": (
        {"epsilon": 1e-5},
        D_STEP,
        "batch-norm epsilon 1e-05 instead of 0.001",
    ),
    "slope": ({"slope": 0.3}, D_STEP, "leaky ReLU slope 0.3 instead of 0.2"),
    "inference": (
        {"steps": {"inference": True}},
        G_STEP,
        "d_net/fc2/BatchNorm normalizes with its moving averages in training",
    ),
    "factor": (
        {"steps": {"factor": 2.0}},
        D_STEP,
        "the loss has the factor 2",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("loss", KINDS)
def test_a_fault_in_layers_calls_or_factor_is_named(loss, fault, replayed):
    settings, phase, finding = FAULTS[fault]
    report = replayed(loss, **settings)
    assert (report.first.kind, report.first.phase) == ("loss", phase)
    assert [cause.finding for cause in report.causes] == [finding]


@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_named_in_float32_too(fault, replayed):
    settings, _, finding = FAULTS[fault]
    [cause] = replayed("least squares", "float32", **settings).causes
    # The epsilon that is measured is not exactly that of the layer.
    assert cause.finding.split()[:2] == finding.split()[:2]


def test_a_slope_of_several_factors_is_named_by_their_product(
    replayed, monkeypatch
):
    greater = small_gan.keras.ops.maximum
    monkeypatch.setattr(
        small_gan.keras.ops, "maximum", lambda h, low: greater(h, 1.5 * low)
    )
    [cause] = replayed("least squares").causes
    assert cause.finding == "leaky ReLU slope 0.3 instead of 0.2"


@pytest.mark.parametrize(
    "loss, own, finding",
    [
        (
            "least squares",
            "labels of -1",
            "least squares against 1 and -1 instead of least squares against 1 and 0",
        ),
        (
            "smoothed",
            "without 1/2",
            "least squares against 1 and 0 instead of least squares against 0.9 and 0",
        ),
        ("hinge", "Wasserstein", "Wasserstein instead of hinge"),
    ],
)
def test_another_loss_is_named(loss, own, finding, replayed):
    [cause] = replayed(loss, own=own).causes
    assert cause.hazard == "another-loss"
    assert cause.finding == f"the loss is {finding}"


@pytest.mark.parametrize(
    "factor", [0.5, -1, small_gan.BATCH, 1 / small_gan.BATCH]
)
def test_other_factors_are_named(factor, replayed):
    [cause] = replayed("hinge", steps={"factor": factor}).causes
    assert cause.finding.endswith(f" factor {factor:g}")


def _shifted(steps):
    def shifted(step):
        return lambda images, latent: 1.5 * step(images, latent) + 0.25

    return {name: shifted(step) for name, step in steps.items()}


def test_of_an_unknown_loss_the_report_says_what_was_tried(replayed):
    report = replayed("least squares", change=_shifted)
    assert report.causes == []
    said = _said(report)
    assert (
        "the port's loss in the discriminator_step is none of those tried: sigmoid "
        "cross entropy, least squares, Wasserstein, hinge (also halved or negated)"
    ) in said
    assert (
        "the recorded loss is least squares against 1 and 0 of the port's own logits"
    ) in said
    assert "gradients, without which" not in said
    read = json.loads(report_json.to_json(report))
    assert read["losses"] == {D_STEP: ["", "least squares against 1 and 0"]}


def test_of_a_recording_with_an_unknown_loss_it_says_so_too(replayed):
    report = replayed("of nobody", epsilon=1e-5)
    assert report.causes == [] and report.losses == {D_STEP: ("", "")}
    said = _said(report)
    assert "so causes in layers cannot be told by it" in said
    assert "gradients, without which" not in said


def test_two_faults_at_once_are_taken_for_none(replayed):
    report = replayed("least squares", epsilon=1e-5, slope=0.3)
    assert report.causes == []
    assert (
        "the port's loss in the discriminator_step is least squares against 1 and 0, "
        "but neither another loss nor this one with other epsilons, slopes or modes "
        "gives the recorded one"
    ) in _said(report)


@pytest.mark.parametrize("loss", ["least squares", "hinge"])
def test_updates_from_one_forward_pass_are_named(loss, replayed):
    [cause] = replayed(loss, steps={"simultaneous": True}).causes
    assert (cause.hazard, cause.phase) == ("simultaneous-updates", G_STEP)


REAL, FAKE = np.array([[2.0], [0.5]]), np.array([[-1.0], [3.0]])


@pytest.mark.parametrize(
    "network, name, value",
    [
        # log(1 + exp(x)) - x and log(1 + exp(x)), by hand
        (
            "discriminator",
            "sigmoid cross entropy against 1 and 0",
            (0.126928 + 0.474077 + 0.313262 + 3.048587) / 2,
        ),
        (
            "generator",
            "sigmoid cross entropy against 1",
            (1.313262 + 0.048587) / 2,
        ),
        ("discriminator", "least squares against 1 and 0", 0.625 + 5),
        ("discriminator", "least squares against 1 and -1", 0.625 + 8),
        ("discriminator", "least squares against 0.9 and 0", 0.685 + 5),
        ("generator", "least squares against 1", 4),
        ("discriminator", "Wasserstein", 1 - 1.25),
        ("discriminator", "hinge", 0.25 + 2),
        ("generator", "Wasserstein or hinge", -1),
    ],
)
@pytest.mark.parametrize("factor", gan_losses.FACTORS)
def test_a_loss_is_recognised_by_its_value(network, name, value, factor):
    shown = {"discriminator": REAL, "discriminator_1": FAKE}
    [row] = [
        loss
        for loss in gan_losses.LOSSES[network]
        if str(loss) == name and loss.factor == factor
    ]
    assert row.of(shown) == pytest.approx(factor * value, rel=1e-6)
    side = Side(loss=np.array(row.of(shown)), activations=shown)
    assert gan_losses.recognised(network, side) is row
    side.loss = side.loss * (1 + 1e-7)
    assert gan_losses.recognised(network, side) is None


@pytest.mark.parametrize(
    "loss, shown",
    [
        (1.0, {}),
        (1.0, {"discriminator": REAL}),
        (np.nan, {"discriminator": REAL, "discriminator_1": FAKE}),
        ([1.0, 1.0], {"discriminator": REAL, "discriminator_1": FAKE}),
        (1.0, {"discriminator": REAL, "discriminator_1": FAKE * np.inf}),
        (0.0, {"discriminator": REAL * 0, "discriminator_1": FAKE * 0}),
    ],
)
def test_what_has_no_value_is_no_loss(loss, shown):
    side = Side(loss=np.array(loss), activations=shown)
    assert gan_losses.recognised("generator", side) is None


def test_of_logits_near_zero_no_other_loss_is_claimed():
    """Against 1 and 0 or 0 and 1: rounding alone tells which it is taken for."""
    shown = {
        name: np.full([8, 1], 1e-6, "float32")
        for name in ("discriminator", "discriminator_1")
    }
    straight, flipped = (
        next(x for x in gan_losses.LOSSES["discriminator"] if str(x) == name)
        for name in (
            "sigmoid cross entropy against 1 and 0",
            "sigmoid cross entropy against 0 and 1",
        )
    )
    sides = [
        Side(loss=np.float64(loss.of(shown)), activations=dict(shown))
        for loss in (straight, flipped)
    ]
    sides[1].activations["discriminator_1"] = shown["discriminator_1"] * 2
    sides[1].loss = np.float64(flipped.of(sides[1].activations))
    found = [gan_losses.recognised("discriminator", side) for side in sides]
    assert str(found[0]) != str(found[1])
    evidence = Evidence(1, D_STEP, *sides)
    evidence.differences = [
        Difference(1, D_STEP, "loss", D_STEP, 1e-6, 1e-6, False, False)
    ]
    assert list(losses.another_loss(evidence)) == []
