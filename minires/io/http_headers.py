"""HTTP connections whose headers must have come by a certain time.

The time limit of a socket is one for each wait: a server that sends a byte now and then, and never the end of its
headers, could hold a connection for as long as it likes. Here every read of the headers waits no longer than is left.
"""

import contextlib
import io
import socket
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.request import HTTPHandler


class Deadline:
    """The time by which the headers must be there, in seconds of time.monotonic()."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left. TimeoutError if there are none."""
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError(f"no complete headers came in {self.seconds:g} s")
        return seconds


class HurriedBytes(io.RawIOBase):
    """What comes from a socket. Until `finish()`, no read waits beyond the deadline."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = connection, deadline
        self._usual = connection.gettimeout()
        self._file = connection.makefile("rb", buffering=0)
        self._in_headers = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if not self._in_headers:
            return self._file.readinto(buffer)
        left = self._deadline.left()
        self._socket.settimeout(left if self._usual is None else min(self._usual, left))
        try:
            return self._file.readinto(buffer)
        except TimeoutError:
            self._deadline.left()  # if it is this limit, it says so
            raise

    def finish(self) -> None:
        """The headers are there: from now on each wait has the usual limit."""
        if self._in_headers:
            self._in_headers = False
            self._socket.settimeout(self._usual)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # only a proxy's answer ends before its connection does
            self.finish()
        self._file.close()
        super().close()


class HurriedResponse(HTTPResponse):
    """An answer read through HurriedBytes."""

    def __init__(self, sock: socket.socket, *arguments: Any, deadline: Deadline, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp.close()
        self._bytes = HurriedBytes(sock, deadline)
        self.fp = io.BufferedReader(self._bytes)

    def begin(self) -> None:
        super().begin()
        if not self._bytes.closed:  # as that of an answer without a body is by now
            self._bytes.finish()


def with_deadline(handler: type[HTTPHandler], seconds: float) -> HTTPHandler:
    """One of urllib's handlers for http or https, on whose connections all headers must come in so many seconds."""
    deadline = Deadline(seconds)

    class Handler(handler):  # type: ignore[misc, valid-type]
        def do_open(self, http_class: Callable[..., HTTPConnection], req: Any, **options: Any) -> Any:
            def connect(host: str, **more: Any) -> HTTPConnection:
                connection = http_class(host, **more)
                connection.response_class = _responses(deadline)  # type: ignore[assignment]
                return connection

            return super().do_open(connect, req, **options)

    return Handler()


def _responses(deadline: Deadline) -> Callable[..., HurriedResponse]:
    return lambda sock, *arguments, **more: HurriedResponse(sock, *arguments, deadline=deadline, **more)
