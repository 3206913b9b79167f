"""Module: a part of a network, which knows its parameters, its buffers and the modules inside it.

Assigning a Parameter or a Module to an attribute registers it; `register_buffer` registers a tensor that belongs to the
module without being learnt (batch norm's running statistics). Names are paths: `layer1.0.conv1.weight`.

Three switches that never mean each other:
    requires_grad   of a parameter: whether a gradient is computed for it
    training        of a module: `train()` / `eval()`, what dropout and batch norm do in forward
    frozen statistics   of a batch norm: whether it uses and keeps its running statistics (nn/norm.py)

Not here, other than in PyTorch: hooks that are global, backward pre-hooks, state-dict hooks and extra state.
"""

from collections.abc import Callable, Iterator
from typing import Any, Self

from minires import backend
from minires.backend import is_floating
from minires.nn.parameter import Parameter
from minires.nn.registry import Registry
from minires.nn.state import LoadReport, load_state
from minires.tensor import HookHandle, Tensor


class Module(Registry):
    """Base class of all layers and models: call `super().__init__()` first, then define `forward`."""

    optional_state: tuple[str, ...] = ()  # buffers that a state dict may lack even if strict
    _modules: "dict[str, Module | None]"

    def forward(self, *arguments: Any, **settings: Any) -> Any:
        """The computation; every module defines it. Call the module itself, so that hooks run."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

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

    def modules(self, remove_duplicate: bool = True) -> "Iterator[Module]":
        """This module and all inside it, each once, or as often as it occurs."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def get_submodule(self, target: str) -> "Module":
        """The module at a path such as "layer1.0.conv1"; "" is this one. AttributeError naming the step that fails."""
        module = self
        for name in target.split(".") if target else []:
            inside = module._modules[name] if name in module._modules else getattr(module, name)
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

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """For classes to define: change old keys of a copy of the state dict, then call this one, which does nothing.

        The values are loaded when every module has had its turn. What is put into error_msgs is raised.
        """

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> HookHandle:
        """Call `hook(module, state_dict, prefix, ...)`, as `_load_from_state_dict`, before a state dict is loaded."""
        return HookHandle(self.__dict__.setdefault("_load_state_dict_pre_hooks", {}), hook)

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

    def fuse(self, example: Tensor | None = None) -> "Module":
        """A copy for inference with batch norms folded into convolutions: see `minires.compile_inference`."""
        from minires.nn.fuse import compile_inference

        return compile_inference(self, example)

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

    def to(
        self, *target: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False,
        memory_format: Any = backend.preserve_format,
    ) -> Self:  # fmt: skip
        """Convert parameters and buffers of real numbers to a dtype, and move all to a device, in place.

        memory_format: that of tensors with four axes, see `Tensor.contiguous`. non_blocking: see `Tensor.to`.
        """
        device, dtype = _destination(target, device, dtype)
        for tensor in (*self.parameters(), *self.buffers()):
            how = {"dtype": dtype if is_floating(tensor.dtype) else None, "device": device,
                   "non_blocking": non_blocking}  # fmt: skip
            if tensor.dim() == 4:
                how["memory_format"] = memory_format
            tensor.array = Tensor(tensor.array).to(**how).array
            if tensor.grad is not None:
                tensor.grad = tensor.grad.to(**how)
        return self

    def type(self, dst_type: Any) -> Self:
        """Real numbers in another type: `to(dst_type)`."""
        return self.to(dst_type)

    def float(self) -> Self:
        """Real numbers as float32."""
        return self.to("float32")

    def double(self) -> Self:
        """Real numbers as float64."""
        return self.to("float64")

    def half(self) -> Self:
        """Real numbers as float16."""
        return self.to("float16")

    def bfloat16(self) -> Self:
        """Real numbers as bfloat16."""
        return self.to("bfloat16")

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


def _destination(target: tuple[Any, ...], device: Any, dtype: Any) -> tuple[Any, Any]:
    """The device and the type that the arguments of `to` name; None for one that is not named."""
    for value in target:
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, backend.device) or (isinstance(value, str) and value.startswith(("cpu", "cuda"))):
            device = value
        else:
            dtype = value
    dtype = None if dtype is None else backend.as_dtype(dtype)
    if dtype is not None and not is_floating(dtype):
        raise TypeError(f"a module can be converted to types of real numbers only, not {dtype}")
    return device, dtype
