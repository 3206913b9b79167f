"""Tensor: an array, its gradient, and the operation that made it.

Its operations, `x + y` and `x.relu()`, are inherited from minires/methods.py, in-place changes from in_place.py.
"""

import copy
import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minires import backend
from minires.autograd import (
    Node,
    Variable,
    Version,
    backward,
    is_inference_mode_enabled,
    refresh,
    run_backward,
    seed_of,
)
from minires.backend import Array, device_of, is_bfloat16, is_floating, is_number, memory_owner
from minires.conversion import Conversions
from minires.in_place import InPlace
from minires.methods import OPERATIONS, Methods, register

__all__ = ["OPERATIONS", "HookHandle", "Size", "Tensor", "register"]


class Size(tuple[int, ...]):
    """A shape: a tuple that knows how many elements it stands for."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements: the product of the lengths."""
        return math.prod(self)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Size(found) if isinstance(index, slice) else found


class HookHandle:
    """What `register_hook` returns: `remove()` takes the hook away again."""

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        self.hooks, self.key = hooks, max(hooks, default=-1) + 1
        hooks[self.key] = hook

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self.hooks.pop(self.key, None)


class Tensor(Methods, Conversions, InPlace, Variable):
    """An n-dimensional array that records the operations applied to it. Made by `minires.tensor` and its kin.

    `Tensor(array)` shares the memory of a NumPy array; lists and numbers are converted. `array` is the raw array.
    """

    __array_ufunc__ = None  # `array * tensor` is ours to compute, not NumPy's
    _grad: "Tensor | None" = None
    moments: Any = None  # what a convolution on a GPU notes for the batch norm behind it: see ops/channel_moments.py

    def __init__(self, array: Any, requires_grad: bool = False) -> None:
        if isinstance(array, Tensor):
            array = array.array
        if not hasattr(array, "dtype") or isinstance(array, np.generic):
            array = np.asarray(array)
        if not is_number(array.dtype):
            raise TypeError(f"a Tensor holds real numbers, integers or booleans, not {array.dtype}")
        self.array = array
        self.requires_grad = False
        self.node: Node | None = None
        self.output_index = 0
        self.version = Version()
        self.is_view = False
        self.is_inference_result = is_inference_mode_enabled()
        self.hooks: dict[int, Callable[[Array], Array | None]] | None = None
        if requires_grad:
            self.requires_grad_()

    # ------------------------------------------------------------------------------------------------ what it is

    shape = property(lambda self: Size(self.array.shape), doc="Lengths of the axes, a tuple with a method `numel`.")
    ndim = property(lambda self: self.array.ndim, doc="Number of axes.")
    dtype = property(lambda self: self.array.dtype, doc="Type of the elements, a numpy.dtype.")
    device = property(lambda self: device_of(self.array), doc="Where the array lives.")
    nbytes = property(lambda self: self.array.nbytes, doc="Bytes of all elements.")
    itemsize = property(lambda self: self.array.itemsize, doc="Bytes of one element.")
    is_cpu = property(lambda self: self.device.type == "cpu", doc="Whether the array lives in the CPU's memory.")
    is_sparse = property(lambda self: False, doc="Whether only elements other than 0 are stored: never.")
    is_cuda = property(lambda self: self.device.type == "cuda", doc="Whether the array lives on a GPU.")
    is_leaf = property(lambda self: self.node is None, doc="Whether no recorded operation made this tensor.")
    output_nr = property(lambda self: self.output_index, doc="Which result of grad_fn this tensor is.")
    _version = property(lambda self: self.version.value, doc="How often the memory was changed in place.")

    @property
    def grad_fn(self) -> Node | None:
        """The node of the operation that made this tensor, or None."""
        refresh(self)
        return self.node

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self.shape if dim is None else self.array.shape[dim]

    def dim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    def numel(self) -> int:
        """Number of elements."""
        return self.array.size

    nelement, ndimension = numel, dim

    def is_nonzero(self) -> bool:
        """Whether the only element is not 0. RuntimeError if there are more."""
        return bool(self)

    def get_device(self) -> int:
        """The number of the GPU, -1 for the CPU."""
        return -1 if self.device.type == "cpu" else self.device.index or 0

    def storage_offset(self) -> int:
        """How many elements of the memory lie before the first of this tensor."""
        return (self.data_ptr() - Tensor(memory_owner(self.array)).data_ptr()) // self.array.itemsize

    def is_same_size(self, other: "Tensor") -> bool:
        """Whether both have the same shape."""
        return self.shape == other.shape

    def element_size(self) -> int:
        """Bytes an element."""
        return self.array.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """How many elements lie in memory between neighbours along each axis, or along one."""
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        return strides if dim is None else strides[dim]

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self.array.ctypes.data if isinstance(self.array, np.ndarray) else self.array.data.ptr

    def is_complex(self) -> bool:
        """Whether the elements are complex numbers: never."""
        return False

    def is_signed(self) -> bool:
        """Whether the elements can be negative."""
        return self.dtype.kind not in "bu"

    def is_floating_point(self) -> bool:
        """Whether the elements are real numbers."""
        return is_floating(self.dtype)

    def is_contiguous(self, memory_format: Any = backend.contiguous_format) -> bool:
        """Whether the elements lie in memory in the order of the axes (an image batch of ours does not: it is NHWC).

        memory_format=channels_last asks for (N, H, W, C) instead. RuntimeError for that with other than four axes.
        """
        if memory_format is not backend.channels_last:
            return self.array.flags.c_contiguous
        if self.ndim != 4:
            raise RuntimeError(f"required rank 4 tensor to use channels_last format, got {self.ndim} axes")
        return self.array.transpose(0, 2, 3, 1).flags.c_contiguous

    def __len__(self) -> int:
        if not self.array.ndim:
            raise TypeError("len() of a tensor without axes")
        return self.array.shape[0]

    def __iter__(self) -> Iterator["Tensor"]:
        if not self.shape:
            raise TypeError("iteration over a tensor without axes")
        return (self[index] for index in range(len(self)))

    def __hash__(self) -> int:
        return id(self)

    def __contains__(self, element: Any) -> bool:
        with backend.on_device_of(self.array):
            return bool((self.array == _raw(element)).any())

    def __repr__(self) -> str:
        array = self._on_cpu()
        array = array.astype(np.float32) if is_bfloat16(array.dtype) else array
        broken = is_floating(array.dtype) and bool(((array != np.rint(array)) & np.isfinite(array)).any())
        values = np.array2string(array, separator=", ", precision=4, prefix="tensor(", threshold=1000,
                                 floatmode="fixed" if broken else "maxprec")  # fmt: skip
        notes = [] if self.dtype.name in ("float32", "int64", "bool") else [f"dtype=minires.{self.dtype.name}"]
        if self.array.size == 0 and self.ndim != 1:
            notes.insert(0, f"size={self.shape}")
        if self.node is not None:
            notes.append(f"grad_fn=<{self.node.name}>")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join([values, *notes])})"

    def __format__(self, specification: str) -> str:
        plain = self.ndim == 0 and (specification or type(self) is Tensor)
        return format(self.item(), specification) if plain else repr(self)

    # ------------------------------------------------------------------------------------------------- the gradient

    @property
    def grad(self) -> "Tensor | None":
        """The gradient that backward added up, or None. TypeError and RuntimeError for one of another shape or type."""
        return self._grad

    @grad.setter
    def grad(self, gradient: "Tensor | None") -> None:
        if gradient is not None and not isinstance(gradient, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got {type(gradient).__name__}")
        if gradient is not None and (gradient.shape != self.shape or gradient.dtype != self.dtype):
            raise RuntimeError(f"attempting to assign a gradient of shape {gradient.shape} and type {gradient.dtype} "
                               f"to a tensor of shape {self.shape} and type {self.dtype}")  # fmt: skip
        self._grad = gradient

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Ask for (or refuse) a gradient. RuntimeError for integers, inference results, and refusing on a non-leaf."""
        if requires_grad and not is_floating(self.dtype):
            raise RuntimeError(f"only tensors of floating point type can require gradients, not {self.dtype}")
        if requires_grad and self.is_inference_result and not is_inference_mode_enabled():
            raise RuntimeError("a tensor made in inference_mode cannot require a gradient: clone it first")
        if not requires_grad and self.node is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a "
                               "computed variable in a subgraph that doesn't require differentiation use "
                               "var_no_grad = var.detach().")  # fmt: skip
        self.requires_grad = bool(requires_grad)
        return self

    def backward(
        self, gradient: "Tensor | None" = None, retain_graph: bool | None = None, create_graph: bool = False,
        inputs: Any = None,
    ) -> None:  # fmt: skip
        """Add the gradient of this tensor with respect to every leaf to the leaf's `.grad`.

        gradient: cotangent of this tensor's shape; may be left out for a tensor with a single element (then 1).
        retain_graph: keep the saved arrays, so that backward can run again.
        create_graph: not supported, since minires differentiates once only (NotImplementedError).
        inputs: a tensor or several: only their `.grad` changes, and only what leads to them is computed.
        """
        if create_graph or inputs is not None:
            backward(self, gradient, retain_graph, create_graph, inputs=inputs)
        else:
            run_backward(self, seed_of(self, gradient), bool(retain_graph))

    def register_hook(self, hook: Callable[["Tensor"], "Tensor | None"]) -> HookHandle:
        """Call `hook(gradient)` when this tensor's gradient is known; what it returns, if anything, replaces it."""
        refresh(self)
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")

        def on_array(array: Array) -> Array | None:
            changed = hook(Tensor(array))
            return None if changed is None else changed.array

        if self.node is not None:
            return HookHandle(self.node.hooks.setdefault(self.output_index, {}), on_array)
        self.hooks = {} if self.hooks is None else self.hooks
        return HookHandle(self.hooks, on_array)

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is not a leaf in its `.grad`, too."""
        refresh(self)
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on a Tensor that has requires_grad=False")
        if self.node is not None and all(reference() is not self for _, reference in self.node.retained):
            self.node.retained.append((self.output_index, weakref.ref(self)))

    @property
    def retains_grad(self) -> bool:
        """Whether this tensor, which is not a leaf, keeps its gradient."""
        return self.node is not None and any(reference() is self for _, reference in self.node.retained)

    def is_inference(self) -> bool:
        """Whether this tensor was made in inference_mode."""
        return self.is_inference_result

    def detach_(self) -> "Tensor":
        """Cut this tensor off from the graph: it becomes a leaf that requires no gradient."""
        if self.is_view and self.node is not None:
            raise RuntimeError("detach_: a view cannot be detached in place, use detach()")
        self.requires_grad, self.node, self.output_index = False, None, 0
        return self

    def make_result(self, array: Array) -> "Tensor":
        return Tensor(array)

    def set_grad(self, array: Array) -> None:
        self._grad = Tensor(array)

    def detach(self) -> "Tensor":
        """A tensor on the same memory, cut off from the graph."""
        result = Tensor(self.array)
        result.version, result.is_inference_result = self.version, self.is_inference_result
        result.is_view = True
        return result

    @property
    def data(self) -> "Tensor":
        """The values without the graph, on the same memory. In-place changes through it go unnoticed by backward."""
        return Tensor(self.array)

    @data.setter
    def data(self, values: "Tensor") -> None:
        self.array = values.array

    # ------------------------------------------------------------------------------------------------------- copies

    def __deepcopy__(self, memo: dict[Any, Any]) -> "Tensor":
        if self.node is not None:
            raise RuntimeError("only leaf tensors can be copied by deepcopy: detach this one first")
        result = self.__class__.__new__(self.__class__)
        with backend.on_device_of(self.array):
            Tensor.__init__(result, self.array.copy(order="K"))
        result.requires_grad = self.requires_grad
        result.grad = copy.deepcopy(self.grad, memo)
        memo[id(self)] = result
        return result

    def __reduce__(self) -> Any:
        if self.node is not None:
            raise RuntimeError("only leaf tensors can be pickled: detach this one first")
        return _rebuild, (self.__class__, self.array, self.requires_grad)


def _raw(value: Any) -> Any:
    return value.array if isinstance(value, Tensor) else value


def _rebuild(kind: type[Tensor], array: Array, requires_grad: bool) -> Tensor:
    result = kind.__new__(kind)
    Tensor.__init__(result, array)
    result.requires_grad = requires_grad
    return result
