"""What stands in for NumPy's objects, and for a few of Python's own, in a pickle (see torch_values.py)."""

import math
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from minires.io.pickle_names import Builder, Placeholder

_NUMBERS = re.compile(r"b1|\?|[iu][1248]|f[248]|c8|c16|[SU]\d{1,6}")
_TEXT_CODES = {"latin1": "latin-1", "latin-1": "latin-1", "iso-8859-1": "latin-1", "utf-8": "utf-8", "utf8": "utf-8"}


class NumpyType:
    """A NumPy dtype. `resolve()` gives the real one, for numbers and text only."""

    def __init__(self, code: str) -> None:
        self.code, self.plain = code, True
        self.order: Literal["<", ">", "|", "="] = "="

    def restore(self, state: Any) -> None:
        """(version, byte order, sub-array, names, fields, ...): only plain types have none of the last three."""
        if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("the state of a dtype")
        self.order, self.plain = state[1], all(part is None for part in state[2:5])

    def resolve(self) -> np.dtype:
        """ValueError for dates, records and Python objects."""
        if not self.plain or not _NUMBERS.fullmatch(self.code):
            raise ValueError(f"NumPy's type {self.code!r} is not read")
        return np.dtype(self.code).newbyteorder(self.order)

    def __repr__(self) -> str:
        return f"<numpy type {self.code}>"


class NumpyArray:
    """A NumPy array in a pickle; `numpy()` gives it."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self._type = NumpyType("f8")
        self._content: bytes | bytearray | str = b""
        self._fortran = False

    def restore(self, state: Any) -> None:
        """(version, shape, dtype, Fortran order, bytes)."""
        if type(state) is not tuple or len(state) != 5:
            raise ValueError("the state of an array")
        self.set(*state[1:])

    def set(self, shape: Any, kind: Any, fortran: Any, content: Any) -> "NumpyArray":
        """ValueError unless the shape and the bytes agree. Arrays of Python objects are kept without values."""
        if type(shape) is not tuple or any(type(size) is not int or not 0 <= size < 1 << 60 for size in shape):
            raise ValueError("the shape of an array must hold whole numbers")
        if not isinstance(kind, NumpyType) or type(content) not in (bytes, bytearray, str, list) or len(shape) > 32:
            raise ValueError("an array needs a type and bytes")
        self.shape, self._type, self._fortran = shape, kind, bool(fortran)
        self._content = b"" if type(content) is list else content
        if type(content) is not list and kind.plain and _NUMBERS.fullmatch(kind.code):
            claimed, there = math.prod(shape) * kind.resolve().itemsize, len(_as_bytes(content))
            if claimed != there or math.prod(size or 1 for size in shape) >= 1 << 60:
                raise ValueError(f"an array that claims {claimed} bytes and has {there}")
        return self

    def numpy(self) -> np.ndarray:
        """The values, in the machine's byte order. TypeError for arrays of dates, records and Python objects."""
        try:
            dtype = self._type.resolve()
        except ValueError as error:
            raise TypeError(str(error)) from error
        array = np.frombuffer(bytearray(_as_bytes(self._content)), dtype)
        return array.reshape(self.shape, order="F" if self._fortran else "C").astype(dtype.newbyteorder("="))

    def __repr__(self) -> str:
        return f"<numpy array {self.shape} {self._type.code}>"


def _as_bytes(content: bytes | bytearray | str) -> bytes | bytearray:
    """Python 2's bytes come as text where they happen to be valid UTF-8 (see Unpickler)."""
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content


def _type(code: Any, align: Any = False, copy: Any = True, *more: Any) -> NumpyType:
    if type(code) not in (str, bytes) or len(code) > 100:
        raise TypeError("a dtype is made of its code")
    return NumpyType(code if type(code) is str else code.decode("latin-1"))


def _scalar(kind: Any, content: Any = b"") -> Any:
    if not isinstance(kind, NumpyType):
        raise TypeError("a number needs a type")
    if not kind.plain or not _NUMBERS.fullmatch(kind.code) or type(content) not in (bytes, str):
        return Placeholder(f"a NumPy value of the type {kind.code}", ())
    dtype, content = kind.resolve(), _as_bytes(content)
    if len(content) != dtype.itemsize or not content:
        raise ValueError(f"a number of {dtype.itemsize} bytes made of {len(content)}")
    return np.frombuffer(content, dtype)[0]


def _array(kind: Any, shape: Any, code: Any) -> NumpyArray:
    return NumpyArray()  # its state follows


def _array_of_buffer(content: Any, kind: Any, shape: Any, order: Any) -> NumpyArray:
    if type(content) not in (bytes, bytearray):
        raise TypeError("an array needs bytes")
    return NumpyArray().set(shape, kind, order == "F", content)


def _encode(text: Any, code: Any = "utf-8", *more: Any) -> bytes:
    """How protocol 2 writes bytes: as text of the characters 0 to 255."""
    if type(text) is not str or type(code) is not str or code.lower() not in _TEXT_CODES or more:
        raise TypeError("bytes are made of text and the name of a simple code")
    return text.encode(_TEXT_CODES[code.lower()])


def _set(*items: Any) -> set:
    values = items[0] if items else []
    if len(items) > 1 or type(values) not in (list, tuple, set):
        raise TypeError("a set is made of a list")
    if any(type(value) not in (type(None), bool, int, float, str, bytes) for value in values):
        raise TypeError("a set of anything but numbers and text")
    if any(type(value) is int and value.bit_length() > 64 for value in values):
        raise TypeError("a set of numbers of more than 64 bits")
    return set(values)


def _bytearray(*content: Any) -> bytearray:
    """Of nothing, of bytes, or of text and its code (protocol 2). A number, which would allocate, is refused."""
    if not content or type(content[0]) in (bytes, bytearray):
        return bytearray(content[0] if content else b"")
    return bytearray(_encode(*content))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _type,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy.core.numeric._frombuffer": _array_of_buffer,
    "numpy._core.numeric._frombuffer": _array_of_buffer,
    "_codecs.encode": _encode,
    "builtins.set": _set,
    "builtins.frozenset": lambda *items: frozenset(_set(*items)),
    "builtins.bytearray": _bytearray,
}
NUMPY_NAMES: dict[str, Any] = {name: Builder(name, function) for name, function in _FUNCTIONS.items()}
NUMPY_NAMES["numpy.ndarray"] = NUMPY_NAMES["numpy.core.multiarray._reconstruct"]  # named as an argument only
