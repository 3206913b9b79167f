"""Which algorithm computes a layer the fastest on this machine: found by trying each once, and remembered.

Off by default: rules of thumb choose then, and the same shapes take the same way on every machine. The ways differ in
their rounding, so that a run whose choices came from a stopwatch can be repeated bit for bit only with the same memory.
`minires.backends.cpu.benchmark = True` switches it on, and keeps the memory in the cache folder.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from minires.kernels.cpu import parallel
from minires.kernels.cpu.windows import Geometry

TRIES = 3  # of each algorithm after one to warm up; the best time counts


class Layer(NamedTuple):
    """A convolution with stride 1 and no groups, and what is to be done: its "forward" or "backward" pass."""

    work: str
    geometry: Geometry
    images: int
    inputs: int
    outputs: int
    dtype: np.dtype

    @property
    def key(self) -> str:
        """The layer as text, under which the memory has it. The number of threads belongs to it."""
        sizes = [self.geometry.kernel, self.geometry.padding, self.geometry.output]
        shape = " ".join("x".join(map(str, size)) for size in sizes)
        threads = parallel.current_threads()
        return f"{self.work} {self.images} {self.inputs}->{self.outputs} {shape} {self.dtype} {threads}"

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (N, H, W, C), filters (O, KH, KW, C) and results or their gradient (N, OH, OW, O), to try it on."""
        (kh, kw), (ph, pw), (oh, ow) = self.geometry.kernel, self.geometry.padding, self.geometry.output
        shapes = [(self.images, oh + kh - 1 - 2 * ph, ow + kw - 1 - 2 * pw, self.inputs),
                  (self.outputs, kh, kw, self.inputs), (self.images, oh, ow, self.outputs)]  # fmt: skip
        x, filters, y = (np.full(shape, 0.5, self.dtype) for shape in shapes)
        return x, filters, y


class _Memory:
    """Choices by the layers' keys, while the autotuner is on; `learned` is called when one is added."""

    def __init__(self) -> None:
        self.choices: dict[str, str] | None = None
        self.learned: Callable[[], None] | None = None
        self.lock = threading.Lock()


_memory = _Memory()


def switch_on(choices: dict[str, str], learned: Callable[[], None] | None = None) -> None:
    """Use these choices and add to them."""
    _memory.choices, _memory.learned = choices, learned


def switch_off() -> None:
    """Leave it to the rules of thumb again."""
    _memory.choices = _memory.learned = None


def is_on() -> bool:
    return _memory.choices is not None


def fastest(layer: Layer, candidates: Mapping[str, Callable[[], object]]) -> str:
    """The name of the fastest candidate; timed the first time only, in one thread at a time."""
    choices, key = _memory.choices, layer.key
    assert choices is not None
    if choices.get(key) not in candidates:
        with _memory.lock:
            if choices.get(key) not in candidates:  # nobody else has found it meanwhile
                seconds = {name: _best_time(candidate) for name, candidate in candidates.items()}
                choices[key] = min(seconds, key=seconds.__getitem__)
                if _memory.learned is not None:
                    _memory.learned()
    return choices[key]


def _best_time(candidate: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TRIES + 1):
        start = time.perf_counter()
        candidate()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
