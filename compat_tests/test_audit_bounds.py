"""Where an audit compares less than there is, it says so, and of which variables."""

import json

import audit_graphs
import audit_helpers
import pytest
import tensorflow.compat.v1 as tf

from tf2gan.migration import graphs
from tf2gan.migration.audit import auditor, checks, collisions, findings, report

D, CLIPPED = "train_discriminator", "clipped"
# 46 changes of one weight are 1,035 pairs, 45 are 990.
PAIRS_OF_46, PAIRS_OF_45 = 46 * 45 // 2, 45 * 44 // 2


def audited(name):
    graph, _ = audit_graphs.build(name)
    return auditor.audit(graphs.from_graph(graph))


def found(audit, code):
    return {f.train_op: f.variables for f in audit.findings if f.code == code}


def changed_in_turn(count):
    """A step and changes of its weight, each after the one before: no race."""
    with tf.Graph().as_default() as graph:
        weight = tf.get_variable("w", [], use_resource=True)
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        last = optimizer.minimize(weight * weight, name="step")
        for _ in range(count - 1):
            with tf.control_dependencies([last]):
                last = tf.raw_ops.AssignVariableOp(
                    resource=weight.handle, value=0.0
                )
        tf.group(last, name="train")
        tf.add_to_collection("train_op", graph.get_operation_by_name("train"))
    return graphs.from_graph(graph)


def test_more_pairs_than_are_compared_are_reported():
    assert PAIRS_OF_45 <= collisions.MOST_COMPARED < PAIRS_OF_46
    some = auditor.audit(changed_in_turn(46))
    assert found(some, "not-compared") == {"train": ("w",)}
    assert found(some, "weights-race") == {}
    assert auditor.audit(changed_in_turn(45)).findings == []


def test_it_is_in_the_text_and_in_the_json(tmp_path, capsys):
    path = tmp_path / "graph.pb"
    path.write_bytes(changed_in_turn(46).definition.SerializeToString())
    target = tmp_path / "audit.json"
    flags = ("--graph={}".format(path), "--json={}".format(target))
    done = audit_helpers.call(capsys, *flags, "--fail_on=warning")
    assert (done.status, done.err) == (1, "")
    assert "warning: not-compared in " in done.out
    assert "variables  w" in done.out and "--train_op=NAME" in done.out
    (finding,) = json.loads(target.read_text())["findings"]
    assert finding["code"] == "not-compared" and finding["variables"] == ["w"]


def test_of_weights_those_that_are_left_are_named(monkeypatch):
    every = found(audited("clipped_in_one_group_with_the_step"), "weights-race")
    monkeypatch.setattr(collisions, "MOST_COMPARED", 2)
    audit = audited("clipped_in_one_group_with_the_step")
    compared = found(audit, "weights-race")[CLIPPED]
    left = found(audit, "not-compared")[CLIPPED]
    assert len(compared) == 2
    assert sorted(compared + left) == sorted(every[CLIPPED])


def test_of_averages_those_with_too_many_updates_are_named(monkeypatch):
    every = found(audited("racing_updates"), "race")
    assert found(audited("racing_updates"), "not-compared") == {}
    monkeypatch.setattr(checks, "_MOST_COMPARED", 1)
    audit = audited("racing_updates")
    assert found(audit, "race") == {}
    assert found(audit, "not-compared") == every and set(every) == {D}


def both_steps_in_a_group():
    """Two steps in one run, one of which takes its gradient through the other's w."""
    with tf.Graph().as_default() as graph:
        d, g = (tf.get_variable(name, [], use_resource=False) for name in "dg")
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        steps = [
            optimizer.minimize(loss, var_list=[own], name="step_" + own.op.name)
            for own, loss in ((d, d * d), (g, g * d))
        ]
        tf.group(*steps, name="both")
    return graphs.from_graph(graph)


@pytest.mark.parametrize(
    "most, code", [(1000, "unordered-steps"), (0, "not-compared")]
)
def test_of_steps_in_one_run_it_is_said_too(most, code, monkeypatch):
    monkeypatch.setattr(collisions, "MOST_COMPARED", most)
    audit = auditor.audit(both_steps_in_a_group())
    assert {finding.code for finding in audit.findings} == {code}
    assert found(audit, code) == {"both": ("d",)}


def test_the_text_of_such_a_finding_names_what_to_do():
    finding = findings.Finding("not-compared", (), ("w",), "train")
    text = report._findings([finding])
    assert text.startswith("warning: not-compared in train\n")
    assert "by hand" in text
