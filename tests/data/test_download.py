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

from tenfold.data import download
from tenfold.data.download import DownloadError, RemoteFile, fetch

CONTENT = bytes(range(256)) * 40 + random.Random(0).randbytes(50_000)
SENT = gzip.compress(CONTENT, mtime=0)
FILE = RemoteFile("file.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers /NAME/file.gz as the server's behaviour NAME says, and notes what was asked for."""

    server: "Server"

    def do_GET(self) -> None:
        name = self.path.split("/")[1]
        self.server.asked.append((name, self.headers.get("Range"), self.headers.get("If-Range")))
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

    def ranged(self, body: bytes = SENT, etag: str = '"1"', cut: int | None = None) -> None:
        """Honour Range and If-Range as RFC 9110 says; send at most `cut` bytes of what the header promises."""
        asked, known = self.headers.get("Range"), self.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and known in (None, etag) else 0
        if start >= len(body):
            self.start(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
            return
        headers: dict[str, object] = {"ETag": etag, "Content_Length": len(body) - start}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.start(206 if start else 200, **headers)
        self.wfile.write(body[start:][:cut])


class Server(ThreadingHTTPServer):
    """A web server on this machine, with a behaviour for each mirror."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.behaviours: dict[str, Behaviour] = {"good": Handler.whole, "ranged": Handler.ranged}
        self.over = threading.Event()

    def mirror(self, name: str, behaviour: Behaviour | None = None) -> str:
        """Return the address of a mirror, which from now on behaves like this."""
        if behaviour is not None:
            self.behaviours[name] = behaviour
        return f"http://127.0.0.1:{self.server_port}/{name}/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Yield a running server; afterwards nothing of it or of an abandoned download is left."""
    monkeypatch.setenv("NO_PROXY", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        for each in threading.enumerate():
            if each.name == "download":
                each.join()
        server.shutdown()
        thread.join()


def get(folder: Path, *mirrors: str, deadline: float = 30, read_timeout: float = 0.3) -> None:
    fetch([FILE], folder, mirrors, deadline=deadline, read_timeout=read_timeout)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def stall(handler: Handler) -> None:
    """Send the first bytes and then nothing more."""
    handler.start(200, Content_Length=len(SENT))
    handler.wfile.write(SENT[:1000])
    handler.server.over.wait()


def test_a_download_ends_under_its_final_name_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    """The file holds what the server sent, its folder is made, and no unfinished part stays behind."""
    folder = tmp_path / "new" / "folder"
    get(folder, server.mirror("good"))
    assert (folder / "file.gz").read_bytes() == SENT
    assert visible(folder) == ["file.gz"]


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
    assert visible(tmp_path) == ["file"]


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
    "truncated": (lambda handler: handler.ranged(cut=0), "broke off"),
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
    assert visible(tmp_path) == ["file.gz"]


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


def test_a_broken_download_is_resumed_from_the_same_version(server: Server, tmp_path: Path) -> None:
    """After a cut at 9,000 bytes the rest alone is asked for, under the condition that the ETag still holds."""
    cuts = iter([9000, None])
    get(tmp_path, server.mirror("cut", lambda handler: handler.ranged(cut=next(cuts))))
    assert (tmp_path / "file.gz").read_bytes() == SENT
    assert server.asked == [("cut", None, None), ("cut", "bytes=9000-", '"1"')]


def test_a_later_process_resumes_at_another_mirror(server: Server, tmp_path: Path) -> None:
    """What one call left unfinished the next one completes, elsewhere without the ETag that only its sender knows."""
    cuts = iter([9000, 0])
    with pytest.raises(DownloadError, match="broke off"):
        get(tmp_path, server.mirror("cut", lambda handler: handler.ranged(cut=next(cuts))))
    assert (tmp_path / "file.gz.part").stat().st_size == 9000
    get(tmp_path, server.mirror("ranged"))
    assert (tmp_path / "file.gz").read_bytes() == SENT
    assert server.asked[-1] == ("ranged", "bytes=9000-", None)
    assert visible(tmp_path) == ["file.gz"]


def test_a_server_that_ignores_range_sends_the_whole_file(server: Server, tmp_path: Path) -> None:
    """A 200 answer to a request for the rest replaces the part instead of following it."""
    (tmp_path / "file.gz.part").write_bytes(SENT[:9000])
    get(tmp_path, server.mirror("good"))
    assert (tmp_path / "file.gz").read_bytes() == SENT
    assert server.asked == [("good", "bytes=9000-", None)]


def test_a_part_of_another_version_is_started_anew(server: Server, tmp_path: Path) -> None:
    """Bytes of another version before a resumed rest are noticed, and the file is fetched from its start."""
    (tmp_path / "file.gz.part").write_bytes(b"\x1f\x8b" + bytes(8998))
    get(tmp_path, server.mirror("ranged"))
    assert (tmp_path / "file.gz").read_bytes() == SENT
    assert server.asked == [("ranged", "bytes=9000-", None), ("ranged", None, None)]


@pytest.mark.parametrize("part", [SENT, SENT + b"more", bytes(len(SENT))])
def test_a_part_as_long_as_the_file_is_checked(server: Server, tmp_path: Path, part: bytes) -> None:
    """Where nothing follows (416), a whole part is kept and a wrong one is fetched anew."""
    (tmp_path / "file.gz.part").write_bytes(part)
    get(tmp_path, server.mirror("ranged"))
    assert (tmp_path / "file.gz").read_bytes() == SENT
    assert len(server.asked) == (1 if part == SENT else 2)


def test_a_range_that_was_not_asked_for_is_refused(server: Server, tmp_path: Path) -> None:
    """A 206 answer that begins elsewhere is not appended."""
    (tmp_path / "file.gz.part").write_bytes(SENT[:9000])
    lie = {"Content_Range": f"bytes 0-{len(SENT) - 1}/{len(SENT)}", "Content_Length": len(SENT)}
    with pytest.raises(DownloadError, match="another range"):
        get(tmp_path, server.mirror("lies", lambda handler: handler.start(206, **lie)))
    assert not (tmp_path / "file.gz.part").exists()


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

    client = download._Client(float("inf"), (1, 1))
    client.session.mount("https://", Redirecting())
    with pytest.raises(DownloadError, match="from https to 'http://127"):
        client.get("https://example.invalid/file.gz", {})
    client.close()


@pytest.mark.parametrize("address", ["file://{}/", "ftp://127.0.0.1/", "{}/", "data:,x", "http://[/"])
def test_only_http_is_spoken(tmp_path: Path, address: str) -> None:
    """Files of this machine and other schemes are no mirrors, even where the file is there."""
    (tmp_path / "file.gz").write_bytes(SENT)
    with pytest.raises(DownloadError, match="neither http nor https"):
        get(tmp_path / "target", address.format(tmp_path))
    assert visible(tmp_path / "target") == []


def test_more_bytes_than_the_limit_are_not_stored(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless answer ends at the limit, and its bytes are not kept."""
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)

    def endless(handler: Handler) -> None:
        handler.start(200)
        while True:
            handler.wfile.write(bytes(10_000))

    with pytest.raises(DownloadError, match="more than 100000 bytes"):
        get(tmp_path, server.mirror("endless", endless))
    assert visible(tmp_path) == []


def test_the_deadline_holds_for_a_server_that_drips(server: Server, tmp_path: Path) -> None:
    """A byte now and then, each within the read timeout, does not keep a download alive; what came is kept."""

    def drip(handler: Handler) -> None:
        handler.start(200, Content_Length=len(SENT))
        for place in range(len(SENT)):
            handler.wfile.write(SENT[place : place + 1])
            if handler.server.over.wait(0.01):
                return

    with pytest.raises(DownloadError, match=r"longer than 0\.3 seconds|too slow"):
        get(tmp_path, server.mirror("drip", drip), deadline=0.3, read_timeout=10)
    assert not (tmp_path / "file.gz").exists()


def test_the_deadline_holds_where_headers_never_end(server: Server, tmp_path: Path) -> None:
    """Not even a server that sends one header after the other holds up the caller."""

    def headers_for_ever(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not handler.server.over.wait(0.05):  # after 100 headers the client would give up by itself
            handler.wfile.write(b"X: y\r\n")

    with pytest.raises(DownloadError, match=r"longer than 2 seconds"):
        get(tmp_path, server.mirror("headers", headers_for_ever), deadline=2.0, read_timeout=10)


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    """Of two callers that want the same file, one downloads it and the other finds it."""
    started = threading.Event()

    def slowly(handler: Handler) -> None:
        started.set()
        handler.whole()

    url = server.mirror("slow", slowly)
    first = threading.Thread(target=get, args=(tmp_path, url))
    first.start()
    started.wait()
    get(tmp_path, url)
    first.join()
    assert len(server.asked) == 1
    assert (tmp_path / "file.gz").read_bytes() == SENT


def test_a_mirror_that_served_one_file_is_asked_first_for_the_next(server: Server, tmp_path: Path) -> None:
    """A dead first mirror costs its time once, not once a file."""
    other = RemoteFile("other.gz", FILE.size, FILE.sha256)
    mirrors = [server.mirror("bad", FAILURES["broken"][0]), server.mirror("good")]
    fetch([FILE, other], tmp_path, mirrors, deadline=30)
    assert [name for name, *_ in server.asked] == ["bad", "good", "good"]


def test_a_folder_that_cannot_be_made_is_an_operating_system_error(server: Server, tmp_path: Path) -> None:
    """The caller can tell a full or forbidden disk from a failing network."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        get(tmp_path / "file", server.mirror("good"))


@given(data=st.binary(max_size=300), gzipped=st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_bytes_pass_for_the_file_but_its_own(
    data: bytes, gzipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a server sends, checking it raises nothing, and only the right content has the right hash."""
    path = tmp_path_factory.getbasetemp() / "sent"
    path.write_bytes(b"\x1f\x8b" + data if gzipped else data)
    found = download._content_sha256(path, gzipped, len(data))
    assert found == (None if gzipped else hashlib.sha256(data).hexdigest())
