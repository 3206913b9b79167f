"""A model as an ONNX file: one graph from pictures to outputs, and what else is known about the model as metadata."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from minires.backend import is_floating
from minires.errors import MiniresError
from minires.io import files
from minires.nn import Module
from minires.onnx.graph import Graph, refuse
from minires.onnx.operations import write
from minires.onnx.tracing import AnySize, trace_sizes
from minires.version import __version__

# Versions of ONNX's set of operators. Those in the table (operations.py) are defined alike from OLDEST on, where
# reductions take their axes as an input, to NEWEST, which comes with onnx 1.23 and is run by onnxruntime 1.32.
OLDEST, NEWEST = 18, 28
LARGEST = (1 << 31) - 1  # bytes of a message in protobuf


def export(
    model: Module, path: files.PathLike, input_shape: Sequence[int] = (1, 3, 224, 224), dynamic_batch: bool = True,
    class_names: Sequence[str] | None = None, preprocessing: Any = None, *, dynamic_size: bool = False,
    input_name: str = "input", output_name: str = "logits", opset_version: int | None = None,
    task: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write `model` in eval mode to an ONNX file; the model itself stays as it is.

    The file takes float32 pictures (N, C, H, W) under `input_name` and gives `output_name`, (N, K) for a classifier.
    input_shape: C is fixed; so is N unless `dynamic_batch`, and H and W unless `dynamic_size`, which networks that pool
    over the whole picture allow: all of minires.models. Real numbers are written as float32. Constants are called as in
    the state dict ("layer1.0.conv1.weight").
    class_names, preprocessing (a Preprocessing, or its `to_config()`): kept as JSON in the metadata under these names,
    beside minires_version; so is task, what the outputs mean where that is not one class a picture.
    opset_version: from 18 to 28, by default the newest of these that the installed onnx knows;
    older programs read older ones only (onnxruntime from 1.18 on reads 21).
    The file is checked by onnx.checker before it is written, whole or not at all. Raises MiniresError if onnx is not
    installed, or the model does something that has no counterpart: it is named, with its module.
    """
    onnx = _import_onnx()
    shape = _checked_shape(input_shape)
    newest = default_opset()
    opset = newest if opset_version is None else opset_version
    if not OLDEST <= opset <= newest:
        raise ValueError(f"opset_version must be from {OLDEST} to {newest} with onnx {onnx.__version__}, got {opset}")
    operators = [onnx.helper.make_opsetid("", opset)]
    copied = copy.deepcopy(model).eval()
    found = trace_sizes(copied, shape, _dtype(copied), dynamic_batch, dynamic_size)
    ranks = (task or {}).get("name") == "ordinal"  # one output less than classes
    if class_names is not None and len(class_names) - ranks != found.output.shape[-1]:
        raise ValueError(f"{len(class_names)} class names for {found.output.shape[-1]} outputs")
    proto = onnx.helper.make_model(
        _graph(onnx, copied, found, (dynamic_batch, dynamic_size), (input_name, output_name)), producer_name="minires",
        producer_version=__version__, opset_imports=operators,
        ir_version=onnx.helper.find_min_ir_version_for(operators),
    )  # fmt: skip
    onnx.helper.set_model_props(proto, _metadata(class_names, preprocessing, task))
    if proto.ByteSize() > LARGEST:
        raise refuse(f"{proto.ByteSize()} bytes are more than one file of this format may have", "onnx.too_large")
    onnx.checker.check_model(proto, full_check=True)
    files.write_atomic(path, proto.SerializeToString(deterministic=True))


def default_opset() -> int:
    """The newest version of ONNX's set of operators that `export` writes with the onnx that is installed."""
    return min(NEWEST, _import_onnx().defs.onnx_opset_version())


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


def _graph(
    onnx: Any, model: Module, found: AnySize, dynamic: tuple[bool, bool], names: tuple[str, str]
) -> Any:  # fmt: skip
    """`dynamic`: whether the batch is of any size, and the pictures are."""
    fixed = {id(tensor): (path, tensor) for path, tensor in (*model.named_parameters(), *model.named_buffers())}
    graph = Graph({id(found.input): names[0]}, fixed, dynamic_size=dynamic[1])
    for step in found.steps:
        write(graph, step)
    if not graph.is_known(found.output):
        raise refuse("the output comes from no recorded operation, such as argmax or a comparison", "onnx.untraceable")
    graph.rename(graph.name(found.output), names[1])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
              for name, shape in zip(names, _shapes(found, *dynamic), strict=True)]  # fmt: skip
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in graph.initializers.items()]
    return onnx.helper.make_graph(graph.nodes, _name(model), values[:1], values[1:], initializers)


def _shapes(found: AnySize, dynamic_batch: bool, dynamic_size: bool) -> tuple[list[int | str], list[int | str]]:
    """Lengths of the input and the output, a name for each that is free."""
    batch, channels, *size = found.input.shape
    given = ["batch" if dynamic_batch else batch, channels, *(("height", "width") if dynamic_size else size)]
    made: list[int | str] = list(found.output.shape)
    for axis in found.free:
        made[axis] = "batch" if axis == 0 and made[0] == batch else f"output_{axis}"
    return given, made


def _name(model: Module) -> str:
    config = getattr(model, "config", None)
    return config["name"] if isinstance(config, Mapping) and "name" in config else type(model).__name__


def _metadata(
    class_names: Sequence[str] | None, preprocessing: Any, task: Mapping[str, Any] | None
) -> dict[str, str]:  # fmt: skip
    found = {"minires_version": __version__}
    if class_names is not None:
        found["class_names"] = json.dumps(list(class_names))
    if preprocessing is not None:
        config = preprocessing if isinstance(preprocessing, Mapping) else preprocessing.to_config()
        found["preprocessing"] = json.dumps(dict(config), allow_nan=False)
    if task is not None:
        found["task"] = json.dumps(dict(task), allow_nan=False)
    return found
