"""Compiles the .cu files with g++ for the emulator: flags, red zones behind shared arrays, a cache of what is made.

Compiled modules are kept for the session in a temporary folder, or in the folder that MINIRES_EMULATOR_CACHE names.
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


def reason_to_skip():
    """Why kernels cannot be run here; None where they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the CUDA emulator needs Linux on x86-64"
    if shutil.which("g++") is None:
        return "the CUDA emulator needs a C++ compiler: g++ was not found"
    cpu_flags = pathlib.Path("/proc/cpuinfo").read_text()
    return None if "avx2" in cpu_flags and "f16c" in cpu_flags else "the CUDA emulator needs a processor with AVX2"


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


def compile_kernels(code, path):
    """A shared library of kernels from C++ that `as_cpp` made."""
    cpp, assembler = path.with_suffix(".cpp"), path.with_suffix(".s")
    cpp.write_text(code)
    call("g++", *KERNEL_FLAGS, "-I", precompiled_header(), "-include", "cuda_on_cpu.h", "-I", EMULATOR / "include",
         "-I", EMULATOR, "-S", cpp, "-o", assembler)  # fmt: skip
    assembler.write_text(with_red_zones(assembler.read_text()))
    call("g++", "-shared", assembler, "-o", path, "-Wl,-z,now", "-Wl,-Bsymbolic", runtime()[1])
    cpp.unlink()
    assembler.unlink()
