"""Dropout (Srivastava et al. 2014): of elements, of channels, of samples."""

from minires import ops
from minires.nn import functional as F
from minires.nn.module import Module
from minires.tensor import Tensor


class Dropout(Module):
    """In training each element is 0 with probability p and divided by 1 - p otherwise; in evaluation y = x.

    Draws come from `minires.random.generator()`. `inplace` is accepted and shown; the input is never overwritten.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return ops.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """In training whole channels of rows (N, C, L) are 0 with probability p, the others divided by 1 - p."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training)


class Dropout2d(Dropout):
    """In training whole channels of pictures (N, C, H, W) are 0 with probability p, the others divided by 1 - p."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training)


class Dropout3d(Dropout):
    """In training whole channels of volumes (N, C, D, H, W) are 0 with probability p, the others divided by 1 - p."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout3d(input, self.p, self.training)


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1, for networks with SELU. Klambauer et al. 2017."""

    def forward(self, input: Tensor) -> Tensor:
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout of whole channels."""

    def forward(self, input: Tensor) -> Tensor:
        return F.feature_alpha_dropout(input, self.p, self.training)


class StochasticDepth(Module):
    """In training the whole input (mode "batch") or whole samples ("row") are 0 with probability p, else over 1 - p.

    Huang et al. 2016. Name and arguments are torchvision.ops.StochasticDepth's.
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, input: Tensor) -> Tensor:
        return F.stochastic_depth(input, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"
