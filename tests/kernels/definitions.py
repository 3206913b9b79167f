"""Each kernel's formula once more, as loops over indices in Python floats, to test the reference kernels against.

Slow beyond use, and written from the definition rather than from the kernels.
"""

import itertools
import math

import numpy as np


def wide(*arrays):
    """float64 copies: the product of two NumPy float32 scalars would be rounded to float32."""
    return [None if array is None else np.array(array, np.float64) for array in arrays]


def indices(*sizes):
    return itertools.product(*(range(size) for size in sizes))


def conv_terms(x_shape, w_shape, out, stride, padding, dilation, groups):
    """Every (y index, w index, x index) such that y[...] receives w[...] x[...]."""
    n_, c_, h_, w_ = x_shape
    o_, cg_, kh_, kw_ = w_shape
    for n, o, i, j, c, kh, kw in indices(n_, o_, *out, cg_, kh_, kw_):
        row = stride[0] * i + dilation[0] * kh - padding[0]
        column = stride[1] * j + dilation[1] * kw - padding[1]
        if 0 <= row < h_ and 0 <= column < w_:
            channel = o // (o_ // groups) * (c_ // groups) + c
            yield (n, o, i, j), (o, c, kh, kw), (n, channel, row, column)


def conv_size(x_shape, w_shape, stride, padding, dilation):
    return tuple(
        math.floor((x_shape[2 + a] + 2 * padding[a] - dilation[a] * (w_shape[2 + a] - 1) - 1) / stride[a] + 1)
        for a in (0, 1)
    )


def conv(x, weight, bias, stride, padding, dilation, groups):
    out = conv_size(x.shape, weight.shape, stride, padding, dilation)
    x, weight, bias = wide(x, weight, bias)
    y = np.zeros((x.shape[0], weight.shape[0], *out))
    for yi, wi, xi in conv_terms(x.shape, weight.shape, out, stride, padding, dilation, groups):
        y[yi] += weight[wi] * x[xi]
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def conv_gradients(grad, x, weight, stride, padding, dilation, groups):
    grad, x, weight = wide(grad, x, weight)
    dx, dweight = np.zeros(x.shape), np.zeros(weight.shape)
    for yi, wi, xi in conv_terms(x.shape, weight.shape, grad.shape[2:], stride, padding, dilation, groups):
        dx[xi] += grad[yi] * weight[wi]
        dweight[wi] += grad[yi] * x[xi]
    return dx, dweight


def window_places(image, i, j, kernel, stride, padding, dilation=(1, 1)):
    """(number in the window, row, column) of each place of the image that the window (i, j) meets."""
    for kh, kw in indices(*kernel):
        row = stride[0] * i + dilation[0] * kh - padding[0]
        column = stride[1] * j + dilation[1] * kw - padding[1]
        if 0 <= row < image[0] and 0 <= column < image[1]:
            yield kh * kernel[1] + kw, row, column


def max_pool(x, grad, out, kernel, stride, padding, dilation):
    """(y, winner, dx): the first of equal values wins, the last of several NaN."""
    y, winner, dx = np.full((*x.shape[:2], *out), -np.inf), np.zeros((*x.shape[:2], *out), int), np.zeros(x.shape)
    for n, c, i, j in indices(*y.shape):
        best = None
        for number, row, column in window_places(x.shape[2:], i, j, kernel, stride, padding, dilation):
            value = x[n, c, row, column]
            if best is None or value > y[n, c, i, j] or np.isnan(value):
                best, y[n, c, i, j], winner[n, c, i, j] = (row, column), value, number
        if best is not None:
            dx[(n, c, *best)] += grad[n, c, i, j]
    return y, winner, dx


def avg_pool(x, grad, out, kernel, stride, padding, include_pad, override):
    x, grad = wide(x, grad)
    y, dx = np.zeros((*x.shape[:2], *out)), np.zeros(x.shape)
    height, width = x.shape[2:]
    for n, c, i, j in indices(*y.shape):
        places = list(window_places((height, width), i, j, kernel, stride, padding))
        inside_frame = sum(
            stride[0] * i + kh < height + 2 * padding[0] and stride[1] * j + kw < width + 2 * padding[1]
            for kh, kw in indices(*kernel)
        )
        count = override or (inside_frame if include_pad else len(places)) or 1
        for _, row, column in places:
            y[n, c, i, j] += x[n, c, row, column] / count
            dx[n, c, row, column] += grad[n, c, i, j] / count
    return y, dx


def adaptive_avg_pool(x, grad, out):
    x, grad = wide(x, grad)
    y, dx = np.zeros((*x.shape[:2], *out)), np.zeros(x.shape)
    height, width = x.shape[2:]
    for n, c, i, j in indices(*y.shape):
        rows = range(math.floor(i * height / out[0]), math.ceil((i + 1) * height / out[0]))
        columns = range(math.floor(j * width / out[1]), math.ceil((j + 1) * width / out[1]))
        for row, column in itertools.product(rows, columns):
            y[n, c, i, j] += x[n, c, row, column] / (len(rows) * len(columns))
            dx[n, c, row, column] += grad[n, c, i, j] / (len(rows) * len(columns))
    return y, dx


def batch_norm(x, weight, bias, eps, residual, relu, mean=None, variance=None):
    """(y, mean, variance) channel by channel; statistics of the batch where none are given."""
    x, weight, bias, residual, mean, variance = wide(x, weight, bias, residual, mean, variance)
    y, means, variances = np.zeros(x.shape), [], []
    for c in range(x.shape[1]):
        values = [float(value) for value in x[:, c].ravel()]
        m = math.fsum(values) / len(values) if mean is None else mean[c]
        v = math.fsum((value - m) ** 2 for value in values) / len(values) if variance is None else variance[c]
        means.append(m)
        variances.append(v)
        scale, shift = (1 if weight is None else weight[c]), (0 if bias is None else bias[c])
        for index in indices(*x[:, c].shape):
            full = (index[0], c, *index[1:])
            value = (x[full] - m) / math.sqrt(v + eps) * scale + shift + (0 if residual is None else residual[full])
            y[full] = max(value, 0) if relu else value
    return y, np.array(means), np.array(variances)


def softmax_row(row):
    largest = max(row)
    exponentials = [math.exp(value - largest) for value in row]
    return [value / math.fsum(exponentials) for value in exponentials]


def cross_entropy_row(logits, target, class_weight, ignore_index, smoothing):
    """Loss of one row: -(1 - e) w[t] log p[t] - e / K sum over k of w[k] log p[k]."""
    if target == ignore_index:
        return 0.0
    classes, largest = len(logits), max(logits)
    log_sum = largest + math.log(math.fsum(math.exp(value - largest) for value in logits))
    weights = [1.0] * classes if class_weight is None else list(class_weight)
    loss = -(1 - smoothing) * weights[target] * (logits[target] - log_sum)
    if smoothing:
        loss -= smoothing / classes * math.fsum(w * (z - log_sum) for w, z in zip(weights, logits, strict=True))
    return loss


def slope(function, array, index, step=1e-6):
    """The derivative of a function without arguments by one entry of `array`, by a central difference."""
    kept = array[index]
    array[index] = kept + step
    above = function()
    array[index] = kept - step
    below = function()
    array[index] = kept
    return (above - below) / (2 * step)


def numerical_gradient(function, array):
    """The gradient of the number that `function` returns by the float64 array `array`."""
    gradient = np.zeros(array.shape)
    for index in indices(*array.shape):
        gradient[index] = slope(function, array, index)
    return gradient
