"""The graph being written: nodes, constants, and which tensor has which name."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from minires.backend import is_floating, move
from minires.errors import MiniresError
from minires.tensor import Tensor


def refuse(message: str, code: str = "onnx.unsupported") -> MiniresError:
    """The error for what cannot be exported."""
    return MiniresError(f"ONNX export: {message}", code=code)


class Graph:
    """Values go by their names; a tensor's name is known once something has written it.

    names: names of the tensors that are there already (the input). constants: tensors whose values are fixed, by id,
    each with a wanted name; they are written when first used. Real numbers become float32, whatever they were.
    dynamic_size: the pictures' height and width are not known here, and so no tensor's `shape[2:]` may be relied upon.
    """

    def __init__(
        self, names: Mapping[int, str], constants: Mapping[int, tuple[str, Tensor]], dynamic_size: bool = False
    ) -> None:
        self.names = dict(names)
        self.fixed = dict(constants)
        self.dynamic_size = dynamic_size
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.place = ""  # the path of the module whose operations are being written
        self._counts: Counter[str] = Counter()
        self._numbers: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def is_known(self, tensor: Any) -> bool:
        """Whether the tensor has been written, or is a constant."""
        return id(tensor) in self.names or id(tensor) in self.fixed

    def name(self, value: Any) -> str:
        """The name of a tensor, or of a number, which becomes a constant; "" for None, an input that is left out."""
        if value is None:
            return ""
        if not isinstance(value, Tensor):
            return self.constant(np.float32(value))
        if id(value) not in self.names:
            wanted, tensor = self.fixed[id(value)]
            self.names[id(value)] = self._initializer(self._unused(wanted), move(tensor.array, "cpu"))
        return self.names[id(value)]

    def is_constant(self, value: Any) -> bool:
        """Whether the tensor's values are fixed."""
        return id(value) in self.fixed

    def constant(self, values: Any) -> str:
        """The name of a small constant, the same for equal ones. Python's numbers and lists of them are int64."""
        array = np.asarray(values, None if hasattr(values, "dtype") else np.int64)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._numbers:
            self._numbers[key] = self._initializer(self._unused("constant"), array)
        return self._numbers[key]

    def _initializer(self, name: str, array: np.ndarray) -> str:
        self.initializers[name] = array.astype(np.float32) if is_floating(array.dtype) else array
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Write a node with one output; returns the output's name. Inputs left out at the end are dropped."""
        from onnx import helper

        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        name = self._unused(f"{self.place.replace('.', '/')}/{kind}".lstrip("/"))
        self.nodes.append(helper.make_node(kind, given, [name], name, **attributes))
        return name

    def _unused(self, wanted: str) -> str:
        self._counts[wanted] += 1
        return wanted if self._counts[wanted] == 1 else f"{wanted}_{self._counts[wanted]}"

    def rename(self, old: str, new: str) -> None:
        """Give the output of a node another name everywhere; an input or a constant is handed on by a node."""
        if not any(old in node.output for node in self.nodes):
            old = self.node("Identity", old)
        for node in self.nodes:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
