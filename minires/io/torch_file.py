"""Files that torch.save wrote (.pth, .pt, .bin, .ckpt), read without torch and without executing anything.

Three formats, told apart by how they begin:
    zip      since torch 1.6: NAME/data.pkl, a pickle, beside NAME/data/0, NAME/data/1, ... with the numbers
    legacy   torch 0.1.10 to 1.5: five pickles in a row (magic number, protocol, system, the object, names of the
             storages), then the storages
    tar      torch 0.1: files "storages", "tensors" and "pickle" in a tar archive (torch_tar.py)
The object in the pickle may hold anything; see unpickle.py for what becomes of it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minires.errors import FileFormatError
from minires.io import files, torch_tar
from minires.io.torch_values import KNOWN, Storage, storage_claim
from minires.io.unpickle import Unpickler
from minires.io.zip_reader import ZipReader

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the legacy format
_MAGIC_LONG = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little")  # its instruction in the first pickle
_NEWEST = 10  # version of the zip format
_LOOKS_LIKE = (  # how other files begin that come under these names
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"),
    (b"<", "a web page or XML, not weights: download the file itself"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x80", "a plain pickle, not written by torch.save"),
    (b"", "no file that torch.save wrote"),
)


@dataclass(frozen=True)
class TorchFile:
    """What a torch file holds. obj: plain data with TorchTensor, NumpyArray and Placeholder objects in it.

    ignored: dotted names of the classes and functions that were not constructed. format: "zip", "legacy" or "tar".
    """

    obj: Any
    ignored: list[str]
    format: str


def load_object(path: files.PathLike) -> TorchFile:
    """All that a torch file holds. FileFormatError with the byte of the fault if it is damaged or hostile."""
    return from_bytes(files.read_bytes(path), path)


def from_bytes(data: bytes, path: files.PathLike) -> TorchFile:
    """What the content of a torch file holds; `path` only names it in FileFormatError."""
    if data.startswith(b"PK\3\4"):
        return _read_zip(data, path)
    if data.startswith(b"\x80") and _MAGIC_LONG in data[:32]:
        return _read_legacy(data, path)
    if torch_tar.is_tar(data):
        return TorchFile(*torch_tar.read(data, path), format="tar")
    what = next(text for beginning, text in _LOOKS_LIKE if data.startswith(beginning))
    raise FileFormatError(path, 0, f"this is {what}" if data else "the file is empty")


# ---------------------------------------------------------------------------------------------------------------- zip


def _read_zip(data: bytes, path: files.PathLike) -> TorchFile:
    archive = ZipReader(data, path)
    found = [name for name in archive.members if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(found) != 1:
        raise FileFormatError(path, len(data), f"a zip archive with {len(found)} pickles NAME/data.pkl; torch has one")
    root = found[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in archive.members:
        hint = "in torch: torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
        raise FileFormatError(path, 0, "a TorchScript program (torch.jit.save), not weights", hint=hint)
    order = _byte_order(archive, root, path)
    storages: dict[str, Storage] = {}

    def persistent(given: Any) -> Storage:
        if type(given) is not tuple or len(given) != 5 or given[0] not in ("storage", b"storage"):
            raise TypeError("expected ('storage', class, name, device, elements)")
        dtype, key, count = storage_claim(given[1], given[2], given[4])
        member = archive.members.get(f"{root}data/{key}")
        if member is None:
            raise ValueError(f"the archive has no storage {key!r}")
        if member.size != count * dtype.size:
            raise ValueError(f"storage {key!r}: {count} x {dtype.name} claimed, {member.size} bytes there")
        if key not in storages:
            storages[key] = Storage(dtype, count, lambda: archive.read(member.name), order)
        return _as_type(storages[key], dtype, key)

    member = archive.members[found[0]]
    place = 0 if member.deflated else member.offset
    unpickler = Unpickler(archive.read(found[0]), path, KNOWN, persistent, place=place)
    obj = unpickler.load()
    return TorchFile(obj, list(unpickler.ignored), "zip")


def _byte_order(archive: ZipReader, root: str, path: files.PathLike) -> str:
    """ "<" or ">" of the storages, after a look at the version of the format."""
    version = archive.members.get(f"{root}version")
    text = bytes(archive.read(version.name)).strip() if version else b"3"
    if not text.isdigit() or not 1 <= int(text[:9]) <= _NEWEST:
        raise FileFormatError(path, version.offset if version else None,
                              f"version {text[:20]!r} of the format; known are 1 to {_NEWEST}")  # fmt: skip
    entry = archive.members.get(f"{root}byteorder")
    text = bytes(archive.read(entry.name)) if entry else b"little"
    if text not in (b"little", b"big"):
        raise FileFormatError(path, entry.offset if entry else None, f"the byte order {text[:20]!r}")
    return "<" if text == b"little" else ">"


def _as_type(storage: Storage, dtype: Any, key: str) -> Storage:
    """A storage that is met again, which must have the type that it had before."""
    if storage.dtype != dtype:
        raise ValueError(f"storage {key!r} is {storage.dtype.name} and {dtype.name}")
    return storage


# ------------------------------------------------------------------------------------------------------------- legacy


def _read_legacy(data: bytes, path: files.PathLike) -> TorchFile:
    storages: dict[str, Storage] = {}
    parts: dict[tuple[str, str], Storage] = {}

    def persistent(given: Any) -> Any:
        if type(given) is not tuple or not given:
            raise TypeError("expected a tuple")
        if given[0] in ("module", b"module") and len(given) == 4:  # a class, beside its source text
            return given[1]
        if given[0] not in ("storage", b"storage") or len(given) != 6:
            raise TypeError("expected ('storage', class, name, device, elements, view)")
        dtype, key, count = storage_claim(given[1], given[2], given[4])
        if count * dtype.size > len(data):
            raise ValueError(f"storage {key!r} of {count} x {dtype.name} is larger than the file")
        root = _as_type(storages.setdefault(key, Storage(dtype, count)), dtype, key)
        return root if given[5] is None else _part(root, key, given[5], parts)

    start, found = 0, []
    unpickler = None
    for part in range(5):
        unpickler = Unpickler(data, path, KNOWN, persistent if part == 3 else None, start)
        found.append(unpickler.load())
        start = unpickler.position
        if part == 1 and found != [_MAGIC, _PROTOCOL]:
            raise FileFormatError(path, 0, "not the magic number and the protocol of torch's files")
        if part == 3:
            ignored = list(unpickler.ignored)
    _read_storages(data, path, start, found[4], storages)
    return TorchFile(found[3], ignored, "legacy")


def _part(root: Storage, key: str, view: Any, parts: dict[tuple[str, str], Storage]) -> Storage:
    """A part of a storage that torch 0.1 to 0.3 could share: (name, first element, elements)."""
    if type(view) is not tuple or len(view) != 3 or any(type(number) is not int for number in view[1:]):
        raise TypeError("a view is (name, first element, elements)")
    name, start, count = view
    if start < 0 or count < 0 or start + count > root.count:
        raise ValueError(f"a view of elements {start} to {start + count} of a storage of {root.count}")
    part = parts.setdefault((key, str(name)[:100]), Storage(root.dtype, count, root=root, start=start))
    if (part.start, part.count) != (start, count):
        raise ValueError(f"two views have the name {str(name)[:100]!r}")
    return part


def _read_storages(data: bytes, path: files.PathLike, start: int, keys: Any, storages: dict[str, Storage]) -> None:
    """Each storage is its number of elements, in 8 bytes, and its bytes, little-endian on every machine."""
    if type(keys) is not list or any(type(key) not in (str, int) for key in keys):
        raise FileFormatError(path, start, "the names of the storages are not a list of text")
    names = [str(key) for key in keys]
    if sorted(names) != sorted(storages):
        raise FileFormatError(path, start, f"{len(storages)} storages are used, {len(set(names))} announced, "
                              "or under other names")  # fmt: skip
    view = memoryview(data)
    for name in names:
        storage = storages[name]
        if start + 8 > len(data):
            raise FileFormatError(path, len(data), f"the file ends before storage {name!r}")
        count, size = int.from_bytes(data[start : start + 8], "little", signed=True), storage.count * storage.dtype.size
        if count != storage.count or start + 8 + size > len(data):
            raise FileFormatError(path, start, f"storage {name!r}: {storage.count} x {storage.dtype.name} claimed, "
                                  f"{count} announced, {len(data) - start - 8} bytes left")  # fmt: skip
        storage.source = _slice(view[start + 8 : start + 8 + size])
        start += 8 + size


def _slice(content: memoryview) -> Callable[[], memoryview]:
    return lambda: content
