"""Downloads from a local server that truncates, stalls, refuses, redirects and lies."""

import contextlib
import gzip
import hashlib
import io
import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.data import names
from tenfold.data.names import DownloadError, RemoteFile, fetch

CONTENT = bytes(range(256)) * 40 + random.Random(0).randbytes(50_000)
SENT = gzip.compress(CONTENT, mtime=0)
FILE = RemoteFile("file.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers /NAME/file.gz as the server's behaviour NAME says, and notes what was asked for."""

    server: "Server"

    def do_GET(self) -> None:
        name = self.path.split("/")[1]
        self.server.asked.append(name)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client may have had enough
            self.server.behaviours[name](self)

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def start(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, body: bytes = SENT, **headers: object) -> None:
        self.start(200, Content_Length=len(body), **headers)
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A web server on this machine, with a behaviour for each mirror."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.behaviours: dict[str, Behaviour] = {"good": Handler.whole}
        self.over = threading.Event()

    def mirror(self, name: str, behaviour: Behaviour | None = None) -> str:
        """Return the address of a mirror, which from now on behaves like this."""
        if behaviour is not None:
            self.behaviours[name] = behaviour
        return f"http://127.0.0.1:{self.server_port}/{name}/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Yield a running server, to which a download's patience is short; afterwards nothing of it is left."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(names, "READ_SECONDS", 0.3)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def get(folder: Path, *mirrors: str, deadline: float = 30) -> None:
    fetch([FILE], folder, mirrors, deadline=deadline)


def content(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stall(handler: Handler) -> None:
    """Send the first bytes and then nothing more."""
    handler.start(200, Content_Length=len(SENT))
    handler.wfile.write(SENT[:1000])
    handler.server.over.wait()


def truncated(handler: Handler) -> None:
    """Send less than the header promises."""
    handler.start(200, Content_Length=len(SENT))
    handler.wfile.write(SENT[:9000])


def test_a_download_ends_under_its_final_name_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    """The file holds what the server sent, its folder is made, and no unfinished part stays behind."""
    folder = tmp_path / "new" / "folder"
    get(folder, server.mirror("good"))
    assert (folder / "file.gz").read_bytes() == SENT
    assert content(folder) == ["file.gz"]


def test_the_final_name_appears_only_when_the_file_is_whole(server: Server, tmp_path: Path) -> None:
    """While the last byte is still to come, the final name does not exist."""
    seen: list[bool] = []

    def watched(handler: Handler) -> None:
        handler.start(200, Content_Length=len(SENT))
        handler.wfile.write(SENT[:-1])
        seen.append((tmp_path / "file.gz").exists())
        handler.wfile.write(SENT[-1:])

    get(tmp_path, server.mirror("watched", watched))
    assert seen == [False]
    assert (tmp_path / "file.gz").exists()


def test_what_is_there_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    """A file that the folder holds, gzipped or not, is not asked for."""
    (tmp_path / "file").write_bytes(CONTENT)
    get(tmp_path, server.mirror("good"))
    assert server.asked == []


def test_a_file_sent_uncompressed_gets_the_name_without_gz(server: Server, tmp_path: Path) -> None:
    """A server that unpacks the gzip file on the way serves as well."""
    get(tmp_path, server.mirror("plain", lambda handler: handler.whole(CONTENT)))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert content(tmp_path) == ["file"]


FAILURES: dict[str, tuple[Behaviour, str]] = {
    "forbidden": (lambda handler: handler.start(403, Content_Length=0), "HTTP 403"),
    "missing": (lambda handler: handler.start(404, Content_Length=0), "HTTP 404"),
    "broken": (lambda handler: handler.start(500, Content_Length=0), "HTTP 500"),
    "unasked range": (lambda handler: handler.start(206, Content_Length=0), "HTTP 206"),
    "empty": (lambda handler: handler.whole(b""), "wrong bytes"),
    "other gzip": (lambda handler: handler.whole(gzip.compress(b"other")), "wrong bytes"),
    "same size": (lambda handler: handler.whole(gzip.compress(CONTENT[::-1])), "wrong bytes"),
    "not gzip": (lambda handler: handler.whole(b"<html>Please log in</html>"), "wrong bytes"),
    "damaged gzip": (lambda handler: handler.whole(SENT[:5000] + b"?" + SENT[5001:]), "wrong bytes"),
    "cut gzip": (lambda handler: handler.whole(SENT[:-9]), "wrong bytes"),
    "bomb": (lambda handler: handler.whole(gzip.compress(bytes(5 << 20))), "wrong bytes"),
    "truncated": (truncated, "broke off"),
    "stalled": (stall, "broke off"),
    "no http": (lambda handler: handler.wfile.write(b"220 ftp ready\r\n") and None, "cannot be reached"),
    "to file": (
        lambda handler: handler.start(302, Location="file:///etc/hosts", Content_Length=0),
        "file:///etc/hosts",
    ),
    "to ftp": (lambda handler: handler.start(301, Location="ftp://127.0.0.1/x", Content_Length=0), "neither http nor"),
    "to nowhere": (lambda handler: handler.start(302, Location="http://[", Content_Length=0), ""),
    "to itself": (lambda handler: handler.start(302, Location=handler.path, Content_Length=0), "redirects more than"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_mirror_that_fails_is_followed_by_the_next(server: Server, tmp_path: Path, name: str) -> None:
    """Whatever the first mirror does, the second one's file is what ends in the folder."""
    get(tmp_path, server.mirror("bad", FAILURES[name][0]), server.mirror("good"))
    assert (tmp_path / "file.gz").read_bytes() == SENT
    assert content(tmp_path) == ["file.gz"]


@pytest.mark.parametrize("name", FAILURES)
def test_without_a_mirror_that_works_there_is_one_error_and_no_file(server: Server, tmp_path: Path, name: str) -> None:
    """The error says on one line why each mirror failed, and nothing has the final name."""
    behaviour, reason = FAILURES[name]
    with pytest.raises(DownloadError) as caught:
        get(tmp_path, server.mirror("bad", behaviour), server.mirror("missing", FAILURES["missing"][0]))
    assert reason in str(caught.value)
    assert "HTTP 404" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "file.gz").exists()
    assert not (tmp_path / "file").exists()


def test_redirects_within_http_are_followed(server: Server, tmp_path: Path) -> None:
    """A relative and an absolute redirect lead to the file."""
    goal = server.mirror("good") + "file.gz"
    server.mirror("b", lambda handler: handler.start(307, Location=goal, Content_Length=0))
    get(tmp_path, server.mirror("a", lambda handler: handler.start(302, Location="/b/file.gz", Content_Length=0)))
    assert (tmp_path / "file.gz").read_bytes() == SENT


def test_a_redirect_from_https_to_http_is_refused() -> None:
    """What began encrypted is not continued in the open."""

    class Redirecting(requests.adapters.BaseAdapter):
        def send(self, request: requests.PreparedRequest, *args: object, **options: object) -> requests.Response:
            response = requests.Response()
            response.status_code, response.raw, response.request = 302, io.BytesIO(), request
            response.headers["Location"] = "http://127.0.0.1/file.gz"
            return response

        def close(self) -> None:
            pass

    with requests.Session() as session:
        session.mount("https://", Redirecting())
        with pytest.raises(DownloadError, match="from https to 'http://127"):
            names._get("https://example.invalid/file.gz", session, float("inf"))


@pytest.mark.parametrize("address", ["file://{}/", "ftp://127.0.0.1/", "{}/", "data:,x"])
def test_only_http_is_spoken(tmp_path: Path, address: str) -> None:
    """Files of this machine and other schemes are no mirrors, even where the file is there."""
    (tmp_path / "file.gz").write_bytes(SENT)
    with pytest.raises(DownloadError, match="neither http nor https"):
        get(tmp_path / "target", address.format(tmp_path))
    assert content(tmp_path / "target") == []


def test_more_bytes_than_the_limit_are_not_stored(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless answer ends at the limit, and its bytes are not kept."""
    monkeypatch.setattr(names, "MAX_BYTES", 100_000)

    def endless(handler: Handler) -> None:
        handler.start(200)
        while True:
            handler.wfile.write(bytes(10_000))

    with pytest.raises(DownloadError, match="more than 100000 bytes"):
        get(tmp_path, server.mirror("endless", endless))
    assert content(tmp_path) == []


def test_the_deadline_holds_for_a_server_that_drips(server: Server, tmp_path: Path) -> None:
    """A byte now and then, each within the read timeout, does not keep a download alive."""

    def drip(handler: Handler) -> None:
        handler.start(200, Content_Length=len(SENT))
        for place in range(len(SENT)):
            handler.wfile.write(SENT[place : place + 1])
            if handler.server.over.wait(0.01):
                return

    with pytest.raises(DownloadError, match="too slow"):
        get(tmp_path, server.mirror("drip", drip), deadline=0.2)
    assert content(tmp_path) == []


def test_a_mirror_that_served_one_file_is_asked_first_for_the_next(server: Server, tmp_path: Path) -> None:
    """A dead first mirror costs its time once, not once a file."""
    other = RemoteFile("other.gz", FILE.size, FILE.sha256)
    mirrors = [server.mirror("bad", FAILURES["broken"][0]), server.mirror("good")]
    fetch([FILE, other], tmp_path, mirrors, deadline=30)
    assert server.asked == ["bad", "good", "good"]


def test_a_folder_that_cannot_be_made_is_an_operating_system_error(server: Server, tmp_path: Path) -> None:
    """The caller can tell a full or forbidden disk from a failing network."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        get(tmp_path / "file", server.mirror("good"))


@given(data=st.binary(max_size=300), gzipped=st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_bytes_pass_for_the_file_but_its_own(data: bytes, gzipped: bool) -> None:
    """Whatever a server sends, checking it raises nothing, and only the right content passes."""
    file = RemoteFile("file.gz", len(data), hashlib.sha256(data).hexdigest())
    assert file.is_content_of(gzip.compress(data))
    if gzipped:
        assert not file.is_content_of(b"\x1f\x8b" + data)
    else:
        assert file.is_content_of(data) is not data.startswith(b"\x1f\x8b")
