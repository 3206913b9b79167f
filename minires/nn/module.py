"""Module: a part of a network, which knows its parameters, its buffers and the modules inside it.

Assigning a Parameter or a Module to an attribute registers it; `register_buffer` registers a tensor that belongs to the
module without being learnt (batch norm's running statistics). Names are paths: `layer1.0.conv1.weight`.

Three switches that never mean each other:
    requires_grad   of a parameter: whether a gradient is computed for it
    training        of a module: `train()` / `eval()`, what dropout and batch norm do in forward
    frozen statistics   of a batch norm: whether it uses and keeps its running statistics (nn/norm.py)

Not here, other than in PyTorch: hooks that are global, backward pre-hooks, state-dict hooks and extra state.
"""

import difflib
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from minires import backend
from minires.backend import is_floating
from minires.nn.hooks import Hooked
from minires.nn.parameter import Parameter
from minires.nn.state import LoadReport, load_state
from minires.tensor import Tensor

_TABLES = ("_parameters", "_buffers", "_modules")


class Module(Hooked):
    """Base class of all layers and models: call `super().__init__()` first, then define `forward`."""

    training: bool
    optional_state: tuple[str, ...] = ()  # buffers that a state dict may lack even if strict
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, "Module | None"]
    _non_persistent: set[str]

    def __init__(self) -> None:
        for table in _TABLES:
            object.__setattr__(self, table, {})
        super().__init__()
        object.__setattr__(self, "_non_persistent", set())
        object.__setattr__(self, "training", True)

    def forward(self, *arguments: Any, **settings: Any) -> Any:
        """The computation; every module defines it. Call the module itself, so that hooks run."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # ------------------------------------------------------------------------------------------------ attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._start("parameters")
            self._forget(name)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._start("module")
            if name not in self._modules:  # a module replaced keeps its place in the order
                self._forget(name)
            self._modules[name] = value
        elif name in self.__dict__.get("_parameters", ()):
            _refuse_unless_none(name, value, "parameter", "Parameter")
            self._parameters[name] = None
        elif name in self.__dict__.get("_modules", ()):
            _refuse_unless_none(name, value, "child module", "Module")
            self._modules[name] = None
        elif name in self.__dict__.get("_buffers", ()):
            if not isinstance(value, Tensor):
                _refuse_unless_none(name, value, "buffer", "Tensor")
            self._buffers[name] = value
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:  # called only where the ordinary look-up has failed
        for table in _TABLES:
            entries = self.__dict__.get(table, {})
            if name in entries:
                return entries[name]
        message = f"{type(self).__name__!r} object has no attribute {name!r}"
        if "_modules" not in self.__dict__:
            message += ", and Module.__init__() has not been called"
        elif not name.startswith("__"):
            nearest = difflib.get_close_matches(name, dir(self), 1)
            message += f". Did you mean {nearest[0]!r}?" if nearest else ""
        raise AttributeError(message)

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        own = [name for table in _TABLES for name in self.__dict__.get(table, {})]
        return sorted({*object.__dir__(self), *own})

    def _forget(self, name: str) -> bool:
        self._non_persistent.discard(name)
        tables = [self.__dict__[table] for table in _TABLES]
        found = [table.pop(name) for table in (*tables, self.__dict__) if name in table]
        return bool(found)

    def _start(self, what: str) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")

    def _check_name(self, name: str, kind: str) -> None:
        self._start(kind)
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f"{kind} name can't be empty or contain \".\", got: {name!r}")
        taken = name in self.__dict__ or hasattr(type(self), name)
        own = self.__dict__["_modules" if kind == "module" else f"_{kind}s"]
        if name not in own and (taken or any(name in self.__dict__[table] for table in _TABLES)):
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None reserves the name. KeyError if it is taken, TypeError for no Parameter."""
        self._check_name(name, "parameter")
        if param is not None and not isinstance(param, Parameter):
            _refuse_unless_none(name, param, "parameter", "Parameter")
        if param is not None and param.grad_fn is not None:
            raise ValueError(f"cannot assign non-leaf Tensor to parameter '{name}': compute it in forward() instead")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is moved and converted along with the module; in the state dict if `persistent`."""
        self._check_name(name, "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            _refuse_unless_none(name, tensor, "buffer", "Tensor")
        self._buffers[name] = tensor
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a module under `name`; None reserves the name. KeyError if it is taken, TypeError for no Module."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name(name, "module")
        self._modules[name] = module

    register_module = add_module

    # -------------------------------------------------------------------------------------------- what is inside

    def named_modules(
        self, memo: "set[Module] | None" = None, prefix: str = "", remove_duplicate: bool = True
    ) -> "Iterator[tuple[str, Module]]":
        """(path, module) for this module (path "") and all inside it, each once unless remove_duplicate=False."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def _named_members(
        self, members: "Callable[[Module], dict[str, Any]]", prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in members(module).items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of this module and, if `recurse`, of all inside it; a shared one comes once."""
        return self._named_members(lambda module: module._parameters, prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(path, buffer) of this module and, if `recurse`, of all inside it; a shared one comes once."""
        return self._named_members(lambda module: module._buffers, prefix, recurse, remove_duplicate)

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        """(name, module) of the modules directly inside, each once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, as an optimizer wants them."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def children(self) -> "Iterator[Module]":
        """The modules directly inside."""
        return (module for _, module in self.named_children())

    def modules(self) -> "Iterator[Module]":
        """This module and all inside it."""
        return (module for _, module in self.named_modules())

    def get_submodule(self, target: str) -> "Module":
        """The module at a path such as "layer1.0.conv1"; "" is this one. AttributeError naming the step that fails."""
        module = self
        for name in target.split(".") if target else []:
            inside = getattr(module, name)
            if not isinstance(inside, Module):
                raise AttributeError(f"`{name}` is not a Module")
            module = inside
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as "layer1.0.conv1.weight"."""
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not a Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as "bn1.running_mean"."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return getattr(module, name)

    # ------------------------------------------------------------------------------------------------- the state

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """All parameters and persistent buffers by path, in PyTorch's order; they share memory with the module.

        keep_vars: the tensors themselves instead of detached ones.
        """
        state = {}
        for name, tensor in (*self._parameters.items(), *self._buffers.items()):
            if tensor is not None and name not in self._non_persistent:
                state[prefix + name] = tensor if keep_vars else tensor.detach()
        for name, module in self._modules.items():
            if module is not None:
                state.update(module.state_dict(prefix=f"{prefix}{name}.", keep_vars=keep_vars))
        return state

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> LoadReport:
        """Copy the values of a state dict (path -> Tensor or NumPy array) into this module.

        Values go into the existing arrays, whose type and memory order stay; `assign=True` takes the given arrays
        instead. Returns (missing_keys, unexpected_keys). Raises one RuntimeError that lists every missing key, every
        unexpected key (both only if `strict`), every wrong shape and every value that is no array; other than in
        PyTorch the module is then unchanged. A missing `num_batches_tracked` is no error (old files lack it).
        """
        return load_state(self, state_dict, strict, assign)

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all inside it to training (dropout drops, batch norm uses the batch)."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Switch to evaluation: `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch gradients on or off for all parameters. Statistics of batch norm are another switch (nn/norm.py)."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with 0."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else parameter.grad.detach().zero_()

    def apply(self, fn: "Callable[[Module], Any]") -> Self:
        """Call `fn` with every module inside, children first, this one last."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *target: Any, dtype: Any = None, device: Any = None) -> Self:
        """Convert parameters and buffers of real numbers to a dtype, and move all to a device, in place."""
        device, dtype = _destination(target, device, dtype)
        for tensor in (*self.parameters(), *self.buffers()):
            own = dtype if is_floating(tensor.dtype) else None
            tensor.array = Tensor(tensor.array).to(dtype=own, device=device).array
            if tensor.grad is not None:
                tensor.grad = tensor.grad.to(dtype=own, device=device)
        return self

    def float(self) -> Self:
        """Real numbers as float32."""
        return self.to("float32")

    def double(self) -> Self:
        """Real numbers as float64."""
        return self.to("float64")

    def half(self) -> Self:
        """Real numbers as float16."""
        return self.to("float16")

    def cpu(self) -> Self:
        """Everything on the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Self:
        """Everything on a GPU."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device or "cuda")

    # --------------------------------------------------------------------------------------------------- the text

    def extra_repr(self) -> str:
        """The settings shown between the brackets; layers define it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {indent(repr(module))}" for name, module in self._modules.items()]
        lines = [*(extra.split("\n") if extra else []), *children]
        if not children and len(lines) <= 1:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def indent(text: str) -> str:
    """All lines but the first moved in by two places."""
    return text.replace("\n", "\n  ")


def _refuse_unless_none(name: str, value: Any, kind: str, wanted: str) -> None:
    if value is not None:
        raise TypeError(f"cannot assign '{type(value).__name__}' as {kind} '{name}' ({wanted} or None expected)")


def _destination(target: tuple[Any, ...], device: Any, dtype: Any) -> tuple[Any, Any]:
    """The device and the type that the arguments of `to` name; None for one that is not named."""
    for value in target:
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, backend.device) or (isinstance(value, str) and value.startswith(("cpu", "cuda"))):
            device = value
        else:
            dtype = value
    if dtype is not None and not is_floating(np.dtype(dtype)):
        raise TypeError(f"a module can be converted to types of real numbers only, not {np.dtype(dtype)}")
    return device, None if dtype is None else np.dtype(dtype)
