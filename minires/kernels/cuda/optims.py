"""One optimiser step for all parameters in one launch: the lists of addresses, and the launches.

Addresses are those of device memory: `array.data.ptr` of a CuPy array. They are gathered once and used at every step,
as long as the arrays stay where they are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.kernels.cuda.types import FLOAT, Array, Run

CHUNK = 4096  # as in optim.cu


@dataclass(frozen=True)
class Chunks:
    """Host arrays for the arguments that every kernel of optim.cu has."""

    addresses: np.ndarray  # [kinds][tensors] uint64
    sizes: np.ndarray  # [tensors] int64
    block_tensor: np.ndarray  # [blocks] int32
    block_chunk: np.ndarray  # [blocks] int32

    def arguments(self) -> dict[str, object]:
        return {
            "addresses": self.addresses,
            "sizes": self.sizes,
            "block_tensor": self.block_tensor,
            "block_chunk": self.block_chunk,
            "tensors": len(self.sizes),
            "blocks": len(self.block_tensor),
        }


def chunks_of(addresses: Sequence[Sequence[int]], sizes: Sequence[int]) -> Chunks:
    """addresses[kind][tensor], 0 for an array that is missing; sizes[tensor] in elements, each above 0."""
    counts = [-(-size // CHUNK) for size in sizes]
    tensor = np.repeat(np.arange(len(sizes)), counts)
    chunk = np.concatenate([np.arange(count) for count in counts]) if counts else np.zeros(0)
    return Chunks(np.array(addresses, np.uint64).reshape(len(addresses), len(sizes)), np.array(sizes, np.int64),
                  tensor.astype(np.int32), chunk.astype(np.int32))  # fmt: skip


def sgd_rates(lr: float) -> np.ndarray:
    return np.array([lr], np.float32)


def adam_rates(lr: float, beta1: float, beta2: float, step: int) -> np.ndarray:
    """`step` counts from 1."""
    return np.array([lr, 1 - beta1**step, 1 - beta2**step], np.float32)


def advanced_rates(run: Run, steps: Array, tensors: int, lr: float, beta1: float, beta2: float) -> Array:
    """[tensors][3]: `adam_rates` of each tensor, whose step numbers (float32, at the addresses `steps`) grow by 1.

    All of it happens on the GPU, and again whenever a captured graph is replayed.
    """
    logs = {f"log_beta{i}": math.log(beta) if beta else -math.inf for i, beta in ((1, beta1), (2, beta2))}
    given = {"addresses": steps, "tensors": tensors, "lr": lr, **logs}
    return run("adam_advance", "", given, {"rates": ((tensors, 3), FLOAT)})["rates"]


def clip_factor(
    run: Run, instance: str, chunks: Mapping[str, Any], skip: Array, inverse_scale: float, max_norm: float
) -> dict[str, Array]:
    """{"result": [norm, factor], "skip": [1]} from all gradients (kind 0), scaled by 1 / inverse_scale.

    chunks: the arguments of `Chunks`.
    """
    blocks = chunks["blocks"]
    outputs = {"squares": ((blocks,), FLOAT), "not_finite": ((blocks,), np.dtype(np.int32))}
    made = run("gradient_squares", instance, dict(chunks), outputs)
    given = {**made, "skip": skip, "chunks": blocks, "inverse_scale": inverse_scale, "max_norm": max_norm, "one": 1}
    return run("clip_factor", "", given, {"result": ((2,), FLOAT)})
