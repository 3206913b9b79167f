"""What a job will need, told before it begins: memory, and the steps of an epoch.

Training keeps the output of every layer for the way back, so that memory grows with the batch; beside that stand the
weights, their gradients, what the optimizer remembers of each, the best weights so far, and with --distill the teacher.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minires import models
from minires.finetune.freezing import stage_modules
from minires.finetune.optimizer_table import USUAL
from minires.finetune.settings import Settings

# Measured on residual networks of several depths and sizes: fused layers overwrite some outputs, so that a step keeps
# nine tenths of all of them at the most; and where nothing is kept, a convolution works on four times its output.
KEPT, WORKING = 0.9, 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes: of the weights and all that is kept beside them, and of what a step on one batch makes."""

    weights: int
    batch: int

    @property
    def total(self) -> int:
        """Both together; Python and the libraries themselves come on top of it."""
        return self.weights + self.batch

    def to_dict(self) -> dict[str, int]:
        """Plain numbers for JSON."""
        return {**dataclasses.asdict(self), "total": self.total}

    def __str__(self) -> str:
        return (f"about {show_bytes(self.total)} ({show_bytes(self.weights)} for weights, gradients and optimizer, "
                f"{show_bytes(self.batch)} for a batch)")  # fmt: skip


def estimate_memory(model: Any, settings: Settings, size: Sequence[int], channels: int) -> MemoryEstimate:
    """What training `model` on pictures of `size` (height, width) takes. Runs the model once on an empty picture."""
    summary = models.summarize(model, (1, channels, *size))
    trained = sum(tensor.array.nbytes for tensor in model.parameters() if tensor.requires_grad)
    kept, passing = 0, 0
    first = _first_trained(model)
    names = [name for name, _ in model.named_modules()]
    for layer in summary.layers:
        if names.index(layer.name) < first:  # before the first trained layer nothing is kept
            passing = max(passing, layer.memory)
        else:
            kept += layer.memory
    picture = 4 * channels * size[0] * size[1]  # float32
    teacher = settings.distill > 0  # the earlier model, as large as this one, looks at the batch when all is kept
    beside = max(passing, max(layer.memory for layer in summary.layers)) if teacher else passing
    batch = settings.batch_size * (KEPT * kept + WORKING * beside + picture * settings.grad_accum_steps)
    beside_each = 1 + USUAL[settings.opt or "adamw"].copies + (settings.sam > 0)  # gradients and the optimizer's
    weights = (2 + teacher) * summary.weights_memory + trained * beside_each
    return MemoryEstimate(weights, round(batch))


def _first_trained(model: Any) -> int:
    """Place among the model's modules of the first one with a trained parameter of its own stage."""
    modules = [module for _, module in model.named_modules()]
    for parts in stage_modules(model).values():
        own = [module for part in parts for module in part.modules()]
        if any(parameter.requires_grad for module in own for parameter in module.parameters()):
            return min(modules.index(module) for module in own)
    return len(modules)


def show_bytes(count: float) -> str:
    """A size such as 512 KB, 34 MB or 1.2 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:.0f} {unit}"
    return f"{count / 1e3:.0f} KB"
