"""Embedding: a table of vectors, looked up by number."""

from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.tensor import Tensor, register


class Embedding(Function):
    """y[...] = weight[index[...]];  dweight[k] = the sum of dy over all places with index k, none for padding_idx.

    scale_grad_by_freq: over the number of those places.
    """

    @staticmethod
    def forward(ctx: Node, weight: Array, index: Array, padding_idx: int | None, by_frequency: bool) -> Array:
        ctx.shape, ctx.settings = weight.shape, (padding_idx, by_frequency)
        ctx.save_for_backward(index)
        return weight[index]

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (index,) = ctx.saved_arrays
        padding_idx, by_frequency = ctx.settings
        xp = array_module(grad)
        rows, gradients = index.reshape(-1), grad.reshape(index.size, ctx.shape[1])
        if padding_idx is not None:
            gradients = xp.where((rows == padding_idx)[:, None], 0, gradients).astype(grad.dtype, copy=False)
        dweight = xp.zeros(ctx.shape, grad.dtype)
        xp.add.at(dweight, rows, gradients)
        if by_frequency:
            dweight /= xp.maximum(xp.bincount(rows, minlength=ctx.shape[0]), 1)[:, None].astype(grad.dtype)
        return dweight, None, None, None


@register
def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """The rows of weight (K, D) that the numbers `input` name: (..., D).

    padding_idx: a row without gradient. max_norm: rows that are used and longer (in the norm_type-norm) are first made
    that long, in place. scale_grad_by_freq: each row's gradient is a mean over its uses, not a sum. sparse=True is not
    supported (NotImplementedError). IndexError for a number that is no row.
    """
    if sparse:
        raise NotImplementedError("embedding: sparse=True is not supported")
    if input.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: expected the indices to be integers, got {input.dtype}")
    if weight.ndim != 2:
        raise RuntimeError(f"'weight' must be 2-D, got shape {weight.shape}")
    count = weight.shape[0]
    if input.numel() and not 0 <= int(input.array.min()) <= int(input.array.max()) < count:
        raise IndexError(f"index out of range: embedding has {count} rows, the indices go from "
                         f"{int(input.array.min())} to {int(input.array.max())}")  # fmt: skip
    if padding_idx is not None:
        if not -count <= padding_idx < count:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= count
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    return Embedding.apply(weight, input.array, padding_idx, scale_grad_by_freq)


def _shorten(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Rows in use that are longer than max_norm are scaled to it (over norm + 1e-7, as PyTorch does)."""
    xp = array_module(weight.array)
    for row in xp.unique(input.array).tolist():
        length = float(xp.linalg.norm(weight.array[row], norm_type))
        if length > max_norm:
            weight.array[row] *= max_norm / (length + 1e-7)
    weight.bump_version()
