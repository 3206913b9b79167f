"""Softmax and cross entropy in the logits' own type, as in PyTorch. The formulas stand in reference/loss.py."""

import numpy as np

from minires.kernels.reference.loss import checked_targets

__all__ = [
    "cross_entropy_backward",
    "cross_entropy_forward",
    "log_softmax",
    "log_softmax_backward",
    "softmax",
    "softmax_backward",
]


def shifted(x: np.ndarray, axis: int) -> np.ndarray:
    """x minus its largest value along `axis`, so that no exponential overflows; a new array."""
    if x.size == 0:
        return x.copy()
    with np.errstate(invalid="ignore"):  # a row of -inf alone gives NaN, as in PyTorch
        return x - x.max(axis=axis, keepdims=True)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """As the reference."""
    y = shifted(x, axis)
    np.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return y


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """As the reference."""
    y = shifted(x, axis)
    with np.errstate(divide="ignore"):
        y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
    return y


def softmax_backward(grad: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """As the reference."""
    return y * (grad - (grad * y).sum(axis=axis, keepdims=True))


def log_softmax_backward(grad: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """As the reference."""
    return grad - np.exp(y) * grad.sum(axis=axis, keepdims=True)


def spread(class_weight: np.ndarray | None, classes: int, label_smoothing: float, dtype: np.dtype) -> np.ndarray:
    """(K,): what label smoothing puts on every class, weight[k] e / K."""
    share = np.full(classes, label_smoothing / max(classes, 1), dtype)
    return share if class_weight is None else (share * class_weight).astype(dtype)


def concentrated(
    target: np.ndarray, keep: np.ndarray, class_weight: np.ndarray | None, label_smoothing: float, dtype: np.dtype
) -> np.ndarray:
    """(M,): what each row puts on its target beyond that, weight[t] (1 - e); 0 where the target is ignored."""
    weight = np.ones(len(target), dtype) if class_weight is None else class_weight[target].astype(dtype)
    return weight * np.asarray(1 - label_smoothing, dtype) * keep


def cross_entropy_forward(
    logits: np.ndarray,
    target: np.ndarray,
    class_weight: np.ndarray | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[np.ndarray, np.ndarray]:
    """As the reference."""
    target, keep = checked_targets(target, logits.shape[1], ignore_index)
    log_probabilities = log_softmax(logits, 1)
    on_target = concentrated(target, keep, class_weight, label_smoothing, logits.dtype)
    losses = -without_zeros(on_target, log_probabilities[np.arange(len(target)), target])
    if label_smoothing:
        on_all = spread(class_weight, logits.shape[1], label_smoothing, logits.dtype)
        losses -= np.where(keep, without_zeros(on_all, log_probabilities).sum(axis=1), 0)
    return losses, log_probabilities


def without_zeros(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """weight values, but 0 where the weight is 0, even where the value is infinite."""
    with np.errstate(invalid="ignore"):
        return np.where(weight == 0, np.zeros((), values.dtype), weight * values)


def cross_entropy_backward(
    grad: np.ndarray,
    log_probabilities: np.ndarray,
    target: np.ndarray,
    class_weight: np.ndarray | None,
    ignore_index: int,
    label_smoothing: float,
) -> np.ndarray:
    """As the reference."""
    dtype = log_probabilities.dtype
    target, keep = checked_targets(target, log_probabilities.shape[1], ignore_index)
    on_target = concentrated(target, keep, class_weight, label_smoothing, dtype)
    on_all = spread(class_weight, log_probabilities.shape[1], label_smoothing, dtype)
    dlogits = np.exp(log_probabilities)
    dlogits *= (on_target + on_all.sum() * keep)[:, None]
    if label_smoothing:
        dlogits -= on_all * keep[:, None]
    dlogits[np.arange(len(target)), target] -= on_target
    dlogits *= grad.astype(dtype, copy=False)[:, None]
    return dlogits
