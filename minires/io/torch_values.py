"""What stands in for torch's and NumPy's objects in a pickle: types, storages, tensors, arrays; and the table of names.

A storage is a row of numbers, a tensor a view of one: offset, shape and strides, counted in elements. Both are checked
when they are met and become NumPy arrays only when asked (`numpy()`), so that what nobody asks for costs nothing.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.io.numpy_values import NUMPY_NAMES
from minires.io.pickle_names import Builder, Global
from minires.io.safetensors import bfloat16_to_float32

_MOST_REPEATS, _FEW = 100, 1 << 24  # a view may have so many times its storage's elements, or so many elements


@dataclass(frozen=True)
class Dtype:
    """A torch type. `code`: NumPy's name for it; "" where it has none."""

    name: str
    size: int
    code: str


@dataclass(frozen=True)
class StorageKind:
    """A class of storages; the untyped one counts bytes."""

    dtype: Dtype


# type, other names, storages, bytes, NumPy's code ("": tensors of this type are not read)
_TYPES = (
    ("float64", "double", "DoubleStorage", 8, "f8"), ("float32", "float", "FloatStorage", 4, "f4"),
    ("float16", "half", "HalfStorage", 2, "f2"), ("bfloat16", "", "BFloat16Storage", 2, "u2"),
    ("int64", "long", "LongStorage", 8, "i8"), ("int32", "int", "IntStorage", 4, "i4"),
    ("int16", "short", "ShortStorage", 2, "i2"), ("int8", "", "CharStorage", 1, "i1"),
    ("uint8", "", "ByteStorage", 1, "u1"), ("bool", "", "BoolStorage", 1, "u1"),
    ("uint16", "", "", 2, "u2"), ("uint32", "", "", 4, "u4"), ("uint64", "", "", 8, "u8"),
    ("complex32", "chalf", "", 4, ""), ("complex64", "cfloat", "ComplexFloatStorage", 8, ""),
    ("complex128", "cdouble", "ComplexDoubleStorage", 16, ""),
    ("quint8", "", "QUInt8Storage", 1, ""), ("qint8", "", "QInt8Storage", 1, ""),
    ("qint32", "", "QInt32Storage", 4, ""), ("quint4x2", "", "QUInt4x2Storage", 1, ""),
    ("quint2x4", "", "QUInt2x4Storage", 1, ""), ("float8_e4m3fn", "", "", 1, ""), ("float8_e5m2", "", "", 1, ""),
    ("float8_e4m3fnuz", "", "", 1, ""), ("float8_e5m2fnuz", "", "", 1, ""), ("float8_e8m0fnu", "", "", 1, ""),
)  # fmt: skip
DTYPES = {name: Dtype(name, size, code) for name, _, _, size, code in _TYPES}


class Storage:
    """`count` numbers of a type, in the order of bytes `order` ("<" or ">").

    source: gives their bytes when they are wanted; the reader has checked that there are as many as needed.
    root, start: of a part of another storage, which begins at its element `start`.
    """

    def __init__(
        self, dtype: Dtype, count: int, source: Callable[[], memoryview] | None = None, order: str = "<",
        root: "Storage | None" = None, start: int = 0,
    ) -> None:  # fmt: skip
        self.dtype, self.count, self.source, self.order = dtype, count, source, order
        self.root, self.start = root, start
        self._arrays: dict[Dtype, np.ndarray] = {}

    def array(self, dtype: Dtype) -> np.ndarray:
        """All numbers, as an array with one axis that tensors share. bfloat16 comes as float32, which holds it exactly.

        TypeError for a type that NumPy does not have.
        """
        if self.root is not None:
            if dtype != self.dtype:
                raise TypeError(f"a part of {self.dtype.name} numbers seen as {dtype.name}")
            return self.root.array(dtype)[self.start : self.start + self.count]
        if not dtype.code:
            raise TypeError(f"numbers of torch's type {dtype.name} are not read")
        if dtype not in self._arrays:
            content = self.source() if self.source is not None else memoryview(b"")
            numbers = np.frombuffer(content, f"{self.order}{dtype.code}", len(content) // dtype.size)
            if dtype.name == "bfloat16":
                self._arrays[dtype] = bfloat16_to_float32(numbers)
            elif dtype.name == "bool":
                self._arrays[dtype] = numbers != 0
            else:
                self._arrays[dtype] = numbers.astype(dtype.code)
        return self._arrays[dtype]

    def __repr__(self) -> str:
        return f"<storage of {self.count} {self.dtype.name}>"


class TorchTensor:
    """A tensor in a torch file: shape, type, and `numpy()`. Without a storage it is not made yet."""

    def __init__(self) -> None:
        self.storage: Storage | None = None
        self.dtype = DTYPES["float32"]
        self.shape: tuple[int, ...] = (0,)
        self.stride: tuple[int, ...] = (1,)
        self.offset = 0

    def set(self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: Dtype | None = None) -> "TorchTensor":
        """Make it a view of a storage. ValueError if any of its elements would lie outside."""
        if not isinstance(storage, Storage):
            raise TypeError(f"a tensor needs a storage, not a {type(storage).__name__}")
        dtype = dtype or storage.dtype
        numbers = [offset, *_row(shape, "shape"), *_row(stride, "strides")]
        if len(shape) != len(stride) or len(shape) > 64:
            raise ValueError(f"{len(shape)} axes and {len(stride)} strides")
        if any(type(number) is not int or not 0 <= number < 1 << 60 for number in numbers):
            raise ValueError("offset, shape and strides must be whole numbers from 0 up to 2**60")
        count = storage.count * storage.dtype.size // dtype.size
        elements = math.prod(shape)
        if elements > max(_FEW, _MOST_REPEATS * count) or math.prod(size or 1 for size in shape) >= 1 << 60:
            raise ValueError(f"a tensor of {elements} elements in a storage of {count}")
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if elements else 0
        if last >= count and elements:
            raise ValueError(f"a tensor that reaches element {last} of a storage of {count}")
        self.storage, self.offset, self.shape, self.stride, self.dtype = storage, offset, shape, stride, dtype
        return self

    def restore(self, state: Any) -> None:
        """The state of tensors and parameters as torch 0.1 to 0.3 wrote them."""
        if type(state) is tuple and len(state) == 4:  # storage, offset, shape, strides
            self.set(*state)
        elif type(state) is tuple and len(state) == 5 and isinstance(state[0], TorchTensor):  # data, and its gradient
            self.become(state[0])
        elif self.storage is None or type(state) is not dict:  # a dictionary holds attributes: not needed
            raise TypeError(f"a state that is a {type(state).__name__}")

    def become(self, other: "TorchTensor") -> None:
        """The same view as another tensor's."""
        self.__dict__.update(other.__dict__)

    def numpy(self) -> np.ndarray:
        """The values; tensors of one storage share memory. TypeError for a type that NumPy does not have."""
        if self.storage is None:
            raise TypeError("a tensor without values")
        numbers = self.storage.array(self.dtype)
        if 0 in self.shape:
            return np.empty(self.shape, numbers.dtype)
        size = numbers.itemsize
        return np.ndarray(self.shape, numbers.dtype, numbers, self.offset * size, [step * size for step in self.stride])

    def __repr__(self) -> str:
        return f"<torch tensor {self.shape} {self.dtype.name}>"


def _row(value: Any, what: str) -> tuple:
    if type(value) is not tuple:
        raise TypeError(f"{what} must be a tuple, not a {type(value).__name__}")
    return value


# --------------------------------------------------------------------------- the functions that pickles of torch call


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> TorchTensor:
    return TorchTensor().set(storage, offset, shape, stride)


def _tensor_v2(
    storage: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None
) -> TorchTensor:
    if metadata:
        raise ValueError("tensors with a pending sign or conjugation are not read")
    return TorchTensor().set(storage, offset, shape, stride)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any,
    metadata: Any = None,
) -> TorchTensor:  # fmt: skip
    if not isinstance(dtype, Dtype) or metadata:
        raise ValueError("a tensor without a type, or with a pending sign or conjugation")
    return TorchTensor().set(storage, offset, shape, stride, dtype)


def _same(data: Any, *about: Any) -> TorchTensor:
    """A parameter is its tensor; whether it needs a gradient is not kept."""
    if not isinstance(data, TorchTensor):
        raise TypeError(f"expected a tensor, got a {type(data).__name__}")
    return data


def _new(*arguments: Any) -> TorchTensor:
    """A tensor class that is called: old files make an empty one first."""
    return _same(*arguments) if arguments else TorchTensor()


def _of_subclass(function: Any, kind: Any, args: Any, state: Any) -> TorchTensor:
    """A tensor with attributes, or of a subclass: the tensor alone is kept."""
    if not isinstance(function, Builder) or type(args) is not tuple:
        raise TypeError("a tensor made by an unknown function")
    return _same(function.function(*args))


def _device(kind: Any, index: Any = None) -> str:
    if type(kind) is not str or (index is not None and type(index) is not int):
        raise TypeError("a device is a text and a number")
    return kind if index is None else f"{kind}:{index}"


def _ordered(*items: Any) -> OrderedDict:
    """Empty, or as Python 2 wrote it: of a list of [key, value]."""
    pairs = items[0] if items else []
    if len(items) > 1 or type(pairs) is not list or any(type(pair) not in (list, tuple) for pair in pairs):
        raise TypeError("an OrderedDict is made of a list of pairs")
    if any(len(pair) != 2 or type(pair[0]) is not str for pair in pairs):
        raise TypeError("an OrderedDict is made of pairs of text and value")
    return OrderedDict((key, value) for key, value in pairs)


def _size(*items: Any) -> tuple:
    return _row(items[0] if items else (), "a shape")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _same,
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    "torch._tensor._rebuild_from_type": _of_subclass,
    "torch.nn.parameter.Parameter": _new,
    "torch.nn.parameter.Buffer": _new,
    "torch.autograd.variable.Variable": _new,
    "torch.Tensor": _new,
    "torch._tensor.Tensor": _new,
    "torch.tensor.Tensor": _new,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _ordered,
}


def _known() -> dict[str, Any]:
    """Dotted name -> what it stands for in an `Unpickler`."""
    known: dict[str, Any] = {name: Builder(name, function) for name, function in _FUNCTIONS.items()}
    known.update(NUMPY_NAMES)
    for name, other, storage, _, _ in _TYPES:
        known[f"torch.{name}"] = DTYPES[name]
        if other:
            known[f"torch.{other}"] = DTYPES[name]
        for place in ("torch", "torch.cuda") if storage else ():
            known[f"{place}.{storage}"] = StorageKind(DTYPES[name])
            tensor = f"{place}.{storage.replace('Storage', 'Tensor')}"
            known[tensor] = Builder(tensor, _new)
    for name in ("torch.storage.UntypedStorage", "torch.storage._UntypedStorage", "torch.UntypedStorage"):
        known[name] = StorageKind(DTYPES["uint8"])
    return known


KNOWN = _known()


def storage_claim(kind: Any, key: Any, count: Any) -> tuple[Dtype, str, int]:
    """The type, name and size of the storage that a persistent id asks for. TypeError or ValueError for nonsense."""
    if isinstance(kind, Global):
        raise TypeError(f"storages of the class {kind.name} are not read")
    if not isinstance(kind, StorageKind) or type(key) not in (str, int) or type(count) is not int or count < 0:
        raise TypeError("a storage has a class, a name and a number of elements")
    return kind.dtype, str(key)[:100], count
