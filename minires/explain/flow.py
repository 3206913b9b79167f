"""How signals come through a network: the spread of what each layer gives, and the size of its gradient.

In a plain network of many layers the gradients of the first ones are larger or smaller than those of the last ones by
orders of magnitude, and training is slow; with shortcuts they stay alike (He et al. 2016; Glorot and Bengio 2010).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import nn
from minires.plots import Chart, Panel, Series, draw
from minires.tensor import Tensor
from minires.training.gradients import gradient_norm
from minires.training.weights import copy_buffers, restore_weights

LAYERS = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class LayerFlow:
    """One layer: mean and standard deviation of its outputs, share of them at or below 0, norm of the gradient.

    gradient: that of its parameters divided by the root of their number, so that layers of all sizes compare; None
    where nothing of the layer is trained.
    """

    name: str
    mean: float
    deviation: float
    not_positive: float
    gradient: float | None


def signal_flow(
    model: Any, images: Tensor, targets: Tensor, loss_fn: Callable[[Any, Any], Tensor] | None = None
) -> list[LayerFlow]:  # fmt: skip
    """One forward and backward pass of a batch in the model's mode, layer by layer in the order of the computation.

    loss_fn: default cross entropy. Statistics of batch norm, gradients and weights are afterwards as they were.
    Convolutions and linear layers are looked at.
    """
    loss_fn = loss_fn or nn.CrossEntropyLoss()
    found: dict[str, tuple[float, float, float]] = {}
    handles = [
        module.register_forward_hook(_noting(name, found))
        for name, module in model.named_modules()
        if isinstance(module, LAYERS)
    ]
    buffers = copy_buffers(model)
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    modules = dict(model.named_modules())
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        loss_fn(model(images), targets).backward()
        return [LayerFlow(name, *figures, _size_of_gradient(modules[name])) for name, figures in found.items()]
    finally:
        for handle in handles:
            handle.remove()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        restore_weights(model, buffers)


def signal_chart(flows: Mapping[str, Sequence[LayerFlow]]) -> Chart:
    """Spread of the outputs and size of the gradients by layer, on logarithmic axes, a line a network.

    flows: name -> what `signal_flow` gave. ValueError if no layer of any has an output that differs from another.
    """
    figures = {"log10 of the outputs' standard deviation": "deviation",
               "log10 of the gradient's root mean square": "gradient"}  # fmt: skip
    panels = []
    for title, name in figures.items():
        lines = [Series(network, list(range(1, len(layers) + 1)), [_log(getattr(layer, name)) for layer in layers])
                 for network, layers in flows.items()]  # fmt: skip
        lines = [line for line in lines if line.is_visible]
        if lines:
            panels.append(Panel(title, "layer", lines))
    if not panels:
        raise ValueError("no layer has an output that differs from another: there is nothing to show")
    return draw(panels, 420, 300)


def _log(value: float | None) -> float | None:
    return None if value is None or value <= 0 else math.log10(value)


def _noting(name: str, found: dict[str, tuple[float, float, float]]) -> Callable[..., None]:
    def note(module: Any, arguments: Any, output: Tensor) -> None:
        values = np.asarray(output.array)
        mean = float(values.mean(dtype=np.float64))
        found[name] = mean, float(values.std(dtype=np.float64)), float((values <= 0).mean())

    return note


def _size_of_gradient(module: Any) -> float | None:
    own = [parameter for parameter in module.parameters() if parameter.grad is not None]
    count = sum(parameter.numel() for parameter in own)
    return gradient_norm(own) / math.sqrt(count) if count else None
