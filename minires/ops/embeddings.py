"""Embedding: a table of vectors, looked up by number, alone or in bags."""

from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.tensor import OPERATIONS, Tensor, register


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


@register
def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """Sums, means or largest of the rows of weight (K, D) that each bag of numbers names: (bags, D), 0 for no numbers.

    input: a row for each bag; or a vector, in which offsets (bags,) says where each begins (with include_last_offset
    also where the last one ends). mode: "sum", "mean" or "max". per_sample_weights: factors of the rows, for "sum".
    padding_idx: a number that does not count. The rest as in `embedding`.
    """
    if (offsets is None) != (input.ndim == 2):
        raise ValueError(f"embedding_bag: a matrix takes no offsets, a vector needs them, got input {input.shape}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode has to be one of sum, mean, max, got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights are for mode='sum', not {mode!r}")
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(f"embedding_bag: per_sample_weights {per_sample_weights.shape} for input {input.shape}")
    xp, numbers = array_module(weight.array), input.reshape(-1)
    if offsets is None:
        count, bags = input.shape[0], xp.repeat(xp.arange(input.shape[0]), input.shape[1])
    else:
        starts = offsets.array[:-1] if include_last_offset else offsets.array
        if starts.size and starts[0] != 0:
            raise RuntimeError(f"embedding_bag: offsets[0] has to be 0, got {int(starts[0])}")
        count, bags = len(starts), xp.searchsorted(starts, xp.arange(len(numbers)), side="right") - 1
    rows = embedding(numbers, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse)
    if padding_idx is not None:
        kept = xp.flatnonzero(numbers.array != padding_idx % len(weight))
        rows, bags = rows[Tensor(kept)], bags[kept]
    if per_sample_weights is not None:
        factors = per_sample_weights.reshape(-1)
        rows = rows * (factors if padding_idx is None else factors[Tensor(kept)]).unsqueeze(1)
    nothing, place = Tensor(xp.zeros((count, weight.shape[1]), weight.dtype)), Tensor(bags)
    if mode == "max":
        wide = place.unsqueeze(1).expand(*rows.shape)
        return OPERATIONS["scatter_reduce"](nothing, 0, wide, rows, "amax", include_self=False)
    found = OPERATIONS["index_add"](nothing, 0, place, rows)
    counts = xp.maximum(xp.bincount(bags, minlength=count), 1).astype(weight.dtype)
    return found / Tensor(counts[:, None]) if mode == "mean" else found
