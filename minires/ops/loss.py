"""Losses. `reduction`: "mean" (default), "sum", or "none" for the loss of each element."""

import warnings

from minires import kernels
from minires.autograd import Function, Node, is_grad_enabled
from minires.backend import Array, array_module, is_capturing, is_floating
from minires.ops import elementwise
from minires.ops.activation import log_softmax
from minires.ops.reduce import mean, sum
from minires.tensor import Tensor, register


class CrossEntropy(Function):
    """loss[m] = - sum_k q[m, k] log softmax(logits[m])[k];  dlogits = dy (softmax(logits) sum_k q - q).

    q is the target's distribution: 1 at the target's class, or with smoothing e, 1 - e there and e / K everywhere,
    times the weight of each class. Formulas with all indices: kernels/reference/loss.py.
    """

    @staticmethod
    def forward(
        ctx: Node, logits: Array, target: Array, class_weight: Array | None, ignore_index: int, label_smoothing: float
    ) -> Array:
        losses, log_probabilities = kernels.cross_entropy_forward(
            logits, target, class_weight, ignore_index, label_smoothing
        )
        ctx.settings = ignore_index, label_smoothing
        ctx.save_for_backward(log_probabilities, target, class_weight)
        return losses

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        log_probabilities, target, class_weight = ctx.saved_arrays
        dlogits = kernels.cross_entropy_backward(grad, log_probabilities, target, class_weight, *ctx.settings)
        return dlogits, None, None, None, None


class NegativeLogLikelihood(Function):
    """loss[m] = - weight[target[m]] x[m, target[m]];  dx[m, k] = - weight[k] dy[m] where k = target[m], else 0."""

    @staticmethod
    def forward(ctx: Node, x: Array, target: Array, factor: Array) -> Array:
        ctx.shape = x.shape
        ctx.save_for_backward(target, factor)
        rows = array_module(x).arange(len(target))
        picked = x[rows, target]
        return -array_module(x).where(factor == 0, 0, picked * factor).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        target, factor = ctx.saved_arrays
        xp = array_module(grad)
        dx = xp.zeros(ctx.shape, grad.dtype)
        dx[xp.arange(len(target)), target] = -grad * factor
        return dx, None, None


class MeanOfCounted(Function):
    """y = sum l / sum w, NaN of none;  dl = dy / sum w, 0 where the weights w, of the rows that count, are all 0."""

    @staticmethod
    def forward(ctx: Node, losses: Array, weights: Array) -> Array:
        xp = array_module(losses)
        ctx.shape, ctx.total = losses.shape, xp.asarray(weights.sum(dtype=losses.dtype))
        return xp.asarray(kernels.sum_over(losses, tuple(range(losses.ndim)), False) / ctx.total)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        xp = array_module(grad)
        share = xp.where(ctx.total == 0, 0, grad / xp.where(ctx.total == 0, 1, ctx.total))
        return xp.broadcast_to(share.astype(grad.dtype, copy=False), ctx.shape), None


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """All losses, their sum or their mean."""
    if reduction == "none":
        return losses
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction: 'mean', 'sum' or 'none'")
    return mean(losses) if reduction == "mean" else sum(losses)


def _rows(input: Tensor, target: Tensor, name: str) -> tuple[Tensor, Array]:
    """Scores (M, K) and class numbers (M,) of input (K,), (N, K) or (N, K, ...) and the target that goes with it."""
    if target.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: targets must be class numbers, not {target.dtype}")
    if not is_floating(input.dtype):
        raise RuntimeError(f"{name}: the input must be of floating point type, got {input.dtype}")
    if input.ndim == 1:
        if target.shape not in ((), (1,)):
            raise ValueError(f"{name}: an input of one axis takes one target, got shape {target.shape}")
        return input.reshape(1, -1), target.array.reshape(1)
    if input.ndim < 2:
        raise RuntimeError(f"{name}: input of shape {input.shape} and target of shape {target.shape} do not fit")
    batch, rest = input.shape[0], input.shape[2:]
    if target.shape[:1] != (batch,):
        raise ValueError(f"expected input batch_size ({batch}) to match target batch_size ({target.shape[:1]})")
    if target.shape[1:] != rest:
        raise RuntimeError(f"{name}: expected a target of shape {(batch, *rest)}, got {target.shape}")
    if not rest:
        return input, target.array
    rows = input.permute(0, *range(2, input.ndim), 1)
    return rows.reshape(target.numel(), input.shape[1]), target.array.reshape(-1)


def _finish(losses: Tensor, target: Tensor, factor: Array, reduction: str) -> Tensor:
    """The losses reduced; the mean is weighted by `factor`, the weight of each row's class, 0 for ignored rows."""
    if reduction == "mean":
        return MeanOfCounted.apply(losses, factor)
    return reduced(losses.reshape(target.shape) if losses.shape != target.shape else losses, reduction)


def _factors(rows: Tensor, target: Array, weight: Tensor | None, ignore_index: int) -> tuple[Array, Array]:
    """(classes, factor): the target with 0 for ignored rows, and the weight of each row's class, 0 for ignored ones."""
    xp = array_module(target)
    classes = rows.shape[1]
    if weight is not None and weight.requires_grad and is_grad_enabled():
        raise RuntimeError("there is no gradient for the weights of the classes: detach them")
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(f"weight tensor should be defined either for all {classes} classes or no classes, "
                           f"got shape {weight.shape}")  # fmt: skip
    kept = target != ignore_index
    wrong = kept & ((target < 0) | (target >= classes))
    if not is_capturing() and wrong.any():
        row = int(xp.flatnonzero(wrong)[0])
        raise IndexError(f"target {int(target[row])} of row {row} is out of bounds: there are {classes} classes")
    safe = xp.where(kept, target, 0)
    if weight is None:
        return safe, kept.astype(rows.dtype)
    return safe, xp.where(kept, weight.array[safe], 0).astype(rows.dtype)


@register
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int =
    -100, reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """-log softmax(input)[target]: input (N, K) or (N, K, ...) of scores, target (N) or (N, ...) of class numbers.

    target may also hold probabilities, of the input's shape: -sum over k of target[k] weight[k] log softmax(input)[k].
    The mean is then over rows, and ignore_index is not allowed to be set.

    weight (K,): one a class; the mean is weighted by it. Rows whose target is `ignore_index` do not count.
    label_smoothing: this share of the target is spread evenly over all classes (Szegedy et al. 2016, section 7).
    IndexError for a target that is no class.
    """
    reduction = old_reduction(size_average, reduce, reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0, got {label_smoothing}")
    if is_floating(target.dtype) and target.shape == input.shape:
        return _of_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    rows, classes = _rows(input, target, "cross_entropy")
    _, factor = _factors(rows, classes, weight, ignore_index)
    class_weight = None if weight is None else weight.array
    losses = CrossEntropy.apply(rows, classes, class_weight, ignore_index, label_smoothing)
    return _finish(losses, target, factor, reduction)


def _of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Tensor:
    """`cross_entropy` of targets that are distributions; these have a gradient, too."""
    if not is_floating(input.dtype):
        raise RuntimeError(f"cross_entropy: the input must be of floating point type, got {input.dtype}")
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    if not input.ndim:
        raise RuntimeError("cross_entropy: a target of probabilities needs an axis of classes")
    axis = 0 if input.ndim == 1 else 1
    classes = input.shape[axis]
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(f"weight tensor should be defined either for all {classes} classes or no classes, "
                           f"got shape {weight.shape}")  # fmt: skip
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    products = log_softmax(input, axis) * target
    if weight is not None:
        products = products * weight.reshape(classes, *(1 for _ in input.shape[axis + 1 :]))
    losses = -sum(products, axis)
    return reduced(losses, reduction)


@register
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int =
    -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-input[target] for log-probabilities `input` (N, K) or (N, K, ...); the rest as in `cross_entropy`."""
    reduction = old_reduction(size_average, reduce, reduction)
    rows, classes = _rows(input, target, "nll_loss")
    safe, factor = _factors(rows, classes, weight, ignore_index)
    return _finish(NegativeLogLikelihood.apply(rows, safe, factor), target, factor, reduction)


def weighed(losses: Tensor, weight: Tensor | None, input: Tensor) -> Tensor:
    """The losses times `weight`, which has the input's shape (ValueError), or as they are."""
    if weight is not None and weight.shape != input.shape:
        raise ValueError(f"Weights and input must have the same size, got {weight.shape} and {input.shape}")
    return losses if weight is None else losses * weight


def _weighed_mean(losses: Tensor, weight: Tensor | None, input: Tensor, reduction: str) -> Tensor:
    """`reduced`, where the mean of weighed losses is over the sum of the weights."""
    losses = weighed(losses, weight, input)
    if weight is None or reduction != "mean":
        return reduced(losses, reduction)
    return sum(losses) / sum(weight)


@register
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str =
    "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(input - target)^2, times `weight`, of the input's shape; the mean is then over the sum of the weights."""
    reduction = old_reduction(size_average, reduce, reduction)
    _warn_of_shapes(input, target)
    return _weighed_mean(elementwise.square(elementwise.sub(input, target)), weight, input, reduction)


@register
def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str =
    "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """|input - target|, times `weight`, of the input's shape; the mean is then over the sum of the weights."""
    reduction = old_reduction(size_average, reduce, reduction)
    _warn_of_shapes(input, target)
    return _weighed_mean(elementwise.abs(elementwise.sub(input, target)), weight, input, reduction)


def old_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The `reduction`, or what PyTorch's two older arguments for it ask for, with a warning: they stand before it."""
    if size_average is None and reduce is None:
        return reduction
    reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(f"size_average and reduce are deprecated: use reduction={reduction!r} instead", stacklevel=3)
    return reduction


def _warn_of_shapes(input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"using a target size {target.shape} that is different to the input size {input.shape}: "
            "broadcasting will likely give a wrong loss",
            stacklevel=3,
        )
