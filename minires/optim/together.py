"""All parameters of a group in one launch on a GPU: which of them can be updated together."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from minires.backend import on_device_of
from minires.kernels.cuda.adapters.optim import fits
from minires.optim.optimizer import Optimizer
from minires.tensor import Tensor

Launch = Callable[[list[Any], list[Any], list[list[Any]], list[Tensor]], None]


def together(
    optimizer: Optimizer, parameters: list[Tensor], names: Sequence[str], key: Callable[[dict[str, Any]], Any],
    launch: Launch,
) -> list[Tensor]:  # fmt: skip
    """Call launch(arrays, gradients, states, parameters) for those that fit; return those that do not.

    Fit: on a GPU, float32, with a state that holds all `names`, in memory of the parameter's order, and a gradient of
    float32 or float16. One launch takes parameters of one gradient's type and one `key(state)`.
    """
    launches, left = defaultdict(list), []
    for parameter in parameters:
        state, gradient = optimizer.state[parameter], parameter.grad
        assert gradient is not None
        complete = parameter.is_cuda and all(state.get(name) is not None for name in names)
        arrays = [[state[name].array] for name in names] if complete else []
        if complete and fits([parameter.array], [gradient.array], *arrays):
            launches[parameter.device, gradient.dtype, key(state)].append(parameter)
        else:
            left.append(parameter)
    for members in launches.values():
        states = [[optimizer.state[parameter][name].array for parameter in members] for name in names]
        gradients = [parameter.grad.array for parameter in members if parameter.grad is not None]
        with on_device_of(members[0].array):
            launch([parameter.array for parameter in members], gradients, states, members)
    return left
