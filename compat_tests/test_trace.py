"""`tf1gan/trace.py` records what a session did, and changes nothing of it."""

import ast
import errno
import json
import os
import shutil
import subprocess
import warnings

import helpers
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tiny_gan

from tf1gan import trace

SOURCE = helpers.ROOT / "tf1gan" / "trace.py"
# Modules of the standard library that Python 2.7 and 3.5 have too.
STANDARD = {"errno", "io", "json", "os", "sys", "threading", "warnings"}
# What Python 2.7 cannot parse, by the syntax trees of Python 3.
NEWER_SYNTAX = (
    ast.AnnAssign,
    ast.AsyncFunctionDef,
    ast.JoinedStr,
    ast.MatMult,
    ast.Nonlocal,
    ast.Starred,
    ast.YieldFrom,
)
EVERY_KEY = {"phase", "loss", "input/pixels", "input/noise"}


def arrays(path):
    with np.load(str(path), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def calls(folder):
    return [arrays(path) for path in sorted((folder / "calls").iterdir())]


@pytest.fixture(scope="module")
def tiny():
    graph = tiny_gan.TinyGraph()
    yield graph
    graph.session.close()


@pytest.fixture
def gan(tiny):
    tiny.session.run(tiny.initializer)
    yield tiny
    vars(tiny.session).pop("run", None)


def trained_by_hand(steps=2):
    """Yields the loss, gradient and variables of each call, by NumPy."""
    twin = tiny_gan.TinyTwin()
    twin.values = {
        "G": np.array([[0.5, -1.0, 2.0], [1.0, 0.3, 0.1]]),
        "D": np.array([[0.2], [-0.4], [0.7]]),
    }
    for step in range(steps):
        for seed, name, train in (
            (step, "D", twin.discriminator_step),
            (step + 100, "G", twin.generator_step),
        ):
            random = np.random.RandomState(seed)
            batch = random.rand(4, 3), random.rand(4, 2)
            slope = twin.gradients(*batch)[name]
            yield train(*batch), slope, dict(twin.values)


def test_what_is_recorded_is_what_numpy_computes(gan, tmp_path):
    gan.record(tmp_path / "t")
    gan.train()
    recorded = calls(tmp_path / "t")
    assert len(recorded) == 4
    for call, (loss, gradient, values) in zip(recorded, trained_by_hand()):
        network = ("discriminator", "generator")[int(call["phase"])]
        np.testing.assert_allclose(call["loss"], loss, rtol=1e-12)
        np.testing.assert_allclose(
            call["gradient/{}/w".format(network)], gradient, rtol=1e-12
        )
        for name, value in values.items():
            full = {"G": "generator/w", "D": "discriminator/w"}[name]
            np.testing.assert_allclose(
                call["variable/" + full], value, rtol=1e-12
            )


def test_recording_runs_no_update_a_second_time(gan, tmp_path):
    gan.record(tmp_path / "t")
    gan.train()
    counts = [call["variable/updates"] for call in calls(tmp_path / "t")]
    assert counts == [1, 2, 3, 4]


def test_a_recorded_run_returns_what_the_session_would(gan, tmp_path):
    fetches = {"all": (gan.d_train, [gan.d_loss, "pixels:0"])}
    expected = gan.session.run(fetches, gan.feed(0))
    gan.session.run(gan.initializer)
    recorder = gan.record(tmp_path / "t")
    result = gan.session.run(fetches, feed_dict=gan.feed(0))
    assert recorder.calls == 1
    assert str(result) == str(expected)


def test_the_first_recorded_call_decides_the_initial_state(gan, tmp_path):
    gan.record(tmp_path / "t")
    gan.session.run(gan.sevens)
    gan.train(1)
    initial = arrays(tmp_path / "t" / "initial.npz")
    assert set(initial) == {
        "variable/generator/w",
        "variable/discriminator/w",
        "variable/updates",
    }
    assert np.all(initial["variable/generator/w"] == 7.0)


def test_the_description_says_what_was_recorded(gan, tmp_path):
    gan.record(tmp_path / "t", inputs={"images": gan.x})
    gan.train(1)
    text = (tmp_path / "t" / "trace.json").read_text()
    description = json.loads(text)
    assert (description["format"], description["version"]) == ("gan trace", 1)
    assert description["tensorflow"] == tf.__version__
    assert description["variables"][0] == {
        "name": "generator/w",
        "shape": [2, 3],
        "dtype": "float64",
        "trainable": True,
    }
    assert [p["trains"] for p in description["phases"]] == [
        ["discriminator/w"],
        ["generator/w"],
    ]
    assert description["inputs"] == {"images": "pixels:0"}
    assert description["left_out"] == ["label"]
    assert set(calls(tmp_path / "t")[0]) >= {"input/images", "input/noise"}


def test_variables_are_recorded_in_every_nth_call_and_only_so_many_calls(
    gan, tmp_path
):
    recorder = gan.record(tmp_path / "t", every=2, calls=5)
    gan.train(4)
    recorded = calls(tmp_path / "t")
    complete = ["variable/updates" in call for call in recorded]
    assert complete == [True, True, False, False, True]
    assert set(recorded[2]) == EVERY_KEY
    assert recorder.calls == 5
    assert "run" not in vars(gan.session)


def test_what_other_calls_change_is_recorded_before_the_next(gan, tmp_path):
    gan.record(tmp_path / "t", every=2)
    gan.train(1)
    gan.session.run(gan.d_loss, gan.feed(9))  # evaluating changes nothing
    gan.train(1)
    gan.session.run(gan.sevens)  # such as clipping of weights
    gan.train(1)
    changed = [
        sorted(key for key in call if key.startswith("changed/"))
        for call in calls(tmp_path / "t")
    ]
    assert changed == [[], [], [], [], ["changed/generator/w"], []]
    value = calls(tmp_path / "t")[4]["changed/generator/w"]
    assert np.all(value == 7.0)


def test_random_numbers_of_the_graph_are_noted_and_recorded(tmp_path):
    gan = tiny_gan.TinyGraph()
    with gan.graph.as_default():
        gan.build(gan.noise_of_the_graph)
    inputs = {"latent": gan.noise_of_the_graph}
    with gan.session:
        gan.record(tmp_path / "t", inputs=inputs)
        loss = gan.session.run([gan.g_train, gan.g_loss])[1]
        state = arrays(tmp_path / "t" / "initial.npz")
        description = json.loads((tmp_path / "t" / "trace.json").read_text())
    assert description["random"] == ["random_uniform/RandomUniform"]
    latent = calls(tmp_path / "t")[0]["input/latent"]
    g, d = state["variable/generator/w"], state["variable/discriminator/w"]
    np.testing.assert_allclose(np.mean((latent @ g @ d - 1) ** 2), loss)


def test_random_numbers_within_a_condition_are_noted(tmp_path):
    graph = tf.Graph()
    with graph.as_default(), tf.Session() as session:
        variable = tf.Variable(1.0)
        loss = tf.cond(
            tf.placeholder_with_default(True, []),
            lambda: variable * tf.random_normal([]),
            lambda: variable,
        )
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        session.run(tf.global_variables_initializer())
        trace.record(
            session, str(tmp_path / "t"), [trace.Phase("s", train, loss)]
        )
        session.run(train)
    description = json.loads((tmp_path / "t" / "trace.json").read_text())
    assert any("random_normal" in name for name in description["random"])


def test_feeds_that_are_no_arrays_of_numbers_pass_unrecorded(gan, tmp_path):
    gan.record(tmp_path / "t")
    sparse = tf.SparseTensorValue([[0, 0]], [1.0], [4, 3])
    feed = gan.feed(0)
    feed.update({gan.sparse: sparse, gan.words: "a word"})
    gan.session.run([gan.d_train, gan.words], feed)
    (call,) = calls(tmp_path / "t")
    assert {key for key in call if key.startswith("input/")} == {
        "input/pixels",
        "input/noise",
    }


def test_a_feed_that_is_a_mistake_is_reported_by_the_session(gan, tmp_path):
    gan.record(tmp_path / "t")
    with pytest.raises(TypeError, match="feed_dict key"):
        gan.session.run(gan.d_train, {"nobody:0": 1.0})


def test_a_variable_that_is_moved_twice_in_a_step_has_no_gradient(tmp_path):
    gan = tiny_gan.TinyGraph()
    with gan.graph.as_default(), gan.session:
        other = tf.train.MomentumOptimizer(0.1, 0.9).minimize(
            gan.g_loss, var_list=[gan.d]
        )
        gan.session.run(tf.global_variables_initializer())
        gan.d_train = tf.group(gan.d_train, other)
        gan.record(tmp_path / "t")
        gan.train(1)
    first, second = calls(tmp_path / "t")
    assert not [key for key in first if key.startswith("gradient/")]
    assert "gradient/generator/w" in second
    assert "variable/discriminator/w/Momentum" in second


def test_two_train_ops_in_one_call_are_refused(gan, tmp_path):
    gan.record(tmp_path / "t")
    with pytest.raises(ValueError, match="one session.run trains d and g"):
        gan.session.run([gan.d_train, gan.g_train], gan.feed(0))


def test_a_group_of_both_train_ops_is_refused_too(tiny, tmp_path):
    with tiny.graph.as_default():
        both = tf.group(tiny.d_train, tiny.g_train)
        with tf.control_dependencies([tiny.d_train]):
            second = tf.group(tiny.g_train)
    recorder = tiny.record(tmp_path / "t")
    for fetched in (both, second):
        with pytest.raises(ValueError, match="one session.run trains d and g"):
            tiny.session.run(fetched, tiny.feed(0))
    assert recorder.calls == 0
    recorder.stop()


def test_what_waits_for_a_train_op_is_a_step(tiny, tmp_path):
    with tiny.graph.as_default(), tf.control_dependencies([tiny.g_train]):
        after = tf.assign_add(tiny.updates, 1000.0)
    tiny.session.run(tiny.initializer)
    recorder = tiny.record(tmp_path / "t")
    tiny.session.run(after, tiny.feed(0))
    recorder.stop()
    (call,) = calls(tmp_path / "t")
    assert (call["phase"], call["variable/updates"]) == (1, 1001)


def test_a_phase_without_an_operation_is_refused(tiny, tmp_path):
    phases = [trace.Phase("d", None, tiny.d_loss)]
    with pytest.raises(ValueError, match="d: None is no operation"):
        trace.record(tiny.session, str(tmp_path / "t"), phases)
    assert not (tmp_path / "t").exists()


@pytest.fixture
def lists(tiny):
    """Records phases that are lists: train op, its step count, one for all."""
    with tiny.graph.as_default():
        own = tf.assign_add(tiny.updates, 10.0)
        shared = tf.assign_add(tiny.updates, 100.0)
        with tf.control_dependencies([tiny.d_train]):
            after = tf.assign_add(tiny.updates, 1000.0)
    tiny.session.run(tiny.initializer)

    def record(folder, d_train):
        phases = [
            trace.Phase("d", d_train, tiny.d_loss),
            trace.Phase("g", [tiny.g_train, shared], tiny.g_loss),
        ]
        return trace.record(tiny.session, str(folder), phases)

    record.own, record.shared, record.after = own, shared, after
    yield record
    vars(tiny.session).pop("run", None)


def test_a_step_is_a_call_that_runs_all_of_its_phase(tiny, lists, tmp_path):
    recorder = lists(tmp_path / "t", [tiny.d_train, lists.own])
    run, feed = tiny.session.run, tiny.feed(0)
    run([tiny.d_train, lists.own], feed)
    said = r"a part of d, without \w+:"
    with pytest.warns(UserWarning, match=said) as found:
        for _ in range(3):
            run(tiny.d_train, feed)
    assert len(found) == 1 and found[0].filename == __file__
    assert recorder.calls == 1
    run([lists.own, tiny.d_train], feed)
    first, second = calls(tmp_path / "t")
    # Each train op adds 1 and `own` 10: 3 calls without it lie between the two.
    assert (first["variable/updates"], second["variable/updates"]) == (11, 25)
    assert second["changed/updates"] == 14
    assert "changed/discriminator/w" in second


def test_what_a_fetch_runs_by_itself_counts_as_run(tiny, lists, tmp_path):
    recorder = lists(tmp_path / "t", [tiny.d_train, lists.after])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.session.run(lists.after, tiny.feed(0))
    assert recorder.calls == 1


def test_phases_may_share_an_operation_but_not_a_call(tiny, lists, tmp_path):
    recorder = lists(tmp_path / "t", [tiny.d_train, lists.shared])
    run, feed = tiny.session.run, tiny.feed(0)
    run([tiny.d_train, lists.shared], feed)
    run([tiny.g_train, lists.shared], feed)
    assert [int(call["phase"]) for call in calls(tmp_path / "t")] == [0, 1]
    assert recorder.calls == 2
    with pytest.raises(ValueError, match="one session.run trains d and g"):
        run([tiny.d_train, lists.shared, tiny.g_train], feed)


def test_a_part_of_another_phase_in_a_step_is_refused(tiny, lists, tmp_path):
    lists(tmp_path / "t", [tiny.d_train, lists.own])
    with pytest.raises(ValueError, match="one session.run trains g and d"):
        fetches = [tiny.g_train, lists.shared, tiny.d_train]
        tiny.session.run(fetches, tiny.feed(0))


def test_an_existing_folder_is_refused_and_left_alone(gan, tmp_path):
    (tmp_path / "mine").write_text("kept")
    advice = "there already; name another one, or move or delete this one"
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(OSError, match=advice) as error:
            gan.record(taken)
        assert error.value.errno == errno.EEXIST
        assert repr(str(taken)) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").read_text() == "kept"
    assert "run" not in vars(gan.session)


def test_a_failed_step_ends_the_recording(gan, tmp_path):
    recorder = gan.record(tmp_path / "t")
    gan.train(1)
    with pytest.raises(tf.errors.InvalidArgumentError):
        gan.session.run(gan.d_train)  # nothing is fed
    gan.train(1)
    assert recorder.calls == 2
    assert len(calls(tmp_path / "t")) == 2


@pytest.mark.parametrize(
    "settings, message",
    [({"every": 0}, "at least 1"), ({"calls": 0}, "at least 1")],
)
def test_settings_out_of_range_are_refused(settings, message, gan, tmp_path):
    with pytest.raises(ValueError, match=message):
        gan.record(tmp_path / "t", **settings)
    assert not (tmp_path / "t").exists()


def test_a_session_is_recorded_once_at_a_time(gan, tmp_path):
    recorder = gan.record(tmp_path / "one")
    with pytest.raises(ValueError, match="already"):
        gan.record(tmp_path / "two")
    recorder.stop()
    gan.record(tmp_path / "two")


def test_the_file_needs_numpy_tensorflow_and_the_standard_library_only():
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "a relative import")
    assert imported == STANDARD | {"numpy", "tensorflow"}


def newer_syntax(source):
    """Returns what of a source Python 2.7 cannot parse, as far as trees show it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, NEWER_SYNTAX):
            found.append(type(node).__name__)
        if isinstance(node, ast.arguments) and node.kwonlyargs:
            found.append("keyword-only")
        if isinstance(node, ast.arg) and node.annotation:
            found.append("annotation")
        if isinstance(node, ast.FunctionDef) and node.returns:
            found.append("annotation")
        if isinstance(node, ast.Raise) and node.cause:
            found.append("raise from")
    return found


def test_the_file_has_no_syntax_that_python_2_lacks():
    source = SOURCE.read_bytes().decode("ascii")
    # `f(*args)` is older than the other uses of a star.
    assert newer_syntax(source.replace("(*", "(")) == []


@pytest.mark.parametrize(
    "source",
    [
        "f'{x}'",
        "def f(*, x): pass",
        "def f(x: int): pass",
        "def f() -> int: pass",
        "x: int = 1",
        "a, *b = c",
        "raise A from b",
        "def f():\n  yield from x",
        "a @ b",
    ],
)
def test_newer_syntax_would_be_noticed(source):
    assert newer_syntax(source)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.7", "3.6"])
def test_the_file_compiles_under_an_old_python(version, tmp_path):
    copied = shutil.copy(str(SOURCE), str(tmp_path / "gan_trace.py"))
    code = "import py_compile; py_compile.compile({!r}, doraise=True)".format(
        str(copied)
    )
    command, environment = old_python(version)
    subprocess.run(
        [command, "-c", code], env=environment, check=True, timeout=60
    )


def old_python(version):
    """Finds an interpreter on the path or through pyenv, or skips the test."""
    command = shutil.which("python" + version)
    environment = dict(os.environ)
    if command and shutil.which("pyenv"):
        whence = ["pyenv", "whence", "python" + version]
        found = subprocess.run(whence, stdout=subprocess.PIPE).stdout.split()
        if found:
            environment["PYENV_VERSION"] = found[0].decode()
    works = command and not subprocess.call(
        [command, "-c", "pass"], env=environment, stderr=subprocess.DEVNULL
    )
    if not works:
        pytest.skip("there is no Python {} here".format(version))
    return command, environment
