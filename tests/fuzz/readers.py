"""The readers of files that others made, one entry each: sound files to start from, and what a reader may do.

A reader may read a file, or raise FileFormatError that names it. Anything else (another exception, a crash, minutes,
gigabytes) is a fault. `check` says so for one content; test_replay.py runs it on the corpus and on mutations of it,
run_atheris.py on what a coverage-guided fuzzer thinks of.
"""

import io
import pathlib
import pickle
import tarfile
import unittest.mock
import warnings
from collections.abc import Callable

import numpy as np

from minires.errors import FileFormatError
from minires.io import hdf5, keras_files, npz, safetensors, state_dicts, torch_file, torch_tar, torch_write
from minires.io.hdf5_bytes import Cursor
from minires.io.hdf5_fractal_heap import FractalHeap
from minires.io.unpickle import Unpickler
from minires.io.zip_reader import ZipReader
from tests.io.hostile import legacy_storage, storage, tensor, torch_legacy, torch_zip

CORPUS = pathlib.Path(__file__).parent / "corpus"
NAME = "fuzzed-file"


def read_zip(data: bytes) -> None:
    archive = ZipReader(data, NAME)
    for member in archive.members:
        archive.read(member)


def read_pickle(data: bytes) -> None:
    Unpickler(data, NAME, torch_file.KNOWN, lambda given: given).load()


def read_torch(data: bytes) -> None:
    file = torch_file.from_bytes(data, NAME)
    state, _ = state_dicts.find_weights(file.obj, NAME)
    for value in state.values():
        try:
            value.numpy()
        except TypeError as error:  # a type that is not read, which `load` turns into FileFormatError
            assert "not read" in str(error) or "without values" in str(error) or "seen as" in str(error), error


def read_tar(data: bytes) -> None:
    torch_tar.read(data, NAME)


def read_hdf5(data: bytes) -> None:
    """Once more with all checksums taken for right where one is wrong, so that a mutation gets behind them."""
    try:
        hdf5.from_bytes(data, NAME)
    except FileFormatError as error:
        if "its checksum differs" not in error.reason:
            raise
        patch = unittest.mock.patch.object
        with patch(Cursor, "check_sum", lambda cursor, start: cursor.skip(4)), patch(FractalHeap, "_check_block"):
            hdf5.from_bytes(data, NAME)


def read_keras(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers that are code
        keras_files.from_bytes(data, NAME)


READERS: dict[str, Callable[[bytes], object]] = {
    "safetensors": lambda data: safetensors.from_bytes(data, NAME),
    "npz": lambda data: npz.from_bytes(data, NAME),
    "zip": read_zip,
    "pickle": read_pickle,
    "torch": read_torch,
    "tar": read_tar,
    "hdf5": read_hdf5,
    "keras": read_keras,
}


def check(reader: str, data: bytes) -> bool:
    """Whether the reader read the content; False if it refused it properly. Any other exception goes through."""
    try:
        READERS[reader](data)
    except FileFormatError as error:
        message = str(error)
        assert message.startswith(NAME) and len(message) < 2000, message
        assert error.offset is None or 0 <= error.offset <= len(data), (message, len(data))
        return False
    return True


# ------------------------------------------------------------------------------------------------------- sound files


def sound_files() -> dict[str, list[bytes]]:
    """Reader -> files that it reads, made without torch."""
    arrays = {"a": np.arange(6.0, dtype="f4").reshape(2, 3), "b": np.array(3), "c": np.zeros((0, 2), "u1")}
    obj = {"w": [1, -2, 2**40, 1.5, None, True, "text", b"bytes", (1, (2, 3))], ("k", 1): {"x"}, "n": {"deep": [{}]}}
    pickles = [pickle.dumps(obj, protocol) for protocol in (2, 3, 4, 5)]
    pickles += [pickle.dumps({"a": np.arange(3.0), "b": np.float32(2), "c": np.array(["x"])}, 2)]
    pickled_tensor = b"\x80\x02}(X\x01\x00\x00\x00a" + tensor(storage()) + b"u."
    return {
        "hdf5": [],
        "keras": [],
        **hdf5_files(),
        "safetensors": [safetensors.to_bytes(arrays, {"k": "v"}), safetensors.to_bytes({})],
        "npz": [npz.to_bytes(arrays), compressed(arrays)],
        "zip": [npz.to_bytes(arrays), compressed(arrays), torch_write.to_bytes(arrays), torch_zip(pickled_tensor)],
        "pickle": [*pickles, b"\x80\x02" + storage() + b"."],
        "torch": [torch_write.to_bytes(arrays), torch_zip(pickled_tensor), legacy_storage(), whole_legacy()],
        "tar": [tar()],
    }


def hdf5_files() -> dict[str, list[bytes]]:
    """Of each version of the format, with every kind of index and heap; none where h5py, which writes them, is not."""
    try:
        from tests import keras_layout
        from tests.io.hostile_hdf5 import built
    except ImportError:
        return {}
    values = np.arange(63, dtype="f4").reshape(9, 7)

    def make(file):
        for number in range(10):
            file.attrs[str(number)] = "a" * number
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "first"
        group["0"] = np.arange(3.0)
        group.create_dataset("1", data=values, chunks=(2, 3), compression="gzip", shuffle=True, fletcher32=True)
        group.create_dataset("2", data=values, chunks=(3, 7))
        group.create_dataset("3", data=values, chunks=(9, 7), compression="gzip")
        for number in range(4, 13):
            group[str(number)] = np.int16(number)

    arrays = {"kernel": np.ones((1, 1, 3, 2), "f4"), "bias": np.ones(2, "f4")}
    layers = [("c", "Conv2D", arrays), ("d", "Dense", {"kernel": np.ones((2, 2), "f4")})]
    versions = [built(make, libver=version) for version in ("earliest", "v108", "latest")]
    return {
        "hdf5": [*versions, built(lambda file: file.create_group("a"), libver="latest")],
        "keras": [keras_layout.legacy(layers, whole=True), keras_layout.numbered(layers), keras_layout.archive(layers)],
    }


def compressed(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def whole_legacy() -> bytes:
    """A legacy file with one tensor in a dictionary."""
    given = legacy_storage()
    start = given.index(b"(X\x07\x00\x00\x00storage")
    end = given.index(b"Q.", start) + 1
    object_ = b"}(X\x01\x00\x00\x00a" + tensor(given[start:end]) + b"u"
    return given[:start] + object_ + given[end:]


def tar() -> bytes:
    """An empty dictionary in torch's oldest format."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        contents = {"pickle": b"\x80\x02}.", "tensors": b"\x80\x02K\x00.", "storages": b"\x80\x02K\x00.\x80\x02]."}
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def corpus(reader: str) -> list[tuple[str, bytes]]:
    """Sound files, and those in tests/fuzz/corpus/READER, which reach far into a reader or once broke it."""
    found = [(f"sound {number}", data) for number, data in enumerate(sound_files()[reader])]
    found += [(path.name, path.read_bytes()) for path in sorted((CORPUS / reader).glob("*"))]
    if reader == "torch":
        found.append(("no tensors", torch_legacy(b"\x80\x02}.")))
    return found
