"""What a Module does when something is assigned to it: parameters, buffers and modules are registered by name."""

import difflib
from typing import Any

from minires.nn.hooks import Hooked
from minires.nn.parameter import Buffer, Parameter
from minires.tensor import Tensor

_TABLES = ("_parameters", "_buffers", "_modules")


class Registry(Hooked):
    """The part of a Module that knows its parameters, buffers and modules by name."""

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent: set[str]

    def __init__(self) -> None:
        for table in _TABLES:
            object.__setattr__(self, table, {})
        super().__init__()
        object.__setattr__(self, "_non_persistent", set())
        object.__setattr__(self, "training", True)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._start("parameters")
            self._forget(name)
            self.register_parameter(name, value)
        elif isinstance(value, Registry):
            self._start("module")
            if name not in self._modules:  # a module replaced keeps its place in the order
                self._forget(name)
            self._modules[name] = value
        elif isinstance(value, Buffer) and name not in self.__dict__.get("_buffers", ()):
            self._start("buffers")
            self._forget(name)
            self.register_buffer(name, value, value.persistent)
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
            raise KeyError(f'{kind} name can\'t be empty or contain ".", got: {name!r}')
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

    def add_module(self, name: str, module: "Registry | None") -> None:
        """Add a module under `name`; None reserves the name. KeyError if it is taken, TypeError for no Module."""
        if module is not None and not isinstance(module, Registry):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name(name, "module")
        self._modules[name] = module

    register_module = add_module


def _refuse_unless_none(name: str, value: Any, kind: str, wanted: str) -> None:
    if value is not None:
        raise TypeError(f"cannot assign '{type(value).__name__}' as {kind} '{name}' ({wanted} or None expected)")
