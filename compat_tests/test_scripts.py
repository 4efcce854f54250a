"""The scripts: what a run leaves, how it is stopped, resumed and read."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import helpers
import kill_resume
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing import plugin_event_accumulator

from tf2gan.common.losses_file import read_losses

SETTINGS = (
    "--batch_size=40",
    "--steps_per_epoch=3",
    "--epochs=6",
    "--sample_every=2",
    "--seed=3",
    "--keep_checkpoints=3",
)
STEPS = 18
both_sides = pytest.mark.parametrize("side", helpers.SIDES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of a whole run of each side, made in this process."""
    folder = tmp_path_factory.mktemp("runs")
    for side in helpers.SIDES:
        output = "--output_dir={}".format(folder / side)
        assert helpers.call_script("train_" + side, *SETTINGS, output) == 0
    return folder


@both_sides
def test_a_run_leaves_what_the_readme_lists(runs, side):
    run = runs / side
    losses = read_losses(str(run / "losses.csv"))
    assert losses["iteration"] == list(range(1, STEPS + 1))
    assert losses["epoch"] == [1 + i // 3 for i in range(STEPS)]
    assert np.all(np.isfinite(losses["loss_D"] + losses["loss_G"]))
    config = json.loads((run / "config.json").read_text())
    assert (config["model"], config["seed"], config["epochs"]) == (
        "dcgan28",
        3,
        6,
    )
    kept = sorted(p.name for p in (run / "checkpoints").glob("*.index"))
    assert kept == ["model-12.index", "model-15.index", "model-18.index"]
    pictures = sorted(p.name for p in (run / "samples").iterdir())
    assert pictures == ["epoch{:03d}.png".format(e) for e in (1, 2, 4, 6)]
    with Image.open(run / "samples" / pictures[0]) as picture:
        assert picture.size == (3 * (10 * 29 - 1), 3 * (2 * 29 - 1))
    with Image.open(run / "losses.png") as picture:
        assert len(set(picture.convert("L").tobytes())) > 2


def test_both_scripts_print_the_same_losses_at_first(runs):
    losses1, losses2 = [
        read_losses(str(runs / s / "losses.csv")) for s in helpers.SIDES
    ]
    for name in ("loss_D", "loss_G"):
        np.testing.assert_allclose(
            losses1[name][:5], losses2[name][:5], rtol=1e-3
        )


def _read_events(folder):
    """Reads a folder as TensorBoard's own plugins do, every step of it."""
    events = plugin_event_accumulator.EventAccumulator(
        str(folder), size_guidance={"tensors": 0}
    )
    return events.Reload()


def _scalars(events, name):
    """Returns [(step, value)]."""
    tensors = events.Tensors(name)
    return [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in tensors]


@both_sides
def test_tensorboard_reads_the_losses_by_global_step(runs, side):
    events = _read_events(runs / side / "logs")
    for name in ("loss_D", "loss_G"):
        scalars = _scalars(events, name)
        assert [step for step, _ in scalars] == [3, 6, 9, 12, 15, 18]
        assert np.all(np.isfinite([value for _, value in scalars]))


def test_tensorboard_shows_the_same_values_of_both_sides_at_first(runs):
    first = [
        _scalars(_read_events(runs / side / "logs"), "loss_D")[0]
        for side in helpers.SIDES
    ]
    assert first[0][1] == pytest.approx(first[1][1], rel=1e-3)


def test_tensorboard_reads_the_graph_of_tf1(runs):
    names = {
        node.name for node in _read_events(runs / "tf1" / "logs").Graph().node
    }
    assert {"images", "latent", "is_training"} <= names
    assert "generator/conv2d_transpose_2/kernel" in names
    assert "discriminator_1/conv2d/Conv2D" in names


@both_sides
def test_a_run_that_goes_on_adds_to_its_logs_and_losses(runs, side, tmp_path):
    """An earlier session's records beyond the checkpoint are neither kept nor shown."""
    run = tmp_path / "run"
    output = "--output_dir={}".format(run)
    settings = [s for s in SETTINGS if "epochs" not in s] + [
        "--epochs=2",
        output,
    ]
    assert helpers.call_script("train_" + side, *settings) == 0
    # As if killed between the records of epoch 2 and its checkpoint.
    latest = 'model_checkpoint_path: "model-3"\nall_model_checkpoint_paths: "model-3"\n'
    (run / "checkpoints" / "checkpoint").write_text(latest)
    time.sleep(1.1)  # event files are named by the second
    again = ["--resume", "--epochs=6", output]
    assert helpers.call_script("train_" + side, *again) == 0
    for name in ("losses.csv", "samples/epoch006.png"):
        assert (run / name).read_bytes() == (runs / side / name).read_bytes()
    events = _read_events(run / "logs")
    steps = [step for step, _ in _scalars(events, "loss_D")]
    assert steps == [3, 6, 9, 12, 15, 18]


@both_sides
@pytest.mark.parametrize(
    "number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_saves_and_leaves(runs, side, number, status, tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable,
        str(helpers.SCRIPTS / "train_{}.py".format(side)),
    ]
    process = subprocess.Popen(
        command + list(SETTINGS) + ["--output_dir={}".format(run)],
        env=helpers.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    for _ in range(6000):
        if (run / "losses.csv").exists() and len(
            (run / "losses.csv").read_text()
        ) > 60:
            break
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=100)
    done = len(read_losses(str(run / "losses.csv"))["iteration"])
    assert (process.returncode, err) == (status, "")
    assert 1 <= done < STEPS
    assert (
        "stopped after iteration {} of 18; checkpoint saved".format(done) in out
    )
    assert (run / "checkpoints" / "model-{}.index".format(done)).exists()
    output = "--output_dir={}".format(run)
    assert helpers.call_script("train_" + side, "--resume", output) == 0
    whole = (runs / side / "losses.csv").read_bytes()
    assert (run / "losses.csv").read_bytes() == whole


@pytest.mark.slow
@both_sides
def test_killed_ten_times_a_run_ends_with_the_same_bytes(side, tmp_path):
    report = kill_resume.kill_and_resume(
        side, kills=10, folder=tmp_path, seed=1
    )
    assert len(report) == 10 + 1


def test_the_comparison_of_killed_runs_notices_one_byte(tmp_path):
    last = kill_resume.STEPS_PER_EPOCH * kill_resume.EPOCHS
    files = {
        "losses.csv": b"1",
        "checkpoints/model-{}.index".format(last): b"2",
    }
    for name in ("whole", "killed"):
        helpers.write_files(tmp_path / name, files)
    kill_resume.compare(tmp_path / "whole", tmp_path / "killed")
    helpers.write_files(tmp_path / "killed", {"losses.csv": b"3"})
    with pytest.raises(AssertionError, match="losses.csv"):
        kill_resume.compare(tmp_path / "whole", tmp_path / "killed")


@both_sides
@pytest.mark.parametrize(
    "kind, size",
    [("grid", (5, 2)), ("walk", (5, 2)), ("film", (5, 2))],
)
def test_pictures_are_drawn_from_a_checkpoint(runs, side, kind, size, tmp_path):
    output = tmp_path / ("a.gif" if kind == "film" else "a.png")
    arguments = [
        "--run_dir={}".format(runs / side),
        "--kind=" + kind,
        "--columns={}".format(size[0]),
        "--rows={}".format(size[1]),
        "--output={}".format(output),
    ]
    assert helpers.call_script("sample_" + side, *arguments) == 0
    with Image.open(output) as picture:
        assert picture.size == tuple(3 * (29 * n - 1) for n in size)
        assert getattr(picture, "n_frames", 1) == (3 if kind == "film" else 1)
    first = output.read_bytes()
    assert helpers.call_script("sample_" + side, *arguments) == 0
    assert output.read_bytes() == first
    assert helpers.call_script("sample_" + side, *arguments, "--seed=1") == 0
    assert output.read_bytes() != first


@both_sides
def test_a_film_shows_every_checkpoint_of_a_run_that_keeps_all(side, tmp_path):
    run = tmp_path / "run"
    settings = [s for s in SETTINGS if "keep" not in s] + [
        "--keep_checkpoints=0"
    ]
    output = "--output_dir={}".format(run)
    assert helpers.call_script("train_" + side, *settings, output) == 0
    arguments = [
        "--run_dir={}".format(run),
        "--kind=film",
        "--rows=1",
        "--columns=1",
    ]
    assert helpers.call_script("sample_" + side, *arguments) == 0
    with Image.open(run / "film.gif") as film:
        assert film.n_frames == 6


@both_sides
@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--run_dir=nowhere"], "no run in 'nowhere'"),
        (
            ["--checkpoint=no"],
            "no checkpoint 'no'; the run has model-12, model-15",
        ),
        (["--output=no/where.png"], "cannot write --output='no/where.png'"),
        (["--output=a.jpg"], "--output='a.jpg' should end in .png"),
        (["--kind=film", "--checkpoint=a"], "exclude each other"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_one_line(
    runs, side, arguments, expected, capfd
):
    run = "--run_dir={}".format(runs / side)
    assert helpers.call_script("sample_" + side, run, *arguments) == 1
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert expected in errors[0]


def test_another_keras_backend_is_refused_before_anything_is_replaced(
    runs, capfd, monkeypatch
):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    before = sorted((runs / "tf2").iterdir())
    output = "--output_dir={}".format(runs / "tf2")
    assert helpers.call_script("train_tf2", "--overwrite", output) == 1
    assert "set KERAS_BACKEND=tensorflow" in capfd.readouterr().err
    assert sorted((runs / "tf2").iterdir()) == before


@both_sides
def test_a_run_killed_just_before_its_end_can_be_finished(
    runs, side, tmp_path, capfd
):
    run = tmp_path / "run"
    shutil.copytree(str(runs / side), str(run))
    (run / "losses.png").unlink()
    arguments = ["--resume", "--output_dir={}".format(run)]
    assert helpers.call_script("train_" + side, *arguments) == 0
    assert "done: 18 iterations" in capfd.readouterr().out
    assert (run / "losses.png").exists()
    assert helpers.call_script("train_" + side, *arguments) == 1
    assert "is complete" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["12", "model-12"])
@both_sides
def test_a_checkpoint_is_found_by_name_and_iteration(
    runs, side, name, tmp_path
):
    run = "--run_dir={}".format(runs / side)
    path = "--checkpoint={}".format(runs / side / "checkpoints" / "model-12")
    pictures = []
    for checkpoint in (path, "--checkpoint=" + name, "--checkpoint=15"):
        output = tmp_path / "a.png"
        arguments = [run, checkpoint, "--rows=1", "--output={}".format(output)]
        assert helpers.call_script("sample_" + side, *arguments) == 0
        pictures.append(output.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize(
    "name", ["train_tf1", "train_tf2", "sample_tf1", "sample_tf2"]
)
def test_help_lists_every_flag_of_the_readme(name):
    done = helpers.run_script(name, "--help", cwd=str(helpers.ROOT))
    listed = set(re.findall(r"--(?:\[no\])?(\w+)", done.out))
    assert {"debug", "seed"} <= listed
    if name.startswith("train"):
        readme = (helpers.ROOT / "README.md").read_text()
        rows = re.findall(r"^\| (`--.*?) \|", readme, re.MULTILINE)
        named = {flag for row in rows for flag in re.findall(r"--(\w+)", row)}
        assert len(named) > 15
        only_tf2 = {"run_eagerly", "precision", "jit_compile"}
        assert named <= listed | (only_tf2 if name.endswith("1") else set())


def test_a_run_is_sampled_by_its_own_side_only(runs, capfd):
    arguments = ["--run_dir={}".format(runs / "tf1")]
    assert helpers.call_script("sample_tf2", *arguments) == 1
    assert "use scripts/sample_tf1.py" in capfd.readouterr().err


@pytest.mark.parametrize(
    "side, flags", [("tf1", []), ("tf2", []), ("tf2", ["--run_eagerly"])]
)
def test_a_script_is_quiet_and_needs_no_legacy_keras(side, flags, tmp_path):
    """Runs apart: here, other tests may have imported anything."""
    settings = ["--batch_size=4", "--steps_per_epoch=1", "--epochs=1"] + flags
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train'] + {!r}\n"
        "try:\n"
        "    runpy.run_path({!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    sys.exit(end.code or ('tf_keras' in sys.modules and 'tf_keras') or 0)\n"
    ).format(settings, str(helpers.SCRIPTS / "train_{}.py".format(side)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=str(tmp_path),
        env=dict(
            helpers.environment(),
            PYTHONPATH="{}:{}".format(helpers.SCRIPTS, helpers.ROOT),
        ),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    assert (tmp_path / "runs" / side / "losses.csv").exists()


def _run_as_written(script, folder, *arguments, environment=()):
    command = [sys.executable, str(helpers.SCRIPTS / script), "--seed=7"]
    command += ["--epochs=1", "--steps_per_epoch=30", *arguments]
    subprocess.run(
        command,
        cwd=str(folder),
        env=dict(helpers.environment(), **dict(environment)),
        check=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("update_ops", ["source", "scoped"])
def test_the_commands_of_the_readme_give_the_same_numbers(update_ops, tmp_path):
    policy = "--update_ops=" + update_ops
    states, losses = [], []
    for side in helpers.SIDES:
        _run_as_written(
            "train_{}.py".format(side), tmp_path, "--dtype=float64", policy
        )
        run = tmp_path / "runs" / side
        losses.append(read_losses(str(run / "losses.csv")))
        states.append(helpers.final_state(side, run, 30))
    for name in ("loss_D", "loss_G"):
        assert len(losses[0][name]) == 30
        np.testing.assert_allclose(losses[1][name], losses[0][name], rtol=1e-9)
    helpers.assert_same_averages(*states)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_deterministic_runs_of_both_sides_print_the_same_bytes(dtype, tmp_path):
    """On a CPU: on a GPU sums of the two may come in another order."""
    for side in helpers.SIDES:
        _run_as_written(
            "train_{}.py".format(side),
            tmp_path,
            "--dtype=" + dtype,
            "--batch_size=20",
            "--deterministic",
            environment={"CUDA_VISIBLE_DEVICES": ""},
        )
    printed = {
        (tmp_path / "runs" / side / "losses.csv").read_bytes()
        for side in helpers.SIDES
    }
    assert len(printed) == 1
