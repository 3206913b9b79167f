"""Dropout and the preparation of pictures on the GPU."""

from typing import Any

import numpy as np

from minires.kernels.cuda.types import CPP, Array, Run, cpp_type
from minires.kernels.shapes import Pair


def philox_address(generator: np.random.Generator) -> np.ndarray:
    """[5] uint64: the two keys and the upper words of the counter of a generator that has drawn nothing yet.

    Raises ValueError for a generator that is not Philox or has drawn already.
    """
    state: Any = generator.bit_generator.state
    if state["bit_generator"] != "Philox":
        raise ValueError(f"dropout on a GPU needs a Philox generator, not {state['bit_generator']}")
    counter = state["state"]["counter"]
    if counter[0] != 0 or state["buffer_pos"] != 4 or state["has_uint32"]:
        raise ValueError("dropout on a GPU needs a generator that has drawn nothing yet")
    return np.array([*state["state"]["key"], *counter[1:]], np.uint64)


def dropout(run: Run, x: Array, address: Array, p: float, channels: int = 1, pixels: int = 1) -> Array:
    """y = x / (1 - p) or 0, elements dropped as NumPy's generator at `address` drops them (see `philox_address`).

    With pixels > 1 memory is [images][pixels][channels] and the draw goes through [images][channels][pixels].
    """
    scale = 1 / (1 - p) if p < 1 else 0.0
    rounded = float(np.float16(scale)) if x.dtype == np.float16 else scale
    given = {"x": x, "address": address, "size": x.size, "channels": channels, "pixels": pixels, "p": p,
             "scale": rounded, "groups_of_8": -(-x.size // 8)}  # fmt: skip
    return run("dropout", cpp_type(x), given, {"y": (x.shape, x.dtype)})["y"]


def normalise_images(run: Run, x: Array, mean: Array, deviation: Array, dtype: np.dtype, planar: bool) -> Array:
    """[images][height][width][channels] of `dtype` from bytes, [images][channels][height][width] if `planar`."""
    shape = (x.shape[0], *x.shape[2:], x.shape[1]) if planar else x.shape
    given = {"x": x, "mean": mean, "deviation": deviation, "images": shape[0], "pixels": shape[1] * shape[2],
             "channels": shape[3], "planar": int(planar)}  # fmt: skip
    return run("normalise_images", CPP[np.dtype(dtype).name], given, {"y": (shape, dtype)})["y"]


def bilinear_resize(run: Run, x: Array, size: Pair, dtype: np.dtype) -> Array:
    """x [images][height][width][channels], bytes or real numbers, at another size, as `dtype`."""
    images, height, width, channels = x.shape
    given = {"x": x, "images": images, "height": height, "width": width, "out_height": size[0], "out_width": size[1],
             "channels": channels}  # fmt: skip
    instance = f"{cpp_type(x)}, {CPP[np.dtype(dtype).name]}"
    return run("bilinear_resize", instance, given, {"y": ((images, *size, channels), dtype)})["y"]
