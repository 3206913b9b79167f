"""The table of kernels: where each stands, its template instances, its arguments and how it is launched.

The loader, the tests on the CPU and the check that compiles every instance all read this one table; a test compares it
with the signatures in the .cu files.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from minires.kernels.cuda import launch
from minires.kernels.cuda.launch import Rule

DIRECTIONS = ("in", "out", "inout")


@dataclass(frozen=True)
class Argument:
    """One argument. `direction` is None for a number; `optional`: an array that may be missing (a null pointer)."""

    name: str
    type: str  # as in C++; "T" stands for the first template argument
    direction: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Kernel:
    """One __global__ function. `capability`: the oldest GPU it runs on, 75 for 7.5; `only`: it runs on no other."""

    name: str
    file: str
    instances: tuple[str, ...]  # what stands between < and >; ("",) for a function that is no template
    arguments: tuple[Argument, ...]
    rule: Rule
    capability: int = 75
    only: bool = False

    def runs_on(self, capability: int) -> bool:
        """Whether a GPU of this compute capability runs it."""
        return self.capability == capability if self.only else self.capability <= capability

    def expression(self, instance: str) -> str:
        """The C++ name of one instance."""
        return f"{self.name}<{instance}>" if instance else self.name


def parse(text: str) -> tuple[Argument, ...]:
    """Arguments from "in T x, in? T residual, out float mean, int rows": a direction marks arrays, ? missing ones."""
    found = []
    for part in text.split(","):
        words = part.split()
        direction = words[0].rstrip("?")
        optional = words[0].endswith("?")
        if direction in DIRECTIONS:
            found.append(Argument(words[-1], " ".join(words[1:-1]), direction, optional))
        else:
            found.append(Argument(words[-1], " ".join(words[:-1])))
    return tuple(found)


TYPES = ("float", "__half", "__nv_bfloat16")
VECTORS = ("float, 4", "__half, 8", "__nv_bfloat16, 8")  # 16 bytes a thread
SINGLES = tuple(f"{name}, 1" for name in TYPES)  # for channels that no such vector divides
ANY_WIDTH = VECTORS + SINGLES


def instances(*choices: Iterable[str]) -> tuple[str, ...]:
    """All combinations of template arguments."""
    return tuple(", ".join(combination) for combination in itertools.product(*choices))


def kernel(
    name: str,
    file: str,
    templates: tuple[str, ...],
    arguments: str,
    rule: Rule,
    capability: int = 75,
    only: bool = False,
) -> Kernel:
    return Kernel(name, file, templates, parse(arguments), rule, capability, only)


NORMS = [
    kernel("batch_norm_sums", "batch_norm.cu", ANY_WIDTH,
           "in T x, out float partial, int rows, int channels, int rows_per_split, int tile", launch.channel_tiles),
    kernel("batch_norm_statistics", "batch_norm.cu", ("",),
           "in float partial, out float mean, out float variance, out float inverse_std, int rows, int channels, "
           "int rows_per_split, float eps", launch.columns_of_32("channels")),
    kernel("batch_norm_inverse_std", "batch_norm.cu", ("",),
           "in float variance, out float inverse_std, int channels, float eps", launch.threads("channels")),
    kernel("batch_norm_apply", "batch_norm.cu", ANY_WIDTH,
           "in T x, in? T residual, in? float weight, in? float bias, in float mean, in float inverse_std, out T y, "
           "int rows, int channels, int rows_per_split, int tile, int relu", launch.channel_tiles),
    kernel("batch_norm_backward_sums", "batch_norm.cu", ANY_WIDTH,
           "in T grad, in T x, in? T y, in float mean, in float inverse_std, out float partial, int rows, "
           "int channels, int rows_per_split, int tile", launch.channel_tiles),
    kernel("batch_norm_backward_apply", "batch_norm.cu", ANY_WIDTH,
           "in T grad, in T x, in? T y, in? float weight, in float mean, in float inverse_std, in float sums, "
           "out T dx, out? T masked, int rows, int channels, int rows_per_split, int tile, float inverse_count",
           launch.channel_tiles),
    kernel("sum_partials", "sums.cu", TYPES, "in float partial, out T total, int length, int splits",
           launch.columns_of_32("length")),
    kernel("group_norm_forward", "group_norm.cu", ANY_WIDTH,
           "in T x, in? float weight, in? float bias, out T y, out float mean, out float inverse_std, int pixels, "
           "int channels, int groups, float eps", launch.blocks("groups", "images")),
    kernel("group_norm_backward", "group_norm.cu", ANY_WIDTH,
           "in T grad, in T x, in? float weight, in float mean, in float inverse_std, out T dx, int pixels, "
           "int channels, int groups", launch.blocks("groups", "images")),
    kernel("group_norm_backward_sums", "group_norm.cu", ANY_WIDTH,
           "in T grad, in T x, in float mean, in float inverse_std, out float partial, int rows, int pixels, "
           "int channels, int groups, int rows_per_split, int tile", launch.channel_tiles),
]  # fmt: skip

LOSSES = [
    kernel("softmax_rows", "cross_entropy.cu", TYPES, "in T x, out T y, int columns, int logarithm",
           launch.blocks("rows", block=128)),
    kernel("softmax_rows_backward", "cross_entropy.cu", TYPES,
           "in T grad, in T y, out T dx, int columns, int logarithm", launch.blocks("rows", block=128)),
    kernel("cross_entropy", "cross_entropy.cu", TYPES,
           "in T x, in long long target, in? float class_weight, in? float row_grad, out float loss, "
           "out? T log_probability, out? T dx, inout int wrong, int columns, long long ignore_index, "
           "float smoothing, float scale", launch.blocks("rows", block=128)),
    kernel("cross_entropy_backward", "cross_entropy.cu", TYPES,
           "in float row_grad, in T log_probability, in long long target, in? float class_weight, out T dx, "
           "int columns, long long ignore_index, float smoothing", launch.blocks("rows", block=128)),
]  # fmt: skip

CHUNKS = "in unsigned long long addresses, in long long sizes, in int block_tensor, in int block_chunk, "

OPTIMIZERS = [
    kernel("sgd_step", "optim.cu", TYPES,
           CHUNKS + "in float rates, in? float factor, in? int skip, int tensors, int first, float momentum, "
           "float dampening, float weight_decay, int nesterov, int maximize", launch.blocks("blocks")),
    kernel("adam_step", "optim.cu", TYPES,
           CHUNKS + "in float rates, in? float factor, in? int skip, int tensors, float beta1, float beta2, "
           "float eps, float weight_decay, int decoupled, int maximize, int rates_apart", launch.blocks("blocks")),
    kernel("adam_advance", "optim.cu", ("",),
           "in unsigned long long addresses, out float rates, int tensors, float lr, float log_beta1, float log_beta2",
           launch.threads("tensors")),
    kernel("gradient_squares", "optim.cu", TYPES,
           CHUNKS + "out float squares, out int not_finite, int tensors", launch.blocks("blocks")),
    kernel("clip_factor", "optim.cu", ("",),
           "in float squares, in int not_finite, out float result, inout int skip, int chunks, float inverse_scale, "
           "float max_norm", launch.blocks("one")),
]  # fmt: skip

WINNERS = instances(ANY_WIDTH, ("unsigned char",)) + instances(SINGLES, ("unsigned short",))
ADAPTIVE = "int images, int height, int width, int out_height, int out_width, int channels"

POOLS = [
    kernel("max_pool_forward", "pool.cu", WINNERS, "in T x, out T y, out W winner, Window w, int images, int channels",
           launch.threads("places", "channels", vector=1)),
    kernel("max_pool_backward", "pool.cu", WINNERS,
           "in T grad, in W winner, out T dx, Window w, int images, int channels",
           launch.threads("places", "channels", vector=1)),
    kernel("avg_pool_forward", "pool.cu", ANY_WIDTH,
           "in T x, out T y, Window w, int images, int channels, int include_pad, int divisor",
           launch.threads("places", "channels", vector=1)),
    kernel("avg_pool_backward", "pool.cu", ANY_WIDTH,
           "in T grad, out T dx, Window w, int images, int channels, int include_pad, int divisor",
           launch.threads("places", "channels", vector=1)),
    kernel("adaptive_avg_pool_forward", "pool.cu", ANY_WIDTH, "in T x, out T y, " + ADAPTIVE,
           launch.threads("places", "channels", vector=1)),
    kernel("adaptive_avg_pool_backward", "pool.cu", ANY_WIDTH, "in T grad, out T dx, " + ADAPTIVE,
           launch.threads("places", "channels", vector=1)),
]  # fmt: skip

PICTURES = [
    kernel("dropout", "dropout.cu", TYPES,
           "in T x, in unsigned long long address, out T y, long long size, int channels, int pixels, float p, "
           "float scale", launch.threads("groups_of_8")),
    kernel("normalise_images", "images.cu", TYPES,
           "in unsigned char x, in float mean, in float deviation, out T y, int images, int pixels, int channels, "
           "int planar", launch.threads("images", "pixels", "channels")),
    kernel("bilinear_resize", "images.cu",
           instances(("unsigned char",), TYPES) + tuple(f"{name}, {name}" for name in TYPES),
           "in S x, out T y, int images, int height, int width, int out_height, int out_width, int channels",
           launch.threads("images", "out_height", "out_width", "channels")),
]  # fmt: skip

EPILOGUE = "in? float bias, in? float scale, in? float shift, in? T residual, out T y, "
DIRECT = instances(TYPES, ("true", "false"))
TENSOR_CORES = instances(TYPES, ("128, 128", "128, 64", "64, 64"))
WARPGROUPS = instances(TYPES[1:], ("128", "64"))

CONVOLUTIONS = [
    kernel("conv_direct_forward", "conv_direct.cu", DIRECT,
           "in T x, in T weight, " + EPILOGUE + "out? float sums, Geometry geometry, int relu",
           launch.product_tiles("pixels", "breadth", ("groups",), (64, 64))),
    kernel("conv_direct_input_gradient", "conv_direct.cu", DIRECT,
           "in T grad, in T weight, out T dx, Geometry geometry",
           launch.product_tiles("phase_rows", "depth", ("groups", "phases"), (64, 64))),
    kernel("conv_direct_weight_gradient", "conv_direct.cu", DIRECT,
           "in T grad, in T x, out float partial, Geometry geometry, int pixels_per_split", launch.direct_weight_tiles),
    kernel("conv_mma_forward", "conv_mma.cu", instances(TENSOR_CORES, ("true", "false")),
           "in T x, in T weight, " + EPILOGUE + "out? float sums, Geometry geometry, int relu",
           launch.product_tiles("pixels", "breadth", ("groups",)), 80),
    kernel("conv_mma_input_gradient", "conv_mma.cu", TENSOR_CORES,
           "in T grad, in T weight, out T dx, Geometry geometry",
           launch.product_tiles("phase_rows", "depth", ("groups", "phases")), 80),
    kernel("conv_mma_weight_gradient", "conv_mma.cu", TENSOR_CORES,
           "in T grad, in T x, out float partial, Geometry geometry, int pixels_per_split", launch.weight_tiles, 80),
    kernel("pack_weights", "conv_wgmma.cu", instances(WARPGROUPS, ("false", "true")),
           "in T weight, out T packed, Geometry geometry, int pieces", launch.threads("pieces"), 90, only=True),
    kernel("conv_wgmma_forward", "conv_wgmma.cu", WARPGROUPS,
           "in T x, in T packed, " + EPILOGUE + "out? float sums, Geometry geometry, int relu",
           launch.hopper_tiles("pixels", "breadth", ("groups",)), 90, only=True),
    kernel("conv_wgmma_input_gradient", "conv_wgmma.cu", WARPGROUPS,
           "in T grad, in T packed, out T dx, Geometry geometry",
           launch.hopper_tiles("phase_rows", "depth", ("groups", "phases")), 90, only=True),
    kernel("conv_wgmma_weight_gradient", "conv_wgmma.cu", WARPGROUPS,
           "in T grad, in T x, out float partial, Geometry geometry, int pixels_per_split", launch.hopper_weight_tiles,
           90, only=True),
    kernel("conv_depthwise_forward", "conv_depthwise.cu", ANY_WIDTH,
           "in T x, in T weight, " + EPILOGUE + "Geometry geometry, int relu",
           launch.threads("pixels", "channels", vector=1)),
    kernel("conv_depthwise_input_gradient", "conv_depthwise.cu", ANY_WIDTH,
           "in T grad, in T weight, out T dx, Geometry geometry", launch.threads("in_pixels", "channels", vector=1)),
    kernel("conv_depthwise_weight_gradient", "conv_depthwise.cu", ANY_WIDTH,
           "in T grad, in T x, out float partial, Geometry geometry, int rows, int channels, int rows_per_split, "
           "int tile", launch.channel_tiles_of_taps),
]  # fmt: skip

KERNELS = {kernel.name: kernel for kernel in (*NORMS, *LOSSES, *OPTIMIZERS, *POOLS, *PICTURES, *CONVOLUTIONS)}
