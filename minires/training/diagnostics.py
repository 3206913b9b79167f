"""Where it went wrong: the first place in a model where a number is NaN or infinite.

A loss of NaN tells nothing about its origin, and looking at every layer in every step would cost time. So the training
looks at the loss and at the gradients' norm only, and when one of them is not finite, runs the same batch once more
with a watcher at every layer. Draws have addresses (minires/random.py), so that dropout drops the same elements.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.autograd import enable_grad
from minires.backend import array_module, is_floating
from minires.errors import NumericalError
from minires.tensor import Tensor

NOT_SEEN_AGAIN = "a place that a second run of the same batch does not show"


class NotFiniteError(NumericalError):
    """A loss or a gradient is not finite: in step `step` (from 1), at the learning rate `lr`, beginning at `place`."""

    def __init__(self, what: str, step: int, epoch: int, lr: float, place: str) -> None:
        message = f"{what} in step {step} (epoch {epoch}, learning rate {lr:g}); it begins at {place}"
        hint = "a lower learning rate or gradient clipping helps as a rule; the weights are those before the step"
        super().__init__(message, hint=hint)
        self.step, self.lr, self.place = step, lr, place


def find_origin(
    model: Any, loss_fn: Callable[..., Tensor], inputs: Tensor, targets: Tensor, backward: bool = True
) -> str:  # fmt: skip
    """The first place that is not finite, in the order of the computation, such as "the output of layer1.0.conv1".

    Looked at in turn: the batch, the weights, the outputs of all modules, the loss, and if `backward` the
    gradients. Run it under the address of the step. It changes gradients and, in training, running statistics.
    """
    for name, tensor in (("the inputs of the batch", inputs), ("the targets of the batch", targets)):
        if not is_finite(tensor):
            return name
    for name, parameter in model.named_parameters():
        if not is_finite(parameter):
            return f"the values of {name}, which are not finite before the step"
    watch = _Watch(model)
    try:
        with enable_grad(), np.errstate(all="ignore"):
            model.zero_grad()
            loss = loss_fn(model(inputs), targets)
            if watch.outputs:
                return f"the output of {watch.outputs[0]}"
            if not is_finite(loss):
                return "the loss function: the model's outputs are finite"
            if backward:
                loss.backward()
    finally:
        watch.remove()
    if watch.gradients:
        return watch.gradients[0]
    wrong = [name for name, parameter in model.named_parameters()
             if parameter.grad is not None and not is_finite(parameter.grad)]  # fmt: skip
    return f"the gradient of {wrong[-1]}" if wrong else NOT_SEEN_AGAIN


def is_finite(tensor: Any) -> bool:
    """Whether no element is NaN or infinite."""
    return not is_floating(tensor.dtype) or bool(array_module(tensor.array).isfinite(tensor.array).all())


class _Watch:
    """Hooks on all modules that note, in the order of the computation, where a number is not finite.

    Forward hooks run when a module has finished, the innermost first. Gradients are watched at modules without modules
    inside: at a container they would only show once more what its parts have shown.
    """

    def __init__(self, model: Any) -> None:
        self.outputs: list[str] = []
        self.gradients: list[str] = []
        self.handles = []
        for path, module in model.named_modules():
            name = f"{path} ({type(module).__name__})" if path else f"the model ({type(module).__name__})"
            self.handles.append(module.register_forward_hook(self._forward(name)))
            if not any(True for _ in module.children()):
                self.handles.append(module.register_full_backward_hook(self._backward(name)))

    def _forward(self, name: str) -> Callable[..., None]:
        def hook(module: Any, arguments: Any, output: Any) -> None:
            if not all(is_finite(part) for part in _tensors(output)):
                self.outputs.append(name)

        return hook

    def _backward(self, name: str) -> Callable[..., None]:
        def hook(module: Any, grad_input: Any, grad_output: Any) -> None:
            if not all(is_finite(part) for part in _tensors(grad_output)):
                self.gradients.append(f"the gradient that comes back to {name}")
            elif not all(is_finite(part) for part in _tensors(grad_input)):
                self.gradients.append(f"the gradient that {name} passes back")

        return hook

    def remove(self) -> None:
        """Take all hooks away."""
        for handle in self.handles:
            handle.remove()


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in a module's output or in a tuple of gradients."""
    if isinstance(value, dict):
        value = list(value.values())
    parts = value if isinstance(value, tuple | list) else [value]
    return [part for part in parts if isinstance(part, Tensor)]
