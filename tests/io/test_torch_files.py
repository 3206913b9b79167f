"""Torch files: what torch writes is read bit for bit, what is written here torch reads bit for bit."""

import argparse
import collections
import io
import pathlib
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from minires.errors import FileFormatError
from minires.io import files, torch_file, torch_write, weights
from minires.io.pickle_names import Placeholder
from minires.io.torch_values import TorchTensor
from minires.tensor import Tensor
from tests.io.test_safetensors import DTYPES, LAYOUTS, assert_same

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.timeout(60)

FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}
TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16",
         "uint32", "uint64")  # fmt: skip


@pytest.fixture(params=FORMATS)
def write(request, tmp_path):
    """Writes an object by torch.save in one of the formats; returns the path."""

    def save(obj, **options):
        path = tmp_path / "file.pth"
        torch.save(obj, path, **FORMATS[request.param], **options)
        return path

    return save


def plain(tensor):
    """A torch tensor as the array that minires should make of it."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def assert_equal(found: dict[str, Tensor], expected: dict) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert isinstance(found[name], Tensor)
        assert_same(found[name].array, plain(tensor))


def tensors():
    x = torch.arange(24.0).reshape(4, 6)
    with_attribute = torch.ones(2)
    with_attribute.note = "kept by torch, not here"
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)) * 50
    return {
        "whole": x, "transposed": x.t(), "window": x[1:3, 2:4], "steps": x[::2, 1::3], "row": x[2],
        "expanded": torch.ones(1).expand(5, 3), "empty": torch.zeros(0, 3), "number": torch.tensor(2.5),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(x), "attribute": with_attribute, "näme": torch.ones(1),
        "buffer": torch.nn.Buffer(torch.ones(2)),
        **{name: values.abs().to(getattr(torch, name)) for name in TYPES},
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_kind_of_tensor_is_read(write, protocol):
    state = tensors()
    assert_equal(weights.load(write(state, pickle_protocol=protocol)), state)


def test_tensors_of_one_storage_share_memory(write):
    x = torch.arange(12.0)
    found = weights.load(write({"x": x, "half": x[6:], "other": x.clone()}))
    found["x"].array[7] = -1
    assert found["half"].array[1] == -1 and found["other"].array[7] == 7


def test_bfloat16_and_special_values(write):
    values = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), float("nan"), 2.0**-130, 3e38])
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        found = weights.load(write({"x": values.to(kind)}))["x"].array
        assert found.dtype == (np.float32 if kind == torch.bfloat16 else plain(values.to(kind)).dtype)
        assert found.tobytes() == plain(values.to(kind)).tobytes()


@pytest.mark.parametrize("kind", [torch.complex64, torch.complex128, torch.float8_e4m3fn])
def test_types_that_are_not_read_are_named_when_asked_for(write, kind):
    state = {"good": torch.ones(2), "bad": torch.ones(3).to(kind)}
    path = write({"state_dict": {"good": state["good"]}, "other": state})
    assert list(weights.load(path)) == ["good"]
    with pytest.raises(FileFormatError, match=rf"file\.pth: the tensor 'bad': .*{str(kind).removeprefix('torch.')}"):
        weights.load(write(state))


def test_sparse_tensors_are_left_out_with_a_warning(write):
    path = write({"a": torch.ones(2), "b": torch.eye(3).to_sparse()})
    with (pytest.warns(UserWarning, match=r"file\.pth: left out, since they are no tensors: b"),
          pytest.warns(UserWarning, match="not made")):  # fmt: skip
        assert list(weights.load(path)) == ["a"]
    assert "torch._utils._rebuild_sparse_tensor" in torch_file.load_object(path).ignored


def test_big_endian_storages(tmp_path):
    """As a file that torch wrote on a big-endian machine: the same bytes turned round, and the entry that says so."""
    state = {"f": torch.tensor([1.5, -2.0]), "i": torch.arange(5), "b": torch.tensor([True, False])}
    source = io.BytesIO()
    torch.save(state, source)
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(tmp_path / "big.pth", "w") as target:
        for entry in given.infolist():
            content = given.read(entry)
            if entry.filename.endswith("byteorder"):
                content = b"big"
            if "/data/" in entry.filename:
                size = list(state.values())[int(entry.filename[-1])].element_size()
                content = b"".join(content[at : at + size][::-1] for at in range(0, len(content), size))
            target.writestr(entry.filename, content)
    assert_equal(weights.load(tmp_path / "big.pth"), state)


def test_repacked_archives_are_read(tmp_path):
    """Compressed by another program."""
    source = io.BytesIO()
    torch.save({"x": torch.zeros(100, 100), "y": torch.arange(3)}, source)
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for entry in given.infolist():
            target.writestr(entry.filename, given.read(entry))
    assert weights.load(tmp_path / "a.pth")["y"].tolist() == [0, 1, 2]


# --------------------------------------------------------------------------------- files as training scripts leave them


class Augmentation:
    """Some class of the author's."""

    def __init__(self):
        self.strength = 0.5
        Augmentation.made += 1

    made = 0


def trained():
    """A model after one step, with its optimizer and schedule."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5])
    return model, optimizer, schedule


def common(optimizer, schedule):
    return {
        "optimizer": optimizer.state_dict(), "lr_scheduler": schedule.state_dict(), "epoch": 7, "best": None,
        "args": argparse.Namespace(lr=0.1, device="cuda", milestones=[1, 2], path=pathlib.PurePosixPath("/data/x")),
        "acc1": np.float64(71.25), "count": np.int64(3), "history": np.arange(6.0).reshape(2, 3).T,
        "augmentation": Augmentation(), "device": torch.device("cuda", 1), "dtype": torch.float16,
        "size": torch.Size([2, 3]), "numbers": {1, 2}, "raw": b"\xff\x00abc",
        "dates": np.array(["2020-01-01"], "M8[D]"),
        "counts": collections.Counter("abca"), "defaults": collections.defaultdict(list, {"a": [1]}),
        "rng": torch.get_rng_state(), "nested": [({"deep": (1, 2.5, "text")},)],
    }  # fmt: skip


def test_what_a_reference_script_writes(write):
    model, optimizer, schedule = trained()
    path = write({"model": model.state_dict(), **common(optimizer, schedule)})
    made = Augmentation.made
    file = torch_file.load_object(path)
    assert Augmentation.made == made and file.format in FORMATS
    assert set(file.ignored) == {
        "argparse.Namespace", "pathlib.PurePosixPath", "collections.Counter", "collections.defaultdict",
        "builtins.list", f"{Augmentation.__module__}.Augmentation",
    }  # fmt: skip
    obj = file.obj
    assert obj["args"].name == "argparse.Namespace" and obj["args"].state["milestones"] == [1, 2]
    assert isinstance(obj["augmentation"], Placeholder) and obj["augmentation"].state == {"strength": 0.5}
    assert obj["acc1"] == 71.25 and isinstance(obj["acc1"], np.float64) and obj["count"] == 3
    assert obj["history"].numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert obj["device"] == "cuda:1" and obj["dtype"].name == "float16" and obj["size"] == (2, 3)
    assert (
        obj["numbers"] == {1, 2} and obj["raw"] == b"\xff\x00abc" and obj["nested"] == [({"deep": (1, 2.5, "text")},)]
    )
    assert obj["defaults"].items == [("a", [1])] and obj["defaults"].name == "collections.defaultdict"
    with pytest.raises(TypeError, match="M8"):
        obj["dates"].numpy()
    first = obj["optimizer"]["state"][0]["exp_avg"]
    assert isinstance(first, TorchTensor)
    assert_same(first.numpy(), optimizer.state_dict()["state"][0]["exp_avg"].numpy())
    with pytest.warns(UserWarning, match=r"not made, since nothing in a file is executed: .*argparse\.Namespace"):
        assert_equal(weights.load(path), model.state_dict())


def wrapped(model, optimizer, schedule):
    """Name of the wrapping -> the object that is saved, and arguments of load."""
    state = model.state_dict()
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    return {
        "the state dict": (state, {}),
        "timm": ({"epoch": 3, "arch": "resnet", "state_dict": state, "optimizer": optimizer.state_dict(),
                  "args": argparse.Namespace(), "state_dict_ema": other, "metric": 7.5}, {}),
        "timm, averaged": ({"state_dict": other, "state_dict_ema": state}, {"ema": True}),
        "torchvision": ({"model": state, "model_ema": other, **common(optimizer, schedule)}, {}),
        "torchvision, averaged": ({"model": other, "model_ema": {"n_averaged": torch.tensor(3), **parallel}},
                                  {"ema": True}),
        "tutorial": ({"model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(), "loss": 0.1}, {}),
        "parallel": ({"state_dict": parallel, "arch": "resnet50"}, {}),
        "compiled": ({f"_orig_mod.{name}": tensor for name, tensor in state.items()}, {}),
        "compiled and parallel": ({f"module._orig_mod.{name}": tensor for name, tensor in state.items()}, {}),
        "compiled inside": ({name.replace("1.", "1._orig_mod.", 1): tensor for name, tensor in state.items()}, {}),
        "Lightning": ({"pytorch-lightning_version": "2.5", "epoch": 1, "global_step": 5, "loops": {}, "callbacks": {},
                       "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
                       "hyper_parameters": {"lr": 0.1, "augmentation": Augmentation()}}, {}),
        "nested": ({"state": 3, "model": {"state_dict": state}}, {}),
        "a whole module": (model, {}),
        "a whole module inside": ({"epoch": 1, "model": model, "ema": None}, {}),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*not made, since nothing in a file is executed")
@pytest.mark.parametrize("wrapping", wrapped(*trained()))
def test_the_weights_are_found(write, wrapping):
    torch.manual_seed(0)
    model, optimizer, schedule = trained()
    obj, options = wrapped(model, optimizer, schedule)[wrapping]
    assert_equal(weights.load(write(obj), **options), model.state_dict())


def test_where_there_are_no_weights(write):
    for obj, said in (
        ({"epoch": 3, "optimizer": {}}, "a dictionary with the keys epoch, optimizer"),
        ([torch.ones(2)], "a list"),
        (argparse.Namespace(a=1), r"an object of the class argparse\.Namespace"),
        ({}, r"a dictionary with the keys \(none\)"),
        ({1: torch.ones(2)}, "a dictionary with the keys 1"),
    ):
        with pytest.raises(FileFormatError, match=rf"file\.pth: no weights in it: it holds {said}"):
            weights.load(write(obj))
    with pytest.raises(FileFormatError, match="no averaged weights"):
        weights.load(write({"state_dict": {"a": torch.ones(1)}}), ema=True)
    with pytest.raises(FileFormatError, match="no weights") as told:
        weights.load(write({"state_dict_ema": {"a": torch.ones(1)}}))
    assert "ema=True" in told.value.hint


def test_files_of_other_kinds_are_named(tmp_path):
    script = torch.jit.script(torch.nn.Linear(2, 2)) if hasattr(torch.jit, "script") else None
    path = tmp_path / "file.pth"
    for content, said in (
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n....", "an HDF5 file"),
        (pickle.dumps({"a": 1}), "a plain pickle"),
        (b"weights", "no file that torch.save wrote"),
    ):
        files.write_atomic(path, content)
        with pytest.raises(FileFormatError, match=said):
            weights.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b.txt", "hello")
    with pytest.raises(FileFormatError, match=r"0 pickles NAME/data\.pkl"):
        weights.load(path)
    torch.jit.save(script, path)
    with pytest.raises(FileFormatError, match="a TorchScript program"):
        weights.load(path)


# ----------------------------------------------------------------------------------------------- the oldest of formats


def test_parameters_as_torch_0_1_wrote_them(tmp_path):
    """The first weights of torchvision are such files: NEWOBJ of Parameter, then BUILD with five values."""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(4.0)}, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    start = data.index(b"ctorch._utils\n_rebuild_tensor_v2")
    stop = data.index(b"s.", start)  # the end of the dictionary with one entry
    tensor = data[start:stop]
    shell = b"ctorch.nn.parameter\nParameter\n)\x81"
    state = b"(" + tensor + b"Nccollections\nOrderedDict\n)R\x88\x89t"
    files.write_atomic(tmp_path / "old.pth", data[:start] + shell + state + b"b" + data[stop:])
    assert weights.load(tmp_path / "old.pth")["w"].tolist() == [0, 1, 2, 3]


def test_views_of_a_storage_as_torch_0_1_wrote_them(tmp_path):
    """Persistent ids whose last part is (name, first element, elements)."""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(6.0)[:2]}, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    view = b"(X\x01\x00\x00\x00vK\x03K\x02t"
    at = data.index(b"K\x06N") + 2  # 6 elements, no view
    files.write_atomic(tmp_path / "old.pth", data[:at] + view + data[at + 1 :])
    assert weights.load(tmp_path / "old.pth")["w"].tolist() == [3, 4]
    files.write_atomic(tmp_path / "old.pth", data[:at] + view.replace(b"K\x02t", b"K\x04t") + data[at + 1 :])
    with pytest.raises(FileFormatError, match="a view of elements 3 to 7 of a storage of 6"):
        weights.load(tmp_path / "old.pth")


def tar_file(path, change=lambda name, entry: entry, pickled=None):
    """A file in the tar format: two tensors of one storage, one of a view of it."""

    def number(value):
        return pickle.dumps(value, 2)

    def named(key, value, name):  # the class is put in by hand: this Python's pickle cannot name it
        mark = b"X" + struct.pack("<I", len(name)) + name.encode()
        return pickle.dumps((key, value, name), 2).replace(mark, f"ctorch\n{name}\n".encode())

    floats = np.arange(6, dtype="<f4")
    storages = number(1) + named(10, "cpu", "FloatStorage") + struct.pack("<q", 6) + floats.tobytes()
    storages += number([(11, 10, 4, 2)])

    def view(key, storage, shape, stride, offset):
        axes = len(shape)
        return named(key, storage, "FloatTensor") + struct.pack(f"<i4x{2 * axes + 1}q", axes, *shape, *stride, offset)

    views = number(3) + view(20, 10, (2, 3), (3, 1), 0) + view(21, 10, (3, 2), (1, 3), 0) + view(22, 11, (1,), (1,), 1)
    obj = io.BytesIO()
    pickler = pickle.Pickler(obj, 2)
    pickler.persistent_id = lambda value: int(value[1:]) if isinstance(value, str) and value.startswith("#") else None
    pickler.dump(pickled or collections.OrderedDict(a="#20", t="#21", v="#22"))
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in {"sys_info": number({}), "pickle": obj.getvalue(), "tensors": views,
                              "storages": storages}.items():  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1476000000.5  # the half makes a header of the PAX kind
            entry = change(name, entry)
            archive.addfile(entry, io.BytesIO(content))


def test_the_tar_format(tmp_path):
    tar_file(tmp_path / "old.pth")
    found = weights.load(tmp_path / "old.pth")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": [[0, 1, 2], [3, 4, 5]], "t": [[0, 3], [1, 4], [2, 5]], "v": [5],
    }  # fmt: skip
    assert torch_file.load_object(tmp_path / "old.pth").format == "tar"


def test_tar_archives_that_are_refused(tmp_path):
    path = tmp_path / "old.pth"

    def link(kind):
        def change(name, entry):
            if name == "storages":
                entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0
            return entry

        return change

    for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_LONGNAME):
        tar_file(path, link(kind))
        with pytest.raises(FileFormatError, match="only plain files are read"):
            weights.load(path)
    tar_file(path, pickled=["#20", "#99"])
    with pytest.raises(FileFormatError, match="a name of no storage or tensor"):
        weights.load(path)
    tar_file(path)
    data = path.read_bytes()
    for length in range(0, len(data), 97):
        files.write_atomic(path, data[:length])
        try:
            weights.load(path)
        except FileFormatError as error:
            assert str(path) in str(error)
        else:
            assert length > len(data) - 10240  # only the padding at the end is gone


# --------------------------------------------------------------------------------------------------------- writing


def test_torch_reads_what_is_written_here(tmp_path):
    arrays = {f"layout {name}": array for name, array in LAYOUTS.items()}
    arrays |= {f"type {code}": np.arange(6).reshape(2, 3).astype(code) for code in DTYPES if code != "c8"}
    arrays |= {"näme": np.ones(2), "large": np.zeros((70000, 2), "i2")}
    weights.save(arrays, tmp_path / "a.pth")
    found = torch.load(tmp_path / "a.pth", weights_only=True)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert_same(found[name].numpy(), array)
    mapped = torch.load(tmp_path / "a.pth", weights_only=True, mmap=True)
    assert all(torch.equal(mapped[name], found[name]) for name in found if found[name].numel())
    assert_equal(weights.load(tmp_path / "a.pth"), found)


def test_a_model_goes_to_torch_and_back(tmp_path):
    torch.manual_seed(0)
    model, *_ = trained()
    torch.save(model.state_dict(), tmp_path / "a.pth")
    weights.save(weights.load(tmp_path / "a.pth"), tmp_path / "b.pt")
    other, *_ = trained()
    other.load_state_dict(torch.load(tmp_path / "b.pt", weights_only=True))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]) and tensor.dtype == other.state_dict()[name].dtype


def test_equal_arrays_give_equal_bytes_and_storages_are_aligned():
    arrays = {"a": np.arange(5.0), "b": np.ones((2, 2), "f4")}
    data = torch_write.to_bytes(arrays)
    assert data == torch_write.to_bytes(dict(arrays))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for entry in archive.infolist():
            start = entry.header_offset + 30 + len(entry.filename) + len(entry.extra)
            assert start % 64 == 0 and data[start : start + entry.file_size] == archive.read(entry)


@pytest.mark.parametrize("array", [np.zeros(2, "c8"), np.array(["a"]), np.array([None])])
def test_types_that_are_not_written_are_named(tmp_path, array):
    with pytest.raises(TypeError, match="'weight'"):
        weights.save({"weight": array}, tmp_path / "a.pth")
    assert files.list_folder(tmp_path) == []


def test_damage_is_found(write):
    """Every byte that is cut off, and every flipped bit of the numbers of a zip file, is noticed."""
    path = write({"a": torch.arange(40.0), "b": {"c": 1}})
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        with pytest.raises(FileFormatError):
            torch_file.from_bytes(data[:length], path)
    if data[:2] == b"PK":
        at = data.index(np.arange(40, dtype="f4").tobytes())
        for place in range(at, at + 160, 13):
            flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            file = torch_file.from_bytes(flipped, path)
            with pytest.raises(FileFormatError, match="checksum"):
                file.obj["a"].numpy()
