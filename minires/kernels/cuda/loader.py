"""Compiles the .cu files with CuPy and launches their kernels. CuPy is imported when the first kernel is asked for.

A file is compiled once a process and device, with all its instances, by NVRTC; CuPy keeps the machine code in its cache
on disk. What this module does has never been run on a GPU yet; what it is given, text and table, is what the tests
compile and execute without one.
"""

import functools
import importlib.util
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from minires import backend
from minires.kernels.cuda import source, table
from minires.kernels.cuda.launch import template_arguments
from minires.kernels.cuda.types import Array, Outputs

OPTIONS = ("--std=c++17", "-default-device")
NUMBERS = {"int": "int32", "float": "float32", "long long": "int64", "unsigned": "uint32"}


def cupy_module() -> Any:
    """CuPy. Raises RuntimeError, in one line, where it is not installed or finds no GPU."""
    return backend.gpu_module()


@functools.cache
def header_folders() -> tuple[str, ...]:
    """Folders of cuda_fp16.h and its like in the installed packages nvidia-cuda-runtime."""
    spec = importlib.util.find_spec("nvidia")
    roots = [pathlib.Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    found = [folder for root in roots for folder in (*root.glob("cuda_runtime/include"), *root.glob("cu1*/include"))]
    return tuple(str(folder) for folder in found)


def options() -> tuple[str, ...]:
    """What NVRTC is told, on a GPU and in the tests alike."""
    return (*OPTIONS, *(f"-I{folder}" for folder in header_folders()))


def expressions(file: str, capability: int) -> list[str]:
    """All instances in one file that a GPU of this compute capability (90 for 9.0) runs."""
    return [
        kernel.expression(instance)
        for kernel in table.KERNELS.values()
        if kernel.file == file and kernel.runs_on(capability)
        for instance in kernel.instances
    ]


def compute_capability() -> int:
    """Of the present device: 90 for 9.0."""
    return int(cupy_module().cuda.Device().compute_capability)


@functools.cache
def module(file: str, device: int) -> Any:
    """The compiled file on one device. A file that this GPU is too old for raises RuntimeError."""
    cupy = cupy_module()
    capability = int(cupy.cuda.Device(device).compute_capability)
    names = expressions(file, capability)
    if not names:
        raise RuntimeError(f"the kernels of {file} need a newer GPU than compute capability {capability / 10}")
    if any(kernel.file == file and kernel.only for kernel in table.KERNELS.values()):
        return SpecificModule(cupy, *machine_code(cupy, file, names, f"{capability}a"))
    return cupy.RawModule(code=source.expanded(file), options=options(), name_expressions=names)


def machine_code(cupy: Any, file: str, names: list[str], architecture: str) -> tuple[bytes, dict[str, str]]:
    """(cubin, its function of each name) for one architecture such as "90a", whose instructions no other GPU has.

    RawModule cannot do this: it always compiles for "90".
    """
    nvrtc = cupy.cuda.nvrtc
    program = nvrtc.createProgram(source.expanded(file), file, (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        nvrtc.compileProgram(program, (*options(), f"--gpu-architecture=sm_{architecture}"))
        return nvrtc.getCUBIN(program), {name: nvrtc.getLoweredName(program, name) for name in names}
    finally:
        nvrtc.destroyProgram(program)


class SpecificModule:
    """A RawModule of machine code, asked by C++ names."""

    def __init__(self, cupy: Any, code: bytes, functions: dict[str, str]) -> None:
        self.functions = functions
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(code)
            file.flush()
            self.module = cupy.RawModule(path=file.name)
            self.module.compile()  # that is, loads it while the file is there

    def get_function(self, name: str) -> Any:
        return self.module.get_function(self.functions[name])


@functools.cache
def function(name: str, instance: str, device: int) -> Any:
    """One instance, ready to launch, allowed as much shared memory as the device has."""
    kernel = table.KERNELS[name]
    found = module(kernel.file, device).get_function(kernel.expression(instance))
    limit = cupy_module().cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]
    found.max_dynamic_shared_size_bytes = limit - found.shared_size_bytes
    return found


def aligned(array: Array) -> Array:
    """The array, or a copy of it where it is a view that begins at an address that 16 does not divide."""
    return array.copy() if array.data.ptr % 16 else array


def run(
    name: str, instance: str, given: dict[str, Any], outputs: Outputs, make: Callable[..., Array] | None = None
) -> dict[str, Array]:
    """Launch one kernel on the present device and stream; its outputs, and what it changed, by name.

    `given` holds arrays and numbers by the names of the table, "inout" arrays (changed in place) among them; optional
    arrays may be missing. `outputs` gives shape and dtype of what is to be made, by `make` (CuPy's `empty`). Raises
    TypeError for what is missing.
    """
    cupy = cupy_module()
    kernel = table.KERNELS[name]
    made: dict[str, Array] = {}
    arguments = []
    for argument in kernel.arguments:
        value = given.get(argument.name)
        if argument.direction is None:
            if value is None:
                raise TypeError(f"kernel {name}: the number {argument.name} is missing")
            arguments.append(cupy.dtype(NUMBERS[argument.type]).type(value) if argument.type in NUMBERS else value)
            continue
        if argument.direction == "out" and argument.name in outputs:
            value = made[argument.name] = (make or cupy.empty)(*outputs[argument.name])
        elif value is None and not argument.optional:
            raise TypeError(f"kernel {name}: the array {argument.name} is missing")
        elif value is not None:
            if isinstance(value, np.ndarray) and backend.is_capturing():
                raise RuntimeError(f"kernel {name}: {argument.name} is on the CPU, whose memory no CUDA graph may read")
            contiguous = cupy.ascontiguousarray(cupy.asarray(value))
            if argument.direction == "inout":
                if contiguous is not value:
                    raise ValueError(
                        f"{name} changes {argument.name} in place: it must be a contiguous array on the GPU"
                    )
                made[argument.name] = contiguous
            value = contiguous if argument.direction == "inout" else aligned(contiguous)
        arguments.append(value)
    shape = kernel.rule(given, template_arguments(instance))
    launched = function(name, instance, cupy.cuda.runtime.getDevice())
    launched(shape.grid, (shape.block,), tuple(arguments), shared_mem=shape.shared)
    return made
