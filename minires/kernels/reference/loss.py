"""Softmax and cross entropy.

The logarithm of a sum of exponentials is computed after subtracting the largest logit, so that nothing overflows.
"""

import numpy as np

__all__ = [
    "cross_entropy_backward",
    "cross_entropy_forward",
    "log_softmax",
    "log_softmax_backward",
    "softmax",
    "softmax_backward",
]


def wide_log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """log_softmax in float64."""
    shifted = x.astype(np.float64)
    if x.size:
        with np.errstate(invalid="ignore"):  # a row of -inf alone gives NaN, as in PyTorch
            shifted = shifted - shifted.max(axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """y_k = exp(x_k) / sum over j of exp(x_j), along `axis`. Any shape."""
    return np.exp(wide_log_softmax(x, axis)).astype(x.dtype)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """y_k = x_k - log sum over j of exp(x_j), along `axis`. Any shape."""
    return wide_log_softmax(x, axis).astype(x.dtype)


def softmax_backward(grad: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """dx_k = y_k (grad_k - sum over j of grad_j y_j), since dy_j / dx_k = y_j ([j = k] - y_k); y is the output."""
    g, p = grad.astype(np.float64), y.astype(np.float64)
    return (p * (g - (g * p).sum(axis=axis, keepdims=True))).astype(grad.dtype)


def log_softmax_backward(grad: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    """dx_k = grad_k - exp(y_k) sum over j of grad_j, since dy_j / dx_k = [j = k] - exp(y_k); y is the output."""
    g = grad.astype(np.float64)
    return (g - np.exp(y.astype(np.float64)) * g.sum(axis=axis, keepdims=True)).astype(grad.dtype)


def checked_targets(target: np.ndarray, classes: int, ignore_index: int) -> tuple[np.ndarray, np.ndarray]:
    """(safe, keep): targets with 0 in place of ignored ones, and which rows count.

    Raises IndexError for a target that is neither a class nor `ignore_index`.
    """
    keep = target != ignore_index
    wrong = keep & ((target < 0) | (target >= classes))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise IndexError(f"target {int(target[row])} of row {row} is not one of the {classes} classes")
    return np.where(keep, target, 0), keep


def target_distribution(
    target: np.ndarray,
    classes: int,
    class_weight: np.ndarray | None,
    ignore_index: int,
    label_smoothing: float,
) -> np.ndarray:
    """(M, K) q[m, k] = weight[k] ((1 - e) [k = target[m]] + e / K); a row of zeros where the target is ignored."""
    safe, keep = checked_targets(target, classes, ignore_index)
    q = np.full((len(target), classes), label_smoothing / max(classes, 1))
    q[np.arange(len(target)), safe] += 1 - label_smoothing
    if class_weight is not None:
        q *= class_weight
    return q * keep[:, None]


def cross_entropy_forward(
    logits: np.ndarray,
    target: np.ndarray,
    class_weight: np.ndarray | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(losses, log_probabilities): losses[m] = - sum over k of q[m, k] log_probabilities[m, k], not yet averaged.

    logits and log_probabilities = log_softmax(logits) (M, K); target (M,) integers; losses (M,). q is the target's
    distribution: all on one class, or with e = `label_smoothing` of it spread evenly over the K classes (Szegedy and
    others, Rethinking the Inception Architecture, 2016), times `class_weight` (K,). A row whose target is
    `ignore_index` costs 0. Raises IndexError for a target that is no class.
    """
    log_probabilities = wide_log_softmax(logits, 1)
    q = target_distribution(target, logits.shape[1], class_weight, ignore_index, label_smoothing)
    with np.errstate(invalid="ignore"):
        losses = -np.where(q == 0, 0, q * log_probabilities).sum(axis=1)  # 0 log 0 is 0
    return losses.astype(logits.dtype), log_probabilities.astype(logits.dtype)


def cross_entropy_backward(
    grad: np.ndarray,
    log_probabilities: np.ndarray,
    target: np.ndarray,
    class_weight: np.ndarray | None,
    ignore_index: int,
    label_smoothing: float,
) -> np.ndarray:
    """dlogits[m, k] = grad[m] (exp(log_probabilities[m, k]) sum over j of q[m, j] - q[m, k]): "predicted minus wanted".

    grad (M,) is the gradient of each row's loss; dlogits (M, K). q as in the forward pass.
    """
    q = target_distribution(target, log_probabilities.shape[1], class_weight, ignore_index, label_smoothing)
    predicted = np.exp(log_probabilities.astype(np.float64)) * q.sum(axis=1, keepdims=True)
    return (grad.astype(np.float64)[:, None] * (predicted - q)).astype(log_probabilities.dtype)
