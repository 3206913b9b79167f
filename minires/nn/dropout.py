"""Dropout (Srivastava et al. 2014)."""

from minires import ops
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
