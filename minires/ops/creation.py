"""Making tensors: from data, filled with a number, counted through, or drawn at random. PyTorch's names and arguments.

`dtype`: float32 for real numbers unless said otherwise. `device`: the CPU unless said otherwise. `requires_grad`:
whether the new tensor is a leaf that gets a gradient. Random draws come from `generator`, or else from
`minires.random.generator()`, which `manual_seed` starts; the law is PyTorch's, the numbers are not.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minires import backend
from minires.backend import (
    Array,
    array_module,
    contiguous_format,
    device_of,
    float64,
    gpu_module,
    int64,
    is_floating,
    move,
    preserve_format,
)
from minires.number_types import number_as
from minires.ops.dims import shape_of
from minires.ops.shape import contiguous
from minires.placement import on_their_device
from minires.random import Generator
from minires.random import generator as draws_from
from minires.tensor import Tensor, register

CUDA_OF_DLPACK = 2  # kDLCUDA


def _finish(array: Array, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    array = array_module(array).asarray(array, None if dtype is None else np.dtype(dtype))
    return Tensor(array if device is None else move(array, device), requires_grad)


def _from_data(data: Any, dtype: Any = None) -> Array:
    """An array of PyTorch's type for this data: arrays keep theirs, Python floats become float32.

    Floats that are to become something else (`dtype`) stay float64 until then, lest they be rounded twice.
    """
    if isinstance(data, Tensor):
        return data.array
    if hasattr(data, "dtype"):
        return data if isinstance(data, np.generic | np.ndarray) else array_module(data).asarray(data)
    if isinstance(data, list | tuple) and any(isinstance(part, Tensor) for part in data):
        data = [part.tolist() if isinstance(part, Tensor) else part for part in data]
    array = np.asarray(data)
    if array.dtype.kind == "O":
        raise ValueError("tensor: rows of different lengths, or something that is not a number")
    unsaid = dtype is None and (array.dtype == float64 or array.size == 0)
    return array.astype(backend.default_dtype) if unsaid else array


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor that holds a copy of `data`: a number, nested lists, an array or a Tensor.

    Python floats give float32, integers int64, booleans bool; arrays keep their type.
    """
    array = _from_data(data, dtype)
    with backend.on_device_of(array):
        return _finish(array.copy(order="K") if array.ndim else array.copy(), dtype, device, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing memory where nothing has to change; a Tensor is returned as it is."""
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(dtype=dtype, device=device)
    return _finish(_from_data(data, dtype), dtype, device, False)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares the memory of a NumPy array: what is written into one is seen in the other."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return Tensor(ndarray)


def also_by_size(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorator of `f(*size, ...)`: the size may also come by its name, `f(size=(2, 3))`."""

    @functools.wraps(function)
    def call(*size: Any, **settings: Any) -> Tensor:
        return function(*size, *settings.pop("size", ()), **settings)

    return call


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Every element `fill_value`, whose type decides where `dtype` does not (int64 for a whole number)."""
    if dtype is None:
        dtype = _from_data(fill_value).dtype
    array = np.full(_lengths((size,)), number_as(fill_value, dtype), dtype)
    return _finish(array, dtype, device, requires_grad)


@also_by_size
def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Every element 0."""
    return _finish(np.zeros(_lengths(size), dtype or backend.default_dtype), None, device, requires_grad)


@also_by_size
def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Every element 1."""
    return _finish(np.ones(_lengths(size), dtype or backend.default_dtype), None, device, requires_grad)


@also_by_size
def empty(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = contiguous_format,
) -> Tensor:  # fmt: skip
    """Memory with arbitrary values."""
    array = contiguous(Tensor(np.empty(_lengths(size), dtype or backend.default_dtype)), memory_format).array
    return _finish(array, None, device, requires_grad)


def _like(
    input: Tensor, fill: Callable[..., Array], dtype: Any, device: Any, requires_grad: bool, memory_format: Any
) -> Tensor:
    array = fill(input.array, dtype=input.dtype if dtype is None else dtype)
    array = contiguous(Tensor(array), memory_format).array
    return Tensor(array if device is None else move(array, device), requires_grad)


def _lengths(size: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape in `f(2, 3)` or `f((2, 3))`. RuntimeError for a negative length."""
    shape = shape_of(size)
    if min(shape, default=0) < 0:
        raise RuntimeError(f"a tensor cannot have the negative lengths in {shape}")
    return shape


@on_their_device
def zeros_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = preserve_format,
) -> Tensor:  # fmt: skip
    """Zeros in the shape, type and memory order of `input`."""
    return _like(input, array_module(input.array).zeros_like, dtype, device, requires_grad, memory_format)


@on_their_device
def ones_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = preserve_format,
) -> Tensor:  # fmt: skip
    """Ones in the shape, type and memory order of `input`."""
    return _like(input, array_module(input.array).ones_like, dtype, device, requires_grad, memory_format)


@on_their_device
def empty_like(
    input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = preserve_format,
) -> Tensor:  # fmt: skip
    """Memory with arbitrary values in the shape, type and memory order of `input`."""
    return _like(input, array_module(input.array).empty_like, dtype, device, requires_grad, memory_format)


@on_their_device
def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    memory_format: Any = preserve_format,
) -> Tensor:  # fmt: skip
    """Every element `fill_value`, in the shape, type and memory order of `input`."""
    xp = array_module(input.array)
    number = xp.asarray(number_as(fill_value, np.dtype(input.dtype if dtype is None else dtype)))
    return _like(input, lambda array, dtype: xp.full_like(array, number, dtype), dtype, device, requires_grad,
                 memory_format)  # fmt: skip


def arange(
    start: float | None = None, end: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below end; `arange(end)` starts at 0. int64 if all three are whole, else float32."""
    if end is None:
        start, end = None, start
    if end is None:
        raise TypeError("arange: the end is missing")
    start = 0 if start is None else start
    if step == 0 or (end - start) * step < 0:
        raise RuntimeError(f"arange: cannot come from {start} to {end} in steps of {step}")
    if dtype is None:
        dtype = int64 if all(isinstance(bound, int) for bound in (start, end, step)) else backend.default_dtype
    if np.dtype(dtype) == int64:
        start, end, step = int(start), int(end), int(step)
    count = math.ceil((end - start) / step)
    if np.dtype(dtype).kind in "iu":  # as in PyTorch, where only int64 counts by whole numbers
        start, step = int(start), int(step)
    values = start + np.arange(count) * step
    return _finish(values, dtype, device, requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers from start to end at equal distances, both included."""
    if steps < 0:
        raise RuntimeError(f"linspace: number of steps must be non-negative, got {steps}")
    if dtype is not None and np.dtype(dtype).kind in "iu":
        start, end = int(start), int(end)
    return _finish(np.linspace(start, end, steps), dtype or backend.default_dtype, device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of an n x m matrix (n x n), zeros elsewhere."""
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"eye: n and m must be greater or equal to 0, got {n} and {m}")
    return _finish(np.eye(n, m), dtype or backend.default_dtype, device, requires_grad)


def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` numbers from base^start to base^end whose quotients are equal."""
    if steps < 0:
        raise RuntimeError(f"logspace: number of steps must be non-negative, got {steps}")
    return _finish(np.logspace(start, end, steps, base=base), dtype or backend.default_dtype, device, requires_grad)


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's (torch, CuPy, JAX, ...), through the DLPack protocol."""
    if hasattr(ext_tensor, "__dlpack_device__") and int(ext_tensor.__dlpack_device__()[0]) == CUDA_OF_DLPACK:
        return Tensor(gpu_module().from_dlpack(ext_tensor))
    return Tensor(np.from_dlpack(ext_tensor))


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """`obj` as a tensor, sharing memory where nothing has to change. copy: always (True) or never (ValueError)."""
    found = as_tensor(obj, dtype, device).detach()
    shares = isinstance(obj, Tensor | np.ndarray) and found.data_ptr() == as_tensor(obj).data_ptr()
    if copy is False and not shares:
        raise ValueError("asarray: cannot make this tensor without a copy")
    found = found.clone() if copy and shares else found
    return found.requires_grad_() if requires_grad else found


# --------------------------------------------------------------------------- in the type and on the device of another


@register
def new_tensor(
    input: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A copy of `data` in the type of `input`, unless `dtype` says otherwise."""
    return tensor(data, dtype=input.dtype if dtype is None else dtype, device=device or input.device,
                  requires_grad=requires_grad)  # fmt: skip


@register
@also_by_size
def new_zeros(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the given shape in the type of `input`."""
    return zeros(*size, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


@register
@also_by_size
def new_ones(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the given shape in the type of `input`."""
    return ones(*size, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


@register
@also_by_size
def new_empty(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory with arbitrary values, of the given shape, in the type of `input`."""
    return empty(*size, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


@register
def new_full(
    input: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Every element `fill_value`, of the given shape, in the type of `input`."""
    return full(size, fill_value, dtype=dtype or input.dtype, device=device or input.device,
                requires_grad=requires_grad)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ at random


@also_by_size
def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform on [0, 1)."""
    dtype = dtype or backend.default_dtype
    drawn = np.float32 if dtype == np.float32 else np.float64
    return _finish(draws_from(generator, device).random(_lengths(size), drawn), dtype, device, requires_grad)


@also_by_size
def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Normal with mean 0 and standard deviation 1."""
    draws = draws_from(generator, device).standard_normal(_lengths(size))
    return _finish(draws, dtype or backend.default_dtype, device, requires_grad)


def randint(
    low: int, high: Any = None, size: Any = None, *, generator: Generator | None = None, dtype: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Whole numbers from low up to but not including high: `randint(10, (3,))` or `randint(5, 10, (3,))`."""
    if size is None:
        low, high, size = 0, low, high
    if low >= high:
        raise RuntimeError(f"randint expects low < high, got low={low} and high={high}")
    return _finish(draws_from(generator, device).integers(low, high, _lengths((size,))), dtype or int64, device,
                   requires_grad)  # fmt: skip


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """The numbers 0 to n - 1 in random order."""
    return _finish(draws_from(generator, device).permutation(n), dtype or int64, device, False)


def rand_like(
    input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform on [0, 1), in the shape and type of `input`."""
    dtype = input.dtype if dtype is None else dtype
    return rand(input.shape, generator=generator, dtype=dtype, device=device or input.device,
        requires_grad=requires_grad)  # fmt: skip


def randn_like(
    input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal with mean 0 and standard deviation 1, in the shape and type of `input`."""
    dtype = input.dtype if dtype is None else dtype
    return randn(input.shape, generator=generator, dtype=dtype, device=device or input.device,
        requires_grad=requires_grad)  # fmt: skip


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, generator: Generator | None = None, dtype: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Whole numbers from low up to but not including high (from 0 below low), in the shape and type of `input`."""
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, input.shape, generator=generator, dtype=input.dtype if dtype is None else dtype,
                   device=device or input.device, requires_grad=requires_grad)  # fmt: skip


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal draws, each with its own mean and standard deviation (tensors), or `size` of them (numbers)."""
    where = next((value.device for value in (mean, std) if isinstance(value, Tensor)), "cpu")
    first, second = (move(value.array, "cpu") if isinstance(value, Tensor) else value for value in (mean, std))
    if (size is None) == (not isinstance(mean, Tensor) and not isinstance(std, Tensor)):
        raise TypeError("normal: give a size with two numbers, and none with a tensor")
    if np.any(np.asarray(second) < 0):
        raise RuntimeError("normal expects all elements of std >= 0.0")
    shape = np.broadcast_shapes(np.shape(first), np.shape(second)) if size is None else shape_of((size,))
    own = next((value.dtype for value in (mean, std) if isinstance(value, Tensor)), backend.default_dtype)
    draws = first + second * draws_from(generator, device or where).standard_normal(shape)
    return _finish(np.asarray(draws, own), dtype, device or where, requires_grad)


@register
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """Ones with the probability that each element says, or with probability p; zeros otherwise."""
    if p is not None:
        input = full_like(input, p)
    if not is_floating(input.dtype):
        raise RuntimeError(f"bernoulli: the probabilities must be real numbers, got {input.dtype}")
    if input.numel() and not 0 <= input.array.min() <= input.array.max() <= 1:
        raise RuntimeError("bernoulli expects probabilities between 0 and 1")
    draws = array_module(input.array).asarray(draws_from(generator, input.device).random(input.shape))
    return Tensor((draws < input.array).astype(input.dtype))


@register
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`num_samples` numbers of columns for each row (or for a vector), drawn in proportion to the row's weights.

    Without replacement no column is drawn twice; RuntimeError if there are too few with a weight above 0.
    """
    if not is_floating(input.dtype) or num_samples <= 0:
        raise RuntimeError(f"multinomial: expected real weights and at least one sample, got {input.dtype} and "
                           f"{num_samples}")  # fmt: skip
    weights = move(input.array, "cpu").astype(float64)
    if weights.ndim not in (1, 2) or (weights < 0).any() or not np.isfinite(weights).all():
        raise RuntimeError("multinomial: expected a vector or a matrix of finite weights from 0 up")
    rows = weights.reshape(-1, weights.shape[-1])
    if (rows.sum(1) <= 0).any() or (not replacement and ((rows > 0).sum(1) < num_samples).any()):
        raise RuntimeError(f"multinomial: cannot draw {num_samples} of rows with too few weights above 0")
    random = draws_from(generator, input.device)
    picked = [random.choice(len(row), num_samples, replacement, row / row.sum()) for row in rows]
    columns = np.array(picked, int64).reshape(*weights.shape[:-1], num_samples)
    return Tensor(move(columns, device_of(input.array)))
