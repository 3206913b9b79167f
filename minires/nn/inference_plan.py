"""A graph turned into lists of NumPy calls on fixed arrays: what a compiled model does when it is called again.

Pictures go through the first layers a few at a time, and through later ones, whose pictures are smaller, more at a time
(`few`): so that what a block of layers computes is still in the cache when the next layer reads it. Where the number
changes, one activation is kept for all pictures of the plan; all others only for the few.

Everything that can be known beforehand is worked out here, once: which activation lies where, with a border of zeros
for the layers that pad; every view of every block; the weights in the order in which they are read. A call runs down
the list. Two threads that share a single picture each have a list, and meet after every operation.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from minires.autograd import Node, quiet
from minires.kernels.cpu import inference_pool, inference_strips, inference_winograd
from minires.kernels.cpu.inference_conv import Columns, Layer, Pointwise
from minires.kernels.cpu.inference_groups import Grouped
from minires.kernels.cpu.inference_layout import Activation, Border, Call, Share
from minires.kernels.cpu.inference_memory import Need, Workspace, aligned, places
from minires.kernels.cpu.inference_strips import Strips
from minires.kernels.cpu.inference_winograd import Winograd
from minires.kernels.cpu.windows import Geometry
from minires.kernels.shapes import Pair
from minires.nn.inference_calls import Calls, calls_of
from minires.nn.inference_graph import Graph, Operation, Reference

IN_CACHE = 1 << 17  # values of the largest activation of a layer, for the few pictures that go through it together
PLACES = 784  # the few are as many as have so many places, too: products of few rows read the weights too often
NOTHING = np.empty(0)
MOST = 1 << 20  # but not so many that the largest activation has more values than this


@dataclass(frozen=True)
class Stretch:
    """Operations first ... last of the graph, run for `few` pictures at a time."""

    first: int
    last: int
    few: int


class Layers:
    """The layers of a graph with their weights laid out, shared by all plans; made when a plan first asks."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made: dict[tuple[int, type[Layer]], Layer] = {}

    def get(self, index: int, pictures: int) -> Layer | None:
        """The layer of the operation with that index; None if it is none, or a depthwise one."""
        operation = self.graph.operations[index]
        if operation.name == "Linear":  # a 1x1 convolution of pictures of one place
            weight = operation.arguments[1].array[:, :, None, None]
            geometry = Geometry((1, 1), (1, 1), (0, 0), (1, 1), (1, 1))
        elif operation.name == "Conv2d" and not _is_depthwise(operation):
            weight, (stride, padding, dilation) = operation.arguments[1].array, operation.arguments[3:6]
            size = size_of(self.graph.shapes[operation.result])
            geometry = Geometry(weight.shape[2:], stride, padding, dilation, size)
        else:
            return None
        groups = operation.arguments[6] if operation.name == "Conv2d" else 1
        kind = kind_of(geometry, pictures, weight.shape, groups)
        if (index, kind) not in self.made:
            factor, bias = self.graph.dtype.type(operation.scale), operation.arguments[2]
            row = None if bias is None else bias.array * factor
            arguments = (weight * factor, row, geometry, operation.relu)
            self.made[index, kind] = Grouped(*arguments, groups) if kind is Grouped else kind(*arguments)
        return self.made[index, kind]

    @property
    def bytes(self) -> int:
        return sum(layer.bytes for layer in self.made.values())


def _is_depthwise(operation: Operation) -> bool:
    """A group for every channel: there is nothing to multiply matrices for."""
    return operation.arguments[6] > 1 and operation.arguments[1].array.shape[1] == 1


def kind_of(geometry: Geometry, pictures: int, weight_shape: tuple[int, ...], groups: int) -> type[Layer]:
    """Which algorithm computes a convolution."""
    if groups > 1:
        return Grouped
    if geometry.kernel == (1, 1) and geometry.padding == (0, 0):
        return Pointwise
    outputs, inputs = weight_shape[:2]
    if inference_winograd.suits(geometry, 1, pictures, inputs, outputs):
        return Winograd
    return Strips if inference_strips.suits(geometry, 1, inputs, outputs) else Columns


# ------------------------------------------------------------------------------------------- pictures at a time


def stretches(graph: Graph, pictures: int) -> list[Stretch]:
    """The graph in stretches, cut where a single value is needed on the other side."""
    uses = Counter(number for operation in graph.operations for number in operation.inputs)
    waiting: set[int] = {0}  # values that are still to be read
    cuts: list[int] = []
    parts: list[Stretch] = []
    start = 0
    for index, operation in enumerate(graph.operations):
        uses.subtract(operation.inputs)
        waiting = {number for number in (*waiting, operation.result) if uses[number]}
        if waiting <= {operation.result}:
            cuts.append(index)
    for cut in cuts:
        few = min(_few(graph, index, pictures) for index in range(start, cut + 1))
        if parts and parts[-1].few == few:
            parts[-1] = Stretch(parts[-1].first, cut, few)
        else:
            parts.append(Stretch(start, cut, few))
        start = cut + 1
    return parts


def _few(graph: Graph, index: int, pictures: int) -> int:
    """A power of two, or all pictures."""
    operation = graph.operations[index]
    shapes = [graph.shapes[number] for number in (*operation.inputs, operation.result)]
    largest = max(1, *(math.prod(shape) for shape in shapes))
    places = max(1, *(math.prod(shape[1:]) for shape in shapes))
    wanted = min(max(IN_CACHE // largest, -(-PLACES // places)), MOST // largest)
    return min(1 << max(0, wanted.bit_length() - 1), pictures)


def most_pictures(graph: Graph) -> int:
    """How many pictures a plan is worth being made for: more of them gain nothing."""
    return max(stretch.few for stretch in stretches(graph, 1 << 6))


# -------------------------------------------------------------------------------------------------------- the plan


class Plan:
    """For `pictures` pictures, to be run by `count` threads together."""

    def __init__(self, graph: Graph, layers: Layers, pictures: int, count: int) -> None:
        self.graph, self.layers, self.pictures, self.count = graph, layers, pictures, count
        self.stretches = stretches(graph, pictures)
        self.x = self.out = NOTHING
        self.activations = self._placed()
        self.workspaces: list[Workspace] = []
        self.lists = [self._laid_out(Share(index, count)) for index in range(count)]

    def set(self, x: np.ndarray = NOTHING, out: np.ndarray = NOTHING) -> None:
        """What the next run reads and fills; nothing, when it is over, so that no user's array is kept alive."""
        self.x, self.out = x, out

    def run(self, index: int, wait: Callable[[int], None] | None = None) -> None:
        """Member `index` does its part; `wait(index)` between operations, where there are several members."""
        with quiet():
            for number, calls in enumerate(self.lists[index]):
                if number and wait is not None:
                    wait(index)
                calls.run()

    # ------------------------------------------------------------------------------------------------- memory

    def _placed(self) -> dict[int, Activation]:
        """Every value of the graph at its place in one piece of memory."""
        graph = self.graph
        borders = dict.fromkeys(graph.shapes, Border())
        made, used = {0: 0}, {graph.output: len(graph.operations)}
        for index, operation in enumerate(graph.operations):
            layer = self._layer(index)
            made[operation.result] = index
            used.update(dict.fromkeys(operation.inputs, index))
            if layer is not None:
                borders[operation.inputs[0]] = borders[operation.inputs[0]].joined(layer.border)
        numbers = [number for number in graph.shapes if number in made and number in used]
        shapes, needs = [], []
        for number in numbers:
            first, last = self._stretch(made[number]), self._stretch(used[number])
            whole = first is not last or number == 0
            h, w, c = _image(graph.shapes[number])
            top, left, bottom, right = borders[number]
            shapes.append((self.pictures if whole else first.few, top + h + bottom, left + w + right, c))
            start, stop = (first.first, last.last) if whole else (made[number], used[number])
            needs.append(Need(math.prod(shapes[-1]) * graph.dtype.itemsize, start, stop))
        offsets, total = places(needs)
        memory = self.memory = aligned(total)

        def at(offset: int, shape: tuple[int, ...]) -> np.ndarray:
            size = math.prod(shape) * graph.dtype.itemsize
            return memory[offset : offset + size].view(graph.dtype).reshape(shape)

        return {
            number: Activation(at(offset, shape), borders[number])
            for number, offset, shape in zip(numbers, offsets, shapes, strict=True)
        }

    def _stretch(self, index: int) -> Stretch:
        return next((s for s in self.stretches if s.first <= index <= s.last), self.stretches[-1])

    def _layer(self, index: int) -> Layer | None:
        return self.layers.get(index, self._stretch(index).few)

    @property
    def bytes(self) -> int:
        """Activations and working memory; not the weights, which all plans share."""
        return self.memory.nbytes + sum(work.bytes for work in self.workspaces)

    # ------------------------------------------------------------------------------------------------- calls

    def _laid_out(self, share: Share) -> list[Calls]:
        """The share's calls, for each operation of each few pictures."""
        work = Workspace()
        self.workspaces.append(work)
        self._all_calls(share, work)  # finds out how much working memory is needed
        return self._all_calls(share, work)

    def _all_calls(self, share: Share, work: Workspace) -> list[Calls]:
        lists: list[Calls] = []
        for stretch in self.stretches:
            for start in range(0, self.pictures, stretch.few):
                part = slice(start, min(start + stretch.few, self.pictures))
                if stretch.first == 0:
                    borders = self._border(0, part) if share.index == 0 else []
                    calls = borders + inference_pool.once(partial(self._load, part), share)
                    lists.append(Calls("planned: pictures in", calls))
                for index in range(stretch.first, stretch.last + 1):
                    operation = self.graph.operations[index]
                    borders = self._border(operation.result, part) if share.index == 0 else []
                    calls = borders + self._calls(index, operation, part, work, share)
                    lists.append(calls_of(self.graph, operation, calls, part.stop - part.start, share.count))
                if stretch is self.stretches[-1]:
                    lists.append(Calls("planned: results out", inference_pool.once(partial(self._store, part), share)))
        return lists

    def _border(self, number: int, part: slice) -> list[Call]:
        return [partial(zeros.fill, 0) for zeros in self._value(number, part).zeros()]

    def _value(self, number: int, part: slice) -> Activation:
        """A value for the pictures of a part: it is kept for all of them, or for these only."""
        activation = self.activations[number]
        if len(activation.whole) == self.pictures:
            return activation.images(part)
        return activation.images(slice(0, part.stop - part.start))

    def _load(self, part: slice) -> None:
        self._value(0, part).inner[...] = self.x[part].transpose(0, 2, 3, 1)

    def _store(self, part: slice) -> None:
        self.out[part] = self._logical(self.graph.output, part)

    def _logical(self, number: int, part: slice) -> np.ndarray:
        """(N, C, H, W) or (N, C), as the model sees it."""
        inner = self._value(number, part).inner
        return inner.transpose(0, 3, 1, 2) if len(self.graph.shapes[number]) == 3 else inner[:, 0, 0]

    def _calls(self, index: int, operation: Operation, part: slice, work: Workspace, share: Share) -> list[Call]:
        y = self._value(operation.result, part)
        x = self._value(operation.inputs[0], part)
        layer = self._layer(index)
        if layer is not None:
            residual = None if operation.residual is None else self._value(operation.residual, part)
            return layer.calls(x, y, residual, work, share)
        if operation.name == "MaxPool2d" and not operation.arguments[5]:
            kernel, stride, padding, dilation = operation.arguments[1:5]
            geometry = Geometry(kernel, stride, padding, dilation, size_of(self.graph.shapes[operation.result]))
            return inference_pool.max_pool(x, y, geometry, work, share)
        if operation.name == "AdaptiveAvgPool2d" and operation.arguments[1] == (1, 1):
            return inference_pool.mean(x, y, work, share)
        return inference_pool.once(partial(self._compute, operation, part), share)

    def _compute(self, operation: Operation, part: slice) -> None:
        """An operation by its own forward, on the pictures of a part."""
        arguments = [self._logical(a.number, part) if isinstance(a, Reference) else a for a in operation.arguments]
        arrays = [getattr(a, "array", a) if not isinstance(a, np.ndarray) else a for a in arguments]
        if operation.name == "Reshape":
            arrays[1] = (len(arrays[0]), *arrays[1][1:])
        context = Node(operation.function, (False,) * len(arrays))
        result = operation.function.forward(context, *arrays, **operation.settings)
        if operation.scale != 1:
            result = result * self.graph.dtype.type(operation.scale)
        if operation.residual is not None:
            result = result + self._logical(operation.residual, part)
        target = self._logical(operation.result, part)
        target[...] = result
        if operation.relu:
            np.maximum(target, 0, out=target)


def size_of(shape: tuple[int, ...]) -> Pair:
    """(H, W) of a value (C, H, W)."""
    return shape[1], shape[2]


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(H, W, C) in which a value (C, H, W) or (C,) is kept."""
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else (1, 1, shape[0])
