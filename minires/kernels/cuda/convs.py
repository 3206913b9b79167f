"""Convolution on the GPU: as kernels/reference/conv.py, for arrays with channels last, and which kernel suits a layer.

x [images][height][width][channels], weight [outputs][kernel_h][kernel_w][channels / groups], both of one type; bias,
scale and shift [outputs] float32.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import array_module
from minires.kernels.cuda import launch, norms, switches
from minires.kernels.cuda.types import BYTES, FLOAT, Array, Run, cpp_type, vector_of
from minires.kernels.shapes import Pair, convolution_sizes

GEOMETRY = np.dtype([(name, np.int32) for name in (
    "images", "height", "width", "channels", "out_height", "out_width", "outputs", "kernel_h", "kernel_w", "stride_h",
    "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "groups")])  # fmt: skip

DIRECT_TILE, DIRECT_DEEP = 64, 16  # as in conv_direct.cu


@dataclass(frozen=True)
class Layer:
    """Sizes of one convolution; `settings` are stride, padding, dilation and groups."""

    x_shape: tuple[int, int, int, int]
    weight_shape: tuple[int, int, int, int]
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def out(self) -> Pair:
        kernel = (self.weight_shape[1], self.weight_shape[2])
        return convolution_sizes(self.x_shape[1:3], kernel, self.stride, self.padding, self.dilation)

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        return (self.x_shape[0], *self.out, self.weight_shape[0])

    @property
    def pixels(self) -> int:
        return self.x_shape[0] * self.out[0] * self.out[1]

    @property
    def taps(self) -> int:
        return self.weight_shape[1] * self.weight_shape[2]

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.x_shape[3] == self.weight_shape[0] > 1

    @property
    def is_pointwise(self) -> bool:
        return self.taps == 1 and self.stride == (1, 1) and self.padding == (0, 0)

    def geometry(self) -> Any:
        """The structure `Geometry` of conv_geometry.cuh: an array of one record, the form in which CuPy passes it."""
        images, height, width, channels = self.x_shape
        sizes = (images, height, width, channels, *self.out, *self.weight_shape[:3])
        return np.array([(*sizes, *self.stride, *self.padding, *self.dilation, self.groups)], GEOMETRY)

    def numbers(self) -> dict[str, Any]:
        """What the launch rules ask for, by name."""
        images, height, width, channels = self.x_shape
        phases = self.stride[0] * self.stride[1]
        rows = images * -(-height // self.stride[0]) * -(-width // self.stride[1])  # of the largest phase
        return {"geometry": self.geometry(), "pixels": self.pixels, "phase_rows": rows, "phases": phases,
                "groups": self.groups, "depth": channels // self.groups, "breadth": self.weight_shape[0] // self.groups,
                "taps": self.taps, "in_pixels": images * height * width, "channels": channels}  # fmt: skip


def suits_tensor_cores(x: Array, layer: Layer) -> bool:
    """Whether a group's channels and outputs are multiples of 16 bytes."""
    pack = 16 // BYTES[cpp_type(x)]
    depth, breadth = layer.x_shape[3] // layer.groups, layer.weight_shape[0] // layer.groups
    return depth % pack == 0 and breadth % pack == 0


def matrix_tile(rows: int, columns: int) -> str:
    """The tile that suits a product: 128 x 128 where it is filled and there are enough, else 64 x 64."""
    return "128, 128" if columns >= 128 and rows * columns >= 128 * 128 * norms.PROCESSORS else "64, 64"


# ways to compute a layer on tensor cores, beside which there is "cublas": the tile of each
MATRIX_TILES = {"mma 128": "128, 128", "mma 128x64": "128, 64", "mma 64": "64, 64"}
WARPGROUPS = {"wgmma 128": "128", "wgmma 64": "64"}


def ways(work: str, x: Array, layer: Layer, exact: bool, capability: int, plain: bool = True) -> tuple[str, ...]:
    """What can compute the "forward", "input_gradient" or "weight_gradient" of a layer, for the autotuner to time.

    plain: nothing is done to y behind the product. Empty where there is no choice: exact or depthwise layers of more
    than 1 x 1 have one kernel each. NumPy's bfloat16 carried as uint16 has no matrix product.
    """
    found: list[str] = []
    if use_tensor_cores(x, layer, exact) and not layer.is_depthwise:
        found += MATRIX_TILES
        if capability == 90 and BYTES[cpp_type(x)] == 2:
            found += WARPGROUPS
    elif not layer.is_depthwise:
        found.append("direct")
    if layer.is_pointwise and layer.groups == 1 and plain and x.dtype.kind != "u":
        found.append("cublas")
    return tuple(found) if len(found) > 1 else ()


def product(a: Array, b: Array, exact: bool) -> Array:
    """The matrix product by the array's own library: cuBLAS for CuPy's, with tf32 for float32 unless it is `exact`."""
    library = array_module(a)
    if a.dtype == FLOAT and library is not np:
        switches.tell_cupy(library, not exact)
    return library.ascontiguousarray(library.matmul(a, b))


def matrix_forward(
    run: Run, x: Array, weight: Array, layer: Layer, exact: bool, wants_sums: bool
) -> tuple[Array, Array | None, int]:  # fmt: skip
    """`forward` of a 1 x 1 layer by cuBLAS; the sums by a reading of y."""
    y = product(x.reshape(layer.pixels, -1), weight.reshape(layer.weight_shape[0], -1).transpose(), exact)
    partial, rows = norms.partial_statistics(run, y) if wants_sums else (None, 0)
    return y.reshape(layer.y_shape), partial, rows


def packed_weight(run: Run, weight: Array, layer: Layer, way: str, gradient: bool) -> Array:
    """The weight in the order of conv_wgmma.cu's buffers: [groups][column tiles][taps][chunks][columns][64]."""
    wide, sizes = int(WARPGROUPS[way]), layer.numbers()
    deep, columns = (sizes["breadth"], sizes["depth"]) if gradient else (sizes["depth"], sizes["breadth"])
    tiles, chunks = launch.over(columns, wide), launch.over(deep, launch.HOPPER_DEEP)
    shape = (layer.groups, tiles, layer.taps, chunks, wide, launch.HOPPER_DEEP)
    given = {"weight": weight, "geometry": sizes["geometry"], "pieces": math.prod(shape) // 8}
    instance = f"{cpp_type(weight)}, {wide}, {'true' if gradient else 'false'}"
    return run("pack_weights", instance, given, {"packed": (shape, weight.dtype)})["packed"]


def direct_instance(x: Array, layer: Layer) -> str:
    """The instance of conv_direct: four neighbours at once where the channels allow it."""
    depth, breadth = layer.x_shape[3] // layer.groups, layer.weight_shape[0] // layer.groups
    return f"{cpp_type(x)}, {'true' if depth % 4 == 0 and breadth % 4 == 0 else 'false'}"


def use_tensor_cores(x: Array, layer: Layer, exact: bool) -> bool:
    return not exact and suits_tensor_cores(x, layer)


def forward(
    run: Run, x: Array, weight: Array, layer: Layer, epilogue: Mapping[str, Any], exact: bool = True,
    wants_sums: bool = False, way: str | None = None,
) -> tuple[Array, Array | None, int]:  # fmt: skip
    """(y, sums, rows of each sum). exact: float32 arithmetic; else tensor cores (tf32 for float32) where they can.

    epilogue: "bias", "scale", "shift", "residual" (arrays or None) and "relu". sums [tiles][2][outputs]: the means and
    squared deviations of y + bias that `norms.merged_statistics` joins; None unless `wants_sums`, and for depthwise.
    way: one of `ways(...)`; None: the rule of thumb.
    """
    given = {"x": x, "weight": weight, "relu": 0, **epilogue, **layer.numbers()}
    outputs: dict[str, Any] = {"y": (layer.y_shape, x.dtype)}
    breadth = layer.weight_shape[0] // layer.groups
    if layer.is_depthwise:
        instance = f"{cpp_type(x)}, {vector_of(x, layer.x_shape[3])}"
        return run("conv_depthwise_forward", instance, given, outputs)["y"], None, 0
    if way == "cublas":
        return matrix_forward(run, x, weight, layer, exact, wants_sums)
    if way in WARPGROUPS:
        given["packed"] = packed_weight(run, weight, layer, way, gradient=False)
        name, instance, tile_rows = "conv_wgmma_forward", f"{cpp_type(x)}, {WARPGROUPS[way]}", launch.HOPPER_ROWS
    elif use_tensor_cores(x, layer, exact):
        tile = MATRIX_TILES.get(way or "") or matrix_tile(layer.pixels, breadth)
        name = "conv_mma_forward"
        instance = f"{cpp_type(x)}, {tile}, {'true' if layer.is_pointwise else 'false'}"
        tile_rows = int(tile.split(",")[0])
    else:
        name, instance, tile_rows = "conv_direct_forward", direct_instance(x, layer), DIRECT_TILE
    if wants_sums:
        outputs["sums"] = ((launch.over(layer.pixels, tile_rows), 2, layer.weight_shape[0]), FLOAT)
    made = run(name, instance, given, outputs)
    return made["y"], made.get("sums"), tile_rows


def input_gradient(
    run: Run, grad: Array, weight: Array, layer: Layer, exact: bool = True, way: str | None = None
) -> Array:
    """dx, of the input's shape. way: as for `forward`."""
    if way == "cublas":
        rows, columns = grad.reshape(layer.pixels, -1), weight.reshape(layer.weight_shape[0], -1)
        return product(rows, columns, exact).reshape(layer.x_shape)
    given = {"grad": grad, "weight": weight, **layer.numbers()}
    outputs = {"dx": (layer.x_shape, grad.dtype)}
    if layer.is_depthwise:
        name, instance = "conv_depthwise_input_gradient", f"{cpp_type(grad)}, {vector_of(grad, layer.x_shape[3])}"
    elif way in WARPGROUPS:
        given["packed"] = packed_weight(run, weight, layer, way, gradient=True)
        name, instance = "conv_wgmma_input_gradient", f"{cpp_type(grad)}, {WARPGROUPS[way]}"
    elif use_tensor_cores(grad, layer, exact):
        tile = MATRIX_TILES.get(way or "") or matrix_tile(
            given["phase_rows"] * given["phases"], layer.x_shape[3] // layer.groups
        )
        name, instance = "conv_mma_input_gradient", f"{cpp_type(grad)}, {tile}"
    else:
        name, instance = "conv_direct_input_gradient", direct_instance(grad, layer)
    return run(name, instance, given, outputs)["dx"]


def pixels_per_split(layer: Layer, tiles: int, deep: int, blocks: int = 2) -> int:
    """How many pixels a block adds up: such that tiles times splits are about `blocks` blocks a processor."""
    splits = max(1, blocks * norms.PROCESSORS // max(1, tiles))
    return max(deep, launch.over(launch.over(layer.pixels, splits), deep) * deep)


def weight_gradient(run: Run, grad: Array, x: Array, layer: Layer, exact: bool = True, way: str | None = None) -> Array:
    """dweight, of the weight's shape and type. way: as for `forward`."""
    if way == "cublas":
        rows = layer.pixels
        return product(grad.reshape(rows, -1).transpose(), x.reshape(rows, -1), exact).reshape(layer.weight_shape)
    given = {"grad": grad, "x": x, **layer.numbers()}
    depth, breadth = given["depth"], given["breadth"]
    if layer.is_depthwise:
        channels = layer.x_shape[3]
        instance, sizes, splits = norms.tiling(x, layer.pixels, channels)
        name, more = "conv_depthwise_weight_gradient", sizes
    elif way in WARPGROUPS:
        tiles = launch.over(breadth, launch.HOPPER_ROWS) * layer.taps * launch.over(depth, int(WARPGROUPS[way]))
        per_split = pixels_per_split(layer, tiles * layer.groups, launch.HOPPER_DEEP, blocks=1)
        instance, more = f"{cpp_type(x)}, {WARPGROUPS[way]}", {"pixels_per_split": per_split}
        name, splits = "conv_wgmma_weight_gradient", launch.over(layer.pixels, per_split)
    elif use_tensor_cores(x, layer, exact):
        tile = MATRIX_TILES.get(way or "") or matrix_tile(breadth * layer.taps, depth)
        side = int(tile.split(",")[0])
        tiles = launch.over(breadth, side) * layer.taps * launch.over(depth, side) * layer.groups
        per_split = pixels_per_split(layer, tiles, 64 // x.dtype.itemsize)
        name, instance, more = "conv_mma_weight_gradient", f"{cpp_type(x)}, {tile}", {"pixels_per_split": per_split}
        splits = launch.over(layer.pixels, per_split)
    else:
        tiles = launch.over(breadth, DIRECT_TILE) * launch.over(layer.taps * depth, DIRECT_TILE) * layer.groups
        per_split = pixels_per_split(layer, tiles, DIRECT_DEEP)
        name, instance, more = "conv_direct_weight_gradient", direct_instance(x, layer), {"pixels_per_split": per_split}
        splits = launch.over(layer.pixels, per_split)
    partial = run(
        name, instance, {**given, **more, "splits": splits}, {"partial": ((splits, *layer.weight_shape), FLOAT)}
    )
    return norms.total_of(run, partial["partial"], cpp_type(x), x.dtype)
