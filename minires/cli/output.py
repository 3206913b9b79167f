"""What the commands print: results on stdout, the rest on stderr, errors in one line, JSON that every parser takes."""

import contextlib
import io
import itertools
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from minires.errors import MiniresError


def prepare_streams() -> None:
    """File names may hold bytes that no encoding knows: stdout passes them through, stderr shows them escaped.

    A stream that was closed (`>&-`) leads nowhere; otherwise the next file opened would get its number.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere())
    for stream, policy in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            universal = (stream.encoding or "").lower().replace("-", "") == "utf8"
            stream.reconfigure(errors=policy if universal else "backslashreplace")


def drop_stdout() -> None:
    """Send what is still in stdout's buffer nowhere, so that Python does not complain at exit."""
    from minires.io import files

    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        os.dup2(files.system.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nowhere() -> TextIO:
    from minires.io import files

    return io.TextIOWrapper(io.FileIO(files.system.open(os.devnull, os.O_WRONLY), "w"), encoding="utf-8")


def result(text: str) -> None:
    """One line or block of results on stdout."""
    write(text + "\n")


def write(text: str) -> None:
    """Text on stdout. MiniresError where that is a file on a full disk."""
    _to_stdout(lambda: sys.stdout.write(text))


def flush() -> None:
    """Hand over what stdout holds back. MiniresError as `write`."""
    _to_stdout(lambda: sys.stdout.flush())


def _to_stdout(act: Callable[[], Any]) -> None:
    try:
        act()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_stdout()
        message = f"cannot write the results to stdout: {error.strerror or error}"
        raise MiniresError(message, code="file.io") from error


def say(text: str) -> None:
    """A remark on stderr."""
    print(text, file=sys.stderr, flush=True)


def result_json(value: dict[str, Any]) -> None:
    """One object on stdout; never NaN or Infinity."""
    from minires.io import strict_json

    result(strict_json.report(value).rstrip("\n"))


COLOURS = {"red": "\x1b[1;31m", "yellow": "\x1b[33m"}


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour where `stream` shows it: NO_COLOR and TERM=dumb say no, FORCE_COLOR yes, else a terminal."""
    forced = os.environ.get("FORCE_COLOR", "") not in ("", "0")
    fit = stream.isatty() and os.environ.get("TERM") != "dumb"
    if os.environ.get("NO_COLOR") or not (forced or fit):
        return text
    return f"{COLOURS[colour]}{text}\x1b[0m"


def one_line(value: object) -> str:
    """Text without line breaks."""
    return " ".join(str(value).split())


def report_error(error: MiniresError, words: Sequence[str], status: int) -> int:
    """Say what went wrong, with a traceback for those who asked for it; returns `status`."""
    if os.environ.get("MINIRES_DEBUG", "") not in ("", "0") or "-vv" in words:
        traceback.print_exc()
    message = one_line(error.message)
    if "--json" in words or "--format=json" in words or ("--format", "json") in itertools.pairwise(words):
        result_json({"error": {"code": error.code, "message": message, "file": error.file, "hint": error.hint}})
    hint = "" if not error.hint or one_line(error.hint) in message else f" ({one_line(error.hint)})"
    say(f"{coloured('minires: error:', 'red', sys.stderr)} {message}{hint}")
    return status


@contextlib.contextmanager
def short_warnings() -> Iterator[None]:
    """Within the block a warning is one line on stderr, without the place in the source."""

    def show(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
        say(f"{coloured('warning:', 'yellow', sys.stderr)} {one_line(message)}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Rows in columns; the first column is aligned left, the others right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if place == 0 else cell.rjust(width)
                 for place, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        lines.append(indent + "  ".join(cells).rstrip())
    return "\n".join(lines)
