"""Group normalisation. Wu and He 2018, "Group normalization"."""

from minires import kernels
from minires.autograd import Function, Node, is_casting
from minires.backend import Array
from minires.tensor import Tensor, register


class GroupNorm(Function):
    """y = weight (x - mean) / sqrt(var + eps) + bias; mean and variance over a group of channels of one picture.

    With n = (x - mean) / sqrt(var + eps), g = weight dy and m values a group of one picture:
    dx = (g - sum g / m - n sum(g n) / m) / sqrt(var + eps), dweight = sum dy n, dbias = sum dy.
    Nothing depends on the other pictures of a batch: training and inference are the same.
    """

    @staticmethod
    def forward(ctx: Node, x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float) -> Array:
        y, mean, inverse_std = kernels.group_norm_forward(x, weight, bias, groups, eps)
        ctx.save_for_backward(x, weight, mean, inverse_std)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_arrays
        gradients = kernels.group_norm_backward(grad, x, weight, mean, inverse_std)
        needs = ctx.needs_input_grad[:3]
        return *(array if needed else None for array, needed in zip(gradients, needs, strict=True)), None, None


@register
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each of `num_groups` groups of channels of each picture (N, C, ...), then scale and shift channels.

    RuntimeError where the groups do not divide the channels, and for wrong shapes and types of weight and bias;
    ValueError for one picture with one value a group.
    """
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    channels = input.shape[1]
    if num_groups < 1 or channels % num_groups != 0:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, "
                           f"but got input of shape {list(input.shape)} and num_groups={num_groups}")  # fmt: skip
    if input.numel() == num_groups:  # one picture, one value a group: y would be the bias, whatever x is
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}")
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {vector.numel()}")
        if vector is not None and vector.dtype != input.dtype and not is_casting():
            raise RuntimeError(f"group norm: the input is {input.dtype}, {name} is {vector.dtype}")
    return GroupNorm.apply(input, weight, bias, num_groups, eps)
