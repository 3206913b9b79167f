"""Equations with matrices: inverse, determinant, solving, Cholesky, QR, singular values. Leading axes count matrices.

The derivatives follow from differentiating the equation that defines the result, for example X Y = 1: dX Y + X dY = 0.
Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation".
"""

from typing import Any

import numpy as np

from minires.autograd import Function, Node
from minires.backend import Array, array_module
from minires.ops.choice import where
from minires.ops.elementwise import abs
from minires.ops.linalg import matmul
from minires.ops.moments import norm
from minires.ops.reduce import amax, amin, need_real, sum
from minires.ops.shape import unsqueeze
from minires.tensor import Tensor, register


def _t(x: Array) -> Array:
    return x.swapaxes(-1, -2)


class Inv(Function):
    """Y X = 1;  dX = -Y^T dY Y^T."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = array_module(x).linalg.inv(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (y,) = ctx.saved_arrays
        return -_t(y) @ grad @ _t(y)


class Det(Function):
    """y = det X;  dX = dy times the cofactors of X, which exist for singular matrices too.

    With X = U S V^T the cofactors are det U det V U C V^T, C diagonal: the product of all other singular values.
    """

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        ctx.save_for_backward(x)
        return array_module(x).asarray(array_module(x).linalg.det(x))

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (x,) = ctx.saved_arrays
        xp = array_module(x)
        if not xp.isfinite(x).all():
            return xp.full_like(x, float("nan"))
        u, s, vt = xp.linalg.svd(x)
        others = xp.repeat(s[..., None, :], s.shape[-1], -2)
        others[..., xp.arange(s.shape[-1]), xp.arange(s.shape[-1])] = 1
        signs = xp.asarray(xp.linalg.det(u) * xp.linalg.det(vt))
        return (grad * signs)[..., None, None] * (u * others.prod(-1)[..., None, :]) @ vt


class LogAbsDet(Function):
    """y = ln |det X|;  dX = dy X^-T. It has a sign, too, without a derivative."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> tuple[Array, Array]:
        sign, y = array_module(x).linalg.slogdet(x)
        ctx.save_for_backward(x)
        return array_module(x).asarray(sign), array_module(x).asarray(y)

    @staticmethod
    def backward(ctx: Node, sign: Array | None, grad: Array) -> Array:
        (x,) = ctx.saved_arrays
        return grad[..., None, None] * _t(array_module(x).linalg.inv(x))


class Solve(Function):
    """A X = B;  dB = A^-T dX, dA = -dB X^T."""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        x = array_module(a).linalg.solve(a, b)
        ctx.save_for_backward(a, x)
        return x

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array, Array]:
        a, x = ctx.saved_arrays
        db = array_module(a).linalg.solve(_t(a), grad)
        return -db @ _t(x), db


class Cholesky(Function):
    """L L^T = X, L below the diagonal;  dX = the symmetric part of L^-T P L^-1, P the lower half of L^T dL."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        y = array_module(x).linalg.cholesky(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        (y,) = ctx.saved_arrays
        xp = array_module(y)
        half = xp.tril(_t(y) @ xp.tril(grad))
        half = half - xp.tril(xp.triu(half)) / 2
        inverse = xp.linalg.inv(y)
        dx = _t(inverse) @ half @ inverse
        return (dx + _t(dx)) / 2


class QR(Function):
    """Q R = X, Q^T Q = 1, R above the diagonal;  dX = (dQ + Q symmetric(R dR^T - dQ^T Q)) R^-T.

    symmetric(M): the lower half of M mirrored at the diagonal. For matrices with no more columns than rows.
    """

    @staticmethod
    def forward(ctx: Node, x: Array) -> tuple[Array, Array]:
        q, r = array_module(x).linalg.qr(x)
        ctx.save_for_backward(q, r)
        return q, r

    @staticmethod
    def backward(ctx: Node, dq: Array | None, dr: Array | None) -> Array:
        q, r = ctx.saved_arrays
        xp = array_module(q)
        dq = xp.zeros_like(q) if dq is None else dq
        dr = xp.zeros_like(r) if dr is None else dr
        inner = r @ _t(dr) - _t(dq) @ q
        lower = xp.tril(inner, -1)
        mirrored = lower + _t(lower) + inner * xp.eye(inner.shape[-1], dtype=inner.dtype)
        return _t(xp.linalg.solve(r, _t(dq + q @ mirrored)))


class SingularValues(Function):
    """X = U S V^T, y the diagonal of S;  dX = U dy V^T."""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        u, s, vt = array_module(x).linalg.svd(x, full_matrices=False)
        ctx.save_for_backward(u, vt)
        return s

    @staticmethod
    def backward(ctx: Node, grad: Array) -> Array:
        u, vt = ctx.saved_arrays
        return (u * grad[..., None, :]) @ vt


# ------------------------------------------------------------------------------------------- the functions users call


def _checked(x: Tensor, name: str, square: bool = True) -> Tensor:
    need_real(x, name)
    if x.dtype.itemsize < 4:
        raise RuntimeError(f"{name}: low precision types are not supported, got {x.dtype}")
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise RuntimeError(f"{name}: expected {'square matrices' if square else 'matrices'}, got shape {x.shape}")
    return x


def _solvable(function: type[Function], name: str, *tensors: Tensor) -> Any:
    try:
        return function.apply(*tensors)
    except np.linalg.LinAlgError as error:
        raise RuntimeError(f"{name}: {error}") from error


@register
def inverse(input: Tensor) -> Tensor:
    """The inverse of square matrices. RuntimeError for a singular one."""
    return _solvable(Inv, "inverse", _checked(input, "inverse"))


@register
def det(input: Tensor) -> Tensor:
    """The determinants of square matrices."""
    return Det.apply(_checked(input, "det"))


@register
def slogdet(input: Tensor) -> tuple[Tensor, Tensor]:
    """(sign, ln |determinant|) of square matrices."""
    sign, logarithm = LogAbsDet.apply(_checked(input, "slogdet"))
    return sign.detach(), logarithm


@register
def logdet(input: Tensor) -> Tensor:
    """ln determinant; NaN where the determinant is negative."""
    sign, logarithm = slogdet(input)
    return where(sign >= 0, logarithm, float("nan"))


@register
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (X A = B unless `left`): A square, B matrices or vectors. RuntimeError for a singular A."""
    _checked(A, "solve")
    if A.dtype != B.dtype:
        raise RuntimeError(f"solve: A is {A.dtype}, B {B.dtype}: they must be of one type")
    if B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1]):
        if not left or B.shape[-1] != A.shape[-1]:
            raise RuntimeError(f"solve: A of shape {A.shape} and a vector B of shape {B.shape} do not fit")
        return solve(A, unsqueeze(B, -1)).squeeze(-1)
    if not left:
        return solve(A.transpose(-1, -2), B.transpose(-1, -2)).transpose(-1, -2)
    if A.shape[-1] != B.shape[-2]:
        raise RuntimeError(f"solve: A of shape {A.shape} and B of shape {B.shape} do not fit")
    batch = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    return _solvable(Solve, "solve", A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:]))


@register
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """L with L L^T = (input + input^T) / 2, matrices that are symmetric and positive: RuntimeError if they are not.

    For symmetric matrices that is what PyTorch gives, which reads the lower half only.
    """
    _checked(input, "cholesky")
    found = _solvable(Cholesky, "cholesky", (input + input.transpose(-1, -2)) / 2)
    return found.transpose(-1, -2) if upper else found


@register
def qr(A: Tensor, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """(Q, R): A = Q R, Q with orthonormal columns, R above the diagonal. Only mode="reduced"."""
    if mode != "reduced" or A.shape[-2] < A.shape[-1]:
        raise NotImplementedError(f"qr: only mode='reduced' of matrices with no more columns than rows is supported, "
                                  f"got {mode!r}, {A.shape}")  # fmt: skip
    return QR.apply(_checked(A, "qr", square=False))


@register
def svdvals(A: Tensor) -> Tensor:
    """The singular values of matrices, from the largest."""
    return SingularValues.apply(_checked(A, "svdvals", square=False))


@register
def matrix_power(input: Tensor, n: int) -> Tensor:
    """The n-th power of square matrices, n any whole number."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise RuntimeError(f"matrix_power: expected square matrices, got shape {input.shape}")
    result, factor = None, inverse(input) if n < 0 else input
    n = -n if n < 0 else n
    while n:
        if n % 2:
            result = factor if result is None else matmul(result, factor)
        n //= 2
        factor = matmul(factor, factor) if n else factor
    if result is None:
        xp = array_module(input.array)
        return Tensor(xp.broadcast_to(xp.eye(input.shape[-1], dtype=input.dtype), input.shape).copy())
    return result


@register
def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """A norm of matrices in the axes `dim`: "fro", "nuc", 1 (largest column of |A|), inf (row), 2 (singular value).

    -1, -inf and -2: the smallest.
    """
    need_real(A, "matrix_norm")
    rows, columns = (axis % A.ndim for axis in dim)
    if ord == "fro":
        return norm(A, 2, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        values = svdvals(A.movedim((rows, columns), (-2, -1)))
        found = sum(values, -1) if ord == "nuc" else (amax if ord == 2 else amin)(values, -1)
        for axis in sorted((rows, columns)) if keepdim else ():
            found = unsqueeze(found, axis)
        return found
    if ord not in (1, -1, float("inf"), -float("inf")):
        raise RuntimeError(f"matrix_norm: ord {ord!r} is not supported")
    along, other = (rows, columns) if ord in (1, -1) else (columns, rows)
    found = (amax if ord > 0 else amin)(sum(abs(A), along, True), other, True)
    return found if keepdim else found.squeeze((rows, columns))
