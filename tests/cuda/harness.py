"""Runs the .cu kernels on the CPU: launches them, as compiler.py made them, over NumPy arrays, and checks all they do.

    run("batch_norm_sums", "float, 4", {"x": x, "rows": 7, ...}, {"partial": ((2, 2, 8), np.float32)}, seed=3)

gives the outputs by name. The launch fails, with an `EmulatorError` that says where and why, for a race, an access out
of bounds, a read before a write, a write to an input, a copy not waited for, a barrier that not all threads reach, and
for an output that has an element nobody wrote.
"""

import contextlib
import ctypes
import functools

import numpy as np
import pytest

from minires.kernels.cuda import launch, source, table
from tests.cuda.compiler import EMULATOR, as_cpp, build, call, compile_kernels, fingerprint, reason_to_skip, runtime

needs_emulator = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))


class EmulatorError(Exception):
    """What a kernel did wrong; `kind` is "race", "bounds", "unset", "unwritten", "async", "barrier", "mask", ..."""

    def __init__(self, kind, text):
        super().__init__(f"[{kind}] {text}")
        self.kind = kind


class Module:
    """Compiled kernels of one source text. `names`: C++ expressions such as "batch_norm_sums<float, 4>"."""

    def __init__(self, text, names):
        self.names = list(names)
        entries = "".join(f"EMU_ENTRY({number}, {name})\n" for number, name in enumerate(self.names))
        code = f'{as_cpp(text)}\n#line 1 "entries"\nEMU_MODULE\n{entries}'
        self.path = build(f"kernels-{fingerprint(code)}", ".so", functools.partial(compile_kernels, code))
        self.library = ctypes.CDLL(str(self.path))
        for name in ("emu_statics_begin", "emu_statics_end"):
            getattr(self.library, name).restype = ctypes.c_void_p

    def source_line(self, place):
        """ "batch_norm.cu:41" of an address in the module; helpers' headers are passed over for who called them."""
        lines = call("addr2line", "-i", "-e", self.path, hex(place)).splitlines()
        lines = [line.rpartition("/")[2].split(" ")[0] for line in lines]
        return next((line for line in lines if ".cu:" in line), lines[0])

    def launch(self, name, grid, block, values, shared=0, seed=0):
        """Run one kernel; `values`: ctypes numbers and structures, device memory as `Array`, None for null."""
        library, _ = runtime()
        held = [ctypes.c_uint64(value.address if isinstance(value, Array) else 0)
                if isinstance(value, Array | None) else value for value in values]  # fmt: skip
        pointers = (ctypes.c_void_p * len(held))(*[ctypes.addressof(value) for value in held])
        entry = ctypes.cast(getattr(self.library, f"emu_entry_{self.names.index(name)}"), ctypes.c_void_p)
        arrays = ctypes.addressof(ctypes.c_char.in_dll(self.library, "emu_shared_arrays"))
        three = ctypes.c_uint32 * 3
        failed = library.emu_launch(
            entry, self.library.emu_statics_begin(), self.library.emu_statics_end(), arrays,
            three(*grid), three(block, 1, 1), shared, pointers, seed,
        )  # fmt: skip
        if failed:
            kind, place, text = library.emu_error().decode().split("|", 2)
            where = f", {self.source_line(int(place, 16))}" if int(place, 16) else ""
            raise EmulatorError(kind, f"{name}: {text}{where}")


class Array:
    """Emulated device memory, with nothing mapped around it; `values` is a NumPy view.

    role "in": kernels may not write; "out": poisoned with 0xff bytes (NaN), and a read before a write is an error;
    "inout": both allowed.
    """

    def __init__(self, shape, dtype, name, role):
        dtype = np.dtype(dtype)
        self.name, self.role = name, role
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        library, _ = runtime()
        self.address = library.emu_allocate(max(size, 1), dtype.itemsize, role == "in", role == "out", name.encode())
        if not self.address:
            raise MemoryError(f"no slot of device memory is free for {name}")
        memory = (ctypes.c_char * max(size, 1)).from_address(self.address)
        self.values = np.frombuffer(memory, dtype, int(np.prod(shape, dtype=np.int64))).reshape(shape)
        if role == "out":
            ctypes.memset(self.address, 0xFF, max(size, 1))

    @classmethod
    def holding(cls, values, name, role="in"):
        array = cls(values.shape, values.dtype, name, role)
        array.values[...] = values
        return array

    def check_written(self):
        first = runtime()[0].emu_first_unwritten(self.address) if self.values.size else -1
        if first >= 0:
            raise EmulatorError(
                "unwritten", f"element {first} of output {self.name!r} {self.values.shape} was not written"
            )

    def free(self):
        runtime()[0].emu_free(self.address)
        self.values = None


NUMBERS = {"int": ctypes.c_int32, "float": ctypes.c_float, "long long": ctypes.c_int64, "unsigned": ctypes.c_uint32,
           "unsigned long long": ctypes.c_uint64}  # fmt: skip


@functools.cache
def instructions():
    return {name: (EMULATOR / "include" / name).read_text() for name in ("instructions.cuh", "hopper.cuh")}


@functools.cache
def module_of(name, instance):
    """The module that holds one instance of one kernel of the table."""
    kernel = table.KERNELS[name]
    return Module(source.expanded(kernel.file, instructions()), [kernel.expression(instance)])


def number(argument, value):
    if argument.type in NUMBERS:
        return NUMBERS[argument.type](value)
    return (ctypes.c_char * value.nbytes).from_buffer_copy(value.tobytes())  # a structure: a NumPy record


def run(name, instance, given, outputs, seed=0, module=None):
    """Launch one kernel of the table; returns its outputs (and what it changed) as {name: array}.

    given: arrays for its inputs, the first values of its "inout" arguments, and its numbers, by name; optional arrays
    may be left out. outputs: (shape, dtype) by name. Further numbers that only the launch rule knows may be given, too.
    """
    kernel = table.KERNELS[name]
    module = module or module_of(name, instance)
    arrays, values = [], []
    try:
        for argument in kernel.arguments:
            if argument.direction is None:
                values.append(number(argument, given[argument.name]))
                continue
            if argument.direction == "out" and argument.name in outputs:
                array = Array(*outputs[argument.name], argument.name, "out")
            elif argument.name in given and given[argument.name] is not None:
                array = Array.holding(np.ascontiguousarray(given[argument.name]), argument.name, argument.direction)
            elif argument.optional:
                array = None
            else:
                raise TypeError(f"{name} needs {argument.name}")
            values.append(array)
            arrays += [array] if array else []
        shape = kernel.rule(given, launch.template_arguments(instance))
        module.launch(kernel.expression(instance), shape.grid, shape.block, values, shape.shared, seed)
        for array in arrays:
            if array.role == "out":
                array.check_written()
        return {array.name: array.values.copy() for array in arrays if array.role != "in"}
    finally:
        for array in arrays:
            array.free()


class Traffic(ctypes.Structure):
    """What launches cost: bytes and 32-byte sectors of global memory, rounds of shared memory's banks."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("bytes_read", "bytes_written", "sectors_read", "sectors_written",
                                                      "rounds", "rounds_at_least")]  # fmt: skip


@contextlib.contextmanager
def counted():
    """`with counted() as traffic:` fills in the costs of the launches inside, when the block ends."""
    library, _ = runtime()
    library.emu_traffic.restype = Traffic
    traffic = Traffic()
    library.emu_count_traffic(1)
    try:
        yield traffic
        found = library.emu_traffic()
        for name, _ in Traffic._fields_:
            setattr(traffic, name, getattr(found, name))
    finally:
        library.emu_count_traffic(0)
