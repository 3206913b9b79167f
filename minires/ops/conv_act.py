"""A convolution with what follows it in a residual block, as one operation."""

from typing import Any

from minires import kernels
from minires.autograd import Function, Node, is_casting
from minires.backend import Array
from minires.kernels.shapes import Pair
from minires.ops.window import prepare_convolution
from minires.tensor import Tensor, register


class Conv2dAct(Function):
    """y = relu(conv2d(x, weight, bias) + residual);  with g = dy where the ReLU let it pass: dresidual = g,

    dx, dweight and dbias those of the convolution (see Conv2d) for g in the place of dy.
    """

    @staticmethod
    def forward(
        ctx: Node, x: Array, weight: Array, bias: Array | None, residual: Array | None, relu: bool,
        stride: Pair, padding: Pair, dilation: Pair, groups: int,
    ) -> Array:  # fmt: skip
        ctx.shapes, ctx.geometry = (x.shape, weight.shape), (stride, padding, dilation, groups)
        y = kernels.conv2d_act_forward(x, weight, bias, residual, relu, *ctx.geometry)
        need_x, need_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_weight else None, weight if need_x else None, y if relu else None)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        x, weight, y = ctx.saved_arrays
        need_x, need_weight, need_bias, need_residual = ctx.needs_input_grad[:4]
        x_shape, weight_shape = ctx.shapes
        if y is not None:
            grad = kernels.relu_backward(grad, y)
        dx = kernels.conv2d_input_gradient(grad, weight, x_shape, *ctx.geometry) if need_x else None
        dweight = kernels.conv2d_weight_gradient(grad, x, weight_shape, *ctx.geometry) if need_weight else None
        dbias = kernels.sum_over(grad, (0, 2, 3), False) if need_bias else None
        return dx, dweight, dbias, grad if need_residual else None, None, None, None, None, None


@register
def conv2d_act(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1, residual: Tensor | None = None, relu: bool = True,
) -> Tensor:  # fmt: skip
    """relu(conv2d(input, weight, bias, ...) + residual) as one operation; ours, not in PyTorch.

    input (N, C, H, W); residual of the result's shape and type, or None. Otherwise as conv2d.
    """
    if input.ndim != 4:
        raise RuntimeError(f"expected 4D (batched) input to conv2d_act, got shape {input.shape}")
    input, geometry, size = prepare_convolution(input, weight, bias, stride, padding, dilation, groups)
    shape = (input.shape[0], weight.shape[0], *size)
    if residual is not None and (residual.shape != shape or (residual.dtype != input.dtype and not is_casting())):
        raise RuntimeError(f"the residual is {residual.dtype} {residual.shape}, the result {input.dtype} {shape}")
    return Conv2dAct.apply(input, weight, bias, residual, relu, *geometry)
