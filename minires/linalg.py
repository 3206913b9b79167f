"""torch.linalg, as far as it is here: norms, inverses, equations with matrices.

Not here: eigenvalues, singular vectors, least squares, LU; they are not what image models are made of.
"""

from collections.abc import Sequence
from typing import Any

from minires.ops.diagonal import diagonal as _diagonal
from minires.ops.kinds_of_products import cross as _cross
from minires.ops.kinds_of_products import vecdot
from minires.ops.linalg import matmul
from minires.ops.matrices import cholesky as _cholesky
from minires.ops.matrices import det as _det
from minires.ops.matrices import inverse as _inverse
from minires.ops.matrices import matrix_norm as _matrix_norm
from minires.ops.matrices import matrix_power as _matrix_power
from minires.ops.matrices import qr, solve, svdvals
from minires.ops.matrices import slogdet as _slogdet
from minires.ops.matrix_functions import householder_product, matrix_exp
from minires.ops.moments import norm as _norm
from minires.tensor import Tensor

__all__ = [
    "cholesky", "cross", "det", "diagonal", "householder_product", "inv", "matmul", "matrix_exp", "matrix_norm",
    "matrix_power", "multi_dot", "norm", "qr", "slogdet", "solve", "svdvals", "vecdot", "vector_norm",
]  # fmt: skip


def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices. RuntimeError for a singular one."""
    return _inverse(A)


def det(A: Tensor) -> Tensor:
    """The determinants of square matrices."""
    return _det(A)


def slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    """(sign, ln |determinant|) of square matrices."""
    return _slogdet(A)


def matrix_power(A: Tensor, n: int) -> Tensor:
    """The n-th power of square matrices, n any whole number."""
    return _matrix_power(A, n)


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A norm of matrices in the axes `dim`: "fro", "nuc", 1, -1, 2, -2, infinity or minus infinity."""
    return _matrix_norm(A if dtype is None else A.to(dtype), ord, dim, keepdim)


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with L L^T = A, which is symmetric and positive."""
    return _cholesky(A, upper)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of length 3 along `dim`."""
    return _cross(input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices."""
    return _diagonal(A, offset, dim1, dim2)


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices (the first and the last may be vectors), from the left."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot: expected at least 2 tensors but got {len(tensors)}")
    result = tensors[0]
    for factor in tensors[1:]:
        result = matmul(result, factor)
    return result


def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(sum |x|^ord)^(1/ord) along `dim` (all axes, for None): any number, infinity and minus infinity too."""
    return _norm(x, ord, dim, keepdim, dtype=dtype)


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """`vector_norm` along one axis, or `matrix_norm` in two; without `ord` the 2-norm of all elements along `dim`."""
    A = A if dtype is None else A.to(dtype)
    if ord is None:
        return _norm(A, 2, dim, keepdim)
    if dim is None and A.ndim > 2:
        raise RuntimeError(f"linalg.norm: with ord dim must be given for an input of shape {A.shape}")
    axes = range(A.ndim) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if len(axes) == 2:
        return matrix_norm(A, ord, tuple(axes), keepdim)
    return _norm(A, ord, tuple(axes), keepdim)
