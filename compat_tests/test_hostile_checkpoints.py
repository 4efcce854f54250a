"""Every damaged or hostile file is one clear line, in bounded memory and time."""

import json
import os
import resource
import struct
import time
from pathlib import Path

import foreign_models
import numpy as np
import pytest
import tensorflow as tf

from tf2gan.common.errors import UserError
from tf2gan.migration import (
    convert,
    map_file,
    meta_graph,
    table_file,
    verify,
)
from tf2gan.migration.tf1_checkpoint import Tf1Checkpoint, write

TEN_GIGABYTES = 10 * 2**30
MOST_MEMORY = 300 * 2**20  # more than before
MOST_SECONDS = 30
FOREIGN = Path(__file__).parent / "foreign"


@pytest.fixture(autouse=True)
def bounded():
    """Fails where a test takes much memory or time."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.monotonic()
    yield
    assert time.monotonic() - start < MOST_SECONDS
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert after - before < MOST_MEMORY


@pytest.fixture
def prefix(tmp_path):
    """A good checkpoint of format V2: raw_unnamed."""
    values = {"a/kernel": np.ones([4, 3], np.float32), "a/bias": np.ones(3)}
    write(str(tmp_path / "model"), values)
    return tmp_path / "model"


@pytest.fixture
def old(tmp_path):
    """A good checkpoint of format V1."""
    path = tmp_path / "model.ckpt"
    path.write_bytes((FOREIGN / "momentum" / "model.ckpt").read_bytes())
    return path


def index(prefix):
    return Path(str(prefix) + ".index")


def data(prefix):
    return Path(str(prefix) + ".data-00000-of-00001")


def read(path):
    checkpoint = Tf1Checkpoint(str(path))
    return {name: checkpoint.read(name) for name in checkpoint.variables}


def refused(path, *messages):
    with pytest.raises(UserError) as error:
        read(path)
    text = str(error.value)
    assert "\n" not in text and len(text) < 1000
    for message in messages:
        assert message in text


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(bytes(content))


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def test_good_ones_are_read(prefix, old):
    assert set(read(prefix)) == {"a/kernel", "a/bias"}
    assert len(read(old)) == 42


# Format V2.


def test_an_empty_index(prefix):
    cut(index(prefix), 0)
    refused(prefix, "model.index", "too short", "copy it again")


@pytest.mark.parametrize("size", [20, 60, 100])
def test_a_truncated_index(size, prefix):
    cut(index(prefix), size)
    refused(prefix, "cannot read the checkpoint", "copy it again")


def test_a_wrong_magic_number(prefix):
    flip(index(prefix), -1)
    refused(prefix, "does not end as a checkpoint does")


def same_or_refused(path, expected):
    """Tells whether a file is refused in one line; else it must say the same."""
    try:
        found = read(path)
    except UserError as error:
        assert "\n" not in str(error)
        return True
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    return False


def test_any_flipped_byte_of_the_index(prefix):
    content, expected = index(prefix).read_bytes(), read(prefix)
    refusals = 0
    for at in range(len(content)):
        flip(index(prefix), at)
        refusals += same_or_refused(prefix, expected)
        index(prefix).write_bytes(content)
    assert refusals > len(content) / 2  # the footer is mostly padding


def test_an_index_of_ten_gigabytes(prefix):
    os.truncate(index(prefix), TEN_GIGABYTES)
    refused(prefix, "too large for an index")


def test_a_missing_data_file(prefix):
    data(prefix).unlink()
    refused(prefix, "data-00000-of-00001' is missing")


def test_a_truncated_data_file(prefix):
    cut(data(prefix), 30)
    refused(prefix, "its data file ends at 30")


def test_a_flipped_byte_of_the_data(prefix):
    flip(data(prefix), 5)
    refused(prefix, "cannot read the checkpoint", "of 'a/", "hecksum")


def entry(shape=(4,), size=16, offset=0, shard=0, dtype=1):
    from tensorflow.core.protobuf import tensor_bundle_pb2

    made = tensor_bundle_pb2.BundleEntryProto()
    for length in shape:
        made.shape.dim.add().size = length
    made.size, made.offset, made.shard_id, made.dtype = (
        size,
        offset,
        shard,
        dtype,
    )
    return made.SerializeToString()


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def block(pairs):
    body = b"".join(
        b"\0" + varint(len(key)) + varint(len(value)) + key + value
        for key, value in pairs
    )
    return body + struct.pack("<II", 0, 1)


def table(pairs, handle=None):
    """Returns a table of one block; `handle` may lie about where it is."""
    content = block(pairs)
    parts = content + bytes(5)
    offset, size = handle or (0, len(content))
    listed = block([(b"\xff", varint(offset) + varint(size))])
    footer = varint(0) * 2 + varint(len(parts)) + varint(len(listed))
    magic = struct.pack("<Q", 0xDB4775248B80FB57)
    return parts + listed + bytes(5) + footer.ljust(40, b"\0") + magic


def header(shards=1):
    from tensorflow.core.protobuf import tensor_bundle_pb2

    return b"", tensor_bundle_pb2.BundleHeaderProto(
        num_shards=shards
    ).SerializeToString()


def forge(tmp_path, *entries, shards=1, **more):
    """Writes a checkpoint whose index says what it is told to."""
    content = table([header(shards), *entries], **more)
    index(tmp_path / "forged").write_bytes(content)
    data(tmp_path / "forged").write_bytes(bytes(16))
    return tmp_path / "forged"


def test_a_forged_index_can_be_right(tmp_path):
    path = forge(tmp_path, (b"a", entry()))
    found = table_file.read_bundle_index(str(path))
    assert found == {"a": table_file.Entry(1, (4,))}


@pytest.mark.parametrize(
    "entries, message",
    [
        ([(b"a", entry((2**31, 2**20)))], "takes 9007199254740992"),
        ([(b"a", entry((2**62, 2**62)))], "but its shape"),
        ([(b"a", entry((-1,)))], "the shape of 'a' is [-1]"),
        ([(b"a", entry((-4, -1)))], "the shape of 'a' is [-4, -1]"),
        ([(b"a", entry((2**31,), size=2**33))], "its data file ends at 16"),
        ([(b"a", entry(offset=8))], "bytes 8 to 24"),
        ([(b"a", entry(offset=-8))], "bytes -8 to 8"),
        ([(b"a", entry(shard=7))], "data file 7"),
        ([(b"a", entry(dtype=99))], "the type of 'a' is 99"),
        ([(b"a", entry()), (b"b", entry())], "share their bytes"),
        ([(b"a\x1b[2J", entry())], "the name"),
        ([(b"\xff\xfe", entry())], "the name"),
        ([(b"a", b"\xff\xff\xff")], "cannot be parsed"),
    ],
)
def test_an_entry_that_lies(entries, message, tmp_path):
    refused(forge(tmp_path, *entries), message)


def test_an_index_of_very_many_data_files(tmp_path):
    refused(forge(tmp_path, shards=2**30), "names 1073741824 data files")


@pytest.mark.parametrize("handle", [(0, 2**62), (2**62, 10), (10**6, 10)])
def test_a_block_that_is_elsewhere(handle, tmp_path):
    path = forge(tmp_path, (b"a", entry()), handle=handle)
    refused(path, "a block lies behind its end")


# Format V1.


def test_a_text_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("weights\n" * 100)
    refused(path, "is no checkpoint")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_of_format_v1(share, old):
    cut(old, int(share * old.stat().st_size))
    refused(old, "is no checkpoint")


def test_flipped_bytes_of_format_v1(old):
    content, expected = old.read_bytes(), read(old)
    refusals = 0
    for at in range(7, len(content), len(content) // 40):
        flip(old, at)
        refusals += same_or_refused(old, expected)
        old.write_bytes(content)
    assert refusals > 20


@pytest.mark.parametrize("handle", [(0, 2**62), (2**62, 10)])
def test_a_block_of_format_v1_that_is_elsewhere(handle, tmp_path):
    path = tmp_path / "forged"
    path.write_bytes(table([(b"", b"")], handle))
    refused(path, "a block lies behind its end")


def test_a_compressed_block_that_refers_to_nothing():
    with pytest.raises(ValueError, match="damaged"):
        table_file._unsnap(bytes([8, 0b1, 200]))
    with pytest.raises(ValueError, match="too large"):
        table_file._unsnap(varint(2**40))
    assert table_file._unsnap(bytes([8, 0, 65, 0b1101, 1])) == b"A" * 8


# The index `checkpoint` of a folder.


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x81\x82",
        b"model_checkpoint_path: 3",
        b"",
        b'model_checkpoint_path: "elsewhere"',
        b'model_checkpoint_path: "../../../../etc/passwd"',
    ],
)
def test_a_folder_whose_index_is_no_good(content, tmp_path):
    (tmp_path / "checkpoint").write_bytes(content)
    refused(tmp_path, "checkpoint")


# Maps.


def map_refused(tmp_path, content, *messages):
    path = tmp_path / "map.json"
    path.write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(UserError) as error:
        map_file.read_map(str(path))
    text = str(error.value)
    assert "\n" not in text and len(text) < 500
    for message in ("map.json", *messages):
        assert message in text


PAIR = {"tf1": "a", "keras": "b", "shape": [1], "dtype": "float32"}


def one(**fields):
    return json.dumps({"version": 1, "variables": [dict(PAIR, **fields)]})


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\x80\x04\x95", "decode"),
        (b"[1, 2", "delimiter"),
        ("[]", "no map"),
        ('{"version": 2}', "no map"),
        ('{"version": 1, "code": []}', "unknown part 'code'"),
        ('{"version": 1, "variables": {}}', "'variables' is {}"),
        ('{"version": 1, "version": 1}', "'version' twice"),
        ("[" * 100000, "recursion"),
        (one(shape=[-1]), "'shape' is [-1]"),
        (one(shape=[10**30]), "'shape' is"),
        (one(shape=[1] * 1000), "'shape' is"),
        (one(shape="1"), "'shape' is"),
        (one(tf1=7), "'tf1' is 7"),
        (one(transpose=[True]), "'transpose' is true"),
        (one(scale=2), "unknown field 'scale'"),
        (one(__class__="x"), "unknown field '__class__'"),
        ('{"version": 1, "variables": [{"tf1": "a"}]}', "has no 'keras'"),
        (
            '{"version": 1, "assumed": [{"keras": "a", "value": NaN}]}',
            "'value' is nan",
        ),
        (
            '{"version": 1, "optimizers": [{"model": "a", "family": "Adam", '
            '"slots": [], "steps": -1}]}',
            "'steps' is -1",
        ),
    ],
)
def test_a_map_that_is_none(content, message, tmp_path):
    map_refused(tmp_path, content, message)


def test_a_map_of_ten_gigabytes(tmp_path):
    path = tmp_path / "map.json"
    path.touch()
    os.truncate(path, TEN_GIGABYTES)
    with pytest.raises(UserError, match="too large for a map"):
        map_file.read_map(str(path))


# Graphs and inputs.


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no operations"),
        (b"\xff" * 50, "cannot read the graph"),
        (b"\n" + varint(2**34), "cannot read the graph"),
    ],
)
def test_a_graph_that_is_none(content, message, tmp_path):
    path = tmp_path / "model.meta"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        meta_graph.read_meta(str(path))


def test_a_graph_of_ten_gigabytes(tmp_path):
    path = tmp_path / "model.meta"
    path.touch()
    os.truncate(path, TEN_GIGABYTES)
    with pytest.raises(UserError, match="too large"):
        meta_graph.read_meta(str(path))


def test_a_graph_that_bites_its_tail():
    """Two operations that each wait for the other, and for a variable."""
    meta = tf.compat.v1.MetaGraphDef()
    for name, other in (("net/a", "net/b"), ("net/b", "net/a")):
        node = meta.graph_def.node.add(name=name, op="AddV2")
        node.input.extend([other, "net/w"])
        node.attr["T"].type = 1
    meta.graph_def.node.add(name="net/w", op="VariableV2")
    graph = meta_graph.MetaGraph(meta)
    with pytest.raises(UserError, match="--verify: "):
        graph.find_output("generator", {"net/w"}, set(), (None, 6))


def test_a_graph_is_searched_behind_every_fork():
    """c needs w by way of b alone, which a needs too."""
    meta = tf.compat.v1.MetaGraphDef()
    edges = {"a": ["b", "c"], "c": ["b"], "b": ["w"], "w": []}
    for name, inputs in edges.items():
        op = "AddN" if inputs else "VariableV2"
        meta.graph_def.node.add(name=name, op=op).input.extend(inputs)
    graph = meta_graph.MetaGraph(meta)
    graph._find_needs()
    assert graph._needs == {name: {"w"} for name in edges}


class Trap:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("unpickled", "w")


def npy(shape):
    content = b"\x93NUMPY\x01\x00"
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    text = text.ljust(117) + "\n"
    return content + struct.pack("<H", len(text)) + text.encode()


def fed(path):
    return verify._given("z", str(path), {})


def test_an_input_with_pickled_objects(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("trap.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(UserError, match="--inputs=z=trap.npy"):
        fed("trap.npy")
    assert not os.path.exists("unpickled")


@pytest.mark.parametrize("shape", [(2**31 + 2**29,), (2**62, 4), (-1,)])
def test_an_input_whose_header_lies(shape, tmp_path):
    path = tmp_path / "input.npy"
    path.write_bytes(npy(shape) + bytes(16))
    with pytest.raises(UserError, match="input.npy"):
        fed(path)


def test_a_data_file_of_ten_gigabytes_is_not_read(tmp_path):
    """Its shapes fit its size, but no model: the map is refused before."""
    pairs = (b"generator/w", entry((TEN_GIGABYTES // 4,), TEN_GIGABYTES))
    path = forge(tmp_path, pairs)
    os.truncate(data(path), TEN_GIGABYTES)
    found = table_file.read_bundle_index(str(path))
    assert found["generator/w"].shape == (TEN_GIGABYTES // 4,)


def test_a_variable_of_ten_gigabytes_is_not_read(prefix, monkeypatch):
    checkpoint = Tf1Checkpoint(str(prefix))
    monkeypatch.setattr(checkpoint, "read", lambda name: pytest.fail(name))
    models = {"generator": foreign_models.raw_unnamed()}
    with pytest.raises(UserError, match="have no partner"):
        convert.Conversion(checkpoint, models, convert.Options()).load()
