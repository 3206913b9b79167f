import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.errors import FileFormatError, UsageError
from minires.io import files, model_directory, npz, safetensors, weights
from minires.tensor import Tensor
from tests.io.test_safetensors import LAYOUTS, assert_same

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_save_and_load(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    weight = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype("f4")
    state = {
        "conv1.weight": Tensor(weight, requires_grad=True),
        "file": np.arange(3),
        "bn.count": Tensor(np.array(5)),
    }
    weights.save(state, path)
    found = weights.load(str(path))
    assert list(found) != [] and found.keys() == state.keys()
    assert all(isinstance(tensor, Tensor) and not tensor.requires_grad for tensor in found.values())
    assert_same(found["conv1.weight"].array, state["conv1.weight"].array)
    assert found["bn.count"].item() == 5 and found["file"].tolist() == [0, 1, 2]


class Module:
    def state_dict(self):
        return {"weight": Tensor(np.ones(2))}


def test_a_module_may_be_given(tmp_path):
    weights.save(Module(), tmp_path / "a.npz")
    assert weights.load(tmp_path / "a.npz")["weight"].tolist() == [1, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_npz_keeps_every_memory_order(tmp_path, layout):
    files.write_atomic(tmp_path / "a.npz", npz.to_bytes({"x": LAYOUTS[layout]}))
    assert_same(npz.load_file(tmp_path / "a.npz")["x"], LAYOUTS[layout])
    with np.load(tmp_path / "a.npz", allow_pickle=False) as reference:
        np.testing.assert_array_equal(reference["x"], LAYOUTS[layout])


def test_npz_as_numpy_writes_it(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", x=np.asfortranarray(np.arange(6.0).reshape(2, 3)), y=np.zeros((500, 500)))
        found = npz.load_file(tmp_path / "a.npz")
        assert found["x"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["y"].shape == (500, 500)
        found["x"][0, 0] = 7  # writable


def test_wrong_use(tmp_path):
    for name in ("a", "a.pkl", "pth"):
        for call in (lambda path: weights.save({}, path), weights.load):
            with pytest.raises(UsageError, match=r"is not one of \.safetensors, \.npz, \.pth"):
                call(tmp_path / name)
    with pytest.raises(UsageError, match=r"cannot save .*a\.pth\.tar"):
        weights.save({}, tmp_path / "a.pth.tar")
    with pytest.raises(UsageError, match=r"ema: .* one set of tensors"):
        weights.load(tmp_path / "a.npz", ema=True)
    for wrong in ({"a": [1.0]}, {1: np.zeros(2)}, [np.zeros(2)], {"a": {"b": np.zeros(2)}}):
        with pytest.raises(TypeError):
            weights.save(wrong, tmp_path / "a.npz")
    with pytest.raises(TypeError, match="'objects'"):
        weights.save({"objects": np.array([None])}, tmp_path / "a.npz")
    assert files.list_folder(tmp_path) == []
    with pytest.raises(files.FileAccessError, match=r"none\.npz"):
        weights.load(tmp_path / "none.npz")


def archive(members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return buffer.getvalue()


def npy(shape, values=b"", descr="<f4") -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


def overlapping() -> bytes:
    """An archive whose second member lies inside the first one's values, with a local header of its own there."""
    inner = archive({"b.npy": npy((1,), b"5678")})
    inner = inner[: inner.index(b"PK\x01\x02")]
    data = bytearray(archive({"a.npy": npy((len(inner),), inner, "|u1"), "b.npy": npy((1,), b"5678")}))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", data.index(inner))
    with zipfile.ZipFile(io.BytesIO(data)) as target:
        assert len(target.namelist()) == 2
    return bytes(data)


def forged_size(field: int, value: int) -> bytes:
    data = bytearray(archive({"a.npy": npy((1,), b"1234")}))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + field : entry + field + 4] = struct.pack("<I", value)
    return bytes(data)


@pytest.fixture(scope="module")
def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    return archive({"a.npy": buffer.getvalue()})


LIES = {
    "not a zip file": b"PK nothing",
    "empty": b"",
    "shape larger than the member": archive({"a.npy": npy((10**12,), b"1234")}),
    "shape smaller than the member": archive({"a.npy": npy((1,), b"12345678")}),
    "negative shape": archive({"a.npy": npy((-1, -1), b"1234")}),
    "code in the header": archive({"a.npy": npy("__import__('os').getcwd()", b"1234")}),
    "no npy header": archive({"a.npy": b"hello, this is text"}),
    "another file": archive({"a.txt": b"hello"}),
    "objects": archive({"a.npy": npy((1,), b"12345678", "|O")}),
    "no bytes an item": archive({"a.npy": npy((3,), b"", "<U0")}),
    "a bomb": archive({"a.npy": npy((3 << 27,), b"\0" * (3 << 28), "<u2")}, zipfile.ZIP_DEFLATED),
    "overlapping members": overlapping(),
    "forged compressed size": forged_size(20, 2**31),
    "forged size": forged_size(24, 2**31),
    "forged checksum": forged_size(16, 1),
    "encrypted": forged_size(8, 1),
}


@pytest.mark.parametrize("name", LIES)
def test_npz_lies_are_refused(tmp_path, name):
    files.write_atomic(tmp_path / "a.npz", LIES[name])
    with pytest.raises(FileFormatError, match=r"a\.npz"):
        weights.load(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["shape larger than the member", "shape smaller than the member"])
def test_npz_says_how_a_header_lies(tmp_path, name):
    files.write_atomic(tmp_path / "a.npz", LIES[name])
    with pytest.raises(FileFormatError, match=r"at byte 0: 'a\.npy' claims \d+ bytes of values, but \d+ are there"):
        npz.load_file(tmp_path / "a.npz")


def test_nothing_is_unpickled(tmp_path, pickled):
    files.write_atomic(tmp_path / "a.npz", pickled)
    with pytest.raises(FileFormatError, match="Python objects"):
        weights.load(tmp_path / "a.npz")


def test_two_members_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a.npz", "w") as target:
        for _ in range(2):
            target.writestr("a.npy", npy((1,), b"1234"))
    with pytest.raises(FileFormatError, match="two members"):
        weights.load(tmp_path / "a.npz")


GOOD = npz.to_bytes({"a": np.arange(5.0), "b": np.ones((2, 2), "f4")})


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(GOOD)))
def test_damage_raises_one_kind_of_error(tmp_path_factory, changes, length):
    damaged = bytearray(GOOD)
    for place, value in changes:
        damaged[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    files.write_atomic(path, bytes(damaged) if changes else GOOD[:length])
    try:
        npz.load_file(path)
    except FileFormatError as error:
        assert str(path) in str(error)


# --------------------------------------------------------------------------------------------------- model directory


PARTS = {"config": {"name": "resnet20", "num_classes": 2, "width": 1.5}, "preprocessing": {"mean": [0.5], "size": 32},
         "classes": ["cat", "Grüße an alle"], "metrics": {"accuracy": 0.9}}  # fmt: skip
TENSORS = {"conv1.weight": LAYOUTS["NHWC view"], "fc.bias": np.ones(2, "f4")}


def save_parts(path, **changes) -> None:
    parts = {**PARTS, **changes}
    model_directory.save_parts(path, TENSORS, *(parts[name] for name in PARTS))


def test_model_directory_comes_back(tmp_path):
    save_parts(tmp_path / "model")
    assert files.list_folder(tmp_path / "model") == sorted(
        ["model.safetensors", "config.json", "preprocessing.json", "classes.txt", "metrics.json", "README.md"]
    )
    found = model_directory.load_parts(tmp_path / "model", pytest.fail)
    for name, array in TENSORS.items():
        assert_same(found["tensors"].pop(name), array)
    assert found == {"tensors": {}, **PARTS}
    assert (tmp_path / "model" / "classes.txt").read_text("utf-8") == "cat\nGrüße an alle\n"
    read_me = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert "# resnet20" in read_me and "accuracy: 0.9" in read_me and "cat" in read_me
    assert model_directory.is_model_directory(tmp_path / "model") and not model_directory.is_model_directory(tmp_path)


def test_a_file_that_differs_from_the_weights_is_reported(tmp_path):
    save_parts(tmp_path)
    (tmp_path / "classes.txt").write_text("dog\nhorse\n")
    with pytest.warns(UserWarning, match=r"classes\.txt is not what was saved"):
        assert model_directory.load_parts(tmp_path)["classes"] == PARTS["classes"]


def test_every_interruption_of_a_save_leaves_one_model(tmp_path):
    from tests.io.faults import ERRORS, Faulty

    for at in range(1, 200):
        save_parts(tmp_path)
        with files.use(Faulty(ERRORS["EIO"], at, sticky=True)) as system:
            try:
                save_parts(tmp_path, config={"name": "resnet32"}, classes=["a", "b", "c"])
            except files.FileAccessError:
                assert system.fired
        reported: list[str] = []
        found = model_directory.load_parts(tmp_path, reported.append)
        assert (found["config"]["name"], len(found["classes"])) in (("resnet20", 2), ("resnet32", 3))
        if not system.fired:
            break
    assert at > 40 and found["config"]["name"] == "resnet32" and reported == []


def test_folders_made_elsewhere_are_read_from_their_files(tmp_path):
    save_parts(tmp_path)
    safetensors.save_file({"w": np.zeros(1)}, tmp_path / "model.safetensors")
    found = model_directory.load_parts(tmp_path, pytest.fail)
    assert {name: found[name] for name in PARTS} == PARTS
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(FileFormatError, match=r"config\.json: expected a JSON object"):
        model_directory.load_parts(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(files.FileAccessError, match=r"config\.json"):
        model_directory.load_parts(tmp_path)


@pytest.mark.parametrize("name", ["", "two\nlines", "tail\n", "a\u2028b"])
def test_class_names_that_do_not_fit_a_line_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"classes\.txt"):
        save_parts(tmp_path / "model", classes=["a", name])
    assert files.list_folder(tmp_path) == []
