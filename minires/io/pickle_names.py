"""The names in a pickle: labels instead of what they mean in Python, and those that condemn a file."""

from collections.abc import Callable
from typing import Any

OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # as Python 2 called them

# An honest file may hold any class of its author's, which stays a label. These it has no reason to hold.
REFUSED_MODULES = {
    "os", "posix", "nt", "sys", "subprocess", "pty", "socket", "shutil", "ctypes", "importlib", "imp", "runpy", "code",
    "codeop", "pickle", "_pickle", "marshal", "commands", "webbrowser", "pdb", "bdb", "timeit", "pip",
}  # fmt: skip
_REFUSED_BUILTINS = (
    "eval", "exec", "execfile", "compile", "open", "__import__", "input", "breakpoint", "globals", "locals", "vars",
    "setattr", "delattr", "exit", "quit", "help", "file", "reload", "apply",
)  # fmt: skip
REFUSED_NAMES = {f"builtins.{name}" for name in _REFUSED_BUILTINS}


class Global:
    """A dotted name in a pickle that means nothing here: a label, never looked up."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<global {self.name}>"


class Placeholder:
    """What a call of an unknown name would have made: the name, and plain data. Nothing was called.

    args: the arguments. state: what it would have been given to restore itself (of an object its __dict__).
    items: what it would have been extended by: values, or (key, value) pairs.
    """

    __slots__ = ("args", "items", "name", "state")

    def __init__(self, name: str, args: tuple) -> None:
        self.name, self.args, self.state = name, args, None
        self.items: list[Any] = []

    def __repr__(self) -> str:
        return f"<not constructed: {self.name}>"


class Builder:
    """An entry of `known` that may be called: `function(*args)` raises ValueError or TypeError for wrong ones."""

    __slots__ = ("function", "name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function

    def __repr__(self) -> str:
        return f"<builder of {self.name}>"
