"""A local HTTP server that behaves as badly as it is told to."""

import contextlib
import http.server
import threading
import time

from minires.io.transfer import Patience

ETAG = '"v1"'


def quick(**changes) -> Patience:
    """Patience for tests: no waiting, short time limits; `waits` collects the waits asked for."""
    return Patience(**{"timeout": 0.3, "wait": 1.0, "slow": 0.3, "sleep": lambda seconds: None, **changes})


class Request:
    """One request and the means to answer it. `start`: where the range asked for begins, None without one."""

    def __init__(self, handler, count: int) -> None:
        self.handler, self.count, self.headers, self.path = handler, count, handler.headers, handler.path
        wanted = self.headers.get("Range")
        self.start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else None

    def head(self, status: int, **headers) -> None:
        """Status and headers; None leaves one out, and `_` in a name is `-`."""
        self.handler.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.handler.send_header(name.replace("_", "-"), str(value))
        self.handler.end_headers()

    def body(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def drop(self) -> None:
        """End the connection as a dying server does."""
        self.handler.wfile.flush()
        self.handler.close_connection = True

    def serve(self, data: bytes, upto: int | None = None, etag: str | None = ETAG, **headers) -> None:
        """`data` as an honest server sends it (the rest after `start` if the file is still the same), cut at `upto`."""
        same = self.start is not None and self.headers.get("If-Range") == etag
        first = self.start if same else 0
        if same:
            headers.setdefault("Content_Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        headers.setdefault("Content_Length", len(data) - first)
        self.head(206 if same else 200, ETag=etag, **headers)
        self.body(data[first:upto])


class Server:
    """`answer(request)` is called for each request. `requests`: those that came; `release()` ends stalls."""

    def __init__(self, answer) -> None:
        self.requests: list[Request] = []
        self.answer, self.stop = answer, threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                request = Request(self, len(outer.requests))
                outer.requests.append(request)
                with contextlib.suppress(ConnectionError):  # the client has seen enough
                    outer.answer(request)

            def log_message(self, *arguments) -> None:
                """Tests want a quiet stderr."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = False  # server_close() waits for them
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.base = f"http://127.0.0.1:{self.http.server_address[1]}"

    def stall(self) -> None:
        """Say nothing more until the test is over."""
        self.stop.wait(10)

    def drip(self, request: Request, data: bytes, every: float) -> None:
        """One byte at a time."""
        for index in range(len(data)):
            if self.stop.is_set():
                return
            request.body(data[index : index + 1])
            time.sleep(every)

    def close(self) -> None:
        self.stop.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
