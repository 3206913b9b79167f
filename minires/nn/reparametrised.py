"""Weights that are computed from others: their length apart from their direction, or divided by their largest stretch.

Both put a hook before `forward` that computes `module.weight` anew from what is learnt, as torch.nn.utils does.
"""

from typing import Any, TypeVar

import numpy as np

from minires import ops
from minires.autograd import no_grad
from minires.nn import functional as F
from minires.nn.module import Module
from minires.nn.parameter import Parameter
from minires.tensor import Tensor

AnyModule = TypeVar("AnyModule", bound=Module)


class _Recipe:
    """How one weight is computed; called before each forward of the module."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def compute(self, module: Module) -> Tensor:
        raise NotImplementedError

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute(module))

    def apply(self, module: Module, learnt: dict[str, Tensor], kept: dict[str, Tensor]) -> None:
        """Replace the module's parameter by these parameters and buffers, and the hook."""
        for hook, _ in module._forward_pre_hooks.values():
            if isinstance(hook, _Recipe) and hook.name == self.name:
                raise RuntimeError(f"Cannot register two {type(self).__name__} hooks on the same parameter {self.name}")
        delattr(module, self.name)
        for ending, values in learnt.items():
            module.register_parameter(self.name + ending, Parameter(values))
        for ending, values in kept.items():
            module.register_buffer(self.name + ending, values)
        module.register_forward_pre_hook(self)
        self(module, None)

    def remove(self, module: Module, endings: tuple[str, ...]) -> None:
        """Make the computed weight an ordinary parameter again."""
        with no_grad():
            weight = self.compute(module).detach()
        delattr(module, self.name)
        for ending in endings:
            delattr(module, self.name + ending)
        module.register_parameter(self.name, Parameter(weight))


def length_along(v: Tensor, dim: int | None) -> Tensor:
    """The norm over all axes but `dim`, which have length 1 then; without axes, over all, for None."""
    norm = ops.norm(v, 2, [axis for axis in range(v.dim()) if dim is None or axis != dim % v.dim()], True)
    return norm.reshape(()) if dim is None else norm


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """(length of `dim`, all others)."""
    return weight.movedim(dim, 0).reshape(weight.shape[dim], -1)


class WeightNorm(_Recipe):
    """weight = g v / ||v||, the norm over all axes but `dim` (over all, for None). Salimans and Kingma 2016."""

    def compute(self, module: Module) -> Tensor:
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return v * (g / length_along(v, self.dim))


class SpectralNorm(_Recipe):
    """weight = weight_orig / s, s its largest singular value as a matrix (`dim`, all others). Miyato et al. 2018.

    s = u^T W v with vectors u and v that each forward in training brings nearer to the singular vectors, by
    `iterations` steps of v = W^T u / ||...||, u = W v / ||...||.
    """

    def __init__(self, name: str, dim: int, iterations: int, eps: float) -> None:
        super().__init__(name, dim)
        self.iterations, self.eps = iterations, eps

    def compute(self, module: Module) -> Tensor:
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = as_matrix(weight, self.dim or 0)
        if module.training:
            with no_grad():
                for _ in range(self.iterations):
                    v.copy_(F.normalize(ops.mv(matrix.t(), u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(ops.mv(matrix, v), dim=0, eps=self.eps))
        return weight / ops.dot(u.clone(), ops.mv(matrix, v.clone()))


def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """Learn the length `name`_g and the direction `name`_v of a weight apart; one length for each slice along `dim`."""
    recipe, weight = WeightNorm(name, dim), getattr(module, name)
    with no_grad():
        recipe.apply(module, {"_g": length_along(weight, dim).detach(), "_v": weight.detach()}, {})
    recipe(module, None)
    return module


def spectral_norm(
    module: AnyModule, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> AnyModule:
    """Divide a weight by its largest singular value, as a matrix of (`dim`, all others).

    n_power_iterations: steps towards the singular vectors in each forward in training. dim: 0, for None; 1 for
    transposed convolutions, whose outputs are counted there. ValueError for no steps.
    """
    if n_power_iterations <= 0:
        raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    recipe, weight = SpectralNorm(name, dim, n_power_iterations, eps), getattr(module, name)
    with no_grad():
        rows, columns = as_matrix(weight, dim).shape
        vectors = {
            ending: F.normalize(Tensor(np.empty(length, weight.dtype)).to(weight.device).normal_(), dim=0, eps=eps)
            for ending, length in (("_u", rows), ("_v", columns))
        }
        recipe.apply(module, {"_orig": weight.detach()}, vectors)
    return module


def _remove(module: Module, name: str, kind: type[_Recipe], endings: tuple[str, ...]) -> None:
    for key, (hook, _) in list(module._forward_pre_hooks.items()):
        if isinstance(hook, kind) and hook.name == name:
            hook.remove(module, endings)
            del module._forward_pre_hooks[key]
            return
    raise ValueError(f"{kind.__name__} of '{name}' not found in {module}")


def remove_weight_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Undo `weight_norm`: the weight as it is becomes a parameter. ValueError if there is none."""
    _remove(module, name, WeightNorm, ("_g", "_v"))
    return module


def remove_spectral_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Undo `spectral_norm`: the weight as it is becomes a parameter. ValueError if there is none."""
    _remove(module, name, SpectralNorm, ("_orig", "_u", "_v"))
    return module
