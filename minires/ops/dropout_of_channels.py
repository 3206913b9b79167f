"""Dropout of more than single elements: of channels, of whole samples; and dropout for SELU's networks.

All draws come from `minires.random.generator()`: within `minires.random.address` they do not depend on what was drawn
before.
"""

import math
import warnings

from minires.backend import array_module
from minires.ops.pointwise import real
from minires.random import generator
from minires.tensor import Tensor, register


def _kept(input: Tensor, axes: int, p: float) -> Tensor:
    """1 with probability 1 - p, else 0: one draw for each index of the first `axes` axes, of the input's type."""
    shape = (*input.shape[:axes], *(1 for _ in input.shape[axes:]))
    draws = array_module(input.array).asarray(generator().random(shape, dtype="float32"))
    return Tensor((draws >= p).astype(input.dtype))


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _of_channels(input: Tensor, p: float, training: bool, axes: tuple[int, int], name: str) -> Tensor:
    """Whole channels are 0 with probability p, else divided by 1 - p. axes: of one sample, and of a batch."""
    _check(p)
    if input.ndim == 2 and axes[0] > 2:
        warnings.warn(f"{name}: expected {axes[0]}D or {axes[1]}D input, but received 2D: each element is dropped "
                      "alone", stacklevel=3)  # fmt: skip
    elif input.ndim not in axes:
        raise RuntimeError(f"{name}: expected {axes[0]}D or {axes[1]}D input, but received a {input.ndim}D input")
    if not training or p == 0:
        return input
    input = real(input)
    return input * (_kept(input, input.ndim - axes[0] + 1, p) * (1 / (1 - p) if p < 1 else 0.0))


@register
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Channels of (N, C, L) or (C, L) are 0 with probability p in training, else divided by 1 - p.

    Tompson et al. 2015, "Efficient object localization using convolutional networks": neighbours in a channel are so
    alike that dropping one alone drops nothing.
    """
    return _of_channels(input, p, training, (2, 3), "dropout1d")


@register
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As `dropout1d`, for (N, C, H, W). Three axes are taken for (N, C, L), with a warning, as in PyTorch."""
    if input.ndim == 3:
        warnings.warn("dropout2d: Received a 3-D input, for which 1D dropout is assumed: use dropout1d", stacklevel=2)
        return _of_channels(input, p, training, (2, 3), "dropout2d")
    return _of_channels(input, p, training, (3, 4), "dropout2d")


@register
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As `dropout1d`, for (N, C, D, H, W) or (C, D, H, W)."""
    return _of_channels(input, p, training, (4, 5), "dropout3d")


def _alpha(input: Tensor, p: float, axes: int) -> Tensor:
    """Dropped elements get SELU's lowest value a; then a scale and a shift bring mean 0 and variance 1 back."""
    a = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717
    if p == 1:
        return input * 0.0
    scale = 1 / math.sqrt((1 - p) * (1 + p * a * a))
    kept = _kept(input, axes, p)
    return input * (kept * scale) + ((1 - kept) * (a * scale) - scale * a * p)


@register
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for networks with `selu`. Klambauer et al. 2017, section 3."""
    _check(p)
    return _alpha(real(input), p, input.ndim) if training and p > 0 else input


@register
def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels, (N, C, ...)."""
    _check(p)
    if input.ndim < 2 and training and p > 0:
        raise RuntimeError(f"feature dropout requires at least 2 dimensions in the input, got shape {input.shape}")
    return _alpha(real(input), p, 2) if training and p > 0 else input


@register
def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """The whole input ("batch") or whole samples ("row") are 0 with probability p in training, else over 1 - p.

    For the branches of a residual network: Huang et al. 2016, "Deep networks with stochastic depth". Name, arguments
    and errors are torchvision.ops.stochastic_depth's.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"drop probability has to be between 0 and 1, but got {p}")
    if mode not in ("batch", "row"):
        raise ValueError(f"mode has to be either 'batch' or 'row', but got {mode}")
    if not training or p == 0:
        return input
    return input * (_kept(input, 1 if mode == "row" else 0, p) * (1 / (1 - p) if p < 1 else 1.0))
