"""Batch and group normalisation: which kernels one call launches, in which order.

As kernels/reference/norm.py and group_norm.py, but for arrays [rows][channels] and [images][pixels][channels], which is
what an image array with channels last is. weight and bias are float32 or None, statistics float32.
"""

from typing import Any

from minires.kernels.cuda import launch
from minires.kernels.cuda.types import FLOAT, Array, Run, cpp_type, vector_of

PROCESSORS = 132  # of an H100 or H200; a smaller GPU takes the same grid in more rounds


def tiling(x: Array, rows: int, channels: int) -> tuple[str, dict[str, int], int]:
    """(instance, the numbers that a kernel over rows and channels needs, number of splits)."""
    vector = vector_of(x, channels)
    per_split = launch.rows_per_split(rows, channels, vector, PROCESSORS)
    sizes = {"rows": rows, "channels": channels, "rows_per_split": per_split, "tile": launch.tile_of(channels, vector)}
    return f"{cpp_type(x)}, {vector}", sizes, launch.over(rows, per_split)


def batch_norm_statistics(run: Run, x: Array, eps: float) -> tuple[Array, Array, Array]:
    """(mean, variance, inverse_std) of each channel of x [rows][channels]."""
    partial, per_split = partial_statistics(run, x)
    return merged_statistics(run, partial, x.shape[0], per_split, eps)


def partial_statistics(run: Run, x: Array) -> tuple[Array, int]:
    """(each split's means and squared deviations [splits][2][channels], rows of a split) of x [rows][channels]."""
    rows, channels = x.shape
    instance, sizes, splits = tiling(x, rows, channels)
    made = run("batch_norm_sums", instance, {"x": x, **sizes}, {"partial": ((splits, 2, channels), FLOAT)})
    return made["partial"], sizes["rows_per_split"]


def merged_statistics(run: Run, partial: Array, rows: int, per_split: int, eps: float) -> tuple[Array, Array, Array]:
    """(mean, variance, inverse_std) from the splits' means and squared deviations [splits][2][channels]."""
    channels = partial.shape[2]
    outputs = dict.fromkeys(("mean", "variance", "inverse_std"), ((channels,), FLOAT))
    given = {"partial": partial, "rows": rows, "channels": channels, "rows_per_split": per_split, "eps": eps}
    made = run("batch_norm_statistics", "", given, outputs)
    return made["mean"], made["variance"], made["inverse_std"]


def batch_norm_training_forward(
    run: Run, x: Array, weight: Array | None, bias: Array | None, eps: float, residual: Array | None, relu: bool
) -> tuple[Array, Array, Array, Array]:
    """(y, mean, variance, inverse_std) with the statistics of this batch."""
    mean, variance, inverse_std = batch_norm_statistics(run, x, eps)
    return batch_norm_apply(run, x, weight, bias, mean, inverse_std, residual, relu), mean, variance, inverse_std


def batch_norm_apply(
    run: Run, x: Array, weight: Array | None, bias: Array | None, mean: Array, inverse_std: Array,
    residual: Array | None, relu: bool,
) -> Array:  # fmt: skip
    """y = weight (x - mean) inverse_std + bias, plus the residual, then ReLU."""
    instance, sizes, _ = tiling(x, *x.shape)
    given = {"x": x, "residual": residual, "weight": weight, "bias": bias, "mean": mean, "inverse_std": inverse_std}
    return run("batch_norm_apply", instance, {**given, **sizes, "relu": int(relu)}, {"y": (x.shape, x.dtype)})["y"]


def batch_norm_inference_forward(
    run: Run, x: Array, weight: Array | None, bias: Array | None, running_mean: Array, running_var: Array, eps: float,
    residual: Array | None, relu: bool,
) -> Array:  # fmt: skip
    """y with fixed statistics."""
    inverse_std = fixed_inverse_std(run, running_var, eps)
    return batch_norm_apply(run, x, weight, bias, running_mean, inverse_std, residual, relu)


def fixed_inverse_std(run: Run, variance: Array, eps: float) -> Array:
    given = {"variance": variance, "channels": variance.size, "eps": eps}
    return run("batch_norm_inverse_std", "", given, {"inverse_std": (variance.shape, FLOAT)})["inverse_std"]


def batch_norm_backward(
    run: Run, grad: Array, x: Array, weight: Array | None, mean: Array, inverse_std: Array, y: Array | None,
    fixed_statistics: bool, wants_masked: bool = True,
) -> tuple[Array, Array, Array, Array | None]:  # fmt: skip
    """(dx, dweight, dbias, masked gradient, None where it is not wanted). y: the output, where there was a ReLU."""
    rows, channels = x.shape
    instance, sizes, splits = tiling(x, rows, channels)
    given = {"grad": grad, "x": x, "y": y, "mean": mean, "inverse_std": inverse_std, **sizes}
    partial = run("batch_norm_backward_sums", instance, given, {"partial": ((splits, 2, channels), FLOAT)})["partial"]
    sums = total_of(run, partial)
    outputs = {"dx": (x.shape, x.dtype), **({"masked": (x.shape, x.dtype)} if wants_masked else {})}
    more = {"weight": weight, "sums": sums, "inverse_count": 0.0 if fixed_statistics else 1 / rows}
    made = run("batch_norm_backward_apply", instance, {**given, **more}, outputs)
    return made["dx"], sums[1], sums[0], made.get("masked")


def total_of(run: Run, partial: Array, instance: str = "float", dtype: Any = FLOAT) -> Array:
    """The sum of partial [splits][...] over the splits."""
    shape = partial.shape[1:]
    length = 1
    for size in shape:
        length *= size
    given = {"partial": partial, "length": length, "splits": partial.shape[0]}
    return run("sum_partials", instance, given, {"total": (shape, dtype)})["total"]


def group_norm_forward(
    run: Run, x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """(y, mean, inverse_std) of x [images][pixels][channels]; the statistics are [images][groups]."""
    images, pixels, channels = x.shape
    instance = f"{cpp_type(x)}, {vector_of(x, channels // groups)}"
    sizes = {"images": images, "pixels": pixels, "channels": channels, "groups": groups, "eps": eps}
    outputs = {"y": (x.shape, x.dtype), "mean": ((images, groups), FLOAT), "inverse_std": ((images, groups), FLOAT)}
    made = run("group_norm_forward", instance, {"x": x, "weight": weight, "bias": bias, **sizes}, outputs)
    return made["y"], made["mean"], made["inverse_std"]


def group_norm_backward(
    run: Run, grad: Array, x: Array, weight: Array | None, mean: Array, inverse_std: Array
) -> tuple[Array, Array, Array]:
    """(dx, dweight, dbias)."""
    images, pixels, channels = x.shape
    groups, rows = mean.shape[1], images * pixels
    vector = vector_of(x, channels // groups)
    instance = f"{cpp_type(x)}, {vector}"
    given = {"grad": grad, "x": x, "weight": weight, "mean": mean, "inverse_std": inverse_std,
             "images": images, "pixels": pixels, "channels": channels, "groups": groups}  # fmt: skip
    dx = run("group_norm_backward", instance, given, {"dx": (x.shape, x.dtype)})["dx"]
    per_split = launch.rows_per_split(rows, channels, vector, PROCESSORS)
    tiles = {"rows": rows, "rows_per_split": per_split, "tile": launch.tile_of(channels, vector)}
    outputs = {"partial": ((launch.over(rows, per_split), 2, channels), FLOAT)}
    sums = total_of(run, run("group_norm_backward_sums", instance, {**given, **tiles}, outputs)["partial"])
    return dx, sums[1], sums[0]
