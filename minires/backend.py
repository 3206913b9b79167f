"""Floor 0: which array library holds an array, and on which device. Everything above asks here and nowhere else.

An array is a `numpy.ndarray` (device "cpu") or a `cupy.ndarray` (device "cuda:N"). CuPy is imported only when somebody
asks for a GPU, so that `import minires` neither needs it nor wakes a driver.
"""

import collections
import contextlib
import sys
import threading
import weakref
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray: CuPy is optional, so that no common static type exists

float16, float32, float64 = (np.dtype(name) for name in ("float16", "float32", "float64"))
int8, int16, int32, int64 = (np.dtype(name) for name in ("int8", "int16", "int32", "int64"))
uint8, boolean = np.dtype("uint8"), np.dtype("bool")


def __getattr__(name: str) -> Any:
    if name == "bfloat16":
        return _bfloat16()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _bfloat16() -> np.dtype:
    """The upper half of a float32, which NumPy and CuPy know through the package ml_dtypes.

    RuntimeError, in one line, where that is not installed.
    """
    try:
        import ml_dtypes
    except ImportError:
        raise RuntimeError(
            "bfloat16 needs the package ml_dtypes: pip install 'minires[cuda12]', or ml_dtypes"
        ) from None
    return np.dtype(ml_dtypes.bfloat16)


def as_dtype(value: Any) -> np.dtype:
    """NumPy's dtype of a name, a type or a dtype. TypeError for what is none."""
    return _bfloat16() if isinstance(value, str) and value == "bfloat16" else np.dtype(value)


default_dtype = float32  # of Python's floats and of new tensors; read it as backend.default_dtype, since it may change


def set_default_dtype(d: Any) -> None:
    """The type of real numbers whose type nobody says: float32 at first. TypeError for a type of whole numbers."""
    global default_dtype
    if not is_floating(as_dtype(d)):
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    default_dtype = as_dtype(d)


def get_default_dtype() -> np.dtype:
    """The type of real numbers whose type nobody says."""
    return default_dtype


class memory_format:  # noqa: N801 - PyTorch's name
    """How the axes of an array follow each other in memory: one of the three below."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"minires.{self.name}"


contiguous_format, channels_last, preserve_format = (
    memory_format(name) for name in ("contiguous_format", "channels_last", "preserve_format")
)


class device:  # noqa: N801 - PyTorch's name
    """Where an array lives: `device("cpu")`, `device("cuda")` or `device("cuda:1")`, which is `device("cuda", 1)`.

    It compares equal to the same text.

    "cuda" is the GPU that is used at the time (`cuda.set_device`), the first one at first; `index` is None then.
    Raises ValueError for any other text.
    """

    def __init__(self, type: "str | device", index: int | None = None) -> None:
        name = str(type) if index is None else f"{type}:{index}"
        kind, colon, place = name.partition(":")
        if kind not in ("cpu", "cuda") or (colon and not place.isdigit()) or (kind == "cpu" and place not in ("", "0")):
            raise ValueError(f'expected the device "cpu", "cuda" or "cuda:N", got {name!r}')
        self.type = kind
        self.index = int(place) if place and kind == "cuda" else None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device('{self}')"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            other = device(other)
        return isinstance(other, device) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


cpu = device("cpu")


def array_module(array: Array) -> ModuleType:
    """The library, `numpy` or `cupy`, that `array` belongs to."""
    if isinstance(array, np.ndarray | np.generic):
        return np
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}")


def device_of(array: Array) -> device:
    """The device that holds `array`."""
    return cpu if array_module(array) is np else device(f"cuda:{array.device.id}")


def gpu_module() -> ModuleType:
    """CuPy. Raises RuntimeError, in one line, where it is not installed or finds no GPU."""
    try:
        import cupy
    except ImportError:
        raise RuntimeError(
            "CUDA needs CuPy: pip install 'minires[cuda12]', or 'minires[cuda13]' for a driver of CUDA 13"
        ) from None
    if not cupy.cuda.is_available():
        raise RuntimeError("CUDA needs an NVIDIA GPU and its driver: CuPy is installed but finds none")
    global gpus_in_use
    gpus_in_use = True
    return cupy


gpus_in_use = False  # whether anybody has asked for a GPU yet


def resolved(target: "str | device") -> device:
    """The device, by its number where "cuda" leaves that open. RuntimeError for a GPU that is not there."""
    target = device(target)
    if target == cpu:
        return cpu
    cupy = gpu_module()
    count = cupy.cuda.runtime.getDeviceCount()
    number = cupy.cuda.runtime.getDevice() if target.index is None else target.index
    if number >= count:
        raise RuntimeError(f"there is no device {target}: this machine has {count} GPU{'s' if count > 1 else ''}")
    return device(f"cuda:{number}")


_here: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()


def on_device_of(array: Array) -> contextlib.AbstractContextManager[Any]:
    """Within the block new work goes to the GPU that holds this array. For an array on the CPU nothing changes."""
    return _here if isinstance(array, np.ndarray | np.generic) else array.device


def in_memory_order(array: Array) -> tuple[Array, tuple[int, ...]]:
    """(the array with its axes as they lie in memory, the slowest first; the axes that undo it)."""
    order = sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), axis))
    return array.transpose(order), tuple(order.index(axis) for axis in range(array.ndim))


def move(array: Array, target: "str | device", non_blocking: bool = False) -> Array:
    """`array` on the device `target`, in the same memory order; the same array where it is there already.

    non_blocking: do not wait for the copy. To the GPU that is a copy behind Python's back only from pinned memory
    (`Tensor.pin_memory`), which must not be written to before it is done, but may be let go of: it is kept until then.
    A copy to the CPU is always waited for, one between GPUs never: their streams wait for each other.
    Raises RuntimeError without CuPy or a GPU, and for a GPU that is not there.
    """
    target = resolved(target)
    if target == device_of(array):
        return array
    ordered, back = in_memory_order(array)
    if target == cpu:
        with on_device_of(array):
            return ordered.get().transpose(back)
    cupy = gpu_module()
    if is_capturing():
        raise RuntimeError("a copy from the CPU, or between GPUs, cannot be captured in a CUDA graph")
    with cupy.cuda.Device(target.index):
        if not isinstance(array, np.ndarray):
            return _from_other_gpu(cupy, ordered).transpose(back)
        contiguous = np.ascontiguousarray(ordered)
        moved = cupy.asarray(contiguous)
        stream = cupy.cuda.get_current_stream()
        if not non_blocking:
            stream.synchronize()
        elif is_pinned(contiguous):
            _keep(memory_owner(contiguous), [stream])
        return moved.reshape(ordered.shape).transpose(back)


def _from_other_gpu(cupy: Any, array: Array) -> Array:
    """A copy on the present GPU. Each GPU's present stream waits for the other's: before the copy, and behind it."""
    with array.device:
        array = cupy.ascontiguousarray(array)
        ready = cupy.cuda.get_current_stream().record()
    stream = cupy.cuda.get_current_stream()
    stream.wait_event(ready)
    moved = cupy.empty(array.shape, array.dtype)
    moved.data.copy_from_device_async(array.data, array.nbytes, stream)
    done = stream.record()
    with array.device:
        cupy.cuda.get_current_stream().wait_event(done)
    return moved


# --------------------------------------------------------------- memory that streams are yet to be done with

_in_flight: "collections.deque[tuple[list[Any], Any]]" = collections.deque()  # (events to come, what is kept till then)
_in_flight_lock = threading.RLock()  # the garbage collector may come here at any time
_streams_of: dict[int, list[Any]] = {}  # by the id of an array on a GPU that owns memory: the streams that use it, too


def let_go_of_what_is_done() -> None:
    """Give back memory that was kept until streams had done with it, as far as they have, in the order of keeping."""
    with _in_flight_lock:
        while _in_flight and all(event.done for event in _in_flight[0][0]):
            _in_flight.popleft()


def _keep(memory: Any, streams: "list[Any]") -> None:
    """Hold memory until these streams, of the present GPU, have done what they have been given so far."""
    with _in_flight_lock:
        let_go_of_what_is_done()
        _in_flight.append(([stream.record() for stream in streams], memory))


def record_stream(array: Array, stream: Any) -> None:
    """See `Tensor.record_stream`; `stream` is CuPy's. Raises RuntimeError on the CPU, and while a graph is captured."""
    owner = memory_owner(array)
    if isinstance(owner, np.ndarray):
        raise RuntimeError("record_stream is for tensors on a GPU, not on cpu")
    if is_capturing():
        raise RuntimeError("record_stream cannot be captured in a CUDA graph, which owns the memory of its tensors")
    if id(owner) not in _streams_of:
        _streams_of[id(owner)] = []
        weakref.finalize(owner, _keep_when_let_go, id(owner), owner.device, owner.data).atexit = False
    if stream not in _streams_of[id(owner)]:
        _streams_of[id(owner)].append(stream)


def _keep_when_let_go(number: int, on: Any, memory: Any) -> None:
    streams = _streams_of.pop(number)
    with on:
        _keep(memory, streams)


_pinned: "weakref.WeakValueDictionary[int, Array]" = weakref.WeakValueDictionary()  # address -> the whole array


def pinned(array: Array) -> Array:
    """A copy of a NumPy array in page-locked memory, in the same memory order. RuntimeError for an array on a GPU."""
    if not isinstance(array, np.ndarray):
        raise RuntimeError(f"only arrays on the CPU can be pinned, not one on {device_of(array)}")
    gpu_module()
    import cupyx

    ordered, back = in_memory_order(array)
    made = cupyx.empty_pinned(ordered.shape, ordered.dtype)
    made[...] = ordered
    owner = memory_owner(made)
    _pinned[owner.ctypes.data] = owner
    return made.transpose(back)


def is_pinned(array: Array) -> bool:
    """Whether the memory of this array came from `pinned`."""
    owner = memory_owner(array)
    return isinstance(owner, np.ndarray) and _pinned.get(owner.ctypes.data) is owner


def is_capturing() -> bool:
    """Whether the work of this thread's stream is being captured for a CUDA graph, when nobody may wait for results."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and bool(cupy.cuda.is_available() and cupy.cuda.get_current_stream().is_capturing())


_of_graphs: dict[int, list[Any]] = {}  # by the number of a capturing stream: arrays that its graph reads


def constant(values: Array) -> Array:
    """A copy on the present GPU of a few numbers that kernels read.

    While a CUDA graph is captured, the copy is made at once, in a stream of its own, and not captured; the graph keeps
    it (`constants_of_graph`).
    """
    cupy = gpu_module()
    if not is_capturing():
        return cupy.asarray(values)
    captured, aside = cupy.cuda.get_current_stream(), cupy.cuda.Stream(non_blocking=True)
    with aside:
        made = cupy.asarray(values)
    aside.synchronize()
    _of_graphs.setdefault(int(captured.ptr), []).append(made)
    return made


def constants_of_graph(stream: Any) -> list[Any]:
    """The constants made since this stream's capture began; the caller has to keep them as long as the graph."""
    return _of_graphs.pop(int(stream.ptr), [])


def is_floating(dtype: np.dtype) -> bool:
    """Whether arrays of this type hold real numbers, the only ones that have gradients."""
    return dtype.kind == "f" or is_bfloat16(dtype)


def is_bfloat16(dtype: np.dtype) -> bool:
    """Whether this is bfloat16, which NumPy takes for a structure of somebody else's."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def is_number(dtype: np.dtype) -> bool:
    """Whether a Tensor may hold elements of this type: real numbers, integers or booleans."""
    return dtype.kind in "biuf" or is_bfloat16(dtype)


def result_type(first: Array, second: Array) -> np.dtype:
    """The type in which two operands meet, by PyTorch's rules rather than NumPy's.

    They differ from NumPy's in three ways: a float meeting an integer keeps the float's type (NumPy widens float32 and
    int64 to float64); an integer meeting a Python float gives float32 (NumPy: float64); and an array without axes
    counts less than one with axes of the same kind of number.
    """
    kinds = "biuf"

    def rank(operand: Array) -> int:
        if isinstance(operand, bool | np.bool_):
            return 0
        if isinstance(operand, int):
            return 1
        if isinstance(operand, float):
            return 3
        kind = "f" if is_floating(operand.dtype) else operand.dtype.kind
        return 0 if kind == "b" else max(1, min(3, kinds.index(kind)))

    def weight(operand: Array) -> int:  # a Python number gives way to an array without axes, that to one with axes
        return 0 if isinstance(operand, bool | int | float) else 1 if operand.ndim == 0 else 2

    def own_type(operand: Array) -> np.dtype:
        if isinstance(operand, bool):
            return boolean
        if isinstance(operand, int):
            return int64
        return default_dtype if isinstance(operand, float) else operand.dtype

    (low, high) = sorted((first, second), key=rank)
    low_kind, high_kind = (2 if rank(x) in (1, 2) else rank(x) for x in (low, high))
    if low_kind != high_kind:
        return own_type(high)
    if weight(first) != weight(second):
        return own_type(max(first, second, key=weight))
    one, two = own_type(first), own_type(second)
    if {one.name, two.name} == {"float16", "bfloat16"}:  # neither holds the other
        return float32
    return np.promote_types(one, two)


def is_writeable(array: Array) -> bool:
    """Whether the elements may be written to; CuPy marks none as read-only."""
    return not isinstance(array, np.ndarray) or array.flags.writeable


def memory_owner(array: Array) -> Array:
    """The array whose memory `array` is a view of (itself, if it owns its memory)."""
    while True:
        base = getattr(array, "base", None)
        if base is not None and not hasattr(base, "dtype"):  # as_strided puts an object of its own in between
            base = getattr(base, "base", None)
        if not hasattr(base, "dtype"):
            return array
        array = base
