"""Losses of an input and a target, element by element. `reduction`: "mean" (default), "sum", or "none".

In the formulas x is the input, t the target, l the loss of one element, s(x) = 1 / (1 + e^-x).
"""

import math
from collections.abc import Callable
from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module, is_floating, result_type
from minires.ops.activation_formulas import sigmoid_of, softplus_of
from minires.ops.broadcast import common_shape, sum_to_shape
from minires.ops.loss import _warn_of_shapes, old_reduction, reduced, weighed
from minires.ops.reduce import sum
from minires.tensor import OPERATIONS, Tensor, register


class PairLoss(Function):
    """l = value(x, t, settings);  dx = dy slope_x, dt = dy slope_t, each summed over its broadcast axes.

    `value`, `slope_x` and `slope_t` get the array library, both arrays and the settings.
    """

    value: Callable[..., Array]
    slope_x: Callable[..., Array]
    slope_t: Callable[..., Array]

    @staticmethod
    def forward(ctx: Node, x: Array, t: Array, *settings: Any) -> Array:
        kind: Any = ctx.function
        ctx.settings = settings
        ctx.save_for_backward(x, t)
        return kind.value(array_module(x), x, t, *settings).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        kind: Any = ctx.function
        x, t = ctx.saved_arrays

        def chained(needed: bool, slope: Callable[..., Array], array: Array) -> Array | None:
            if not needed:
                return None
            full = grad * slope(array_module(x), x, t, *ctx.settings)
            return sum_to_shape(full.astype(grad.dtype, copy=False), array.shape)

        dx = chained(ctx.needs_input_grad[0], kind.slope_x, x)
        return dx, chained(ctx.needs_input_grad[1], kind.slope_t, t), *(None for _ in ctx.settings)


class Huber(PairLoss):
    """l = d^2 / 2 where |d| < a, else a (|d| - a / 2), with d = x - t;  dx = dy d, or dy a sign(d); dt = -dx.

    Huber 1964, "Robust estimation of a location parameter".
    """

    value = staticmethod(
        lambda xp, x, t, a: xp.where(abs(x - t) <= a, (x - t) ** 2 / 2, a * (abs(x - t) - a / 2))
    )  # fmt: skip
    slope_x = staticmethod(lambda xp, x, t, a: xp.clip(x - t, -a, a))
    slope_t = staticmethod(lambda xp, x, t, a: xp.clip(t - x, -a, a))


class SmoothL1(PairLoss):
    """l = d^2 / (2 b) where |d| < b, else |d| - b / 2, with d = x - t: Huber's over b. Girshick 2015, section 2.3."""

    value = staticmethod(
        lambda xp, x, t, b: xp.where(abs(x - t) < b, (x - t) ** 2 / (2 * b), abs(x - t) - b / 2)
    )  # fmt: skip
    slope_x = staticmethod(lambda xp, x, t, b: xp.clip((x - t) / b, -1, 1))
    slope_t = staticmethod(lambda xp, x, t, b: xp.clip((t - x) / b, -1, 1))


def _log_at_least(xp: Any, p: Array) -> Array:
    """ln p, but at least -100, so that a certain and wrong prediction has a finite loss."""
    return xp.maximum(xp.log(p), -100)


class BinaryCrossEntropy(PairLoss):
    """l = -t ln x - (1 - t) ln(1 - x), logarithms at least -100;  dx = dy (x - t) / max(x (1 - x), 1e-12).

    dt = dy (ln(1 - x) - ln x).
    """

    value = staticmethod(lambda xp, x, t: (t - 1) * xp.maximum(xp.log1p(-x), -100) - t * _log_at_least(xp, x))
    slope_x = staticmethod(lambda xp, x, t: (x - t) / xp.maximum(x * (1 - x), 1e-12))
    slope_t = staticmethod(lambda xp, x, t: xp.log1p(-x) - xp.log(x))


class BinaryCrossEntropyWithLogits(PairLoss):
    """l = (1 - t) x + (1 + (w - 1) t) ln(1 + e^-x), w weighs the positives: -w t ln s(x) - (1 - t) ln(1 - s(x)).

    dx = dy ((1 - t) - (1 + (w - 1) t) s(-x)), dt = dy ((w - 1) ln(1 + e^-x) - x).
    """

    value = staticmethod(lambda xp, x, t, w: (1 - t) * x + (1 + (w - 1) * t) * softplus_of(xp, -x))
    slope_x = staticmethod(lambda xp, x, t, w: (1 - t) - (1 + (w - 1) * t) * sigmoid_of(xp, -x))
    slope_t = staticmethod(lambda xp, x, t, w: (w - 1) * softplus_of(xp, -x) - x)


class KullbackLeibler(PairLoss):
    """l = t (ln t - x), 0 where t = 0: the target is a probability, the input the logarithm of one.

    dx = -dy t, dt = dy (ln t + 1 - x). Kullback and Leibler 1951.
    """

    value = staticmethod(lambda xp, x, t: xp.where(t == 0, 0, t * xp.log(xp.where(t == 0, 1, t))) - t * x)
    slope_x = staticmethod(lambda xp, x, t: xp.broadcast_to(-t, xp.broadcast(x, t).shape))
    slope_t = staticmethod(lambda xp, x, t: xp.where(t > 0, xp.log(xp.where(t > 0, t, 1)) + 1, 0) - x)


class KullbackLeiblerOfLogarithms(PairLoss):
    """l = e^t (t - x): both are logarithms of probabilities;  dx = -dy e^t, dt = dy e^t (t - x + 1)."""

    value = staticmethod(lambda xp, x, t: xp.exp(t) * (t - x))
    slope_x = staticmethod(lambda xp, x, t: xp.broadcast_to(-xp.exp(t), xp.broadcast(x, t).shape))
    slope_t = staticmethod(lambda xp, x, t: xp.exp(t) * (t - x + 1))


class SoftMargin(PairLoss):
    """l = ln(1 + e^(-t x)), t being -1 or 1;  dx = -dy t s(-t x), dt = -dy x s(-t x)."""

    value = staticmethod(lambda xp, x, t: softplus_of(xp, -t * x))
    slope_x = staticmethod(lambda xp, x, t: -t * sigmoid_of(xp, -t * x))
    slope_t = staticmethod(lambda xp, x, t: -x * sigmoid_of(xp, -t * x))


# ------------------------------------------------------------------------------------------- the functions users call


REAL_TARGETS = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div")  # others take integers, too
TYPE_OF_THE_INPUT = ("huber_loss", "soft_margin_loss")  # others promote both to the wider type


def _real_pair(input: Tensor, target: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Both of one real type, by PyTorch's rules for this loss, and of shapes that broadcast."""
    for word, value in (("input", input), ("target", target)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: the {word} must be a Tensor, got {type(value).__name__}")
    if not is_floating(input.dtype):
        raise RuntimeError(f"{name}: the input must hold real numbers, got {input.dtype}")
    if name in REAL_TARGETS and not is_floating(target.dtype):
        raise RuntimeError(f"{name}: the target must hold real numbers, got {target.dtype}")
    if name == "binary_cross_entropy" and target.dtype != input.dtype:
        raise RuntimeError(f"{name}: the input is {input.dtype}, the target {target.dtype}: they should be the same")
    common_shape(input.shape, target.shape)
    dtype = input.dtype if name in TYPE_OF_THE_INPUT else result_type(input.array, target.array)
    return input.to(dtype), target.to(dtype)


@register
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Squares for differences up to delta, straight lines beyond. weight: factors of the elements, of input's shape.

    The mean is over all elements, whatever their weights, as in PyTorch. RuntimeError for delta <= 0.
    """
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}")
    _warn_of_shapes(input, target)
    losses = Huber.apply(*_real_pair(input, target, "huber_loss"), delta)
    return reduced(weighed(losses, weight, input), reduction)


@register
def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str =
    "mean", beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Squares over 2 beta for differences up to beta, |difference| - beta / 2 beyond; beta 0 is `l1_loss`."""
    reduction = old_reduction(size_average, reduce, reduction)
    _warn_of_shapes(input, target)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    if beta == 0:
        return OPERATIONS["l1_loss"](input, target, reduction=reduction)
    return reduced(SmoothL1.apply(*_real_pair(input, target, "smooth_l1_loss"), beta), reduction)


@register
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None
    = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-target ln(input) - (1 - target) ln(1 - input) of probabilities, times `weight`, which is broadcast.

    ValueError for a target of another shape, RuntimeError for an input outside [0, 1].
    """
    reduction = old_reduction(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) "
                         "is deprecated. Please ensure they have the same size.")  # fmt: skip
    if not ((input.array >= 0) & (input.array <= 1)).all():
        raise RuntimeError("binary_cross_entropy: all elements of input should be between 0 and 1")
    losses = BinaryCrossEntropy.apply(*_real_pair(input, target, "binary_cross_entropy"))
    return reduced(losses if weight is None else losses * weight, reduction)


@register
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None
    = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`binary_cross_entropy` of sigmoid(input), without overflow; pos_weight: how much more positives weigh, broadcast.

    ValueError for a target of another shape.
    """
    reduction = old_reduction(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if pos_weight is not None and pos_weight.requires_grad:
        raise RuntimeError("binary_cross_entropy_with_logits: there is no gradient for pos_weight; detach it")
    pair = _real_pair(input, target, "binary_cross_entropy_with_logits")
    positives: Any = 1.0
    if pos_weight is not None:
        common_shape(input.shape, pos_weight.shape)
        positives = pos_weight.to(input.dtype).array
    losses = BinaryCrossEntropyWithLogits.apply(*pair, positives)
    return reduced(losses if weight is None else losses * weight, reduction)


@register
def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str =
    "mean", log_target: bool = False,
) -> Tensor:  # fmt: skip
    """target (ln target - input): the input is the logarithm of a probability, the target one (log_target: as input).

    reduction: also "batchmean", the sum over the length of axis 0, which is the divergence itself.
    """
    reduction = old_reduction(size_average, reduce, reduction)
    kind = KullbackLeiblerOfLogarithms if log_target else KullbackLeibler
    losses = kind.apply(*_real_pair(input, target, "kl_div"))
    if reduction != "batchmean":
        return reduced(losses, reduction)
    return sum(losses) / (input.shape[0] if input.ndim else 1)


@register
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """ln(1 + e^(-target input)), targets being -1 or 1."""
    reduction = old_reduction(size_average, reduce, reduction)
    return reduced(SoftMargin.apply(*_real_pair(input, target, "soft_margin_loss")), reduction)


@register
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """e^input - target input: counts `target`, of which the input is the logarithm of the expectation.

    log_input=False: input - target ln(input + eps). full: plus Stirling's approximation to ln(target!), for targets
    above 1.
    """
    reduction = old_reduction(size_average, reduce, reduction)
    input, target = _real_pair(input, target, "poisson_nll_loss")
    losses = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        t = target.clamp(min=1)
        stirling = t * t.log() - t + (t * (2 * math.pi)).log() * 0.5
        losses = losses + OPERATIONS["where"](target > 1, stirling, Tensor(stirling.array * 0))
    return reduced(losses, reduction)


@register
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(ln var + (input - target)^2 / var) / 2, var at least eps: the input is a mean, var (or a number) a variance.

    full: plus ln(2 pi) / 2. var has the input's shape, or lacks its last axis or has 1 there. ValueError for another
    shape or a negative variance.
    """
    var = Tensor(array_module(input.array).full(input.shape, var, input.dtype)) if not isinstance(var, Tensor) else var
    if (var.array < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif not (input.shape[:-1] == var.shape[:-1] and var.shape[-1] == 1):
            raise ValueError(f"var is of incorrect size {var.shape} for the input of shape {input.shape}")
    raised = var + (var.detach().clamp(min=eps) - var.detach())  # the gradient ignores the clamping, as in PyTorch
    difference = input - target
    losses = (raised.log() + difference * difference / raised) * 0.5
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)
