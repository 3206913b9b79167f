"""Between the reference's arrays and the kernels': types, and channels last."""

from typing import Any

from minires import backend
from minires.kernels.cuda import loader
from minires.kernels.cuda.types import Array

KERNEL_TYPES = (backend.float32, backend.float16)

run = loader.run


def suits(x: Array) -> bool:
    """Whether the hand-written kernels know this type."""
    return x.dtype in KERNEL_TYPES or backend.is_bfloat16(x.dtype)


def check(name: str, x: Array) -> None:
    """NotImplementedError for a type that the kernel `name` has no version for."""
    if not suits(x):
        raise NotImplementedError(
            f"{name} on a GPU is for float32, float16 and bfloat16, got {x.dtype}: move the tensor to cpu"
        )


def new(shape: tuple[int, ...], dtype: Any, value: float = 0) -> Array:
    """An array on the GPU, filled with a number."""
    return loader.cupy_module().full(shape, value, dtype)


def last(x: Array) -> Array:
    """(N, C, ...) as a contiguous [N][...][C]; a view where it lies in memory like that."""
    axes = (0, *range(2, x.ndim), 1)
    return loader.cupy_module().ascontiguousarray(x.transpose(axes))


def second(x: Array) -> Array:
    """[N][...][C] seen as (N, C, ...)."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def single(x: Array | None) -> Array | None:
    """Parameters of norms and biases as float32; None stays None."""
    return None if x is None else x.astype(backend.float32, copy=False)
