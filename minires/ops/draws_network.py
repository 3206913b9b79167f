"""Random arguments for the operations of networks: windows, normalisation, losses, matrices. See draws.py."""

from typing import Any

import numpy as np

from minires.kernels.shapes import convolution_sizes
from minires.ops.draws import Arguments, Draw, Random, Values, distinct, nonzero, normal, one_of, positive, shape

Pair = tuple[int, int]


def window(random: Random, pooling: bool) -> dict[str, Pair]:
    """Sizes, all for (rows, columns): a window, its stride (overlapping and gaping), padding and dilation."""

    def numbers(lowest: int, highest: int) -> Pair:
        rows, columns = random.integers(lowest, highest + 1, 2)
        return int(rows), int(columns)

    kernel, dilation = numbers(1, 3), numbers(1, 2)
    most = [k // 2 if pooling else 2 for k in kernel]
    padding = (int(random.integers(0, most[0] + 1)), int(random.integers(0, most[1] + 1)))
    return {"kernel": kernel, "stride": numbers(1, 3), "padding": padding, "dilation": dilation}


def image(
    random: Random, values: Values, channels: int, kernel: tuple[int, int], dilation: tuple[int, int]
) -> np.ndarray:
    """One or two images, large enough for the window without any padding."""
    sides = [d * (k - 1) + int(random.integers(1, 4)) for k, d in zip(kernel, dilation, strict=True)]
    return values(random, int(random.integers(1, 3)), channels, *sides)


def convolution(random: Random) -> Arguments:
    """conv2d(x, weight, bias or None, stride, padding, dilation, groups)."""
    sizes, groups = window(random, pooling=False), int(random.integers(1, 4))
    inputs, outputs = (int(random.integers(1, 3)) for _ in range(2))
    x = image(random, normal, groups * inputs, sizes["kernel"], sizes["dilation"])
    weight = normal(random, groups * outputs, inputs, *sizes["kernel"])
    bias = one_of(random, None, normal(random, groups * outputs))
    return [x, weight, bias, sizes["stride"], sizes["padding"], sizes["dilation"], groups], {}


def convolution_and_more(random: Random) -> Arguments:
    """conv2d_act(the same, residual=, relu=)."""
    arguments, _ = convolution(random)
    x, weight, _, *geometry, _ = arguments
    size = convolution_sizes(x.shape[2:], weight.shape[2:], *geometry)
    residual = one_of(random, None, normal(random, len(x), len(weight), *size))
    return arguments, {"residual": residual, "relu": bool(random.integers(0, 2))}


def max_pooling(random: Random) -> Arguments:
    """max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)."""
    sizes = window(random, pooling=True)
    x = image(random, distinct, int(random.integers(1, 3)), sizes["kernel"], sizes["dilation"])
    ceil_mode = bool(random.integers(0, 2))
    return [x, sizes["kernel"], sizes["stride"], sizes["padding"], sizes["dilation"], ceil_mode], {}


def average_pooling(random: Random) -> Arguments:
    """avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)."""
    sizes = window(random, pooling=True)
    x = image(random, normal, int(random.integers(1, 3)), sizes["kernel"], (1, 1))
    flags = [bool(flag) for flag in random.integers(0, 2, 2)]
    return [x, sizes["kernel"], sizes["stride"], sizes["padding"], *flags, one_of(random, None, None, 3)], {}


def adaptive_pooling(random: Random) -> Arguments:
    """adaptive_avg_pool2d(x, output_size)."""
    rows, columns = (int(n) for n in random.integers(1, 4, 2))
    x = normal(random, int(random.integers(1, 3)), int(random.integers(1, 3)), *random.integers(1, 7, 2))
    return [x, one_of(random, (rows, columns), rows)], {}


# --------------------------------------------------------------------------------------- normalisation and losses


def normalisation(training: bool) -> Draw:
    """batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)."""

    def draw(random: Random) -> Arguments:
        channels = int(random.integers(1, 4))
        x = normal(random, int(random.integers(2, 5)), channels, *shape(random, 0, 2, 3))
        statistics: list[Any] = [normal(random, channels), positive(random, channels)]
        if training and random.random() < 0.3:
            statistics = [None, None]
        learnt = [one_of(random, None, nonzero(random, channels), nonzero(random, channels)) for _ in range(2)]
        return [x, *statistics, *learnt, training, 0.1, one_of(random, 1e-5, 0.1)], {}

    return draw


def normalisation_and_more(training: bool) -> Draw:
    """batch_norm_act(the same, residual=, relu=), with values away from the kink of the relu."""
    plain = normalisation(training)

    def draw(random: Random) -> Arguments:
        arguments, _ = plain(random)
        residual = one_of(random, None, normal(random, *arguments[0].shape))
        return arguments, {"residual": residual, "relu": bool(random.integers(0, 2))}

    return draw


def convolution_and_norm(random: Random) -> Arguments:
    """conv1x1_norm_act(x, conv_weight, stride, running_mean, running_var, weight, bias, momentum, eps, ...)."""
    inputs, outputs = (int(random.integers(1, 4)) for _ in range(2))
    x = normal(random, int(random.integers(2, 4)), inputs, *(int(n) for n in random.integers(2, 5, 2)))
    stride = (int(random.integers(1, 3)), int(random.integers(1, 3)))
    statistics = [normal(random, outputs), positive(random, outputs)]
    learnt = [one_of(random, None, nonzero(random, outputs)) for _ in range(2)]
    size = convolution_sizes(x.shape[2:], (1, 1), stride, (0, 0), (1, 1))
    residual = one_of(random, None, normal(random, len(x), outputs, *size))
    conv_weight, eps = normal(random, outputs, inputs, 1, 1), one_of(random, 1e-5, 0.1)
    more = {"residual": residual, "relu": bool(random.integers(0, 2))}
    return [x, conv_weight, stride, *statistics, *learnt, 0.1, eps], more


def group_normalisation(random: Random) -> Arguments:
    """group_norm(x, num_groups, weight or None, bias or None, eps)."""
    groups, channels = (int(n) for n in random.integers(1, 4, 2))
    channels *= groups
    x = normal(random, int(random.integers(2, 5)), channels, *shape(random, 1, 2, 4))
    weight, bias = nonzero(random, channels), nonzero(random, channels)
    learnt = one_of(random, (weight, bias), (weight, None), (None, None))
    return [x, groups, *learnt, one_of(random, 1e-2, 0.1)], {}


def labelled(random: Random, logarithms: bool) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Scores (N, K, ...), targets (N, ...) and the settings of a loss: class weights, an ignored class, reduction."""
    classes, rest = int(random.integers(2, 5)), shape(random, 0, 2, 3)
    count = int(random.integers(2, 5))
    scores = normal(random, count, classes, *rest)
    if logarithms:
        scores -= np.log(np.exp(scores).sum(1, keepdims=True))
    target = random.integers(0, classes, (count, *rest))
    target.flat[0] = 1  # of all targets one counts, whatever is ignored
    settings = {"weight": one_of(random, None, positive(random, classes)), "ignore_index": one_of(random, -100, 0),
                "reduction": one_of(random, "mean", "sum", "none")}  # fmt: skip
    return scores, target, settings


def classification(random: Random) -> Arguments:
    """cross_entropy(scores, target, weight=, ignore_index=, reduction=, label_smoothing=)."""
    scores, target, settings = labelled(random, logarithms=False)
    return [scores, target], {**settings, "label_smoothing": one_of(random, 0.0, 0.2)}


def likelihood(random: Random) -> Arguments:
    """nll_loss(log-probabilities, target, weight=, ignore_index=, reduction=)."""
    scores, target, settings = labelled(random, logarithms=True)
    return [scores, target], settings


def regression(random: Random) -> Arguments:
    """mse_loss and l1_loss(input, target, reduction=), the two at least 0.01 apart."""
    sizes = shape(random, 0, 3)
    input = normal(random, *sizes)
    return [input, input + nonzero(random, *sizes)], {"reduction": one_of(random, "mean", "sum", "none")}


# ---------------------------------------------------------------------------------------------------------- matrices


def product(random: Random) -> Arguments:
    """matmul(a, b): vectors, matrices, and stacks of matrices that broadcast."""
    rows, inner, columns = (int(n) for n in random.integers(1, 5, 3))
    stack = shape(random, 0, 2, 3)
    first = one_of(random, (inner,), (rows, inner), (*stack, rows, inner), (*(1 for _ in stack), rows, inner))
    second = one_of(random, (inner,), (inner, columns), (*stack, inner, columns), (*stack[1:], inner, columns))
    return [normal(random, *first), normal(random, *second)], {}


def linear_layer(random: Random) -> Arguments:
    """linear(x, weight, bias or None)."""
    inputs, outputs = (int(n) for n in random.integers(1, 5, 2))
    x = normal(random, *shape(random, 0, 2), inputs)
    return [x, normal(random, outputs, inputs), one_of(random, None, normal(random, outputs))], {}
