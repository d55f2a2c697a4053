"""What every test shares: a cache of its own, no network, and small sets of digits."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold import settings
from tenfold.data import writers
from tenfold.data.digits import Digits
from tenfold.drawing.numbers import Desk
from tenfold.metrics.side_by_side import Side, SideBySide
from tenfold.runs.results import DataUsed, Result, Trial


def pytest_configure() -> None:
    """Make TENFOLD_DATA absolute, because tests change the working directory."""
    folder = settings.data_folder()
    if folder is not None:
        os.environ["TENFOLD_DATA"] = str(folder.resolve())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `data` where TENFOLD_DATA names no folder with MNIST in it."""
    folder = settings.data_folder()
    if folder is not None and (folder / "mnist").is_dir():
        return
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason="needs TENFOLD_DATA, a folder with mnist/ in it"))


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty cache, no network, and real data only where it is marked `data`."""
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TENFOLD_OFFLINE", "1")
    if not request.node.get_closest_marker("data"):
        monkeypatch.delenv("TENFOLD_DATA", raising=False)


@pytest.fixture(scope="session")
def make_digits() -> Callable[..., Digits]:
    """Return a function (n, seed) that draws n labelled digits which a network can learn in a second.

    Digit d is a bar of its own angle and a dot of its own place, in random strength and position, with noise.
    """

    def make(n: int = 200, seed: int = 0) -> Digits:
        random = np.random.default_rng(seed)
        labels = np.arange(n) % 10
        rows, columns = np.mgrid[0:28, 0:28] - 13.5  # Shape: (28, 28) each
        images = np.empty((n, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            angle, shift = label * np.pi / 10, random.uniform(-1, 1, 2)
            y, x = rows - shift[0], columns - shift[1]
            bar = (np.abs(y * np.cos(angle) - x * np.sin(angle)) < 1.5) & (np.hypot(x, y) < 10)
            dot = np.hypot(y - 7 * np.cos(2 * angle), x - 7 * np.sin(2 * angle)) < 2
            image[:] = (bar | dot) * random.integers(180, 256) * random.uniform(0.9, 1, (28, 28))
        return Digits.of(images, labels)

    return make


@pytest.fixture(scope="session")
def digits(make_digits: Callable[..., Digits]) -> Digits:
    """Return 200 labelled generated digits, 20 of each."""
    return make_digits()


@pytest.fixture(scope="session")
def desk() -> Desk:
    """Return a desk whose hands write as the bundled UCI digits and in our shapes, its words in the training fonts."""
    from tenfold.data import load
    from tenfold.drawing.glyphs import font_files
    from tenfold.drawing.hands import Hands

    known = load("uci:train")
    assert known.labels is not None
    return Desk(Hands.of(known.images[:200], known.labels[:200], 200, 0, font_files()), font_files())


@pytest.fixture(scope="session")
def neat(desk: Desk) -> Desk:
    """Return a desk that writes in our shapes alone, which are legible; UCI's 8 by 8 pixels often are not."""
    return Desk(type(desk.hands)(desk.hands.maps[200:400], desk.hands.labels[200:400], 0), ())


@pytest.fixture(scope="session")
def ablation() -> Callable[..., Result]:
    """Return a function that makes a record of one variant of an ablation, a seed for each accuracy."""

    def make(variant: str, accuracies: list[float], study: str = "kernel", **changes: Any) -> Result:
        values: dict[str, Any] = {
            "time": "2026-01-01T00:00:00+00:00",
            "recipe": "base",
            "config_sha256": "c" * 64,
            "commit": "abc",
            "machine": {"cpu": "Example CPU", "threads": 1},
            "versions": {},
            "train_data": DataUsed(spec="mnist", sha256="a" * 64, n=50_000),
            "test_data": DataUsed(spec="mnist, held out", sha256="b" * 64, n=10_000),
            "parameters": 24_058,
            "epochs": 2.0,
            "trials": [
                Trial(seed=seed, accuracy=accuracy, nll=0.03 + 0.01 * seed, seconds=10.0 + seed)
                for seed, accuracy in enumerate(accuracies)
            ],
            "protocol": "ablation",
            "study": study,
            "variant": variant,
        }
        return Result(**(values | changes))

    return make


@pytest.fixture(scope="session")
def kernels(ablation: Callable[..., Result]) -> tuple[Result, Result]:
    """Return the records of two variants, small and large filters, the second the better one."""
    return ablation("3x3", [0.980, 0.981, 0.985]), ablation("5x5", [0.984, 0.986, 0.988])


@pytest.fixture(scope="session")
def answers() -> Callable[[list[int]], NDArray[np.float32]]:
    """Return a function that makes probabilities of 0.91 for the digits given."""

    def make(given: list[int]) -> NDArray[np.float32]:
        probabilities = np.full((len(given), 10), 0.01, np.float32)
        probabilities[np.arange(len(given)), given] = 0.91
        return probabilities

    return make


@pytest.fixture(scope="session")
def watching() -> str:
    """Return the lines of Python that begin a process and put into `opened` whatever address it looks up or calls."""
    return """
import os, sys
opened = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        opened.append((event, str(arguments[-1])))
sys.addaudithook(watch)
"""


@pytest.fixture(scope="session")
def comparison(answers: Callable[[list[int]], NDArray[np.float32]]) -> Callable[..., SideBySide]:
    """Return a function that makes a comparison of three systems on six images.

    All take the 4 for a 9 and the 9 for a 4; the first two take the 3 for a 5, the last for an 8.
    """

    def make(**changes: Any) -> SideBySide:
        sides = [
            Side("slow", answers([0, 1, 2, 5, 9, 4]), seconds=100.0, parameters=1000),
            Side("quick", answers([0, 1, 2, 5, 9, 4]), seconds=1.0, parameters=None),
            Side("worse", answers([6, 1, 2, 8, 9, 4]), seconds=10.0, parameters=10),
        ]
        labels = np.array([0, 1, 2, 3, 4, 9])
        images = {i: np.full((28, 28), 40 * i, np.uint8) for i in range(6)}
        return SideBySide(**({"title": "Six images", "labels": labels, "sides": sides, "images": images} | changes))

    return make


@pytest.fixture(scope="session")
def idx() -> Callable[[NDArray[Any], int, str], bytes]:
    """Return a function that gives gzipped IDX bytes of values, with the header's type and numpy's."""

    def pack(values: NDArray[Any], kind: int, dtype: str) -> bytes:
        header = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        return gzip.compress(header + values.astype(dtype).tobytes())

    return pack


@pytest.fixture
def written_mnist(
    tmp_path: Path,
    make_digits: Callable[..., Digits],
    idx: Callable[[NDArray[Any], int, str], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a folder with a small MNIST and QMNIST's labels for it: 400 and 100 images, 20 and 10 writers."""
    for sub in ("mnist", "qmnist"):
        (tmp_path / sub).mkdir()
    for part, stem, n, first, count in (("train", "train", 400, 0, 20), ("test", "t10k", 100, 2100, 10)):
        digits = make_digits(n, seed=n)
        assert digits.labels is not None
        (tmp_path / f"mnist/{stem}-images-idx3-ubyte.gz").write_bytes(idx(digits.images, 8, "u1"))
        (tmp_path / f"mnist/{stem}-labels-idx1-ubyte.gz").write_bytes(idx(digits.labels, 8, "u1"))
        rows = np.zeros((n + 5, 8), int)  # as the published test file, which has more rows than MNIST images
        rows[:n, 0], rows[:n, 2] = digits.labels, first + np.arange(n) // 10 % count
        (tmp_path / f"qmnist/qmnist-{part}-labels-idx2-int.gz").write_bytes(idx(rows, 12, ">i4"))
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path))
    writers._table.cache_clear()
    return tmp_path
