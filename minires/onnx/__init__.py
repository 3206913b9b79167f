"""Floor 5: models in ONNX, the format that onnxruntime, browsers, phones and other frameworks read.

    minires.onnx.export(model, "model.onnx", class_names=["cat", "dog"], preprocessing=preprocessing)

export      a model to a file                 compare    the same pictures through both: how far apart the outputs are
tracing     the operations that a model applies, and which of their numbers depend on sizes
graph       nodes, constants and names        operations, windows, shapes   one table: Function -> ONNX nodes

Needs the package onnx (`pip install "minires[onnx]"`), which is imported when `export` is called.
"""

from minires.onnx.comparing import compare
from minires.onnx.exporting import NEWEST, OLDEST, default_opset, export

__all__ = ["NEWEST", "OLDEST", "compare", "default_opset", "export"]
