"""Mean and variance that a convolution on a GPU has taken of its results, kept for the batch norm behind it.

They cost nearly nothing there and a pass over the images here. A convolution without a bias is one that a batch norm
follows, in any model that knows what it does; where none does, or one with fixed statistics, they are not used.
"""

from typing import NamedTuple

from minires.autograd import Version, is_grad_enabled
from minires.backend import Array, device_of, float16, float32, is_bfloat16
from minires.tensor import Tensor


class Moments(NamedTuple):
    """What was true of one array when its memory had been changed `value` times in place."""

    array: Array
    version: Version
    value: int
    mean: Array
    variance: Array


def are_wanted(x: Tensor, bias: Tensor | None) -> bool:
    """Whether a convolution of x with this bias should take them."""
    return (
        bias is None
        and is_grad_enabled()
        and (x.dtype in (float16, float32) or is_bfloat16(x.dtype))
        and device_of(x.array).type == "cuda"
    )


def noted(y: Tensor, found: list[Array]) -> Tensor:
    """y, which knows its mean and variance (`found`) from now on."""
    y.moments = Moments(y.array, y.version, y.version.value, *found)
    return y


def moments_of(x: Tensor) -> list[Array] | None:
    """[mean, variance] of x where they are known; None where they are not, or x was changed since."""
    known = x.moments
    if (
        known is None
        or known.array is not x.array
        or x.version is not known.version
        or known.value != known.version.value
    ):
        return None
    return [known.mean, known.variance]
