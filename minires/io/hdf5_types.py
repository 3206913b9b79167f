"""What the values of an HDF5 array or attribute are: their type and their shape.

Of types only plain numbers become NumPy's; the rest is told apart as far as needed to refuse it.

Source: HDF5 File Format Specification 3.0, IV.A.2.b and d.
"""

from dataclasses import dataclass

import numpy as np

from minires.io.hdf5_bytes import Cursor

INTEGER, FLOAT, TEXT, OPAQUE, ENUM, VARIABLE = 0, 1, 3, 5, 8, 9
_MOST_AXES = 32
_MANTISSA_IMPLIED = 2
# bits of a float: (size in bytes; sign, exponent at, exponent bits, mantissa at, mantissa bits, bias) -> NumPy's type
_FLOATS: dict[tuple[int, ...], str] = {
    (2, 15, 10, 5, 0, 10, 15): "f2",
    (4, 31, 23, 8, 0, 23, 127): "f4",
    (8, 63, 52, 11, 0, 52, 1023): "f8",
    (2, 15, 7, 8, 0, 7, 127): "bfloat16",
}


@dataclass
class Type:
    """`dtype`: NumPy's; None if it has none. is_apart: texts of any length, which lie in a heap."""

    kind: int
    size: int
    dtype: np.dtype | None = None
    is_bfloat16: bool = False
    is_text: bool = False
    is_apart: bool = False

    @property
    def is_harmless(self) -> bool:
        """Numbers and texts; the other types hold references and objects."""
        return self.kind in (INTEGER, FLOAT, ENUM) or self.is_text


def read_type(body: Cursor) -> Type:
    """A message that describes a type."""
    first = body.number(1)
    kind, bits, size = first & 0xF, body.number(3), body.number(4)
    if size == 0:
        raise body.error("is a type of 0 bytes")
    if kind == INTEGER:
        return Type(kind, size, _integer(body, bits, size))
    if kind == FLOAT:
        return _float(body, bits, size)
    if kind == VARIABLE:
        return Type(kind, size, is_text=bits & 0xF == 1, is_apart=True)
    return Type(kind, size, is_text=kind == TEXT)


def _integer(body: Cursor, bits: int, size: int) -> np.dtype | None:
    offset, precision = body.number(2), body.number(2)
    if size not in (1, 2, 4, 8) or offset or precision != 8 * size:
        return None
    return np.dtype(f"{'>' if bits & 1 else '<'}{'i' if bits & 8 else 'u'}{size}")


def _float(body: Cursor, bits: int, size: int) -> Type:
    offset, precision = body.number(2), body.number(2)
    layout = (size, bits >> 8 & 0xFF, *body.numbers(4, 1), body.number(4))
    is_usual = offset == 0 and precision == 8 * size and bits >> 4 & 3 == _MANTISSA_IMPLIED and not bits & 0x40
    name = _FLOATS.get(layout) if is_usual else None
    if name is None:
        return Type(FLOAT, size)
    order = ">" if bits & 1 else "<"
    is_bfloat16 = name == "bfloat16"
    return Type(FLOAT, size, np.dtype(order + ("u2" if is_bfloat16 else name)), is_bfloat16)


# ------------------------------------------------------------------------------------------------------------ shapes


@dataclass
class Space:
    """The shape of values; None if there are none at all."""

    shape: tuple[int, ...] | None


def read_space(body: Cursor) -> Space:
    """A message that describes a shape. How far it may grow is of no interest here."""
    version = body.expect("version", 1, 2)
    rank, _ = body.number(1), body.number(1)
    if rank > _MOST_AXES:
        raise body.error(f"has {rank} axes")
    kind = body.number(1) if version == 2 else 0
    body.skip(5 if version == 1 else 0)
    shape = body.numbers(rank, 8)
    return Space(None if version == 2 and kind == 2 else shape)
