"""Matrix products of a plan: the right operand (a layer's weights) is known beforehand and can be laid out for speed.

The weights are cut into groups of 64 columns, the left operand into as many rows as make a small product with them (see
small_products.py), which reach 250 to 265 GFLOP/s instead of 160 to 240 here.
"""

import functools
from collections.abc import Callable

import numpy as np

from minires.kernels.cpu import small_products
from minires.kernels.cpu.inference_layout import Call
from minires.kernels.cpu.small_products import COLUMNS, UNPACKED, Product, grid, stretches

FEWEST_ROWS = 14  # of a small product: with fewer, the weights are read too often


class Weights:
    """The right operand (..., K, N): a matrix, or several for as many left operands. Kept in the orders in use only."""

    def __init__(self, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> None:
        self.shape, self.make = shape, make
        self.kept: dict[str, np.ndarray] = {}

    @property
    def columns(self) -> int:
        """Of a group: a number that divides N."""
        n = self.shape[-1]
        return n if n <= COLUMNS else next((c for c in (COLUMNS, 48, 32) if n % c == 0), n)

    def plain(self) -> np.ndarray:
        """(..., K, N), contiguous."""
        if "plain" not in self.kept:
            self.kept["plain"] = np.ascontiguousarray(self.make())
        return self.kept["plain"]

    def grouped(self) -> np.ndarray:
        """(..., N / columns, 1, K, columns), contiguous."""
        if "grouped" not in self.kept:
            *many, k, n = self.shape
            cut = self.make().reshape(*many, k, n // self.columns, 1, self.columns)
            self.kept["grouped"] = np.ascontiguousarray(np.moveaxis(cut, -4, -2))
        return self.kept["grouped"]

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self.kept.values())

    def product(self, left: np.ndarray, out: np.ndarray) -> list[Call]:
        """Calls that compute out (..., R, N) = left (..., R, K) right."""
        rows, k = left.shape[-2:]
        high = UNPACKED // max(1, k * self.columns)
        if not small_products.small_products_pay() or high < min(FEWEST_ROWS, rows) or not k or not out.size:
            return calls([(left, self.plain(), out)])
        return calls(grid(left, self.grouped(), out))


def calls(products: list[Product]) -> list[Call]:
    return [functools.partial(np.matmul, *product) for product in products]


def transform(matrix: np.ndarray, values: np.ndarray, out: np.ndarray) -> list[Call]:
    """Calls for out (P, M) = matrix (P, Q) values (Q, M), where P and Q are few and M is many."""
    return calls(stretches(matrix, values, out))
