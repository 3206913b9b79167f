"""HDF5 files read without trust, by h5py (`pip install "minires[keras]"`): the numbers in them, and nothing else.

An HDF5 file is a tree of groups with arrays ("datasets") as leaves. The format can do much that no file of weights
needs and that has been used to make Keras read other files or fill the memory (CVE-2026-1669): links to other files,
arrays whose bytes lie in other files, arrays put together from other arrays ("virtual"), shapes that claim terabytes,
groups that contain themselves, filters that load a library. Here each thing is looked at before it is opened, and what
is not a plain group or a plain array of numbers is refused. The library sees the file's bytes, never its folder.

Not protected against: faults of the HDF5 library itself, which is written in C and parses the bytes. A text that
claims up to 2 GiB makes it ask for so much memory, before it finds that there are no such bytes; and in a group whose
index is damaged so that it leads back to itself the library walks for ever. Files from strangers are better had in
another format, which is read by Python alone.
"""

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.errors import FileFormatError, MiniresError
from minires.io import files
from minires.io.safetensors import bfloat16_to_float32
from minires.io.zip_reader import MOST_INFLATION, SMALL

MOST_OBJECTS = 50_000  # groups and arrays of a file; a ResNet-152 with its optimizer has 5,000
DEEPEST = 40  # groups in groups
_DEFLATE_LIMIT = 1032  # times: no deflated bytes can become more
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}  # built in; any other may load a library
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\1\0\0\0"  # begins a global heap collection, where texts of any length lie


@dataclass
class Array:
    """A dataset: its path ("layers/dense/vars/0"), its values, and the attribute "name" of the group it lies in."""

    path: str
    values: np.ndarray
    group_name: str | None


def load_file(path: files.PathLike) -> dict[str, np.ndarray]:
    """All arrays of an HDF5 file by their paths. FileFormatError for one that is damaged or tries anything."""
    return {array.path: array.values for array in from_bytes(files.read_bytes(path), path)}


def from_bytes(data: bytes | memoryview, path: files.PathLike, root: str = "") -> list[Array]:
    """The arrays of an HDF5 file's content; `path` only names it in errors. root: only those in the first of these
    groups ("model_weights layers") that is there; in the whole file if none is.

    bfloat16 becomes float32, which holds it exactly.
    """
    h5py = _library()
    if bytes(data[: len(_SIGNATURE)]) != _SIGNATURE:
        raise FileFormatError(path, 0, "this is no HDF5 file: its first bytes are others")
    _check_heaps(bytes(data), path)
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _Reader(h5py, path, len(data)).read(file.id, root.split())
    except (FileFormatError, MemoryError):
        raise
    except Exception as error:  # the library answers damage with OSError, RuntimeError, KeyError, ValueError ...
        raise FileFormatError(path, None, f"the HDF5 library cannot read it: {' '.join(str(error).split())}") from error


def _check_heaps(data: bytes, path: files.PathLike) -> None:
    """Walk through every global heap collection, as the library does, which never ends on an object of size 0.

    Eight-byte signature, eight bytes of size; then objects: number (2 bytes, 0: the free rest), 6 bytes, size (8 bytes;
    that of the free rest counts its own 16 bytes), content padded to 8. HDF5 File Format Specification, III.E.
    """
    start = data.find(_HEAP)
    while start >= 0:
        size = int.from_bytes(data[start + 8 : start + 16], "little")
        at, end = start + 16, start + size
        if size < 16 or end > len(data):
            raise FileFormatError(path, start + 8, f"a heap claims {size} bytes, which the file does not have")
        while at + 16 <= end:
            number, length = struct.unpack_from("<H6xQ", data, at)
            taken = length if number == 0 else 16 + length + -length % 8
            if taken < 16 or taken > end - at:
                raise FileFormatError(path, at + 8, f"an object in a heap claims {length} bytes, which it cannot have")
            at += taken
        start = data.find(_HEAP, start + 1)


def _library() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MiniresError("reading HDF5 and Keras files needs h5py, which is not installed",
                           code="dependency.missing", hint="pip install h5py") from error  # fmt: skip
    return h5py


def _shown(name: bytes) -> str:
    return repr(name[:100].decode("utf-8", "replace"))


class _Reader:
    """One reading: what has been seen so far, and how many bytes have been promised."""

    def __init__(self, h5py: Any, path: files.PathLike, size: int) -> None:
        self.h5py, self._path, self._size = h5py, path, size
        self._seen: dict[Any, str] = {}  # objects by their place in the file: each may be reached in one way only
        self._claimed = self._stored = 0

    def read(self, file: Any, roots: list[str]) -> list[Array]:
        root = self.h5py.h5g.open(file, b"/")
        self._visit(root, "/")
        start = next((name for name in roots if name.encode() in set(root)), None)
        groups = [("", root)] if start is None else [(start, self._open(root, start.encode(), start))]
        if not isinstance(groups[0][1], self.h5py.h5g.GroupID):
            raise self._error(start or "/", "is not a group")
        found = []
        while groups:
            place, group = groups.pop()
            label = self._group_name(group, place)
            for name, child in self._children(group, place):
                if isinstance(child, self.h5py.h5g.GroupID):
                    groups.append((name, child))
                else:
                    found.append(Array(name, self._values(child, name), label))
        return sorted(found, key=lambda array: array.path)

    def _children(self, group: Any, place: str) -> Iterator[tuple[str, Any]]:
        for name in list(group):
            try:
                text = name.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._error(place, "holds a name that is not UTF-8") from error
            path = f"{place}/{text}" if place else text
            yield path, self._open(group, name, path)

    def _open(self, group: Any, name: bytes, path: str) -> Any:
        """The object behind a link of a group, if it is a plain one."""
        link = group.links.get_info(name)
        if link.type != self.h5py.h5l.TYPE_HARD:
            kinds = {self.h5py.h5l.TYPE_SOFT: "a soft link", self.h5py.h5l.TYPE_EXTERNAL: "a link to another file"}
            raise self._error(path, f"is {kinds.get(link.type, 'a link of an unknown kind')}; links are not followed")
        child = self.h5py.h5o.open(group, name)
        if not isinstance(child, self.h5py.h5g.GroupID | self.h5py.h5d.DatasetID):
            raise self._error(path, "is neither a group nor an array")
        self._visit(child, path)
        return child

    def _visit(self, item: Any, path: str) -> None:
        before = self._seen.setdefault(self._address(item), path)
        if before != path:
            raise self._error(path, f"is the same object as {before!r}")
        if len(self._seen) > MOST_OBJECTS or path.count("/") > DEEPEST:
            raise self._error(path, f"goes beyond {MOST_OBJECTS} objects or {DEEPEST} groups in groups")
        self._check_attributes(item, path)

    def _address(self, item: Any) -> tuple[int, int]:
        """Where the object lies. `h5o.get_info` knows, too, but measures the whole group, for ever if it is damaged."""
        return self.h5py.h5g.get_objinfo(item).objno

    def _error(self, path: str, reason: str) -> FileFormatError:
        shown = repr(path if len(path) <= 120 else f"{path[:100]}...")
        return FileFormatError(self._path, None, f"{shown} {reason}")

    # ------------------------------------------------------------------------------------------------- attributes

    def _check_attributes(self, item: Any, path: str) -> None:
        """Numbers and text are harmless; the other types hold references and objects."""
        for index in range(self.h5py.h5a.get_num_attrs(item)):
            attribute = self.h5py.h5a.open(item, index=index)
            plain = self.h5py.h5t.INTEGER, self.h5py.h5t.FLOAT, self.h5py.h5t.STRING, self.h5py.h5t.ENUM
            if attribute.get_type().get_class() not in plain:
                raise self._error(path, f"has the attribute {_shown(attribute.name)}, which holds objects")

    def _text(self, item: Any, attribute: bytes, path: str) -> str | None:
        """The attribute as text; None if there is none."""
        if not self.h5py.h5a.exists(item, attribute):
            return None
        found = self.h5py.h5a.open(item, attribute)
        if found.get_type().get_class() != self.h5py.h5t.STRING or found.shape not in ((), (1,)):
            raise self._error(path, f"has an attribute {attribute.decode()!r} that is not one text")
        if found.get_storage_size() > 4096:
            raise self._error(path, f"has an attribute {attribute.decode()!r} of {found.get_storage_size()} bytes")
        value = np.empty(found.shape, found.dtype)
        found.read(value)
        text = value.item()
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        if not isinstance(text, str) or len(text) > 1000 or not text.isprintable():
            raise self._error(path, f"has an attribute {attribute.decode()!r} that is not a name")
        return text

    def _group_name(self, group: Any, path: str) -> str | None:
        return self._text(group, b"name", path)

    # --------------------------------------------------------------------------------------------------- values

    def _values(self, item: Any, path: str) -> np.ndarray:
        self._check_place(item, path)  # before anything else is asked: even the shape of a virtual array opens files
        dtype, is_bfloat16 = self._dtype(item, path)
        if item.get_space().get_simple_extent_type() not in (self.h5py.h5s.SIMPLE, self.h5py.h5s.SCALAR):
            raise self._error(path, "has no values")
        shape = tuple(item.shape)
        self._check_size(item, path, shape, math.prod(shape) * dtype.itemsize)
        values = np.empty(shape, dtype)
        if values.size:
            item.read(self.h5py.h5s.ALL, self.h5py.h5s.ALL, values, mtype=item.get_type())
        if is_bfloat16:
            return bfloat16_to_float32(values.view("<u2"))
        return values.astype(dtype.newbyteorder("="), copy=False)

    def _check_place(self, item: Any, path: str) -> None:
        """The bytes must lie in this file, behind no filter but the common ones."""
        plan = item.get_create_plist()
        if plan.get_layout() not in (self.h5py.h5d.COMPACT, self.h5py.h5d.CONTIGUOUS, self.h5py.h5d.CHUNKED):
            raise self._error(path, "is put together from other arrays (virtual)")
        if plan.get_external_count():
            raise self._error(path, "has its bytes in another file (external storage)")
        for index in range(plan.get_nfilters()):
            number = plan.get_filter(index)[0]
            if number not in _FILTERS:
                raise self._error(path, f"is packed by the filter {number}; read are {', '.join(_FILTERS.values())}")

    def _dtype(self, item: Any, path: str) -> tuple[np.dtype, bool]:
        kind = item.get_type()
        if kind.get_class() in (self.h5py.h5t.INTEGER, self.h5py.h5t.FLOAT) and kind.get_size() <= 8:
            return np.dtype(kind.dtype), False
        if kind.get_class() == self.h5py.h5t.OPAQUE and kind.get_size() == 2 and \
                self._text(item, b"dtype", path) == "bfloat16":  # fmt: skip
            return np.dtype("V2"), True
        raise self._error(path, "holds no plain numbers")

    def _check_size(self, item: Any, path: str, shape: tuple[int, ...], claimed: int) -> None:
        """What an array claims must be there, and all together must be no more than the file can hold."""
        plan, stored = item.get_create_plist(), item.get_storage_size()
        packed = plan.get_nfilters() > 0
        self._stored += stored
        self._claimed += claimed
        if plan.get_layout() == self.h5py.h5d.CHUNKED:
            beyond = any(part > max(whole, 1) for part, whole in zip(plan.get_chunk(), shape, strict=True))
            if beyond:
                raise self._error(path, f"has the shape {shape} in larger pieces of {plan.get_chunk()}")
        elif claimed != stored and claimed:
            raise self._error(path, f"claims {claimed} bytes of values, but {stored} are there")
        if claimed > (_DEFLATE_LIMIT * stored + 64 if packed else stored) or self._stored > self._size:
            raise self._error(path, f"of the shape {shape} claims {claimed} bytes of values; {stored} are said to be "
                              f"stored, and the file has {self._size}")  # fmt: skip
        if self._claimed > max(SMALL, MOST_INFLATION * self._size):
            raise self._error(path, f"and the arrays before it claim {self._claimed} bytes, over {MOST_INFLATION} "
                              "times the file's own")  # fmt: skip
