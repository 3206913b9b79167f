"""Which way computes a convolution the fastest on this GPU: found by timing each of `convs.ways` once, and remembered.

Off by default: rules of thumb choose then, and every GPU takes the same way. The ways add in different orders, so that
a run whose choices came from a clock can be repeated bit for bit only with the same memory.
`minires.backends.cudnn.benchmark = True` switches it on, and keeps the memory in the cache folder.

A way's time is the median of some tries with the arrays that are to be computed anyway, between two CUDA events.
Before each try the GPU is given something else to write, more than its cache holds: so no try finds its arrays there,
and Python has sent for all launches before the GPU comes to them; what is timed is the GPU, not the interpreter.
A way that fails, or whose result is another than the first one's, is not used: a warning says why, and `trials` keeps
it. While a CUDA graph is captured nothing is timed: what is remembered is used, or the rule of thumb.

None of this has run on a GPU yet.
"""

import statistics
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minires import backend
from minires.kernels.cuda import convs, loader
from minires.kernels.cuda.types import Array
from minires.version import __version__

TRIES = 5  # of each way, after one that compiles it
COVERS = 4  # times that memory of twice the cache's size is written before a try: some 0.1 ms
SAMPLE = 1 << 14  # numbers of a result that are compared
TOLERANCE = 0.05  # of the largest of them: far beyond rounding; what differs more is another result
PATIENCE = 60.0  # seconds for one call: kernels that wait for each other for ever cannot be ended

Compute = Callable[[str], Array]  # does the work in the way of that name


class Question(NamedTuple):
    """What is to be computed. As text it is the key in the memory; arrays have their channels last, always."""

    work: str  # "forward", "input_gradient" or "weight_gradient"
    layer: convs.Layer
    dtype: str
    exact: bool
    fused: str = ""  # what is done to the result in the same pass

    def __str__(self) -> str:
        sizes = (self.layer.x_shape, self.layer.weight_shape, self.layer.stride, self.layer.padding,
                 self.layer.dilation)  # fmt: skip
        x, weight, stride, padding, dilation = ("x".join(map(str, size)) for size in sizes)
        words = [self.work, f"{x} * {weight}", f"stride {stride} padding {padding} dilation {dilation}",
                 f"groups {self.layer.groups}", self.dtype, "exact" if self.exact else "", self.fused]  # fmt: skip
        return " ".join(word for word in words if word)


class Trial(NamedTuple):
    """What is known of a question: the way chosen (None: the rule of thumb), each way's milliseconds, and why others
    are not used. Both are empty where the choice was remembered."""

    chosen: str | None
    milliseconds: dict[str, float]
    failures: dict[str, str]


class _Memory:
    """The choices, while the autotuner is on: by machine and question as in the file, and those of this process."""

    def __init__(self) -> None:
        self.load: Callable[[str], dict[str, str]] | None = None
        self.save: Callable[[str, dict[str, str]], None] | None = None
        self.choices: dict[str, dict[str, str]] = {}
        self.machines: dict[int, str] = {}
        self.known: dict[tuple[int, Question], tuple[str, Trial] | None] = {}
        self.lock = threading.Lock()


_memory = _Memory()
trials: dict[str, Trial] = {}  # of all questions that were asked since the process began, or since trials.clear()
deterministic = False  # rules of thumb alone, whatever is remembered


def switch_on(load: Callable[[str], dict[str, str]], save: Callable[[str, dict[str, str]], None]) -> None:
    """Use, and add to, what `load(machine)` gives and `save(machine, choices)` keeps. Looks for no GPU."""
    switch_off()
    _memory.load, _memory.save = load, save


def switch_off() -> None:
    """Leave it to the rules of thumb again."""
    _memory.load = _memory.save = None
    for memory in (_memory.choices, _memory.machines, _memory.known):
        memory.clear()


def is_on() -> bool:
    return _memory.load is not None and not deterministic


def machine(cupy: Any, number: int) -> str:
    """What choices depend on beside the question: the GPU's name and capability, and the versions."""
    name = cupy.cuda.runtime.getDeviceProperties(number)["name"]
    name = name.decode() if isinstance(name, bytes) else name
    versions = f"CUDA {cupy.cuda.runtime.runtimeGetVersion()}, cupy {cupy.__version__}, minires {__version__}"
    return f"{name}, compute capability {cupy.cuda.Device(number).compute_capability}, {versions}"


def fastest(
    work: str, x: Array, layer: convs.Layer, exact: bool, compute: Compute, fused: str = ""
) -> str | None:  # fmt: skip
    """The fastest of `convs.ways`; None, the rule of thumb, while this is off and where nothing better is known.

    x: an array of the type that is computed in. compute(way) does the work. fused: what else is done in the same pass.
    Raises TimeoutError for a kernel that does not end.
    """
    if not is_on():
        return None
    cupy = loader.cupy_module()
    number = int(cupy.cuda.runtime.getDevice())
    question = Question(work, layer, x.dtype.name, exact, fused)
    if (number, question) not in _memory.known and not _learn(cupy, number, question, x, compute):
        return None
    found = _memory.known[number, question]
    if found is None:
        return None
    text, trial = found
    trials[text] = trial
    return trial.chosen


def _learn(cupy: Any, number: int, question: Question, x: Array, compute: Compute) -> bool:
    """Put the answer into `known`, from the memory or by trying. False where a graph is captured and none is there."""
    ways = convs.ways(question.work, x, question.layer, question.exact, loader.compute_capability(),
                      plain=question.fused in ("", "sums"))  # fmt: skip
    with _memory.lock:  # one thread at a time: others' work would be timed as well
        if (number, question) in _memory.known:  # somebody else has found it meanwhile
            return True
        if not ways:
            _memory.known[number, question] = None
            return True
        choices, text = _choices_of(cupy, number), str(question)
        if choices.get(text) in ways:
            trial = Trial(choices[text], {}, {})
        elif backend.is_capturing():
            return False
        else:
            trial = try_all(cupy, text, ways, compute)
            if trial.chosen is not None:
                choices[text] = trial.chosen
                assert _memory.save is not None
                _memory.save(_memory.machines[number], choices)
        _memory.known[number, question] = text, trial
    return True


def _choices_of(cupy: Any, number: int) -> dict[str, str]:
    """The choices of one device; two of the same kind share them."""
    if number not in _memory.machines:
        name = _memory.machines[number] = machine(cupy, number)
        if name not in _memory.choices:
            assert _memory.load is not None
            _memory.choices[name] = _memory.load(name)
    return _memory.choices[_memory.machines[number]]


def try_all(cupy: Any, text: str, ways: tuple[str, ...], compute: Compute) -> Trial:
    """Time the ways, and compare their results with that of the first one that works."""
    milliseconds: dict[str, float] = {}
    failures: dict[str, str] = {}
    first: tuple[str, np.ndarray] | None = None
    for way in ways:
        try:
            sample = sample_of(cupy, compute(way), f"{text} by {way!r}")
            first = first or (way, sample)
            if is_other(sample, first[1]):
                failures[way] = f"its result is another than that of {first[0]!r}"
            else:
                milliseconds[way] = _median_time(cupy, compute, way, text)
        except (RuntimeError, MemoryError) as error:  # CuPy's words for a launch that failed, and for no memory
            failures[way] = " ".join(f"{type(error).__name__}: {error}".split())
    for way, reason in failures.items():
        warnings.warn(f"{text}: the way {way!r} is not used: {reason}", RuntimeWarning, stacklevel=2)
    chosen = min(milliseconds, key=milliseconds.__getitem__) if milliseconds else None
    return Trial(chosen, milliseconds, failures)


def sample_of(cupy: Any, result: Array, text: str) -> np.ndarray:
    """Some of the numbers of a result, from all of its channels, on the CPU."""
    flat = result.reshape(-1)
    step = max(1, flat.size // SAMPLE) | 1  # odd: channels come in powers of two
    sample = flat[::step].astype(backend.float32)
    _wait(cupy, cupy.cuda.Event(), text)
    return cupy.asnumpy(sample)


def is_other(sample: np.ndarray, expected: np.ndarray) -> bool:
    """Whether these are different numbers, and not the same ones rounded. What is not finite cannot be judged."""
    largest = np.abs(expected).max(initial=0)
    return bool(np.isfinite(largest)) and not np.abs(sample - expected).max(initial=0) <= TOLERANCE * largest


def _median_time(cupy: Any, compute: Compute, way: str, text: str) -> float:
    """Milliseconds."""
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    cover = cupy.empty(2 * max(1, cupy.cuda.Device().attributes["L2CacheSize"]), np.uint8)
    found = []
    for _ in range(TRIES):
        for _ in range(COVERS):
            cover[...] = 0
        start.record()
        compute(way)
        _wait(cupy, end, f"{text} by {way!r}")
        found.append(float(cupy.cuda.get_elapsed_time(start, end)))
    return statistics.median(found)


def _wait(cupy: Any, event: Any, text: str) -> None:
    """Wait for all that the stream was given until now. TimeoutError where that takes too long to end ever."""
    event.record(cupy.cuda.get_current_stream())
    limit = time.monotonic() + PATIENCE
    while not event.done:
        if time.monotonic() > limit:
            raise TimeoutError(f"the GPU has not ended after {PATIENCE:.0f} s: {text}")
        time.sleep(1e-4)
