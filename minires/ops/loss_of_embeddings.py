"""Losses and measures of vectors: distances, cosines, margins. And losses for rare classes: focal, dice.

Each is made of other operations, which have the derivatives. `reduction`: "mean" (default), "sum", or "none".
"""

from collections.abc import Callable
from typing import Any

from minires.backend import array_module
from minires.ops.loss import old_reduction, reduced
from minires.ops.loss_of_pairs import binary_cross_entropy_with_logits
from minires.ops.moments import norm
from minires.ops.reduce import mean, sum
from minires.ops.shape import squeeze
from minires.tensor import OPERATIONS, Tensor, register


@register
def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """input / max(its p-norm along `dim`, eps)."""
    return input / norm(input, p, dim, keepdim=True).clamp(min=eps)


@register
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`, after broadcasting."""
    shape = OPERATIONS["add"](x1.detach(), x2.detach()).shape
    x1, x2 = x1.expand(shape), x2.expand(shape)
    lengths = [norm(x, 2, dim, keepdim=True).clamp(min=eps) for x in (x1, x2)]
    return sum((x1 / lengths[0]) * (x2 / lengths[1]), dim)


@register
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis."""
    return norm(x1 - x2 + eps, p, -1, keepdim)


@register
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(d(anchor, positive) - d(anchor, negative) + margin, 0), d the `pairwise_distance`.

    swap: the negative's distance to the positive is used where it is smaller (Balntas et al. 2016). ValueError for
    a margin that is not above 0.
    """
    reduction = old_reduction(size_average, reduce, reduction)

    def distance(first: Tensor, second: Tensor) -> Tensor:
        return pairwise_distance(first, second, p, eps)

    return _of_triplets(anchor, positive, negative, distance, margin, swap, reduction)


@register
def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """`triplet_margin_loss` with a distance of one's own."""
    distance = pairwise_distance if distance_function is None else distance_function
    return _of_triplets(anchor, positive, negative, distance, margin, swap, reduction)


def _of_triplets(
    anchor: Tensor, positive: Tensor, negative: Tensor, distance: Callable[[Tensor, Tensor], Tensor], margin: float,
    swap: bool, reduction: str,
) -> Tensor:  # fmt: skip
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(f"The anchor, positive, and negative tensors are expected to have the same number of "
                           f"dimensions, but got {anchor.ndim}, {positive.ndim} and {negative.ndim}")  # fmt: skip
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = OPERATIONS["minimum"](far, distance(positive, negative))
    return reduced((near - far + margin).clamp(min=0), reduction)


@register
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None, reduce: bool
    | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cos where the target is 1, max(cos - margin, 0) where it is -1; inputs (N, D) and target (N), or (D) and ().

    The cosine is x1 . x2 / sqrt((|x1|^2 + 1e-12) (|x2|^2 + 1e-12)).
    """
    reduction = old_reduction(size_average, reduce, reduction)
    if (target.ndim, input1.ndim, input2.ndim) not in ((0, 1, 1), (1, 2, 2)):
        raise RuntimeError(f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs "
                           f"with sizes {input1.shape} and {input2.shape}.")  # fmt: skip
    squares = [sum(x * x, -1) + 1e-12 for x in (input1, input2)]
    cosine = sum(input1 * input2, -1) / (squares[0] * squares[1]).sqrt()
    zeros = Tensor(cosine.array * 0)
    where = OPERATIONS["where"]
    losses = where(target == 1, 1 - cosine, zeros) + where(target == -1, (cosine - margin).clamp(min=0), zeros)
    return reduced(losses, reduction)


@register
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None, reduce: bool
    | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(-target (input1 - input2) + margin, 0): target 1 wants the first larger, -1 the second."""
    reduction = old_reduction(size_average, reduce, reduction)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
                           f"{input1.shape}, input2: {input2.shape}, target: {target.shape}")  # fmt: skip
    return reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)


@register
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """input where the target is 1, max(margin - input, 0) where it is -1."""
    reduction = old_reduction(size_average, reduce, reduction)
    where, zeros = OPERATIONS["where"], Tensor(input.array * 0)
    losses = where(target != 1, (margin - input).clamp(min=0), zeros) + where(target != -1, input, zeros)
    return reduced(losses, reduction)


@register
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """sum over k != t of max(margin - x_t + x_k, 0)^p / K for scores x (N, K) or (K) and class numbers t.

    weight (K): a factor for each target's class, before the power. p: 1 or 2.
    """
    reduction = old_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError(f"only p == 1 and p == 2 supported, got {p}")
    if weight is not None and weight.ndim != 1:
        raise ValueError(f"weight must be one-dimensional, got shape {weight.shape}")
    single, rows = input.ndim == 1, input.reshape(1, -1) if input.ndim == 1 else input
    index = target.reshape(-1, 1)
    own = rows.gather(1, index)
    margins = (margin - own + rows).clamp(min=0)
    margins = margins * margins if p == 2 else margins
    if weight is not None:
        margins = margins * weight[target.reshape(-1)].unsqueeze(1)
    classes = array_module(rows.array).arange(rows.shape[1])
    others = Tensor((classes != index.array).astype(rows.dtype))
    losses = mean(margins * others, 1)
    return reduced(squeeze(losses, 0) if single else losses, reduction)


@register
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """sum over targets t and other classes k of max(1 - x_t + x_k, 0) / K for scores x (N, K) or (K).

    target: of the same shape, each row the numbers of its classes, ended by a -1 if there are fewer than K.
    """
    reduction = old_reduction(size_average, reduce, reduction)
    if target.shape != input.shape or input.ndim not in (1, 2):
        raise RuntimeError(f"inconsistent target size: {target.shape} for input of size: {input.shape}")
    single, rows = input.ndim == 1, input.reshape(-1, input.shape[-1])
    xp, named = array_module(rows.array), target.array.reshape(rows.shape)
    if named.size and (named.min() < -1 or named.max() >= rows.shape[1]):
        raise RuntimeError(f"multilabel_margin_loss: target is out of range for {rows.shape[1]} classes")
    counts = (named < 0).cumsum(1) == 0  # what stands before the first -1
    classes = xp.arange(rows.shape[1])
    is_target = ((named[:, :, None] == classes) & counts[:, :, None]).any(1)
    own = rows.gather(1, Tensor(xp.where(counts, named, 0)))
    margins = (1 - own.unsqueeze(2) + rows.unsqueeze(1)).clamp(min=0)
    counted = counts[:, :, None] & ~is_target[:, None, :]
    losses = sum(margins * Tensor(counted.astype(rows.dtype)), (1, 2)) / rows.shape[1]
    return reduced(squeeze(losses, 0) if single else losses, reduction)


@register
def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None
    = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over classes (last axis) of `binary_cross_entropy_with_logits`, times weight (K)."""
    reduction = old_reduction(size_average, reduce, reduction)
    losses = binary_cross_entropy_with_logits(input, target.to(input.dtype), reduction="none")
    return reduced(mean(losses if weight is None else losses * weight, -1), reduction)


@register
def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Tensor:
    """a (1 - p)^gamma (-ln p), p the probability given to the truth, a = alpha for positives and 1 - alpha for others.

    inputs are logits, targets 0 or 1 of the same shape; alpha -1: no a. Lin et al. 2017, "Focal loss for dense object
    detection"; name, arguments and defaults are torchvision.ops.sigmoid_focal_loss's.
    """
    if not (0 <= alpha <= 1) and alpha != -1:
        raise ValueError(f"Invalid alpha value: {alpha}. alpha must be in the range [0,1] or -1 for ignore.")
    p = OPERATIONS["sigmoid"](inputs)
    missed = 1 - (p * targets + (1 - p) * (1 - targets))
    losses = binary_cross_entropy_with_logits(inputs, targets, reduction="none") * missed**gamma
    if alpha >= 0:
        losses = (alpha * targets + (1 - alpha) * (1 - targets)) * losses
    return reduced(losses, reduction)


@register
def dice_loss(input: Tensor, target: Tensor, smooth: float = 1.0, eps: float = 1e-7, reduction: str = "mean") -> Tensor:
    """1 - (2 sum p t + smooth) / max(sum p + sum t + smooth, eps), sums over all axes but the first two.

    input: probabilities (N, C, ...), target: 0 or 1, of the same shape. One loss for each picture and class. Ours: not
    in PyTorch. Milletari et al. 2016, "V-Net", with sums in place of squares. ValueError for other shapes.
    """
    if input.shape != target.shape or input.ndim < 3:
        raise ValueError(f"dice_loss: input {input.shape} and target {target.shape} should both be (N, C, ...)")
    axes = tuple(range(2, input.ndim))
    target = target.to(input.dtype)
    overlap, size = sum(input * target, axes), sum(input, axes) + sum(target, axes)
    return reduced(1 - (2 * overlap + smooth) / (size + smooth).clamp(min=eps), reduction)
