"""minires: a deep-learning framework from first principles on NumPy, with PyTorch's names.

    import minires as mr

    model = mr.models.resnet20(num_classes=10)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss = mr.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()

The floors of the house, each built on those before it:

0  processor, backend, random, errors   arrays and where they live; random numbers as addresses
1  kernels                   numbers in, numbers out: reference (the textbook) and cpu (fast)
2  tensor, autograd, gradcheck   the tensor, the graph, the walk back
3  ops, cuda                 differentiable operations, one family a file; GPUs, streams, graphs
4  nn, optim                 layers; optimizers and schedules
5  models, data, io, onnx, amp   ResNets; pictures to batches; files; models for other programs; mixed precision
6  training, finetune, profiler  the loop; a trained model made to do a new job; where the time goes
7  cli                       the command `minires`
"""

import importlib as _importlib
import typing as _typing

from minires import processor

with processor.prepare():  # before anything else: OpenBLAS chooses its kernels when NumPy is first imported
    import numpy as _numpy

# Names that shadow Python's builtins inside this namespace are PyTorch's: minires.sum, minires.int.
from minires import autograd, backend, data, errors, io, models, nn, ops, optim, random
from minires.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from minires.backend import (
    channels_last,
    contiguous_format,
    device,
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    memory_format,
    preserve_format,
    set_default_dtype,
    uint8,
)
from minires.gradcheck import gradcheck
from minires.io import load, save
from minires.kernels.cpu.parallel import blas_threads as get_num_threads
from minires.kernels.cpu.parallel import set_blas_threads as set_num_threads
from minires.models import create
from minires.nn import compile_inference

# fmt: off
from minires.ops import (  # isort: skip
    abs, absolute, acos, acosh, add, addbmm, addcdiv, addcmul, addmm, addmv, addr, all, allclose, amax, amin,
    aminmax, any, arange, arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, argmax, argmin, argsort,
    argwhere, as_tensor, asarray, asin, asinh, atan, atan2, atanh, atleast_1d, atleast_2d, atleast_3d, baddbmm,
    bernoulli, bilinear, bincount, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift,
    bitwise_xor, block_diag, bmm, broadcast_tensors, broadcast_to, bucketize, cartesian_prod, cat, cdist, ceil,
    cholesky, chunk, clamp, clamp_max, clamp_min, clip, clone, column_stack, combinations, concat, concatenate,
    copysign, corrcoef, cos, cosh, count_nonzero, cov, cross, cummax, cummin, cumprod, cumsum, cumulative_trapezoid,
    deg2rad, det, diag, diag_embed, diagflat, diagonal, diagonal_scatter, diff, dist, div, divide, dot, dropout,
    dstack, einsum, empty, empty_like, eq, equal, erf, erfc, erfinv, exp, exp2, expm1, eye, fix, flatten, flip,
    fliplr, flipud, floor, floor_divide, fmax, fmin, fmod, frac, from_dlpack, from_numpy, full,
    full_like, gather, gcd, ge, ger, greater, greater_equal, gt, heaviside, histc, hsplit, hstack, hypot, index_add,
    index_copy, index_fill, index_put, index_select, inner, inverse, isclose, isfinite, isin, isinf, isnan,
    isneginf, isposinf, isreal, kron, kthvalue, lcm, ldexp, le, lerp, less, less_equal, linspace, log, log1p, log2,
    log10, log_softmax, logaddexp, logaddexp2, logcumsumexp, logdet, logical_and, logical_not, logical_or,
    logical_xor, logit, logspace, logsumexp, lt, masked_fill, masked_scatter, masked_select, matmul, matrix_power,
    max, maximum, mean, median, meshgrid, min, minimum, mm, mode, moveaxis, movedim, msort, mul, multinomial,
    multiply, mv, nan_to_num, nanmean, nanmedian, nanquantile, nansum, narrow, ne, neg, negative, nonzero, norm,
    normal, not_equal, ones, ones_like, outer, pdist, permute, positive, pow, prod, qr, quantile, rad2deg, rand,
    rand_like, randint, randint_like, randn, randn_like, randperm, ravel, reciprocal, relu, remainder, renorm,
    repeat_interleave, reshape, roll, rot90, round, row_stack, rsqrt, rsub, scatter, scatter_add, scatter_reduce,
    searchsorted, select, select_scatter, sgn, sigmoid, sign, signbit, sin, sinc, sinh, slice_scatter, slogdet,
    softmax, sort, split, sqrt, square, squeeze, stack, std, std_mean, sub, subtract, sum, swapaxes, swapdims, t,
    take, take_along_dim, tan, tanh, tensor, tensor_split, tensordot, tile, topk, trace, transpose, trapezoid,
    trapz, tril, tril_indices, triu, triu_indices, true_divide, trunc, unbind, unflatten, unique,
    unique_consecutive, unsqueeze, vander, var, var_mean, vdot, vsplit, vstack, where, xlogy, zeros, zeros_like,
)
# fmt: on
from minires.ops.broadcast import common_shape as broadcast_shapes
from minires.ops.facts import (
    is_complex,
    is_floating_point,
    is_nonzero,
    is_same_size,
    is_signed,
    is_tensor,
    numel,
    result_type,
)
from minires.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from minires.tensor import Size, Tensor
from minires.version import __version__

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
bool = backend.boolean
dtype = _numpy.dtype


def _assert(condition: _typing.Any, message: str) -> None:
    """AssertionError with the message unless the condition holds: what model files say in place of `assert`."""
    if not condition:
        raise AssertionError(message)


pi, inf, nan, e, newaxis = _numpy.pi, _numpy.inf, _numpy.nan, _numpy.e, None
finfo, iinfo, promote_types = _numpy.finfo, _numpy.iinfo, _numpy.promote_types

# Not everybody needs these: each is imported when it is first named, so that `import minires` stays quick.
_LATER = (
    "amp", "backends", "cuda", "explain", "finetune", "fx", "hub", "jit", "linalg", "onnx", "profiler", "training",
    "utils",
)  # fmt: skip
_ELSEWHERE = {  # names of torch itself that stand in a module that is imported later
    "autocast": "amp", "GradScaler": "amp", "set_float32_matmul_precision": "backends",
    "get_float32_matmul_precision": "backends", "use_deterministic_algorithms": "backends",
    "are_deterministic_algorithms_enabled": "backends",
}  # fmt: skip
# Functions of networks that PyTorch has under both names, torch.conv2d and torch.nn.functional.conv2d.
_ALSO_HERE = (
    "adaptive_avg_pool1d", "adaptive_max_pool1d", "alpha_dropout", "avg_pool1d", "batch_norm",
    "binary_cross_entropy_with_logits", "celu", "channel_shuffle", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss", "cosine_similarity", "embedding",
    "feature_alpha_dropout", "group_norm", "hardshrink", "hinge_embedding_loss", "instance_norm", "kl_div",
    "layer_norm", "margin_ranking_loss", "max_pool1d", "max_pool2d", "max_pool3d", "pairwise_distance",
    "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu", "rms_norm", "rrelu", "selu", "threshold",
    "triplet_margin_loss",
)  # fmt: skip
# Functions that write into their first argument: the methods of Tensor, torch.relu_(x) being x.relu_().
_IN_PLACE = (
    "abs", "acos", "acosh", "addmv", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "asin", "asinh",
    "atan", "atanh", "ceil", "clamp", "clamp_max", "clamp_min", "clip", "cos", "cosh", "deg2rad", "detach", "erf",
    "erfc", "exp", "exp2", "expm1", "fill", "fix", "floor", "frac", "gcd", "index_put", "lcm", "ldexp", "log",
    "log10", "log1p", "log2", "logit", "nan_to_num", "neg", "negative", "rad2deg", "reciprocal", "relu", "round",
    "rsqrt", "sigmoid", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "xlogy", "zero",
)  # fmt: skip
_IN_FUNCTIONAL_IN_PLACE = ("celu_", "rrelu_", "selu_", "threshold_")
if _typing.TYPE_CHECKING:
    from minires import amp, backends, cuda, explain, finetune, fx, hub, jit, linalg, onnx, profiler, training, utils


def __getattr__(name: str) -> _typing.Any:
    if name in _LATER:
        return _importlib.import_module(f"minires.{name}")
    if name == "bfloat16":
        return backend.bfloat16
    if name in _ELSEWHERE:
        return getattr(_importlib.import_module(f"minires.{_ELSEWHERE[name]}"), name)
    if name in _ALSO_HERE or name in _IN_FUNCTIONAL_IN_PLACE:
        return getattr(nn.functional, name)
    if name.endswith("_") and name[:-1] in _IN_PLACE:
        return getattr(Tensor, name)
    raise AttributeError(f"module 'minires' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(
        {*globals(), *_LATER, *_ELSEWHERE, *_ALSO_HERE, *_IN_FUNCTIONAL_IN_PLACE, *(f"{name}_" for name in _IN_PLACE)}
    )
