"""Batch normalisation (Ioffe and Szegedy 2015), and the switch that freezes its statistics.

    y = (x - mean) / sqrt(variance + eps) * weight + bias        for each channel

In training mean and variance come from the batch, and the running statistics move towards them:
running = (1 - momentum) * running + momentum * batch. In evaluation the running statistics are used.

A batch norm that is fine-tuned on a few pictures is often wanted "frozen". Setting `requires_grad` to False does not do
that (the statistics move all the same), and `eval()` is undone by the next `model.train()`. So there is a switch of its
own, `freeze_statistics()`: frozen statistics are used, and kept bit for bit, in train() too. Whether weight and bias
are learnt remains the business of `requires_grad`.
"""

from typing import Any, Self

import numpy as np

from minires import ops
from minires.nn import init
from minires.nn.allocate import empty
from minires.nn.module import Module
from minires.nn.parameter import Parameter
from minires.tensor import Tensor


class _BatchNorm(Module):
    """x has at least two axes, channels on axis 1; all else of shape (num_features,).

    momentum: weight of the newest batch; None gives all batches the same weight (a cumulative average).
    affine: whether there are weight and bias. track_running_stats: whether there are running statistics; without them
    the batch's own are used in evaluation, too.
    """

    optional_state = ("num_batches_tracked",)  # files from before PyTorch 0.4.1 do not have it
    axes: tuple[int, ...] = ()

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats, self.statistics_frozen = affine, track_running_stats, False

        def numbers() -> Any:
            return empty((num_features,), device, dtype)

        self.register_parameter("weight", Parameter(numbers()) if affine else None)
        self.register_parameter("bias", Parameter(numbers()) if affine and bias else None)
        count = Tensor(empty((), device, np.int64))
        self.register_buffer("running_mean", Tensor(numbers()) if track_running_stats else None)
        self.register_buffer("running_var", Tensor(numbers()) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", count if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batch seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, statistics as new."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def freeze_statistics(self, frozen: bool = True) -> Self:
        """Use and keep the running statistics in train() too (ours, not in PyTorch). RuntimeError if there are none."""
        if frozen and not self.track_running_stats:
            raise RuntimeError("freeze_statistics: this batch norm was made with track_running_stats=False")
        self.statistics_frozen = frozen
        return self

    def forward(self, input: Tensor) -> Tensor:
        self._check_input(input)
        return ops.batch_norm(input, *self._statistics(), **self._settings())

    def forward_fused(self, input: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
        """relu(forward(input) + residual) as one operation; without the residual if None, without relu if False."""
        self._check_input(input)
        return ops.batch_norm_act(input, *self._statistics(), **self._settings(), residual=residual, relu=relu)

    def forward_convolved(self, conv: Any, input: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
        """relu(forward(conv(input)) + residual) as one operation, for a 1x1 convolution and the batch's statistics."""
        settings = self._settings()
        del settings["training"]
        return ops.conv1x1_norm_act(
            input, conv.weight, conv.stride, *self._statistics(), **settings, residual=residual, relu=relu
        )

    def _check_input(self, input: Tensor) -> None:
        if input.dim() not in self.axes:
            raise ValueError(f"expected {' or '.join(f'{n}D' for n in self.axes)} input (got {input.dim()}D input)")

    def uses_batch_statistics(self) -> bool:
        """Whether a call now would take the batch's statistics rather than the running ones."""
        if not self.track_running_stats:
            return True
        return self.training and not self.statistics_frozen

    def _statistics(self) -> tuple[Tensor | None, Tensor | None]:
        return self.running_mean, self.running_var

    def _settings(self) -> dict[str, Any]:
        """What the operation needs to know; counts the batch."""
        training, momentum = self.uses_batch_statistics(), self.momentum
        if training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1.0 / self.num_batches_tracked.item()
        return {"weight": self.weight, "bias": self.bias, "training": training,
                "momentum": 0.0 if momentum is None else momentum, "eps": self.eps}  # fmt: skip

    def extra_repr(self) -> str:
        text = (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )
        return text + ", statistics_frozen=True" if self.statistics_frozen else text


class BatchNorm1d(_BatchNorm):
    """Batch norm of (N, C) or (N, C, L)."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm of images (N, C, H, W)."""

    axes = (4,)
