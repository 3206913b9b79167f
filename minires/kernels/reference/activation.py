"""Rectified linear unit: y = max(x, 0)."""

import numpy as np

__all__ = ["relu_backward", "relu_forward"]


def relu_forward(x: np.ndarray) -> np.ndarray:
    """y = max(x, 0), element by element; NaN stays NaN. Any shape.

    Source: Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, 2010.
    """
    return np.maximum(x, np.zeros((), x.dtype))


def relu_backward(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = grad where y > 0, else 0: the slope is 1 on the right of zero and, by convention, 0 at zero.

    grad, y (the output of the forward pass: no negatives, no -0) and dx have one shape. Where y is NaN the gradient
    passes, as in PyTorch.
    """
    return np.where(y <= 0, np.zeros((), grad.dtype), grad)
