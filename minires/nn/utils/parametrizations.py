"""Three ways to compute a weight: length and direction apart, divided by its largest stretch, orthonormal columns."""

from typing import Any

import numpy as np

from minires import ops
from minires.autograd import no_grad
from minires.backend import array_module
from minires.nn import functional as F
from minires.nn.module import Module
from minires.nn.reparametrised import as_matrix, length_along
from minires.nn.utils.parametrize import register_parametrization
from minires.ops.matrices import solve
from minires.ops.matrix_functions import householder_product, matrix_exp
from minires.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


class _WeightNorm(Module):
    """weight = g v / ||v||, the norm over all axes but `dim` (over all, for None). Salimans and Kingma 2016."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = None if dim == -1 else dim  # as in PyTorch, where -1 stands for None

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / length_along(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(length, direction) of a weight."""
        return length_along(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Learn a weight's length (original0) and direction (original1) apart, a length for each slice along `dim`."""
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    """weight / s, s = u^T W v nearly its largest singular value as a matrix (`dim`, all others). Miyato et al. 2018."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.dim() <= dim < weight.dim():
            raise IndexError(f"Dimension out of range (expected to be in range of [-{weight.dim()}, "
                             f"{weight.dim() - 1}] but got {dim})")  # fmt: skip
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got {n_power_iterations}")
        self.dim, self.eps, self.n_power_iterations = dim % weight.dim(), eps, n_power_iterations
        if weight.dim() > 1:
            matrix = as_matrix(weight.detach(), self.dim)
            for key, length in zip(("_u", "_v"), matrix.shape, strict=True):
                drawn = Tensor(np.empty(length, weight.dtype)).to(weight.device).normal_()
                self.register_buffer(key, F.normalize(drawn, dim=0, eps=eps))
            self._approach(matrix, 15)

    @no_grad()
    def _approach(self, matrix: Tensor, steps: int) -> None:
        """Bring u and v nearer to the singular vectors."""
        for _ in range(steps):
            self._u.copy_(F.normalize(ops.mv(matrix, self._v), dim=0, eps=self.eps))
            self._v.copy_(F.normalize(ops.mv(matrix.t(), self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._approach(matrix, self.n_power_iterations)
        return weight / ops.dot(self._u.clone(), ops.mv(matrix, self._v.clone()))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself: it is taken for a weight whose largest singular value is 1."""
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value, as a matrix (`dim`, all others); dim None: 0, or 1 for transposed
    convolutions. n_power_iterations: steps towards it in each forward in training.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """Q with orthonormal columns (rows, where there are fewer) from any matrix X. Lezcano-Casado 2019.

    matrix_exp: e^A; cayley: (1 - A / 2)^-1 (1 + A / 2), with A = L - L^T, L the lower half of X. householder: the
    product of the reflections in X. trivialize: from `base`, the weight as it was, so that learning begins there.
    """

    def __init__(self, weight: Tensor, orthogonal_map: str, trivialize: bool) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = tuple(weight.shape), orthogonal_map
        if trivialize:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        rows, columns = max(X.shape[-2:]), min(X.shape[-2:])
        is_wide = X.shape[-2] < X.shape[-1]
        X = X.mT if is_wide else X
        if self.orthogonal_map == "householder":
            below = X.tril(-1)
            Q = householder_product(below, 2.0 / (1.0 + (below * below).sum(-2)))
            Q = Q * X.diagonal(0, -2, -1).int().to(X.dtype).unsqueeze(-2)
        else:
            lower = X.tril()
            if rows != columns:
                lower = ops.cat([lower, X.new_zeros(*X.shape[:-1], rows - columns)], -1)
            A = lower - lower.mT
            one = Tensor(array_module(A.array).eye(rows, dtype=A.dtype)).expand(*A.shape)
            Q = matrix_exp(A) if self.orthogonal_map == "matrix_exp" else solve(one - A * 0.5, one + A * 0.5)
            Q = Q[..., :columns]
        base = self._buffers.get("base")
        Q = Q if base is None else base @ Q
        return Q.mT if is_wide else Q

    @no_grad()
    def right_inverse(self, Q: Tensor) -> Tensor:
        """The matrix from which Q, or the orthonormal columns of what is no such Q, are computed."""
        if tuple(Q.shape) != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}, got {tuple(Q.shape)}")
        is_wide, given = Q.shape[-2] < Q.shape[-1], Q
        Q = Q.mT if is_wide else Q
        if "base" not in self._buffers:
            if self.orthogonal_map != "householder":
                raise NotImplementedError("It is not possible to assign to the matrix exponential or the Cayley "
                                          "parametrizations when use_trivialization=False.")  # fmt: skip
            reflections, tau = _reflections(Q)
            xp, diagonal = array_module(Q.array), np.arange(Q.shape[-1])
            signs = xp.sign(reflections.array[..., diagonal, diagonal])
            reflections.array[..., diagonal, diagonal] = xp.where(tau.array == 0, -signs, signs)
            return reflections.mT if is_wide else reflections
        if Q.shape[-1] != Q.shape[-2]:
            more = Tensor(np.empty((*Q.shape[:-1], Q.shape[-2] - Q.shape[-1]), Q.dtype)).to(Q.device).normal_()
            self.base = _orthonormal(ops.cat([Q, more], -1))
        else:
            self.base = Q.clone() if _is_orthogonal(Q) else _orthonormal(Q)
        minus_one = given.new_zeros(given.shape)
        minus_one.diagonal(0, -2, -1).fill_(-1.0)
        return minus_one


def _reflections(Q: Tensor) -> tuple[Tensor, Tensor]:
    """LAPACK's geqrf: R with the reflections below its diagonal, and their factors. On the CPU, which has it."""
    packed, tau = np.linalg.qr(Q.detach().cpu().numpy(), mode="raw")
    return Tensor(np.array(packed.swapaxes(-1, -2))).to(Q.device), Tensor(np.array(tau)).to(Q.device)


def _orthonormal(A: Tensor) -> Tensor:
    """Q of A = Q R with R's diagonal above 0."""
    reflections, tau = _reflections(A)
    return householder_product(reflections, tau) * reflections.diagonal(0, -2, -1).sign().unsqueeze(-2)


def _is_orthogonal(Q: Tensor) -> bool:
    one = Tensor(array_module(Q.array).eye(Q.shape[-1], dtype=Q.dtype))
    return bool(((Q.mT @ Q - one).abs() <= 10 * Q.shape[-2] * np.finfo(Q.dtype).eps).all())


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: Any = None, *, use_trivialization: bool = True
) -> Module:
    """Keep the columns of a weight (..., m, n) orthonormal; its rows, where there are fewer of them.

    orthogonal_map: "matrix_exp" (for square weights, by default), "cayley" or "householder" (for others). With
    use_trivialization learning begins at the weight as it is; it must then be orthonormal, or is made so.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() < 2:
        raise ValueError(f"Expected a matrix or batch of matrices, got a tensor of {weight.dim()} dimensions")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-1] == weight.shape[-2] else "householder"
    if orthogonal_map not in MAPS:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
