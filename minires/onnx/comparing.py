"""An exported file run by onnxruntime, beside the model that it was made from."""

import importlib.util
import os

import numpy as np

from minires.autograd import inference_mode
from minires.errors import MiniresError
from minires.io import files
from minires.nn import Module
from minires.onnx.tracing import the_output
from minires.tensor import Tensor


def has_onnxruntime() -> bool:
    """Whether onnxruntime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def compare(model: Module, path: files.PathLike, images: Tensor) -> float:
    """The largest difference between the outputs of the model and of the file, over the model's largest output.

    images: (N, C, H, W) as the model takes them. The model must be in eval mode. MiniresError without onnxruntime.
    """
    if not has_onnxruntime():
        raise MiniresError("comparing an ONNX file needs the package onnxruntime", code="onnx.missing",
                           hint="pip install onnxruntime")  # fmt: skip
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise MiniresError(f"onnxruntime {onnxruntime.__version__} does not read {os.fspath(path)}: "
                           f"{' '.join(str(error).split())}", code="onnx.not_read", file=os.fspath(path),
                           hint="an older opset_version (--opset), or a newer onnxruntime") from error  # fmt: skip
    given = {session.get_inputs()[0].name: np.ascontiguousarray(images.array, np.float32)}
    theirs = session.run(None, given)[0]
    with inference_mode():
        ours = the_output(model(images)).array
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-30)) if ours.size else 0.0
