"""Every bad input is one clear line and a status, and destroys nothing."""

import contextlib
import fcntl
import gzip
import io
import json
import os
import resource
import shutil
import subprocess
import zipfile
import zlib
from pathlib import Path

import helpers
import numpy as np
import pytest
from PIL import Image

from tf2gan.common.config import TrainConfig
from tf2gan.common.errors import UserError

both_sides = pytest.mark.parametrize("side", helpers.SIDES)


def table(columns, *rows):
    """Parametrizes a test by the rows; the first cell of each is its name."""
    return pytest.mark.parametrize(
        columns, [pytest.param(*row[1:], id=row[0]) for row in rows]
    )


def expect_line(outcome, status, *messages):
    """Checks that a script said one line, with these parts, and no more."""
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    for message in messages:
        assert message in lines[0]
    assert "Traceback" not in outcome.out
    assert outcome.status == status


def contents(folder="."):
    """Returns a checksum of every file below a folder; locks do not count."""
    return {
        str(path): zlib.crc32(path.read_bytes())
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Runs a training script here, in a folder with a tiny data set."""
    monkeypatch.chdir(tmp_path)
    helpers.write_files(".", {"tiny.npz": npz(IMAGES)})

    def call_script(side, flags):
        capfd.readouterr()
        arguments = [*helpers.TINY_RUN, *flags.split()]
        status = helpers.call_script("train_" + side, *arguments)
        return helpers.Outcome(status, *capfd.readouterr())

    return call_script


@pytest.fixture
def refused(call):
    """Checks that a script refuses its input and leaves every file as it was."""

    def check(side, flags, *messages):
        before = contents()
        expect_line(call(side, flags), 1, *messages)
        assert contents() == before

    return check


@pytest.fixture
def run(side, finished_run, call, tmp_path):
    """A finished run of the side in the folder `run`."""
    shutil.copytree(str(finished_run(side) / "run"), "run")
    return tmp_path / "run"


IMAGES = helpers.tiny_images()
IDX = helpers.idx_bytes(IMAGES)


def npz(images):
    return helpers.npz_bytes(x_train=images)


def zipped(**members):
    """Returns a zip archive of anything."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy_header(shape):
    """Returns the beginning of an .npy file of that shape, without the values."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def png():
    file = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(file, "PNG")
    return file.getvalue()


def flipped(content):
    """Returns the content with its middle byte changed."""
    middle = len(content) // 2
    changed = bytes([content[middle] ^ 255])
    return content[:middle] + changed + content[middle + 1 :]


class Trap:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("unpickled", "w")


# Flags that cannot be parsed: status 2, before TensorFlow starts.


@both_sides
@table(
    "flag, message",
    ("unknown", "--epoch=3", "flag 'epoch'. Did you mean: epochs"),
    ("no number", "--epochs=many", "--epochs=many: invalid literal for int()"),
    ("no integer", "--batch_size=1.5", "--batch_size=1.5: invalid literal"),
    ("no float", "--learning_rate=fast", "--learning_rate=fast: could not"),
    ("no bool", "--resume=perhaps", "Non-boolean argument"),
    ("no value", "--dataset", "Missing value for flag --dataset"),
    ("no epochs", "--epochs=0", "--epochs=0: 0 is not a positive integer"),
    ("no batch", "--batch_size=0", "--batch_size=0: 0 is not a positive"),
    ("no steps", "--steps_per_epoch=-2", "--steps_per_epoch=-2: -2 is not a"),
    ("no samples", "--sample_every=0", "--sample_every=0: 0 is not a positive"),
    ("no saves", "--checkpoint_every=0", "--checkpoint_every=0: 0 is not a"),
    ("negative keep", "--keep_checkpoints=-1", "--keep_checkpoints=-1: -1 is"),
    ("negative seed", "--seed=-1", "--seed=-1: -1 is not a non-negative"),
    ("model", "--model=wgan", "--model=wgan: value should be one of <dcgan28>"),
    ("dtype", "--dtype=float16", "should be one of <float32|float64>"),
    ("update_ops", "--update_ops=all", "should be one of <source|scoped>"),
    ("stray argument", "epochs=3", "unexpected argument 'epochs=3'"),
    ("flagfile", "--flagfile=none.txt", "none.txt"),
)
def test_flags(side, flag, message, tmp_path):
    outcome = helpers.run_script("train_" + side, flag, cwd=tmp_path)
    expect_line(outcome, 2, message, "(--help lists the flags)")
    assert not os.listdir(str(tmp_path))


# Flags that can be parsed but make no sense: status 1, as in all that follows.


@both_sides
@table(
    "flags, message",
    ("rate 0", "--learning_rate=0", "--learning_rate=0.0 is not a positive"),
    ("rate < 0", "--learning_rate=-1", "--learning_rate=-1.0 is not a"),
    ("rate nan", "--learning_rate=nan", "--learning_rate=nan is not a"),
    ("rate inf", "--learning_rate=inf", "--learning_rate=inf is not a"),
    ("rate huge", "--learning_rate=1e39", "not a positive number that float32"),
    ("beta1 1", "--beta1=1", "--beta1=1.0 is not in [0, 1)"),
    ("beta1 < 0", "--beta1=-0.5", "--beta1=-0.5 is not in [0, 1)"),
    ("beta1 nan", "--beta1=nan", "--beta1=nan is not in [0, 1)"),
    ("seed", "--seed=9223372036854775808", "is not in [0, 2**63)"),
    ("both", "--resume --overwrite", "--resume and --overwrite exclude each"),
    ("no folder", "--output_dir=", "--output_dir is empty; name a folder"),
    ("batch", "--batch_size=9", "8 images, less than one batch of 9; lower"),
    (
        "steps",
        "--steps_per_epoch=3",
        "more than the 2 batches of 4 in data set",
    ),
    ("no run", "--resume", "nothing to resume in 'run': it has no config.json"),
)
def test_values(side, flags, message, refused):
    refused(side, flags, message)


@pytest.mark.skipif(
    "tf2" not in helpers.SIDES, reason="tf2gan needs Python 3.9"
)
@table(
    "flags, message",
    (
        "float64",
        "--precision=mixed_float16 --dtype=float64",
        "--precision=mixed_float16 excludes --dtype=float64",
    ),
    (
        "eager",
        "--jit_compile --run_eagerly",
        "--jit_compile and --run_eagerly exclude each other",
    ),
)
def test_values_of_tf2(flags, message, refused):
    refused("tf2", flags, message)


@pytest.mark.parametrize(
    "setting", [{"precision": "mixed_float16"}, {"jit_compile": True}]
)
def test_tf1_has_no_mixed_precision_and_no_compiler(setting):
    with pytest.raises(UserError, match="train with scripts/train_tf2.py"):
        TrainConfig("tf1", "unused", **setting)


# Data sets.


@both_sides
@table(
    "dataset, content, message",
    ("unknown", "mnits", None, "unknown data set 'mnits': expected one of"),
    ("no name", "", None, "unknown data set '': expected one of mnist10k"),
    ("no npz", "no.npz", None, "unknown data set 'no.npz'"),
    ("no folder", "no/where", None, "unknown data set 'no/where'"),
    ("txt", "a.txt", b"?", "path of an existing .npz file or of a folder"),
    ("text", "a.npz", b"text", "'a.npz': it is no zip archive"),
    ("empty file", "a.npz", b"", "'a.npz': it is no zip archive"),
    ("truncated", "a.npz", npz(IMAGES)[:3000], "or a part of one; expected an"),
    ("corrupt", "a.npz", flipped(npz(IMAGES)), "'a.npz': Bad CRC-32"),
    ("no array", "a.npz", zipped(), "holds nothing; name the array of images"),
    ("no npy", "a.npz", zipped(a="text"), "'a.npz' holds no array of images"),
    (
        "ambiguous",
        "a.npz",
        helpers.npz_bytes(a=IMAGES, b=IMAGES),
        "holds a, b; name the array of images x_train or images",
    ),
    (
        "absurd shape",
        "a.npz",
        zipped(**{"a.npy": npy_header((10**9, 28, 28))}),
        "cannot read 'a.npz'",
    ),
    (
        "pickle",
        "a.npz",
        npz(np.array([Trap()])),
        "'a.npz': Object arrays cannot be loaded",
    ),
    ("int64", "a.npz", npz(IMAGES.astype(int)), "of type int64; save them as"),
    ("floats", "a.npz", npz(IMAGES / 9.0), "go from 0 to 28.3333; all values"),
    ("nan", "a.npz", npz(IMAGES * np.nan), "go from nan to nan; all values"),
    ("shape", "a.npz", npz(IMAGES[:, 1:]), "8 x 27 x 28 x 1; model dcgan28"),
    ("flat", "a.npz", npz(IMAGES.ravel()), "has the shape 6272; model dcgan28"),
    (
        "no images",
        "a.npz",
        npz(IMAGES[:0]),
        "has 0 images, less than one batch",
    ),
    ("no pictures", "a", {"b.txt": b"?"}, "no pictures (.png, .jpg"),
    ("half a picture", "a", {"b.png": png()[:99]}, "cannot read the picture"),
    ("no picture", "a", {"b.png": b"text"}, "the picture 'a/b.png': cannot"),
)
def test_dataset(side, dataset, content, message, refused):
    if isinstance(content, dict):
        helpers.write_files(dataset, content)
    elif content is not None:
        helpers.write_files(".", {dataset: content})
    refused(side, "--dataset=" + dataset, message)


@both_sides
@table(
    "content, message",
    ("missing", None, "no train-images-idx3-ubyte (or .gz) in --data_dir 'd'"),
    ("empty", b"", "is not an IDX file of images"),
    (
        "magic",
        helpers.idx_bytes(IMAGES, magic=0x801),
        "begin with the bytes 00",
    ),
    ("truncated", IDX[:-1], "6272 bytes of pixels (8 images of 28 x 28) but"),
    ("trailing", IDX + b"?", "but holds more; fetch the file again"),
    ("gzip cut", gzip.compress(IDX)[:-999], "Compressed file ended before"),
    (
        "gzip corrupt",
        flipped(gzip.compress(IDX)),
        "cannot read 'd/train-images",
    ),
    ("gzip of text", gzip.compress(b"text"), "is not an IDX file of images"),
    (
        "huge count",
        helpers.idx_bytes(IMAGES, shape=(2**32 - 1, 28, 28)),
        "(4294967295 images of 28 x 28) but holds 6272; fetch",
    ),
    (
        "huge height",
        helpers.idx_bytes(IMAGES, shape=(8, 2**32 - 1, 28)),
        "claims images of 4294967295 x 28 pixels; its header is damaged",
    ),
    (
        "no width",
        helpers.idx_bytes(IMAGES, shape=(8, 28, 0)),
        "claims images of 28 x 0 pixels; its header is damaged",
    ),
    ("no images", helpers.idx_bytes(IMAGES[:0]), "has 0 images, less than one"),
    (
        "shape",
        helpers.idx_bytes(IMAGES[:, 1:]),
        "8 x 27 x 28 x 1; model dcgan28",
    ),
)
def test_idx_file(side, content, message, refused):
    if content is not None:
        helpers.write_files("d", {"train-images-idx3-ubyte.gz": content})
    refused(side, "--dataset=mnist --data_dir=d", message)


@both_sides
def test_download(side, refused, monkeypatch):
    fashion_mnist = pytest.importorskip("keras.datasets.fashion_mnist")

    def load_data():
        raise Exception("URL fetch failure\non a host")

    monkeypatch.setattr(fashion_mnist, "load_data", load_data)
    message = (
        "cannot download 'fashion_mnist' (URL fetch failure on a host); put"
    )
    refused(side, "--dataset=fashion_mnist", message)


# Folders.


@both_sides
@table(
    "files, flags, message",
    ("file", {}, "--output_dir=tiny.npz", "'tiny.npz': File exists; name"),
    ("in a file", {}, "--output_dir=tiny.npz/run", "Not a directory; name"),
    ("long name", {}, "--output_dir=" + 256 * "x", "File name too long; name"),
    (
        "other files",
        {"run/a": b""},
        "",
        "holds other files (a) and no run; name",
    ),
    (
        "overwrite",
        {"run/a": b""},
        "--overwrite",
        "holds other files (a) and no",
    ),
    ("resume", {"run/a": b""}, "--resume", "nothing to resume in 'run'"),
    (
        "overwrite other program",
        {"run/config.json": b'{"port": 80}', "run/logs/today": b""},
        "--overwrite",
        "not the configuration of a run: it has no 'framework'; put",
    ),
)
def test_folder(side, files, flags, message, refused):
    helpers.write_files(".", files)
    refused(side, flags, message)


@both_sides
def test_folder_in_use(side, run, refused):
    with open("run/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(
            side, "--overwrite", "another process is training in 'run'; wait"
        )


# Runs that cannot go on.


@both_sides
@table(
    "flags, message",
    (
        "no flag",
        "",
        "holds a run already; add --resume to go on with it, --over",
    ),
    (
        "complete",
        "--resume",
        "is complete: it has its 2 iterations; raise --epoch",
    ),
    (
        "dtype",
        "--resume --dtype=float64",
        "has dtype=float32, asked for was dtype=",
    ),
    (
        "seed",
        "--resume --seed=7",
        "seed=0, asked for was seed=7; leave out --seed",
    ),
    (
        "rate",
        "--resume --learning_rate=0.5",
        "0.001, asked for was learning_rate=",
    ),
    (
        "batch",
        "--resume --batch_size=2",
        "batch_size=4, asked for was batch_size=2",
    ),
    (
        "steps",
        "--resume --steps_per_epoch=1",
        "=2, asked for was steps_per_epoch=1",
    ),
    (
        "updates",
        "--resume --update_ops=scoped",
        "=source, asked for was update_ops",
    ),
    (
        "data",
        "--resume --dataset=mnist10k",
        "=tiny.npz, asked for was dataset=mnis",
    ),
)
def test_resume_with_other_flags(side, flags, message, run, refused):
    refused(side, flags, message)


@both_sides
def test_resume_by_the_other_side(side, run, refused):
    other = {"tf1": "tf2", "tf2": "tf1"}[side]
    message = (
        "has framework={0}, asked for was framework={1}; use scripts/train_{0}"
    )
    refused(other, "--resume", message.format(side, other))


@both_sides
def test_resume_with_changed_images(side, run, refused):
    helpers.write_files(".", {"tiny.npz": npz(255 - IMAGES)})
    message = (
        "images of data set 'tiny.npz' are not those that the run began with"
    )
    refused(side, "--resume --epochs=2", message)


# Each of these returns a function that damages the file of a name.


def write(content):
    return lambda name: Path(name).write_bytes(content)


def cut(size):
    return lambda name: os.truncate(name, size)


def flip(name):
    write(flipped(Path(name).read_bytes()))(name)


def insert(text, at):
    def damage(name):
        content = Path(name).read_text()
        assert at in content
        Path(name).write_text(content.replace(at, at + text))

    return damage


def setting(key, value):
    def damage(name):
        settings = json.loads(Path(name).read_text())
        settings[key] = value
        Path(name).write_text(json.dumps(settings))

    return damage


CONFIG, LOSSES = "run/config.json", "run/losses.csv"
STATE, INDEX = "run/checkpoints/checkpoint", "run/checkpoints/model-2.index"
DATA = "run/checkpoints/model-2.data-00000-of-00001"


@both_sides
@table(
    "name, damage, message",
    ("no JSON", CONFIG, write(b"{"), "Expecting property name"),
    ("no text", CONFIG, write(b"\xff"), "can't decode byte 0xff"),
    ("list", CONFIG, write(b"[]"), "run: it holds no settings; put the file"),
    ("empty", CONFIG, write(b"{}"), "run: it has no 'framework'; put the file"),
    ("text", CONFIG, setting("epochs", "many"), "its 'epochs' is 'many'; put"),
    ("number", CONFIG, setting("dataset", 5), "its 'dataset' is 5; put the"),
    ("bool", CONFIG, setting("seed", True), "its 'seed' is True; put the file"),
    ("null", CONFIG, setting("model", None), "its 'model' is None; put the"),
    ("model", CONFIG, setting("model", "x"), "unknown model 'x'; known are"),
    ("no losses", LOSSES, os.remove, "cannot read the losses 'run/losses.csv'"),
    ("losses cut", LOSSES, cut(50), "breaks off or is damaged at iteration 1"),
    ("no loss", LOSSES, insert("x", at="\n2,1,"), "is damaged at iteration 2"),
    ("data cut", DATA, cut(1000), "points/model-2': Read less bytes than req"),
    ("no data", DATA, os.remove, "cannot restore the checkpoint 'run/checkpo"),
    ("index text", INDEX, write(99 * b"text"), "cannot restore the checkpoint"),
    (
        "no index",
        INDEX,
        os.remove,
        "checkpoint 'run/checkpoints/model-2' is mis",
    ),
    ("state text", STATE, write(b"text"), "not an index of checkpoints; it is"),
    ("state empty", STATE, cut(0), "'run/checkpoints/checkpoint': Invalid che"),
)
def test_resume_after_damage(side, name, damage, message, run, refused):
    damage(name)
    refused(side, "--resume --epochs=2", message)


@both_sides
def test_no_overwriting_of_what_may_be_no_run(side, run, refused):
    write(b"{")(CONFIG)
    refused(side, "--overwrite", "cannot read the run's configuration")


# Disks that are full, and losses that are not finite.


@contextlib.contextmanager
def file_size_limit(size):
    """No file of this process can grow beyond the size; Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_goes_on(side, call):
    """Checks that the run goes on to iteration 4, and has each once."""
    outcome = call(side, "--resume --epochs=2")
    assert outcome.err == ""
    assert "resuming after iteration 2" in outcome.out
    rows = Path(LOSSES).read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [1, 2, 3, 4]


@both_sides
def test_no_room_for_the_run(side, call):
    with file_size_limit(300):
        outcome = call(side, "")
    expect_line(
        outcome, 1, "cannot use --output_dir 'run': File too large; name"
    )


@both_sides
def test_no_room_for_logs_and_samples(side, call):
    with file_size_limit(1000):
        outcome = call(side, "")
    expect_line(
        outcome, 1, "cannot write 'run/", "File too large; make room, then"
    )


@both_sides
def test_no_room_for_losses(side, run, call):
    shutil.rmtree("run/checkpoints")
    os.remove(LOSSES)
    os.symlink("/dev/full", LOSSES)
    outcome = call(side, "--resume")
    expect_line(
        outcome, 1, "cannot write 'run/losses.csv'", "No space left on dev"
    )


@both_sides
def test_no_room_for_a_checkpoint(side, run, call):
    before = contents("run/checkpoints")
    with file_size_limit(3 << 20):
        outcome = call(side, "--resume --epochs=2")
    expect_line(
        outcome, 1, "'run/checkpoints/model-4'", "File too large; make room"
    )
    assert before.items() <= contents("run/checkpoints").items()
    assert_goes_on(side, call)


@pytest.fixture
def small_disk(tmp_path):
    """A file system in the folder `disk`, with room for one checkpoint."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]
    if subprocess.call(mount, stderr=subprocess.DEVNULL):
        pytest.skip("cannot mount a file system here")
    yield
    subprocess.check_call(["umount", "--lazy", str(disk)])


@both_sides
def test_full_disk(side, call, small_disk):
    outcome = call(side, "--epochs=2 --output_dir=disk/run")
    message = "'disk/run/checkpoints/model-4'"
    expect_line(outcome, 1, message, "No space left on device; make room")
    assert os.path.exists("disk/run/checkpoints/model-2.index")


NOT_FINITE = {
    "losses": [
        "the losses of iteration 4 are not finite: loss_D=nan, loss_G=nan",
        "(before it, D/G: 1.2",
        "the last good checkpoint is kept in 'run/checkpoints', try a lower",
    ],
    "variables": [
        "after iteration 4 the variable discriminator/batch_normalization/",
        "is not finite; no checkpoint of it is saved, the last good one is kept",
    ],
}
# How large a rate must be to overflow what; TensorFlow 1.15 has other kernels.
TOO_LARGE = {"losses": 3e13, "variables": 1e10}
if helpers.SIDES == ("tf1",):
    TOO_LARGE = {"losses": 1e8}


@both_sides
@pytest.mark.parametrize("what", TOO_LARGE)
def test_not_finite(side, what, run, call):
    setting("learning_rate", TOO_LARGE[what])(CONFIG)
    before = contents("run/checkpoints")
    outcome = call(side, "--resume --epochs=2")
    expect_line(outcome, 1, *NOT_FINITE[what])
    assert contents("run/checkpoints") == before


@both_sides
def test_debug_shows_the_traceback(side, call):
    lines = call(side, "--debug --beta1=1").err.splitlines()
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "error: --beta1=1.0 is not in [0, 1)"


# The same in a process of its own, where the lines of TensorFlow show too.


@both_sides
def test_process_with_a_damaged_checkpoint(side, run, tmp_path):
    flip(DATA)
    flags = [*helpers.TINY_RUN, "--resume", "--epochs=2"]
    outcome = helpers.run_script("train_" + side, *flags, cwd=tmp_path)
    expect_line(outcome, 1, "Checksum does not match", "train again")
