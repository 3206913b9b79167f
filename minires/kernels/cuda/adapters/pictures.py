"""Pictures on a GPU: bilinear resizing, and bytes to normalised numbers; one launch, where CuPy takes several."""

import numpy as np

from minires import backend
from minires.kernels.cuda import pictures
from minires.kernels.cuda.adapters.arrays import last, new, run, second, suits
from minires.kernels.cuda.types import Array
from minires.kernels.shapes import Pair


def fits(x: Array) -> bool:
    """Whether the kernel resizes pictures (N, C, H, W) of this type."""
    return x.ndim == 4 and suits(x) and x.size > 0


def bilinear_resize(x: Array, size: Pair) -> Array:
    """As torch's interpolate(mode="bilinear", align_corners=False); stored channels last."""
    return second(pictures.bilinear_resize(run, last(x), size, x.dtype))


def normalise_images(x: Array, mean: np.ndarray, deviation: np.ndarray) -> Array:
    """(x / 255 - mean) / deviation of bytes (N, C, H, W), in float32, stored channels last; one number a channel."""
    if not x.size:
        return new(x.shape, backend.float32)
    planar = x.flags.c_contiguous
    means, deviations = (backend.constant(np.ascontiguousarray(values)) for values in (mean, deviation))
    return second(pictures.normalise_images(run, x if planar else last(x), means, deviations, backend.float32, planar))
