"""Downloads from a local server that stalls, truncates, drips and lies; several at once; full and broken disks."""

import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import minires as mr
from minires import models
from minires.cli import main
from minires.errors import MiniresError, UsageError
from minires.finetune.loading import load_model
from minires.finetune.settings import Settings
from minires.finetune.start import find_start
from minires.io import download, files, model_directory, transfer, weights
from minires.io.download import download as fetch
from minires.io.http import DownloadError, _next
from tests.finetune.helpers import make_photos, make_weights
from tests.io.crash_states import every_state
from tests.io.faults import CALLS, ERRORS, NEEDS_SPACE, Faulty, Recording
from tests.io.servers import ETAG, Request, Server, quick

pytestmark = pytest.mark.timeout(20)

ROOT = str(pathlib.Path(__file__).resolve().parents[2])
DATA = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
NAME = f"net-{DIGEST[:8]}.pth"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder, no proxies; afterwards no descriptor and no thread is left."""
    for name in (*PROXIES, *map(str.upper, PROXIES), "MINIRES_OFFLINE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path / "home"))
    descriptors, threads = open_files(), threading.active_count()
    yield tmp_path / "home" / "weights"
    assert open_files() == descriptors
    assert threading.active_count() == threads


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else []


@pytest.fixture
def serve():
    """Starts servers: serve(answer) -> Server, where answer(request) answers."""
    servers = []

    def start(answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def honest(request) -> None:
    request.serve(DATA)


def names(folder) -> list[str]:
    """All files below `folder` but the locks, which stay."""
    found = [path.name for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in found if not name.endswith(".lock"))


def get(server, name=NAME, **options) -> str:
    options = {"say": lambda text: None, "patience": quick(), **options}
    return fetch(f"{server.base}/{name}", **options)


def refused(server, name=NAME, **options) -> DownloadError:
    """The error of a download that fails; it names the URL and is one line."""
    with pytest.raises(DownloadError) as caught:
        get(server, name, **options)
    assert "\n" not in str(caught.value) and f"{server.base}/{name}".partition("#")[0] in str(caught.value)
    return caught.value


# ------------------------------------------------------------------------------------------------------- going well


def test_a_file_is_fetched_once(serve, cache):
    server, lines = serve(honest), []
    path = get(server, say=lines.append)
    assert path == str(cache / NAME) and files.read_bytes(path) == DATA
    assert lines == [f"downloading {server.base}/{NAME} to {path}"]
    assert get(server) == path and len(server.requests) == 1
    assert names(cache) == [NAME] and (cache / f".{NAME}.lock").read_bytes() == b""
    headers = server.requests[0].headers
    assert headers["User-Agent"].startswith("minires/") and headers["Accept-Encoding"] == "identity"
    assert "Range" not in headers


def test_where_files_go(monkeypatch, tmp_path):
    place = download.file_of("https://host/a/resnet50-0676ba61.pth")
    assert place == (str(tmp_path / "home" / "weights" / "resnet50-0676ba61.pth"), "0676ba61")
    one, known = download.file_of("https://host/a/model.safetensors?x=1")
    two, _ = download.file_of("https://host/b/model.safetensors")
    assert one != two and os.path.basename(one) == "model.safetensors" and known is None
    assert download.file_of("https://host/b/model.safetensors#sha256=" + DIGEST.upper()) == (two, DIGEST)
    assert download.file_of("https://host/n-0676ba61.pth", sha256=DIGEST, folder=tmp_path) == (
        str(tmp_path / "n-0676ba61.pth"), DIGEST)  # fmt: skip
    assert download.file_of("http://host/r%C3%A9-20.pth")[0].endswith("ré-20.pth")
    monkeypatch.delenv("MINIRES_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert download.cache_folder() == str(tmp_path / "xdg" / "minires")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.cache_folder() == str(tmp_path / ".cache" / "minires")


@pytest.mark.parametrize(
    "url",
    ["file:///etc/hostname", "ftp://host/a.pth", "data:,x", "/etc/hostname", "http://", "http:///a.pth", "http://[::1/a",
     "http://host:99999/a.pth", "http://host/", "http://host/..", "http://host/%2e%2e%2fa.pth", "http://host/a%00.pth",
     "http://host/a%0Ab.pth", "http://host/a%5Cb.pth", "http://host/%ff.pth", "http://user:pw@host/a.pth",
     "http://host/.hidden", "http://host/" + "a" * 200, "http://host/a.pth#sha256=123", "http://host/a.pth#sha256="],
)  # fmt: skip
def test_urls_that_are_refused(url, cache):
    with pytest.raises(UsageError, match="cannot download") as caught:
        fetch(url)
    assert caught.value.code == "download.url" and not cache.exists()


def test_a_file_without_a_known_hash(serve, cache):
    server = serve(lambda request: request.serve(request.path.encode()))
    one, two = get(server, "a/model.bin"), get(server, "b/model.bin?v=2")
    assert files.read_bytes(one) == b"/a/model.bin" and files.read_bytes(two) == b"/b/model.bin?v=2"


@pytest.mark.parametrize("etag", [ETAG, 'W/"weak"', None])
def test_chunked(serve, etag):
    def answer(request):
        request.head(200, Transfer_Encoding="chunked", ETag=etag)
        for start in range(0, len(DATA), 100_000):
            request.body(b"%x\r\n%s\r\n" % (100_000, DATA[start : start + 100_000]))
        request.body(b"0\r\n\r\n")

    assert files.read_bytes(get(serve(answer), "model.bin")) == DATA


def test_a_chunked_file_that_breaks_off_is_resumed(serve):
    def answer(request):
        if request.start is not None:
            return request.serve(DATA)
        request.head(200, Transfer_Encoding="chunked", ETag=ETAG)
        request.body(b"%x\r\n%s" % (len(DATA), DATA[:50_000]))

    server = serve(answer)
    assert files.read_bytes(get(server, "model.bin")) == DATA
    assert [request.start for request in server.requests] == [None, 50_000]


def test_no_length(serve, cache):
    def answer(request):
        request.serve(DATA, Content_Length=None)

    server = serve(answer)
    assert files.read_bytes(get(server)) == DATA, "the hash tells that it is whole"
    error = refused(server, "model.bin")
    assert error.code == "download.not_a_file" and "how long" in str(error)
    assert names(cache) == [NAME]


def test_redirects_and_a_proxy(serve, monkeypatch):
    def answer(request):
        if request.path == "/" + NAME:
            return request.head(302, Location="/files/elsewhere%20é".encode().decode("latin-1"), Content_Length=0)
        return request.serve(DATA)

    server = serve(answer)
    assert files.read_bytes(get(server)) == DATA
    assert server.requests[1].path == "/files/elsewhere%20%C3%A9"

    proxy = serve(honest)
    monkeypatch.setenv("http_proxy", proxy.base)
    url = f"http://weights.invalid/2-{DIGEST[:9]}.pth"
    assert files.read_bytes(fetch(url, say=print, patience=quick())) == DATA
    assert proxy.requests[0].path == url


# ----------------------------------------------------------------------------------------------- parts and tries


@pytest.mark.parametrize("name", [NAME, "model.bin"])
def test_a_truncated_file_is_resumed(serve, cache, name):
    waits, lines = [], []
    server = serve(lambda request: request.serve(DATA, upto=100_000 * (request.count + 1)))
    path = get(server, name, say=lines.append, patience=quick(sleep=waits.append))
    assert files.read_bytes(path) == DATA and names(cache) == [name]
    assert [request.start for request in server.requests] == [None, 100_000, 200_000]
    assert server.requests[1].headers["If-Range"] == ETAG
    assert waits == [1, 2]
    assert lines[1] == "the connection ended after 100000 of 300000 bytes; trying again in 1 s"


def test_the_next_call_goes_on(serve, cache):
    server = serve(lambda request: request.serve(DATA, upto=10_000 if request.count < 2 else None))
    error = refused(server, patience=quick(tries=2))
    assert error.code == "download.unfinished" and "the 10000 bytes that came are kept" in str(error)
    assert error.file == str(cache / NAME) and str(cache / NAME) in str(error)
    assert names(cache) == [f"{NAME}.part", f"{NAME}.part.json"]
    assert files.read_bytes(get(server)) == DATA and server.requests[2].start == 10_000
    assert names(cache) == [NAME]


def test_a_part_that_is_complete_needs_no_request(serve, cache):
    server = serve(honest)
    cache.mkdir(parents=True)
    (cache / f"{NAME}.part").write_bytes(DATA)
    notes = {"url": f"{server.base}/{NAME}", "validator": ETAG, "total": len(DATA)}
    (cache / f"{NAME}.part.json").write_text(json.dumps(notes))
    assert files.read_bytes(get(server)) == DATA and server.requests == []
    assert names(cache) == [NAME]


@pytest.mark.parametrize(
    "notes",
    [None, "", "{", "[1]", "{}", {"total": 5}, {"url": "http://other/"}, {"validator": None}, {"validator": 3},
     {"total": "x"}, {"total": 100}],
)  # fmt: skip
def test_parts_that_nothing_fitting_is_known_of_are_worth_nothing(serve, cache, notes):
    server = serve(honest)
    cache.mkdir(parents=True)
    (cache / f"{NAME}.part").write_bytes(b"x" * 1000)
    if isinstance(notes, dict) and notes:
        usual = {"url": f"{server.base}/{NAME}", "validator": ETAG, "total": len(DATA)}
        notes = json.dumps({**usual, **notes})
    if notes is not None:
        (cache / f"{NAME}.part.json").write_text(notes)
    assert files.read_bytes(get(server)) == DATA and names(cache) == [NAME]
    assert [request.start for request in server.requests] == [None]


def test_a_server_without_validators_is_never_asked_for_the_rest(serve, cache):
    server = serve(lambda request: request.serve(DATA, etag=None, upto=9 if request.count == 0 else None))
    assert files.read_bytes(get(server)) == DATA
    assert [request.start for request in server.requests] == [None, None]
    always = serve(lambda request: request.serve(DATA, etag='W/"1"', upto=9))
    refused(always, f"b-{DIGEST[:8]}.pth", patience=quick(tries=2))
    assert names(cache) == [NAME], "what nobody can go on from is not kept"


def test_the_date_of_the_last_change_will_do(serve):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"

    def answer(request):
        if request.count == 0:
            return request.serve(DATA, etag=None, upto=500, Last_Modified=date)
        assert request.headers["If-Range"] == date
        request.head(206, Content_Range=f"bytes 500-{len(DATA) - 1}/*", Content_Length=len(DATA) - 500)
        request.body(DATA[500:])

    assert files.read_bytes(get(serve(answer))) == DATA


def test_200_to_a_range_restarts(serve):
    def answer(request):
        request.head(200, ETag=ETAG, Content_Length=len(DATA))
        request.body(DATA[: 200_000 if request.count == 0 else None])

    server = serve(answer)
    assert files.read_bytes(get(server, "model.bin")) == DATA
    assert [request.start for request in server.requests] == [None, 200_000]


def test_a_file_that_changes_between_parts_restarts(serve):
    other = DATA[::-1]

    def answer(request):
        request.serve(DATA, upto=200_000) if request.count == 0 else request.serve(other, etag='"v2"')

    server = serve(answer)
    assert files.read_bytes(get(server, "model.bin")) == other
    assert server.requests[1].start == 200_000 and len(server.requests) == 2


LIES = {
    "another ETag": (206, {"ETag": '"v2"', "Content_Range": "bytes 1000-299999/300000"}),
    "another length": (206, {"ETag": ETAG, "Content_Range": "bytes 1000-299999/400000"}),
    "another start": (206, {"ETag": ETAG, "Content_Range": "bytes 0-299999/300000"}),
    "no range": (206, {"ETag": ETAG}),
    "nonsense": (206, {"ETag": ETAG, "Content_Range": "bytes 1000-x/300000"}),
    "not satisfiable": (416, {"Content_Range": "bytes */300000"}),
}


@pytest.mark.parametrize("lie", LIES)
def test_parts_that_are_not_the_rest_restart(serve, lie):
    status, headers = LIES[lie]

    def answer(request):
        if request.start is None:
            return request.serve(DATA, upto=1000 if request.count == 0 else None)
        request.head(status, Content_Length=299_000, **headers)
        request.body(bytes(299_000))

    server = serve(answer)
    assert files.read_bytes(get(server, "model.bin")) == DATA
    assert [request.start for request in server.requests] == [None, 1000, None]


def test_pieces_that_do_not_fit_together_restart_where_the_hash_tells(serve):
    """A server that takes no notice of If-Range and sends the rest of a file that has changed."""

    def answer(request):
        if request.start is not None:
            request.head(206, Content_Range=f"bytes 1000-{len(DATA) - 1}/{len(DATA)}", Content_Length=len(DATA) - 1000)
            return request.body(bytes(len(DATA) - 1000))
        return request.serve(DATA, upto=1000 if request.count == 0 else None)

    server = serve(answer)
    assert files.read_bytes(get(server)) == DATA
    assert [request.start for request in server.requests] == [None, 1000, None]


def test_a_part_longer_than_promised_restarts(serve):
    def answer(request):
        if request.start is None:
            return request.serve(DATA, upto=1000 if request.count == 0 else None)
        request.serve(DATA + b"more", Content_Range=f"bytes 1000-{len(DATA) - 1}/{len(DATA)}")

    server = serve(answer)
    assert files.read_bytes(get(server, "model.bin")) == DATA
    assert [request.start for request in server.requests] == [None, 1000, None]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_statuses_that_mean_not_now(serve, status):
    waits = []
    server = serve(lambda request: request.head(status, Content_Length=0) if request.count < 3 else honest(request))
    assert files.read_bytes(get(server, patience=quick(sleep=waits.append))) == DATA
    assert waits == [1, 2, 4]


@pytest.mark.parametrize("status", [204, 206, 304, 401, 403, 404, 410, 416, 501])
def test_statuses_that_mean_no(serve, cache, status):
    server = serve(lambda request: request.head(status, Content_Length=0))
    error = refused(server)
    assert f"the server answers {status}" in str(error) and str(cache / NAME) in str(error)
    assert len(server.requests) == 1 and names(cache) == []


def test_tries_are_bounded(serve, cache):
    waits = []
    server = serve(lambda request: request.head(503, Content_Length=0))
    error = refused(server, patience=quick(sleep=waits.append))
    assert "503 Service Unavailable, in the last of 5 tries" in str(error) and error.code == "download.unfinished"
    assert waits == [1, 2, 4, 8] and len(server.requests) == 5 and names(cache) == []


# ------------------------------------------------------------------------------------------------- bad servers


@pytest.mark.parametrize("sent", [None, 0, 1000], ids=["before the headers", "after the headers", "in the middle"])
def test_a_server_that_stalls(serve, cache, sent):
    def answer(request):
        if request.count > 0:
            return request.serve(DATA)
        if sent is not None:
            request.serve(DATA, upto=sent)
        server.stall()

    server = serve(answer)
    began = time.monotonic()
    assert files.read_bytes(get(server)) == DATA and time.monotonic() - began < 3
    assert [request.start for request in server.requests] == [None, sent or None]


def test_a_server_that_drips(serve, cache):
    def answer(request):
        if request.count > 0:
            return request.serve(DATA)
        request.serve(DATA, upto=0)
        server.drip(request, DATA, every=0.02)

    server, lines = serve(answer), []
    assert files.read_bytes(get(server, say=lines.append)) == DATA
    assert 0 < server.requests[1].start < 100 and "bytes came in 0 s" in lines[1]


@pytest.mark.parametrize("sent", [b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nServer: "], ids=["status line", "headers"])
def test_headers_that_drip(serve, cache, sent):
    """A byte now and then keeps every single wait short; the time for all of them is limited, too."""

    def answer(request):
        if request.count > 0:
            return request.serve(DATA)
        request.body(sent)
        server.drip(request, b"x" * 10_000, every=0.02)

    server, lines = serve(answer), []
    began = time.monotonic()
    assert files.read_bytes(get(server, say=lines.append)) == DATA
    assert time.monotonic() - began < 3 and len(server.requests) == 2
    assert lines[1] == "no complete headers came in 0.3 s; trying again in 1 s"


def test_redirects_share_the_time_for_headers(serve, cache):
    def answer(request):
        if request.count >= 4:
            return request.serve(DATA)
        time.sleep(0.2)
        return request.head(302, Location="/" + NAME, Content_Length=0)

    lines = []
    get(serve(answer), say=lines.append, patience=quick(timeout=5.0, slow=0.5, tries=5))
    assert "no complete headers came in 0.5 s" in lines[1]


def test_the_body_has_its_own_time(serve):
    """What the headers left of their time is not what a wait for the body may take."""

    def answer(request):
        time.sleep(0.4)
        request.serve(DATA, upto=1000)
        time.sleep(0.4)
        request.body(DATA[1000:])

    server = serve(answer)
    assert files.read_bytes(get(server, patience=quick(timeout=0.7, slow=0.7))) == DATA and len(server.requests) == 1


def test_a_proxy_that_drips_its_answer(serve, monkeypatch):
    def answer(request):
        request.head(200)

    proxy = serve(answer)
    ask = proxy.http.RequestHandlerClass
    monkeypatch.setattr(ask, "do_CONNECT", lambda handler: (
        handler.wfile.write(b"HTTP/1.1 "), handler.wfile.flush(),
        proxy.drip(Request(handler, 0), b"x" * 1000, every=0.02)), raising=False)  # fmt: skip
    monkeypatch.setenv("https_proxy", proxy.base)
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"no complete headers came in 0\.3 s"):
        fetch(f"https://weights.invalid/{NAME}", say=lambda text: None, patience=quick(tries=1))
    assert time.monotonic() - began < 3


def test_slow_is_not_a_drip(serve):
    def answer(request):
        request.serve(DATA, upto=0)
        for start in range(0, len(DATA), 50_000):
            request.body(DATA[start : start + 50_000])
            time.sleep(0.1)

    server = serve(answer)
    assert files.read_bytes(get(server)) == DATA and len(server.requests) == 1


@pytest.mark.parametrize(
    ("location", "reason"),
    [("file:///etc/hostname", "file where http or https is needed"), ("ftp://host/a", "ftp where"),
     ("data:,x", "data where"), ("http://u:p@127.0.0.1/", "user name"), ("https://", "no host"),
     ("/again", "more than 5"), ("", "more than 5"), ("http://[::1/a", "redirected to")],
)  # fmt: skip
def test_redirects_that_are_refused(serve, cache, location, reason):
    def answer(request):
        request.head(302, Location=location)
        request.body(b"endless" * 1000)

    server = serve(answer)
    error = refused(server)
    assert reason in str(error) and error.code == "download.redirect" and names(cache) == []
    assert len(server.requests) == (6 if "5" in reason else 1)


def test_a_redirect_may_not_leave_https():
    assert _next("http://a/b", "https://c/d") == "https://c/d"
    with pytest.raises(DownloadError, match="http where the page before was https"):
        _next("https://a/b", "http://a/b")


def test_wrong_bytes(serve, cache):
    wrong = DATA[:-1] + b"x"
    server = serve(lambda request: request.serve(wrong))
    error = refused(server)
    assert error.code == "download.wrong_bytes" and names(cache) == []
    assert hashlib.sha256(wrong).hexdigest() in str(error) and DIGEST[:8] in str(error)
    assert len(server.requests) == 1
    fine = serve(honest)
    assert files.read_bytes(get(fine, sha256=DIGEST)) == DATA
    later = DIGEST[:12] + "0" * 52
    with pytest.raises(DownloadError, match=r"is not the file that was asked for.*remove it"):
        get(fine, sha256=later)
    assert names(cache) == [NAME], "a file that somebody put there is not removed"


def test_what_the_url_says_of_the_hash(serve, cache):
    server = serve(honest)
    assert files.read_bytes(get(server, f"model.bin#sha256={DIGEST}")) == DATA
    assert server.requests[0].path == "/model.bin"
    assert refused(server, "b/model.bin#sha256=" + "0" * 64).code == "download.wrong_bytes"
    assert names(cache) == ["model.bin"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [({"Content_Type": "text/html; charset=utf-8"}, "a web page"), ({"Content_Encoding": "gzip"}, "compressed"),
     ({"Content_Length": 0}, "an empty file"), ({"Content_Length": 1 << 40}, "1000000 are allowed")],
)  # fmt: skip
def test_what_is_no_file_of_weights(serve, cache, headers, reason):
    error = refused(serve(lambda request: request.serve(DATA, **headers)), limit=1_000_000)
    assert reason in str(error) and names(cache) == []


def test_more_than_is_allowed_of_a_length_nobody_told(serve, cache):
    server = serve(lambda request: request.serve(DATA, Content_Length=None))
    error = refused(server, limit=200_000)
    assert error.code == "download.too_large" and names(cache) == [] and len(server.requests) == 1


def test_what_servers_say_is_shown_printable(serve):
    def answer(request):
        request.handler.wfile.write(b"\x1b[2J\x07 nonsense\r\n\r\n")

    assert "?[2J? nonsense" in str(refused(serve(answer), patience=quick(tries=1)))


# ------------------------------------------------------------------------------------------------- no network


def test_offline(serve, cache, monkeypatch):
    server = serve(honest)
    monkeypatch.setenv("MINIRES_OFFLINE", "1")
    error = refused(server)
    assert error.code == "download.offline" and f"put the file at {cache / NAME} by hand" in str(error)
    assert server.requests == [] and not cache.exists()
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(DATA)
    assert get(server) == str(cache / NAME), "put there by hand"
    (cache / NAME).write_bytes(DATA[:-1])
    with pytest.raises(DownloadError, match="is not the file that was asked for"):
        get(server)
    monkeypatch.setenv("MINIRES_OFFLINE", "0")
    assert files.read_bytes(get(server, f"b-{DIGEST[:8]}.pth")) == DATA


@pytest.mark.parametrize("kept", [0, 1000])
def test_no_connection_is_said_at_once(serve, cache, kept):
    server = serve(lambda request: request.serve(DATA, upto=1000))
    if kept:
        refused(server, patience=quick(tries=1))
    server.close()
    waits = []
    error = refused(server, patience=quick(sleep=waits.append))
    assert error.code == "download.connection" and waits == [] and "refused" in str(error)
    assert f"put the file at {cache / NAME}" in str(error)
    assert names(cache) == ([f"{NAME}.part", f"{NAME}.part.json"] if kept else [])


def test_a_server_that_comes_back_is_waited_for(serve):
    """Once a server has answered, a refused connection is one more failed try."""

    def answer(request):
        server.http.socket.shutdown(socket.SHUT_RDWR)  # no further connections
        request.serve(DATA, upto=1000)

    server = serve(answer)
    error = refused(server, patience=quick(tries=2))
    assert error.code == "download.unfinished" and "Connection refused, in the last of 2 tries" in str(error)


# ------------------------------------------------------------------------------------------- several at once


def test_two_threads_fetch_once(serve):
    def answer(request):
        request.serve(DATA, upto=1000)
        time.sleep(0.2)
        request.body(DATA[1000:])

    server, found, lines = serve(answer), [], []
    patience = quick(sleep=lambda seconds: time.sleep(0.01))
    threads = [threading.Thread(target=lambda: found.append(get(server, say=lines.append, patience=patience)))
               for _ in range(4)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1 and files.read_bytes(found[0]) == DATA
    assert len(server.requests) == 1
    assert sum(line.startswith("downloading") for line in lines) == 1
    assert any(f"waiting for a download of {NAME}" in line for line in lines)


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from minires.io.download import download
print(download(sys.argv[2]))
"""


def start_process(server) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, ROOT, f"{server.base}/{NAME}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_one_of_them_killed(serve, cache):
    """The second process waits, takes over when the first is killed, and goes on from its part."""
    arrived = threading.Event()

    def answer(request):
        if request.count == 0:
            request.serve(DATA, upto=200_000)
            arrived.set()
            return server.stall()
        return request.serve(DATA)

    server = serve(answer)
    first = start_process(server)
    assert arrived.wait(10)
    part = cache / f"{NAME}.part"
    until(lambda: part.exists() and part.stat().st_size == 200_000)
    second = start_process(server)
    try:
        line = second.stderr.readline()
        assert "waiting for a download" in line and f"pid {first.pid}" in line
        first.send_signal(signal.SIGKILL)
        first.communicate()
        out, err = second.communicate(timeout=10)
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert second.returncode == 0 and out.strip() == str(cache / NAME) and "\r" not in err
    assert files.read_bytes(cache / NAME) == DATA and names(cache) == [NAME]
    assert [request.start for request in server.requests] == [None, 200_000]


def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -------------------------------------------------------------------------------------------------------- disks


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("name", ["ENOSPC", "EIO"])
def test_a_fault_at_every_call(serve, cache, name, sticky):
    """One clear error; under the final name the whole file or none; afterwards the same process can do it."""
    server = serve(honest)
    for at in range(1, 200):
        target, error = f"{at}-{DIGEST[:8]}.pth", None
        with files.use(Faulty(ERRORS[name], at, sticky, CALLS if name == "EIO" else NEEDS_SPACE)) as system:
            try:
                get(server, target, folder=cache / str(at))
            except MiniresError as caught:
                error = caught
        assert (error is not None) == system.fired
        final = cache / str(at) / target
        assert not final.exists() or final.read_bytes() == DATA
        if not system.fired:
            break
        assert "\n" not in str(error) and str(cache.parent) in str(error)
        assert files.read_bytes(get(server, target, folder=cache / str(at))) == DATA
        assert names(cache / str(at)) == [target]
    assert at > 12


def test_a_full_disk_says_what_is_needed(serve, cache):
    server = serve(honest)
    with pytest.raises(files.FileAccessError) as caught, files.use(FullAfter(150_000)):
        get(server)
    assert caught.value.code == "file.no_space" and str(cache / f"{NAME}.part") in str(caught.value)
    assert "(150000 bytes needed, " in str(caught.value) and "No space left" in str(caught.value)
    assert names(cache) == [f"{NAME}.part", f"{NAME}.part.json"]
    assert files.read_bytes(get(server)) == DATA and server.requests[-1].start == 150_000


def test_no_power_cut_leaves_a_torn_file(serve, tmp_path):
    server = serve(honest)
    with files.use(Recording()) as system:
        path = get(server, folder=tmp_path)
    contents = {False: set(), True: set()}
    for returned, state in every_state(system.log, {}):
        contents[returned].add(state.get(path))
    assert contents == {False: {None, DATA}, True: {DATA}}


class FullAfter(files.System):
    """A disk with room for `room` bytes of a part."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, descriptor, data):
        if len(data) < 1000:  # locks and notes
            return super().write(descriptor, data)
        if not self.room:
            raise OSError(ERRORS["ENOSPC"], os.strerror(ERRORS["ENOSPC"]))
        count = super().write(descriptor, data[: self.room])
        self.room -= count
        return count


def test_ctrl_c_keeps_the_part(serve, cache):
    server = serve(lambda request: request.serve(DATA, upto=1000))

    def interrupt(_seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, patience=quick(sleep=interrupt))
    assert names(cache) == [f"{NAME}.part", f"{NAME}.part.json"]


# ------------------------------------------------------------------------------------------ shown, and used


def test_a_bar_only_where_somebody_looks(serve, capsys, monkeypatch):
    server = serve(honest)
    get(server)
    assert capsys.readouterr() == ("", "")
    get(server, f"b-{DIGEST[:8]}.pth", progress=True)
    shown = capsys.readouterr()
    assert shown.out == "" and "/300k [" in shown.err and f"b-{DIGEST[:8]}.pth" in shown.err


def test_models_are_created_from_urls(serve, cache, capsys, tmp_path, monkeypatch):
    model = models.create("resnet20")
    mr.save(model, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    server = serve(lambda request: request.serve(content))
    name = f"resnet20-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
    for _ in range(2):
        again = models.create("resnet20", weights=f"{server.base}/{name}")
        for key, tensor in model.state_dict().items():
            assert np.array_equal(tensor.numpy(), again.state_dict()[key].numpy())
    assert len(server.requests) == 1 and names(cache) == [name]
    models.resnet20(weights=f"{server.base}/{name}?download=true", progress=False)
    with pytest.raises(UsageError, match=r"model\.zip is not one of \.safetensors"):
        models.create("resnet20", weights=f"{server.base}/model.zip")
    with pytest.raises(ValueError, match="there is no model"):
        models.create("resnet21", weights=f"{server.base}/other-12345678.pth")
    assert len(server.requests) == 1, "refused before anything is fetched"
    monkeypatch.setenv("MINIRES_OFFLINE", "1")
    models.create("resnet20", weights=f"{server.base}/{name}")
    assert models.load(f"{server.base}/{name}").config["name"] == "resnet20"
    with pytest.raises(DownloadError, match="MINIRES_OFFLINE"):
        models.create("resnet20", weights=f"{server.base}/other-12345678.pth")


def test_jobs_start_from_urls(serve, cache, tmp_path):
    """`--weights URL` in finetune and train; the model follows from the file, as for a file on the disk."""
    model = models.create("resnet20", num_classes=3)
    mr.save(model, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    server, lines = serve(lambda request: request.serve(content)), []
    url = f"{server.base}/model.safetensors?download=true#sha256={hashlib.sha256(content).hexdigest()}"
    settings = Settings(data="pictures", weights=url).resolved("finetune")
    assert settings.model is None and settings.weights == url
    start = find_start(settings, say=lines.append, progress=False)
    assert settings.model == "resnet20" and start.config["num_classes"] == 3 and settings.weights == url
    assert np.array_equal(start.tensors["conv1.weight"], model.conv1.weight.detach().numpy())
    assert names(cache) == ["model.safetensors"] and len(lines) == 1
    with pytest.raises(UsageError, match="no model 'resnet2' among"):
        find_start(Settings(data="pictures", model="resnet2", weights=f"{server.base}/a-12345678.pth"))
    assert len(server.requests) == 1


def test_the_command_line_says_where_to_put_the_file(cache, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIRES_OFFLINE", "1")
    url = "https://download.example/resnet18-f37072fd.pth"
    words = ["--data", str(tmp_path / "photos"), "--weights", url, "--output", str(tmp_path / "run")]
    assert main(["finetune", *words]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert url in shown.err and f"put the file at {cache / 'resnet18-f37072fd.pth'} by hand" in shown.err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def published(serve, tmp_path):
    """A server with two files, model.safetensors of `minires export` and resnet20.pth, and what is in the former."""
    make_weights(tmp_path / "made", classes=3)
    loaded = load_model(tmp_path / "made")
    state = loaded.model.state_dict()
    exported = tmp_path / "model.safetensors"
    model_directory.save_file(exported, {name: tensor.array for name, tensor in state.items()}, loaded.model.config,
                              loaded.preprocessing.to_config(), ["blue", "green", "red"])  # fmt: skip
    weights.save(models.resnet20(num_classes=3), tmp_path / "resnet20.pth")
    files_by_name = {"/" + name: (tmp_path / name).read_bytes() for name in ("model.safetensors", "resnet20.pth")}
    server = serve(lambda request: request.serve(files_by_name[request.path]))
    return server, exported


def test_models_and_tensors_by_url(published, capsys):
    server, exported = published
    url = f"{server.base}/model.safetensors"
    tensors = mr.load(url)
    assert "downloading" in capsys.readouterr().err
    assert set(tensors) == set(mr.load(exported))
    assert mr.models.load(url).metadata["classes"] == ["blue", "green", "red"]
    lines = []
    loaded = load_model(url, say=lines.append)
    assert loaded.classes == ["blue", "green", "red"] and loaded.preprocessing == load_model(exported).preprocessing
    assert len(server.requests) == 1 and lines == []
    digest = hashlib.sha256(exported.read_bytes()).hexdigest()
    assert load_model(f"{url}#sha256={digest}").classes == loaded.classes
    with pytest.raises(DownloadError, match="is not the file that was asked for"):
        load_model(f"{url}#sha256={'0' * 64}")
    assert mr.models.load(f"{server.base}/resnet20.pth").config == {"name": "resnet20", "num_classes": 3}
    with pytest.raises(UsageError, match=r"model\.zip is not one of"):
        mr.load(f"{server.base}/model.zip")


def test_predict_evaluate_and_export_by_url(published, tmp_path, capsys):
    server, exported = published
    photos, url = make_photos(tmp_path / "photos", per_class=4), f"{server.base}/model.safetensors"
    shown = {}
    for name in (url, str(exported)):
        assert main(["predict", name, str(photos / "red"), "--format", "csv"]) == 0
        predictions, said = capsys.readouterr()
        assert main(["evaluate", name, "--data", str(photos), "--json"]) == 0
        shown[name] = predictions, json.loads(capsys.readouterr().out)["metrics"]
        assert said.count("downloading") == (name == url)
    assert shown[url] == shown[str(exported)] and len(server.requests) == 1
    assert main(["export", url, "--output", str(tmp_path / "again.safetensors")]) == 0
    assert (tmp_path / "again.safetensors").read_bytes() == exported.read_bytes()
    other = f"{server.base}/resnet20.pth"
    assert main(["predict", other, str(photos / "red"), "-q"]) == 0
    assert capsys.readouterr().err == "", "quiet"
    server.close()
    assert main(["predict", f"{server.base}/away.pth", str(photos / "red")]) == 1
    shown = capsys.readouterr().err
    assert "put the file at" in shown and "Traceback" not in shown


def test_weights_files_by_url():
    assert weights.is_weights_file("https://h/a.pth?x=1#sha256=1") and not weights.is_weights_file("https://h/?a.pth")
    assert not weights.is_weights_file("a.pth?x=1") and download.local("a.pth") == "a.pth"
    assert download.local(None) is None


def test_usual_patience():
    usual = transfer.Patience()
    assert usual.sleep is time.sleep and usual.clock is time.monotonic
    assert (usual.timeout, usual.tries, usual.slow) == (30, 5, 60)
