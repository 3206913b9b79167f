"""HDF5 files (Keras's .h5, .weights.h5) read without trust and without the HDF5 library: the numbers in them alone.

An HDF5 file is a tree of groups with arrays ("datasets") as leaves. The format can do much that no file of weights
needs and that has been used to make Keras read other files or fill the memory (CVE-2026-1669): links to other files,
arrays whose bytes lie in other files, arrays put together from other arrays ("virtual"), shapes that claim terabytes,
groups that contain themselves, filters that load a library. Here each thing is looked at before it is used, and what
is not a plain group or a plain array of numbers is refused. Nothing but the given bytes is ever seen.

Why not the library: it is written in C and believes what it parses. In a heap with an object of size 0, or with a list
of free space that leads back to itself, it walks for ever, and nothing in the same process can stop it. Two ways are
left. A child process with a time limit costs a start of Python and of NumPy for each file, sends every array through a
pipe, and has no interpreter to start where the program is frozen into one file. To walk over the structure oneself,
and refuse every circle and lie, has none of these costs; and a walk that has seen where each array lies, of what type
and how packed, leaves nothing for the library to do but what NumPy and zlib do as well. So this is the second way, to
its end: it takes time and memory in proportion to the file, and an error knows the byte.

Files of every version of the format are read (hdf5_headers.py, hdf5_indexes.py), as far as it describes plain arrays
of a fixed shape. Refused are, besides the above: arrays that can grow, written with libver="latest"; arrays with holes;
types and messages shared between objects.
"""

import math
from dataclasses import dataclass

import numpy as np

from minires.errors import FileFormatError
from minires.io import files, hdf5_groups, hdf5_headers, hdf5_values
from minires.io.hdf5_bytes import Source
from minires.io.hdf5_headers import Header
from minires.io.hdf5_types import OPAQUE, read_space, read_type
from minires.io.safetensors import bfloat16_to_float32
from minires.io.zip_reader import MOST_INFLATION, SMALL

MOST_OBJECTS = 50_000  # groups and arrays of a file; a ResNet-152 with its optimizer has 5,000
DEEPEST = 40  # groups in groups
_READ = (b"name", b"dtype")  # attributes; of all others only the type is looked at
_DEFLATE_LIMIT = 1032  # times: no deflated bytes can become more


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

    bfloat16 becomes float32, which holds it exactly. FileFormatError with the byte of the fault, or the array's path.
    """
    return _Reader(Source(data, path)).read(root.split())


@dataclass
class _Object:
    """A group or an array: its header, and of its attributes, by their names, those that are read."""

    header: Header
    attributes: dict[bytes, hdf5_groups.Attribute]


class _Reader:
    """One reading: what has been seen so far, and how many bytes have been promised."""

    def __init__(self, source: Source) -> None:
        self._source, self._size = source, len(source.data)
        self._texts = hdf5_groups.Texts(source)
        self._seen: dict[int, str] = {}  # objects by their place in the file: each may be reached in one way only
        self._links_seen = self._claimed = self._stored = 0

    def read(self, roots: list[str]) -> list[Array]:
        root = self._visit(hdf5_headers.root_address(self._source), "/")
        members = {link.name: link for link in self._links(root, "/")}
        start = next((name for name in roots if name.encode() in members), "")
        group = self._open(members[start.encode()], start) if start else root
        links = self._links(group, start) if start else list(members.values())
        waiting = [(start, self._text(group, b"name", start), links)]
        found = []
        while waiting:
            place, label, links = waiting.pop()
            for link in links:
                path = self._path(place, link.name)
                child = self._open(link, path)
                if hdf5_groups.is_group(child.header):
                    waiting.append((path, self._text(child, b"name", path), self._links(child, path)))
                else:
                    found.append(Array(path, self._values(child, path), label))
        return sorted(found, key=lambda array: array.path)

    def _links(self, group: _Object, place: str) -> list[hdf5_groups.Link]:
        if not hdf5_groups.is_group(group.header):
            raise self._error(place, "is not a group")
        found = []
        for link in hdf5_groups.links(self._source, group.header):
            found.append(link)
            self._links_seen += 1
            if self._links_seen > MOST_OBJECTS:
                raise self._too_many(place)
        names = {link.name for link in found}
        if len(names) < len(found):
            raise self._error(place, "holds two things of one name")
        if b"" in names or any(b"/" in name or b"\0" in name for name in names):
            raise self._error(place, "holds a name that no group can have")
        return found

    def _path(self, place: str, name: bytes) -> str:
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._error(place or "/", "holds a name that is not UTF-8") from error
        return f"{place}/{text}" if place else text

    def _open(self, link: hdf5_groups.Link, path: str) -> _Object:
        """The object behind a link of a group, if it is a plain one."""
        if link.kind != hdf5_groups.PLAIN:
            raise self._error(path, f"is {link.kind}; links are not followed")
        child = self._visit(link.address, path)
        if not hdf5_groups.is_group(child.header) and not child.header.has(hdf5_headers.LAYOUT):
            raise self._error(path, "is neither a group nor an array")
        if not hdf5_groups.agrees(link, child.header):
            raise self._error(path, "has its members in two places: its header and the link to it disagree")
        return child

    def _visit(self, at: int | None, path: str) -> _Object:
        if at in self._seen:
            raise self._error(path, f"is the same object as {self._seen[at]!r}")
        if path.count("/") > DEEPEST:
            raise self._too_many(path)
        header = hdf5_headers.read(self._source, at)
        self._seen[header.at] = path
        return _Object(header, self._attributes(header, path))

    def _too_many(self, path: str) -> FileFormatError:
        return self._error(path, f"goes beyond {MOST_OBJECTS} objects or {DEEPEST} groups in groups")

    def _error(self, path: str, reason: str) -> FileFormatError:
        shown = repr(path if len(path) <= 120 else f"{path[:100]}...")
        return self._source.error(None, f"{shown} {reason}")

    # ------------------------------------------------------------------------------------------------- attributes

    def _attributes(self, header: Header, path: str) -> dict[bytes, hdf5_groups.Attribute]:
        """Numbers and text are harmless; the other types hold references and objects."""
        found = {}
        for attribute in hdf5_groups.attributes(self._source, header):
            if not attribute.type.is_harmless:
                shown = repr(attribute.name[:100].decode("utf-8", "replace"))
                raise self._error(path, f"has the attribute {shown}, which holds objects")
            if attribute.name in _READ:
                found[attribute.name] = attribute
        return found

    def _text(self, item: _Object, name: bytes, path: str) -> str | None:
        """The attribute as text; None if there is none."""
        attribute = item.attributes.get(name)
        if attribute is None:
            return None
        kind = f"has an attribute {name.decode()!r}"
        if not attribute.type.is_text or attribute.space.shape not in ((), (1,)):
            raise self._error(path, f"{kind} that is not one text")
        if attribute.type.size > hdf5_groups.MOST_TEXT:
            raise self._error(path, f"{kind} of {attribute.type.size} bytes")
        content = self._texts.read(attribute)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._error(path, f"{kind} that is not UTF-8") from error
        if len(text) > 1000 or not text.isprintable():
            raise self._error(path, f"{kind} that is not a name")
        return text

    # --------------------------------------------------------------------------------------------------- values

    def _values(self, item: _Object, path: str) -> np.ndarray:
        layout, filters = self._place(item.header, path)
        dtype, is_bfloat16 = self._dtype(item, path)
        shape = read_space(item.header.one(hdf5_headers.SPACE)).shape
        if shape is None:
            raise self._error(path, "has no values")
        found = self._pieces(layout, shape, dtype.itemsize, filters, path)
        self._check_size(layout, shape, dtype.itemsize, found, filters, path)
        values = np.empty(shape, dtype)
        if values.size and layout.kind == hdf5_values.CHUNKED:
            hdf5_values.put_together(self._source, layout, found, filters, values)
        elif values.size:
            at = self._source.check_inside(layout.at, values.nbytes, f"the array {path!r}")
            values[...] = np.frombuffer(self._source.data[at : at + values.nbytes], dtype).reshape(shape)
        values = values.astype(dtype.newbyteorder("="), copy=False)
        return bfloat16_to_float32(values) if is_bfloat16 else values

    def _place(self, header: Header, path: str) -> tuple[hdf5_values.Layout, list[hdf5_values.Filter]]:
        """How the values lie: the bytes must be in this file, behind no filter but the common ones."""
        if header.has(hdf5_headers.EXTERNAL):
            raise self._error(path, "has its bytes in another file (external storage)")
        layout = hdf5_values.read_layout(header.one(hdf5_headers.LAYOUT))
        if layout.kind == hdf5_values.VIRTUAL:
            raise self._error(path, "is put together from other arrays (virtual)")
        has_filters = header.has(hdf5_headers.FILTERS)
        filters = hdf5_values.read_filters(header.one(hdf5_headers.FILTERS)) if has_filters else []
        for filter in filters:
            if filter.number not in hdf5_values.FILTERS:
                known = ", ".join(hdf5_values.FILTERS.values())
                raise self._error(path, f"is packed by the filter {filter.number}; read are {known}")
        if len({filter.number for filter in filters}) < len(filters):
            raise self._error(path, "is packed by one filter twice")
        if filters and layout.kind != hdf5_values.CHUNKED:
            raise self._error(path, "is packed, but not in pieces")
        return layout, filters

    def _dtype(self, item: _Object, path: str) -> tuple[np.dtype, bool]:
        """NumPy's type, and whether it is bfloat16 (then of 16-bit numbers), which Keras marks by an attribute."""
        kind = read_type(item.header.one(hdf5_headers.TYPE))
        if kind.dtype is not None:
            return kind.dtype, kind.is_bfloat16
        if kind.kind == OPAQUE and kind.size == 2 and self._text(item, b"dtype", path) == "bfloat16":
            return np.dtype("<u2"), True
        raise self._error(path, "holds no plain numbers")

    def _pieces(self, layout: hdf5_values.Layout, shape: tuple[int, ...], size: int, filters: list, path: str
                ) -> list[hdf5_values.Piece]:  # fmt: skip
        if layout.kind != hdf5_values.CHUNKED:
            return []
        if len(layout.chunk) != len(shape) or 0 in layout.chunk or \
                any(part > max(whole, 1) for part, whole in zip(layout.chunk, shape, strict=True)):  # fmt: skip
            raise self._error(path, f"has the shape {shape} in larger pieces of {layout.chunk}")
        return hdf5_values.pieces(self._source, layout, shape, size, bool(filters))

    def _check_size(self, layout: hdf5_values.Layout, shape: tuple[int, ...], size: int,
                    found: list[hdf5_values.Piece], filters: list, path: str) -> None:  # fmt: skip
        """What an array claims must be there, and all together must be no more than the file can hold."""
        claimed, is_chunked = math.prod(shape) * size, layout.kind == hdf5_values.CHUNKED
        stored = sum(piece.stored for piece in found) if is_chunked else layout.stored
        self._stored += stored
        whole = math.prod(max(axis, 1) for axis in shape) * size  # NumPy counts so, too, where an axis is empty
        self._claimed += max(whole, len(found) * math.prod(layout.chunk) * size)
        if not is_chunked and claimed != stored and claimed:
            raise self._error(path, f"claims {claimed} bytes of values, but {stored} are there")
        if claimed > (_DEFLATE_LIMIT * stored + 64 if filters else stored) or self._stored > self._size:
            raise self._error(path, f"of the shape {shape} claims {claimed} bytes of values; {stored} are said to be "
                              f"stored, and the file has {self._size}")  # fmt: skip
        if self._claimed > max(SMALL, MOST_INFLATION * self._size):
            raise self._error(path, f"and the arrays before it claim {self._claimed} bytes, over {MOST_INFLATION} "
                              "times the file's own")  # fmt: skip
        pieces = math.prod(-(-whole // part) for whole, part in zip(shape, layout.chunk, strict=is_chunked))
        if claimed and is_chunked and len(found) != pieces:
            raise self._error(path, f"has {len(found)} of its {pieces} pieces; the rest is not there")
