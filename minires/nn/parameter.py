"""Parameter: a tensor that a module learns."""

from typing import Any

from minires.tensor import Tensor


class Parameter(Tensor):
    """A Tensor that registers itself when it is assigned to an attribute of a Module.

    data: Tensor or array whose memory it shares. requires_grad: whether it gets a gradient (True by default).
    The results of operations on a Parameter are plain Tensors.
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
