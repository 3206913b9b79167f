"""Softmax and cross entropy on the GPU: as kernels/reference/loss.py, along the last axis of [rows][columns]."""

from minires.kernels.cuda.types import FLOAT, Array, Run, cpp_type


def softmax(run: Run, x: Array, logarithm: bool = False) -> Array:
    """Probabilities of each row, or their logarithms."""
    given = {"x": x, "rows": x.shape[0], "columns": x.shape[1], "logarithm": int(logarithm)}
    return run("softmax_rows", cpp_type(x), given, {"y": (x.shape, x.dtype)})["y"]


def softmax_backward(run: Run, grad: Array, y: Array, logarithm: bool = False) -> Array:
    """dx from the gradient and the output y of `softmax`."""
    given = {"grad": grad, "y": y, "rows": y.shape[0], "columns": y.shape[1], "logarithm": int(logarithm)}
    return run("softmax_rows_backward", cpp_type(y), given, {"dx": (y.shape, y.dtype)})["dx"]


def cross_entropy(
    run: Run, logits: Array, target: Array, class_weight: Array | None, ignore_index: int, label_smoothing: float,
    wrong: Array, row_grad: Array | None = None, scale: float = 1.0, wants: tuple[str, ...] = ("log_probability",),
) -> dict[str, Array]:  # fmt: skip
    """{"loss": [rows] float32, "wrong", ...}; `wants` adds "log_probability" and "dx".

    logits [rows][columns], target [rows] int64, class_weight [columns] and row_grad [rows] float32 or None. dx is
    scale row_grad d loss / d logits. wrong [1] int32, zero before: afterwards 1 + the last row whose target is no
    class; whoever may wait for the GPU looks at it.
    """
    rows, columns = logits.shape
    given = {"x": logits, "target": target, "class_weight": class_weight, "row_grad": row_grad, "wrong": wrong,
             "rows": rows, "columns": columns, "ignore_index": ignore_index, "smoothing": label_smoothing,
             "scale": scale}  # fmt: skip
    outputs = {"loss": ((rows,), FLOAT), **dict.fromkeys(wants, (logits.shape, logits.dtype))}
    return run("cross_entropy", cpp_type(logits), given, outputs)


def cross_entropy_backward(
    run: Run, row_grad: Array, log_probability: Array, target: Array, class_weight: Array | None, ignore_index: int,
    label_smoothing: float,
) -> Array:  # fmt: skip
    """d loss / d logits from the saved log probabilities."""
    rows, columns = log_probability.shape
    given = {"row_grad": row_grad, "log_probability": log_probability, "target": target, "class_weight": class_weight,
             "rows": rows, "columns": columns, "ignore_index": ignore_index, "smoothing": label_smoothing}  # fmt: skip
    outputs = {"dx": (log_probability.shape, log_probability.dtype)}
    return run("cross_entropy_backward", cpp_type(log_probability), given, outputs)["dx"]
