"""The same script on real TensorFlow 1.15.5: the same losses, the same averages.

The environment variable TF115_PYTHON names a Python 3.7 with this package installed.
"""

import subprocess

import helpers
import numpy as np
import pytest

from tf2gan.common.losses_file import read_losses

TOLERANCE = 1e-9
SETTINGS = (
    "--seed=7",
    "--dtype=float64",
    "--epochs=1",
    "--steps_per_epoch=30",
    "--batch_size=20",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115),
]


def _train(side, folder, *arguments, python=None):
    output = "--output_dir={}".format(folder)
    if python is None:
        assert (
            helpers.call_script("train_" + side, *SETTINGS, *arguments, output)
            == 0
        )
        return
    script = str(helpers.SCRIPTS / "train_{}.py".format(side))
    subprocess.run(
        [python, script, *SETTINGS, *arguments, output],
        env=helpers.environment(),
        check=True,
        timeout=300,
    )


def test_it_is_the_real_one():
    code = "import tensorflow as tf, sys; print(tf.__version__, sys.version_info[:2])"
    command = [helpers.TF115_PYTHON, "-W", "ignore", "-c", code]
    out = subprocess.run(command, stdout=subprocess.PIPE, timeout=100).stdout
    assert out.decode().split("\n")[0] == "1.15.5 (3, 7)"


@pytest.mark.parametrize("update_ops", ["source", "scoped"])
def test_three_sides_train_alike(update_ops, tmp_path):
    policy = "--update_ops=" + update_ops
    _train("tf1", tmp_path / "tf115", policy, python=helpers.TF115_PYTHON)
    expected = read_losses(str(tmp_path / "tf115" / "losses.csv"))
    assert len(expected["loss_D"]) == 30
    state = helpers.final_state("tf1", tmp_path / "tf115", 30)
    for side in helpers.SIDES:
        _train(side, tmp_path / side, policy)
        losses = read_losses(str(tmp_path / side / "losses.csv"))
        for name in ("loss_D", "loss_G"):
            np.testing.assert_allclose(
                losses[name], expected[name], rtol=TOLERANCE
            )
        other = helpers.final_state(side, tmp_path / side, 30)
        assert set(state) <= set(other)
        helpers.assert_same_averages(state, other)
