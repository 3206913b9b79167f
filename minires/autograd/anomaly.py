"""Anomaly mode: which line of the forward has a backward that makes NaN?

    with mr.autograd.detect_anomaly():
        loss = step(x)          # every operation notes the lines from which it was called
        loss.backward()         # RuntimeError: Function 'SqrtBackward' returned nan values ... and the lines

It costs time in every operation: for looking for a fault, not for training.
"""

import pathlib
import sys
import traceback

from minires.autograd.modes import _mode, _Switch

HERE = pathlib.Path(__file__).parent.parent
MACHINERY = tuple(str(HERE / name) for name in ("autograd", "ops", "methods.py", "tensor.py", "observe.py"))
LINES = 8


class detect_anomaly(_Switch):  # noqa: N801 - PyTorch's name
    """Within the block operations note where they are called, and a backward that returns NaN raises RuntimeError.

    check_nan: look for NaN; without it, only errors in a backward tell the lines of the forward.
    """

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__()
        self.mode, self.check_nan = True, check_nan
        self.before: list[tuple[bool, bool]] = []

    def modes(self) -> tuple[bool, bool]:
        return _mode.grad, _mode.inference

    def again(self) -> "detect_anomaly":
        return detect_anomaly(self.check_nan)

    def __enter__(self) -> None:
        super().__enter__()
        self.before.append((_mode.anomaly, _mode.check_nan))
        _mode.anomaly, _mode.check_nan = self.mode, self.check_nan

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        _mode.anomaly, _mode.check_nan = self.before.pop()


class set_detect_anomaly(detect_anomaly):  # noqa: N801 - PyTorch's name
    """Switch anomaly mode on or off, at once: until it is switched again, or until the end of a `with` block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(check_nan)
        self.mode = bool(mode)
        self.before.append((_mode.anomaly, _mode.check_nan))
        _mode.anomaly, _mode.check_nan = self.mode, check_nan

    def again(self) -> "set_detect_anomaly":
        return set_detect_anomaly(self.mode, self.check_nan)

    def __enter__(self) -> None:
        before = self.before
        super().__enter__()
        before.pop()


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on in this thread."""
    return _mode.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode, where it is on, looks for NaN."""
    return _mode.check_nan


def lines_of_the_call() -> str:
    """The last lines that led to the operation being recorded, as in a traceback, without the machinery's own."""
    frames = traceback.extract_stack(sys._getframe(1))
    outside = [frame for frame in frames if not frame.filename.startswith(MACHINERY)]
    return "".join(traceback.format_list(outside[-LINES:])).rstrip()
