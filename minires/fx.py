"""The one name of torch.fx that model files mention: `wrap`, a mark for a tracer of graphs, which minires is not."""

from typing import Any


def wrap(fn_or_name: Any) -> Any:
    """The function (or its name) itself. TypeError for anything else."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise TypeError(f"fx.wrap expects a function or its name, got {type(fn_or_name).__name__}")
    return fn_or_name
