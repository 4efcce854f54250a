"""A trace that is damaged, or made to do harm, ends in one line that names the file."""

import io
import json
import os
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
import tiny_gan

from tf2gan.common.errors import UserError
from tf2gan.migration.replay import replay

FIRST = "calls/00000001.npz"
# A trace of two matrices takes a few kilobytes; NumPy and zipfile a little more.
MOST_MEMORY = 2**24  # bytes
TEN_GIGABYTES = 10 * 2**30


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact") / "trace"
    gan = tiny_gan.TinyGraph()
    with gan.session:
        gan.record(folder)
        gan.train(1)
    return folder


@pytest.fixture
def folder(intact, tmp_path):
    shutil.copytree(str(intact), str(tmp_path / "trace"))
    return tmp_path / "trace"


def _replay(folder):
    return replay(str(folder), tiny_gan.TinyTwin(), **tiny_gan.MAPPING)


def test_the_intact_trace_is_used(folder):
    assert _replay(folder).first is None


DAMAGES = []


def damage(message):
    """Enters a function that damages a folder, and what the error must say."""

    def enter(function):
        DAMAGES.append(
            pytest.param(function, message, id=function.__name__.strip("_"))
        )
        return function

    return enter


def describe(folder, **changes):
    """Changes members of trace.json; None takes one away."""
    path = folder / "trace.json"
    description = json.loads(path.read_text())
    description.update(changes)
    kept = {k: v for k, v in description.items() if v is not None}
    path.write_text(json.dumps(kept))


def redeclare(folder, **changes):
    """Changes what trace.json says of the first variable."""
    variables = json.loads((folder / "trace.json").read_text())["variables"]
    variables[0].update(changes)
    describe(folder, variables=variables)


def rewrite(folder, name=FIRST, compression=zipfile.ZIP_STORED, **changes):
    """Changes arrays of a file, given as bytes or arrays; None takes one away."""
    path = str(folder / name)
    with zipfile.ZipFile(path) as file:
        members = {n: file.read(n) for n in file.namelist()}
    for key, value in changes.items():
        members[key.replace("__", "/") + ".npy"] = value
    with zipfile.ZipFile(path, "w", compression) as file:
        for key, value in members.items():
            if value is not None:
                file.writestr(key, npy(value))


def npy(value, allow_pickle=False):
    if isinstance(value, bytes):
        return value
    file = io.BytesIO()
    np.save(file, value, allow_pickle=allow_pickle)
    return file.getvalue()


def lying_npy(shape, descr="<f8"):
    """Returns an array of one element whose header says something else."""
    file = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": descr}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(8)


@damage("there is no trace")
def _no_folder(folder):
    shutil.rmtree(str(folder))


@damage("lacks .*trace.json")
def _no_description(folder):
    (folder / "trace.json").unlink()


@damage("lacks .*initial.npz")
def _no_initial_state(folder):
    (folder / "initial.npz").unlink()


@damage("lacks .*00000001.npz")
def _a_call_is_missing(folder):
    (folder / FIRST).unlink()


@damage("lacks .*00000003.npz")
def _a_far_call_is_there(folder):
    shutil.copy(str(folder / FIRST), str(folder / "calls" / "99999999.npz"))


@damage("holds no call")
def _no_calls(folder):
    for path in (folder / "calls").iterdir():
        path.unlink()


@damage("lacks the folder")
def _calls_are_elsewhere(folder):
    os.rename(str(folder / "calls"), str(folder.parent / "elsewhere"))
    os.symlink(str(folder.parent / "elsewhere"), str(folder / "calls"))


@damage("is no file")
def _a_call_is_a_link(folder):
    os.rename(str(folder / FIRST), str(folder.parent / "elsewhere"))
    os.symlink(str(folder.parent / "elsewhere"), str(folder / FIRST))


@damage("is no file")
def _a_call_is_a_pipe(folder):
    (folder / FIRST).unlink()
    os.mkfifo(str(folder / FIRST))


@damage("is no file")
def _the_description_is_endless(folder):
    (folder / "trace.json").unlink()
    os.symlink("/dev/zero", str(folder / "trace.json"))


@damage("cannot read")
def _the_description_is_cut_off(folder):
    text = (folder / "trace.json").read_text()
    (folder / "trace.json").write_text(text[: len(text) // 2])


@damage("cannot read")
def _the_description_is_binary(folder):
    (folder / "trace.json").write_bytes(bytes(range(256)))


@damage("cannot read")
def _the_description_is_deeply_nested(folder):
    (folder / "trace.json").write_text("[" * 100000)


@damage("expected at most")
def _the_description_is_huge(folder):
    with open(str(folder / "trace.json"), "r+b") as file:
        file.truncate(TEN_GIGABYTES)


@damage("no JSON object")
def _the_description_is_a_list(folder):
    (folder / "trace.json").write_text("[1]")


@damage("no trace of")
def _another_format(folder):
    describe(folder, format="a\nnother")


@damage("of version 2; .*reads version 1")
def _a_later_version(folder):
    describe(folder, version=2)


@damage("'version' is True")
def _a_version_of_another_type(folder):
    describe(folder, version=True)


@damage("'phases' is None")
def _no_phases(folder):
    describe(folder, phases=None)


@damage("trains 'nobody', which is no variable")
def _an_unknown_variable_is_trained(folder):
    describe(folder, phases=[{"name": "d", "trains": ["nobody"]}])


@damage("appears twice")
def _a_variable_twice(folder):
    redeclare(folder, name="updates")


@damage("'generator/w' has the shape")
def _a_variable_of_another_shape(folder):
    redeclare(folder, shape=[3, 2])


@damage("too large")
def _a_variable_of_ten_gigabytes(folder):
    redeclare(folder, shape=[2**30, 10])


@damage("a shape is")
def _a_negative_shape(folder):
    redeclare(folder, shape=[-1, 3])


@damage("a shape is")
def _a_shape_of_fractions(folder):
    redeclare(folder, shape=[2.0, 3])


@damage("of type 'object'")
def _a_variable_of_objects(folder):
    redeclare(folder, dtype="object")


@damage("of type float64; expected float32")
def _a_variable_of_another_type(folder):
    redeclare(folder, dtype="float32")


@damage("cut off")
def _a_call_is_cut_off(folder):
    content = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(content[: len(content) // 2])


@damage("cut off")
def _a_call_is_no_archive(folder):
    (folder / FIRST).write_bytes(b"\0" * 1000)


@damage("cut off")
def _a_call_is_empty(folder):
    (folder / FIRST).write_bytes(b"")


@damage("list of arrays is too long")
def _a_directory_of_gigabytes(folder):
    content = bytearray((folder / FIRST).read_bytes())
    content[-10:-6] = (2**31).to_bytes(4, "little")
    (folder / FIRST).write_bytes(bytes(content))


@damage("Bad CRC-32")
def _a_bit_is_flipped(folder):
    number = np.float64(0.2).tobytes()  # of the discriminator's first weights
    path = folder / "initial.npz"
    content = path.read_bytes()
    assert number in content
    path.write_bytes(content.replace(number, np.float64(0.3).tobytes()))


@damage("compressed")
def _a_compressed_array(folder):
    zeros = np.zeros([2**22])
    rewrite(folder, compression=zipfile.ZIP_DEFLATED, input__pixels=zeros)


@damage("claims 10737418240 bytes")
def _an_array_that_claims_ten_gigabytes(folder):
    rewrite(folder, input__pixels=lying_npy((TEN_GIGABYTES // 8,)))


@damage("not as many bytes")
def _an_array_that_claims_a_gigabyte(folder):
    rewrite(folder, input__pixels=lying_npy((2**27,)))


@damage("has the shape")
def _an_array_of_negative_length(folder):
    rewrite(folder, input__pixels=lying_npy((-1,)))


@damage("'loss' cannot be read")
def _a_header_of_nonsense(folder):
    rewrite(folder, loss=b"\x93NUMPY\x01\x00\x10\x00{'shape': 'loss'}")


@damage("unknown version")
def _a_header_of_a_later_version(folder):
    rewrite(folder, loss=b"\x93NUMPY\x09\x00" + bytes(100))


@damage("not numbers")
def _a_pickled_array(folder):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(folder / "evil"),)

    pickled = np.array([Evil()], dtype=object)
    rewrite(folder, loss=npy(pickled, allow_pickle=True))


@damage("not numbers")
def _a_structured_array(folder):
    rewrite(folder, loss=np.zeros([2], [("a", "f8")]))


@damage("not numbers")
def _an_array_of_text(folder):
    rewrite(folder, loss=np.array("0.5"))


@damage("it has an array '../../evil'")
def _a_name_that_leads_out_of_the_folder(folder):
    path = str(folder / FIRST)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("../../evil.npy", npy(np.zeros([1])))


@damage("strange or second")
def _an_array_twice(folder):
    with zipfile.ZipFile(str(folder / FIRST), "a") as file, pytest.warns(
        UserWarning
    ):
        file.writestr("loss.npy", npy(np.zeros([])))


@damage("does not declare")
def _an_undeclared_variable(folder):
    rewrite(folder, variable__nobody=np.zeros([1]))


@damage("does not declare")
def _a_gradient_of_another_phase(folder):
    rewrite(folder, gradient__generator__w=np.zeros([2, 3]))


@damage("lacks 'variable/updates'")
def _a_variable_is_missing_in_a_call(folder):
    rewrite(folder, variable__updates=None)


@damage("lacks 'variable/updates'")
def _a_variable_is_missing_at_the_start(folder):
    rewrite(folder, "initial.npz", variable__updates=None)


@damage("lacks 'loss'")
def _no_loss(folder):
    rewrite(folder, loss=None)


@damage("of phase 7")
def _an_unknown_phase(folder):
    rewrite(folder, phase=np.int64(7))


@damage("phase.*expected \\(\\)")
def _many_phases(folder):
    rewrite(folder, phase=np.zeros([2], np.int64))


@pytest.mark.parametrize("apply, message", DAMAGES)
def test_damage_ends_in_one_clear_line(apply, message, folder):
    apply(folder)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message) as error:
            _replay(folder)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    text = str(error.value)
    assert str(folder) in text or "variable" in text
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < 400


def test_no_damage_is_checked_twice_and_they_are_many():
    names = [parameter.id for parameter in DAMAGES]
    assert len(set(names)) == len(names) >= 20


def test_nothing_of_a_pickle_is_executed(folder):
    _a_pickled_array(folder)
    with pytest.raises(UserError):
        _replay(folder)
    assert not (folder / "evil").exists()
