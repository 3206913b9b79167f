"""Group normalisation (Wu and He 2018): a norm that looks at one picture at a time.

    y = (x - mean) / sqrt(variance + eps) * weight + bias        mean and variance of a group of channels of one picture

No running statistics, no difference between training and evaluation, and a batch of one picture is as good as a large
one: that is why detectors, whose pictures are large and batches small, use it in place of batch norm.
"""

from typing import Any

from minires import ops
from minires.nn import init
from minires.nn.allocate import empty
from minires.nn.module import Module
from minires.nn.parameter import Parameter
from minires.tensor import Tensor


class GroupNorm(Module):
    """x (N, num_channels, ...) in num_groups groups of neighbouring channels; weight and bias (num_channels,).

    One group is layer normalisation over channels and pixels, as many groups as channels is instance normalisation.
    affine: whether there are weight and bias. ValueError where the groups do not divide the channels.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_groups < 1 or num_channels % num_groups != 0:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, Parameter(empty((num_channels,), device, dtype)) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return ops.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")  # fmt: skip
