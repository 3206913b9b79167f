"""What is on and off in a thread: recording, inference mode; and the blocks that switch it."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np


class _Mode(threading.local):
    grad = True
    inference = False
    tape: "list[Any] | None" = None  # see graph.tape
    looked = False
    anomaly = False
    check_nan = True
    cast: "Callable[[Any, tuple[Any, ...]], tuple[Any, ...]] | None" = None  # autocast: see minires/amp/autocast.py
    checkpoint: Any = None  # what every recorded node is shown to: see minires/utils/checkpoint.py


_mode = _Mode()


def swap_cast(cast: Any) -> Any:
    """Let `cast(function, arguments)` change the arguments of every operation of this thread; gives the one before."""
    before, _mode.cast = _mode.cast, cast
    return before


def is_casting() -> bool:
    """Whether this thread is inside `autocast`, where operands of several types meet on purpose."""
    return _mode.cast is not None


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _mode.grad


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode`."""
    return _mode.inference


class _Switch:
    """A `with` block, or a decorator, that sets the modes on entry and puts them back on exit."""

    def __init__(self) -> None:
        self.previous: list[tuple[bool, bool]] = []

    def modes(self) -> tuple[bool, bool]:
        """(recording, inference) inside the block."""
        raise NotImplementedError

    def again(self) -> "_Switch":
        """A switch of the same kind for one call of a decorated function (which threads may share)."""
        return type(self)()

    def __enter__(self) -> None:
        self.previous.append((_mode.grad, _mode.inference))
        _mode.grad, _mode.inference = self.modes()

    def __exit__(self, *exception: object) -> None:
        _mode.grad, _mode.inference = self.previous.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def switched(*arguments: Any, **settings: Any) -> Any:
            with self.again():
                return function(*arguments, **settings)

        return switched


class no_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Within the block (or the decorated function) nothing is recorded: results require no gradient."""

    def modes(self) -> tuple[bool, bool]:
        return False, _mode.inference


class enable_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Within the block operations are recorded again, inside a `no_grad` block too."""

    def modes(self) -> tuple[bool, bool]:
        return True, _mode.inference


class inference_mode(_Switch):  # noqa: N801 - PyTorch's name
    """Like `no_grad`, and tensors made inside can never take part in a recorded operation afterwards."""

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode

    def modes(self) -> tuple[bool, bool]:
        return (False, True) if self.mode else (_mode.grad, _mode.inference)

    def again(self) -> "inference_mode":
        return inference_mode(self.mode)


class set_grad_enabled(_Switch):  # noqa: N801 - PyTorch's name
    """Switch recording on or off: at once when called, until the end of the block when used in a `with` statement."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self.before = (_mode.grad, _mode.inference)
        _mode.grad = self.mode

    def modes(self) -> tuple[bool, bool]:
        return self.mode, _mode.inference

    def again(self) -> "set_grad_enabled":
        return set_grad_enabled(self.mode)

    def __exit__(self, *exception: object) -> None:
        _mode.grad, _mode.inference = self.before

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _mode.grad, _mode.inference = self.before  # used as a decorator: only the calls are affected
        return super().__call__(function)


def quiet() -> np.errstate:
    """A `with` block without NumPy's warnings: as in PyTorch, 1/0 is inf and 0/0 is NaN, and nothing is said.

    Whoever trains finds out where it matters: a loss or gradient that is not finite stops the Trainer.
    """
    return np.errstate(all="ignore")
