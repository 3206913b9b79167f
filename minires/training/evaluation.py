"""A model on a loader's batches without training it: its figures, or its outputs."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from minires.autograd import inference_mode
from minires.backend import Array, array_module, is_floating
from minires.errors import DataError
from minires.tensor import Tensor
from minires.training.batches import Batches, inputs_and_targets, only_inputs
from minires.training.metrics import Averages, Metric


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within the block the model is in eval mode and nothing is recorded; then every module has its own mode back."""
    with eval_mode(model), inference_mode():
        yield


@contextlib.contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Within the block the model is in eval mode; then every module has its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def measure(
    model: Any, batches: Batches, loss_fn: Callable[[Any, Any], Tensor], metrics: Iterable[Metric], device: Any,
    between: Callable[[], None] = lambda: None,
) -> dict[str, float]:  # fmt: skip
    """Loss and metrics over all samples of the batches. `between` is called after each batch, and may raise."""
    sums = Averages(metrics)
    with evaluating(model), contextlib.closing(iter(batches)) as stream:
        for batch in stream:
            inputs, targets = inputs_and_targets(batch, device)
            outputs = model(inputs)
            add_up(sums, number(loss_fn(outputs, targets)), loss_fn, outputs, targets)
            between()
    if not sums.samples:
        raise DataError("the loader to evaluate on gives no batches", code="data.empty")
    return sums.means()


def predict(model: Any, batches: Batches, device: Any) -> Tensor:
    """Outputs (N, ...) for all samples of the batches."""
    with evaluating(model), contextlib.closing(iter(batches)) as stream:
        outputs = [figures_of(model(only_inputs(batch, device))) for batch in stream]
    if not outputs:
        raise DataError("the loader to predict on gives no batches", code="data.empty")
    return Tensor(array_module(outputs[0]).concatenate(outputs))


def main_output(outputs: Any) -> Tensor:
    """What figures are made of: the model's output, or of a dictionary of several its entry "out", as of an FCN."""
    return outputs["out"] if isinstance(outputs, Mapping) else outputs


def figures_of(outputs: Any) -> Array:
    """The main output's array; as float32 where mixed precision has made it narrower."""
    main = main_output(outputs)
    return main.float().array if main.dtype.itemsize < 4 and is_floating(main.dtype) else main.array


def add_up(sums: Averages, loss: float, loss_fn: Any, outputs: Any, targets: Tensor) -> None:
    """Take a batch into the sums: its loss is a mean over the samples, or their sum if `loss_fn.reduction` says so."""
    is_sum = getattr(loss_fn, "reduction", "mean") == "sum"
    sums.add(loss if is_sum else loss * len(targets), figures_of(outputs), targets.array)


def number(loss: Any) -> float:
    """The value of a loss. Raises ValueError if it is not one number."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        kind = f"a tensor of the shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f'loss_fn must give one number, the mean of the batch (reduction="mean"), got {kind}')
    return float(loss.item())
