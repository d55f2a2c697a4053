"""Named data sets: what a name stands for, where its files lie, and how they get there.

    mnist    the folder that TENFOLD_DATA names, then the cache folder, then a download from one of two mirrors
    kaggle   the same two folders; Kaggle hands its files to its users alone, so there is nothing to download
    uci      the 1,797 digits that scikit-learn carries

Each has two parts, `NAME:train` and `NAME:test`. In a folder, `mnist/` and `kaggle/` are looked into, then the folder
itself. What lies in TENFOLD_DATA is taken as it is; what is downloaded must have the published content. A file is tried
from one mirror after the other, within bounds of time and of size, and is whole and checked under its final name, or
not there at all. Its SHA-256 is that of the uncompressed bytes: gzip may make other bytes of the same content.
"""

import gzip
import hashlib
import importlib.util
import io
import logging
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import numpy as np

from tenfold import settings
from tenfold.data import formats
from tenfold.data.arrays import find_labels
from tenfold.data.digits import Digits
from tenfold.data.splits import stratified_split
from tenfold.data.walk import fault, is_gzip
from tenfold.errors import DataError, MissingExtraError, SourceError
from tenfold.files import write_atomically
from tenfold.imaging.frame import BOX, place

if TYPE_CHECKING:
    import requests

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


NAMES = ("mnist", "kaggle", "uci")
PARTS = ("train", "test")
DOWNLOAD_SECONDS = 600.0
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0  # without a single byte
MAX_BYTES = 16 << 20  # as sent; MNIST's largest file has 9.9 MB
MAX_REDIRECTS = 5
CHUNK = 1 << 16

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
# Size and SHA-256 of what they hold uncompressed; the MD5s are those that LeCun, Cortes and Burges's have everywhere.
MNIST_FILES = tuple(RemoteFile(f"{name}-ubyte.gz", size, sha256) for name, size, sha256 in (
    ("train-images-idx3", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    ("train-labels-idx1", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ("t10k-images-idx3", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ("t10k-labels-idx1", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
))  # fmt: skip
# Who wrote MNIST's images: QMNIST's labels (C. Yadav and L. Bottou, "Cold case: the lost MNIST digits", 2019).
QMNIST_MIRRORS = (
    "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
    "https://cdn.jsdelivr.net/gh/facebookresearch/qmnist@master/",
)
QMNIST_FILES = tuple(RemoteFile(f"qmnist-{part}-labels-idx2-int.gz", 1_920_012, sha256) for part, sha256 in (
    ("train", "bb1b6e1ec7b04fd5696f1ed50b5f58f8ef195118edd5c93c81783df9740b8ac5"),
    ("test", "92d0ccb8c25f9c6534270fb4be7e1d24a1c6d315edfc8a638bfbd31c70f362dd"),
))  # fmt: skip
MNIST_STEMS = {"train": "train-images", "test": "t10k-images"}
MNIST_ENDINGS = ("-idx3-ubyte.gz", "-idx3-ubyte", ".idx3-ubyte.gz", ".idx3-ubyte")  # the dot: some unpackers' way
KAGGLE_ZIP = "digit-recognizer.zip"

UCI_TEST_SIZE = 360
UCI_SPLIT_SEED = 0  # the split is fixed: scores on `uci:test` can be compared


def parse(spec: str) -> tuple[str, str | None] | None:
    """Return (name, part or None) of a spec such as `mnist:test`, or None where it is no name.

    Raises DataError for a part that the name doesn't have.
    """
    name, colon, part = spec.partition(":")
    if name not in NAMES:
        return None
    if colon and part not in PARTS:
        raise fault(spec, f"names no part of {name}. Give '{name}:train', '{name}:test' or '{name}'.")
    return name, part or None


def anywhere(spec: str) -> str:
    """Return what names the same data in any working directory: a name as it is, a path from the root on."""
    return spec if parse(spec) else str(Path(os.path.expanduser(spec)).absolute())


def part_for(name: str, purpose: str) -> str | None:
    """Return the part that a bare name gives for a purpose; None for the whole (`uci` to explore)."""
    if name == "kaggle":  # only train.csv has labels
        return "test" if purpose == "submit" else "train"
    if name == "uci" and purpose == "explore":
        return None
    return "train" if purpose in ("train", "explore") else "test"


def load(
    name: str, part: str | None, purpose: str, *, deadline: float = DOWNLOAD_SECONDS, mirrors: Sequence[str] = MIRRORS
) -> Digits:
    """Return the digits of a named data set, downloading MNIST where this machine doesn't have it.

    part: `train`, `test`, or None for what the purpose needs. deadline: seconds that the download may take. Raises
    SourceError where the data is not to be had, MissingExtraError for `uci` without scikit-learn, and DataError where
    the purpose needs labels that the part doesn't have.
    """
    part = part or part_for(name, purpose)
    if name == "uci":
        return uci(part)
    path = find(name, part or "train")
    if path is None and name == "mnist":
        _download("mnist", MNIST_FILES, mirrors, deadline)
        path = next(_mnist_candidates(part or "train"))
    if path is None:
        raise SourceError(
            f"'kaggle' is not on this machine, and Kaggle gives it to its users alone. Run 'kaggle competitions "
            f"download -c digit-recognizer' and put '{KAGGLE_ZIP}' into '{settings.cache_folder() / 'kaggle'}', "
            f"or give its path."
        )
    # Whatever a part of Kaggle's zip is for: its reader takes train.csv to explore, and test.csv to submit.
    reading = purpose if name == "mnist" else "submit" if part == "test" else "explore"
    digits = formats.read(path, reading)
    if digits.labels is None and purpose in ("train", "evaluate"):
        raise DataError(f"'{name}:{part}' has no labels, and {purpose} needs them. Give '{name}:train'.")
    return digits


def available(name: str) -> bool:
    """Return True where every part of a named data set is on this machine, so that nothing need be downloaded."""
    if name == "uci":
        return importlib.util.find_spec("sklearn") is not None
    return all(find(name, part) is not None for part in PARTS)


def find(name: str, part: str) -> Path | None:
    """Return the file on this machine that holds a part of `mnist` or `kaggle`, or None.

    For MNIST it is the images file, with the labels file beside it; for Kaggle the zip or the CSV.
    """
    if name == "mnist":
        return next(_mnist_candidates(part), None)
    paths = (folder / file for folder in _folders("kaggle") for file in (KAGGLE_ZIP, f"{part}.csv"))
    return next((path for path in paths if path.is_file()), None)


def uci(part: str | None = None) -> Digits:
    """Return the UCI digits in the 28x28 frame: 1,437 to train, 360 to test, or all 1,797; ids count from 1.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn, which carries the UCI digits,", "train") from error
    import cv2

    images, labels = load_digits(return_X_y=True)  # 8x8, 0 to 16
    boxes = (cv2.resize(image / 16, (BOX, BOX), interpolation=cv2.INTER_CUBIC) for image in images.reshape(-1, 8, 8))
    digits = Digits.of(np.stack([place(np.clip(box, 0, 1)) for box in boxes]), labels)
    if part is None:
        return digits
    train, test = stratified_split(labels, UCI_TEST_SIZE, UCI_SPLIT_SEED)
    return digits.take(train if part == "train" else test)


def qmnist(download: bool, mirrors: Sequence[str] = QMNIST_MIRRORS) -> list[Path]:
    """Return QMNIST's two files of labels, of training and test images; [] where they are not here to be read.

    download: get them then, or else raise SourceError.
    """
    for folder in _folders("qmnist"):
        if all(file.is_in(folder) for file in QMNIST_FILES):
            paths = [folder / file.name for file in QMNIST_FILES]
            return [path if path.is_file() else path.with_suffix("") for path in paths]
    if not download:
        return []
    _download("qmnist", QMNIST_FILES, mirrors, DOWNLOAD_SECONDS)
    return qmnist(False)


def _download(name: str, files: Sequence[RemoteFile], mirrors: Sequence[str], deadline: float) -> None:
    """Put a data set's files into the cache folder; SourceError, with what to do, where that cannot be."""
    folder = settings.cache_folder() / name
    names = ", ".join(f"'{file.name}'" for file in files)
    advice = f"Put {names} into '{folder}', or into the folder that TENFOLD_DATA names"
    if settings.offline():
        raise SourceError(f"'{name}' is not on this machine, and TENFOLD_OFFLINE forbids to download it. {advice}.")
    try:
        fetch(files, folder, mirrors, deadline=deadline)
    except DownloadError as error:
        raise SourceError(f"'{name}' could not be downloaded ({error}). {advice}, or try again.") from error
    except OSError as error:
        what = f"'{name}' cannot be stored in '{folder}': {error.strerror or error}."
        raise SourceError(f"{what} Set TENFOLD_CACHE to a folder that you can write to.") from error


def _folders(*names: str) -> Iterator[Path]:
    """Yield the folders in which the files of a data set may lie, those in TENFOLD_DATA first."""
    data = settings.data_folder()
    if data is not None:
        if not data.is_dir():
            raise SourceError(f"TENFOLD_DATA names '{data}', which is not a folder. Correct it, or unset it.")
        yield from (data / name for name in (*names, "."))
    yield settings.cache_folder() / names[0]


def _mnist_candidates(part: str) -> Iterator[Path]:
    for folder in _folders("mnist", "MNIST/raw"):  # the second is how torchvision lays it out
        for ending in MNIST_ENDINGS:
            path = folder / f"{MNIST_STEMS[part]}{ending}"
            if path.is_file() and find_labels(path) is not None:
                yield path


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
        for file in [each for each in files if not each.is_in(folder)]:
            reasons = []
            for mirror in mirrors:
                log.info("Downloading %s from %s", file.name, mirror)
                try:
                    sent = _get(f"{mirror.rstrip('/')}/{file.name}", session, stop)
                    if file.is_content_of(sent):
                        break
                    raise DownloadError("sent wrong bytes")
                except DownloadError as error:
                    reasons.append(f"{mirror.partition('://')[2].partition('/')[0] or mirror} {error}")
            else:
                raise DownloadError(f"'{file.name}': {'; '.join(reasons) or 'no mirror is known'}")
            write_atomically(folder / (file.name if is_gzip(sent) else file.name.removesuffix(".gz")), sent)
            # What served one file is asked first for the next.
            mirrors = [mirror, *(each for each in mirrors if each != mirror)]


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
    return bytes(content)


def _seconds_left(stop: float) -> float:
    if (left := stop - time.monotonic()) <= 0:
        raise DownloadError("was too slow for the time allowed")
    return left
