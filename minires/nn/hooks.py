"""Hooks: functions that run before or after a module's forward, or when the gradient passes through it.

A backward hook needs two boundaries around the module's forward, one on either side:

    inputs -> [boundary] -> forward -> [boundary] -> outputs

A boundary hands its tensors on unchanged. Walking back, the gradient passes the outer boundary first, which keeps it as
`grad_output`; when it reaches the inner one, `grad_input` is known too and the hooks run. As in PyTorch, the outputs of
a module with a backward hook are views that must not be changed in place.
"""

from collections.abc import Callable, Sequence
from typing import Any

from minires.autograd import Function, Node, is_grad_enabled
from minires.backend import Array
from minires.tensor import HookHandle, Tensor

Gradients = Sequence[Array]
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks")


class Hooked:
    """The part of a Module that is called: forward with the hooks around it."""

    def __init__(self) -> None:
        for table in _HOOKS:
            object.__setattr__(self, table, {})

    def forward(self, *arguments: Any, **settings: Any) -> Any:
        """The computation, which a Module defines."""
        raise NotImplementedError

    @property
    def has_hooks(self) -> bool:
        """Whether any hook is registered on this module itself."""
        return any(self.__dict__[table] for table in _HOOKS)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call `hook(module, args)` before forward; what it returns, if anything, replaces the arguments.

        with_kwargs: call `hook(module, args, kwargs)`, which returns (args, kwargs) or None.
        """
        return _add(self.__dict__["_forward_pre_hooks"], (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call `hook(module, args, output)` after forward; what it returns, if anything, replaces the output.

        with_kwargs: call `hook(module, args, kwargs, output)`.
        """
        return _add(self.__dict__["_forward_hooks"], (hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> HookHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradient has passed this module.

        Both are tuples of Tensors (None in grad_input where an argument has no gradient); gradients returned replace
        grad_input. Runs at once with grad_output if no argument needs a gradient.
        """
        return _add(self.__dict__["_backward_hooks"], (hook, False), prepend)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        if not self.has_hooks:
            return self.forward(*arguments, **settings)
        for hook, with_settings in list(self.__dict__["_forward_pre_hooks"].values()):
            if with_settings:
                changed = hook(self, arguments, settings)
                if changed is not None:
                    arguments, settings = changed
                continue
            changed = hook(self, arguments)
            if changed is not None:
                arguments = changed if isinstance(changed, tuple) else (changed,)
        backward_hooks = [hook for hook, _ in self.__dict__["_backward_hooks"].values()]
        watch = BackwardWatch(self, backward_hooks) if backward_hooks and is_grad_enabled() else None
        if watch:
            arguments = watch.before_forward(arguments)
        output = self.forward(*arguments, **settings)
        for hook, with_settings in list(self.__dict__["_forward_hooks"].values()):
            changed = hook(self, arguments, settings, output) if with_settings else hook(self, arguments, output)
            output = output if changed is None else changed
        return watch.after_forward(output) if watch else output


def _add(hooks: dict[int, Any], entry: tuple[Callable[..., Any], bool], prepend: bool) -> HookHandle:
    older = dict(hooks)
    handle = HookHandle(hooks, entry)  # type: ignore[arg-type]
    if prepend:  # dictionaries keep the order of insertion: take the older ones out and put them behind
        for key in older:
            del hooks[key]
        hooks.update(older)
    return handle


class _Boundary(Function):
    """y = x for each tensor;  dx = whatever `passed(dy)` makes of the gradients."""

    @staticmethod
    def forward(ctx: Node, *arrays: Array, passed: Callable[[Gradients], Gradients]) -> tuple[Array, ...]:
        ctx.passed = passed
        return arrays

    @staticmethod
    def backward(ctx: Node, *gradients: Array) -> tuple[Array, ...]:
        return tuple(ctx.passed(gradients))


class BackwardWatch:
    """Runs `hooks(module, grad_input, grad_output)` for one call of `module`.

    grad_input has an entry for each positional argument (None where there is no gradient), grad_output one for each
    output. A hook may return gradients that replace grad_input.
    """

    def __init__(self, module: Any, hooks: Sequence[Callable[..., Any]]) -> None:
        self.module, self.hooks = module, hooks
        self.watched: list[int] = []
        self.arguments = 0
        self.grad_output: tuple[Tensor, ...] | None = None

    def before_forward(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those with a gradient behind the inner boundary."""
        self.arguments = len(arguments)
        self.watched = [i for i, value in enumerate(arguments) if isinstance(value, Tensor) and value.requires_grad]
        if not self.watched:
            return arguments
        inside = _Boundary.apply(*(arguments[i] for i in self.watched), passed=self._on_input)
        changed = list(arguments)
        for index, tensor in zip(self.watched, inside, strict=True):
            changed[index] = tensor
        return tuple(changed)

    def after_forward(self, output: Any) -> Any:
        """The output (a Tensor, or a tuple or list of them) behind the outer boundary."""
        several = isinstance(output, tuple | list)
        tensors = output if several else (output,)
        if not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise TypeError(f"{type(self.module).__name__} has a backward hook and must return Tensors, got {output!r}")
        if not any(tensor.requires_grad for tensor in tensors):
            return output
        outside = _Boundary.apply(*tensors, passed=self._on_output)
        return type(output)(outside) if several else outside[0]

    def _on_output(self, gradients: Gradients) -> Gradients:
        self.grad_output = tuple(Tensor(array) for array in gradients)
        if not self.watched:
            self._run((None,) * self.arguments)
        return gradients

    def _on_input(self, gradients: Gradients) -> Gradients:
        if self.grad_output is None:
            return gradients  # the arguments were reached past the module's output, which took no part
        grad_input: list[Tensor | None] = [None] * self.arguments
        for index, array in zip(self.watched, gradients, strict=True):
            grad_input[index] = Tensor(array)
        changed = self._run(tuple(grad_input))
        self.grad_output = None
        return [_array_of(changed[index], array) for index, array in zip(self.watched, gradients, strict=True)]

    def _run(self, grad_input: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        for hook in self.hooks:
            answer = hook(self.module, grad_input, self.grad_output)
            if answer is None:
                continue
            answer = answer if isinstance(answer, tuple) else (answer,)
            if len(answer) != len(grad_input):
                raise RuntimeError(f"a backward hook returned {len(answer)} gradients for {len(grad_input)} inputs")
            grad_input = answer
        return grad_input


def _array_of(gradient: Tensor | None, original: Array) -> Array:
    return original * 0 if gradient is None else gradient.array
