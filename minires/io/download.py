"""Files from the network, kept in a cache folder. What is there already is not fetched again.

    weights/resnet50-0676ba61.pth      the name holds the first digits of the file's SHA-256, as torchvision's do
    weights/3f786850e387/model.bin     any other name: in a folder that stands for the URL, as such names repeat

A file comes under its name whole and checked or not at all (transfer.py). Beside it stay, while it is unfinished,
NAME.part and NAME.part.json, and for good an empty .NAME.lock, by which processes take turns.
"""

import contextlib
import hashlib
import os
import re
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from minires.errors import UsageError
from minires.io import files, http
from minires.io.lock import FolderLock
from minires.io.part_file import sha256 as sha256_of
from minires.io.suffixes import READ_SUFFIXES, is_url, is_weights_file

if TYPE_CHECKING:
    from minires.io.transfer import Patience

__all__ = ["LIMIT", "cache_folder", "download", "file_of", "is_url", "local", "print_line"]

LIMIT = 8 << 30  # bytes
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
_HASH = re.compile(r"[0-9a-f]{8,64}")
_NAME = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,150}")
_POLL = 0.2  # seconds


def print_line(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


def cache_folder() -> str:
    """$MINIRES_HOME, else $XDG_CACHE_HOME/minires, else ~/.cache/minires. It need not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("MINIRES_HOME") or os.path.join(base, "minires")


def local(source: Any, say: Callable[[str], None] = print_line, progress: bool | None = None) -> Any:
    """The weights file at a URL as a path in the cache, downloaded if need be; anything but a URL as it is."""
    if not is_url(source):
        return source
    name = os.path.basename(file_of(source)[0])
    if not is_weights_file(name):
        raise UsageError(f"{source}: {name} is not one of {', '.join(READ_SUFFIXES)}", code="file.unknown_format")
    return download(source, say=say, progress=progress)


def download(
    url: str, sha256: str | None = None, folder: files.PathLike | None = None, *,
    say: Callable[[str], None] = print_line, progress: bool | None = None, limit: int = LIMIT,
    patience: "Patience | None" = None,
) -> str:  # fmt: skip
    """Path of the file at `url`, fetched unless it is there.

    sha256: the file's, or the first 8 digits or more; default: what the URL says behind #sha256=, else what the name
    says (resnet50-0676ba61.pth). The file is checked against it each time. folder: default `weights` in the cache
    folder. say: takes a line for people (default: on stderr). progress: a bar on stderr; default: on a terminal.
    limit: the most bytes it may have. patience: waits and tries, see transfer.Patience.

    UsageError for a URL that is none, DownloadError, naming the URL and where the file can be put by hand, if it cannot
    be had (MINIRES_OFFLINE=1 forbids to try), FileAccessError if the disk refuses.
    """
    path, known = file_of(url, sha256, folder)
    url = urllib.parse.urldefrag(url)[0]
    if os.path.lexists(path):
        return _checked(path, known)
    from minires.io import transfer  # brings half of Python's networking along

    if http.is_offline():
        raise http.DownloadError(f"{url} is not in the cache and MINIRES_OFFLINE forbids to download it: put the file "
                                 f"at {path} by hand", code="download.offline", file=path)  # fmt: skip
    patience = patience or transfer.Patience()
    files.make_folder(os.path.dirname(path))
    with _turn(path, say, patience.sleep):
        if os.path.lexists(path):  # another process has fetched it meanwhile
            return _checked(path, known)
        say(f"downloading {url} to {path}")
        bar = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
        transfer.Transfer(url, path, known, say, bar if progress is None else progress, limit, patience).run()
    return path


def file_of(url: str, sha256: str | None = None, folder: files.PathLike | None = None) -> tuple[str, str | None]:
    """Where `download` has the file at `url`, and what is known of its SHA-256. UsageError for a URL that is none."""
    plain, fragment = urllib.parse.urldefrag(url)
    try:
        http.check_url(plain)
        name = urllib.parse.unquote(urllib.parse.urlsplit(plain).path.rpartition("/")[2], errors="strict")
        if not _NAME.fullmatch(name):
            raise ValueError(f"its last part, {name!r}, cannot be the name of a file")
        given = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        given = given if sha256 is None else sha256
        if given is not None and not _HASH.fullmatch(given.lower()):
            raise ValueError(f"{given!r} is not a SHA-256 or the first 8 digits or more of one")
    except ValueError as error:
        raise UsageError(f"cannot download {url}: {error}", code="download.url") from error
    in_name = _HASH_IN_NAME.search(name)
    place = os.path.join(cache_folder(), "weights") if folder is None else os.fspath(folder)
    if in_name is None:
        place = os.path.join(place, hashlib.sha256(plain.encode()).hexdigest()[:12])
    path = os.path.join(os.path.abspath(place), name)
    if given is not None:
        return path, given.lower()
    return path, in_name[1] if in_name else None


def _checked(path: str, known: str | None) -> str:
    if known is not None and not (found := sha256_of(path)).startswith(known):
        text = f"{path} is not the file that was asked for: its SHA-256 is {found}, not {known}"
        text += "; remove it, and it is downloaded again"
        raise http.DownloadError(text, code="download.wrong_bytes", file=path)
    return path


@contextlib.contextmanager
def _turn(path: str, say: Callable[[str], None], sleep: Callable[[float], None]) -> Iterator[None]:
    """Wait until no other process or thread downloads to `path`; none begins within the block."""
    folder, name = os.path.split(path)
    has_said = False
    while True:
        try:
            lock = FolderLock(os.path.join(folder, f".{name}.lock"))
            break
        except UsageError as error:
            if not has_said:
                say(f"waiting for a download of {name}: {error}")
                has_said = True
            sleep(_POLL)
    with lock:
        yield
