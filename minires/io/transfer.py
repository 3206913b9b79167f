"""One file over HTTP: received in as many tries as it takes, resumed where possible, checked, then given its name."""

import contextlib
import http.client
import os
import re
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from minires.errors import MiniresError
from minires.io.http import DownloadError, open_url
from minires.io.part_file import PartFile, sha256

_CHUNK = 1 << 18  # bytes asked for at once
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # statuses that mean "not now"
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@dataclass(frozen=True)
class Patience:
    """How long to wait for what.

    timeout: seconds for connecting and for the next bytes. tries: attempts in all, with waits of `wait`, twice, four
    times as many seconds between them. slow: seconds in which all headers, and then at least `least` bytes, must come.
    clock, sleep: seconds of a clock that never goes back, and waiting.
    """

    timeout: float = 30.0
    tries: int = 5
    wait: float = 1.0
    slow: float = 60.0
    least: int = 1 << 14
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class _UnfinishedError(Exception):
    """This try came to nothing, the next may not."""


class _Bar(tqdm):
    monitor_interval = 0  # no thread that watches the bars: it would outlive them


class Transfer:
    """The way of one file from `url` to `path`. `known`: the first digits of its SHA-256, or all; None: not known.

    limit: bytes that a file may have. bar: whether to show one on stderr.
    """

    def __init__(self, url: str, path: str, known: str | None, say: Callable[[str], None], bar: bool, limit: int,
                 patience: Patience) -> None:  # fmt: skip
        self.url, self.path, self.known, self.say = url, path, known, say
        self.bar, self.limit, self.patience = bar, limit, patience
        self.part = PartFile(path)
        self.reached = False  # whether the server has ever answered

    def run(self) -> None:
        """Fetch the file. DownloadError if that fails: what came is kept if a later call can go on from it."""
        problem = ""
        try:
            for count in range(self.patience.tries):
                if count:
                    seconds = self.patience.wait * 2 ** (count - 1)
                    self.say(f"{problem}; trying again in {seconds:g} s")
                    self.patience.sleep(seconds)
                try:
                    return self._try()
                except urllib.error.URLError as error:  # no connection at all
                    if not self.reached:
                        text = f"no connection ({_shown(error)})"
                        raise DownloadError(text, code="download.connection") from error
                    problem = _shown(error)
                except (OSError, http.client.HTTPException, _UnfinishedError) as error:
                    self.reached, problem = True, _shown(error)
            text = f"{problem}, in the last of {self.patience.tries} tries"
            if self._resumable():
                text += f" (the {self.part.size} bytes that came are kept: the next call goes on from there)"
            raise DownloadError(text, code="download.unfinished")
        except BaseException as error:
            if not self._resumable():
                with contextlib.suppress(MiniresError):  # we are on the way out with the error that matters
                    self.part.discard()
            if isinstance(error, DownloadError):
                message = f"cannot download {self.url}: {error.message}; to do it by hand, put the file at {self.path}"
                raise DownloadError(message, code=error.code, file=self.path) from error
            raise

    def _resumable(self) -> bool:
        """Whether the part that is there is of this URL, and the server can be asked for the rest of the same file."""
        notes = self.part.notes()
        if notes.get("url") != self.url or not isinstance(notes.get("validator"), str):
            return False
        total = notes.get("total")
        return total is None or (isinstance(total, int) and self.part.size <= total)

    def _try(self) -> None:
        notes = self.part.notes() if self._resumable() else {}
        begun = self.part.size if notes else 0
        if not begun or begun != notes.get("total"):
            self._receive(begun, notes)
        if self.known is not None and not (found := sha256(self.part.path)).startswith(self.known):
            self.part.discard()
            if begun:
                raise _UnfinishedError("the pieces of several tries do not make the file that was asked for")
            raise DownloadError(f"wrong bytes: their SHA-256 is {found}, not {self.known}", code="download.wrong_bytes")
        self.part.finish()

    def _receive(self, begun: int, notes: dict[str, Any]) -> None:
        headers = {"Range": f"bytes={begun}-", "If-Range": notes["validator"]} if begun else {}
        with contextlib.closing(open_url(self.url, headers, self.patience.timeout, self.patience.slow)) as response:
            start, total = self._place_of(response, begun, notes)
            if start == 0:
                self._check(response)
                self.part.begin({"url": self.url, "validator": _validator(response), "total": total})
            with self.part.appending(total) as append, self._progress(start, total) as bar:
                for chunk in self._chunks(response):
                    start += len(chunk)
                    if start > self.limit:
                        raise self._too_large(start)
                    append(chunk)
                    bar.update(len(chunk))
        if total is not None and start != total:
            raise _UnfinishedError(f"the connection ended after {start} of {total} bytes")

    def _place_of(
        self, response: http.client.HTTPResponse, begun: int, notes: dict[str, Any]
    ) -> tuple[int, int | None]:
        """Where in the file the answer begins, `begun` or 0 for all of it once more; and how long the file is."""
        status = response.status
        if status == 200:
            return 0, response.length
        if begun and status in (206, 416):
            total = notes.get("total")
            place = _range(response, total) if _validator(response) in (None, notes["validator"]) else None
            if status == 206 and place is not None and place[0] == begun:
                return place
            self.part.discard()
            raise _UnfinishedError("the server has not sent the rest of the file that it began with")
        answer = f"the server answers {status} {http.client.responses.get(status, '')}".rstrip()
        raise _UnfinishedError(answer) if status in _TRY_AGAIN else DownloadError(answer)

    def _check(self, response: http.client.HTTPResponse) -> None:
        """Refuse what cannot be a file of weights, or whose end could not be told."""
        kind = response.headers.get_content_type()
        coding = response.headers.get("Content-Encoding", "identity")
        reasons = {
            "the server sends a web page, not a file": kind == "text/html",
            "the server sends it compressed, unasked": coding.lower() != "identity",
            "the server sends an empty file": response.length == 0,
            "the server does not say how long it is, and without its SHA-256 nobody could tell whether it is whole "
            "(add it to the URL: #sha256=...)": response.length is None and not response.chunked and not self.known,
        }  # fmt: skip
        for reason, applies in reasons.items():
            if applies:
                raise DownloadError(reason, code="download.not_a_file")
        if response.length is not None and response.length > self.limit:
            raise self._too_large(response.length)

    def _too_large(self, size: int) -> DownloadError:
        self.part.discard()
        return DownloadError(f"it has {size} bytes or more, and {self.limit} are allowed", code="download.too_large")

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The answer's bytes as they come. TimeoutError if they only drip."""
        patience = self.patience
        since, got = patience.clock(), 0
        while chunk := response.read1(_CHUNK):
            yield chunk
            got += len(chunk)
            now = patience.clock()
            if now - since >= patience.slow:
                if got < patience.least:
                    raise _UnfinishedError(f"only {got} bytes came in {now - since:.0f} s")
                since, got = now, 0

    def _progress(self, start: int, total: int | None) -> Any:
        name = os.path.basename(self.path)
        return _Bar(desc=name, initial=start, total=total, disable=not self.bar, unit="B", unit_scale=True,
                    leave=False, dynamic_ncols=True, file=sys.stderr)  # fmt: skip


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What tells this content from a later one at the same URL: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified")


def _range(response: http.client.HTTPResponse, expected: int | None) -> tuple[int, int | None] | None:
    """Where a part begins and how long the whole is; None if the answer does not say, or another length than before."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None:
        return None
    total = expected if found[3] == "*" else int(found[3])
    return (int(found[1]), total) if expected in (None, total) else None


def _shown(error: Exception) -> str:
    """What went wrong with a connection, in one line of printable characters: it may quote the server."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError) and reason.args in ((), ("timed out",)):
        return "nothing came for too long"
    if isinstance(reason, OSError) and reason.strerror:
        reason = reason.strerror
    text = str(reason) or type(reason).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])
