"""Layers that normalise each sample by itself: LayerNorm, RMSNorm, InstanceNorm, LocalResponseNorm; and BatchNorm3d."""

from typing import Any

from minires.nn import functional as F
from minires.nn import init
from minires.nn.allocate import empty
from minires.nn.module import Module
from minires.nn.norm import _BatchNorm
from minires.nn.parameter import Parameter
from minires.tensor import Tensor


class LayerNorm(Module):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias over the last axes, of lengths normalized_shape.

    elementwise_affine: whether there are weight and bias, of that shape. Ba et al. 2016.
    """

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            made = Parameter(empty(self.normalized_shape, device, dtype)) if wanted else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")  # fmt: skip


def _shape(normalized_shape: Any) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


class RMSNorm(Module):
    """y = x / sqrt(mean(x^2) + eps) * weight over the last axes, of lengths normalized_shape. Zhang and Sennrich 2019.

    eps: None is the type's smallest step from 1. elementwise_affine: whether there is a weight, of that shape.
    """

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        made = Parameter(empty(self.normalized_shape, device, dtype)) if elementwise_affine else None
        self.register_parameter("weight", made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """y = x / (k + alpha mean(x^2 over `size` neighbouring channels))^beta. Krizhevsky et al. 2012, section 3.3."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class _InstanceNorm(_BatchNorm):
    """Each channel of each picture normalised by itself. Ulyanov et al. 2016. A single picture without N may be given.

    affine: whether there are weight and bias (no, by default). track_running_stats: whether there are running
    statistics, which are used in evaluation (no, by default).
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input(input)
        single = input.dim() == min(self.axes)
        channels = input.shape[0 if single else 1]
        if channels != self.num_features and self.affine:
            raise ValueError(f"expected input's size at dim={0 if single else 1} to match num_features "
                             f"({self.num_features}), but got: {channels}.")  # fmt: skip
        momentum = 0.0 if self.momentum is None else self.momentum
        y = F.instance_norm(input.unsqueeze(0) if single else input, self.running_mean, self.running_var, self.weight,
                            self.bias, self.uses_batch_statistics(), momentum, self.eps)  # fmt: skip
        return y.squeeze(0) if single else y

    def forward_fused(self, input: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
        raise NotImplementedError("there is no fused form of instance norm")


class InstanceNorm1d(_InstanceNorm):
    """Instance norm of rows (N, C, L) or (C, L)."""

    axes = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance norm of pictures (N, C, H, W) or (C, H, W)."""

    axes = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance norm of volumes (N, C, D, H, W) or (C, D, H, W)."""

    axes = (4, 5)


class BatchNorm3d(_BatchNorm):
    """Batch norm of volumes (N, C, D, H, W)."""

    axes = (5,)
