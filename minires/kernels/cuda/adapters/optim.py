"""Optimisers on a GPU: one launch for one parameter, or for all of a group (`sgd_together`, `adam_together`).

float32 parameters with float32 state are the kernels'; others are computed by the reference's expressions, in CuPy.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minires import backend
from minires.kernels.cuda import optims
from minires.kernels.cuda.adapters.arrays import run, suits
from minires.kernels.cuda.loader import cupy_module
from minires.kernels.cuda.types import Array, cpp_type
from minires.kernels.reference import optim as expressions

__all__ = ["adam_step", "sgd_step"]


def is_dense(array: Array) -> bool:
    """Whether the elements fill a stretch of memory, in whatever order of the axes."""
    return backend.in_memory_order(array)[0].flags.c_contiguous


def fits(parameters: Sequence[Array], grads: Sequence[Array], *states: Sequence[Array]) -> bool:
    """Whether the kernels can update these: float32, dense, of one order with their state, gradients of one type."""
    same = all(
        p.dtype == backend.float32 == s.dtype and p.strides == s.strides
        for state in states for p, s in zip(parameters, state, strict=True)
    )  # fmt: skip
    return same and all(p.dtype == backend.float32 and is_dense(p) and p.size for p in parameters) and all(
        suits(g) and g.dtype == grads[0].dtype for g in grads
    )  # fmt: skip


def like(grad: Array, parameter: Array) -> Array:
    """The gradient in the memory order of its parameter; a copy where it lies otherwise."""
    if grad.strides == tuple(step // 4 * grad.itemsize for step in parameter.strides):
        return grad
    made = cupy_module().empty_like(parameter, dtype=grad.dtype)
    if made.strides != tuple(step // 4 * grad.itemsize for step in parameter.strides):
        ordered, back = backend.in_memory_order(parameter)
        made = cupy_module().empty(ordered.shape, grad.dtype).transpose(back)
    made[...] = grad
    return made


Place = tuple[int, int]  # device and stream: what one stream has copied another one would have to wait for


def here() -> Place:
    """The present device and stream."""
    cuda = cupy_module().cuda
    return int(cuda.runtime.getDevice()), int(cuda.get_current_stream().ptr)


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose last 64 results are remembered; what is made while a graph is captured is that graph's."""
    remembered = functools.lru_cache(maxsize=64)(function)

    @functools.wraps(function)
    def made(*arguments: Any) -> Any:
        return (function if backend.is_capturing() else remembered)(*arguments)

    return made


@kept
def chunks(place: Place, addresses: tuple[tuple[int, ...], ...], sizes: tuple[int, ...]) -> dict[str, Any]:
    """The kernels' lists, on the GPU; the same arrays are asked for at every step."""
    lists = optims.chunks_of(addresses, sizes).arguments()
    return {name: value if isinstance(value, int) else backend.constant(value) for name, value in lists.items()}


@kept
def rates_on_gpu(place: Place, rates: tuple[float, ...]) -> Array:
    """Learning rate and corrections, where the kernels read them."""
    return backend.constant(np.array(rates, np.float32))


@kept
def places_of(place: Place, addresses: tuple[int, ...]) -> Array:
    """Addresses, where a kernel reads them."""
    return backend.constant(np.array(addresses, np.uint64))


def launch(name: str, parameters: Sequence[Array], grads: Sequence[Array], states: Sequence[Sequence[Array] | None],
           rates: Array, factor: float, **numbers: Any) -> None:  # fmt: skip
    """One launch for all parameters. states: by the kernel's order, None for one that is missing.

    A `factor` other than 1 is multiplied to the gradients, in place.
    """
    given, grads = grads, [like(grad, parameter) for grad, parameter in zip(grads, parameters, strict=True)]
    nothing = (0,) * len(parameters)
    kinds = [tuple(a.data.ptr for a in arrays) if arrays else nothing for arrays in (parameters, grads, *states, None)]
    lists = chunks(here(), tuple(kinds), tuple(p.size for p in parameters))
    folded = {} if factor == 1 else {"factor": rates_on_gpu(here(), (factor,))}
    run(name, cpp_type(grads[0]), {**lists, "rates": rates, **folded, **numbers}, {})
    for grad, ordered in zip(given, grads, strict=True) if folded else ():
        if ordered is not grad:
            grad[...] = ordered


def measurable(grad: Array) -> bool:
    """Whether `norm_together` takes this gradient."""
    return suits(grad) and bool(grad.size) and is_dense(grad)


def measured(grads: Sequence[Array]) -> tuple[Array, Array]:
    """(2-norm of all elements, [1] whether one is not finite) of gradients of one type on the present GPU, as arrays.

    `measurable` must hold. Two launches, no wait. The norm is not finite where squares are too large for float32, too.
    """
    lists = chunks(here(), (tuple(grad.data.ptr for grad in grads),), tuple(grad.size for grad in grads))
    made = optims.clip_factor(run, cpp_type(grads[0]), lists, cupy_module().zeros(1, backend.int32), 1.0, 0.0)
    return made["result"][0], made["skip"]


def together(grads: Iterable[Array]) -> tuple[list[list[Array]], list[Array]]:
    """The gradients that `measured` takes, by GPU and type, and the rest."""
    groups: dict[tuple[int, str], list[Array]] = {}
    rest = []
    for grad in grads:
        if not isinstance(grad, np.ndarray) and measurable(grad):
            groups.setdefault((grad.device.id, grad.dtype.name), []).append(grad)
        else:
            rest.append(grad)
    return list(groups.values()), rest


def sgd_together(
    parameters: Sequence[Array], grads: Sequence[Array], buffers: Sequence[Array] | None, first: bool, lr: float,
    momentum: float, dampening: float, weight_decay: float, nesterov: bool, maximize: bool, factor: float = 1.0,
) -> None:  # fmt: skip
    """`sgd_step` for many parameters in one launch, their gradients times `factor`; `fits` must hold."""
    rates = rates_on_gpu(here(), tuple(optims.sgd_rates(lr).tolist()))
    launch("sgd_step", parameters, grads, [buffers], rates, factor, first=int(first), momentum=momentum,
           dampening=dampening, weight_decay=weight_decay, nesterov=int(nesterov), maximize=int(maximize))  # fmt: skip


def adam_together(
    parameters: Sequence[Array], grads: Sequence[Array], averages: Sequence[Sequence[Array] | None],
    step: int | list[Array], lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
    maximize: bool, factor: float = 1.0,
) -> None:  # fmt: skip
    """`adam_step` for many parameters of one `step` in one launch; averages: m, v and the largest v, or None.

    factor: see `sgd_together`.
    step: or each parameter's number of steps before this one, on the GPU, where it grows; one more launch.
    """
    if isinstance(step, int):
        rates = rates_on_gpu(here(), tuple(optims.adam_rates(lr, beta1, beta2, step).tolist()))
    else:
        steps = places_of(here(), tuple(count.data.ptr for count in step))
        rates = optims.advanced_rates(run, steps, len(step), lr, beta1, beta2)
    launch("adam_step", parameters, grads, averages, rates, factor, beta1=beta1, beta2=beta2, eps=eps,
           weight_decay=weight_decay, decoupled=int(decoupled), maximize=int(maximize),
           rates_apart=0 if isinstance(step, int) else 3)  # fmt: skip


def sgd_step(
    parameter: Array,
    grad: Array,
    momentum_buffer: Array | None,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """As the reference."""
    buffers = [] if momentum_buffer is None else [momentum_buffer]
    settings = (first, lr, momentum, dampening, weight_decay, nesterov, maximize)
    if fits([parameter], [grad], *([buffers] if buffers else [])):
        sgd_together([parameter], [grad], buffers or None, *settings)
    elif parameter.size:
        expressions.sgd_step(parameter, grad, momentum_buffer, *settings)


def adam_step(
    parameter: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """As the reference."""
    largest = None if max_exp_avg_sq is None else [max_exp_avg_sq]
    averages = [[exp_avg], [exp_avg_sq], largest]
    settings = (step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize)
    if fits([parameter], [grad], *(state for state in averages if state is not None)):
        adam_together([parameter], [grad], averages, *settings)
    elif parameter.size:
        expressions.adam_step(parameter, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, *settings)
