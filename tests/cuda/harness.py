"""Runs the .cu kernels on the CPU: compiles them with g++ against emulator/, launches them over NumPy arrays.

    run("batch_norm_sums", "float, 4", {"x": x, "rows": 7, ...}, {"partial": ((2, 2, 8), np.float32)}, seed=3)

gives the outputs by name. The launch fails, with an `EmulatorError` that says where and why, for a race, an access out
of bounds, a read before a write, a write to an input, a copy not waited for, a barrier that not all threads reach, and
for an output that has an element nobody wrote. Compiled modules are kept for the session in a temporary folder, or in
the folder that MINIRES_EMULATOR_CACHE names.
"""

import atexit
import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from minires.kernels.cuda import launch, source, table

EMULATOR = pathlib.Path(__file__).parent / "emulator"
RED_ZONE = 64  # bytes behind every shared array that belong to nobody

WARNINGS = ["-w"]
MACHINE = ["-std=c++20", "-march=x86-64-v3", "-ffp-contract=fast", "-fPIC"]
# -fno-gnu-unique, -fvisibility and -Bsymbolic (below): else a second module would use the first one's shared arrays
KERNEL_FLAGS = [
    *MACHINE, *WARNINGS, "-O1", "-g1", "-gdwarf-4", "-fno-plt", "-fno-strict-aliasing", "-fno-exceptions",
    "-fno-gnu-unique", "-fvisibility=hidden", "--param", "tsan-instrument-func-entry-exit=0",
    "-fsanitize=thread,bounds-strict,signed-integer-overflow,integer-divide-by-zero,shift,alignment",
]  # fmt: skip


class EmulatorError(Exception):
    """What a kernel did wrong; `kind` is "race", "bounds", "unset", "unwritten", "async", "barrier", "mask", ..."""

    def __init__(self, kind, text):
        super().__init__(f"[{kind}] {text}")
        self.kind = kind


def reason_to_skip():
    """Why kernels cannot be run here; None where they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the CUDA emulator needs Linux on x86-64"
    if shutil.which("g++") is None:
        return "the CUDA emulator needs a C++ compiler: g++ was not found"
    cpu_flags = pathlib.Path("/proc/cpuinfo").read_text()
    return None if "avx2" in cpu_flags and "f16c" in cpu_flags else "the CUDA emulator needs a processor with AVX2"


needs_emulator = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))


@functools.cache
def cache_folder():
    named = os.environ.get("MINIRES_EMULATOR_CACHE")
    if named:
        pathlib.Path(named).mkdir(parents=True, exist_ok=True)
        return pathlib.Path(named)
    folder = tempfile.mkdtemp(prefix="minires-cuda-emulator-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


def call(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr[:6000]}")
    return done.stdout


@functools.cache
def emulator_text():
    return "".join(path.read_text() for path in sorted(EMULATOR.rglob("*.*")))


def fingerprint(*texts):
    return hashlib.sha256("\0".join([*texts, emulator_text(), *KERNEL_FLAGS]).encode()).hexdigest()[:24]


def build(stem, suffix, make):
    """The file cache/stem + suffix; made by `make(path)` where it is not there yet, under another name at first."""
    path = cache_folder() / f"{stem}{suffix}"
    if not path.exists():
        unfinished = path.with_name(f"{os.getpid()}-{path.name}")
        make(unfinished)
        unfinished.rename(path)
    return path


@functools.cache
def runtime():
    """The loaded runtime library and its path."""
    code = EMULATOR / "runtime" / "runtime.cpp"
    path = build(f"libruntime-{fingerprint()}", ".so",
                 lambda to: call("g++", *MACHINE, *WARNINGS, "-O2", "-shared", code, "-o", to))  # fmt: skip
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    library.emu_allocate.restype = ctypes.c_void_p
    library.emu_allocate.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int, ctypes.c_int, ctypes.c_char_p]
    library.emu_free.argtypes = [ctypes.c_void_p]
    library.emu_first_unwritten.restype = ctypes.c_long
    library.emu_first_unwritten.argtypes = [ctypes.c_void_p]
    library.emu_error.restype = ctypes.c_char_p
    library.emu_accesses.restype = ctypes.c_uint64
    pointers = [ctypes.c_void_p] * 6
    library.emu_launch.argtypes = [*pointers, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64]
    return library, path


@functools.cache
def precompiled_header():
    """The folder that holds cuda_on_cpu.h.gch: the header is compiled once, not with every kernel."""

    def make(folder):
        folder.mkdir()
        call("g++", *KERNEL_FLAGS, "-x", "c++-header", f"-I{EMULATOR}", EMULATOR / "cuda_on_cpu.h",
             "-o", folder / "cuda_on_cpu.h.gch")  # fmt: skip

    return build(f"header-{fingerprint()}", "", make)


DYNAMIC = re.compile(r"extern __shared__ (?:__align__\(\d+\) )?(\w[\w ]*?) (\w+)\[\];")
UNROLL = re.compile(r"#pragma unroll(?: (\d+))?$", re.MULTILINE)


def as_cpp(text):
    """What g++ cannot read as it stands: dynamic shared memory and the unrolling of loops."""
    text = DYNAMIC.sub(r"EMU_DYNAMIC_SHARED(\1, \2);", text)
    return UNROLL.sub(lambda match: f"#pragma GCC unroll {match[1] or 16}", text)


def with_red_zones(assembler):
    """Makes every shared array longer by a red zone, and adds a table of the arrays: address, size, name."""
    found = []

    def local(match):
        found.append((match[1], int(match[2])))
        return f"\t.local {match[1]}\n\t.comm {match[1]},{int(match[2]) + RED_ZONE},{max(int(match[3]), 16)}\n"

    def zeros(match):
        found.append((match[2], int(match[3])))
        return f"{match[1]}{match[2]}:\n\t.zero\t{int(match[3]) + RED_ZONE}\n"

    assembler = re.sub(r"\t\.local\t(\S+)\n\t\.comm\t\S+?,(\d+),(\d+)\n", local, assembler)
    assembler = re.sub(r"(\t\.size\t\S+, \d+\n)(\S+):\n\t\.zero\t(\d+)\n", zeros, assembler)
    lines = ['\t.section .data.rel.ro.emulator,"aw"', "\t.align 8", "\t.globl emu_shared_arrays", "emu_shared_arrays:"]
    lines += [f"\t.quad {name}, {size}, .Lemulator{i}" for i, (name, size) in enumerate(found)]
    lines += ["\t.quad 0, 0, 0"]
    lines += [f'.Lemulator{i}: .string "{variable_name(name)}"' for i, (name, _) in enumerate(found)]
    return assembler + "\n".join(lines) + "\n"


def variable_name(symbol):
    """The variable "tile" of the mangled _ZZ6kernelIfEvPKfE4tile."""
    match = re.match(r".*E(\d+)([A-Za-z_]\w*?)(?:_\d+)?(?:\.\d+)?$", symbol)
    return match[2][: int(match[1])] if match and len(match[2]) >= int(match[1]) else symbol


class Module:
    """Compiled kernels of one source text. `names`: C++ expressions such as "batch_norm_sums<float, 4>"."""

    def __init__(self, text, names):
        self.names = list(names)
        entries = "".join(f"EMU_ENTRY({number}, {name})\n" for number, name in enumerate(self.names))
        code = f'{as_cpp(text)}\n#line 1 "entries"\nEMU_MODULE\n{entries}'
        self.path = build(f"kernels-{fingerprint(code)}", ".so", functools.partial(self.compile, code))
        self.library = ctypes.CDLL(str(self.path))
        for name in ("emu_statics_begin", "emu_statics_end"):
            getattr(self.library, name).restype = ctypes.c_void_p

    @staticmethod
    def compile(code, path):
        cpp, assembler = path.with_suffix(".cpp"), path.with_suffix(".s")
        cpp.write_text(code)
        call("g++", *KERNEL_FLAGS, "-I", precompiled_header(), "-include", "cuda_on_cpu.h", "-I", EMULATOR / "include",
             "-I", EMULATOR, "-S", cpp, "-o", assembler)  # fmt: skip
        assembler.write_text(with_red_zones(assembler.read_text()))
        call("g++", "-shared", assembler, "-o", path, "-Wl,-z,now", "-Wl,-Bsymbolic", runtime()[1])
        cpp.unlink()
        assembler.unlink()

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
    return {"instructions.cuh": (EMULATOR / "include" / "instructions.cuh").read_text()}


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
