"""One step of an optimiser: arithmetic in place, in the parameter's own type, a block that fits in the cache at a time.

Numbers that depend on the step alone (the bias corrections) are computed in Python's double precision. The formulas
stand in reference/optim.py.
"""

import math

import numpy as np

from minires.kernels.cpu.buffers import scratch
from minires.kernels.cpu.stretches import in_blocks

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
    """As the reference."""

    def update(p: np.ndarray, g: np.ndarray, buffer: np.ndarray | None) -> None:
        step, term = (scratch(name, p.shape, p.dtype) for name in ("step", "term"))
        direction = np.negative(g, out=step) if maximize else g
        if weight_decay != 0:
            direction = np.add(direction, np.multiply(p, weight_decay, out=term), out=step)
        if momentum != 0 and buffer is not None:
            follow(buffer, direction, term)
            direction = np.add(direction, np.multiply(buffer, momentum, out=term), out=step) if nesterov else buffer
        p -= np.multiply(direction, lr, out=term)

    def follow(buffer: np.ndarray, direction: np.ndarray, term: np.ndarray) -> None:
        if first:
            buffer[...] = direction
        else:
            buffer *= momentum
            buffer += np.multiply(direction, 1 - dampening, out=term) if dampening else direction

    in_blocks([parameter, grad, momentum_buffer], update)


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
    """As the reference."""
    rate = lr / (1 - beta1**step)
    correction = 1 / math.sqrt(1 - beta2**step)

    def update(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, largest: np.ndarray | None) -> None:
        direction, term = (scratch(name, p.shape, p.dtype) for name in ("step", "term"))
        np.multiply(g, -1 if maximize else 1, out=direction)
        if decoupled:
            p *= 1 - lr * weight_decay
        elif weight_decay != 0:
            direction += np.multiply(p, weight_decay, out=term)
        m *= beta1
        m += np.multiply(direction, 1 - beta1, out=term)
        v *= beta2
        np.multiply(direction, direction, out=term)
        term *= 1 - beta2
        v += term
        if largest is not None:
            v = np.maximum(largest, v, out=largest)
        np.sqrt(v, out=term)
        term *= correction
        term += eps
        np.divide(m, term, out=term)
        term *= rate
        p -= term

    in_blocks([parameter, grad, exp_avg, exp_avg_sq, max_exp_avg_sq], update)
