"""What is verified: a graph of a stranger within bounds, and a user's own model.

Each graph here is y = z w, and most do something else too.
"""

import os
import re
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration import graph_process, graph_worker, tf1_checkpoint, verify
from tf2gan.migration.graph_process import Limits
from tf2gan.migration.variable_map import Pair, VariableMap

tf1 = tf.compat.v1

VALUE = np.zeros([4, 3], np.float32)
WEIGHTS = np.arange(6, dtype=np.float32).reshape([3, 2]) / 10
MAP = VariableMap(
    (Pair("generator/w", "generator/dense/kernel", (3, 2), "float32"),)
)
# Sums of three products each, in float32.
TOLERANCE = 1e-6

on_linux = pytest.mark.skipif(
    not graph_process.BOUNDS_MEMORY, reason="memory is bounded on Linux only"
)


def checkpoint_with(tmp_path, harm=None, batch=None):
    """Writes a checkpoint and its graph, which adds `harm(z)` to the output."""
    with tf.Graph().as_default():
        z = tf1.placeholder(tf.float32, [batch, 3], "z")
        w = tf1.get_variable("generator/w", [3, 2], use_resource=False)
        y = tf.matmul(z, w)
        y = tf.add(y, harm(z) if harm else 0.0, name="generator/y")
        path = str(tmp_path / "model")
        tf1.train.export_meta_graph(path + ".meta")
    tf1_checkpoint.write(path, {"generator/w": WEIGHTS})
    return tf1_checkpoint.Tf1Checkpoint(path)


def models():
    inputs = keras.Input([3])
    outputs = keras.layers.Dense(2, use_bias=False)(inputs)
    model = keras.Model(inputs, outputs, name="generator")
    model.set_weights([WEIGHTS])
    return {"generator": model}


def verified(checkpoint, limits=Limits(), inputs=None):  # noqa: B008
    outputs = {"generator": "generator/y:0"}
    arguments = (checkpoint, models(), MAP, inputs or {}, outputs, 0, limits)
    (row,) = verify.verify_graph(*arguments)
    return row


def refused(checkpoint, limits, *messages, seconds=200):
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        verified(checkpoint, limits)
    assert time.monotonic() - start < seconds
    text = str(error.value)
    assert "\n" not in text and len(text) < 1000
    for message in ("model.meta", *messages):
        assert message in text


def large(z):
    return tf.reduce_sum(tf.fill([200000, 10000], z[0, 0]))


def endless(z):
    return tf.while_loop(lambda x: x[0, 0] < 2.0, tf.sin, [z])[0][0, 0]


def test_a_graph_is_verified_in_its_process(tmp_path):
    row = verified(checkpoint_with(tmp_path))
    assert row.difference < TOLERANCE and row.size > 0.1


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize(
    "part, within", [(1e-6, True), (0.9e-5, True), (1.1e-5, False)]
)
def test_a_difference_is_judged_by_the_size_of_the_values(
    part, within, size, capsys
):
    reference = np.array([size, -size / 2])
    candidate = reference + [0, part * size]
    rows = verify.compare({"y": reference}, {"y": candidate})
    assert verify.report(rows, 1e-5) == within
    assert (f"  DIFFERS by {part:.3g} of" in capsys.readouterr().out) != within


@pytest.mark.parametrize(
    "reference, candidate, within",
    [
        ([0.0, 0.0], [0.0, 0.0], True),
        ([0.0, 0.0], [0.0, 1e-40], True),  # kernels flush it to zero
        ([0.0, 0.0], [0.0, 1e-30], False),
        ([1.0, np.nan], [1.0, np.nan], False),
        ([1.0, np.inf], [1.0, 1.0], False),
        ([1.0, 2.0], [1.0], False),
    ],
)
def test_values_that_have_no_size_are_alike_only_if_equal(
    reference, candidate, within
):
    rows = verify.compare({"y": reference}, {"y": candidate})
    assert verify.report(rows, 1e-5) == within


def test_inputs_of_integers_are_not_all_alike():
    """Random numbers on [-1, 1) would all become 0, the one row of a table."""
    for shape in ([4], [4, 1], [2, 3]):
        assert set(verify.seeded(shape, "int32", 0, "labels").flat) == {0, 1}


def test_a_graph_with_a_batch_of_its_own_gets_it(tmp_path):
    assert verified(checkpoint_with(tmp_path, batch=7)).shape == (7, 2)


def fixed(z):
    """What a script makes that reshapes to its batch size of seven."""
    return tf.reshape(z, [7, 3])[:, :1]


def test_a_batch_size_that_is_written_into_a_graph_is_advised_on(tmp_path):
    checkpoint = checkpoint_with(tmp_path, fixed)
    advice = "fixed batch size give --inputs=generator=FILE.npy"
    with pytest.raises(UserError, match=f"does not run: .*{advice}"):
        verified(checkpoint)
    path = str(tmp_path / "seven.npy")
    np.save(path, np.zeros([7, 3], np.float32))
    row = verified(checkpoint, inputs={"generator": path})
    assert row.shape == (7, 2) and row.difference < TOLERANCE


def test_outputs_of_other_numbers_of_rows_are_advised_on():
    outputs = [{"generator": np.zeros([rows, 2])} for rows in (8, 4)]
    with pytest.raises(UserError, match=r"\[8, 2\] in the .* as many rows"):
        verify._check_batches(*outputs)


def test_an_output_without_its_number_is_asked_back():
    with pytest.raises(UserError, match="did you mean Tanh_1:0"):
        verify._check_names({"generator": "Tanh_1"}, models())


@on_linux
def test_a_graph_that_takes_all_memory_is_one_line(tmp_path):
    checkpoint = checkpoint_with(tmp_path, large)
    refused(checkpoint, Limits(memory_gib=0.5), "--verify_memory_gib=0.5")


def test_a_graph_that_never_ends_is_one_line(tmp_path):
    checkpoint = checkpoint_with(tmp_path, endless)
    flag = "--verify_timeout=10"
    refused(checkpoint, Limits(seconds=10), flag, seconds=60)


def test_a_batch_that_no_memory_holds_is_one_line(tmp_path):
    checkpoint = checkpoint_with(tmp_path, batch=10**9)
    with pytest.raises(UserError, match="asks for a batch of 1000000000"):
        verified(checkpoint)


def test_a_flag_is_false_whatever_its_default(tmp_path):
    def training(_):
        flag = tf1.placeholder_with_default(True, [], "is_training")
        return tf.cast(flag, tf.float32)

    checkpoint = checkpoint_with(tmp_path, training)
    assert verified(checkpoint).difference < TOLERANCE
    given = verified(checkpoint, inputs={"is_training:0": "true"})
    assert abs(given.difference - 1) < TOLERANCE


def test_what_is_given_to_no_placeholder_is_refused(tmp_path):
    checkpoint = checkpoint_with(tmp_path)
    with pytest.raises(UserError, match=r"no such placeholder \(needed: z\)"):
        verified(checkpoint, inputs={"zz:0": "1.0"})


@pytest.mark.parametrize(
    "end, message",
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the signal SIGSEGV"),
        ("os.abort()", "the signal SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the signal SIGKILL"),
        ("sys.exit('no\\nroom')", "status 1: room"),
        ("sys.exit('std::bad_alloc')", "takes more memory"),
    ],
)
def test_a_process_that_crashes_is_one_line(
    end, message, tmp_path, monkeypatch
):
    (tmp_path / "crash.py").write_text("import os, signal, sys\n" + end)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(graph_process, "_WORKER", "crash")
    with pytest.raises(UserError, match=message) as error:
        graph_process.ask({"meta": "model.meta"}, {}, Limits())
    assert "'model.meta'" in str(error.value)


def test_the_process_takes_nothing_but_this_package_from_beside_it(
    tmp_path, monkeypatch
):
    """As from site-packages, which then come before Python's modules and a user's."""
    beside, own = tmp_path / "site-packages", tmp_path / "own"
    for folder in (beside, own):
        folder.mkdir()
    (beside / "tf2gan").symlink_to(os.path.join(graph_process._ROOT, "tf2gan"))
    for name in ("utils", "json"):
        (beside / (name + ".py")).write_text("raise SystemExit('shadowed')")
    (own / "utils.py").write_text("")
    (own / "tf2gan.py").write_text("raise SystemExit('not this package')")
    (own / "worker.py").write_text(
        "import json, utils\n"
        "import tf2gan.common.errors\n"
        "raise SystemExit(utils.__file__ + ' ' + tf2gan.__file__)"
    )
    monkeypatch.setenv("PYTHONPATH", str(own))
    monkeypatch.setattr(graph_process, "_WORKER", "worker")
    monkeypatch.setattr(graph_process, "_ROOT", str(beside))
    expected = f"{own / 'utils.py'} {beside / 'tf2gan' / '__init__.py'}"
    with pytest.raises(UserError, match=re.escape(expected)):
        graph_process.ask({"meta": "model.meta"}, {}, Limits())


def test_a_temporary_folder_without_room_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(graph_process, "save", full)
    with pytest.raises(UserError, match="No space left .* TMPDIR"):
        graph_process.ask({"meta": "model.meta"}, {}, Limits())


def test_the_process_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_process.tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    refused(checkpoint_with(tmp_path, endless), Limits(seconds=1))
    assert os.listdir(tmp_path / "t") == []


@pytest.mark.parametrize(
    "error, found",
    [
        (MemoryError(), {"out_of_memory": True}),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM"),
            {"out_of_memory": True},
        ),
        (UserError("mend it"), {"error": "mend it"}),
        (
            RecursionError("too\ndeep"),
            {
                "error": "--verify: the graph 'm.meta' is refused: "
                "RecursionError: too deep"
            },
        ),
    ],
)
def test_whatever_the_process_meets_is_one_line(error, found):
    assert graph_worker._failure(error, "m.meta") == found


# A user's own model.


def test_a_model_that_refuses_its_input_is_one_line():
    def refuses(value, training):
        raise ValueError("expected\nanother shape")

    with pytest.raises(UserError, match="model 'generator' failed with Value"):
        verify._computed("generator", refuses, VALUE)


def test_a_model_with_two_outputs_is_refused_as_such():
    def two(value, training):
        return [value, value]

    with pytest.raises(UserError, match="2 outputs"):
        verify._computed("generator", two, VALUE)


def test_a_model_without_symbolic_outputs_needs_the_name_of_its_tensor():
    class Own(keras.Model):
        def call(self, value):
            return value

    with pytest.raises(UserError, match="--outputs=generator=TENSOR:0"):
        verify._only_output("generator", Own())
