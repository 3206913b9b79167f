"""Compiled models at work: plans are made when pictures of a new size come, kept, and run by a team of threads.

Every thread takes its share of the pictures through the whole network, without waiting for the others. Where there are
fewer pictures than threads, up to 8 threads work on each layer together.

The buffers of a plan are used again by the next call. So one call of a model runs at a time (a second thread waits),
and what a call returns is always a new array.
"""

import itertools
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from minires import kernels
from minires.autograd import _mode
from minires.backend import device_of
from minires.kernels.cpu import parallel
from minires.kernels.cpu.inference_team import Meeting, together
from minires.nn.inference_graph import Graph, NotPlannable, graph_of
from minires.nn.inference_plan import Layers, Plan, most_pictures
from minires.nn.module import Module

TEAM = 8  # threads that work on the same pictures: more would find too little to do in a layer
SIZES = 4  # of pictures, whose plans are kept: the least recently used goes first


class _Kept:
    """All that is known for one size of pictures."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.layers, self.most = graph, Layers(graph), most_pictures(graph)
        self.plans: dict[tuple[int, int, int], Plan] = {}

    def plan(self, pictures: int, count: int, place: int) -> Plan:
        """The plan for so many pictures and threads; `place`: of the thread, since each needs buffers of its own."""
        key = (pictures, count, place)
        if key not in self.plans:
            self.plans[key] = Plan(self.graph, self.layers, pictures, count)
        return self.plans[key]


class Runner:
    """Runs one model by plans. Copies and pickles start without any."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: OrderedDict[tuple[Any, ...], _Kept | NotPlannable] = OrderedDict()
        self.state: list[tuple[int, ...]] = []
        self.alive: list[np.ndarray] = []  # whose ids are in `state`: while they live, no other array gets them

    def __deepcopy__(self, memo: dict[int, Any]) -> "Runner":
        return Runner()

    def __reduce__(self) -> tuple[type["Runner"], tuple[()]]:
        return Runner, ()

    def __call__(self, model: Module, x: np.ndarray) -> np.ndarray | None:
        """model(x) for pictures x (N, C, H, W) as a new array, or None if the model has to be run as it is."""
        if not _unobserved() or device_of(x).type != "cpu" or x.dtype not in kernels.FAST_TYPES:
            return None
        if x.ndim != 4 or not x.size:
            return None
        with self.lock:
            kept = self._known(model, x.shape[1:], x.dtype)
            return None if isinstance(kept, NotPlannable) else _run(kept, x)

    def _known(self, model: Module, shape: tuple[int, ...], dtype: np.dtype) -> "_Kept | NotPlannable":
        state, arrays = _state_of(model)
        if state != self.state:
            self.kept.clear()
            self.state, self.alive = state, arrays
        key = (shape, dtype)
        if key not in self.kept:
            try:
                self.kept[key] = _Kept(graph_of(model, shape, dtype))
            except NotPlannable as reason:
                self.kept[key] = reason
            while len(self.kept) > SIZES:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]

    def report(self) -> list[dict[str, Any]]:
        """For each size of pictures seen: bytes of buffers and of weights laid out, or why it is not planned."""
        rows = []
        with self.lock:
            for (shape, dtype), kept in self.kept.items():
                row: dict[str, Any] = {"shape": shape, "dtype": str(dtype)}
                if isinstance(kept, NotPlannable):
                    rows.append(row | {"planned": False, "reason": str(kept)})
                else:
                    buffers = sum(plan.bytes for plan in kept.plans.values())
                    rows.append(row | {"planned": True, "buffers": buffers, "weights": kept.layers.bytes})
        return rows


def _unobserved() -> bool:
    """Whether nobody writes operations to a tape, or has chosen the kernels."""
    forced = getattr(kernels._forced, "set_name", None)
    return _mode.tape is None and forced in (None, "cpu")


def _state_of(model: Module) -> tuple[list[tuple[int, ...]], list[np.ndarray]]:
    """What a plan was made from, and the arrays. Changes when an operation changes a tensor in place, when a tensor is
    exchanged, or a hook comes or goes; not when somebody writes to a tensor's NumPy array."""
    state: list[tuple[int, ...]] = []
    arrays: list[np.ndarray] = []
    for module in model.modules():
        state.append((id(module), module.has_hooks, module.training))
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                state.append((id(tensor), id(tensor.array), tensor.version.value))
                arrays.append(tensor.array)
    return state, arrays


def _run(kept: _Kept, x: np.ndarray) -> np.ndarray:
    """The batch through the plans."""
    shape, n = kept.graph.shapes[kept.graph.output], len(x)
    if len(shape) == 3:
        out = np.empty((n, shape[1], shape[2], shape[0]), x.dtype).transpose(0, 3, 1, 2)
    else:
        out = np.empty((n, *shape), x.dtype)
    threads = parallel.current_threads()
    team = min(threads, TEAM)
    if n < team:
        _share_layers(kept, x, out, team)
    else:
        _share_pictures(kept, x, out, min(n, threads))
    return out


def _share_layers(kept: _Kept, x: np.ndarray, out: np.ndarray, threads: int) -> None:
    plan, meeting = kept.plan(len(x), threads, 0), Meeting(threads)

    def work(index: int) -> None:
        try:
            plan.run(index, meeting.wait)
        except BaseException:
            meeting.give_up(index)
            raise

    plan.set(x, out)
    try:
        together(threads, work)
    finally:
        plan.set()


def _share_pictures(kept: _Kept, x: np.ndarray, out: np.ndarray, threads: int) -> None:
    edges = [len(x) * k // threads for k in range(threads + 1)]
    jobs = []
    for place, (start, stop) in enumerate(itertools.pairwise(edges)):
        count = -(-(stop - start) // kept.most)
        inner = [start + (stop - start) * k // count for k in range(count + 1)]
        parts = [slice(a, b) for a, b in itertools.pairwise(inner)]
        jobs.append([(part, kept.plan(part.stop - part.start, 1, place)) for part in parts])

    def work(index: int) -> None:
        for part, plan in jobs[index]:
            plan.set(x[part], out[part])
            try:
                plan.run(0)
            finally:
                plan.set()

    together(threads, work)
