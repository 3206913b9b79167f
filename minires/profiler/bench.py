"""A model's speed on this machine: pictures a second, and how much of what the machine can do that is."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import nn, optim
from minires.autograd import no_grad
from minires.models.summary import summarize
from minires.nn import functional as F
from minires.profiler.roofline import Roofline
from minires.tensor import Tensor

WORK = ("inference", "training")


@dataclass(frozen=True)
class Speed:
    """Seconds of one pass over a batch; `flops`: its operations by the definition, a multiplication and an addition
    counted as two."""

    work: str
    batch: int
    seconds: tuple[float, ...]
    flops: float

    @property
    def median(self) -> float:
        """The middle one of the times."""
        return statistics.median(self.seconds)

    def to_dict(self, roofline: Roofline) -> dict[str, Any]:
        """Figures for JSON."""
        return {
            "work": self.work, "batch": self.batch, "seconds": list(self.seconds), "median": self.median,
            "images_per_second": self.batch / self.median, "flops": self.flops,
            "flops_per_second": self.flops / self.median,
            "part_of_product_peak": self.flops / self.median / roofline.flops,
        }  # fmt: skip


def make_step(model: nn.Module, shape: Sequence[int], work: str, compiled: bool = True) -> Callable[[], object]:
    """A function that does the work once on random pictures of `shape` (N, C, H, W).

    "inference": the forward pass, of the model as `compile_inference` makes it unless `compiled` is False. "training":
    forward, cross-entropy, backward and a step of SGD with momentum. Raises ValueError for other work.
    """
    if work not in WORK:
        raise ValueError(f"work must be one of {', '.join(WORK)}, got {work!r}")
    images = Tensor(np.random.default_rng(0).standard_normal(shape, np.float32))
    if work == "inference":
        model.eval()
        fast = nn.compile_inference(model) if compiled else model

        def infer() -> object:
            with no_grad():
                return fast(images)

        return infer
    model.train()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    outputs = model.eval()(images).shape[1]
    model.train()
    labels = Tensor(np.arange(shape[0]) % outputs)

    def train() -> object:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return train


def measure(model: nn.Module, shape: Sequence[int], work: str, repeats: int = 7, compiled: bool = True) -> Speed:
    """Time `repeats` passes after two to warm up."""
    flops = 2 * summarize(model, (1, *shape[1:])).multiply_adds * shape[0]
    step = make_step(model, shape, work, compiled)
    step()
    step()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return Speed(work, shape[0], tuple(seconds), float(flops * (3 if work == "training" else 1)))
