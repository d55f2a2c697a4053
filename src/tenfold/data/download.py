"""Files from the web: whole and checked under their final names, or not there at all.

Each file is tried from one mirror after the other. What arrives goes to `NAME.part`; a download that breaks is taken
up where it broke (HTTP Range, with If-Range where the server gave an ETag), now or in a later process. Only bytes
with the right SHA-256 get the final name. The hash is that of the uncompressed bytes, because a gzip file made anew
has other bytes with the same content.

Why requests and not the two alternatives: pooch neither resumes, nor bounds time and size, nor hashes what is inside
a gzip file; urllib finds no certificates in some Python builds for macOS, while requests brings them along.
"""

import gzip
import hashlib
import logging
import os
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0  # without a single byte
MAX_BYTES = 16 << 20  # as sent; MNIST's largest file has 9.9 MB
MAX_REDIRECTS = 5
ATTEMPTS = 5  # at one mirror, and only as long as each attempt brings more bytes
CHUNK = 1 << 16

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its name (ending in .gz), and the size and SHA-256 of what it holds uncompressed."""

    name: str
    size: int
    sha256: str

    def is_in(self, folder: Path) -> bool:
        """Return True where `folder` holds it, gzipped or not."""
        return (folder / self.name).is_file() or (folder / self.name.removesuffix(".gz")).is_file()


class DownloadError(Exception):
    """Why a file could not be downloaded; the caller turns it into a message that says what to do."""


class _BrokenError(DownloadError):
    """A connection that broke: what came so far is good, and worth continuing."""


def fetch(
    files: Sequence[RemoteFile],
    folder: Path,
    mirrors: Sequence[str],
    *,
    deadline: float,
    connect_timeout: float = CONNECT_SECONDS,
    read_timeout: float = READ_SECONDS,
) -> None:
    """Download into `folder` the files that it doesn't hold yet, within `deadline` seconds.

    mirrors: addresses (http or https) that a file's name is appended to, tried in this order. Raises DownloadError
    with the reason of each mirror, and OSError where the folder can't be written to. Two processes take turns.
    """
    stop = time.monotonic() + deadline
    failures: list[BaseException] = []

    def work() -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder, stop), closing(_Client(stop, (connect_timeout, read_timeout))) as client:
                _fetch_all(files, folder, list(mirrors), client)
        except BaseException as error:  # carried over to the thread that waits, below
            failures.append(error)

    # In a thread of its own, because nothing bounds the time in which the operating system looks up a host's name.
    thread = threading.Thread(target=work, name="download", daemon=True)
    thread.start()
    thread.join(deadline)
    if thread.is_alive():
        raise DownloadError(f"it took longer than {deadline:g} seconds")
    if failures:
        raise failures[0]


def _fetch_all(files: Sequence[RemoteFile], folder: Path, mirrors: list[str], client: "_Client") -> None:
    for file in files:
        if not file.is_in(folder):
            best = _fetch_one(file, folder, mirrors, client)
            mirrors = [best, *(mirror for mirror in mirrors if mirror != best)]


def _fetch_one(file: RemoteFile, folder: Path, mirrors: list[str], client: "_Client") -> str:
    """Return the mirror that the file came from."""
    reasons = []
    for mirror in mirrors:
        log.info("Downloading %s from %s", file.name, mirror)
        try:
            _from_mirror(_Part(file, folder), f"{mirror.rstrip('/')}/{file.name}", client)
            return mirror
        except DownloadError as error:
            reasons.append(f"{mirror.partition('://')[2].partition('/')[0] or mirror} {error}")
            log.info("%s", reasons[-1])
    raise DownloadError(f"'{file.name}': {'; '.join(reasons) or 'no mirror is known'}")


class _Part:
    """The unfinished download `NAME.part`, and beside it, in `NAME.part.etag`, the version it is a part of."""

    def __init__(self, file: RemoteFile, folder: Path) -> None:
        self.file = file
        self.folder = folder
        self.path = folder / f"{file.name}.part"
        self.etag_path = folder / f"{file.name}.part.etag"

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.etag_path.unlink(missing_ok=True)

    def begin(self, url: str, etag: str | None) -> None:
        """Empty it, and remember the version that `url` is about to send, where that has a strong ETag."""
        self.remove()
        if etag and etag.startswith('"'):
            self.etag_path.write_text(f"{url}\n{etag}", encoding="utf-8")

    def resume_headers(self, url: str) -> dict[str, str]:
        """Return the request headers that ask for the rest, none where there is nothing yet."""
        if not self.size():
            return {}
        headers = {"Range": f"bytes={self.size()}-"}
        if self.etag_path.exists():
            known_url, _, etag = self.etag_path.read_text(encoding="utf-8").partition("\n")
            if known_url == url:
                headers["If-Range"] = etag
        return headers

    def finish(self) -> bool:
        """Give the part its final name if it holds what it should, and return whether it did."""
        with self.path.open("rb+") as stream:
            gzipped = stream.read(2) == b"\x1f\x8b"
            os.fsync(stream.fileno())  # or a power cut might leave the final name with half a file
        if _content_sha256(self.path, gzipped, self.file.size) != self.file.sha256:
            return False
        name = self.file.name if gzipped else self.file.name.removesuffix(".gz")
        os.replace(self.path, self.folder / name)
        self.remove()
        return True


def _from_mirror(part: _Part, url: str, client: "_Client") -> None:
    """Finish the part from one mirror, taking up broken connections. DownloadError where that doesn't succeed."""
    for _ in range(ATTEMPTS):
        before = part.size()
        try:
            _download(part, url, client)
        except _BrokenError:
            if part.size() <= before:
                raise
            continue
        if part.finish():
            return
        part.remove()
        if not before:
            raise DownloadError("sent wrong bytes")
        # The part may have begun with another version of the file: once more, from the start.
    raise DownloadError("broke off again and again")


def _download(part: _Part, url: str, client: "_Client") -> None:
    """Append what is missing to the part, or write it anew where the server sends the whole file."""
    headers = part.resume_headers(url)
    with client.get(url, headers) as response:
        status = response.status_code
        if headers and status == 416:  # nothing follows what is there: it is whole, or of another version
            return
        if headers and status == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {part.size()}-"):
                part.remove()
                raise DownloadError("sent another range than it was asked for")
        elif status == 200:
            part.begin(url, response.headers.get("ETag"))
        else:
            raise DownloadError(f"answered HTTP {status} {response.reason}".rstrip())
        with part.path.open("ab") as stream:
            for chunk in client.body(response):
                if stream.tell() + len(chunk) > MAX_BYTES:
                    break
                stream.write(chunk)
            else:
                return
        part.remove()
        raise DownloadError(f"sent more than {MAX_BYTES} bytes")


class _Client:
    """HTTP within limits: of time, of redirects, and of where they may lead."""

    def __init__(self, stop: float, timeouts: tuple[float, float]) -> None:
        import requests

        self.stop = stop
        self.timeouts = timeouts
        self.session = requests.Session()
        self.session.headers["Accept-Encoding"] = "identity"  # the file as it is, not compressed once more

    def close(self) -> None:
        self.session.close()

    def get(self, url: str, headers: dict[str, str]) -> "requests.Response":
        """Return the response, its body not yet read, of the last address that redirects lead to."""
        import requests

        _check_scheme(url, "is")
        for _ in range(MAX_REDIRECTS + 1):
            left = self._seconds_left()
            timeout = (min(self.timeouts[0], left), min(self.timeouts[1], left))
            try:
                response = self.session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=timeout)
            except (requests.RequestException, ValueError) as error:
                raise DownloadError(f"cannot be reached ({type(error).__name__})") from error
            if not response.is_redirect:
                return response
            response.close()
            try:
                target = urljoin(url, response.headers["Location"])
            except ValueError as error:
                raise DownloadError(f"redirects to '{response.headers['Location']}', no address") from error
            _check_scheme(target, "redirects to")
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise DownloadError(f"redirects from https to '{target}'")
            url = target
        raise DownloadError(f"redirects more than {MAX_REDIRECTS} times")

    def body(self, response: "requests.Response") -> Iterator[bytes]:
        """Yield the body's bytes as they come in. _BrokenError where they end before they should."""
        import urllib3

        promised, received = response.headers.get("Content-Length", ""), 0
        while True:
            self._seconds_left()
            try:
                chunk = response.raw.read1(CHUNK, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise _BrokenError(f"broke off ({type(error).__name__})") from error
            if not chunk:
                break
            received += len(chunk)
            yield chunk
        # urllib3 itself raises for a body that is too short, but doesn't promise to when it is read piece by piece.
        if promised.isdigit() and received < int(promised):
            raise _BrokenError(f"broke off after {received} of {promised} bytes")

    def _seconds_left(self) -> float:
        left = self.stop - time.monotonic()
        if left <= 0:
            raise DownloadError("was too slow for the time allowed")
        return left


def _check_scheme(url: str, verb: str) -> None:
    try:
        allowed = urlsplit(url).scheme in ("http", "https")
    except ValueError:
        allowed = False
    if not allowed:
        raise DownloadError(f"{verb} '{url}', which is neither http nor https")


def _content_sha256(path: Path, gzipped: bool, size: int) -> str | None:
    """Return the SHA-256 of what a file holds uncompressed, or None where that is damaged or not `size` bytes long."""
    digest, total = hashlib.sha256(), 0
    try:
        with gzip.open(path) if gzipped else path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                total += len(chunk)
                if total > size:  # no need to unpack a bomb to its end
                    return None
                digest.update(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None
    return digest.hexdigest() if total == size else None


@contextmanager
def _locked(folder: Path, stop: float) -> Iterator[None]:
    """Hold the folder's lock, which the operating system takes back when a process dies."""
    with (folder / ".lock").open("w") as handle:
        while not _try_lock(handle.fileno()):
            if time.monotonic() > stop:
                raise DownloadError(f"another process is still downloading into '{folder}'")
            time.sleep(0.05)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
