"""Training goes on from a converted checkpoint as if nothing had happened.

N iterations on one side, a conversion, M on the other: the losses and every variable
are those of N + M iterations on the first. In float64; both directions.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import foreign_models
import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf1gan import training as tf1
from tf1gan.checkpoint import Checkpointer as Tf1Checkpointer
from tf2gan import training as tf2
from tf2gan.checkpoint import Checkpointer as Tf2Checkpointer
from tf2gan.common import specs
from tf2gan.common.errors import UserError
from tf2gan.common.losses_file import read_losses
from tf2gan.migration import keras_models, outputs, registry, tf1_checkpoint

BEFORE, AFTER = 3, 5
SPEC = specs.get_spec("dcgan28")
# Both sides compute the same in float64 but for the order of sums.
TOLERANCE = 1e-9
OTHER = {"tf1": "tf2", "tf2": "tf1"}
TRAINERS = {"tf1": tf1.Trainer, "tf2": tf2.Trainer}
CHECKPOINTERS = {"tf1": Tf1Checkpointer, "tf2": Tf2Checkpointer}


@pytest.fixture(scope="module")
def batches():
    random = np.random.RandomState(3)
    return [
        (random.rand(4, 28, 28, 1), random.uniform(-1, 1, [4, 100]))
        for _ in range(BEFORE + AFTER)
    ]


@pytest.fixture(scope="module")
def trainers():
    return {n: new(SPEC, dtype="float64") for n, new in TRAINERS.items()}


@pytest.fixture(scope="module")
def runs(trainers, batches, tmp_path_factory):
    """By side: its checkpoint after N, its losses and state after N + M."""
    found = {}
    for side, trainer in trainers.items():
        folder = str(tmp_path_factory.mktemp(side))
        trainer.initialize(seed=5)
        train(trainer, batches[:BEFORE])
        path = CHECKPOINTERS[side](trainer, folder).save(BEFORE)
        losses = train(trainer, batches[BEFORE:])
        found[side] = path, losses, trainer.state()
    return found


def train(trainer, batches):
    return [tuple(map(float, trainer.train_step(*batch))) for batch in batches]


def resumed(side, source, trainers, batches, folder):
    """Converts for a side and trains on there; returns losses and state."""
    path = registry.write(source, str(folder))
    trainer = trainers[side]
    trainer.initialize(seed=99)  # nothing of it may remain
    CHECKPOINTERS[side](trainer, str(folder / "checkpoints")).restore(path)
    return train(trainer, batches[BEFORE:]), trainer.state()


def largest_difference(one, other):
    """Returns how far two (losses, state) are apart, and where."""
    (losses1, state1), (losses2, state2) = one, other
    assert set(state1) == set(state2)
    apart = {
        name: np.max(np.abs(state1[name].astype(float) - state2[name]))
        for name in state1
    }
    apart["loss"] = np.max(np.abs(np.subtract(losses1, losses2)), initial=0)
    name = max(apart, key=apart.get)
    return apart[name], name


both_ways = pytest.mark.parametrize("side", ["tf1", "tf2"])


@both_ways
def test_training_goes_on_as_if_nothing_had_happened(
    side, runs, trainers, batches, tmp_path
):
    path, losses, state = runs[side]
    source = registry.read(path, "dcgan28", side)
    on = resumed(OTHER[side], source, trainers, batches, tmp_path / "other")
    apart, name = largest_difference((losses, state), on)
    assert apart < TOLERANCE, name
    assert int(on[1]["G_global_step"]) == BEFORE + AFTER


def swapped(state):
    first = "discriminator/batch_normalization/gamma/Adam"
    second = "generator/batch_normalization_1/gamma/Adam"
    return {first: state[second], second: state[first]}


def one_step_more(state):
    """All of the generator's steps and powers, so that they agree."""
    return {
        "G_global_step": state["G_global_step"] + 1,
        "beta1_power_1": state["beta1_power_1"] * np.float32(0.9),
        "beta2_power_1": state["beta2_power_1"] * np.float32(0.999),
    }


def forgotten_average(state):
    name = "generator/batch_normalization/moving_variance"
    return {name: np.ones_like(state[name])}


@pytest.mark.parametrize(
    "fault",
    [
        swapped,
        pytest.param(one_step_more, marks=pytest.mark.slow),
        pytest.param(forgotten_average, marks=pytest.mark.slow),
    ],
)
def test_a_fault_in_the_conversion_is_seen(
    fault, runs, trainers, batches, tmp_path
):
    path, losses, state = runs["tf1"]
    source = registry.read(path, "dcgan28", "tf1")
    source.state.update(fault(source.state))
    on = resumed("tf2", source, trainers, batches, tmp_path / "other")
    assert largest_difference((losses, state), on)[0] > 1000 * TOLERANCE


def values_of(path):
    reader = tf.train.load_checkpoint(str(path))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names}


def edited(path, folder, change):
    """Writes a TF1 checkpoint with changed variables; returns its path."""
    values = values_of(path)
    change(values)
    tf1_checkpoint.write(str(folder / "edited"), values)
    return str(folder / "edited")


def drop(name):
    return lambda values: values.pop(name)


def multiply(name, factor):
    return lambda values: values.update({name: values[name] * factor})


def add(name, term):
    return lambda values: values.update({name: values[name] + term})


def exchange(first, second):
    def change(values):
        values[first], values[second] = values[second], values[first]

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (
            add("G_global_step", np.int32(1)),
            "G_global_step says 4 steps of the generator, beta2_power_1 says 3",
        ),
        (
            multiply("beta2_power", np.float32(0.999)),
            "D_global_step says 3 steps of the discriminator, beta2_power says 4",
        ),
        (
            drop("generator/batch_normalization/moving_mean"),
            "missing ['generator/batch_normalization/moving_mean']",
        ),
        (
            exchange(
                "discriminator/conv2d/kernel/Adam",
                "generator/conv2d_transpose/kernel/Adam",
            ),
            "has the shape",
        ),
        (
            lambda values: values.update({"one/more": np.ones(3)}),
            "unknown ['one/more']",
        ),
        (
            lambda values: values.update(
                {"generator/dense/bias": np.ones(6272, np.float32)}
            ),
            "'generator/dense/bias' is of type float32, expected float64",
        ),
        (
            multiply("generator/dense/kernel", np.nan),
            "generator/dense/kernel is not finite",
        ),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    change, message, runs, tmp_path
):
    path = edited(runs["tf1"][0], tmp_path, change)
    with pytest.raises(UserError) as error:
        registry.read(path, "dcgan28", "tf1")
    assert message in str(error.value)


# Round trips.


@pytest.fixture(scope="module")
def noise():
    """Values for every variable of a float32 trainer of TF1's side."""
    random = np.random.RandomState(0)
    trainer = tf1.Trainer(SPEC)
    trainer.initialize(seed=0)
    return {
        name: np.asarray(random.standard_normal(v.shape), v.dtype)
        for name, v in trainer.state().items()
    }


QUICK = [(1, 0.9), (126, 0.5)]  # beta1's power is used up in the second


@pytest.mark.parametrize(
    "steps, beta1",
    [
        pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow)
        for pair in itertools.product([1, 126, 1000, 50000], [0.9, 0.5])
    ],
)
def test_there_and_back_every_variable_is_the_same_to_the_bit(
    steps, beta1, noise, tmp_path, monkeypatch
):
    # What the models' own files hold is tested elsewhere, and slow.
    monkeypatch.setattr(registry, "_save_models", lambda *_: None)
    for number, step in (("", "D_global_step"), ("_1", "G_global_step")):
        noise["beta1_power" + number] = helpers.multiplied(beta1, steps)
        noise["beta2_power" + number] = helpers.multiplied(0.999, steps)
        noise[step] = np.int32(steps)
    tf1_checkpoint.write(str(tmp_path / "there"), noise)
    there = registry.read(str(tmp_path / "there"), "dcgan28", "tf1")
    path = registry.write(there, str(tmp_path / "two"))
    back = registry.read(path, "dcgan28", "tf2")
    assert_same_bits(
        noise, values_of(registry.write(back, str(tmp_path / "one")))
    )


def assert_same_bits(expected, found):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].tobytes() == np.asarray(value).tobytes(), name


def test_there_and_back_after_real_steps(runs, tmp_path):
    path = runs["tf1"][0]
    there = registry.read(path, "dcgan28", "tf1")
    two = registry.write(there, str(tmp_path / "two"))
    back = registry.read(two, "dcgan28", "tf2")
    one = registry.write(back, str(tmp_path / "one"))
    assert_same_bits(values_of(path), values_of(one))


# Folders of runs.


@pytest.fixture
def folder(tmp_path, monkeypatch, finished_run):
    """A folder with tiny.npz and a finished run of TF1's side in `run`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(str(finished_run("tf1")), str(tmp_path / "copy"))
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def convert(*arguments):
    return helpers.call_script("convert_checkpoint", *arguments)


def test_a_run_is_converted_verified_and_comes_back_the_same(folder, capfd):
    flags = ("--checkpoint=run", "--output_dir=two", "--verify")
    assert convert(*flags) == 0
    out, err = capfd.readouterr()
    assert "94 variables of dcgan28 after 2 iterations" in out
    assert out.count(" apart, values up to ") == 22 and "DIFFERS" not in out
    assert err == ""
    assert convert("--to=tf1", "--checkpoint=two", "--output_dir=one") == 0
    assert_same_bits(
        values_of("run/checkpoints/model-2"),
        values_of("one/checkpoints/model-2"),
    )


@pytest.mark.slow
def test_a_run_becomes_one_that_the_other_side_resumes(folder):
    assert convert("--checkpoint=run", "--output_dir=two") == 0
    assert convert("--to=tf1", "--checkpoint=two", "--output_dir=one") == 0
    for side, run in (("tf2", "two"), ("tf1", "one"), ("tf1", "run")):
        more = ("--resume", "--epochs=2", "--output_dir=" + run)
        assert helpers.call_script("train_" + side, *more) == 0
    expected = read_losses("run/losses.csv")
    for run in ("one", "two"):
        losses = read_losses(run + "/losses.csv")
        assert losses == expected  # float32 twins agree to the last bit
        config = json.loads(Path(run, "config.json").read_text())
        assert config["framework"] == {"one": "tf1", "two": "tf2"}[run]


def test_the_keras_files_hold_the_networks(folder):
    assert convert("--checkpoint=run", "--output_dir=two") == 0
    values = values_of("run/checkpoints/model-2")
    for network in ("generator", "discriminator"):
        model = keras.models.load_model("two/" + network + ".keras")
        assert len(model.weights) > 10
        expected = [values[f"{network}/{w.path}"] for w in model.weights]
        assert_all_equal(model.get_weights(), expected)
        model.set_weights([0 * w for w in model.get_weights()])
        model.load_weights("two/" + network + ".weights.h5")
        assert_all_equal(model.get_weights(), expected)


def assert_all_equal(found, expected):
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


def files(folder):
    return {
        str(p): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            "--checkpoint=run --output_dir=run",
            "run/checkpoints/model-2', which",
        ),
        ("--checkpoint=run --output_dir=run --overwrite", "might be overwrit"),
        ("--checkpoint=run --output_dir=tiny.npz", "is no folder"),
        ("--checkpoint=run", "--output_dir is missing"),
        ("--output_dir=two", "--checkpoint is missing"),
        (
            "--checkpoint=run --to=tf1 --output_dir=one",
            "written by TF1's Saver",
        ),
        ("--checkpoint=nothing --output_dir=two", "no checkpoint 'nothing'"),
        (
            "--checkpoint=run --model=dcgan28 --keras_model=a:b --output_dir=two",
            "exclude each other",
        ),
        ("--to=tf1 --keras_model=a:b --output_dir=one", "--to=tf1 needs --map"),
        (
            "--checkpoint=run --keras_model=a.py:b --output_dir=two",
            "no file 'a.py'",
        ),
        (
            "--checkpoint=run --keras_model=ab --output_dir=two",
            "file.py:function",
        ),
        (
            "--checkpoint=run --keras_model=no_such:b --output_dir=two",
            "No module named 'no_such'",
        ),
        (
            "--checkpoint=run --keras_model=json:b --output_dir=two",
            "no function 'b' in json",
        ),
        (
            "--checkpoint=run --keras_model=json:dumps --output_dir=two",
            "failed with TypeError",
        ),
        (
            "--checkpoint=run --keras_model=time:time --output_dir=two",
            "returned float",
        ),
        *[
            (
                f"--checkpoint=run --output_dir=two {flag}",
                f"{flag.split('=')[0]} is for --keras_model",
            )
            for flag in (
                "--map=map.json",
                "--write_map=map.json",
                "--assume_moving=initial",
                "--weights_only",
                "--allow_unused",
                "--verify --inputs=z:0=1",
                "--verify --outputs=generator=y:0",
                "--verify --verify_memory_gib=1",
                "--verify --verify_timeout=1",
            )
            for flag in [" ".join(reversed(flag.split()))]
        ],
        (
            "--checkpoint=run --output_dir=two --base=old",
            "--base is for --to=tf1",
        ),
        *[
            (
                f"--to=tf1 --keras_model=a:b --map=m --output_dir=one {flag}",
                f"{flag.split('=')[0]} is for --keras_model, and this",
            )
            for flag in (
                "--write_map=map.json",
                "--assume_moving=initial",
                "--allow_unused",
            )
        ],
        *[
            (f"--checkpoint=run --output_dir=two {flag}", "is for --verify")
            for flag in ("--tolerance=1", "--seed=1")
        ],
        (
            "--checkpoint=run --output_dir=two --verify --tolerance=nan",
            "--tolerance=nan is no number",
        ),
        ("--checkpoint=run --dry_run --verify", "leave one of them out"),
        (
            "--to=tf1 --keras_model=a:b --map=m --output_dir=one --verify",
            "name by --base the old checkpoint",
        ),
    ],
)
def test_a_flag_that_does_not_fit_is_one_line(flags, message, folder, capfd):
    before = files(".")
    assert convert(*flags.split()) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: ")
    assert message in err
    assert files(".") == before


@pytest.mark.parametrize(
    "name", ["model-2.index", "model-2.data-00000-of-00001"]
)
def test_a_truncated_checkpoint_is_one_line(name, folder, capfd):
    os.truncate("run/checkpoints/" + name, 100)
    assert convert("--checkpoint=run", "--output_dir=two") == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: cannot read the checkpoint 'run/checkpoints")
    assert not os.path.exists("two")


def test_a_conversion_is_whole_or_not_there(folder, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry, "_write_run", full)
    assert convert("--checkpoint=run", "--output_dir=two") == 1
    assert "No space left on device" in capfd.readouterr().err
    assert sorted(os.listdir(".")) == ["run", "tiny.npz"]


def test_what_does_not_verify_is_not_there(folder, monkeypatch, capfd):
    """The checkpoint is written with a weight that is off."""
    written = tf1_checkpoint.write

    def spoilt(path, values):
        name = "generator/dense/kernel"
        written(path, {**values, name: values[name] + np.float32(0.01)})

    assert convert("--checkpoint=run", "--output_dir=two") == 0
    before = sorted(os.listdir("."))
    monkeypatch.setattr(tf1_checkpoint, "write", spoilt)
    flags = ("--to=tf1", "--checkpoint=two", "--output_dir=one", "--verify")
    assert convert(*flags) == 1
    out, err = capfd.readouterr()
    assert "DIFFERS" in out and "differ by more than" in err
    assert sorted(os.listdir(".")) == before
    assert convert(*flags, "--tolerance=1e9") == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--checkpoint=run"],
        [
            f"--checkpoint={helpers.ROOT / 'compat_tests/foreign/raw_scoped'}",
            f"--keras_model={foreign_models.__file__}:raw_scoped",
        ],
    ],
)
def test_a_full_disk_is_seen_before_h5py_sees_it(
    flags, folder, monkeypatch, capfd
):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(
        outputs.shutil, "disk_usage", lambda _: usage._replace(free=10**5)
    )
    assert convert(*flags, "--output_dir=two") == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "No space left on device" in err
    assert sorted(os.listdir(".")) == ["run", "tiny.npz"]


def test_a_disk_that_is_full_on_the_way_back_is_one_line(tmp_path, monkeypatch):
    def full(**_):
        raise tf.errors.ResourceExhaustedError(None, None, "no space")

    monkeypatch.setattr(tf.raw_ops, "SaveV2", full)
    folder = str(tmp_path / "one")
    with pytest.raises(
        UserError, match="No space left on device"
    ), outputs.staged(folder, False) as part:
        tf1_checkpoint.write(os.path.join(part, "model"), {"w": np.zeros(1)})
    assert os.listdir(tmp_path) == []


def test_sigterm_leaves_nothing_behind(folder, monkeypatch, capfd):
    monkeypatch.setattr(
        registry,
        "_write_run",
        lambda *_: os.kill(os.getpid(), signal.SIGTERM),
    )
    status = convert("--checkpoint=run", "--output_dir=two")
    assert status == 128 + signal.SIGTERM
    assert "interrupted" in capfd.readouterr().out
    assert sorted(os.listdir(".")) == ["run", "tiny.npz"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_folder_that_is_there_is_filled_without_touching_those_around_it(
    tmp_path, monkeypatch
):
    """It may be another disk, in a folder that nobody may write to."""
    (tmp_path / "two").mkdir()
    made = []
    monkeypatch.setattr(
        outputs.tempfile,
        "mkdtemp",
        lambda *arguments: made.append(arguments) or mkdtemp(*arguments),
    )
    with outputs.staged(str(tmp_path / "two"), False) as part:
        Path(part, "file").write_text("x")
    assert os.listdir(tmp_path / "two") == ["file"]
    assert made[0][-1] == str(tmp_path / "two")


def test_nothing_is_replaced_where_a_folder_is_in_the_way(tmp_path):
    for name in ("a", "b/inner"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "0").write_text("old")
    with pytest.raises(UserError, match="b' is a folder"), outputs.staged(
        str(tmp_path), True
    ) as part:
        Path(part, "0").write_text("new")
        Path(part, "b").write_text("new")
    assert (tmp_path / "0").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["0", "a", "b"]


def test_the_networks_go_back_to_tf1_verified_on_the_old_graph(
    tmp_path, monkeypatch, capfd
):
    def converted(*flags):
        keras.utils.clear_session()  # as in a process of its own
        return convert(*flags)

    monkeypatch.chdir(tmp_path)
    shutil.copytree(helpers.ROOT / "compat_tests/foreign/raw_scoped", "old")
    models = f"--keras_model={foreign_models.__file__}:raw_scoped"
    there = ("--checkpoint=old", models, "--output_dir=two")
    assert converted(*there) == 0
    back = (
        *("--to=tf1", models, "--map=two/map.json", "--checkpoint=two"),
        *("--base=old", "--verify"),
    )
    assert converted(*back, "--output_dir=one") == 0
    out, err = capfd.readouterr()
    assert out.count("verify  ") == 2 and err == ""
    assert_same_bits(values_of("old/model.ckpt"), values_of("one/model.ckpt"))
    alone = [flag for flag in back if flag not in ("--base=old", "--verify")]
    assert "not in the new one" not in out
    assert converted(*alone, "--output_dir=alone") == 0
    note = "18 variables of the old checkpoint are not in the new one ("
    assert f"note: {note}" in capfd.readouterr().out
    assert converted(*back, "--dry_run") == 0
    assert converted(*back, "--dry_run", "--tolerance=0") == 1
    assert sorted(os.listdir(".")) == ["alone", "old", "one", "two"]
    assert converted(*back, "--output_dir=exact", "--tolerance=0") == 1
    assert not os.path.exists("exact")
    assert converted(*back, "--output_dir=old", "--overwrite") == 1
    assert "might be overwritten" in capfd.readouterr().err
    os.remove("old/model.ckpt.meta")
    assert converted(*back, "--output_dir=exact") == 1
    assert "no graph" in capfd.readouterr().err


def test_folders_whose_names_are_patterns_are_taken_literally(tmp_path, capfd):
    def converted(*flags):
        keras.utils.clear_session()  # as in a process of its own
        return convert(*flags, "--verify")

    old, two, one = (
        str(tmp_path / "a[1]*" / name) for name in ("old", "two", "one")
    )
    shutil.copytree(helpers.ROOT / "compat_tests/foreign/raw_scoped", old)
    models = f"--keras_model={foreign_models.__file__}:raw_scoped"
    there = (f"--checkpoint={old}", models, f"--output_dir={two}")
    assert converted(*there) == 0
    back = ("--to=tf1", models, f"--map={two}/map.json", f"--checkpoint={two}")
    assert converted(*back, f"--base={old}", f"--output_dir={one}") == 0
    assert capfd.readouterr().err == ""
    before, after = (
        tf1_checkpoint.Tf1Checkpoint(path).read_all() for path in (old, one)
    )
    assert_same_bits(before, after)


OF_A_RUN = "--checkpoint=run"
OF_ANYBODY = (
    f"--checkpoint={helpers.ROOT / 'compat_tests/foreign/raw_scoped'} "
    f"--keras_model={foreign_models.__file__}:raw_scoped"
)
BACK = f"--to=tf1 --base={helpers.ROOT / 'compat_tests/foreign/raw_scoped'} "
BACK += f"--map=map.json --keras_model={foreign_models.__file__}:raw_scoped"


@pytest.mark.parametrize("flags", [OF_A_RUN, OF_ANYBODY, BACK])
@pytest.mark.parametrize(
    "output_dir, message",
    [
        ("full", "full' is not empty"),
        ("tiny.npz", "tiny.npz' is no folder"),
        ("tiny.npz/two", "tiny.npz' is no folder"),
        ("closed", "closed': Permission denied; name another folder"),
        ("closed/new/two", "closed/new/two': Permission denied"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(
    flags, output_dir, message, folder, monkeypatch, capfd
):
    def worked(*_):
        raise AssertionError("something was computed")

    access = os.access
    monkeypatch.setattr(
        outputs.os,
        "access",
        lambda path, *mode: Path(path).name != "closed" and access(path, *mode),
    )
    for name in ("Trainer", "Tf1Checkpoint"):
        monkeypatch.setattr(registry, name, worked)
    monkeypatch.setattr(keras_models, "load_models", worked)
    Path("closed").mkdir()
    Path("full/of").mkdir(parents=True)
    flags = [*flags.split(), f"--output_dir={output_dir}"]
    assert convert(*flags, "--verify") == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and message in err
    assert not os.listdir("closed")


def test_overwrite_replaces_an_earlier_conversion_only(folder):
    Path("two").mkdir()
    Path("two/notes.txt").write_text("mine")
    flags = ("--checkpoint=run", "--output_dir=two", "--overwrite")
    assert convert(*flags) == 0
    assert convert(*flags) == 0
    assert Path("two/notes.txt").read_text() == "mine"


# With TensorFlow 1.15.5.


def train_115(*arguments):
    subprocess.run(
        [
            helpers.TF115_PYTHON,
            "-W",
            "ignore",
            str(helpers.SCRIPTS / "train_tf1.py"),
        ]
        + list(arguments),
        env=helpers.environment(),
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.skipif(not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115)
def test_a_run_goes_on_from_tf115_and_back_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = (
        "--dtype=float64",
        "--seed=3",
        "--steps_per_epoch=2",
        "--batch_size=4",
    )
    train_115(*settings, "--epochs=1", "--output_dir=run")
    assert convert("--checkpoint=run", "--output_dir=two") == 0
    more = ("--resume", "--epochs=2", "--output_dir=two")
    assert helpers.call_script("train_tf2", *more) == 0
    assert convert("--to=tf1", "--checkpoint=two", "--output_dir=back") == 0
    for folder in ("back", "run"):
        train_115("--resume", "--epochs=3", "--output_dir=" + folder)
    expected, losses = (
        read_losses("run/losses.csv"),
        read_losses("back/losses.csv"),
    )
    assert len(expected["loss_D"]) == 6
    for name in ("loss_D", "loss_G"):
        np.testing.assert_allclose(losses[name], expected[name], rtol=TOLERANCE)
    one, other = (
        values_of(f + "/checkpoints/model-6") for f in ("run", "back")
    )
    assert largest_difference(([], one), ([], other))[0] < TOLERANCE
