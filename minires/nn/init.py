"""Initial values of weights: torch.nn.init's names, arguments and laws.

Every function fills its tensor in place, without recording, and returns it. Draws come from
`minires.random.generator(generator)`: the generator given, else the address in force, else the one that `manual_seed`
starts. Same laws as PyTorch's, not the same numbers. Within `without_draws()` the uniform and normal ones fill with 0.
"""

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from minires.autograd import no_grad
from minires.random import Generator
from minires.random import generator as draws_from
from minires.tensor import Tensor

_mode = threading.local()


@contextmanager
def without_draws(fill: bool = True) -> Iterator[None]:
    """Within this block, in this thread, random weights are zeros: for a model that is only counted, or loaded next.

    Drawing is most of the work of making a large model. `fill=False` leaves even the zeros out: the weights are
    whatever their memory holds, which costs nothing until somebody looks. Ours, not in PyTorch.
    """
    before = getattr(_mode, "instead", None)
    _mode.instead = zeros_ if fill else _as_it_is
    try:
        yield
    finally:
        _mode.instead = before


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on [a, b)."""
    instead = getattr(_mode, "instead", None)
    return instead(tensor) if instead else tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with this mean and standard deviation."""
    instead = getattr(_mode, "instead", None)
    return instead(tensor) if instead else tensor.normal_(mean, std, generator=generator)


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element `val`."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _write(tensor, np.eye(*tensor.shape))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor by which weights must be larger because of the nonlinearity behind them.

    1 for "linear", "conv2d" and "sigmoid"; 5/3 for "tanh"; sqrt(2) for "relu"; sqrt(2 / (1 + slope^2)) for
    "leaky_relu" (`param` is the slope, 0.01 by default); 3/4 for "selu". ValueError for any other name.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    gains = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0,
             "conv_transpose2d": 1.0, "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3,
             "relu": math.sqrt(2.0), "selu": 3.0 / 4}  # fmt: skip
    if nonlinearity not in gains:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return gains[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Numbers that enter and leave one unit: weight (out, in, kh, kw) gives (in kh kw, out kh kw)."""
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform with variance gain^2 * 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with variance gain^2 * 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Uniform with variance gain^2 / fan (He et al. 2015, section 2.2). `a`: slope of the leaky ReLU."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Normal with variance gain^2 / fan (He et al. 2015, section 2.2). `a`: slope of the leaky ReLU."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fans = dict(zip(("fan_in", "fan_out"), _calculate_fan_in_and_fan_out(tensor), strict=True))
    if mode not in fans:
        raise ValueError(f"Mode {mode} not supported, please use one of {list(fans)}")
    return calculate_gain(nonlinearity, a) / math.sqrt(fans[mode])


@no_grad()
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Normal, with values outside [a, b] drawn again until they are inside.

    a and b are values, not multiples of `std`. Where hardly any value falls inside, uniform draws are accepted with
    the normal density instead, which has the same law.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn("mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
                      "The distribution of values may be incorrect.", stacklevel=2)  # fmt: skip
    random = draws_from(generator)
    inside = (math.erf((b - mean) / std / math.sqrt(2)) - math.erf((a - mean) / std / math.sqrt(2))) / 2
    peak = min(max(mean, a), b)
    values = np.empty(math.prod(tensor.shape))
    pending = np.arange(values.size)
    while pending.size:
        if inside > 0.3:
            drawn = random.normal(mean, std, pending.size)
            good = (drawn >= a) & (drawn <= b)
        else:
            drawn = random.uniform(a, b, pending.size)
            density = np.exp((((peak - mean) / std) ** 2 - ((drawn - mean) / std) ** 2) / 2)
            good = random.random(pending.size) < density
        values[pending[good]] = drawn[good]
        pending = pending[~good]
    return _write(tensor, values.clip(a, b).reshape(tensor.shape))


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A random matrix with orthonormal rows (or columns, if there are more rows), times `gain` (Saxe et al. 2013).

    A tensor with more than two axes is a matrix of shape[0] rows. The law is uniform over such matrices: the signs of
    the QR factorisation are fixed by those of R's diagonal (Mezzadri 2006).
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    random = draws_from(generator).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(random)
    q = q * np.sign(np.diagonal(r))
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution's weight (out, in / groups, ...) that hands on its input: 1 in the middle of window (i, i), else 0.

    With groups, each group of outputs begins again at input 0. ValueError for other than 3 to 5 axes, or groups that do
    not divide the outputs.
    """
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    outputs, values = tensor.shape[0] // groups, np.zeros(tensor.shape)
    middle = tuple(length // 2 for length in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(outputs, tensor.shape[1])):
            values[(group * outputs + channel, channel, *middle)] = 1
    return _write(tensor, values)


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """A matrix of normal draws of which ceil(sparsity * rows) in every column are 0 (Martens 2010)."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    random = draws_from(generator)
    rows, columns = tensor.shape
    values = random.normal(0, std, (rows, columns))
    for column in range(columns):
        values[random.permutation(rows)[: math.ceil(sparsity * rows)], column] = 0
    return _write(tensor, values)


def _write(tensor: Tensor, values: np.ndarray) -> Tensor:
    return tensor.copy_(Tensor(np.asarray(values, dtype=tensor.dtype)))
