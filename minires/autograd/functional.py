"""Gradients as functions: `grad`, `backward` of several tensors, `vjp` and `jacobian`. First order only.

With J the matrix of all dy_i/dx_j, the walk back computes v^T J (a vector times the Jacobian) at the cost of about one
forward; the whole of J takes one walk for each element of y. (Baydin et al. 2018, section 3.2.)
"""

from collections.abc import Callable, Sequence
from typing import Any

from minires.autograd.graph import Variable, refresh
from minires.autograd.modes import enable_grad
from minires.autograd.walk import Wanted, accumulate, seed_of, walk
from minires.backend import Array, array_module, on_device_of

Several = Any  # a tensor, or several in a list or tuple


def backward(
    tensors: Several, grad_tensors: Several = None, retain_graph: bool | None = None, create_graph: bool = False,
    grad_variables: Several = None, inputs: Several = None,
) -> None:  # fmt: skip
    """Add the gradients of all `tensors`, each times its cotangent, to the `.grad` of the leaves, or of `inputs` alone.

    Arguments as in `Tensor.backward`; one walk for all tensors together. grad_variables: the old name of grad_tensors.
    """
    _first_order(create_graph)
    grad_tensors = grad_variables if grad_tensors is None else grad_tensors
    roots = _listed(tensors)
    seeds = _seeds(roots, grad_tensors)
    if inputs is None:
        leaves = walk(list(zip(roots, seeds, strict=True)), bool(retain_graph))
        for leaf, total in leaves.values():
            accumulate(leaf, total)
        return
    chosen = _listed(inputs)
    if not chosen:
        raise RuntimeError("backward: inputs cannot be empty")
    for x, array in zip(chosen, _gradients(roots, seeds, chosen, bool(retain_graph)), strict=True):
        if array is not None:
            with on_device_of(x.array):
                x.set_grad(array.copy() if x.grad is None else x.grad.array + array)


def grad(
    outputs: Several, inputs: Several, grad_outputs: Several = None, retain_graph: bool | None = None,
    create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
    is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The gradients of the sum of `outputs` (each times its cotangent) with respect to `inputs`; no `.grad` changes.

    inputs: leaves or results of operations that require a gradient. grad_outputs: cotangents; may be left out for
    outputs with a single element. allow_unused: None for an input that the outputs do not depend on, instead of
    RuntimeError. materialize_grads: zeros for it. create_graph, is_grads_batched and only_inputs=False raise
    NotImplementedError: there is no double backward, no vmap, and no other leaf is touched.
    """
    _first_order(create_graph)
    if is_grads_batched or not only_inputs:
        raise NotImplementedError("grad: is_grads_batched=True and only_inputs=False are not supported")
    roots, chosen = _listed(outputs), _listed(inputs)
    arrays = _gradients(roots, _seeds(roots, grad_outputs), chosen, bool(retain_graph))
    results: list[Any] = []
    for number, (x, array) in enumerate(zip(chosen, arrays, strict=True)):
        if array is None and not (allow_unused or materialize_grads):
            raise RuntimeError(f"input {number} appears to not have been used in the graph: set allow_unused=True if "
                               "this is what you want")  # fmt: skip
        with on_device_of(x.array):
            if array is None and materialize_grads:
                array = array_module(x.array).zeros_like(x.array)
            results.append(None if array is None else x.make_result(array.copy()))
    return tuple(results)


def vjp(
    func: Callable[..., Any], inputs: Several, v: Several = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), v^T J): the results, and the gradient of their product with v for each input.

    v: as many tensors as results, of their shapes; may be left out for a single element. strict: RuntimeError where
    a result does not depend on an input, instead of zeros.
    """
    _first_order(create_graph)
    leaves, outputs, packed = _computed(func, inputs)
    given = [None] * len(outputs) if v is None else _listed(v)
    if len(given) != len(outputs):
        raise RuntimeError(f"vjp: {len(outputs)} results, and {len(given)} tensors in v")
    products = _products(outputs, given, leaves, strict, False)
    results = tuple(y.make_result(y.array) for y in outputs)
    return results if packed else results[0], products if isinstance(inputs, tuple | list) else products[0]


def jacobian(func: Callable[..., Any], inputs: Several, create_graph: bool = False, strict: bool = False) -> Any:
    """All derivatives of func(*inputs): for one result and one input a tensor of shape (*result, *input).

    For several of either, tuples: jacobian[result][input]. strict: as in `vjp`.
    """
    _first_order(create_graph)
    leaves, outputs, packed = _computed(func, inputs)
    rows = []
    for y in outputs:
        xp = array_module(y.array)
        with on_device_of(y.array):
            blocks = [xp.zeros((y.array.size, *x.array.shape), x.array.dtype) for x in leaves]
            for place in range(y.array.size):
                seed = xp.zeros(y.array.size, y.array.dtype)
                seed[place] = 1
                products = _products([y], [seed.reshape(y.array.shape)], leaves, strict, True)
                for block, product in zip(blocks, products, strict=True):
                    block[place] = product.array
        whole = tuple(y.make_result(block.reshape((*y.array.shape, *block.shape[1:]))) for block in blocks)
        rows.append(whole if isinstance(inputs, tuple | list) else whole[0])
    return tuple(rows) if packed else rows[0]


# ------------------------------------------------------------------------------------------------------------ helpers


def _first_order(create_graph: bool) -> None:
    if create_graph:
        raise NotImplementedError("create_graph: minires has first derivatives only, there is no double backward")


def _listed(tensors: Several) -> list[Any]:
    return list(tensors) if isinstance(tensors, tuple | list) else [tensors]


def _seeds(roots: Sequence[Variable], gradients: Several) -> list[Array]:
    given = [None] * len(roots) if gradients is None else _listed(gradients)
    if len(given) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(given)} gradients")
    return [seed_of(root, gradient) for root, gradient in zip(roots, given, strict=True)]


def _gradients(
    roots: Sequence[Variable], seeds: Sequence[Array], inputs: Sequence[Variable], retain_graph: bool
) -> list[Array | None]:
    for number, x in enumerate(inputs):
        refresh(x)
        if not x.requires_grad:
            raise RuntimeError(f"input {number}, one of the differentiated tensors, does not require grad")
    wanted = Wanted(roots, inputs)
    return wanted.gradients(walk(list(zip(roots, seeds, strict=True)), retain_graph, wanted))


def _computed(func: Callable[..., Any], inputs: Several) -> tuple[list[Any], list[Any], bool]:
    """(copies of the inputs that require a gradient, the results of func on them, whether these came in a tuple)."""
    leaves = [x.make_result(x.array) for x in _listed(inputs)]
    with enable_grad():
        for x in leaves:
            x.requires_grad_()
        outcome = func(*leaves)
    outputs = _listed(outcome)
    if not all(isinstance(y, Variable) for y in outputs):
        raise TypeError("the function given must return a tensor, or a tuple of tensors")
    return leaves, outputs, isinstance(outcome, tuple | list)


def _products(
    outputs: Sequence[Any], cotangents: Sequence[Any], leaves: Sequence[Any], strict: bool, retain_graph: bool
) -> tuple[Any, ...]:
    """v^T J for each leaf: zeros (RuntimeError, if `strict`) where no output depends on it."""
    pairs = [(y, seed_of(y, v)) for y, v in zip(outputs, cotangents, strict=True) if y.requires_grad]
    arrays = _gradients([y for y, _ in pairs], [seed for _, seed in pairs], leaves, retain_graph)
    if strict and any(array is None for array in arrays):
        number = next(number for number, array in enumerate(arrays) if array is None)
        raise RuntimeError(f"the results do not depend on input {number}, which strict=True forbids")
    results = []
    for x, array in zip(leaves, arrays, strict=True):
        with on_device_of(x.array):
            results.append(x.make_result(array_module(x.array).zeros_like(x.array) if array is None else array.copy()))
    return tuple(results)
