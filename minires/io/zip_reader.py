"""Zip archives read without trust (.pth, .npz, .keras): every claim is checked before anything is allocated for it.

The format: PKWARE's APPNOTE.TXT. From the end of the file backwards: an end record says where the central directory
lies; the directory has one entry a member: name, sizes, checksum, and where the member's local header lies; behind that
the bytes. Python's zipfile believes much of it (a forged size is allocated, two members may share bytes); here an
archive is refused as soon as two places disagree. What no writer of weights does is refused as well: encryption,
several disks, bytes before or between the parts, names that leave the folder.
"""

import struct
import zlib
from dataclasses import dataclass

from minires.errors import FileFormatError
from minires.io import files

SMALL = 64 << 20  # bytes that a file of any size may unpack to
MOST_INFLATION = 100  # beyond SMALL: times the file's size. A trained model's weights hardly shrink
_DEFLATE_LIMIT = 1032  # times: no deflated bytes can become more

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIPTOR, _UTF8 = 0x1, 0x8, 0x800  # bits of a member's flags
_HERE = 0xFFFFFFFF  # in place of a 32-bit number: it stands in the zip64 part of the entry

_END = struct.Struct("<4s4H2LH")  # signature, disks and counts, size and offset of the directory, length of comment
_END64 = struct.Struct("<4sQ2H2L4Q")  # the same in 64 bits
_LOCATOR = struct.Struct("<4sLQL")  # where the 64-bit record lies
_ENTRY = struct.Struct("<4s6H3L5H2L")  # of the central directory
_LOCAL = struct.Struct("<4s5H3L2H")  # before the member's bytes


@dataclass(frozen=True)
class Member:
    """One file of an archive. `offset`: of its first byte in the archive; `stored`: bytes there; `size`: unpacked."""

    name: str
    header: int
    offset: int
    stored: int
    size: int
    checksum: int
    deflated: bool


class ZipReader:
    """The members of the archive `data`. FileFormatError with the byte of the fault; `path` only names the file in it.

    Making one checks everything but the members' content, which `read` checks.
    """

    def __init__(self, data: bytes, path: files.PathLike) -> None:
        self._data, self._path = memoryview(data), path
        start, size, count = self._find_directory()
        self.members = {member.name: member for member in self._entries(start, size, count)}
        self._check_places(start)
        total = sum(member.size for member in self.members.values())
        if total > max(SMALL, MOST_INFLATION * len(data)):
            raise self._error(start, f"the members claim {total} bytes, over {MOST_INFLATION} times the file's own")

    def read(self, name: str) -> memoryview:
        """The bytes of a member, read-only; those of one that is not compressed share the file's memory."""
        member = self.members[name]
        content = self._data[member.offset : member.offset + member.stored]
        if member.deflated:
            content = self._inflate(member, content)
        if zlib.crc32(content) != member.checksum:
            raise self._error(member.offset, f"{name!r}: the checksum does not fit: the file is damaged")
        return content

    def _inflate(self, member: Member, content: memoryview) -> memoryview:
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            unpacked = stream.decompress(content, member.size + 1)
        except zlib.error as error:
            raise self._error(member.offset, f"{member.name!r}: {error}") from error
        if len(unpacked) != member.size or not stream.eof or stream.unused_data:
            raise self._error(member.offset, f"{member.name!r} does not unpack to the {member.size} bytes it claims")
        return memoryview(unpacked)

    def _error(self, offset: int, reason: str) -> FileFormatError:
        return FileFormatError(self._path, offset, reason)

    # ------------------------------------------------------------------------------------------- the end record

    def _find_directory(self) -> tuple[int, int, int]:
        """Offset, size and number of entries of the central directory."""
        data = self._data
        tail_start = max(0, len(data) - _END.size - 0xFFFF)
        tail = bytes(data[tail_start:])
        place = tail.rfind(b"PK\5\6")
        end = tail_start + place
        if place < 0 or end + _END.size > len(data):
            raise self._error(len(data), "the archive has no end: it is cut off, or no zip archive")
        _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, end)
        if end + _END.size + comment != len(data):
            raise self._error(end, "bytes after the end of the archive")
        stop, narrow = end, (disk, first_disk, here, count, size, start)  # stop: where the directory must end
        locator = end - _LOCATOR.size
        if locator >= 0 and bytes(data[locator : locator + 4]) == b"PK\6\7":
            stop, *wide = self._end64(locator)
            for number, other, unknown in zip(narrow, wide, (0xFFFF,) * 4 + (_HERE,) * 2, strict=True):
                if number not in (other, unknown):
                    raise self._error(end, "the two end records disagree")
            disk, first_disk, here, count, size, start = wide
        if disk or first_disk or here != count:
            raise self._error(end, "an archive of several disks")
        if start + size != stop:
            raise self._error(end, f"the directory of {size} bytes at byte {start} does not end at byte {stop}")
        if count * _ENTRY.size > size:
            raise self._error(end, f"{count} members do not fit into a directory of {size} bytes")
        return start, size, count

    def _end64(self, place: int) -> list[int]:
        """Where the 64-bit end record lies, and its numbers; its locator is at `place`."""
        _, disk, start, disks = _LOCATOR.unpack_from(self._data, place)
        if disk or disks > 1 or start + _END64.size != place:
            raise self._error(place, "the 64-bit end record is not where it should be")
        signature, length, _, _, disk, first_disk, here, count, size, offset = _END64.unpack_from(self._data, start)
        if signature != b"PK\6\6" or length != _END64.size - 12:
            raise self._error(start, "the 64-bit end record is not valid")
        return [start, disk, first_disk, here, count, size, offset]

    # ------------------------------------------------------------------------------------------ the directory

    def _entries(self, start: int, size: int, count: int) -> list[Member]:
        members, names, place = [], set(), start
        for _ in range(count):
            if place + _ENTRY.size > start + size:
                raise self._error(place, "the directory is cut off")
            fields = _ENTRY.unpack_from(self._data, place)
            lengths = fields[10:13]  # of the name, the extra part and the comment
            following = place + _ENTRY.size + sum(lengths)
            if fields[0] != b"PK\1\2" or following > start + size:
                raise self._error(place, "the directory is damaged")
            text = bytes(self._data[place + _ENTRY.size : following])
            member = self._entry(place, fields, text[: lengths[0]], text[lengths[0] : lengths[0] + lengths[1]])
            if member.name in names:
                raise self._error(place, f"two members have the name {member.name!r}")
            names.add(member.name)
            members.append(member)
            place = following
        if place != start + size:
            raise self._error(place, "bytes after the last entry of the directory")
        return [member for member in members if not member.name.endswith("/")]  # folders

    def _entry(self, place: int, fields: tuple, name: bytes, extra: bytes) -> Member:
        _, _, _, flags, method, _, _, checksum, stored, size, _, _, _, disk, _, _, header = fields
        text = self._name(place, name, bool(flags & _UTF8))
        size, stored, header = self._wide(place, extra, (size, stored, header))
        if flags & _ENCRYPTED or flags & ~(_DESCRIPTOR | _UTF8 | 0x6):  # 0x6: how hard the packer tried
            raise self._error(place, f"{text!r} is encrypted or uses other features that are not read")
        if method not in (_STORED, _DEFLATED) or disk:
            raise self._error(place, f"{text!r} is packed by method {method}; read are 0 (stored) and 8 (deflated)")
        if method == _STORED and stored != size:
            raise self._error(place, f"{text!r} is stored, yet claims {stored} bytes for {size}")
        if size > _DEFLATE_LIMIT * stored + 64:
            raise self._error(place, f"{text!r} claims that {stored} bytes unpack to {size}, which they cannot")
        if header + _LOCAL.size + stored > len(self._data):
            raise self._error(place, f"{text!r} claims {stored} bytes at byte {header}, more than the file has")
        offset = self._local(header, text, name, (flags, method, checksum, stored, size))
        return Member(text, header, offset, stored, size, checksum, method == _DEFLATED)

    def _name(self, place: int, name: bytes, utf8: bool) -> str:
        try:
            text = name.decode("utf-8" if utf8 else "cp437")
        except UnicodeDecodeError as error:
            raise self._error(place, "a member's name is not valid UTF-8") from error
        parts = text.removesuffix("/").split("/")
        if any(part in ("", ".", "..") for part in parts) or any(mark in text for mark in "\\\0:"):
            raise self._error(place, f"the member name {text!r} is not a plain relative path")
        return text

    def _wide(self, place: int, extra: bytes, numbers: tuple[int, int, int]) -> tuple[int, int, int]:
        """Size, stored size and offset of the header; those that need more than 32 bits stand in a part of `extra`."""
        missing = [index for index, number in enumerate(numbers) if number == _HERE]
        found, position = list(numbers), 0
        while missing and position + 4 <= len(extra):
            kind, length = struct.unpack_from("<2H", extra, position)
            body = extra[position + 4 : position + 4 + length]
            if kind == 1 and len(body) == length and length >= 8 * len(missing):
                for index, number in zip(missing, struct.unpack_from(f"<{len(missing)}Q", body), strict=True):
                    found[index] = number
                missing = []
            position += 4 + length
        if missing:
            raise self._error(place, "a 64-bit size is announced and missing")
        return found[0], found[1], found[2]

    # --------------------------------------------------------------------------------------- the local headers

    def _local(self, place: int, text: str, name: bytes, expected: tuple[int, int, int, int, int]) -> int:
        """Offset of the first byte of a member, whose local header must say what the directory says."""
        signature, _, flags, method, _, _, *numbers, name_length, extra_length = _LOCAL.unpack_from(self._data, place)
        offset = place + _LOCAL.size + name_length + extra_length
        there = bytes(self._data[place + _LOCAL.size : place + _LOCAL.size + name_length])
        if signature != b"PK\3\4" or there != name or (flags, method) != expected[:2]:
            raise self._error(place, f"here should be the local header of {text!r}")
        # after a descriptor bit the numbers stand behind the member, in 64 bits elsewhere: then the directory's count
        told_here = not flags & _DESCRIPTOR and _HERE not in numbers[1:]
        if told_here and tuple(numbers) != expected[2:]:
            raise self._error(place, f"{text!r}: the local header and the directory disagree")
        return offset

    def _check_places(self, directory: int) -> None:
        """No two members share a byte, and all lie before the directory."""
        end, last = 0, ""
        for member in sorted(self.members.values(), key=lambda member: member.header):
            if member.header < end:
                raise self._error(member.header, f"{member.name!r} overlaps {last!r}")
            end, last = member.offset + member.stored, member.name
        if end > directory:
            raise self._error(directory, f"{last!r} claims to end at byte {end}, inside the directory or after it")
