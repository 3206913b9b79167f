"""Floor 3: the differentiable operations, one family a file. Each class is one operation: formula, derivative, code.

elementwise   + - * /, powers, exp, log          pointwise     what functions of each element have in common
exponential   expm1, log1p, log2, logit, ...     trigonometry  sin to atanh         error_function   erf, erfc
rounding      floor to frac, remainders          choice        clamp, where, maximum, masked_fill, lerp
comparison    ==, <, logic, bits, allclose       counting      unique, bincount, histc, nonzero, one_hot
reduce        sums, means, extremes              moments       variance, standard deviation, norms
running       prod, cumprod, diff                index         x[...], gather, sorting
scatter       scatter, index_add, take, ...      shape         reshape, permute, cat, split
rearrange     repeat, roll, unbind, meshgrid     diagonal      diagonals and triangles
padding       pad in four modes                  unfold        windows as columns, and back
linalg        matmul, linear                     products      mm, bmm, addmm, outer, einsum
activation    relu, sigmoid, tanh, softmax, dropout            window, conv_act   convolution, pooling
batch_, group_normalisation, norm_of_samples     loss          cross entropy and other losses
attention     of queries to keys                 resizing, grid   other sizes, other places
creation      tensor, zeros, randn, ...
"""

from minires.ops.activation import dropout, log_softmax, relu, sigmoid, softmax, tanh
from minires.ops.arrangements import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    block_diag,
    cartesian_prod,
    column_stack,
    combinations,
    diagflat,
    dstack,
    hsplit,
    msort,
    rsub,
    tensor_split,
    vander,
    vsplit,
)
from minires.ops.batch_normalisation import batch_norm, batch_norm_act
from minires.ops.choice import clamp, clamp_max, clamp_min, lerp, masked_fill, maximum, minimum, nan_to_num, where
from minires.ops.comparison import (
    allclose,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    equal,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from minires.ops.conv1x1_norm import conv1x1_norm_act
from minires.ops.conv_act import conv2d_act
from minires.ops.counting import (
    argwhere,
    bincount,
    bucketize,
    count_nonzero,
    histc,
    isin,
    nonzero,
    one_hot,
    searchsorted,
    unique,
    unique_consecutive,
)
from minires.ops.creation import (
    arange,
    as_tensor,
    asarray,
    bernoulli,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    logspace,
    multinomial,
    normal,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from minires.ops.diagonal import diag, diag_embed, diagonal, trace, tril, tril_indices, triu, triu_indices
from minires.ops.elementwise import abs, add, div, exp, log, mul, neg, pow, reciprocal, sqrt, square, sub
from minires.ops.error_function import erf, erfc
from minires.ops.exponential import (
    exp2,
    expm1,
    ldexp,
    log1p,
    log2,
    log10,
    logaddexp,
    logaddexp2,
    logit,
    rsqrt,
    xlogy,
)
from minires.ops.extremes import (
    cummax,
    cummin,
    cumulative_trapezoid,
    fmax,
    fmin,
    logcumsumexp,
    trapezoid,
)
from minires.ops.group_normalisation import group_norm
from minires.ops.index import argsort, gather, kthvalue, median, sort, topk
from minires.ops.kinds_of_products import (
    addmv,
    addr,
    bilinear,
    cdist,
    cross,
    dist,
    inner,
    kron,
    pdist,
    vdot,
)
from minires.ops.linalg import linear, matmul
from minires.ops.loss import cross_entropy, l1_loss, mse_loss, nll_loss
from minires.ops.matrices import (
    cholesky,
    det,
    inverse,
    logdet,
    matrix_power,
    qr,
    slogdet,
)
from minires.ops.moments import norm, std, var
from minires.ops.padding import pad
from minires.ops.products import addbmm, addcdiv, addcmul, addmm, baddbmm, bmm, dot, einsum, mm, mv, outer, tensordot
from minires.ops.quantiles import (
    aminmax,
    corrcoef,
    cov,
    mode,
    nanmean,
    nanmedian,
    nanquantile,
    nansum,
    quantile,
    renorm,
    std_mean,
    var_mean,
)
from minires.ops.rearrange import (
    broadcast_tensors,
    broadcast_to,
    fliplr,
    flipud,
    hstack,
    meshgrid,
    movedim,
    narrow,
    repeat,
    repeat_interleave,
    roll,
    rot90,
    select,
    tile,
    unbind,
    unflatten,
    vstack,
)
from minires.ops.reduce import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    cumsum,
    logsumexp,
    max,
    mean,
    min,
    sum,
)
from minires.ops.rounding import ceil, floor, floor_divide, fmod, frac, gcd, lcm, remainder, round, sign, trunc
from minires.ops.running import cumprod, diff, prod
from minires.ops.scatter import (
    index_add,
    index_copy,
    index_fill,
    index_select,
    masked_scatter,
    masked_select,
    scatter,
    scatter_add,
    take,
    take_along_dim,
)
from minires.ops.scatter_reduce import (
    diagonal_scatter,
    index_put,
    scatter_reduce,
    select_scatter,
    slice_scatter,
)
from minires.ops.shape import (
    cat,
    chunk,
    clone,
    contiguous,
    expand,
    flatten,
    flip,
    matrix_transpose,
    permute,
    ravel,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    t,
    transpose,
    unsqueeze,
)
from minires.ops.signs import (
    bitwise_left_shift,
    bitwise_right_shift,
    copysign,
    erfinv,
    heaviside,
    isneginf,
    isposinf,
    isreal,
    positive,
    signbit,
)
from minires.ops.trigonometry import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cos,
    cosh,
    deg2rad,
    hypot,
    rad2deg,
    sin,
    sinc,
    sinh,
    tan,
)
from minires.ops.unfold import fold, unfold
from minires.ops.window import adaptive_avg_pool2d, avg_pool2d, conv2d, max_pool2d
from minires.tensor import OPERATIONS

# PyTorch's second names
ger, trapz, row_stack = outer, trapezoid, vstack
subtract, multiply, divide, true_divide, negative, absolute, sgn = sub, mul, div, div, neg, abs, sign
clip, fix, moveaxis, swapdims, concat, concatenate = clamp, trunc, movedim, transpose, cat, cat
arcsin, arccos, arctan, arctan2, arcsinh, arccosh, arctanh = asin, acos, atan, atan2, asinh, acosh, atanh
not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge

IN_NN_FUNCTIONAL = (
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "conv2d", "cross_entropy", "dropout", "fold", "group_norm",
    "l1_loss", "linear", "log_softmax", "max_pool2d", "mse_loss", "nll_loss", "one_hot", "pad", "relu", "sigmoid",
    "softmax", "tanh", "unfold",
)  # fmt: skip

CREATION = (
    "arange", "as_tensor", "asarray", "bernoulli", "empty", "empty_like", "eye", "from_dlpack", "from_numpy", "full",
    "full_like", "linspace", "logspace", "multinomial", "normal", "ones", "ones_like", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "tensor", "tril_indices", "triu_indices", "zeros", "zeros_like",
)  # fmt: skip
