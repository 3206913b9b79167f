"""One step of an optimiser on one parameter. These kernels write into the parameter and into the state arrays."""

import math

import numpy as np

__all__ = ["adam_step", "sgd_step"]


def sgd_step(
    parameter: np.ndarray,
    grad: np.ndarray,
    momentum_buffer: np.ndarray | None,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """Stochastic gradient descent with momentum, PyTorch's form; all arrays have the parameter's shape.

    g = grad (negated if `maximize`) + weight_decay parameter
    buffer = g at the `first` step, later momentum buffer + (1 - dampening) g      (only if momentum is not 0)
    parameter -= lr (g + momentum buffer) if `nesterov`, else lr buffer; without momentum lr g

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
    """
    p = parameter.astype(np.float64)
    g = (-1.0 if maximize else 1.0) * grad.astype(np.float64) + weight_decay * p
    if momentum != 0 and momentum_buffer is not None:
        buffer = g if first else momentum * momentum_buffer.astype(np.float64) + (1 - dampening) * g
        momentum_buffer[...] = buffer
        g = g + momentum * buffer if nesterov else buffer
    parameter[...] = p - lr * g


def adam_step(
    parameter: np.ndarray,
    grad: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    max_exp_avg_sq: np.ndarray | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """Adam (Kingma and Ba, 2015), AdamW if `decoupled` (Loshchilov and Hutter, 2019); `step` counts from 1.

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; both start at 0, hence the corrections by 1 - beta^step
    parameter -= lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)

    m is `exp_avg`, v `exp_avg_sq`. With `max_exp_avg_sq` the largest v so far replaces v (AMSGrad). Weight decay is
    added to the gradient, or, if `decoupled`, shrinks the parameter by 1 - lr weight_decay beforehand.
    """
    p = parameter.astype(np.float64)
    g = (-1.0 if maximize else 1.0) * grad.astype(np.float64)
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = beta1 * exp_avg.astype(np.float64) + (1 - beta1) * g
    v = beta2 * exp_avg_sq.astype(np.float64) + (1 - beta2) * g * g
    exp_avg[...], exp_avg_sq[...] = m, v
    if max_exp_avg_sq is not None:
        v = np.maximum(max_exp_avg_sq, v)
        max_exp_avg_sq[...] = v
    denominator = np.sqrt(v) / math.sqrt(1 - beta2**step) + eps
    parameter[...] = p - lr / (1 - beta1**step) * m / denominator
