"""A stand-in for CuPy: NumPy arrays that say they live on a GPU, and kernels that the emulator runs.

It is as strict as CuPy where minires could go wrong without one: arrays of NumPy and of the stand-in do not mix,
nothing becomes a NumPy array unasked, reductions give arrays without axes, and what CuPy lacks is missing here as well
(read off CuPy 14). It is no proof that the real one agrees; that is what `pytest -m gpu` is for. Devices and streams
are in fake_streams.py: an array is used on the device that holds it, and only when it is ready.
"""

import contextlib
import ctypes
import functools
import pathlib
import types
import typing
import weakref

import numpy as np

from minires import backend
from minires.backend import in_memory_order, memory_owner
from minires.kernels.cuda import table
from tests.cuda import fake_streams, harness
from tests.cuda.fake_streams import ORDER, Device, Event, Memory, Stream

MISSING = {"errstate", "block", "insert", "einsum_path", "geomspace", "nditer", "ndenumerate", "memmap", "spacing",
           "histogram_bin_edges", "vecdot", "unstack", "nanpercentile", "nanquantile", "isnat", "seterr"}  # fmt: skip
LINALG_MISSING = {"diagonal", "matrix_norm", "multi_dot", "outer", "svdvals", "tensordot", "trace", "vecdot",
                  "vector_norm"}  # fmt: skip
LOOKS = {"shape", "ndim", "size", "result_type", "can_cast", "broadcast_shapes", "may_share_memory"}
owners = weakref.WeakValueDictionary()  # id of the NumPy array that owns memory -> the array of the stand-in


def bits(array):
    """An array of bfloat16 as the uint16 that the emulator takes; all others as they are."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def narrowed(result, *operands):
    """What ml_dtypes widens to float32 where CuPy stays in bfloat16: products of matrices."""
    narrow = all(getattr(operand, "dtype", result.dtype).name == "bfloat16" for operand in operands)
    return result.astype(operands[0].dtype) if narrow else result


def unwrapped(value, seen=()):
    """NumPy's value of an argument, whose arrays are added to `seen`; TypeError for an array of NumPy, as CuPy says."""
    if isinstance(value, ndarray):
        seen.append(value)
        return value.held
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, list | tuple):
        return type(value)([unwrapped(part, seen) for part in value])
    return value


def wrapped(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple):  # a named one among them
        return tuple(map(wrapped, value))
    return list(map(wrapped, value)) if isinstance(value, list) else value


def memories(value):
    """The memory of all arrays in a result."""
    if isinstance(value, ndarray):
        return [value.memory]
    return [memory for part in value for memory in memories(part)] if isinstance(value, list | tuple) else []


def work(given, made=(), changed=()):
    """One piece of work in the present stream, on arrays of the present device."""
    for array in (*given, *changed):
        if array.memory.device != ORDER.device:
            raise ValueError(
                f"The device where the array resides ({array.memory.device}) is different from the "
                f"current device ({ORDER.device}). Peer access is unavailable between these devices."
            )
    ORDER.work(ORDER.queue(), [array.memory for array in given], [*made, *(array.memory for array in changed)])


def lifted(function, changes=()):
    """A function of NumPy for arrays of the stand-in. changes: arguments that it writes to."""

    def call(*arguments, **named):
        seen = []
        values = unwrapped(arguments, seen), {key: unwrapped(value, seen) for key, value in named.items()}
        out = named.get("out", ())  # a tuple, where NumPy has passed the call on
        changed = [*(arguments[place] for place in changes), *(out if isinstance(out, tuple) else [out])]
        outcome = wrapped(function(*values[0], **values[1]))
        held = [array.memory for array in seen]
        made = [memory for memory in memories(outcome) if all(memory is not other for other in held)]
        looks = function.__name__ in LOOKS  # at the shape or the type alone
        if made or changed or not (looks or memories(outcome)):  # else it is a view, with which nothing is done
            work(seen, made, changed)
        return outcome

    return call


def method(name):
    return lambda self, *arguments, **named: lifted(getattr(np.ndarray, name))(self, *arguments, **named)


def operator(name):
    def call(self, *others):
        if any(isinstance(other, np.ndarray) for other in others):
            raise TypeError(f"Unsupported type {np.ndarray}")
        if others and not isinstance(others[0], ndarray | int | float | bool | np.generic):
            return NotImplemented
        outcome = getattr(self.held, name)(*unwrapped(others, []))
        if outcome is NotImplemented:
            return outcome
        given = [self, *(other for other in others if isinstance(other, ndarray))]
        if outcome is self.held:
            work(given, (), [self])
            return self
        made = wrapped(outcome)
        work(given, [made.memory])
        return made

    return call


class Pointer(typing.NamedTuple):
    """Where an array begins; it keeps the memory."""

    ptr: int
    mem: Memory

    def copy_from_device_async(self, source, size, stream):
        """In the stream of the target's device, wherever the source lies."""
        assert self.mem.device == ORDER.device
        ctypes.memmove(self.ptr, source.ptr, size)
        ORDER.work(ORDER.queue(stream), [source.mem], [self.mem])


class ndarray:
    """What `cupy.ndarray` is to minires."""

    __array_priority__ = 100
    __hash__ = None

    def __init__(self, held):
        self.held = held
        root = memory_owner(held)
        self.base = None if root is held else owners.get(id(root))
        self.memory = Memory(root.nbytes) if self.base is None else self.base.memory
        if self.base is None:  # or a part of what NumPy's function has made: all that is left of it
            owners[id(root)] = self

    shape = property(lambda self: self.held.shape)
    ndim = property(lambda self: self.held.ndim)
    size = property(lambda self: self.held.size)
    dtype = property(lambda self: self.held.dtype)
    nbytes = property(lambda self: self.held.nbytes)
    itemsize = property(lambda self: self.held.itemsize)
    strides = property(lambda self: self.held.strides)
    flags = property(lambda self: types.SimpleNamespace(
        c_contiguous=self.held.flags.c_contiguous, f_contiguous=self.held.flags.f_contiguous,
        owndata=self.held.flags.owndata))  # fmt: skip
    T = property(lambda self: ndarray(self.held.T))
    device = property(lambda self: Device(self.memory.device))
    data = property(lambda self: Pointer(self.held.ctypes.data, self.memory))

    def got(self):
        """NumPy's array, when the present stream has done what it was given; on whatever device it lies."""
        with Device(self.memory.device):
            work([self])
            ORDER.streams()[-1].synchronize()
        return self.held

    def get(self):
        return self.got().copy(order="K")

    def set(self, array):
        self.held[...] = array
        work((), (), [self])
        fake_streams.note_copy_from(array, ORDER.queue())

    def astype(self, dtype, order="K", copy=True):
        made = self.held.astype(dtype, order=order, copy=copy)
        if made is self.held:
            return self
        made = ndarray(made)
        work([self], [made.memory])
        return made

    def copy(self, order="C"):
        """On its own device: what CuPy does between two does not wait for the other's streams."""
        made = ndarray(self.held.copy(order=order))
        work([self], [made.memory])
        return made

    def item(self, *place):
        return self.got().item(*place)

    def diagonal(self, *places):
        """As CuPy's, a view that may be written to where the whole may."""
        view = self.held.diagonal(*places)
        view.flags.writeable = self.held.flags.writeable
        return ndarray(view)

    def tolist(self):
        return self.got().tolist()

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, function, _, arguments, named):
        return getattr(MODULE, function.__name__)(*arguments, **named)

    def __array_ufunc__(self, function, how, *arguments, **named):
        if how != "__call__" or any(isinstance(a, np.ndarray) for a in arguments):
            return NotImplemented
        return getattr(MODULE, function.__name__)(*arguments, **named)

    def __getitem__(self, index):
        return lifted(np.ndarray.__getitem__)(self, index)

    def __setitem__(self, index, value):
        lifted(np.ndarray.__setitem__, changes=(0,))(self, index, value)

    def __len__(self):
        return len(self.held)

    def __iter__(self):
        return (self[place] for place in range(len(self)))

    def __bool__(self):
        return bool(self.got())

    def __float__(self):
        return float(self.got())

    def __int__(self):
        return int(self.got())

    def __dlpack__(self, **settings):
        return self.held.__dlpack__(**settings)

    def __dlpack_device__(self):
        return (2, self.memory.device)


METHODS = """sum mean prod max min argmax argmin any all reshape ravel transpose swapaxes squeeze argsort clip
dot cumsum cumprod flatten nonzero repeat round take var std view trace"""
OPERATORS = """add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv mod rmod pow rpow
matmul rmatmul neg pos abs invert and rand or ror xor rxor iand ior lshift rshift lt le gt ge eq ne"""
for _name in METHODS.split():
    setattr(ndarray, _name, method(_name))
for _name in OPERATORS.split():
    setattr(ndarray, f"__{_name}__", operator(f"__{_name}__"))


def matmul(a, b):
    if max(a.ndim, b.ndim) > 2 and a.dtype.name == "bfloat16":
        raise TypeError("CuPy 14 has no products of stacks of matrices in bfloat16")
    return lifted(lambda first, second: narrowed(np.matmul(first, second), a, b))(a, b)


ndarray.__matmul__ = matmul


class Linalg:
    """cupy.linalg, by NumPy's functions; the names that CuPy 14 lacks are missing."""

    def __getattr__(self, name):
        if name in LINALG_MISSING:
            raise AttributeError(f"module 'cupy.linalg' has no attribute {name!r}")
        return lifted(getattr(np.linalg, name))


class Ufunc:
    """A ufunc that can be called; of the others' methods CuPy has `at`."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments, **named):
        return lifted(self.function)(*arguments, **named)

    def at(self, target, places, values):
        lifted(self.function.at, changes=(0,))(target, places, values)


class Function:
    """One kernel of a RawModule: its arguments are copied into the emulator's memory, its outputs back."""

    shared_size_bytes = 0

    def __init__(self, expression):
        self.device = ORDER.device
        self.name, _, rest = expression.partition("<")
        self.kernel, self.instance = table.KERNELS[self.name], rest.removesuffix(">")
        self.launches = 0

    def __call__(self, grid, block, arguments, shared_mem):
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert self.device == ORDER.device, f"{self.name} was loaded on device {self.device}, not on {ORDER.device}"
        held, values, moved, given, changed = [], [], [], [], []
        try:
            for argument, value in zip(self.kernel.arguments, arguments, strict=True):
                if argument.direction is None:
                    values.append(harness.number(argument, value))
                    continue
                if value is not None:
                    (given if argument.direction == "in" else changed).append(value)
                if argument.name == "addresses":
                    moved = [place_for(int(address)) for address in value.held.reshape(-1)]
                    changed += [ours for ours, _ in moved if ours is not None]
                    held += [array for _, array in moved if array]
                    places = [array.address if array else 0 for _, array in moved]
                    value = ndarray(np.array(places, np.uint64).reshape(value.shape))
                array = None
                if value is not None:
                    array = harness.Array.holding(bits(value.held), argument.name, argument.direction)
                values.append(array)
                held += [array] if array else []
                if array and argument.direction != "in":
                    moved.append((value, array))
            work(given, (), changed)
            harness.module_of(self.name, self.instance).launch(
                self.kernel.expression(self.instance), grid, block[0], values, shared_mem, seed=1
            )
            MODULE.launched.append(self.kernel.expression(self.instance))
            for ours, array in moved:
                if array:
                    if array.role == "out":
                        array.check_written()
                    bits(ours.held)[...] = array.values
        finally:
            for array in held:
                array.free()


def place_for(address):
    """(array of the stand-in at this address, emulated memory with its values); (None, None) for 0."""
    if not address:
        return None, None
    found = next(array for array in list(owners.values()) if array.held.ctypes.data == address)
    ours = ndarray(in_memory_order(found.held)[0])
    return ours, harness.Array.holding(bits(ours.held), f"memory at {address:#x}", "inout")


class Nvrtc:
    """Compiles nothing: "machine code" is the list of the instances asked for."""

    def createProgram(text, file, headers, names):  # noqa: N805 - functions of a module
        assert "__global__" in text
        return []

    addNameExpression = list.append  # noqa: N815

    def compileProgram(program, options):  # noqa: N805
        assert program

    def getCUBIN(program):  # noqa: N805
        return "\n".join(program).encode()

    def getLoweredName(program, name):  # noqa: N805
        return name

    def destroyProgram(program):  # noqa: N805
        pass


class Pool:
    def malloc(self, size):
        raise AssertionError("the stand-in's arrays are NumPy's")

    def used_bytes(self):
        alive = [array for array in list(owners.values()) if array.memory.device == ORDER.device]
        return sum(array.nbytes for array in alive)

    def total_bytes(self):
        return 2 * self.used_bytes()

    def free_all_blocks(self):
        pass


class Module:
    """The module itself: NumPy's functions, lifted, but for those that CuPy lacks."""

    __name__, __version__ = "cupy", "stand-in"
    ndarray, dtype = ndarray, np.dtype

    def __init__(self):
        self.launched, self.replayed = [], ORDER.replayed
        pool = Pool()
        properties = {"name": b"stand-in", "totalGlobalMem": 80 << 30, "multiProcessorCount": 132, "major": 9,
                      "minor": 0}  # fmt: skip
        self.cuda = types.SimpleNamespace(
            is_available=lambda: True, Device=Device, Stream=Stream, Event=Event,
            runtime=fake_streams.runtime(properties), MemoryPool=Pool, using_allocator=contextlib.nullcontext,
            get_current_stream=lambda device=None: ORDER.streams(device)[-1],
            get_elapsed_time=lambda first, last: 1.0, nvrtc=Nvrtc,
        )  # fmt: skip
        windows = lifted(np.lib.stride_tricks.sliding_window_view)
        self.copyto = lifted(np.copyto, changes=(0,))
        self.compute_types, self.linalg = [], Linalg()
        linalg = types.SimpleNamespace(COMPUTE_TYPE_TF32=7, COMPUTE_TYPE_DEFAULT=0,
                                       set_compute_type=lambda *told: self.compute_types.append(told))  # fmt: skip
        self._core = types.SimpleNamespace(_routines_linalg=linalg)
        strided = lifted(np.lib.stride_tricks.as_strided)
        tricks = types.SimpleNamespace(sliding_window_view=windows, as_strided=strided)
        self.lib = types.SimpleNamespace(stride_tricks=tricks)
        self.get_default_memory_pool = lambda: pool
        self.get_default_pinned_memory_pool = lambda: pool

    def __getattr__(self, name):
        if name in MISSING or name.startswith("__"):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        found = getattr(np, name)
        if isinstance(found, np.ufunc):
            return Ufunc(found)
        return found if isinstance(found, type) or not callable(found) else lifted(found)

    @staticmethod
    def RawModule(code="", options=(), name_expressions=(), path=None):
        if path is not None:
            names = pathlib.Path(path).read_text().split("\n")
            return types.SimpleNamespace(compile=lambda: None,
                                         get_function=lambda name: Function(names[names.index(name)]))  # fmt: skip
        assert "__global__" in code
        return types.SimpleNamespace(get_function=lambda name: Function(name_expressions[name_expressions.index(name)]))

    @staticmethod
    def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
        if isinstance(a, ndarray):
            return a if dtype in (None, a.dtype) else a.astype(dtype)
        made = ndarray(np.array(unwrapped_list(a), dtype))
        ORDER.work(ORDER.queue(), (), [made.memory])
        if isinstance(a, np.ndarray):
            fake_streams.note_copy_from(a, ORDER.queue())
        return made

    array = asarray

    matmul = staticmethod(matmul)

    @staticmethod
    def asnumpy(a):
        return a.get() if isinstance(a, ndarray) else np.asarray(a)

    @staticmethod
    def ascontiguousarray(a):
        return a if a.held.flags.c_contiguous else lifted(np.ascontiguousarray)(a)

    @staticmethod
    def broadcast(*arrays):
        return np.broadcast(*(array.held for array in arrays))

    @staticmethod
    def indices(dimensions, dtype=int):
        return lifted(np.indices)(dimensions, dtype)

    @staticmethod
    def from_dlpack(other):
        if isinstance(other, ndarray):
            return other
        with Device(other.__dlpack_device__()[1]):
            return ndarray(np.from_dlpack(other))

    @staticmethod
    def get_array_module(*_):
        return MODULE


def unwrapped_list(value):
    return [unwrapped_list(part) for part in value] if isinstance(value, list) else unwrapped(value) if isinstance(
        value, ndarray) else value  # fmt: skip


MODULE = Module()


@contextlib.contextmanager
def in_place(monkeypatch):
    """Within the block `import cupy` gives the stand-in, and nothing compiled before is used."""
    import sys

    from minires.kernels.cuda import loader, switches

    for name, value in (("convolutions", False), ("products", False), ("_in_force", None)):
        monkeypatch.setattr(switches, name, value)  # exact: to be compared with the CPU
    pinned = types.SimpleNamespace(empty_pinned=functools.partial(fake_streams.empty_pinned, np.empty))
    ORDER.start()
    backend._in_flight.clear()  # what is left there waits for events of an earlier test
    monkeypatch.setitem(sys.modules, "cupy", MODULE)
    monkeypatch.setitem(sys.modules, "cupyx", pinned)
    MODULE.launched.clear()
    MODULE.replayed.clear()
    for cached in (loader.module, loader.function):
        cached.cache_clear()
    try:
        yield MODULE
    finally:
        for cached in (loader.module, loader.function):
            cached.cache_clear()
