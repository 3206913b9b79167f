"""safetensors files in and out: the one wrapper around the `safetensors` library (the format: huggingface/safetensors).

The library alone does not do for NumPy: it writes arrays that are not C-contiguous with scrambled values and no error
(safetensors#825; ours are channels-last), and it cannot read bfloat16. Here every array is made contiguous and of the
machine's byte order first, the library judges what it reads, and files go through `minires.io.files`. bfloat16 is
written as such.
"""

import json
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from minires.errors import FileFormatError
from minires.io import files

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "C64": "<c8", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip
_WRITABLE = {np.dtype(code).newbyteorder("=") for name, code in _TYPES.items() if name != "BF16"}


def save_file(tensors: Mapping[str, np.ndarray], path: files.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write `tensors` (any memory order and byte order) and `metadata` (text) to `path`, whole or not at all.

    Raises TypeError naming the tensor for a type that the format does not have.
    """
    files.write_atomic(path, to_bytes(tensors, metadata))


def to_bytes(tensors: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file. Raises TypeError naming a tensor of a type that the format does not have."""
    return safetensors.numpy.save({name: _plain(name, array) for name, array in tensors.items()}, metadata)


def load_file(path: files.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, C-contiguous and writable; bfloat16 comes as float32, which holds it exactly.

    Raises FileFormatError with the byte of the fault for a file that is torn or lies about itself.
    """
    return from_bytes(files.read_bytes(path), path)[0]


def read_metadata(path: files.PathLike) -> dict[str, str]:
    """The text metadata of a safetensors file, {} if it has none. Raises FileFormatError."""
    data = files.read_bytes(path)
    _entries(data, path)
    return _metadata(data, path)


def from_bytes(data: bytes, path: files.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a safetensors file's content; `path` only names it in FileFormatError."""
    arrays = {}
    for name, entry in _entries(data, path):
        code = entry["dtype"]
        if code not in _TYPES:
            raise FileFormatError(path, 8, f"the tensor {name!r} has the type {code}, which NumPy does not know")
        array = np.frombuffer(entry["data"], _TYPES[code]).reshape(entry["shape"])
        arrays[name] = bfloat16_to_float32(array) if code == "BF16" else array.astype(array.dtype.newbyteorder("="))
    return arrays, _metadata(data, path)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """float32 values of bfloat16 numbers given as uint16: bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.name == "bfloat16":  # ml_dtypes' type, of the machine's byte order
        return np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.newbyteorder("=") not in _WRITABLE:
        raise TypeError(f"the tensor {name!r} has the type {array.dtype}, which a safetensors file cannot hold")
    # ascontiguousarray gives 0-d arrays one axis, hence the reshape
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)


def _entries(data: bytes, path: files.PathLike) -> list[tuple[str, dict]]:
    """What the library finds in `data`: its verdict on every header, claim and offset is the one that counts."""
    if len(data) < 8:
        raise FileFormatError(path, len(data), f"{len(data)} bytes are too few for a safetensors file")
    try:
        return safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise FileFormatError(path, _place_of_fault(data), f"not a valid safetensors file: {error}") from error


def _place_of_fault(data: bytes) -> int:
    """Byte where a refused file goes wrong: 0 the header's length, 8 the header, else the end of what is there."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        return 0
    try:
        json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return 8
    return len(data)


def _metadata(data: bytes, path: files.PathLike) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    try:
        return json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (ValueError, RecursionError) as error:
        raise FileFormatError(path, 8, f"the header is not JSON: {error}") from error
