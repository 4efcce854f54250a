"""The audit of a graph says what a run of its train ops then does, and what is wrong.

The environment variable TF115_PYTHON names a Python 3.7 with TensorFlow 1.15.5, whose
graphs are audited here too.
"""

import functools
import json

import audit_graphs
import audit_helpers
import helpers
import pytest
import tensorflow.compat.v1 as tf

from tf1gan import training
from tf2gan.common import specs
from tf2gan.migration import graphs
from tf2gan.migration.audit import auditor

every_version = pytest.mark.parametrize("version", audit_helpers.VERSIONS)
on_1x = pytest.mark.parametrize("version", [audit_helpers.ON_1X])

D, G = "train_discriminator", "train_generator"
OF_D = ("discriminator/norm/moving_mean", "discriminator/norm/moving_variance")
OF_G = ("generator/norm/moving_mean", "generator/norm/moving_variance")
MOMENTS = "{0}/norm/{0}/norm/moments/{1}/ExponentialMovingAverage"
MOMENTS_OF_D = tuple(
    MOMENTS.format("discriminator", name) for name in ("Squeeze", "Squeeze_1")
)
MOMENTS_OF_G = tuple(
    MOMENTS.format("generator", name) for name in ("Squeeze", "Squeeze_1")
)
IN_PLACE = {
    ("update-in-place", None, OF_D + OF_G),
    ("foreign-update", D, OF_G),
    ("foreign-update", G, OF_D),
}
# The fused kernel takes both averages at one place, the other batch norm does not.
IN_INFERENCE = OF_G + OF_D[1:]

WEIGHTS_OF_D = tuple(
    "discriminator/" + name
    for name in (
        "dense/bias",
        "dense/kernel",
        "dense_1/bias",
        "dense_1/kernel",
        "norm/beta",
        "norm/gamma",
    )
)
# The generator's gradient goes through them; through a bias it does not.
READ_BY_G = (
    "discriminator/dense/kernel",
    "discriminator/dense_1/kernel",
    "discriminator/norm/gamma",
)

# By graph what must be found: code, train op, variables. Nothing else may be.
EXPECTED = {
    "scoped_updates": set(),
    "pinned_updates": set(),
    "assigned_averages": set(),
    "updates_in_branches": set(),
    "grouped_updates": set(),
    "averaged_weights": set(),
    "generator_after_discriminator": set(),
    "discriminator_after_generator": set(),
    "both_in_a_group": set(),
    "averaged_and_grouped": set(),
    "both_of_references_in_a_group": {("unordered-steps", "both", READ_BY_G)},
    "gradients_before_both_steps": {
        ("foreign-update", D, OF_G),
        ("foreign-update", G, OF_D),
    },
    "clipped_in_one_group_with_the_step": {
        ("weights-race", "clipped", WEIGHTS_OF_D)
    },
    "averaged_after_both": set(),
    "steps_are_read_afterwards": set(),
    "losses_are_the_train_ops": set(),
    "trained_in_a_condition": set(),
    # It trains another layer of the discriminator only.
    "trained_in_a_loop": {("foreign-update", "while/Exit", OF_D)},
    "weights_clipped_in_a_list": set(),
    "weights_clipped_in_a_group": set(),
    "a_saver_for_each_network": set(),
    "loss_in_a_loop": set(),
    "saved_in_the_old_format": set(),
    "rates_that_are_no_constants": set(),
    "updates_not_run": {("update-not-run", None, OF_D + OF_G)},
    "updates_before_the_constructor_only": {
        ("update-not-run", None, OF_D + OF_G)
    },
    "updates_of_real_images_only": {("update-partly-run", None, OF_D)},
    "updates_of_both_networks": {
        ("foreign-update", D, OF_G),
        ("foreign-update", G, OF_D),
    },
    "racing_updates": {("race", D, OF_D)},
    "in_place_by_hand": IN_PLACE,
    "in_place_by_contrib": IN_PLACE,
    "in_place_by_moving_moments": {
        ("update-in-place", None, MOMENTS_OF_D + MOMENTS_OF_G),
        ("foreign-update", D, MOMENTS_OF_G),
        ("foreign-update", G, MOMENTS_OF_D),
    },
    "updates_in_a_function": IN_PLACE,
    "never_in_training_mode": {
        ("training-false", D, IN_INFERENCE),
        ("training-false", G, IN_INFERENCE),
    },
    "always_in_training_mode": {("training-true", None, OF_D + OF_G)},
    "a_constant_decides": {("training-true", None, OF_D + OF_G)},
    "averages_not_saved": {("average-not-saved", None, OF_D + OF_G)},
    "averages_not_saved_in_the_old_format": {
        ("average-not-saved", None, OF_D + OF_G)
    },
    "averages_left_out_of_one_saver": {("average-not-saved", None, OF_G)},
    "one_step_for_both": {("shared-global-step", None, ("global_step",))},
    "text_in_the_loss": {("no-gpu-kernel", None, ())},
    "resampled_by_contrib": {("contrib-op", None, ())},
    # Two optimizers have no kernel for rows of a table.
    "optimizers": {("no-gpu-kernel", None, ())},
}
# Train ops, each with those that it runs.
RUNS = {
    "grouped_updates": [("both_discriminator", [D]), ("both_generator", [G])],
    "averaged_weights": [(D, []), ("averaged", [G])],
    "generator_after_discriminator": [(D, []), (G, [D])],
    "discriminator_after_generator": [(G, []), (D, [G])],
    "both_in_a_group": [(D, []), (G, []), ("both", [D, G])],
    "averaged_and_grouped": [
        (D, []),
        ("averaged", [G]),
        ("both", [D, G, "averaged"]),
    ],
    "averaged_after_both": [(D, []), ("averaged", [D, G])],
    "steps_are_read_afterwards": [(D, []), (G, [])],
    "losses_are_the_train_ops": [("run_" + D, [D]), ("run_" + G, [G])],
    "weights_clipped_in_a_list": [(D, []), (G, [])],
    "weights_clipped_in_a_group": [("clipped", [D]), (G, [])],
}
OPERATIONS = {
    "text_in_the_loss": {"text", "StringLength"},
    "resampled_by_contrib": {"resampled/Resampler"},
    "one_step_for_both": {D, G},
    "averages_left_out_of_one_saver": {"save_1/SaveV2"},
}
ONLY_ON_1X = {
    "both_of_references_in_a_group",
    "in_place_by_contrib",
    "resampled_by_contrib",
    "trained_in_a_loop",
}
ONLY_ON_2X = {"updates_in_a_function"}
needs_gpu_kernels = {"text_in_the_loss", "optimizers"}

SOURCE_D = {
    "discriminator/batch_normalization{}/moving_{}".format(number, kind)
    for number in ("", "_1")
    for kind in ("mean", "variance")
}
SOURCE_G = {
    "generator/batch_normalization{}/moving_{}".format(number, kind)
    for number in ("", "_1", "_2")
    for kind in ("mean", "variance")
}
FOREIGN = {
    ("foreign-update", "Adam", tuple(sorted(SOURCE_G))),
    ("foreign-update", "Adam_1", tuple(sorted(SOURCE_D))),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function of a version of TensorFlow that returns what it exported."""

    @functools.lru_cache(maxsize=None)
    def export(version):
        folder = tmp_path_factory.mktemp("graphs")
        return audit_helpers.export(version, folder)

    return export


def _found(audit):
    return {
        (f.code, f.train_op, tuple(sorted(f.variables))) for f in audit.findings
    }


def _base(name):
    return name.replace(audit_graphs.OTHER, "")


def _skip_without_gpu_kernels(name):
    if name in needs_gpu_kernels and not tf.test.is_built_with_gpu_support():
        pytest.skip("this TensorFlow was built without GPU kernels")


@every_version
def test_every_graph_that_was_built_is_expected_here(exported, version):
    names = {
        _base(name)
        for name in exported(version).observed
        if not name.startswith("original")
    }
    assert names == set(EXPECTED) - (
        ONLY_ON_1X if version == "2.x" else ONLY_ON_2X
    )


@every_version
@pytest.mark.parametrize("name", EXPECTED)
def test_an_audit_finds_what_is_wrong_and_nothing_else(exported, version, name):
    _skip_without_gpu_kernels(name)
    here = exported(version)
    names = [other for other in here.observed if _base(other) == name]
    for other in names:
        audit = here.audit(other)
        expected = {(c, t, tuple(sorted(v))) for c, t, v in EXPECTED[name]}
        assert _found(audit) == expected, other
        assert len(audit.findings) == len(expected)
        if name in OPERATIONS:
            assert set(audit.findings[0].operations) == OPERATIONS[name]


def _disagreements(audit, observed):
    """Compares an audit with runs; returns the train ops and variables at odds."""
    weights = {v for train_op in audit.train_ops for v in train_op.variables}
    wrong = []
    for train_op in audit.train_ops:
        seen = observed[train_op.name]
        changed = set(seen["changed"])
        for name in set(train_op.variables) ^ (changed & weights):
            wrong.append((train_op.name, name))
        for name, counts in audit.updates.items():
            count = counts[train_op.name]
            racing = any(name in f.variables for f in _races(audit))
            if (count > 0) != (name in changed) or (
                "halved" in seen
                and not _is_halved(seen["halved"][name], count, racing)
            ):
                wrong.append((train_op.name, name))
    return wrong


def _races(audit):
    return [f for f in audit.findings if f.code == "race"]


def _is_halved(value, times, racing):
    """Tells whether so many updates towards zero, by a half, make 1 that value.

    Two that both read the old value take two halves off.
    """
    return value == 0.5**times or (racing and value == 1 - 0.5 * times)


@every_version
def test_a_run_moves_the_averages_and_weights_that_the_audit_says(
    exported, version
):
    here = exported(version)
    for name, observed in here.observed.items():
        audit = here.audit(name)
        assert [t.name for t in audit.train_ops] == list(observed), name
        assert _disagreements(audit, observed) == [], name
        assert audit.updates or name.startswith(("optimizers", "rates")), name


def test_a_wrong_verdict_is_told_from_a_right_one(exported):
    """With the train ops swapped, with one update too many, and with none."""
    here = exported("2.x")
    audit = auditor.audit(graphs.read(str(here.path("scoped_updates"))))
    observed = here.observed["scoped_updates"]
    assert _disagreements(audit, {D: observed[G], G: observed[D]})
    for count in (0, 2):
        audit.updates[OF_D[0]][D] = count
        assert _disagreements(audit, observed) == [(D, OF_D[0])]


@every_version
def test_optimizers_and_their_constants_are_those_given(exported, version):
    audit = exported(version).audit("optimizers")
    assert len(audit.train_ops) == 2 * len(audit_graphs.OPTIMIZERS)
    for train_op in audit.train_ops:
        scope = train_op.name[len("train_") :]
        name = scope.partition("_")[2]
        of_kernel = [o for o in train_op.optimizers if o.name]
        assert [o.name for o in of_kernel] == [name]
        assert dict(of_kernel[0].constants) == audit_graphs.OPTIMIZERS[name][1]
        assert set(train_op.variables) == {scope + "/weight", scope + "/table"}


@every_version
def test_what_a_train_op_assigns_besides_its_steps_is_listed(exported, version):
    for name in ("weights_clipped_in_a_group", "averaged_weights"):
        audit = exported(version).audit(name)
        found = [o.name for t in audit.train_ops for o in t.optimizers]
        clipped = ["Adam", "", "Adam"]
        assert found == (clipped if "clipped" in name else ["Adam"] * 2)


@every_version
def test_a_rate_that_is_no_constant_is_named(exported, version):
    audit = exported(version).audit("rates_that_are_no_constants")
    rates = {
        t.name: dict(t.optimizers[0].constants)["alpha"]
        for t in audit.train_ops
    }
    assert rates == {
        "train_fed": "placeholder rate",
        "train_kept": "variable kept_rate",
        "train_decaying": "computed by ExponentialDecay",
    }
    assert audit.train_ops[2].steps == {"step": ["train_decaying"]}


@every_version
def test_what_is_grouped_around_a_train_op_is_what_is_run(exported, version):
    for name, expected in RUNS.items():
        audit = exported(version).audit(name)
        found = [(t.name, t.runs) for t in audit.train_ops]
        assert found == expected, name
        # Shadows of weights are averages, but not those of batch norm.
        assert set(audit.updates) == set(OF_D + OF_G), name


@every_version
def test_train_ops_are_the_same_without_collections(exported, version):
    for name, expected in RUNS.items():
        graph = graphs.read(str(exported(version).path(name)))
        graph.collections = None
        found = [(t.name, t.runs) for t in auditor.audit(graph).train_ops]
        if name == "losses_are_the_train_ops":
            # Only the collection tells them from a value that is read.
            expected = [(D, []), (G, [])]
        assert sorted(found) == sorted(expected), name


@every_version
def test_a_train_op_that_is_named_is_audited_alone(exported, version):
    path = str(exported(version).path("updates_of_both_networks"))
    audit = auditor.audit(graphs.read(path), [D])
    assert _found(audit) == {("foreign-update", D, OF_G)}


@pytest.mark.parametrize(
    "policy, dtype",
    [
        ("source", "float32"),
        pytest.param("source", "float64", marks=pytest.mark.slow),
        pytest.param("scoped", "float32", marks=pytest.mark.slow),
        ("scoped", "float64"),
    ],
)
def test_our_own_trainer_has_no_fault_but_the_original_policy(policy, dtype):
    trainer = training.Trainer(specs.get_spec("dcgan28"), policy, dtype)
    observed = audit_graphs.observe_trainer(trainer)
    audit = auditor.audit(graphs.from_graph(trainer.graph))
    assert _found(audit) == (FOREIGN if policy == "source" else set())
    assert _changed_averages(audit) == {
        name: {v for v in seen["changed"] if v in SOURCE_D | SOURCE_G}
        for name, seen in observed.items()
    }
    both = policy == "source"
    for name, counts in audit.updates.items():
        calls = 2 if name in SOURCE_D else 1
        own = "Adam" if name in SOURCE_D else "Adam_1"
        for train_op, count in counts.items():
            assert count == (calls if both or train_op == own else 0)


def _changed_averages(audit):
    return {
        train_op.name: {
            name
            for name, counts in audit.updates.items()
            if counts[train_op.name]
        }
        for train_op in audit.train_ops
    }


@on_1x
@pytest.mark.parametrize(
    "name, expected",
    [
        ("original_source_pinned", FOREIGN),
        (
            "original_source_open",
            FOREIGN
            | {
                ("race", "Adam", tuple(sorted(SOURCE_D))),
                ("race", "Adam_1", tuple(sorted(SOURCE_D))),
            },
        ),
        ("original_scoped_pinned", set()),
    ],
)
def test_the_original_races_unless_it_is_pinned(
    exported, version, name, expected
):
    here = exported(version)
    audit = here.audit(name)
    assert _found(audit) == expected
    assert audit.graph.version == "1.15.5"
    assert _changed_averages(audit) == {
        train_op: {v for v in seen["changed"] if v in SOURCE_D | SOURCE_G}
        for train_op, seen in here.observed[name].items()
    }


@on_1x
@pytest.mark.parametrize("name", ["racing_updates", "in_place_by_contrib"])
def test_operations_as_tensorflow_1_0_wrote_them_are_known(
    exported, version, name
):
    graph = graphs.read(str(exported(version).path(name)))
    older = {
        "VariableV2": "Variable",
        "AddV2": "Add",
        "FusedBatchNormV3": "FusedBatchNorm",
    }
    for node in graph.definition.node:
        node.op = older.get(node.op, node.op)
    codes = {finding.code for finding in auditor.audit(graph).findings}
    assert codes == {code for code, _, _ in EXPECTED[name]}


def test_a_graph_is_read_alike_in_every_form(exported, tmp_path):
    meta = exported("2.x").path("updates_of_both_networks")
    expected = exported("2.x").audit("updates_of_both_networks")
    graph = graphs.read(str(meta))
    whole = tf.MetaGraphDef.FromString(meta.read_bytes())
    (tmp_path / "text.pbtxt").write_text(str(whole))
    (tmp_path / "plain.pb").write_bytes(graph.definition.SerializeToString())
    (tmp_path / "plain.pbtxt").write_text(str(graph.definition))
    folder = _saved_model(tmp_path)
    function = "{}:updates_of_both_networks".format(audit_graphs.__file__)
    for source in (
        str(tmp_path / "text.pbtxt"),
        str(tmp_path / "plain.pb"),
        str(tmp_path / "plain.pbtxt"),
        folder,
        function,
        "audit_graphs:updates_of_both_networks",
    ):
        audit = auditor.audit(graphs.read(source))
        assert _found(audit) == _found(expected), source
        assert audit.updates == expected.updates, source
        assert {t.name for t in audit.train_ops} == {D, G}
    taken = graphs.read(folder).source
    assert taken == str(tmp_path / "saved" / "saved_model.pb")


def _saved_model(tmp_path):
    new, _ = audit_graphs.build("updates_of_both_networks")
    with new.as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.Builder(str(tmp_path / "saved"))
        builder.add_meta_graph_and_variables(session, ["train"])
        builder.save()
    return str(tmp_path / "saved")


def test_without_collections_updates_that_are_never_run_are_still_found(
    exported, tmp_path
):
    graph = graphs.read(str(exported("2.x").path("updates_not_run")))
    graph.collections = None
    assert _found(auditor.audit(graph)) == {
        ("update-not-run", None, tuple(sorted(OF_D + OF_G)))
    }


def test_without_a_train_op_a_saver_is_held_to_its_own_network():
    """Nothing tells weights from other variables: here all beside an average count."""
    new = tf.Graph()
    with new.as_default():
        audit_graphs.gan(audit_graphs.by_hand)
        tf.train.Saver(tf.global_variables("generator"))
        tf.train.Saver(tf.trainable_variables("discriminator"))
    audit = auditor.audit(graphs.Graph("plain", new.as_graph_def()))
    found = [f for f in audit.findings if f.code == "average-not-saved"]
    assert [(f.operations, set(f.variables)) for f in found] == [
        (("save_1/SaveV2",), set(OF_D))
    ]
    assert set(audit.saved) == set(OF_G)


def test_a_frozen_graph_in_training_mode_is_found():
    new = tf.Graph()
    with new.as_default():
        x = tf.placeholder(tf.float32, [None, 2, 2, 3])
        gamma = tf.constant([1.0, 2.0, 3.0], name="norm/gamma")
        tf.nn.fused_batch_norm(x, gamma, tf.zeros([3]), name="norm/batch")
        # Layer normalization calls the kernel with constants.
        tf.nn.fused_batch_norm(x, tf.ones([3]), tf.zeros([3]), name="layer")
    audit = auditor.audit(graphs.Graph("frozen", new.as_graph_def()))
    assert _found(audit) == {("training-true", None, ())}
    assert audit.findings[0].operations == ("norm/batch",)
    assert audit.remarks[0] == auditor.NO_TRAIN_OP


def test_operations_that_this_tensorflow_lacks_are_told_apart(exported):
    graph = graphs.read(str(exported("2.x").path("scoped_updates")))
    node = graph.definition.node.add(name="resampled", op="Resampler")
    graph.definition.node.add(name="mine", op="MyOwnOperation")
    node = graph.definition.node.add(name="product", op="MatMul")
    node.attr["T"].type = tf.uint8.as_datatype_enum
    found = {f.code: f.operations for f in auditor.audit(graph).findings}
    assert found == {
        "contrib-op": ("resampled",),
        "unknown-op": ("mine",),
        "no-tf2-kernel": ("product",),
    }


def test_the_contrib_operations_are_unknown_to_this_tensorflow_or_in_it_now():
    from tensorflow.python.framework import op_def_registry

    from tf2gan.migration.audit.contrib_ops import CONTRIB_OPS

    known = {op for op in CONTRIB_OPS if op_def_registry.get(op)}
    assert known <= {"ImageProjectiveTransformV2"}
    assert len(CONTRIB_OPS) > 100


# The script.


@pytest.mark.parametrize(
    "name, fail_on, status",
    [
        ("scoped_updates", "note", 0),
        ("updates_of_real_images_only", "note", 1),
        ("updates_of_real_images_only", "warning", 0),
        ("updates_of_both_networks", "error", 0),
        ("updates_of_both_networks", "warning", 1),
        ("updates_not_run", "error", 1),
        ("updates_not_run", "never", 0),
    ],
)
def test_the_exit_status_says_whether_too_much_was_found(
    exported, capsys, name, fail_on, status
):
    path = exported("2.x").path(name)
    done = audit_helpers.call(
        capsys, "--graph={}".format(path), "--fail_on=" + fail_on
    )
    assert (done.status, done.err) == (status, "")


def test_the_tables_are_aligned_and_name_what_was_found(exported, capsys):
    path = exported("2.x").path("racing_updates")
    out = audit_helpers.call(capsys, "--graph={}".format(path)).out
    assert "train op train_discriminator\n" in out
    assert (
        "optimizer  Adam lr=0.0002 beta1=0.5 beta2=0.999 epsilon=1e-08" in out
    )
    assert "trains     discriminator/dense: kernel, bias" in out
    lines = out.splitlines()
    header = next(line for line in lines if line.startswith("updates of"))
    row = next(line for line in lines if line.startswith(OF_D[0]))
    assert row[header.index(D)] == "2" and row[header.index(G)] == "0"
    assert "error: race in train_discriminator" in lines


def test_the_json_holds_everything_and_replaces_only_an_audit(
    exported, tmp_path, capsys
):
    graph = "--graph={}".format(exported("2.x").path("racing_updates"))
    target = tmp_path / "audit.json"
    for _ in range(2):
        done = audit_helpers.call(capsys, graph, "--json={}".format(target))
        assert (done.status, done.err) == (1, "")
    content = json.loads(target.read_text())
    assert content["train_ops"][0]["optimizers"][0]["constants"]["beta1"] == 0.5
    assert content["moving_averages"][0]["updates"] == {D: 0, G: 1}
    (finding,) = content["findings"]
    assert (finding["code"], finding["severity"]) == ("race", "error")
    assert finding["train_op"] == D and len(finding["operations"]) == 4
    assert finding["meaning"].endswith(".") and finding["cure"].endswith(".")
    other = tmp_path / "mine.json"
    other.write_text("{}")
    done = audit_helpers.call(capsys, graph, "--json={}".format(other))
    assert done.status == 2 and other.read_text() == "{}"
    assert done.err.count("\n") == 1 and "is no audit" in done.err


def test_the_help_names_the_exit_status():
    done = helpers.run_script("audit_graph", "--help", cwd=".")
    assert "exit status" in done.out.lower()
