"""Floor 1: numbers in, numbers out. `kernels.relu_forward(x)` runs the implementation that suits the device of `x`.

Every kernel exists in up to three sets with the same name and the same signature:

    reference   the textbook version: plain, slow, computed in float64. The oracle of every test
    cpu         the fast NumPy version, for float32 and float64; what it lacks, and other types, use the reference
    cuda        CuPy arrays: hand-written kernels behind kernels/cuda/adapters, for float32, float16, bfloat16

`TABLE` says which name has which implementation. Nothing here knows of the bookkeeping of gradients: a backward kernel
is a function like any other, called by the operation that needs it.

    with kernels.use("reference"):      # this thread computes by the textbook until the block ends
        y = kernels.conv2d_forward(x, weight, None, (1, 1), (0, 0), (1, 1), 1)
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from minires import backend, observe
from minires.kernels import cpu, reference
from minires.kernels.cuda import adapters
from minires.kernels.cuda.adapters import float64

Kernel = Callable[..., Any]

FAST_TYPES = (backend.float32, backend.float64)
SETS: dict[str, ModuleType] = {"reference": reference, "cpu": cpu, "cuda": adapters}
HOSTS = ("reference", "cpu")  # the sets for NumPy's arrays


def _collect() -> dict[str, dict[str, Kernel]]:
    """The table kernel name -> set name -> function, from what each family's `__all__` names."""
    table: dict[str, dict[str, Kernel]] = {}
    for set_name, package in SETS.items():
        for family in package.FAMILIES:
            for kernel_name in family.__all__:
                table.setdefault(kernel_name, {})[set_name] = getattr(family, kernel_name)
    return table


TABLE = _collect()

_forced = threading.local()


@contextmanager
def use(set_name: str) -> Iterator[None]:
    """Within this block, and in this thread only, every kernel comes from the named set, "reference" or "cpu".

    Raises ValueError for another name; a kernel that is given an array on a GPU inside the block raises TypeError.
    """
    if set_name not in HOSTS:
        raise ValueError(f"expected one of the kernel sets {', '.join(HOSTS)}, got {set_name!r}")
    before = getattr(_forced, "set_name", None)
    _forced.set_name = set_name
    try:
        yield
    finally:
        _forced.set_name = before


def implementation(kernel_name: str, set_name: str) -> Kernel:
    """The function that computes `kernel_name` when the set `set_name` is wanted.

    On the CPU a kernel that the fast set lacks is the reference one. Raises NotImplementedError for any other gap.
    """
    versions = TABLE[kernel_name]
    if set_name not in versions and set_name == "cpu":
        set_name = "reference"
    if set_name not in versions:
        raise NotImplementedError(f"the kernel {kernel_name} has no version for {set_name}")
    return versions[set_name]


def _dispatcher(kernel_name: str) -> Kernel:
    """The public function of one kernel: look at the first array, choose, call."""

    @functools.wraps(TABLE[kernel_name]["reference"])
    def call(array: backend.Array, *arguments: Any, **named: Any) -> Any:
        device = backend.device_of(array).type
        set_name = getattr(_forced, "set_name", None) or device
        if device == "cuda" and set_name != "cuda":
            raise TypeError(f"{kernel_name}: the kernel set {set_name} is for arrays on the CPU, not on a GPU")
        if set_name == "cpu" and array.dtype not in FAST_TYPES:
            if backend.is_bfloat16(array.dtype):
                raise NotImplementedError(f"{kernel_name} in bfloat16 needs a GPU: on the CPU use .float()")
            set_name = "reference"
        if set_name == "cuda" and array.dtype == backend.float64 and kernel_name in float64.ON_THE_CPU:
            return float64.through_cpu(kernel_name, implementation(kernel_name, "cpu"), array, *arguments, **named)
        return observe.call("kernel", kernel_name, implementation(kernel_name, set_name), array, *arguments, **named)

    return call


globals().update({name: _dispatcher(name) for name in TABLE})


def __getattr__(name: str) -> Any:
    raise AttributeError(f"minires.kernels has no kernel {name!r}; it has {', '.join(sorted(TABLE))}")
