"""More nonlinearities, each a formula and its derivative: the ReLU's kin, and smooth ones.

In the formulas s(x) is the sigmoid 1 / (1 + e^-x). Where a function has a kink, the derivative there is PyTorch's.
Every function takes `inplace` where PyTorch's does; the result is the same, and the input is never overwritten.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module, is_floating
from minires.ops.error_function import erf_of
from minires.ops.pointwise import real
from minires.tensor import Tensor, register


class Formula(Function):
    """y = value(x, settings);  dx = dy slope(x, settings). `value` and `slope` get the array library and the array."""

    value: Callable[..., Array]
    slope: Callable[..., Array]

    @staticmethod
    def forward(ctx: Node, x: Array, *settings: float) -> Array:
        kind: Any = ctx.function
        ctx.settings = settings
        ctx.save_for_backward(x)
        return kind.value(array_module(x), x, *settings).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        kind: Any = ctx.function
        (x,) = ctx.saved_arrays
        slope = kind.slope(array_module(x), x, *ctx.settings)
        return (grad * slope).astype(grad.dtype, copy=False), *(None for _ in ctx.settings)


def sigmoid_of(xp: ModuleType, x: Array) -> Array:
    """1 / (1 + e^-x); where x < 0 as e^x / (1 + e^x), so that e never gets a large exponent."""
    small = xp.exp(-xp.absolute(x))
    return xp.where(x < 0, small, 1) / (1 + small)


def softplus_of(xp: ModuleType, x: Array) -> Array:
    """ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.absolute(x)))


def negative_exponential(xp: ModuleType, x: Array) -> Array:
    """e^x - 1 below 0, and 0 above, where e^x might be infinite and is not wanted."""
    return xp.expm1(xp.minimum(x, 0))


class LeakyReLU(Formula):
    """y = x where x > 0, else a x;  dx = dy or a dy. Maas et al. 2013."""

    value = staticmethod(lambda xp, x, a: xp.where(x > 0, x, a * x))
    slope = staticmethod(lambda xp, x, a: xp.where(x > 0, 1, a))


class ELU(Formula):
    """y = c x where x > 0, else c a (e^(b x) - 1);  dx = c dy, or c a b e^(b x) dy.

    Source: Clevert et al. 2016 (c = b = 1); CELU (Barron 2017) has b = 1 / a; SELU (Klambauer et al. 2017) fixes a, c.
    """

    value = staticmethod(lambda xp, x, a, b, c: c * xp.where(x > 0, x, a * negative_exponential(xp, b * x)))
    slope = staticmethod(
        lambda xp, x, a, b, c: c * xp.where(x > 0, 1, a * b * (negative_exponential(xp, b * x) + 1))
    )  # fmt: skip


class Hardtanh(Formula):
    """y = x, but at least a and at most b;  dx = dy strictly between them, else 0. ReLU6 has 0 and 6."""

    value = staticmethod(lambda xp, x, a, b: xp.clip(x, a, b))
    slope = staticmethod(lambda xp, x, a, b: (x > a) & (x < b))


class Hardsigmoid(Formula):
    """y = (x + 3) / 6, but at least 0 and at most 1;  dx = dy / 6 where -3 < x < 3, else 0. Howard et al. 2019."""

    value = staticmethod(lambda xp, x: xp.clip(x + 3, 0, 6) / 6)
    slope = staticmethod(lambda xp, x: ((x > -3) & (x < 3)) / 6)


class Hardswish(Formula):
    """y = x hardsigmoid(x);  dx = dy (x / 3 + 1 / 2) where -3 < x < 3, 0 below and dy above. Howard et al. 2019."""

    value = staticmethod(lambda xp, x: x * (xp.clip(x + 3, 0, 6) / 6))
    slope = staticmethod(lambda xp, x: xp.where(x <= -3, 0, xp.where(x < 3, x / 3 + 0.5, 1)))


class Hardshrink(Formula):
    """y = x where |x| > a, else 0;  dx = dy there, else 0."""

    value = staticmethod(lambda xp, x, a: xp.where((x >= -a) & (x <= a), 0, x))
    slope = staticmethod(lambda xp, x, a: (x < -a) | (x > a))


class Softshrink(Formula):
    """y = x - a above a, x + a below -a, else 0;  dx = dy outside [-a, a], else 0."""

    value = staticmethod(lambda xp, x, a: xp.where(x > a, x - a, xp.where(x < -a, x + a, x * 0)))
    slope = staticmethod(lambda xp, x, a: (x < -a) | (x > a))


class Threshold(Formula):
    """y = x where x > a, else b;  dx = dy or 0."""

    value = staticmethod(lambda xp, x, a, b: xp.where(x <= a, b, x))
    slope = staticmethod(lambda xp, x, a, b: ~(x <= a))


class SiLU(Formula):
    """y = x s(x);  dx = dy (s + x s (1 - s)). Hendrycks and Gimpel 2016; Elfwing et al. 2018; also called swish."""

    value = staticmethod(lambda xp, x: x * sigmoid_of(xp, x))
    slope = staticmethod(lambda xp, x: sigmoid_of(xp, x) * (1 + x * (1 - sigmoid_of(xp, x))))


def _mish_slope(xp: ModuleType, x: Array) -> Array:
    inner = xp.tanh(softplus_of(xp, x))
    return inner + x * (1 - inner * inner) * sigmoid_of(xp, x)


class Mish(Formula):
    """y = x t with t = tanh(ln(1 + e^x));  dx = dy (t + x (1 - t^2) s(x)). Misra 2019."""

    value = staticmethod(lambda xp, x: x * xp.tanh(softplus_of(xp, x)))
    slope = staticmethod(_mish_slope)


class GELU(Formula):
    """y = x P(x), P(x) = (1 + erf(x / sqrt 2)) / 2, the normal distribution's;  dx = dy (P(x) + x p(x)).

    p(x) = e^(-x^2 / 2) / sqrt(2 pi) is its density. Hendrycks and Gimpel 2016, "Gaussian error linear units".
    """

    value = staticmethod(lambda xp, x: x * ((1 + erf_of(x * math.sqrt(0.5))) / 2))
    slope = staticmethod(
        lambda xp, x: (1 + erf_of(x * math.sqrt(0.5))) / 2 + x * xp.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    )  # fmt: skip


def _cubic(x: Array) -> Array:
    """The number whose tanh stands for erf(x / sqrt 2)."""
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)


def _gelu_tanh_slope(xp: ModuleType, x: Array) -> Array:
    t = xp.tanh(_cubic(x))
    return (1 + t) / 2 + x / 2 * (1 - t * t) * (math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x))


class GELUTanh(Formula):
    """y = x (1 + t) / 2, t = tanh u, u = sqrt(2 / pi) (x + 0.044715 x^3);  dx = dy ((1 + t) / 2 + x (1 - t^2) u' / 2).

    The approximation to GELU in section 2 of the same paper.
    """

    value = staticmethod(lambda xp, x: x * ((1 + xp.tanh(_cubic(x))) / 2))
    slope = staticmethod(_gelu_tanh_slope)


class Softplus(Formula):
    """y = ln(1 + e^(b x)) / b, and x where b x > the threshold;  dx = dy s(b x), or dy. Dugas et al. 2001."""

    value = staticmethod(lambda xp, x, b, limit: xp.where(b * x > limit, x, softplus_of(xp, b * x) / b))
    slope = staticmethod(lambda xp, x, b, limit: xp.where(b * x > limit, 1, sigmoid_of(xp, b * x)))


class LogSigmoid(Formula):
    """y = ln s(x) = -ln(1 + e^-x);  dx = dy s(-x)."""

    value = staticmethod(lambda xp, x: -softplus_of(xp, -x))
    slope = staticmethod(lambda xp, x: sigmoid_of(xp, -x))


class Softsign(Formula):
    """y = x / (1 + |x|);  dx = dy / (1 + |x|)^2. Glorot and Bengio 2010."""

    value = staticmethod(lambda xp, x: x / (1 + xp.absolute(x)))
    slope = staticmethod(lambda xp, x: 1 / (1 + xp.absolute(x)) ** 2)


class Tanhshrink(Formula):
    """y = x - tanh x;  dx = dy tanh(x)^2."""

    value = staticmethod(lambda xp, x: x - xp.tanh(x))
    slope = staticmethod(lambda xp, x: xp.tanh(x) ** 2)


# ------------------------------------------------------------------------------------------- the functions users call


def _need_real(input: Tensor, name: str) -> Tensor:
    """PyTorch refuses integers here; the older functions (sigmoid, tanh) convert them."""
    if not is_floating(input.dtype):
        raise RuntimeError(f"{name} is for real numbers, got {input.dtype}")
    return input


@register
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where it is positive, else negative_slope * input."""
    return LeakyReLU.apply(_need_real(input, "leaky_relu"), negative_slope)


@register
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (e^input - 1)."""
    return ELU.apply(_need_real(input, "elu"), alpha, 1.0, 1.0)


@register
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (e^(input / alpha) - 1). RuntimeError for alpha 0."""
    if alpha == 0:
        raise RuntimeError("celu: alpha cannot be 0")
    return ELU.apply(_need_real(input, "celu"), alpha, 1 / alpha, 1.0)


@register
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(input, alpha) with the two numbers under which mean 0 and variance 1 stay as they are."""
    return ELU.apply(_need_real(input, "selu"), 1.6732632423543772848170429916717, 1.0,
                     1.0507009873554804934193349852946)  # fmt: skip


def _of_its_type(input: Tensor, name: str, *bounds: float) -> list[float]:
    """The bounds as numbers of the input's type, which may be whole numbers. RuntimeError for booleans."""
    if input.dtype.kind == "b":
        raise RuntimeError(f"{name} is for numbers, got {input.dtype}")
    return [bound if is_floating(input.dtype) else int(bound) for bound in bounds]


@register
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """input, but at least min_val and at most max_val. ValueError if min_val > max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return Hardtanh.apply(input, *_of_its_type(input, "hardtanh", min_val, max_val))


@register
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6)."""
    return Hardtanh.apply(input, *_of_its_type(input, "relu6", 0.0, 6.0))


@register
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input + 3, 0), 6) / 6."""
    return Hardsigmoid.apply(_need_real(input, "hardsigmoid"))


@register
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * hardsigmoid(input)."""
    return Hardswish.apply(_need_real(input, "hardswish"))


@register
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input where |input| > lambd, else 0."""
    return Hardshrink.apply(_need_real(input, "hardshrink"), lambd)


@register
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input moved towards 0 by lambd, or 0. RuntimeError for lambd below 0."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return Softshrink.apply(_need_real(input, "softshrink"), lambd)


@register
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """input where it is above `threshold`, else `value`."""
    return Threshold.apply(input, *_of_its_type(input, "threshold", threshold, value))


@register
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input)."""
    return SiLU.apply(_need_real(input, "silu"))


@register
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input))."""
    return Mish.apply(_need_real(input, "mish"))


@register
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input times the normal distribution at it; approximate="tanh": by a formula with tanh. RuntimeError otherwise."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return (GELU if approximate == "none" else GELUTanh).apply(_need_real(input, "gelu"))


@register
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """ln(1 + e^(beta input)) / beta; input itself where beta input > threshold."""
    return Softplus.apply(_need_real(input, "softplus"), beta, threshold)


@register
def logsigmoid(input: Tensor) -> Tensor:
    """ln sigmoid(input), without overflow."""
    return LogSigmoid.apply(_need_real(input, "logsigmoid"))


@register
def softsign(input: Tensor) -> Tensor:
    """input / (1 + |input|)."""
    return Softsign.apply(real(input))


@register
def tanhshrink(input: Tensor) -> Tensor:
    """input - tanh(input)."""
    return Tanhshrink.apply(real(input))
