"""Files from the web: whole and checked under their final names, or not there at all.

Each file is tried from one mirror after the other, within bounds of time and of size, and is written only when its
SHA-256 is right: that of the uncompressed bytes, because a gzip file made anew has other bytes with the same content.

Why requests: urllib finds no certificates in some Python builds for macOS, while requests brings them along.
"""

import gzip
import hashlib
import io
import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from tenfold.data.archive import is_gzip
from tenfold.files import write_atomically

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0  # without a single byte
MAX_BYTES = 16 << 20  # as sent; MNIST's largest file has 9.9 MB
MAX_REDIRECTS = 5
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

    def is_content_of(self, sent: bytes) -> bool:
        """Return True where these bytes are the file, gzipped or not; no more of a bomb is unpacked than that takes."""
        try:
            content = gzip.GzipFile(fileobj=io.BytesIO(sent)).read(self.size + 1) if is_gzip(sent) else sent
        except (gzip.BadGzipFile, EOFError, zlib.error):
            return False
        return hashlib.sha256(content).hexdigest() == self.sha256


class DownloadError(Exception):
    """Why a file could not be downloaded; the caller turns it into a message that says what to do."""


def fetch(files: Sequence[RemoteFile], folder: Path, mirrors: Sequence[str], *, deadline: float) -> None:
    """Download into `folder` the files that it doesn't hold yet, within `deadline` seconds.

    mirrors: addresses (http or https) that a file's name is appended to, tried in this order. Raises DownloadError
    with the reason of each mirror, and OSError where the folder can't be written to.
    """
    import requests

    stop = time.monotonic() + deadline
    folder.mkdir(parents=True, exist_ok=True)
    mirrors = list(mirrors)
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"  # the file as it is, not compressed once more
        for file in files:
            if file.is_in(folder):
                continue
            sent, best = _from_mirrors(file, mirrors, session, stop)
            write_atomically(folder / (file.name if is_gzip(sent) else file.name.removesuffix(".gz")), sent)
            mirrors.sort(key=lambda mirror: mirror != best)  # what served one file is asked first for the next


def _from_mirrors(
    file: RemoteFile, mirrors: Sequence[str], session: "requests.Session", stop: float
) -> tuple[bytes, str]:
    """Return the file as it was sent, and the mirror that it came from."""
    reasons = []
    for mirror in mirrors:
        log.info("Downloading %s from %s", file.name, mirror)
        try:
            sent = _get(f"{mirror.rstrip('/')}/{file.name}", session, stop)
            if file.is_content_of(sent):
                return sent, mirror
            raise DownloadError("sent wrong bytes")
        except DownloadError as error:
            reasons.append(f"{mirror.partition('://')[2].partition('/')[0] or mirror} {error}")
    raise DownloadError(f"'{file.name}': {'; '.join(reasons) or 'no mirror is known'}")


def _get(url: str, session: "requests.Session", stop: float) -> bytes:
    """Return what an address sends, after redirects that never leave http and https, nor lead from https to http."""
    import requests

    verb = "is"
    for _ in range(MAX_REDIRECTS + 1):
        if not url.startswith(("http://", "https://")):
            raise DownloadError(f"{verb} '{url}', which is neither http nor https")
        left = _seconds_left(stop)
        timeout = (min(CONNECT_SECONDS, left), min(READ_SECONDS, left))
        try:
            with session.get(url, stream=True, allow_redirects=False, timeout=timeout) as response:
                if not response.is_redirect:
                    return _body(response, stop)
                target = urljoin(url, response.headers["Location"])
        except (requests.RequestException, ValueError) as error:  # a ValueError is an address that is none
            raise DownloadError(f"cannot be reached ({type(error).__name__})") from error
        if url.startswith("https:") and target.startswith("http:"):
            raise DownloadError(f"redirects from https to '{target}'")
        url, verb = target, "redirects to"
    raise DownloadError(f"redirects more than {MAX_REDIRECTS} times")


def _body(response: "requests.Response", stop: float) -> bytes:
    """Return a response's body, piece by piece as it comes in, so that neither time nor size gets out of hand."""
    import urllib3

    if response.status_code != 200:
        raise DownloadError(f"answered HTTP {response.status_code} {response.reason}".rstrip())
    content = bytearray()
    try:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            _seconds_left(stop)
            content += chunk
            if len(content) > MAX_BYTES:
                raise DownloadError(f"sent more than {MAX_BYTES} bytes")
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise DownloadError(f"broke off ({type(error).__name__})") from error
    # urllib3 itself raises for a body that is too short, but doesn't promise to when it is read piece by piece.
    promised = response.headers.get("Content-Length", "")
    if promised.isdigit() and len(content) < int(promised):
        raise DownloadError(f"broke off after {len(content)} of {promised} bytes")
    return bytes(content)


def _seconds_left(stop: float) -> float:
    if (left := stop - time.monotonic()) <= 0:
        raise DownloadError("was too slow for the time allowed")
    return left
