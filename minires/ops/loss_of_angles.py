"""Losses that shape a space of embeddings: pictures of one class near each other, of different classes apart.

    ArcFace     the angle to one's own class is made larger by m before the softmax (Deng et al. 2019, eq. 3)
    CosFace     its cosine is made smaller by m (Wang et al. 2018, eq. 4)
    triplets    the farthest picture of one's own class nearer than the nearest of any other, by a margin
                (Hermans, Beyer and Leibe 2017, eq. 5: "batch hard")

Ours: PyTorch has none of them. Each is made of other operations, which have the derivatives.
"""

import math

from minires.backend import Array, array_module
from minires.ops.loss import cross_entropy, reduced
from minires.ops.loss_of_embeddings import pairwise_distance
from minires.tensor import OPERATIONS, Tensor, register

NEARLY_ONE = 1 - 1e-6  # cosines are kept off 1 and -1, where the angle has no derivative


@register
def arcface_loss(
    input: Tensor, target: Tensor, margin: float = 0.5, scale: float = 64.0, reduction: str = "mean"
) -> Tensor:
    """Cross entropy of scores s cos(a_k), with s cos(a_t + m) for the target's class t.

    input: s cos(a_k) (N, K), a_k the angle between embedding and class, as nn.CosineLinear(..., scale=s) makes them;
    target: class numbers (N,). scale: s. margin: m, in radians. Where a_t + m would be above pi and its cosine rise
    again, s (cos a_t - m sin m) stands, as in the authors' code. ValueError for senseless numbers.
    """
    _check(input, margin, scale)
    if not margin < math.pi:
        raise ValueError(f"margin is an angle below pi, got {margin}")
    own = (input.gather(1, target.reshape(-1, 1)) / scale).clamp(-NEARLY_ONE, NEARLY_ONE)
    moved = own * math.cos(margin) - (1 - own * own).sqrt() * math.sin(margin)  # cos(a + m)
    far = own.detach() <= math.cos(math.pi - margin)
    moved = OPERATIONS["where"](far, own - margin * math.sin(margin), moved)
    return _with_own(input, target, moved * scale, reduction)


@register
def cosface_loss(
    input: Tensor, target: Tensor, margin: float = 0.35, scale: float = 64.0, reduction: str = "mean"
) -> Tensor:
    """Cross entropy of scores s cos(a_k), with s (cos(a_t) - m) for the target's class t. Arguments as arcface_loss."""
    _check(input, margin, scale)
    return _with_own(input, target, input.gather(1, target.reshape(-1, 1)) - margin * scale, reduction)


def _check(input: Tensor, margin: float, scale: float) -> None:
    if input.ndim != 2:
        raise ValueError(f"scores of the shape (N, K) are needed, got {input.shape}")
    if not margin >= 0 or not 0 < scale < math.inf:
        raise ValueError(f"margin must be at least 0 and scale above 0, got {margin} and {scale}")


def _with_own(input: Tensor, target: Tensor, own: Tensor, reduction: str) -> Tensor:
    """Cross entropy with `own` (N, 1) in the place of the scores of the targets' classes."""
    classes = array_module(input.array).arange(input.shape[1])
    chosen = Tensor(classes == target.array.reshape(-1, 1))
    return cross_entropy(OPERATIONS["where"](chosen, own, input), target, reduction=reduction)


def hardest(embeddings: Array, labels: Array) -> tuple[Array, Array, Array]:
    """(anchors, positives, negatives): places in the batch, (T,) each, of the hardest triplet of each anchor.

    The positive is the farthest other picture of the anchor's class, the negative the nearest of another class. An
    anchor that has none of one of them gives no triplet.
    """
    xp = array_module(embeddings)
    squares = (embeddings**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * embeddings @ embeddings.T  # squared: the order is the same
    same = labels[:, None] == labels
    positive, negative = same & ~xp.eye(len(labels), dtype=bool), ~same
    farthest = xp.where(positive, distances, -xp.inf).argmax(axis=1)
    nearest = xp.where(negative, distances, xp.inf).argmin(axis=1)
    anchors = xp.flatnonzero(positive.any(axis=1) & negative.any(axis=1))
    return anchors, farthest[anchors], nearest[anchors]


@register
def batch_hard_triplet_loss(
    input: Tensor, target: Tensor, margin: float | None = 0.2, reduction: str = "mean"
) -> Tensor:
    """For each picture: max(d(farthest of its class) - d(nearest of another class) + margin, 0), Euclidean distances.

    input: embeddings (N, D); target: class numbers (N,). margin None: softplus(difference), the paper's soft margin.
    Pictures without another one of their class in the batch, or of another class, are left out ("none": one loss for
    each of the others). ValueError if that leaves nothing, for other shapes, and for a margin that is not above 0.
    """
    if input.ndim != 2 or target.shape != input.shape[:1]:
        raise ValueError(f"embeddings (N, D) and class numbers (N,) are needed, got {input.shape} and {target.shape}")
    if margin is not None and not margin > 0:
        raise ValueError(f"margin must be above 0, or None, got {margin}")
    anchors, positives, negatives = hardest(input.array, target.array)
    if not len(anchors):
        raise ValueError("no triplet in this batch: it needs two classes, and one with two pictures (see "
                         "data.MPerClassSampler)")  # fmt: skip
    near = pairwise_distance(input[anchors], input[positives])
    far = pairwise_distance(input[anchors], input[negatives])
    losses = OPERATIONS["softplus"](near - far) if margin is None else (near - far + margin).clamp(min=0)
    return reduced(losses, reduction)
