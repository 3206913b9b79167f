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
3  ops                       differentiable operations, one family a file
4  nn, optim                 layers; optimizers and schedules
5  models, data, io, onnx    ResNets; pictures to batches; files; models for other programs
6  training, finetune, profiler  the loop; a trained model made to do a new job; where the time goes
7  cli                       the command `minires`
"""

from minires import processor

with processor.prepare():  # before anything else: OpenBLAS chooses its kernels when NumPy is first imported
    import numpy as _numpy

# Names that shadow Python's builtins inside this namespace are PyTorch's: minires.sum, minires.int.
from minires import (
    autograd,
    backend,
    backends,
    data,
    errors,
    finetune,
    io,
    models,
    nn,
    onnx,
    ops,
    optim,
    profiler,
    random,
    training,
)
from minires.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from minires.backend import device, float16, float32, float64, int8, int16, int32, int64, uint8
from minires.gradcheck import gradcheck
from minires.io import load, save
from minires.models import create
from minires.nn import compile_inference
from minires.ops import (
    abs,
    add,
    all,
    amax,
    amin,
    any,
    arange,
    argmax,
    argmin,
    argsort,
    as_tensor,
    cat,
    ceil,
    chunk,
    clamp,
    clone,
    cumsum,
    div,
    dropout,
    empty,
    empty_like,
    eq,
    exp,
    eye,
    flatten,
    flip,
    floor,
    floor_divide,
    from_numpy,
    full,
    full_like,
    gather,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    linspace,
    log,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    logsumexp,
    lt,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mul,
    ne,
    neg,
    norm,
    ones,
    ones_like,
    permute,
    pow,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    reciprocal,
    relu,
    remainder,
    reshape,
    round,
    sigmoid,
    sign,
    softmax,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    sum,
    t,
    tanh,
    tensor,
    topk,
    transpose,
    unsqueeze,
    var,
    where,
    zeros,
    zeros_like,
)
from minires.random import Generator, manual_seed
from minires.tensor import Tensor
from minires.version import __version__

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
bool = backend.boolean
mm = bmm = matmul
