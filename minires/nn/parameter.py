"""Parameter: a tensor that a module learns."""

from typing import Any

import numpy as np

from minires.backend import Array
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

    def __reduce__(self) -> Any:
        """For pickle, which would write a channels-last array in another memory order."""
        if self.node is not None:
            return super().__reduce__()
        order = sorted(range(self.ndim), key=lambda axis: -self.array.strides[axis])
        return _rebuild, (type(self), self.array.transpose(order), np.argsort(order).tolist(), self.requires_grad)


def _rebuild(kind: type[Parameter], array: Array, axes: list[int], requires_grad: bool) -> Parameter:
    return kind(array.transpose(axes), requires_grad)


class Buffer(Tensor):
    """A Tensor that registers itself as a buffer when it is assigned to an attribute of a Module.

    persistent: whether the state dict holds it (as in `Module.register_buffer`).
    """

    def __init__(self, data: Any, *, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent
