"""Graphs that are damaged, foreign or huge end the audit in one clear line."""

import json
import sys

import audit_graphs
import audit_helpers
import pytest
import tensorflow.compat.v1 as tf

from tf2gan.migration import graphs, messages
from tf2gan.migration.audit import auditor, flatten

D = "train_discriminator"


@pytest.fixture(scope="module")
def meta(tmp_path_factory):
    """The path of a .meta file without a fault."""
    path = tmp_path_factory.mktemp("graph") / "scoped_updates.meta"
    graph, _ = audit_graphs.build("scoped_updates")
    with graph.as_default():
        tf.train.export_meta_graph(str(path))
    return path


def _node(name, op, *inputs):
    return tf.NodeDef(name=name, op=op, input=inputs)


def _bytes(*nodes, library=()):
    definition = tf.GraphDef(node=nodes)
    definition.library.function.extend(library)
    return definition.SerializeToString()


def _calling(name, *callees):
    """Returns a function whose body calls others."""
    function = tf.GraphDef().library.function.add()
    function.signature.name = name
    for number, callee in enumerate(callees):
        function.node_def.add(name="call{}".format(number), op=callee)
    return function


def _doubling(depth):
    """Returns functions, each of which calls the next one twice."""
    names = ["f{}".format(i) for i in range(depth)]
    return [
        _calling(name, *[after] * 2) for name, after in zip(names, names[1:])
    ] + [_calling(names[-1], "NoOp")]


BAD_FILES = {
    "empty.meta": (b"", "is empty"),
    "garbage.meta": (bytes(range(256)) * 64, "holds no graph"),
    "words.pb": (b"This is no graph at all.\n" * 100, "holds no graph"),
    "picture.pb": (b"\x89PNG\r\n\x1a\n" + bytes(500), "holds no graph"),
    "words.pbtxt": (b"This is no graph at all.\n" * 100, "holds no graph"),
    "binary.pbtxt": (b"\xff\xfe\x00node" * 100, "holds no graph"),
    "nested.pbtxt": (b"node { attr { " * 5000, "holds no graph"),
    "zeros.pb": (bytes(4096), "holds no graph"),
    "no_nodes.pb": (
        tf.GraphDef().SerializeToString() or b"\x12\x00",
        "no graph",
    ),
    "nameless.pb": (_bytes(_node("", "NoOp")), "holds no graph"),
    "no_type.pb": (_bytes(_node("a", "")), "holds no graph"),
    "strange_type.pb": (_bytes(_node("a", "../etc/passwd")), "holds no graph"),
    "twice.pb": (
        _bytes(_node("a", "NoOp"), _node("a", "NoOp")),
        "two operations",
    ),
    "missing.pb": (_bytes(_node("a", "Identity", "b")), "takes 'b'"),
    "missing_control.pb": (_bytes(_node("a", "NoOp", "^b")), "takes 'b'"),
    "itself.pb": (
        _bytes(_node("a", "f"), library=[_calling("f", "f")]),
        "call each other",
    ),
    "each_other.pb": (
        _bytes(
            _node("a", "f"), library=[_calling("f", "g"), _calling("g", "f")]
        ),
        "call each other",
    ),
    "doubling.pb": (
        _bytes(_node("a", "f0"), library=_doubling(40)),
        "more than",
    ),
}


def _refused(capsys, source):
    """Runs the script on what cannot be read; returns its one line."""
    done = audit_helpers.call(capsys, "--graph={}".format(source))
    assert done.status == 2 and done.out == ""
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    return done.err


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_damaged_file_is_one_clear_line(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(flatten, "MOST_NODES", 10000)
    content, expected = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert expected in _refused(capsys, path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_clear_line(part, meta, tmp_path, capsys):
    content = meta.read_bytes()
    path = tmp_path / "model.meta"
    path.write_bytes(content[: int(len(content) * part)])
    assert "'{}' is damaged".format(path) in _refused(capsys, path)


def test_a_file_with_a_huge_size_is_not_read(tmp_path, capsys):
    for name, size in (("huge.meta", 2**40), ("huge.pbtxt", 2**30)):
        with open(str(tmp_path / name), "wb") as file:
            file.truncate(size)
        assert "MB; a graph may have" in _refused(capsys, tmp_path / name)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is bounded on Linux"
)
def test_a_file_that_swells_when_it_is_read_is_refused(
    tmp_path, capsys, monkeypatch
):
    """Two bytes for each operation, which takes a hundred in memory."""
    monkeypatch.setattr(messages, "MOST_MEMORY_MEGABYTES", 128)
    path = tmp_path / "swelling.pb"
    path.write_bytes(b"\x0a\x00" * 2**22)
    assert "is damaged or holds no graph" in _refused(capsys, path)


def test_a_checkpoint_is_not_taken_for_a_graph(meta, tmp_path, capsys):
    for name in ("model.index", "model.data-00000-of-00001"):
        (tmp_path / name).write_bytes(
            b"\x00\x00\x12\x08\x01\x1a\x02\x08\x01" * 9
        )
        assert "holds no graph" in _refused(capsys, tmp_path / name)
    (tmp_path / "model.meta").write_bytes(meta.read_bytes())
    assert "did you mean" in _refused(capsys, tmp_path / "model")


def test_a_constant_whose_shape_lies_takes_no_memory(meta):
    graph = graphs.read(str(meta))
    for node in graph.definition.node:
        if node.op == "Const" and "learning_rate" in node.name:
            shape = node.attr["value"].tensor.tensor_shape
            shape.dim.add(size=2**40)
    audit = auditor.audit(graph)
    rates = [dict(t.optimizers[0].constants)["lr"] for t in audit.train_ops]
    assert all(str(rate).startswith("computed by") for rate in rates)


def test_a_circle_of_operations_ends():
    nodes = [
        _node("a", "Identity", "b"),
        _node("b", "Identity", "a"),
        _node("c", "Cast", "c"),
        _node("w", "VariableV2"),
        _node("step", "ApplyGradientDescent", "w", "c", "a"),
    ]
    audit = auditor.audit(graphs.Graph("circle", tf.GraphDef(node=nodes)))
    assert [t.name for t in audit.train_ops] == ["step"]


def test_attributes_of_the_wrong_kind_are_no_types():
    node = _node("product", "MatMul")
    node.attr["T"].shape.dim.add(size=3)
    listed = _node("listed", "MatMul")
    listed.attr["T"].list.shape.add()
    definition = tf.GraphDef(node=[node, listed])
    (finding,) = auditor.audit(graphs.Graph("strange", definition)).findings
    assert finding.code == "no-tf2-kernel"
    assert finding.operations == ("product", "listed")


FUNCTIONS = {
    "absent": "--graph='{}': no function 'absent'",
    "number": "no function 'number'",
    "fails": "failed with ValueError: no such thing",
    "leaves": "failed with SystemExit",
    "builds_nothing": "built no operation",
    "takes_arguments": "failed with TypeError",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_builds_no_graph_is_one_clear_line(
    name, tmp_path, capsys
):
    (tmp_path / "mine.py").write_text(
        "number = 3\n"
        "def fails(): raise ValueError('no such thing')\n"
        "def leaves(): raise SystemExit(0)\n"
        "def builds_nothing(): pass\n"
        "def takes_arguments(x): pass\n"
    )
    source = "{}:{}".format(tmp_path / "mine.py", name)
    assert FUNCTIONS[name].format(source) in _refused(capsys, source)


@pytest.mark.parametrize(
    "source, expected",
    [
        ("no/such.py:build", "no file 'no/such.py'"),
        ("no_such_module:build", "ModuleNotFoundError"),
        ("no_such_file", "there is no file"),
        (".", "a folder without a SavedModel or the .meta file of a check"),
    ],
)
def test_a_source_that_is_not_there_is_one_clear_line(source, expected, capsys):
    assert expected in _refused(capsys, source)


# Folders with checkpoints: which graph is taken.


def _folder(tmp_path, meta, *names, index=None):
    """Makes a folder with graphs of these names, and its file `checkpoint`."""
    folder = tmp_path / "a [folder]"
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(meta.read_bytes())
    if index is not None:
        (path.parent / "checkpoint").write_text(
            'model_checkpoint_path: "{}"\n'.format(index[0])
            + "".join(
                'all_model_checkpoint_paths: "{}"\n'.format(name)
                for name in index
            )
        )
    return folder


@pytest.mark.parametrize(
    "names, index, taken",
    [
        (["m-1.meta"], None, "m-1.meta"),
        (["m-1.meta"], ["other"], "m-1.meta"),
        (["m-1.meta", "m-10.meta", "m-9.meta"], ["m-9", "m-1"], "m-9.meta"),
        (["m-1.meta", "m-10.meta"], ["m-20", "m-1", "m-10"], "m-10.meta"),
        (["m-1.meta", "m-2.meta"], ["/moved/from/m-1"], "m-1.meta"),
        (["m-1.meta", "m-2.meta"], ["m-1-?????-of-00002"], "m-1.meta"),
        (
            ["checkpoints/m-1.meta", "checkpoints/m-2.meta"],
            ["m-2"],
            "checkpoints/m-2.meta",
        ),
    ],
)
def test_of_a_folder_the_latest_graph_is_audited_and_named(
    names, index, taken, meta, tmp_path, capsys
):
    folder = _folder(tmp_path, meta, *names, index=index)
    target = tmp_path / "audit.json"
    done = audit_helpers.call(
        capsys, "--graph={}".format(folder), "--json={}".format(target)
    )
    assert (done.status, done.err) == (0, "")
    path = str(folder / taken)
    assert done.out.startswith(path + ": ")
    assert json.loads(target.read_text())["graph"] == path
    assert "train op " + D in done.out


@pytest.mark.parametrize("index", [None, ["m-3", "m-4"]])
def test_a_folder_of_several_graphs_and_no_telling_which_is_refused(
    index, meta, tmp_path, capsys
):
    names = ["m-{}.meta".format(number) for number in range(12)]
    names = [name for name in names if name[:-5] not in (index or [])]
    folder = _folder(tmp_path, meta, *names, index=index)
    said = _refused(capsys, folder)
    assert "several graphs" in said and str(folder / "m-10.meta") in said
    assert ("and 2 more" in said) == (index is None)


def test_a_folder_whose_index_is_damaged_is_refused(meta, tmp_path, capsys):
    folder = _folder(tmp_path, meta, "m-1.meta", "m-2.meta")
    (folder / "checkpoint").write_bytes(b"all_model_checkpoint_paths: 'm-1'")
    assert "cannot read the checkpoint" in _refused(capsys, folder)


def test_a_missing_or_wrong_flag_is_one_clear_line(meta, capsys):
    for arguments, expected in (
        ([], "--graph is missing"),
        (["--graph={}".format(meta), "--train_op=train_discriminatr"], D),
        (["--graph={}".format(meta), "--fail_on=all"], "--fail_on"),
        (["--graph={}".format(meta), "--json=no/such/folder"], "--json"),
    ):
        done = audit_helpers.call(capsys, *arguments)
        assert done.status == 2 and done.err.count("\n") == 1
        assert expected in done.err
