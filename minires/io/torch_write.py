"""State dicts as torch.save writes them: a zip archive with a small pickle and the numbers beside it.

The pickle holds an OrderedDict of name -> torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, ...), in
the instructions that `torch.load(weights_only=True)` accepts (torch/_weights_only_unpickler.py). Each storage lies in
a stored (not compressed) entry on a multiple of 64 bytes, so that torch can map it into memory. Equal arrays give
equal bytes: the archive's times are fixed.
"""

import io
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

_ROOT, _ALIGNMENT = "archive", 64
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive can hold

_STORAGES = {  # NumPy's type -> torch's class of storages
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage",
    "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage",
    "bool": "BoolStorage", "bfloat16": "BFloat16Storage",
}  # fmt: skip
_UNTYPED = ("uint16", "uint32", "uint64")  # without a class of their own: bytes, and the type beside them


def to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a .pth file. TypeError naming an array of a type that is not written: complex numbers, text."""
    contents = {name: _plain(name, array) for name, array in arrays.items()}
    entries = {"data.pkl": _pickle(contents), ".format_version": b"1", ".storage_alignment": b"64",
               "byteorder": b"little"}  # fmt: skip
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            _add(archive, buffer, name, content)
        for number, array in enumerate(contents.values()):
            _add(archive, buffer, f"data/{number}", array.reshape(-1).view(np.uint8).data)
        _add(archive, buffer, "version", b"3\n")
    return buffer.getvalue()


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    """C-contiguous and little-endian."""
    array = np.asarray(array)
    if array.dtype.name not in (*_STORAGES, *_UNTYPED):
        raise TypeError(f"the tensor {name!r} has the type {array.dtype}, which is not written to torch files")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def _add(archive: zipfile.ZipFile, buffer: io.BytesIO, name: str, content: bytes | memoryview) -> None:
    """One entry, whose bytes begin on a multiple of the alignment: a field of padding stands before them."""
    entry = zipfile.ZipInfo(f"{_ROOT}/{name}", _TIME)
    padding = -(buffer.tell() + 30 + len(entry.filename) + 4) % _ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding  # the name torch gives this field
    archive.writestr(entry, content)


# -------------------------------------------------------------------------------------------------------- the pickle


def _pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    entries = b"".join(_text(name) + _tensor(number, array) for number, (name, array) in enumerate(arrays.items()))
    return b"\x80\x02" + _ordered_dict() + b"(" + entries + b"u."  # protocol 2; mark, entries, set items; stop


def _tensor(number: int, array: np.ndarray) -> bytes:
    """A call of torch's function that makes a tensor of a storage."""
    untyped = array.dtype.name in _UNTYPED
    kind = _name("torch.storage", "UntypedStorage") if untyped else _name("torch", _STORAGES[array.dtype.name])
    count = array.nbytes if untyped else array.size
    storage = _tuple(_text("storage"), kind, _text(str(number)), _text("cpu"), _whole(count)) + b"Q"
    strides: list[int] = []
    step = 1
    for size in reversed(array.shape):
        strides.insert(0, step)
        step *= max(size, 1)
    view = [storage, _whole(0), _tuple(*map(_whole, array.shape)), _tuple(*map(_whole, strides))]
    about = [b"\x89", _ordered_dict()]  # False: needs no gradient; no hooks
    if untyped:
        return (
            _name("torch._utils", "_rebuild_tensor_v3") + _tuple(*view, *about, _name("torch", array.dtype.name)) + b"R"
        )
    return _name("torch._utils", "_rebuild_tensor_v2") + _tuple(*view, *about) + b"R"


def _ordered_dict() -> bytes:
    return _name("collections", "OrderedDict") + b")R"  # called without arguments


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _text(text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def _whole(number: int) -> bytes:
    """A whole number from 0: in 4 bytes, or as many as it takes."""
    if number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    content = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content
