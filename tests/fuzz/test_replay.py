"""The fuzzing corpus replayed, and mutations of it by a seeded generator: no fuzzer is needed.

A content that made a fuzzer find a fault goes into tests/fuzz/corpus/READER/, and is tried here from then on.
"""

import random
import struct
import zlib

import pytest

from tests.fuzz.readers import READERS, check, corpus, sound_files

pytestmark = pytest.mark.timeout(120)

MUTATIONS = 10_000  # of each reader: a second or two
FEWER = {"hdf5": 1500, "keras": 1500}  # whose files are larger
INTERESTING = (0, 1, 2, 4, 8, 64, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63)
OPCODES = b"()]}.NKMJGXUTCBRQabcehijloqrstu0123" + bytes(range(0x80, 0x98))


def mutate(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """One to four changes: a byte, a bit, a number, a cut, a copy, a piece of another file, an instruction, a digit, an
    address."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(changed) + 1)
        kind = draw.randrange(9)
        if kind == 0 and place < len(changed):
            changed[place] = draw.randrange(256)
        elif kind == 1 and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            layout = draw.choice(("<H", "<I", "<Q", ">I"))
            number = draw.choice(INTERESTING) % (1 << 8 * struct.calcsize(layout))
            changed[place : place + struct.calcsize(layout)] = struct.pack(layout, number)
        elif kind == 3:
            del changed[place : place + draw.choice((1, 2, 4, 30, 1000))]
        elif kind == 4:
            piece = changed[place : place + draw.randrange(1, 60)]
            where = draw.randrange(len(changed) + 1)
            changed[where:where] = piece * draw.choice((1, 1, 2, 100))
        elif kind == 5:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            changed[place:place] = other[start : start + draw.randrange(1, 80)]
        elif kind == 6:
            changed[place:place] = bytes([draw.choice(OPCODES)])
        elif kind == 7:  # eight bytes found elsewhere in place of eight: an address that leads astray
            other = draw.randrange(len(changed) + 1)
            changed[place : place + 8] = changed[other : other + 8]
        else:
            digits = [at for at, byte in enumerate(changed) if 48 <= byte <= 57]
            if digits:
                changed[draw.choice(digits)] = draw.choice(b"0123456789-")
        changed = changed or bytearray(b"\0")
    return bytes(changed)


def repaired(data: bytes) -> bytes:
    """A zip archive with the checksums of its stored members put right, so that a mutation gets behind them."""
    changed = bytearray(data)
    at = changed.find(b"PK\3\4")
    while 0 <= at <= len(changed) - 30:
        method, _, _, _, stored, size, name, extra = struct.unpack_from("<3H3L2H", changed, at + 8)
        start = at + 30 + name + extra
        if method == 0 and stored == size and start + size <= len(changed):
            checksum = struct.pack("<L", zlib.crc32(changed[start : start + size]))
            changed[at + 14 : at + 18] = checksum
            entry = changed.find(b"PK\1\2")
            while 0 <= entry <= len(changed) - 46:
                if struct.unpack_from("<L", changed, entry + 42)[0] == at:
                    changed[entry + 16 : entry + 20] = checksum
                entry = changed.find(b"PK\1\2", entry + 4)
        at = changed.find(b"PK\3\4", at + 4)
    return bytes(changed)


def skip_without_files(reader: str) -> None:
    if not sound_files()[reader]:
        assert reader in ("hdf5", "keras")
        pytest.skip("h5py, which writes these files, is not installed")


@pytest.mark.parametrize("reader", READERS)
def test_sound_files_are_read(reader):
    skip_without_files(reader)
    for number, data in enumerate(sound_files()[reader]):
        if (reader, number) != ("torch", 2):  # a storage alone, which holds no weights
            assert check(reader, data), f"sound file {number} of {reader}"


@pytest.mark.parametrize("reader", READERS)
def test_the_corpus_is_read_or_refused(reader):
    for name, data in corpus(reader):
        try:
            check(reader, data)
        except Exception as error:
            raise AssertionError(f"{reader}: {name}") from error


@pytest.mark.parametrize("reader", READERS)
def test_mutations_are_read_or_refused(reader):
    draw = random.Random(f"{reader} 1")
    entries = [data for _, data in corpus(reader)]
    skip_without_files(reader)
    read, mutations = 0, FEWER.get(reader, MUTATIONS)
    for number in range(mutations):
        data = mutate(draw.choice(entries), entries, draw)
        if number % 2 and reader in ("zip", "npz", "torch", "keras"):
            data = repaired(data)
        try:
            read += check(reader, data)
        except Exception as error:
            raise AssertionError(f"{reader}, mutation {number}: {data!r}"[:5000]) from error
    assert 0 < read < mutations, "some mutations must be harmless and some must not"


def test_the_check_can_fail(monkeypatch):
    def careless(data):
        raise IndexError("beyond the end")

    monkeypatch.setitem(READERS, "zip", careless)
    with pytest.raises(IndexError):
        check("zip", b"")
