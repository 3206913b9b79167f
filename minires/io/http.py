"""Opening a URL: http and https only, a few redirects followed by hand, proxies as the environment names them."""

import os
import string
import urllib.parse
from typing import TYPE_CHECKING, Any

from minires.errors import MiniresError
from minires.version import __version__

if TYPE_CHECKING:
    from http.client import HTTPResponse

REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)


class DownloadError(MiniresError):
    """A file could not be fetched. `file` is where it was to go; the text says so too.

    Codes: download.offline, download.connection, download.refused, download.redirect, download.unfinished,
    download.too_large, download.not_a_file, download.wrong_bytes.
    """

    code = "download.refused"


def check_url(url: str) -> None:
    """Raise ValueError saying what is wrong with a URL that is not to be opened."""
    parts = urllib.parse.urlsplit(url)  # ValueError for a torn IPv6 address; so does a port that is none
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError(f"{parts.scheme or 'no scheme'} where http or https is needed")
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user name in it, which would be shown and kept")


def open_url(url: str, headers: dict[str, str], timeout: float, within: float) -> "HTTPResponse":
    """The answer to a GET of `url`, whatever its status, after redirects. The caller closes it.

    timeout: seconds that connecting and each wait for bytes may take; within: those in which all headers must be there,
    redirects included. Raises DownloadError for a redirect that leads
    nowhere or to anything but http and https (nor from https to http), OSError and HTTPException for the network.
    """
    from urllib.request import Request  # with OpenSSL a tenth of the time that all of minires takes to import

    opener = _opener(within)
    headers = {"User-Agent": f"minires/{__version__}", "Accept-Encoding": "identity", **headers}
    for _ in range(REDIRECTS + 1):
        request = Request(urllib.parse.quote(url, string.punctuation), headers=headers)
        response = opener.open(request, timeout=timeout)
        if response.status not in _MOVED:
            return response
        response.close()  # what it says is of no interest and may be endless
        url = _next(url, response.headers.get("Location", ""))
    raise DownloadError(f"it is redirected more than {REDIRECTS} times", code="download.redirect")


def _next(url: str, location: str) -> str:
    try:
        # headers come as Latin-1, whatever their bytes mean: these are the bytes
        following = urllib.parse.urljoin(url, urllib.parse.quote(location, string.punctuation, "latin-1"))
        check_url(following)
        if following.lower().startswith("http:") and url.lower().startswith("https:"):
            raise ValueError("http where the page before was https")
    except ValueError as error:
        raise DownloadError(f"it is redirected to {location[:200]!r}: {error}", code="download.redirect") from error
    return following


def _opener(within: float) -> Any:
    """urllib's machinery without its readers of local files, FTP and data: URLs, and without errors for statuses."""
    import urllib.request as urllib

    from minires.io.http_headers import with_deadline

    opener = urllib.OpenerDirector()
    for kind in ("ProxyHandler", "UnknownHandler"):
        opener.add_handler(getattr(urllib, kind)())
    for kind in ("HTTPHandler", "HTTPSHandler"):
        if hasattr(urllib, kind):  # a Python built without OpenSSL has no HTTPSHandler
            opener.add_handler(with_deadline(getattr(urllib, kind), within))
    return opener


def is_offline() -> bool:
    """Whether MINIRES_OFFLINE forbids to use the network."""
    return os.environ.get("MINIRES_OFFLINE", "") not in ("", "0")
