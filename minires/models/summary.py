"""What a model consists of and what it costs: layers, output shapes, parameters, multiply-adds, memory.

Found by running the model once and looking at what comes out of every layer, so that it holds for any model.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import no_grad
from minires.tensor import Tensor


@dataclass(frozen=True)
class Layer:
    """One call of one layer. `memory`: bytes of its output; `parameters`: 0 where a layer is called once more."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    memory: int


@dataclass(frozen=True)
class Summary:
    """The layers in the order of their calls, and totals.

    multiply_adds: of convolutions and linear layers, which is what published figures count. activation_memory: bytes of
    the outputs of all layers together, about what training keeps for the backward pass. weights_memory: bytes of
    parameters and buffers.
    """

    input: tuple[int, ...]
    layers: list[Layer]
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    activation_memory: int
    weights_memory: int

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return dataclasses.asdict(self)


def summarize(model: nn.Module, shape: Sequence[int] = (1, 3, 224, 224)) -> Summary:
    """Run `model` on zeros of this shape, in evaluation and without gradients; it is left as it was."""
    layers: list[Layer] = []
    seen: set[nn.Module] = set()
    names = {module: name for name, module in model.named_modules() if not list(module.children())}

    def note(module: nn.Module, arguments: Any, output: Tensor) -> None:
        own = 0 if module in seen else sum(parameter.numel() for parameter in module.parameters())
        seen.add(module)
        layers.append(Layer(names[module], type(module).__name__, output.shape, own, multiply_adds(module, output),
                            output.array.nbytes))  # fmt: skip

    training = {module: module.training for module in model.modules()}
    hooks = [module.register_forward_hook(note) for module in names]
    parameters = list(model.parameters())
    try:
        with no_grad():
            model.eval()(Tensor(np.zeros(shape, parameters[0].dtype if parameters else "float32")))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in training.items():
            module.training = mode
    return Summary(
        tuple(shape), layers,
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        activation_memory=sum(layer.memory for layer in layers),
        weights_memory=sum(tensor.array.nbytes for tensor in (*parameters, *model.buffers())),
    )  # fmt: skip


def multiply_adds(layer: nn.Module, output: Tensor) -> int:
    """Multiplications of a convolution or a linear layer for this output, each with its addition; 0 for other layers.

    Every number of the output is a sum over the window (in_channels / groups * kh * kw) or over in_features.
    """
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return output.numel() * math.prod(layer.weight.shape[1:])
    return 0
