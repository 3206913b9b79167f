"""Attention: each query reads a mean of the values, weighed by how well its key fits. Vaswani et al. 2017.

S = scale Q K^T + bias,  P = softmax(S),  Y = (P m) V  with Q (..., L, E), K (..., S, E), V (..., S, F), and m the
dropout's mask, 0 or 1 / (1 - p). Backward, D = dY V^T m being the gradient of P:
dV = (P m)^T dY,  dS = P (D - sum_s D P),  dQ = scale dS K,  dK = scale dS^T Q,  dbias = dS.
"""

import math
from typing import Any

from minires import kernels
from minires.autograd import Function, Node
from minires.backend import Array, array_module, device_of, is_floating, move
from minires.ops.broadcast import common_shape, sum_to_shape
from minires.ops.rearrange import repeat_interleave
from minires.ops.shape import expand
from minires.random import generator
from minires.tensor import Tensor, register


class Attention(Function):
    """See the head of this file. A query whose every bias is -inf reads zeros, and gives no gradient."""

    @staticmethod
    def forward(
        ctx: Node, q: Array, k: Array, v: Array, bias: Array | None, scale: float, mask: Array | None
    ) -> Array:  # fmt: skip
        scores = kernels.matmul(q, k.swapaxes(-1, -2)) * q.dtype.type(scale)
        if bias is not None:
            scores = scores + bias
        weights = _softmax_or_zeros(scores)
        ctx.scale, ctx.mask, ctx.bias_shape = scale, mask, None if bias is None else bias.shape
        ctx.save_for_backward(q, k, v, weights)
        return kernels.matmul(weights if mask is None else weights * mask, v)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        q, k, v, weights = ctx.saved_arrays
        kept = weights if ctx.mask is None else weights * ctx.mask
        towards = kernels.matmul(grad, v.swapaxes(-1, -2))
        towards = towards if ctx.mask is None else towards * ctx.mask
        scores = weights * (towards - (towards * weights).sum(axis=-1, keepdims=True))
        scaled = scores * scores.dtype.type(ctx.scale)
        needs = ctx.needs_input_grad
        return (
            kernels.matmul(scaled, k) if needs[0] else None,
            kernels.matmul(scaled.swapaxes(-1, -2), q) if needs[1] else None,
            kernels.matmul(kept.swapaxes(-1, -2), grad) if needs[2] else None,
            sum_to_shape(scores, ctx.bias_shape) if needs[3] else None,
            None,
            None,
        )


def _softmax_or_zeros(scores: Array) -> Array:
    """Softmax along the last axis; a row of nothing but -inf becomes zeros, not NaN."""
    xp = array_module(scores)
    if not scores.size:
        return scores
    blind = scores.max(axis=-1, keepdims=True) == -xp.inf
    if not blind.any():
        return kernels.softmax(scores, scores.ndim - 1)
    zero = xp.zeros((), scores.dtype)
    return xp.where(blind, zero, kernels.softmax(xp.where(blind, zero, scores), scores.ndim - 1))


# ------------------------------------------------------------------------------------------- the functions users call


@register
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query key^T scale + attn_mask) value: query (..., L, E), key (..., S, E), value (..., S, F), (..., L, F).

    attn_mask: numbers that are added, or booleans that say who may be seen; broadcast to (..., L, S). is_causal: query
    i sees keys 0 to i only. dropout_p: applied always, as in PyTorch. scale: 1 / sqrt(E) for None. enable_gqa: the
    heads (axis -3) of key and value are repeated to those of the query. RuntimeError for a mask with is_causal.
    """
    _check(query, key, value)
    if attn_mask is not None and is_causal:
        raise RuntimeError("scaled_dot_product_attention: attn_mask must not be set when is_causal=True")
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = repeat_interleave(key, times, -3), repeat_interleave(value, times, -3)
    batch = common_shape(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    query, key, value = (expand(tensor, *batch, *tensor.shape[-2:]) for tensor in (query, key, value))
    shape = (*batch, query.shape[-2], key.shape[-2])
    bias = _bias(query, attn_mask, is_causal, shape)
    scale = (1 / math.sqrt(query.shape[-1]) if query.shape[-1] else float("nan")) if scale is None else scale
    return Attention.apply(query, key, value, bias, scale, _dropout_mask(query, dropout_p, shape))


def _check(query: Tensor, key: Tensor, value: Tensor) -> None:
    tensors = {"query": query, "key": key, "value": value}
    if any(tensor.ndim < 2 for tensor in tensors.values()) or len({tensor.dtype for tensor in tensors.values()}) > 1:
        described = ", ".join(f"{name} {tensor.dtype} {tensor.shape}" for name, tensor in tensors.items())
        raise RuntimeError("scaled_dot_product_attention: query, key and value must have one type and at least two "
                           f"axes, got {described}")  # fmt: skip
    if not is_floating(query.dtype):
        raise RuntimeError(f"scaled_dot_product_attention: the input must hold real numbers, got {query.dtype}")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(f"scaled_dot_product_attention: query {query.shape}, key {key.shape} and value "
                           f"{value.shape} do not fit")  # fmt: skip


def _bias(query: Tensor, mask: Any, is_causal: bool, shape: tuple[int, ...]) -> Tensor | None:
    """What is added to the scores: the mask, with 0 for True and -inf for False; or that of a triangle."""
    xp = array_module(query.array)
    if is_causal:
        seen = xp.tril(xp.ones(shape[-2:], bool))
    elif mask is None:
        return None
    elif mask.dtype.kind == "b":
        seen = mask.array
    elif mask.dtype == query.dtype:
        if common_shape(mask.shape, shape) != shape:
            raise RuntimeError(f"scaled_dot_product_attention: the mask {mask.shape} does not fit scores {shape}")
        return mask
    else:
        raise RuntimeError(f"scaled_dot_product_attention: expected a mask of booleans or {query.dtype}, "
                           f"got {mask.dtype}")  # fmt: skip
    if common_shape(seen.shape, shape) != shape:
        raise RuntimeError(f"scaled_dot_product_attention: the mask {seen.shape} does not fit scores {shape}")
    return Tensor(xp.where(seen, 0.0, -xp.inf).astype(query.dtype))


def _dropout_mask(query: Tensor, p: float, shape: tuple[int, ...]) -> Array | None:
    """0 with probability p, else 1 / (1 - p)."""
    if p == 0:
        return None
    kept = generator().random(shape) >= p
    return move(kept.astype(query.dtype) / query.dtype.type(max(1 - p, 1e-30)), device_of(query.array))
