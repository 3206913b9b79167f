"""The names of torch.jit that model files mention. minires compiles no graphs: every model runs as it is written.

So the questions (`is_scripting`) are answered no, the marks (`unused`, `ignore`, `export`) leave a function as it is,
and whoever asks for a compiled model gets a NotImplementedError. For a faster model: `minires.compile_inference`.
"""

import typing
from collections.abc import Callable
from typing import Any

Final = typing.Final

Marked = typing.TypeVar("Marked", bound=Callable[..., Any])


def is_scripting() -> bool:
    """Whether the code is being compiled: never."""
    return False


def is_tracing() -> bool:
    """Whether the code is being recorded by a compiler: never."""
    return False


def unused(fn: Marked) -> Marked:
    """A mark for a compiler; the function itself."""
    return fn


def export(fn: Marked) -> Marked:
    """A mark for a compiler; the function itself."""
    return fn


def script_if_tracing(fn: Marked) -> Marked:
    """A mark for a compiler; the function itself."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """A mark for a compiler, `@ignore` or `@ignore(drop=True)`; the function itself."""
    return drop if callable(drop) else unused


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value itself; the type is for a compiler."""
    return the_value


def script(obj: Any, *arguments: Any, **settings: Any) -> Any:
    """NotImplementedError: there is no graph compiler."""
    raise NotImplementedError("jit.script: minires has no graph compiler; minires.compile_inference makes a model fast")


def trace(func: Any, *arguments: Any, **settings: Any) -> Any:
    """NotImplementedError: there is no graph compiler."""
    raise NotImplementedError("jit.trace: minires has no graph compiler; minires.compile_inference makes a model fast")
