"""Tensor's way out: its values as Python numbers, NumPy arrays or other libraries' tensors; other types and devices."""

import numbers
from typing import Any

import numpy as np

from minires import backend
from minires.autograd import Variable, look
from minires.backend import Array, array_module, is_floating
from minires.methods import OPERATIONS


class Conversions:
    """The part of Tensor that turns it into something else."""

    array: Array
    requires_grad: bool

    # ------------------------------------------------------------------------------------------- values, as Python's

    def item(self) -> Any:
        """The only element as a Python number. RuntimeError if there are more."""
        if self.array.size != 1:
            raise RuntimeError(f"a tensor with {self.array.size} elements cannot be converted to one number")
        look()
        return self.array.item()

    def tolist(self) -> Any:
        """The elements as nested lists (a number, for a tensor without axes)."""
        look()
        return self.array.tolist()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array that shares this tensor's memory.

        RuntimeError if the tensor requires a gradient (detach it first) or is not on the CPU.
        """
        if self.requires_grad:
            raise RuntimeError("can't call numpy() on a Tensor that requires grad: use tensor.detach().numpy()")
        if array_module(self.array) is not np:
            where = backend.device_of(self.array)
            raise RuntimeError(f"can't convert a tensor on {where} to NumPy: use tensor.cpu() first")
        look()
        return self.array

    def _on_cpu(self) -> np.ndarray:
        return self.array if isinstance(self.array, np.ndarray) else self.array.get()

    def view(self, *shape: Any, size: Any = None, dtype: Any = None) -> Any:
        """Reshaped (to `shape` or `size`); for a type, `x.view(minires.int32)`, the same bytes read as that type.

        The bytes are shared, and have no gradient unless the type is x's own. Elements of another size change the
        length of the last axis: RuntimeError where its elements do not lie side by side or do not divide evenly.
        """
        shape = shape if size is None else (*shape, size)
        if dtype is None and len(shape) == 1 and isinstance(shape[0], np.dtype | type):
            (dtype,), shape = shape, ()
        if dtype is None:
            return OPERATIONS["reshape"](self, *shape)
        if shape:
            raise TypeError("view takes a shape or a dtype, not both")
        dtype = np.dtype(dtype)
        if not backend.is_number(dtype):
            raise TypeError(f"view: a Tensor holds real numbers, integers or booleans, not {dtype}")
        if dtype == self.array.dtype:
            return OPERATIONS["reshape"](self, self.array.shape)
        self._check_size_of_view(dtype)
        result: Any = self.detach()  # type: ignore[attr-defined]
        with backend.on_device_of(self.array):
            result.array = self.array.view(dtype)
        return result

    def _check_size_of_view(self, dtype: np.dtype) -> None:
        tensor: Any = self
        why = f"to view {tensor.dtype} as {dtype} (different element sizes)"
        if dtype.itemsize == tensor.itemsize:
            return
        if not tensor.ndim:
            raise RuntimeError(f"self.dim() cannot be 0 {why}")
        if tensor.stride(-1) != 1:
            raise RuntimeError(f"self.stride(-1) must be 1 {why}, but got {tensor.stride(-1)}")
        ratio = max(dtype.itemsize // tensor.itemsize, 1)
        others = {f"stride({axis})": tensor.stride(axis) for axis in range(tensor.ndim - 1)}
        facts = {"size(-1)": tensor.shape[-1], "storage_offset()": tensor.storage_offset(), **others}
        for name, value in facts.items():
            if value % ratio:
                raise RuntimeError(f"self.{name} must be divisible by {ratio} {why}, but got {value}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **settings: Any) -> Any:
        """The memory as a DLPack capsule: `torch.from_dlpack(tensor)` and `numpy.from_dlpack(tensor)` share it.

        BufferError if the tensor requires a gradient.
        """
        if self.requires_grad:
            raise BufferError("can't export tensors that require gradient, use tensor.detach()")
        look()
        with backend.on_device_of(self.array):
            return self.array.__dlpack__(**settings)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Kind and number of the device that holds the memory, as DLPack counts them."""
        kind, number = self.array.__dlpack_device__()
        return int(kind), int(number)

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise RuntimeError(f"the truth value of a tensor with {self.array.size} elements is ambiguous")
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if is_floating(self.array.dtype):
            raise TypeError("only tensors of integers can be used as an index")
        return int(self.item())

    # ------------------------------------------------------------------------------------------- copies, conversions

    def to(
        self, *target: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False,
        memory_format: Any = backend.preserve_format,
    ) -> Any:  # fmt: skip
        """This tensor with another type or on another device; itself where nothing changes.

        `target`: a dtype, a device, a device and a dtype, or another tensor whose both are taken; then non_blocking and
        copy. non_blocking: a copy from pinned memory (`pin_memory`) to a GPU is not waited for. memory_format: see
        `contiguous`. RuntimeError for a GPU that is not there.
        """
        switches = [value for value in target if isinstance(value, bool)]
        non_blocking, copy = (*switches, *(non_blocking, copy)[len(switches) :])
        for value in target:
            if isinstance(value, bool):
                continue
            if isinstance(value, Variable):
                dtype, device = value.array.dtype, backend.device_of(value.array)
            elif isinstance(value, backend.device) or str(value).partition(":")[0] in ("cpu", "cuda"):
                device = value
            else:
                dtype = backend.as_dtype(value)
        moved = OPERATIONS["convert"](self, dtype=dtype, device=device, copy=copy, non_blocking=non_blocking)
        return moved if memory_format is backend.preserve_format else moved.contiguous(memory_format)

    def type(self, dtype: Any = None) -> Any:
        """The name of the type, or this tensor converted to another."""
        return f"minires.{self.array.dtype.name}" if dtype is None else self.to(dtype)

    def float(self) -> Any:
        """As float32."""
        return self.to(backend.float32)

    def double(self) -> Any:
        """As float64."""
        return self.to(backend.float64)

    def half(self) -> Any:
        """As float16."""
        return self.to(backend.float16)

    def bfloat16(self) -> Any:
        """As bfloat16. RuntimeError where the package ml_dtypes is not installed."""
        return self.to("bfloat16")

    def char(self) -> Any:
        """As int8."""
        return self.to(backend.int8)

    def byte(self) -> Any:
        """As uint8."""
        return self.to(backend.uint8)

    def short(self) -> Any:
        """As int16."""
        return self.to(backend.int16)

    def type_as(self, other: Any) -> Any:
        """In the type of another tensor."""
        return self.to(other.dtype)

    def long(self) -> Any:
        """As int64."""
        return self.to(backend.int64)

    def int(self) -> Any:
        """As int32."""
        return self.to(backend.int32)

    def bool(self) -> Any:
        """As booleans."""
        return self.to(backend.boolean)

    def cpu(self) -> Any:
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None, non_blocking: "bool" = False) -> Any:  # type: ignore[valid-type]
        """On a GPU: its number, or a device; the present one (`cuda.set_device`) unless said otherwise."""
        where = "cuda" if device is None else f"cuda:{device}" if isinstance(device, numbers.Integral) else device
        return self.to(backend.device(where), non_blocking=non_blocking)

    def pin_memory(self) -> Any:
        """A copy in page-locked memory of the CPU, from which `to("cuda", non_blocking=True)` copies behind our back.

        RuntimeError without CuPy or a GPU, and for a tensor that is on a GPU.
        """
        return type(self)(backend.pinned(self.array))  # type: ignore[call-arg]

    def record_stream(self: Any, stream: Any) -> None:
        """Say that work in `stream`, another one than it was made in, uses this tensor on a GPU.

        When its last reference has gone, its memory is then given to no other tensor before `stream` has done what it
        was given up to that moment. It makes nobody wait: `stream.wait_stream` does that.
        RuntimeError for a stream of another device.
        """
        if self.device != stream.device:
            raise RuntimeError(f"the tensor is on {self.device}, the stream on {stream.device}")
        backend.record_stream(self.array, stream.stream)

    def is_pinned(self) -> "bool":  # type: ignore[valid-type]
        """Whether this tensor is the result of `pin_memory`, or a view of one."""
        return backend.is_pinned(self.array)
