"""A model's speed on this machine: pictures a second, and how much of what the machine can do that is."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import backend, nn, optim
from minires.autograd import no_grad
from minires.models.summary import summarize
from minires.nn import functional as F
from minires.profiler.clocks import clock_of
from minires.profiler.roofline import Roofline, times
from minires.tensor import Tensor
from minires.training.precision import Precision

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


def make_step(
    model: nn.Module, shape: Sequence[int], work: str, compiled: bool = True, device: Any = "cpu",
    amp: str | None = None,
) -> Callable[[], object]:  # fmt: skip
    """A function that does the work once on random pictures of `shape` (N, C, H, W).

    "inference": the forward pass, of the model as `compile_inference` makes it unless `compiled` is False; on a GPU, of
    the model as it is. "training": forward, cross-entropy, backward and a step of SGD with momentum. device: the model
    is moved there; amp: mixed precision there, as for the Trainer. Raises ValueError for other work.
    """
    if work not in WORK:
        raise ValueError(f"work must be one of {', '.join(WORK)}, got {work!r}")
    place = backend.device(device)
    precision = Precision(amp, place)
    model.to(place)
    images = Tensor(np.random.default_rng(0).standard_normal(shape, np.float32)).to(place)
    if work == "inference":
        model.eval()
        fast = nn.compile_inference(model) if compiled and place.type == "cpu" else model

        def infer() -> object:
            with no_grad(), precision.computing():
                return fast(images)

        return infer
    model.train()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    outputs = model.eval()(images).shape[1]
    model.train()
    labels = Tensor(np.arange(shape[0]) % outputs).to(place)

    def train() -> object:
        with precision.computing():
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        precision.scaled(loss).backward()
        precision.step(optimizer)
        return loss

    return train


def measure(
    model: nn.Module, shape: Sequence[int], work: str, repeats: int = 7, compiled: bool = True, device: Any = "cpu",
    amp: str | None = None,
) -> Speed:  # fmt: skip
    """Time `repeats` passes after two to warm up; on a GPU by events in its queue."""
    flops = 2 * summarize(model.to("cpu"), (1, *shape[1:])).multiply_adds * shape[0]
    step = make_step(model, shape, work, compiled, device, amp)
    step()
    step()
    seconds = times(step, repeats, clock_of(device))
    return Speed(work, shape[0], tuple(seconds), float(flops * (3 if work == "training" else 1)))
