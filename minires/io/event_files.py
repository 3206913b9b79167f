"""Files of events that TensorBoard reads: the format, without TensorFlow.

A file is a chain of records (TensorFlow's TFRecord), each of them

    length (8 bytes, little-endian)   checksum of it (4)   content (length)   checksum of it (4)

The checksum is CRC-32C (Castagnoli), turned by 15 bits and moved by a constant, so that the checksum of data that hold
checksums is still one. The content is a message in the encoding of protocol buffers: fields as (number << 3 | kind)
followed by a value, kind 0 a varint, 1 eight bytes, 2 a length and so many bytes, 5 four bytes. What is used here:

    Event      1 wall_time (8 bytes)  2 step (varint)  3 file_version  5 summary  7 session_log
    Summary    1 value, repeated:  1 tag  2 simple_value (4 bytes)           SessionLog    1 status (1: a start)

Sources: tensorflow/core/lib/io/record_writer.cc, tensorflow/core/util/event.proto, framework/summary.proto.
"""

import functools
import os
import struct
import time
from collections.abc import Callable, Mapping

from minires.io import files

VERSION = b"brain.Event:2"
_POLYNOMIAL, _MOVED_BY = 0x82F63B78, 0xA282EAD8


class EventFile:
    """One file in `folder`, numbered after those that are there; a torn end of an earlier one spoils nothing."""

    def __init__(self, folder: str, step: int = 0, clock: Callable[[], float] = time.time) -> None:
        """step: where the training stands; what earlier files tell of later steps is void from here on."""
        files.make_folder(folder)
        number = sum("tfevents" in name for name in files.list_folder(folder)) + 1
        self.path = os.path.join(folder, f"events.out.tfevents.{number:010d}.minires")
        self.clock = clock
        self._add(_text(3, VERSION))
        self._add(_number(2, step) + _message(7, _number(1, 1)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step by name, such as "val/loss"."""
        parts = (_text(1, tag.encode("utf-8", "replace")) + _float(2, value) for tag, value in values.items())
        self._add(_number(2, step) + _message(5, b"".join(_message(1, part) for part in parts)))

    def _add(self, fields: bytes) -> None:
        content = record(_double(1, self.clock()) + fields)
        try:
            with files.opened(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as descriptor:
                files.write_all(descriptor, memoryview(content))
        except OSError as error:
            raise files.write_error(error, self.path, len(content)) from error


def record(content: bytes) -> bytes:
    """One record."""
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc(length)) + content + struct.pack("<I", masked_crc(content))


def masked_crc(data: bytes) -> int:
    """The checksum as records hold it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MOVED_BY) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C, a byte at a time."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@functools.cache
def _table() -> tuple[int, ...]:
    """What each byte does to the checksum."""
    entries = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        entries.append(byte)
    return tuple(entries)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last byte have the highest bit set."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


_text = _message
