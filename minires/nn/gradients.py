"""Gradients and parameters of a whole model at once: torch.nn.utils's clipping, norms and vectors."""

import math
import types
import warnings
from collections.abc import Iterable
from typing import Any

from minires.autograd import no_grad
from minires.backend import on_device_of
from minires.ops import cat, stack
from minires.ops.moments import norm
from minires.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


@no_grad()
def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all elements of all tensors together: the norm of their norms. 0 for no tensors.

    error_if_nonfinite: RuntimeError for NaN and infinity. foreach chooses among PyTorch's implementations only.
    """
    listed, norm_type = _listed(tensors), float(norm_type)
    if not listed:
        return Tensor(0.0).to("float32")
    total = norm(stack([norm(tensor, norm_type) for tensor in listed]), norm_type)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it "
                           "cannot be clipped. To disable this error and scale the gradients by the non-finite norm "
                           "anyway, set `error_if_nonfinite=False`")  # fmt: skip
    return total


def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiply the gradients by min(1, max_norm / (total_norm + 1e-6)), in place."""
    factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    for gradient in _gradients(_listed(parameters)):
        gradient.mul_(factor.to(gradient.dtype))


def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scale the gradients, in place, so that their norm all together is at most max_norm; returns the norm before.

    Parameters without a gradient do not count. Pascanu et al. 2013. Warns for an empty generator, which has probably
    been used up elsewhere.
    """
    listed = _listed(parameters)
    if isinstance(parameters, types.GeneratorType) and not listed:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    total = get_total_norm(_gradients(listed), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(listed, max_norm, total, foreach)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Bring every element of the gradients into [-clip_value, clip_value], in place."""
    for gradient in _gradients(_listed(parameters)):
        gradient.clamp_(-float(clip_value), float(clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, each read in the order of its axes, one behind the other in a vector; gradients flow back."""
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the values of a vector, in the order of `parameters_to_vector`, keeping their memory order.

    TypeError for what is no Tensor, RuntimeError for a vector that is too short; what it has too many is left, as in
    PyTorch. The parameters get copies (PyTorch: parts of the vector's memory).
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected a Tensor, but got: {type(vec).__name__}")
    start = 0
    for number, parameter in enumerate(parameters):
        values: Any = vec.array[start : start + parameter.numel()]
        if values.size != parameter.numel():
            raise RuntimeError(f"the vector of {vec.numel()} elements is too short: parameter {number} of shape "
                               f"{parameter.shape} would begin at {start}")  # fmt: skip
        with on_device_of(parameter.array):
            parameter.array[...] = values.reshape(parameter.shape)
        parameter.bump_version()
        start += parameter.numel()
