"""Names of types between NumPy, CuPy and C++, and which template instance suits an array.

Arrays of bfloat16 have the type of the package ml_dtypes, which CuPy 14 knows; without it, in the kernels' own tests,
they are carried as uint16, the upper half of a float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

CPP = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16", "uint16": "__nv_bfloat16",
       "uint8": "unsigned char"}  # fmt: skip
BYTES = {"float": 4, "__half": 2, "__nv_bfloat16": 2, "unsigned char": 1, "unsigned short": 2}
FLOAT = np.dtype(np.float32)

Array = Any  # numpy.ndarray in the tests, cupy.ndarray on a GPU
Outputs = Mapping[str, tuple[tuple[int, ...], np.dtype]]

# run(kernel, instance, arguments by name, (shape, dtype) of each output by name) gives the outputs by name:
# `loader.run` on a GPU, the emulator in the tests.
Run = Callable[[str, str, dict[str, Any], Outputs], dict[str, Array]]


def cpp_type(array: Array) -> str:
    """The C++ type of an array's elements. Raises TypeError for a type that the kernels do not know."""
    try:
        return CPP[array.dtype.name]
    except KeyError:
        raise TypeError(f"the CUDA kernels compute in {', '.join(CPP)}, not in {array.dtype}") from None


def vector_of(array: Array, channels: int) -> int:
    """How many neighbouring channels one thread takes: 16 bytes of them where that divides `channels`, else 1."""
    vector = 16 // BYTES[cpp_type(array)]
    return vector if channels % vector == 0 else 1
