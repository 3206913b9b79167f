"""Operations that pick elements out: indexing in every NumPy way, gather, sorting; and writing into picked places.

The gradient goes to the places that were picked; one that was picked twice gets both gradients, added up.
"""

from typing import Any, NamedTuple

from minires import backend
from minires.autograd import Function, Node
from minires.backend import Array, array_module, int64, is_floating, uint8
from minires.number_types import number_as
from minires.ops.broadcast import sum_to_shape
from minires.ops.dims import axis_of
from minires.ops.memory import axis_order, new_array, own_places
from minires.tensor import Tensor, register


class ValuesAndIndices(NamedTuple):
    """What `max(dim)`, `min(dim)`, `topk` and `sort` return: the values and where they stood along the axis."""

    values: Tensor
    indices: Tensor


Steps = tuple[tuple[Any, ...], ...]  # an index as one or two NumPy indices that are applied one after the other


def _is_basic(part: Any) -> bool:
    """Whether a part of an index (a number, a slice, None, ...) picks every element at most once, as a view."""
    return isinstance(part, int | slice | type(None) | type(...))


def _inner(array: Array, steps: Steps) -> Array:
    """The view of an array to which the last step applies."""
    for step in steps[:-1]:
        array = array[step]
    return array


def _kept(ctx: Node, steps: Steps) -> Steps | None:
    """The index with copies of its arrays, which the user may change before backward runs; None if nobody needs it."""
    if not any(ctx.needs_input_grad):
        return None
    return tuple(tuple(part if _is_basic(part) else part.copy() for part in step) for step in steps)


class GetItem(Function):
    """y = x[index];  dx = 0 but for dx[index] += dy."""

    @staticmethod
    def forward(ctx: Node, x: Array, steps: Steps) -> Array:
        ctx.shape, ctx.order, ctx.steps = x.shape, axis_order(x), _kept(ctx, steps)
        last = steps[-1]
        if all(_is_basic(part) for part in last) and ... not in last:
            last = (*last, ...)  # a view, where NumPy would give a number
        return array_module(x).asarray(_inner(x, steps)[last])

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        dx = new_array(grad, ctx.shape, ctx.order)
        target, last = _inner(dx, ctx.steps), ctx.steps[-1]
        if all(_is_basic(part) for part in last):
            target[last] = grad
        else:
            array_module(grad).add.at(target, last, grad)
        return dx, None


class SetItems(Function):
    """y = x but for y[index] = value;  dx = dy with 0 at the index, dvalue = dy[index].

    A place that is written twice keeps the last value, while both values get its gradient (PyTorch leaves that open).
    """

    @staticmethod
    def forward(ctx: Node, x: Array, value: Array, steps: Steps) -> Array:
        ctx.steps, ctx.shape = _kept(ctx, steps), value.shape
        y = x.copy(order="K")
        while value.ndim and value.shape[0] == 1:  # leading axes of length 1 change nothing, but NumPy may refuse them
            value = value[0]
        _inner(y, steps)[steps[-1]] = value
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        dx = dvalue = None
        if ctx.needs_input_grad[0]:
            dx = grad.copy(order="K")
            _inner(dx, ctx.steps)[ctx.steps[-1]] = 0
        if ctx.needs_input_grad[1]:
            picked = array_module(grad).asarray(_inner(grad, ctx.steps)[ctx.steps[-1]])
            leading = len(ctx.shape) - picked.ndim  # axes of length 1 that the value has too many
            dvalue = sum_to_shape(picked, ctx.shape[max(leading, 0) :]).reshape(ctx.shape)
        return dx, dvalue, None


class CopyValues(Function):
    """y = source, broadcast to x's shape and in x's type;  dx = 0, dsource = dy."""

    @staticmethod
    def forward(ctx: Node, x: Array, source: Array) -> Array:
        ctx.shape = source.shape
        return array_module(x).broadcast_to(source, x.shape).astype(x.dtype)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        return array_module(grad).zeros_like(grad), sum_to_shape(grad, ctx.shape)


class Gather(Function):
    """y[i, j] = x[index[i, j], j] for axis 0, likewise for others;  dx[index[i, j], j] += dy[i, j]."""

    @staticmethod
    def forward(ctx: Node, x: Array, index: Array, axis: int) -> Array:
        ctx.shape, ctx.order, ctx.axis = x.shape, axis_order(x), axis
        ctx.save_for_backward(index)
        return x[_places(index, axis)]

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        (index,) = ctx.saved_arrays
        dx = new_array(grad, ctx.shape, ctx.order)
        array_module(grad).add.at(dx, _places(index, ctx.axis), grad)
        return dx, None, None


def _places(index: Array, axis: int) -> tuple[Array, ...]:
    """The full index of each place: the given one along `axis`, its own along the others."""
    places = own_places(index, index.shape)
    places[axis] = index
    return tuple(places)


# ------------------------------------------------------------------------------------------- the functions users call


@register
def getitem(input: Tensor, index: Any) -> Tensor:
    """input[index] for numbers, slices, None, ..., lists and tensors of integers or booleans; a view where possible.

    IndexError for an index out of range or of another type, ValueError for a slice that goes backwards.
    """
    return GetItem.apply(input, _near(input.array, _steps(index, input.ndim)))


@register
def set_items(input: Tensor, index: Any, value: Any) -> Tensor:
    """A copy of `input` in which the places `index` hold `value`, which is broadcast to them."""
    if isinstance(value, bool | int | float):
        value = number_as(value, input.dtype)
    value = value if isinstance(value, Tensor) else Tensor(array_module(input.array).asarray(value, input.dtype))
    try:
        steps = _near(input.array, _steps(index, input.ndim))
        return SetItems.apply(input, value.to(input.device, input.dtype), steps)
    except ValueError as error:
        raise RuntimeError(f"index assignment: {error}") from error


@register
def copy_values(input: Tensor, source: Any) -> Tensor:
    """`source` in the shape and type of `input`. RuntimeError if it cannot be broadcast."""
    source = source if isinstance(source, Tensor) else Tensor(array_module(input.array).asarray(source))
    try:
        return CopyValues.apply(input, source)
    except ValueError as error:
        raise RuntimeError(f"the shape {source.shape} cannot be broadcast to {input.shape}") from error


@register
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """For each place of `index`, the element of `input` there, but at the given number along the axis `dim`.

    index: int64, as many axes as `input`, no longer than it along the other axes.
    """
    axis = axis_of(dim, input.ndim)
    if not input.ndim and index.ndim <= 1:
        return gather(input[None], dim, index[None] if not index.ndim else index)[0 if not index.ndim else ...]
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"gather(): expected the index to hold integers, got {index.dtype}")
    others = [place for place in range(input.ndim) if place != axis]
    if index.ndim != input.ndim or any(index.shape[place] > input.shape[place] for place in others):
        raise RuntimeError(f"gather(): the index of shape {index.shape} does not fit the input of shape {input.shape}")
    length = input.shape[axis]
    if index.numel() and (index.array.min() < 0 or index.array.max() >= length):
        raise RuntimeError(f"gather(): an index is out of range for axis {axis} with length {length}")
    return Gather.apply(input, index, axis)


@register
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Indices that would sort along `dim`; equal values keep their order, whether `stable` or not. NaN is largest."""
    return Tensor(_sorting(input.array, axis_of(dim, input.ndim), descending))


@register
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesAndIndices:
    """(values, indices) sorted along `dim`; see `argsort`."""
    return _picked(input, axis_of(dim, input.ndim), argsort(input, dim, descending))


@register
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """(values, indices) of the k largest (or smallest) along `dim`, in order, whether `sorted` or not."""
    axis = axis_of(dim, input.ndim)
    length = input.shape[axis] if input.ndim else 1
    if not 0 <= k <= length:
        raise RuntimeError(f"selected index k={k} out of range for an axis with {length} elements")
    order = argsort(input, dim, descending=largest)
    if input.ndim:
        order = order[(slice(None),) * axis + (slice(0, k),)]
    return _picked(input, axis, order)


@register
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """(value, index) of the k-th smallest element along `dim`, k from 1."""
    axis = axis_of(dim, input.ndim)
    length = input.shape[axis] if input.ndim else 1
    if not length:
        raise IndexError(f"kthvalue(): expected reduction dim {dim} to have non-zero size")
    if not 1 <= k <= length:
        raise RuntimeError(f"kthvalue(): selected number k={k} out of range for an axis with {length} elements")
    return _one_of_the_sorted(input, axis, k - 1, keepdim)


@register
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element of all; or (value, index) along `dim`. Of two middle ones the lower; NaN if there is one."""
    if dim is None:
        if not input.numel():
            return Tensor(array_module(input.array).full((), float("nan"), input.dtype))
        return median(input.reshape(-1), 0).values
    axis = axis_of(dim, input.ndim)
    length = input.shape[axis] if input.ndim else 1
    if not length:
        raise IndexError(f"median(): expected reduction dim {dim} to have non-zero size")
    if is_floating(input.dtype) and array_module(input.array).isnan(input.array).any():
        reversed_place = _nan_or_middle(input.array, axis)
        places = array_module(input.array).expand_dims(reversed_place, axis) if input.ndim else reversed_place
        order = argsort(input, axis)
        return taken_from(input, axis, gather(order, axis, Tensor(places)) if input.ndim else order, keepdim)
    return _one_of_the_sorted(input, axis, (length - 1) // 2, keepdim)


def _nan_or_middle(array: Array, axis: int) -> Array:
    """Where the median stands among the sorted: in the middle, or at the first NaN (they are sorted to the end)."""
    length = array.shape[axis] if array.ndim else 1
    nans = array_module(array).isnan(array).sum(axis=axis if array.ndim else None)
    return array_module(array).where(nans > 0, length - nans, (length - 1) // 2)


def _one_of_the_sorted(input: Tensor, axis: int, place: int, keepdim: bool) -> ValuesAndIndices:
    order = argsort(input, axis)
    if input.ndim:
        order = order[(slice(None),) * axis + (slice(place, place + 1),)]
    return taken_from(input, axis, order, keepdim)


def taken_from(input: Tensor, axis: int, indices: Tensor, keepdim: bool) -> ValuesAndIndices:
    """Values and indices at one place along the axis, which goes unless `keepdim`."""
    values, indices = _picked(input, axis, indices)
    if keepdim or not input.ndim:
        return ValuesAndIndices(values, indices)
    first = (slice(None),) * axis + (0,)
    return ValuesAndIndices(values[first], indices[first])


def _sorting(array: Array, axis: int, descending: bool) -> Array:
    xp = array_module(array)
    if not array.ndim:
        return xp.zeros((), int64)
    if not descending:
        return xp.argsort(array, axis=axis, kind="stable")
    backwards = xp.argsort(xp.flip(array, axis), axis=axis, kind="stable")  # so that equal values keep their order
    return array.shape[axis] - 1 - xp.flip(backwards, axis)


def _picked(input: Tensor, axis: int, indices: Tensor) -> ValuesAndIndices:
    return ValuesAndIndices(gather(input, axis, indices) if input.ndim else input.clone(), indices)


def _steps(index: Any, ndim: int) -> Steps:
    """An index of an array with `ndim` axes, with arrays in place of tensors and lists: x[first][second].

    As in PyTorch the numbers come first, and arrays beside each other put their axes where they stand. NumPy takes a
    number beside an array for an array, and arrays with a mere ... between them for separated ones.
    """
    parts = [_as_part(part) for part in (index if isinstance(index, tuple) else (index,))]
    gaps = [place for place, part in enumerate(parts) if part is ...]
    if len(gaps) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if all(_is_basic(part) for part in parts):
        return (tuple(parts),)
    for place in gaps:
        parts[place : place + 1] = [slice(None)] * (ndim - sum(_axes_taken(part) for part in parts))
    if not any(isinstance(part, int) for part in parts):
        return (tuple(parts),)
    first: list[Any] = []
    second: list[Any] = []
    for part in parts:
        if isinstance(part, int):
            first.append(part)
        elif _is_basic(part):
            first.append(part)
            second.append(slice(None))
        else:
            first += [slice(None)] * _axes_taken(part)
            second.append(part)
    return tuple(first), tuple(second)


def _near(array: Array, steps: Steps) -> Steps:
    """The index with its arrays on the array's device: they may come from the CPU. RuntimeError for another GPU's."""
    if not backend.gpus_in_use:
        return steps
    home = backend.device_of(array)
    for part in (part for step in steps for part in step if not _is_basic(part)):
        if backend.device_of(part) not in (backend.cpu, home):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor "
                               f"({home}), not on {backend.device_of(part)}")  # fmt: skip
    return tuple(tuple(part if _is_basic(part) else backend.move(part, home) for part in step) for step in steps)


def _axes_taken(part: Any) -> int:
    """How many axes of an array a part of its index stands for."""
    if part is None or part is ...:
        return 0
    return part.ndim if hasattr(part, "dtype") and part.dtype.kind == "b" else 1


def _as_part(part: Any) -> Any:
    """One part of an index: a number, a slice, None, ..., or an array of whole numbers or booleans."""
    if isinstance(part, slice):
        if part.step is not None and part.step <= 0:
            raise ValueError("step must be greater than zero")
        return slice(*(None if bound is None else bound.__index__() for bound in (part.start, part.stop, part.step)))
    if _is_basic(part) and not isinstance(part, bool):
        return part
    if not isinstance(part, Tensor | list | tuple | bool) and not hasattr(part, "dtype"):
        raise IndexError(f"cannot index a tensor with {type(part).__name__}")
    array = part.array if isinstance(part, Tensor) else Tensor(part).array
    if isinstance(part, list | tuple) and not array.size:
        array = array.astype(int64)
    if array.dtype == uint8:  # PyTorch's older way to write a mask
        array = array.astype(bool)
    if array.dtype.kind not in "iub":
        raise IndexError(f"tensors used as indices must hold integers or booleans, not {array.dtype}")
    return int(array) if array.ndim == 0 and array.dtype.kind in "iu" else array
