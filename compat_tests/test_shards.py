"""Checkpoints of several files, or in folders of any name, are read."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import helpers
import numpy as np
import pytest
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint, write

# Runs on both TensorFlows: a variable on each of two devices, one in two slices.
WRITE = """
import sys
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
make = lambda name, value: tf.get_variable(
    name, initializer=tf.constant(value), use_resource=False)
with tf.device("/cpu:0"):
    make("g/w", [[1.0, 2.0], [3.0, 4.0]])
    tf.get_variable("g/sliced", [6, 2], use_resource=False,
                    initializer=tf.constant_initializer(7.0),
                    partitioner=tf.fixed_size_partitioner(2))
with tf.device("/cpu:1"):
    make("d/b", [5.0, 6.0, 8.0])
config = tf.ConfigProto(device_count={"CPU": 2})
with tf.Session(config=config) as session:
    session.run(tf.global_variables_initializer())
    saver = tf.train.Saver(sharded=True, write_version=tf.train.SaverDef.V1)
    saver.save(session, sys.argv[1] + "/model.ckpt", global_step=7)
"""
EXPECTED = {
    "g/w": [[1, 2], [3, 4]],
    "g/sliced": np.full([6, 2], 7),
    "d/b": [5, 6, 8],
}
SINGLE = Path(__file__).parent / "foreign" / "momentum"
PATTERN = "model.ckpt-7-?????-of-00002"


def written(python, folder):
    subprocess.run(
        [python, "-W", "ignore", "-c", WRITE, str(folder)],
        env=helpers.environment(),
        check=True,
        timeout=100,
        stderr=subprocess.DEVNULL,
    )
    return folder


@pytest.fixture(scope="module")
def written_here(tmp_path_factory):
    return written(sys.executable, tmp_path_factory.mktemp("shards"))


@pytest.fixture
def folder(written_here, tmp_path):
    return Path(shutil.copytree(written_here, tmp_path / "copy"))


def assert_read(path):
    checkpoint = Tf1Checkpoint(str(path))
    found = checkpoint.read_all()
    assert set(found) == set(EXPECTED)
    for name, value in EXPECTED.items():
        np.testing.assert_array_equal(found[name], value)
    return checkpoint


@pytest.mark.parametrize(
    "name",
    [
        "",
        "model.ckpt-7",
        "model.ckpt-7.meta",
        "model.ckpt-7-00001-of-00002",
        PATTERN,
    ],
)
def test_shards_are_one_checkpoint_whatever_of_it_is_named(name, folder):
    checkpoint = assert_read(folder / name)
    assert checkpoint.name == PATTERN
    assert os.path.isfile(checkpoint.meta_path)


def refused(path, *messages):
    with pytest.raises(UserError) as error:
        Tf1Checkpoint(str(path))
    assert "\n" not in str(error.value)
    for message in messages:
        assert message in str(error.value)


def test_a_shard_that_is_missing_is_named(folder):
    os.remove(folder / "model.ckpt-7-00001-of-00002")
    refused(folder / "model.ckpt-7", "00001-of-00002' is missing", "copy them")


def test_a_shard_that_is_truncated_is_named(folder):
    os.truncate(folder / "model.ckpt-7-00001-of-00002", 60)
    refused(folder / "model.ckpt-7", "00001-of-00002' is no checkpoint")


def test_shards_of_two_checkpoints_of_one_name_are_not_mixed(folder):
    first = folder / "model.ckpt-7-00000-of-00002"
    shutil.copy(first, folder / "model.ckpt-7-00000-of-00001")
    refused(folder / "model.ckpt-7", "there are several", PATTERN)
    assert_read(first)


def test_a_shard_of_many_that_are_not_there_is_refused(folder):
    path = folder / "model.ckpt-7-00000-of-99999"
    shutil.copy(folder / "model.ckpt-7-00000-of-00002", path)
    refused(path, "is of 99999 files", "00001-of-99999' is missing")
    refused(folder / "model.ckpt-7-00000-of-00000", "is of no file")


# Names of folders that are patterns to TensorFlow, and one that it would match.
PATTERNS = ["a[1]", "a*", "a?", "a[!1]", "a\\1", "[", "a]", "{a1}", "a[*]?\\"]
MATCHED = "a1"


@pytest.fixture
def other(written_here, tmp_path):
    """The folder `MATCHED`, with a checkpoint that must not be read."""
    return Path(shutil.copytree(written_here, tmp_path / MATCHED))


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("part", ["", "model.ckpt-7", PATTERN])
def test_shards_are_found_in_a_folder_whose_name_is_a_pattern(
    part, name, written_here, other, tmp_path
):
    for path in other.iterdir():
        os.truncate(path, 0)
    shutil.copytree(written_here, tmp_path / name)
    checkpoint = assert_read(tmp_path / name / part)
    assert os.path.isfile(checkpoint.meta_path)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("part", ["", "model[7]*.ckpt"])
def test_a_single_file_is_found_in_a_folder_whose_name_is_a_pattern(
    part, name, tmp_path
):
    for folder in (MATCHED, name):
        shutil.copytree(SINGLE, tmp_path / folder)
    for path in (tmp_path / MATCHED).iterdir():
        os.truncate(path, 0)
    if part:
        (tmp_path / name / "model.ckpt").rename(tmp_path / name / part)
    found = Tf1Checkpoint(str(tmp_path / name / part)).read_all()
    expected = Tf1Checkpoint(str(SINGLE)).read_all()
    assert set(found) == set(expected)
    for variable, value in expected.items():
        np.testing.assert_array_equal(found[variable], value)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("part", ["", "model[7]*.ckpt"])
def test_format_v2_is_found_in_a_folder_whose_name_is_a_pattern(
    part, name, tmp_path
):
    path = tmp_path / name / "model[7]*.ckpt"
    values = {"w": np.arange(3), "b": np.ones([2, 1])}
    write(str(path), values)
    found = Tf1Checkpoint(str(tmp_path / name / part)).read_all()
    assert set(found) == set(values)
    for variable, value in values.items():
        np.testing.assert_array_equal(found[variable], value)


def test_the_links_to_such_files_are_gone_with_the_checkpoint(
    tmp_path, monkeypatch
):
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(links))
    shutil.copytree(SINGLE, tmp_path / "a[1]")
    checkpoint = Tf1Checkpoint(str(tmp_path / "a[1]"))
    assert len(os.listdir(links)) == 1
    del checkpoint
    gc.collect()
    assert os.listdir(links) == []


def test_tensorflow_itself_takes_such_a_path_for_a_pattern(tmp_path):
    shutil.copytree(SINGLE, tmp_path / "a[1]")
    with pytest.raises(tf.errors.NotFoundError):
        tf.train.load_checkpoint(str(tmp_path / "a[1]" / "model.ckpt"))


@pytest.mark.slow
@pytest.mark.skipif(not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115)
def test_shards_that_tf115_wrote_are_read(tmp_path):
    assert_read(written(helpers.TF115_PYTHON, tmp_path) / "model.ckpt-7")
