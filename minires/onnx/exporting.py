"""A model as an ONNX file: one graph from pictures to outputs, and what else is known about the model as metadata."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from minires.backend import is_floating
from minires.errors import MiniresError
from minires.io import files
from minires.nn import Module
from minires.nn.trace import Trace
from minires.onnx.graph import Graph, refuse
from minires.onnx.operations import write
from minires.onnx.tracing import trace_batches
from minires.tensor import Tensor
from minires.version import __version__

OPSET, IR_VERSION = 21, 10  # the newest that onnx 1.16 knows; onnxruntime reads it from 1.18 on
LARGEST = (1 << 31) - 1  # bytes of a message in protobuf


def export(
    model: Module, path: files.PathLike, input_shape: Sequence[int] = (1, 3, 224, 224), dynamic_batch: bool = True,
    class_names: Sequence[str] | None = None, preprocessing: Any = None, *, input_name: str = "input",
    output_name: str = "logits", opset_version: int = OPSET,
) -> None:  # fmt: skip
    """Write `model` in eval mode to an ONNX file; the model itself stays as it is.

    The file takes float32 pictures (N, C, H, W) under `input_name` and gives `output_name`, (N, K) for a classifier.
    input_shape: C, H and W are fixed; so is N unless `dynamic_batch`. Real numbers are written as float32. Constants
    are called as in the state dict ("layer1.0.conv1.weight").
    class_names, preprocessing (a Preprocessing, or its `to_config()`): kept as JSON in the metadata under these names,
    beside minires_version. opset_version: from 21 on.
    The file is checked by onnx.checker before it is written, whole or not at all. Raises MiniresError if onnx is not
    installed, or the model does something that has no counterpart: it is named, with its module.
    """
    onnx = _import_onnx()
    shape = _checked_shape(input_shape)
    if opset_version < OPSET or opset_version > onnx.defs.onnx_opset_version():
        raise ValueError(f"opset_version must be from {OPSET} to {onnx.defs.onnx_opset_version()} with the onnx that "
                         f"is installed, got {opset_version}")  # fmt: skip
    copied = copy.deepcopy(model).eval()
    found = trace_batches(copied, shape, _dtype(copied), dynamic_batch)
    if class_names is not None and len(class_names) != found.output.shape[-1]:
        raise ValueError(f"{len(class_names)} class names for {found.output.shape[-1]} outputs")
    proto = onnx.helper.make_model(
        _graph(onnx, copied, found, dynamic_batch, (input_name, output_name)), producer_name="minires",
        producer_version=__version__, ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", opset_version)],
    )  # fmt: skip
    onnx.helper.set_model_props(proto, _metadata(class_names, preprocessing))
    if proto.ByteSize() > LARGEST:
        raise refuse(f"{proto.ByteSize()} bytes are more than one file of this format may have", "onnx.too_large")
    onnx.checker.check_model(proto, full_check=True)
    files.write_atomic(path, proto.SerializeToString(deterministic=True))


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise MiniresError(f"ONNX export needs the package onnx, which cannot be imported: {error}",
                           code="onnx.missing", hint="pip install 'minires[onnx]'") from error  # fmt: skip
    return onnx


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    lengths = tuple(shape)
    if len(lengths) != 4 or not all(type(length) is int and length > 0 for length in lengths):
        raise ValueError(f"input_shape must be (N, C, H, W) with numbers above 0, got {shape!r}")
    return lengths


def _dtype(model: Module) -> Any:
    """The type of pictures that the model takes: that of its weights."""
    return next((tensor.dtype for tensor in model.parameters() if is_floating(tensor.dtype)), "float32")


def _graph(onnx: Any, model: Module, found: Trace, dynamic_batch: bool, names: tuple[str, str]) -> Any:
    fixed = {id(tensor): (path, tensor) for path, tensor in (*model.named_parameters(), *model.named_buffers())}
    graph = Graph({id(found.input): names[0]}, fixed)
    for step in found.steps:
        write(graph, step)
    if not graph.is_known(found.output):
        raise refuse("the output comes from no recorded operation, such as argmax or a comparison", "onnx.untraceable")
    graph.rename(graph.name(found.output), names[1])
    values = [_value(onnx, name, tensor, dynamic_batch)
              for name, tensor in zip(names, (found.input, found.output), strict=True)]  # fmt: skip
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in graph.initializers.items()]
    return onnx.helper.make_graph(graph.nodes, _name(model), values[:1], values[1:], initializers)


def _value(onnx: Any, name: str, tensor: Tensor, dynamic_batch: bool) -> Any:
    shape = ["batch", *tensor.shape[1:]] if dynamic_batch and tensor.ndim else list(tensor.shape)
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _name(model: Module) -> str:
    config = getattr(model, "config", None)
    return config["name"] if isinstance(config, Mapping) and "name" in config else type(model).__name__


def _metadata(class_names: Sequence[str] | None, preprocessing: Any) -> dict[str, str]:
    found = {"minires_version": __version__}
    if class_names is not None:
        found["class_names"] = json.dumps(list(class_names))
    if preprocessing is not None:
        config = preprocessing if isinstance(preprocessing, Mapping) else preprocessing.to_config()
        found["preprocessing"] = json.dumps(dict(config), allow_nan=False)
    return found
