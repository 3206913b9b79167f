""".npz files (NumPy's zip of .npy arrays), read without trust: nothing a header claims is allocated before it is
checked against what the file holds, and nothing is ever unpickled."""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from minires.errors import FileFormatError
from minires.io import files

_MOST_INFLATION = 100  # times the file's size: beyond this (and beyond _SMALL) a member is taken for a bomb
_SMALL = 256 << 20
# what zipfile and NumPy raise for damaged files; RuntimeError: encrypted, NotImplementedError: unknown compression
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError, NotImplementedError)


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
    data = files.read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, len(data), path)
            return {member.filename.removesuffix(".npy"): _array(archive, member, path) for member in members}
    except _DAMAGED as error:
        raise FileFormatError(path, None, f"not a valid .npz file: {error}") from error


def _check_members(members: list[zipfile.ZipInfo], size: int, path: files.PathLike) -> None:
    names = [member.filename for member in members]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise FileFormatError(path, None, f"two members have the name {repeated[0]!r}")
    other = [name for name in names if not name.endswith(".npy")]
    if other:
        raise FileFormatError(path, None, f"the member {other[0]!r} is not an .npy array")
    if sum(member.file_size for member in members) > max(_SMALL, _MOST_INFLATION * size):
        raise FileFormatError(path, None, f"the members claim to be over {_MOST_INFLATION} times as large as the file")
    end, last = 0, ""
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise FileFormatError(path, member.header_offset, f"{member.filename!r} overlaps {last!r}")
        end, last = member.header_offset + member.compress_size, member.filename
    if end > size:
        raise FileFormatError(path, size, f"{last!r} claims to end at byte {end}, after the end of the file")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: files.PathLike) -> np.ndarray:
    name, place = member.filename, member.header_offset
    with archive.open(member) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read_header:
                raise ValueError(f"version {version} of the .npy format")
            shape, fortran_order, dtype = read_header[version](stream)
        except (ValueError, TypeError, SyntaxError) as error:
            raise FileFormatError(path, place, f"{name!r}: {error}") from error
        if dtype.hasobject:
            raise FileFormatError(path, place, f"{name!r} holds Python objects, which are never loaded")
        values = stream.read()  # as many as are there, whatever the header claims
    claimed = math.prod(shape) * dtype.itemsize
    if len(values) != claimed:
        raise FileFormatError(path, place, f"{name!r} claims {claimed} bytes of values, but {len(values)} are there")
    array = np.frombuffer(bytearray(values), dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
