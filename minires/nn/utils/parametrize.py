"""Parameters that are computed from others whenever they are read: `register_parametrization(linear, "weight", f)`.

The module's class becomes one of its own, in which the name is a property: f(original), the original standing in
`module.parametrizations.weight.original` (or original0, original1, ..., where f takes several tensors).
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from minires.autograd import no_grad
from minires.nn.containers import ModuleDict, ModuleList
from minires.nn.module import Module
from minires.nn.parameter import Parameter
from minires.tensor import Tensor

__all__ = ["ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations"]

_cache: dict[tuple[int, str], Tensor] | None = None


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Within the block each parametrized tensor is computed once."""
    global _cache
    outer, _cache = _cache, {} if _cache is None else _cache
    try:
        yield
    finally:
        _cache = outer


class ParametrizationList(ModuleList):
    """The functions that one tensor goes through, and what it is computed from."""

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        super().__init__(modules)
        self.unsafe, kind = unsafe, type(original)
        with no_grad():
            found = self._inverted(original)
        self.is_tensor = isinstance(found, Tensor)
        for number, values in enumerate([found] if self.is_tensor else found):
            name = "original" if self.is_tensor else f"original{number}"
            if issubclass(kind, Parameter):
                self.register_parameter(name, Parameter(values, original.requires_grad))
            else:
                self.register_buffer(name, values)
        self.count = 1 if self.is_tensor else len(found)
        if not unsafe:
            with no_grad():
                made = self()
            if not isinstance(made, Tensor) or made.dtype != original.dtype or made.shape != original.shape:
                raise ValueError(f"a parametrization may not change the tensor's type or shape ({original.dtype}, "
                                 f"{original.shape}) unless unsafe=True, got {made!r}")  # fmt: skip

    def originals(self) -> list[Tensor]:
        """What the tensor is computed from."""
        return [getattr(self, "original" if self.is_tensor else f"original{number}") for number in range(self.count)]

    def _inverted(self, value: Tensor) -> Any:
        """What makes the functions give this value, as far as they have a `right_inverse`."""
        for module in reversed(list(self)):
            if hasattr(module, "right_inverse"):
                with contextlib.suppress(NotImplementedError):  # as in PyTorch: then the value itself is the original
                    value = module.right_inverse(value)
        return value

    @no_grad()
    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the tensor has this value."""
        found = self._inverted(value)
        for original, values in zip(self.originals(), [found] if self.is_tensor else found, strict=True):
            original.copy_(values)

    def forward(self) -> Tensor:
        first, *others = self
        value = first(*self.originals())
        for module in others:
            value = module(value)
        return value


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of the module, or the named one, is parametrized."""
    lists = module._modules.get("parametrizations")
    return isinstance(lists, ModuleDict) and (len(lists) > 0 if tensor_name is None else tensor_name in lists)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer by `parametrization(original)` from now on; several go one after the other.

    `parametrization.right_inverse(value)`, if there is one, gives the original (or several) for a value. unsafe: type
    and shape may change, nothing is checked. ValueError for a name that is neither parameter nor buffer.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        lists = module.parametrizations[tensor_name]
        with no_grad():
            value, chain = getattr(module, tensor_name).detach(), [*lists, parametrization]
        fresh = ParametrizationList(chain, value, unsafe or lists.unsafe)
        for own, new in zip(lists.originals(), fresh.originals(), strict=True):
            own.data = new.data
        lists.append(parametrization)
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
                         f"'{tensor_name}'")  # fmt: skip
    lists = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.__class__ = type(f"Parametrized{type(module).__name__}", (type(module),), {})
        module.parametrizations = ModuleDict()
    setattr(type(module), tensor_name, _computed(tensor_name))
    module.parametrizations[tensor_name] = lists
    return module


def _computed(name: str) -> property:
    def get(self: Module) -> Tensor:
        if _cache is None:
            return self.parametrizations[name]()
        key = id(self), name
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def put(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make the tensor an ordinary one again, with its value (or, unless leave_parametrized, with its original's)."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    lists = module.parametrizations[tensor_name]
    if not leave_parametrized and not lists.is_tensor:
        raise ValueError("leave_parametrized=False is not supported where there are several originals")
    with no_grad():
        value = getattr(module, tensor_name) if leave_parametrized else lists.original
    learnt, first = bool(lists._parameters), lists.originals()[0]
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if not len(module.parametrizations):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    if learnt:
        module.register_parameter(tensor_name, Parameter(value.detach(), first.requires_grad))
    else:
        module.register_buffer(tensor_name, value.detach())
    return module
