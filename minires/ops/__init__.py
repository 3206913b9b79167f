"""Floor 3: the differentiable operations, one family a file. Each class is one operation: formula, derivative, code.

elementwise   + - * /, powers, exp, clamp, where, comparison     reduce    sums, means, extremes
shape         reshape, permute, cat, split, pad                  index     x[...], gather, sorting
linalg        matrix products, linear                            window, conv_act   convolution, pooling
activation    relu, sigmoid, tanh, softmax, dropout              norm, group_norm   normalisation
loss          cross entropy and other losses                     creation  tensor, zeros, randn, ...
moments       variance, standard deviation, norms
"""

from minires.ops.activation import dropout, log_softmax, relu, sigmoid, softmax, tanh
from minires.ops.conv_act import conv2d_act
from minires.ops.creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from minires.ops.elementwise import (
    abs,
    add,
    ceil,
    clamp,
    div,
    eq,
    exp,
    floor,
    floor_divide,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    log,
    logical_and,
    logical_not,
    logical_or,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    reciprocal,
    remainder,
    round,
    sign,
    sqrt,
    square,
    sub,
    where,
)
from minires.ops.group_norm import group_norm
from minires.ops.index import argsort, gather, sort, topk
from minires.ops.linalg import linear, matmul
from minires.ops.loss import cross_entropy, l1_loss, mse_loss, nll_loss
from minires.ops.moments import norm, std, var
from minires.ops.norm import batch_norm, batch_norm_act
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
from minires.ops.shape import (
    cat,
    chunk,
    clone,
    contiguous,
    expand,
    flatten,
    flip,
    matrix_transpose,
    pad,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    t,
    transpose,
    unsqueeze,
)
from minires.ops.window import adaptive_avg_pool2d, avg_pool2d, conv2d, max_pool2d

IN_NN_FUNCTIONAL = (
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "conv2d", "cross_entropy", "dropout", "group_norm", "l1_loss",
    "linear", "log_softmax", "max_pool2d", "mse_loss", "nll_loss", "pad", "relu", "sigmoid", "softmax", "tanh",
)  # fmt: skip

CREATION = (
    "arange", "as_tensor", "empty", "empty_like", "eye", "from_numpy", "full", "full_like", "linspace", "ones",
    "ones_like", "rand", "rand_like", "randint", "randn", "randn_like", "randperm", "tensor", "zeros", "zeros_like",
)  # fmt: skip
