"""The oldest of torch's formats (0.1, autumn 2016): a tar archive with the files "storages", "tensors" and "pickle".

storages: a pickled count, then for each a pickled (name, device, class), the number of elements in 8 bytes and the
bytes; then a pickled list of views (name, root, first element, elements). tensors: a pickled count, then for each a
pickled (name, storage, class), the number of axes in 4 bytes, 4 unused ones, shape, strides and offset in 8 bytes a
number. pickle: the object, in which a whole number as persistent id means a tensor or storage.

A tar archive is a row of headers of 512 bytes, each before the bytes of its file, in steps of 512. Nothing is unpacked
to disk; links, devices and anything but plain files are refused.
"""

import struct
from collections.abc import Callable
from typing import Any

from minires.errors import FileFormatError
from minires.io import files
from minires.io.torch_values import KNOWN, Storage, TorchTensor, storage_claim
from minires.io.unpickle import Unpickler

_BLOCK = 512
_FILE, _ABOUT = (b"0", b"\0"), (b"x", b"g")  # plain files; what is told about the next one: times and owners


def is_tar(data: bytes) -> bool:
    """Whether a file begins as a tar archive does."""
    return data[257:262] == b"ustar"


def read(data: bytes, path: files.PathLike) -> tuple[Any, list[str]]:
    """The object in such a file, and the names that were not constructed. FileFormatError for damage."""
    parts = _members(data, path)
    missing = [name for name in ("storages", "tensors", "pickle") if name not in parts]
    if missing:
        raise FileFormatError(path, len(data), f"the archive has no file {missing[0]!r}: torch did not write it")
    found: dict[int, Any] = {}
    _read_storages(_Stream(data, path, *parts["storages"]), found)
    _read_tensors(_Stream(data, path, *parts["tensors"]), found)

    def persistent(given: Any) -> Any:
        if type(given) is tuple and len(given) == 3:  # a class, beside its source text
            return given[0]
        return found[_name(given, found)]

    stream = _Stream(data, path, *parts["pickle"])
    obj = stream.pickled(persistent)
    return obj, stream.ignored


def _members(data: bytes, path: files.PathLike) -> dict[str, tuple[int, int]]:
    """Name -> first byte and end of each file of the archive."""
    found: dict[str, tuple[int, int]] = {}
    place = 0
    while place + _BLOCK <= len(data) and any(data[place : place + _BLOCK]):
        header = data[place : place + _BLOCK]
        name, size, kind = header[:100].rstrip(b"\0"), header[124:136].strip(b" \0"), header[156:157]
        if not size or any(digit not in b"01234567" for digit in size):
            raise FileFormatError(path, place, "a header without a size")
        start, end = place + _BLOCK, place + _BLOCK + int(size, 8)
        if end > len(data):
            raise FileFormatError(path, place, f"a file of {end - start} bytes, {len(data) - start} are left")
        if kind in _FILE:
            text = name.decode("latin-1")
            if text in found:
                raise FileFormatError(path, place, f"two files have the name {text!r}")
            found[text] = (start, end)
        elif kind not in _ABOUT:
            raise FileFormatError(path, place, f"an entry of the type {kind!r}: only plain files are read, no links")
        place = start + (end - start + _BLOCK - 1) // _BLOCK * _BLOCK
    return found


class _Stream:
    """Pickles and numbers in turn, from one file of the archive."""

    def __init__(self, data: bytes, path: files.PathLike, start: int, end: int) -> None:
        self.content, self.path, self.base, self.position = memoryview(data)[start:end], path, start, 0
        self.ignored: list[str] = []

    def pickled(self, persistent: Any = None) -> Any:
        unpickler = Unpickler(self.content, self.path, KNOWN, persistent, self.position, self.base)
        obj = unpickler.load()
        self.position, self.ignored = unpickler.position, list(unpickler.ignored)
        return obj

    def count(self) -> int:
        """A pickled number of things to come, each of at least one byte."""
        number = self.pickled()
        if type(number) is not int or not 0 <= number <= len(self.content):
            raise self.error("expected the number of entries")
        return number

    def take(self, size: int) -> memoryview:
        if not 0 <= size <= len(self.content) - self.position:
            raise self.error(f"{size} bytes are announced, {len(self.content) - self.position} are left")
        self.position += size
        return self.content[self.position - size : self.position]

    def numbers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}q", self.take(8 * count))

    def error(self, reason: str) -> FileFormatError:
        return FileFormatError(self.path, self.base + self.position, reason)


def _name(given: Any, found: dict[int, Any]) -> int:
    """A name, which is a number or its digits, of something that has been met. ValueError otherwise."""
    if type(given) is str and given.isdigit() and len(given) < 30:
        given = int(given)
    if type(given) is not int or given not in found:
        raise ValueError("a name of no storage or tensor")
    return given


def _read_storages(stream: _Stream, found: dict[int, Any]) -> None:
    for _ in range(stream.count()):
        entry = stream.pickled()
        try:
            key, _device, kind = entry
            dtype, _, _ = storage_claim(kind, key, 0)
            number = int(key)
        except (ValueError, TypeError) as error:
            raise stream.error(f"a storage: {error}") from error
        (count,) = stream.numbers(1)
        content = stream.take(count * dtype.size)
        found[number] = Storage(dtype, count, _give(content))
    for view in _rows(stream, 4):
        key, root, start, count = view
        storage = found.get(root)
        inside = isinstance(storage, Storage) and min(start, count) >= 0 and start + count <= storage.count
        if not isinstance(storage, Storage) or not inside or storage.root is not None:
            raise stream.error("a view of no storage, or beyond its end")
        found[key] = Storage(storage.dtype, count, root=storage, start=start)


def _give(content: memoryview) -> Callable[[], memoryview]:
    return lambda: content


def _rows(stream: _Stream, length: int) -> list[Any]:
    """A pickled list of tuples of whole numbers."""
    rows = stream.pickled()
    if type(rows) is not list or any(type(row) is not tuple or len(row) != length for row in rows):
        raise stream.error("expected a list of views")
    if any(type(number) is not int for row in rows for number in row):
        raise stream.error("a view that is not made of numbers")
    return rows


def _read_tensors(stream: _Stream, found: dict[int, Any]) -> None:
    tensors: dict[int, TorchTensor] = {}
    for _ in range(stream.count()):
        entry = stream.pickled()
        try:
            key, storage, _kind = entry
            (axes,) = struct.unpack("<i4x", stream.take(8))
            if axes < 0:
                raise ValueError("a negative number of axes")
            shape, stride, (offset,) = stream.numbers(axes), stream.numbers(axes), stream.numbers(1)
            tensors[int(key)] = TorchTensor().set(found[_name(storage, found)], offset, shape, stride)
        except (ValueError, TypeError) as error:
            raise stream.error(f"a tensor: {error}") from error
    found.update(tensors)
