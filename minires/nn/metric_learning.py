"""Layers and losses for embeddings, which tell pictures apart by distance. Formulas: ops/loss_of_angles.py.

    head = nn.Sequential(nn.Linear(512, 128), nn.L2Normalize(), nn.CosineLinear(128, classes, scale=30.0))
    loss = nn.ArcFaceLoss(scale=30.0)(head(features), labels)

What comes out of the L2Normalize are the embeddings: vectors of length 1.
"""

from typing import Any

from minires.nn import functional as F
from minires.nn import init
from minires.nn.linear import Linear
from minires.nn.loss import _Loss
from minires.nn.module import Module
from minires.tensor import Tensor


class L2Normalize(Module):
    """x / |x| along the last axis: vectors (..., D) of length 1."""

    def forward(self, input: Tensor) -> Tensor:
        return F.normalize(input, dim=-1)


class CosineLinear(Linear):
    """scale * cos(angle of x and w_k): x (..., in_features), w_k the rows of the weight (out_features, in_features).

    One direction for each class: the scores are those of a softmax whose inputs and weights have the length 1. Whatever
    the scale of x is, it has no say. The weight starts by Xavier's rule; there is no bias.
    """

    def __init__(
        self, in_features: int, out_features: int, scale: float = 1.0, device: Any = None, dtype: Any = None
    ) -> None:
        self.scale = float(scale)
        super().__init__(in_features, out_features, False, device, dtype)

    def reset_parameters(self) -> None:
        """Draw new weights."""
        init.xavier_uniform_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(F.normalize(input, dim=-1), F.normalize(self.weight, dim=-1)) * self.scale

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, scale={self.scale:g}"


class ArcFaceLoss(_Loss):
    """Cross entropy with the angle to one's own class made larger by `margin`; takes scores of CosineLinear(scale)."""

    def __init__(self, margin: float = 0.5, scale: float = 64.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin, self.scale = margin, scale

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.arcface_loss(input, target, margin=self.margin, scale=self.scale, reduction=self.reduction)


class CosFaceLoss(_Loss):
    """Cross entropy with the cosine to one's own class made smaller by `margin`; arguments as ArcFaceLoss."""

    def __init__(self, margin: float = 0.35, scale: float = 64.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin, self.scale = margin, scale

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cosface_loss(input, target, margin=self.margin, scale=self.scale, reduction=self.reduction)


class BatchHardTripletLoss(_Loss):
    """The triplet loss of each embedding's hardest positive and negative in the batch; margin None is a soft one."""

    def __init__(self, margin: float | None = 0.2, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.batch_hard_triplet_loss(input, target, margin=self.margin, reduction=self.reduction)
