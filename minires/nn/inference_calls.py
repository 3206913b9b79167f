"""The calls of a plan, as the profiler wants to see them: which operation they belong to, and what it costs."""

import math
from collections.abc import Sequence

from minires import observe
from minires.kernels.cpu.inference_layout import Call
from minires.nn.inference_graph import Graph, Operation


class Calls:
    """What one thread does for one operation and some pictures. flops, bytes: of the thread's share of it."""

    def __init__(self, name: str, calls: Sequence[Call], flops: float = 0.0, moved: float = 0.0) -> None:
        self.name, self.calls, self.flops, self.bytes = name, calls, flops, moved

    def run(self) -> None:
        """All of them, one after the other; shown to the observer if there is one."""
        if observe.observer is None:
            for call in self.calls:
                call()
        else:
            observe.call("kernel", self.name, Calls._run, self)

    def _run(self) -> None:
        for call in self.calls:
            call()


def calls_of(graph: Graph, operation: Operation, calls: Sequence[Call], pictures: int, threads: int) -> Calls:
    """The calls for `pictures` pictures, an equal share of `threads` threads."""
    shapes = [graph.shapes[number] for number in (*operation.inputs, operation.result)]
    numbers = pictures * sum(math.prod(shape) for shape in shapes)
    flops = 0
    if operation.name in ("Conv2d", "Linear"):
        weight = operation.arguments[1].array
        numbers += weight.size
        flops = 2 * pictures * math.prod(shapes[-1]) * math.prod(weight.shape[1:])
    name = f"{operation.name} {'x'.join(map(str, shapes[0]))} -> {'x'.join(map(str, shapes[-1]))}"
    return Calls(f"planned {name}", calls, flops / threads, numbers * graph.dtype.itemsize / threads)
