""".npz files (NumPy's zip of .npy arrays), read without trust: nothing a header claims is allocated before it is
checked against what the file holds, and nothing is ever unpickled."""

import io
import math
import re
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from minires.errors import FileFormatError
from minires.io import files
from minires.io.zip_reader import Member, ZipReader

_LONGEST_HEADER = 10_000  # bytes; NumPy's own limit


def to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of an .npz file; equal arrays give equal bytes. TypeError names an array of Python objects."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            array = np.asarray(array)
            if array.dtype.hasobject:
                raise TypeError(f"the array {name!r} holds Python objects, which are not written")
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def load_file(path: files.PathLike) -> dict[str, np.ndarray]:
    """The arrays of an .npz file. FileFormatError for one that is damaged, lies about itself or holds objects."""
    return from_bytes(files.read_bytes(path), path)


def from_bytes(data: bytes, path: files.PathLike) -> dict[str, np.ndarray]:
    """The arrays of an .npz file's content; `path` only names it in FileFormatError."""
    archive = ZipReader(data, path)
    other = [member for member in archive.members.values() if not member.name.endswith(".npy")]
    if other:
        raise FileFormatError(path, other[0].header, f"the member {other[0].name!r} is not an .npy array")
    return {name.removesuffix(".npy"): _array(archive.read(name), member, path)
            for name, member in archive.members.items()}  # fmt: skip


# a header is Python's notation of a dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }
_ENTRY = r"\s*'(descr|fortran_order|shape)'\s*:\s*('[^']{1,20}'|True|False|\([\d\sL,]{0,2000}\))\s*"
_HEADER = re.compile(rf"\s*\{{{_ENTRY},{_ENTRY},{_ENTRY},?\s*\}}\s*")
_TYPE = re.compile(r"'([<>|=]?[?biufcSU]\d{0,6})'")
_LENGTHS = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}  # version -> how the length of the header is written


def _array(content: memoryview, member: Member, path: files.PathLike) -> np.ndarray:
    try:
        dtype, fortran_order, shape, start = _header(content)
        values = content[start:]  # as many as are there, whatever the header claims
        claimed = math.prod(shape) * dtype.itemsize
        if len(values) != claimed or dtype.itemsize == 0:
            raise ValueError(f"claims {claimed} bytes of values, but {len(values)} are there")
        array = np.frombuffer(bytearray(values), dtype).reshape(shape, order="F" if fortran_order else "C")
    except (ValueError, TypeError, OverflowError) as error:
        raise FileFormatError(path, member.header, f"{member.name!r} {error}") from error
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(content: memoryview) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """Type, memory order, shape and where the values begin. ValueError or TypeError says what is wrong."""
    version = (content[6], content[7]) if len(content) > 7 else (0, 0)
    if bytes(content[:6]) != b"\x93NUMPY" or version not in _LENGTHS:
        raise ValueError(f"is not an .npy array of a known version, {version[0]}.{version[1]}")
    layout = _LENGTHS[version]
    start = 8 + struct.calcsize(layout)
    end = start + (struct.unpack_from(layout, content, 8)[0] if len(content) >= start else len(content))
    if end > min(len(content), start + _LONGEST_HEADER):
        raise ValueError(f"claims a header up to byte {end} of {len(content)}")
    found = _HEADER.fullmatch(bytes(content[start:end]).decode("latin-1"))
    entries = dict(zip(found.groups()[::2], found.groups()[1::2], strict=True)) if found else {}
    if entries.get("fortran_order") not in ("True", "False") or not entries.get("shape", "").startswith("("):
        raise ValueError("has a header that is none of a plain array")
    kind = _TYPE.fullmatch(entries.get("descr", ""))
    if kind is None:
        raise ValueError(f"holds values of the type {entries.get('descr')}; Python objects and records are not loaded")
    numbers = [part.strip().removesuffix("L") for part in entries["shape"][1:-1].split(",")]
    shape = tuple(int(part) for part in numbers if part)
    return np.dtype(kind[1]), entries["fortran_order"] == "True", shape, end
