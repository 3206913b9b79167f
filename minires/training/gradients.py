"""The norm of all gradients together: the measure of whether a step is sane, and the handle to shorten it."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minires.backend import Array, array_module, on_device_of
from minires.kernels.cuda.adapters import optim as on_gpu
from minires.optim.optimizer import multiply_gradients


def gradient_norm(parameters: Iterable[Any]) -> float:
    """sqrt(sum of g^2) over all elements of all gradients; parameters without one do not count.

    The squares of a parameter are summed in its own type, and once more in float64 if that overflows: so the norm is
    not finite only if a gradient is not. On a GPU those of all parameters are summed together.
    """
    groups, rest = on_gpu.together(p.grad.array for p in parameters if p.grad is not None)
    return math.sqrt(sum(map(_sum_together, groups)) + sum(map(_sum_of_squares, rest)))


def _sum_together(arrays: list[Array]) -> float:
    with on_device_of(arrays[0]):
        norm = float(on_gpu.measured(arrays)[0])
    return norm**2 if math.isfinite(norm) else sum(map(_sum_of_squares, arrays))


def _sum_of_squares(array: Array) -> float:
    flat = array.ravel(order="K")
    xp = array_module(flat)
    with on_device_of(array), np.errstate(over="ignore", invalid="ignore"):
        total = float(xp.dot(flat, flat))
        if math.isfinite(total) and array.dtype.itemsize >= 4:
            return total
        wide = flat.astype("float64")
        return float(xp.dot(wide, wide))


def clip_gradients(parameters: Iterable[Any], largest: float, norm: float) -> None:
    """Shorten the gradients, as one long vector of the norm `norm`, to `largest` if they are longer.

    As torch.nn.utils.clip_grad_norm_: g becomes g * min(1, largest / (norm + 1e-6)).
    """
    multiply_gradients((p for p in parameters if p.grad is not None), clip_factor(largest, norm))


def clip_factor(largest: float, norm: float) -> float:
    """By what `clip_gradients` multiplies: at most 1."""
    return min(1.0, largest / (norm + 1e-6))
