"""autocast: inside the block each operation on a GPU computes in the type that suits it.

Micikevicius et al. 2018, "Mixed precision training". Products take float16 or bfloat16, whatever sums or grows takes
float32, all else takes what it is given. The casts are recorded operations: gradients come back in the type of what was
cast.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minires import backend
from minires.autograd import Function, Variable, is_grad_enabled, swap_cast
from minires.backend import device_of, is_floating
from minires.tensor import OPERATIONS

NARROW = {"Conv2d", "Conv2dAct", "ConvTranspose2d", "Linear", "MatMul", "Einsum"}
WIDE = {
    "Softmax", "LogSoftmax", "CrossEntropy", "NegativeLogLikelihood", "Huber", "SmoothL1", "PairLoss",
    "BinaryCrossEntropy", "BinaryCrossEntropyWithLogits", "KullbackLeibler", "KullbackLeiblerOfLogarithms",
    "SoftMargin", "Exp", "Expm1", "Log", "Log1p", "Log2", "Log10", "LogAddExp", "LogSumExp", "Pow", "Rsqrt", "Sum",
    "Product", "CumulativeSum", "CumulativeProduct", "Norm2", "NormP", "GroupNorm", "RMSNorm", "Softplus", "Acos",
    "Asin", "Cosh", "Sinh", "Tan",
}  # fmt: skip


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` may be used for this kind of device: for "cuda" alone."""
    return backend.device(device_type).type == "cuda"


class autocast:  # noqa: N801 - PyTorch's name
    """`with mr.amp.autocast("cuda"):`, or a decorator. Inside, operations on tensors of a GPU choose their type.

    dtype: float16, the default, or bfloat16, which reaches as far as float32 and needs no GradScaler (RuntimeError
    where the package ml_dtypes is not installed). The CPU is refused, where both are emulated and slower than float32;
    `enabled=False` does nothing on any device.
    cache_enabled: a parameter is cast once in a block, not once for each use.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool = True
    ) -> None:  # fmt: skip
        if not is_autocast_available(device_type) and enabled:
            raise RuntimeError(
                'autocast("cpu") is refused: float16 and bfloat16 are emulated there, slower than float32 and less '
                "exact"
            )
        self.dtype = backend.float16 if dtype is None else backend.as_dtype(dtype)
        if self.dtype.name not in ("float16", "bfloat16"):
            raise ValueError(f"autocast: dtype must be float16 or bfloat16, got {self.dtype}")
        self.device_type, self.enabled, self.cache_enabled = device_type, enabled, cache_enabled
        self.before: list[Any] = []

    def __enter__(self) -> "autocast":
        casts = Casts(self.dtype, self.cache_enabled) if self.enabled else None
        self.before.append(swap_cast(casts))
        return self

    def __exit__(self, *exception: object) -> None:
        swap_cast(self.before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def cast(*arguments: Any, **settings: Any) -> Any:
            with type(self)(self.device_type, self.dtype, self.enabled, self.cache_enabled):
                return function(*arguments, **settings)

        return cast


class Casts:
    """What one block does with the arguments of each operation; holds the parameters' narrow copies meanwhile."""

    def __init__(self, dtype: np.dtype, keeps: bool) -> None:
        self.dtype, self.keeps = dtype, keeps
        self.kept: dict[int, tuple[Any, int, Any]] = {}  # id of a leaf -> (the leaf, its version, its narrow copy)

    def __call__(self, function: type[Function], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if function.__name__ in NARROW:
            return tuple(self.narrow(argument) for argument in arguments)
        if function.__name__ in WIDE:
            return tuple(wide(argument) for argument in arguments)
        return arguments

    def narrow(self, argument: Any) -> Any:
        """A float32 tensor on a GPU as the block's type; all else as it is."""
        if not is_castable(argument) or argument.array.dtype != backend.float32:
            return argument
        keeps = self.keeps and argument.requires_grad and argument.node is None
        if not keeps or backend.is_capturing():  # a graph must cast anew at each replay
            return OPERATIONS["convert"](argument, dtype=self.dtype)
        leaf, version, copy = self.kept.get(id(argument), (None, -1, None))
        if leaf is not argument or version != argument.version.value or (copy.node is None and is_grad_enabled()):
            copy = OPERATIONS["convert"](argument, dtype=self.dtype)
            self.kept[id(argument)] = argument, argument.version.value, copy
        return copy


def is_castable(argument: Any) -> bool:
    """Whether this is a tensor of real numbers on a GPU; float64 is nobody's to change."""
    return (
        isinstance(argument, Variable)
        and is_floating(argument.array.dtype)
        and argument.array.dtype != backend.float64
        and device_of(argument.array).type == "cuda"
    )


def wide(argument: Any) -> Any:
    """A float16 or bfloat16 tensor on a GPU as float32; all else as it is."""
    if not is_castable(argument) or argument.array.dtype == backend.float32:
        return argument
    return OPERATIONS["convert"](argument, dtype=backend.float32)
