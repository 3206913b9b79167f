"""The exponential of matrices and products of reflections: what matrices with orthonormal columns are made of."""

import math

from minires.backend import array_module
from minires.ops.elementwise import div
from minires.ops.linalg import matmul
from minires.ops.matrices import _checked
from minires.ops.shape import cat, transpose, unsqueeze
from minires.tensor import Tensor, register

TERMS = 19  # of the series: 0.5^20 / 20! is below the rounding of float64


@register
def matrix_exp(A: Tensor) -> Tensor:
    """1 + A + A A / 2 + A A A / 6 + ... of square matrices.

    A is first halved until its largest row sum is at most 1/2, and the result squared as often. Higham 2008,
    "Functions of matrices", section 10.3, with Taylor's series.
    """
    _checked(A, "matrix_exp")
    xp = array_module(A.array)
    size = float(xp.abs(A.array).sum(-1).max()) if A.numel() else 0.0
    halvings = max(0, math.ceil(math.log2(size)) + 1) if 0 < size < math.inf else 0
    small, one = div(A, 2.0**halvings), Tensor(xp.eye(A.shape[-1], dtype=A.dtype))
    found = one + small / TERMS
    for term in range(TERMS - 1, 0, -1):
        found = one + matmul(small, found) / term
    for _ in range(halvings):
        found = matmul(found, found)
    return found


@register
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of H_0 H_1 ..., H_i = 1 - tau_i v v^T: v is 0 above i, 1 at i, and below it column i of A.

    A (..., m, n) with n <= m, tau (..., k) with k <= n: what a QR decomposition by reflections keeps.
    """
    _checked(A, "householder_product", square=False)
    rows, columns, count = A.shape[-2], A.shape[-1], tau.shape[-1]
    if columns > rows or count > columns or tau.shape[:-1] != A.shape[:-2] or tau.dtype != A.dtype:
        raise RuntimeError(f"householder_product: A of shape {A.shape} and tau of shape {tau.shape} do not fit")
    xp = array_module(A.array)
    found = Tensor(xp.broadcast_to(xp.eye(rows, columns, dtype=A.dtype), A.shape).copy())
    for number in reversed(range(count)):
        above = Tensor(xp.broadcast_to(xp.eye(number + 1, 1, -number, A.dtype), (*A.shape[:-2], number + 1, 1)))
        v = cat([above, A[..., number + 1 :, number : number + 1]], -2)
        found = found - unsqueeze(unsqueeze(tau[..., number], -1), -1) * matmul(v, matmul(transpose(v, -1, -2), found))
    return found
