"""bfloat16 in NumPy, which has no such type: arrays of uint16 that hold the upper half of a float32."""

import numpy as np

DTYPES = {"float": np.dtype(np.float32), "__half": np.dtype(np.float16), "__nv_bfloat16": np.dtype(np.uint16)}
# what one rounding of a result of size 1 may change, with some room for the order of additions
ROUNDING = {"float": 1e-5, "__half": 2e-3, "__nv_bfloat16": 1.6e-2}


def to_bfloat16(values):
    """The bits of the nearest bfloat16, ties to even; any NaN becomes 0x7fff."""
    values = np.ascontiguousarray(values, np.float32)
    bits = values.view(np.uint32)
    nearest = ((bits.astype(np.uint64) + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), nearest)


def encode(values, kind):
    """`values` as an array of the C++ type `kind`."""
    return to_bfloat16(values) if kind == "__nv_bfloat16" else np.asarray(values).astype(DTYPES[kind])


def decode(values, kind):
    """The numbers that an array of the C++ type `kind` holds, as float32."""
    if kind == "__nv_bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def rounded(values, kind):
    """`values` as the C++ type `kind` would keep them, as float32."""
    return decode(encode(values, kind), kind)
