"""The README's walk: a legacy script is audited, recorded, converted and compared."""

import subprocess
import sys

import helpers
import pytest

pytestmark = pytest.mark.slow
PORT = str(helpers.ROOT / "compat_tests" / "legacy_port.py")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory):
    """A folder with the trace and the checkpoint of the legacy script."""
    folder = tmp_path_factory.mktemp("walk")
    script = str(helpers.ROOT / "compat_tests" / "legacy_script.py")
    command = [sys.executable, script, "my_trace", "--float64"]
    subprocess.run(
        [*command, "--save=legacy/model.ckpt"],
        cwd=str(folder),
        env=helpers.environment(),
        check=True,
        timeout=300,
    )
    return folder


def _replay(legacy, models):
    return helpers.run_script(
        "compare",
        "replay",
        "my_trace",
        "--keras_model={}:{}".format(PORT, models),
        "--step={}:steps".format(PORT),
        cwd=legacy,
    )


def test_the_audit_tells_whose_averages_each_train_op_moves(legacy):
    outcome = helpers.run_script(
        "audit_graph", "--graph=legacy/model.ckpt.meta", cwd=legacy
    )
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("warning: foreign-update") == 2
    assert "error:" not in outcome.out


def test_the_checkpoint_is_carried_over_and_gives_the_same_images(legacy):
    outcome = helpers.run_script(
        "convert_checkpoint",
        "--checkpoint=legacy/model.ckpt",
        "--keras_model={}:models_with_tf1_adam".format(PORT),
        "--output_dir=converted",
        "--verify",
        cwd=legacy,
    )
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("verify  ") == 2
    assert (legacy / "converted" / "generator.keras").exists()


def test_the_replay_names_the_cause_of_a_first_port(legacy):
    outcome = _replay(legacy, "models")
    assert outcome.status == 1, outcome.err
    assert "1. Adam epsilon 1e-07 instead of 1e-08" in outcome.out


def test_what_is_left_in_the_second_port_is_a_rounded_momentum(legacy):
    outcome = _replay(legacy, "models_with_tf1_adam")
    assert outcome.status == 1, outcome.err
    assert "Adam epsilon" not in outcome.out
    first = outcome.out.split("different, first in ")[1]
    assert "moving average" in " ".join(first.split()[:6])


def test_the_third_port_is_the_same_program(legacy):
    outcome = _replay(legacy, "models_as_in_tf1")
    assert outcome.status == 0, outcome.out
