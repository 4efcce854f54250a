"""Two updates of one moving average in a session.run: a race, unless they are pinned.

Real may come before generated, generated before real, or both may read the old value.
Which of them wins an open race is chance and is printed; nothing else may come out.
"""

import json
import subprocess
from pathlib import Path

import helpers
import ledger
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from ledger import GENERATED, REAL, Updates

from tf1gan import layers

RACE = Path(__file__).with_name("race.py")
SEED = 3
SHAPE = (8, 7, 7, 16)
MOMENTUM = 0.5
TOLERANCE = 1e-5  # rounding is 1e-7, another order more than 0.1
REPEATS = 300

PINNED = Updates((REAL, GENERATED))
RESULTS = [
    str(PINNED),
    str(Updates((GENERATED, REAL))),
    str(Updates((REAL, GENERATED), from_old=True)),
]


def _unordered_update(average, value, decay):
    """Adds an update as `tf.layers` does, without waiting for any other."""
    delta = (average.read_value() - value) * decay
    update = average.assign_sub(delta, read_value=False)
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)


def _batches():
    random = np.random.RandomState(SEED)
    return {
        REAL: random.normal(1, 1, SHAPE).astype(np.float32),
        GENERATED: random.normal(-2, 2, SHAPE).astype(np.float32),
    }


def _build():
    """Calls one layer on two placeholders; returns them, and its averages by name."""
    placeholders = []
    for _ in (REAL, GENERATED):
        placeholders.append(tf.placeholder(tf.float32, SHAPE))
        layers.batch_normalization(
            placeholders[-1],
            momentum=MOMENTUM,
            training=True,
            name="shared",
            reuse=tf.AUTO_REUSE,
        )
    named = {variable.op.name: variable for variable in tf.global_variables()}
    return placeholders, ledger.averages(named)


def _count(repeats):
    """Returns {average: {outcome: count}} of the graph that `_build` makes."""
    config = tf.ConfigProto(inter_op_parallelism_threads=8)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        placeholders, averages = _build()
        feed = dict(zip(placeholders, _batches().values()))
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        initializer = tf.global_variables_initializer()

        def step():
            session.run(initializer)
            session.run(updates, feed)
            return session.run(averages)

        session.run(initializer)
        return ledger.count_outcomes(
            step,
            session.run(averages),
            {name: _values(name) for name in averages},
            ledger.decay_of(MOMENTUM, fused=True),
            TOLERANCE,
            repeats,
        )


def _values(name):
    which = name.rsplit("/", 1)[-1]
    return {
        batch: ledger.moments(inputs, SHAPE[-1], fused=True)[which]
        for batch, inputs in _batches().items()
    }


def _show(show, title, **graphs):
    rows = [["moving average", "graph"] + RESULTS]
    for graph, counts in sorted(graphs.items()):
        for name, outcomes in counts.items():
            seen = [str(outcomes.get(result, 0)) for result in RESULTS]
            rows.append([name, graph] + seen)
    show(title + "\n" + ledger.table(rows))


def _assert_one_result(counts):
    for name, outcomes in counts.items():
        assert list(outcomes) == [str(PINNED)], (name, outcomes)


def _assert_enumerated_results(counts):
    for name, outcomes in counts.items():
        assert set(outcomes) <= set(RESULTS), (name, outcomes)


def test_pinned_updates_have_one_result_and_open_ones_an_enumerated_one(
    monkeypatch, show
):
    pinned = _count(REPEATS)
    monkeypatch.setattr(layers, "_add_update", _unordered_update)
    unpinned = _count(REPEATS)
    title = "A layer called twice, on TensorFlow " + tf.version.VERSION
    _show(show, title, pinned=pinned, unpinned=unpinned)
    _assert_one_result(pinned)
    _assert_enumerated_results(unpinned)


@pytest.mark.parametrize("kept", [REAL, GENERATED])
def test_a_lost_update_is_none_of_the_results(kept, monkeypatch):
    add_update, calls = layers._add_update, []

    def add_one_pass(*arguments):
        calls.append(REAL if len(calls) < 2 else GENERATED)
        if calls[-1] == kept:
            add_update(*arguments)

    monkeypatch.setattr(layers, "_add_update", add_one_pass)
    counts = _count(1)
    assert all(list(c) == [str(Updates((kept,)))] for c in counts.values())
    with pytest.raises(AssertionError, match="1: " + kept):
        _assert_enumerated_results(counts)


@pytest.mark.slow
@pytest.mark.skipif(not helpers.TF115_PYTHON, reason=helpers.WITHOUT_TF115)
def test_the_race_of_the_original_has_one_of_three_results(show):
    command = [helpers.TF115_PYTHON, "-W", "ignore", str(RACE), "--repeats=20"]
    done = subprocess.run(
        command,
        env=helpers.environment(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    report = json.loads(done.stdout.decode())
    pinned, unpinned = report["pinned"], report["unpinned"]
    title = "The original's graph, on TensorFlow " + report["tensorflow"]
    _show(show, title, pinned=pinned, unpinned=unpinned)
    assert report["tensorflow"] == "1.15.5"
    assert len(pinned) == len(unpinned) == 4
    _assert_one_result(pinned)
    _assert_enumerated_results(unpinned)
