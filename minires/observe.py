"""Floor 0: a place from which every kernel and operation can be watched. `minires.profiler` is who watches.

Kernels, operations and optimizers call what they call through `call`. With nobody watching that costs one comparison.
"""

from collections.abc import Callable
from typing import Any

# observer(kind, name, function, arguments, settings) must return function(*arguments, **settings). `kind` is "kernel",
# "forward", "backward" or "step"
Observer = Callable[[str, str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

observer: Observer | None = None


def call(kind: str, name: str, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """function(*arguments, **settings), shown to the observer if there is one."""
    if observer is None:
        return function(*arguments, **settings)
    return observer(kind, name, function, arguments, settings)
