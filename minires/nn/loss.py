"""Losses as modules. `reduction`: "mean" (default), "sum" or "none"."""

from typing import Any

from minires import ops
from minires.nn.module import Module
from minires.ops.loss import old_reduction
from minires.tensor import Tensor


class _Loss(Module):
    """size_average and reduce are PyTorch's older arguments for `reduction`; they give a warning."""

    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> None:
        super().__init__()
        reduction = old_reduction(size_average, reduce, reduction)
        if reduction not in self.reductions:
            raise ValueError(f"{reduction} is not a valid value for reduction: 'mean', 'sum' or 'none'")
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
    """-log softmax(input)[target]; input (N, K) or (N, K, ...), target (N) or (N, ...) of class numbers.

    target may also hold probabilities, of the input's shape; then ignore_index is not allowed to be set.

    weight: (K), one a class; the mean is weighted by it. ignore_index: targets that do not count.
    label_smoothing: this share of the target is spread evenly over all classes (Szegedy et al. 2016, section 7).
    """

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
        reduction: str = "mean", label_smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return ops.cross_entropy(input, target, weight=self.weight, ignore_index=self.ignore_index,
                                 reduction=self.reduction, label_smoothing=self.label_smoothing)  # fmt: skip


class NLLLoss(_Loss):
    """-input[target] for log-probabilities `input` (N, K); weight and ignore_index as in CrossEntropyLoss."""

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return ops.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index,
                            reduction=self.reduction)  # fmt: skip


class MSELoss(_Loss):
    """(input - target)^2, of one shape."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return ops.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|, of one shape."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return ops.l1_loss(input, target, reduction=self.reduction)
