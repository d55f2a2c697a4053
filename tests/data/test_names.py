"""Named data sets: where they are looked for, how they are downloaded, and what is said where they are missing."""

import gzip
import hashlib
import struct
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tenfold import settings
from tenfold.data import names
from tenfold.data.digits import Digits
from tenfold.data.names import RemoteFile
from tenfold.errors import DataError, MissingExtraError, SourceError

NAMES = [file.name for file in names.MNIST_FILES]
# Of the ids of `uci:test`, int64, little-endian: another value means that published scores no longer compare.
UCI_TEST_SHA256 = "3965239538ab31487f97f19eccf1e4cff5da0d3dc76d7db0a2d18af958cd46fe"


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that TENFOLD_DATA names."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("TENFOLD_DATA", str(folder))
    return folder


def idx_bytes(values: np.ndarray) -> bytes:
    """Return IDX bytes as LeCun's page describes them."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_mnist(
    folder: Path, make: Callable[..., Digits], sizes: tuple[int, int] = (40, 20), packed: bool = True
) -> None:
    """Write four files like MNIST's, generated; the training part has sizes[0] images."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, size in zip(("train", "t10k"), sizes, strict=True):
        digits = make(size, seed=size)
        assert digits.labels is not None
        for kind, values in (("images-idx3", digits.images), ("labels-idx1", digits.labels.astype(np.uint8))):
            name, content = f"{stem}-{kind}-ubyte", idx_bytes(values)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)


def csv_text(digits: Digits, labelled: bool) -> str:
    """Return a Kaggle CSV."""
    pixels = [",".join(map(str, row)) for row in digits.images.reshape(len(digits), -1).tolist()]
    header = ",".join(f"pixel{i}" for i in range(784))
    if not labelled:
        return "\n".join([header, *pixels]) + "\n"
    assert digits.labels is not None
    rows = [f"{label},{row}" for label, row in zip(digits.labels, pixels, strict=True)]
    return "\n".join([f"label,{header}", *rows]) + "\n"


@pytest.mark.parametrize(
    ("subfolder", "packed"), [("mnist", True), ("mnist", False), (".", True), ("MNIST/raw", False)]
)
def test_mnist_is_found_in_tenfold_data(
    data_folder: Path, make_digits: Callable[..., Digits], subfolder: str, packed: bool
) -> None:
    """The four files are found in mnist/, in the folder itself and in torchvision's layout, gzipped or not."""
    assert not names.available("mnist")
    write_mnist(data_folder / subfolder, make_digits, packed=packed)
    assert names.available("mnist")
    train, test = names.load("mnist", "train", "train"), names.load("mnist", "test", "evaluate")
    assert np.array_equal(train.images, make_digits(40, seed=40).images)
    assert np.array_equal(test.labels, make_digits(20, seed=20).labels)


def test_names_with_a_dot_are_found(data_folder: Path, make_digits: Callable[..., Digits]) -> None:
    """`train-images.idx3-ubyte`, as some archives spell it, is the same file."""
    write_mnist(data_folder, make_digits, packed=False)
    for path in data_folder.iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(names.load("mnist", "test", "evaluate")) == 20


def test_tenfold_data_comes_before_the_cache(data_folder: Path, make_digits: Callable[..., Digits]) -> None:
    """What the user names is read, not what was downloaded before; without it the cache serves."""
    write_mnist(settings.cache_folder() / "mnist", make_digits, (30, 10))
    assert len(names.load("mnist", "train", "train")) == 30
    write_mnist(data_folder / "mnist", make_digits)
    assert len(names.load("mnist", "train", "train")) == 40


def test_images_without_labels_are_not_mnist(data_folder: Path, make_digits: Callable[..., Digits]) -> None:
    """A folder that lacks the labels file is passed over for one that has both."""
    write_mnist(data_folder / "mnist", make_digits)
    write_mnist(settings.cache_folder() / "mnist", make_digits, (30, 10))
    (data_folder / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    assert len(names.load("mnist", "train", "train")) == 30
    assert len(names.load("mnist", "test", "train")) == 20


@pytest.mark.parametrize(
    ("purpose", "sizes"),
    [("train", (40, 1437)), ("explore", (40, 1797)), ("evaluate", (20, 360)), ("submit", (20, 360))],
)
def test_a_bare_name_gives_the_part_that_the_purpose_needs(
    data_folder: Path, make_digits: Callable[..., Digits], purpose: str, sizes: tuple[int, int]
) -> None:
    """Training parts train and are explored, test parts are evaluated and submitted; UCI is explored whole."""
    pytest.importorskip("sklearn")
    write_mnist(data_folder, make_digits)
    assert len(names.load("mnist", None, purpose)) == sizes[0]
    assert len(names.load("uci", None, purpose)) == sizes[1]


@pytest.mark.parametrize("form", ["zip", "csv", "zip in the folder itself"])
def test_kaggle_parts(data_folder: Path, make_digits: Callable[..., Digits], form: str) -> None:
    """`kaggle` gives train.csv to all but submit; each part can be named; only train.csv has labels."""
    folder = data_folder if form.endswith("itself") else data_folder / "kaggle"
    folder.mkdir(exist_ok=True)
    texts = {"train.csv": csv_text(make_digits(30, 1), True), "test.csv": csv_text(make_digits(20, 2), False)}
    if form == "csv":
        for name, text in texts.items():
            (folder / name).write_text(text)
    else:
        with zipfile.ZipFile(folder / "digit-recognizer.zip", "w") as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
    assert names.available("kaggle")
    sizes = {
        purpose: len(names.load("kaggle", None, purpose)) for purpose in ("train", "evaluate", "explore", "submit")
    }
    assert sizes == {"train": 30, "evaluate": 30, "explore": 30, "submit": 20}
    assert names.load("kaggle", "test", "explore").labels is None
    assert names.load("kaggle", "train", "submit").labels is not None
    for purpose in ("train", "evaluate"):
        with pytest.raises(DataError, match=f"'kaggle:test' has no labels, and {purpose} needs them"):
            names.load("kaggle", "test", purpose)


def test_missing_kaggle_says_how_to_get_it() -> None:
    """The error holds Kaggle's command, the file and the folder to put it into."""
    with pytest.raises(SourceError) as caught:
        names.load("kaggle", "train", "train")
    message = str(caught.value)
    assert "kaggle competitions download -c digit-recognizer" in message
    assert "digit-recognizer.zip" in message
    assert str(settings.cache_folder() / "kaggle") in message
    assert "\n" not in message


def test_offline_downloads_nothing_and_says_what_to_put_where() -> None:
    """With TENFOLD_OFFLINE the error names the files and the folder; no mirror is asked."""
    with pytest.raises(SourceError, match="TENFOLD_OFFLINE") as caught:
        names.load("mnist", "train", "train", mirrors=["http://127.0.0.1:1/"])
    assert all(name in str(caught.value) for name in [*NAMES, str(settings.cache_folder() / "mnist"), "TENFOLD_DATA"])
    assert not (settings.cache_folder() / "mnist").exists()


def test_a_tenfold_data_that_is_no_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped TENFOLD_DATA is not passed over in silence."""
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path / "mistyped"))
    with pytest.raises(SourceError, match="mistyped', which is not a folder"):
        names.load("mnist", "train", "train")


@pytest.fixture
def mirror(tmp_path: Path, make_digits: Callable[..., Digits], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield a mirror with four small files, to which the pinned hashes are set."""
    folder = tmp_path / "served"
    write_mnist(folder, make_digits)
    contents = {name: gzip.decompress((folder / name).read_bytes()) for name in NAMES}
    pinned = tuple(RemoteFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items())
    monkeypatch.setattr(names, "MNIST_FILES", pinned)
    monkeypatch.setenv("TENFOLD_OFFLINE", "")
    monkeypatch.setenv("NO_PROXY", "*")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_mnist_is_downloaded_once(
    mirror: str, make_digits: Callable[..., Digits], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four files come to the cache at the first load; after that no network is needed."""
    train = names.load("mnist", "train", "train", mirrors=[mirror])
    assert np.array_equal(train.images, make_digits(40, seed=40).images)
    monkeypatch.setenv("TENFOLD_OFFLINE", "1")
    assert names.available("mnist")
    assert len(names.load("mnist", "test", "evaluate")) == 20


def test_mirrors_with_other_content_are_refused(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the content isn't the published one, the error says so and what to put where, and nothing is stored."""
    monkeypatch.undo()
    monkeypatch.setattr(names, "MNIST_FILES", (RemoteFile(NAMES[0], 1000, "0" * 64),))
    with pytest.raises(SourceError, match="sent wrong bytes") as caught:
        names._download("mnist", names.MNIST_FILES, [mirror], 30)
    assert NAMES[0] in str(caught.value)
    assert not list((settings.cache_folder() / "mnist").glob("t*"))


def test_a_cache_that_cannot_be_written_is_said(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the folder and the variable to set, not a network problem."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file"))
    with pytest.raises(SourceError, match=r"cannot be stored in '.*file.*TENFOLD_CACHE"):
        names.load("mnist", "train", "train", mirrors=[mirror])


def test_the_mirrors_are_at_least_two_and_encrypted() -> None:
    """One mirror may fail."""
    for mirrors in (names.MIRRORS, names.QMNIST_MIRRORS):
        assert len({mirror.split("/")[2] for mirror in mirrors}) >= 2
        assert all(mirror.startswith("https://") for mirror in mirrors)


def test_qmnist_is_downloaded_once(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QMNIST's labels come to the cache when they are asked for, and not before; then they are found."""
    files = []
    for file in names.QMNIST_FILES:
        content = b"labels of " + file.name.encode()
        (tmp_path / "served" / file.name).write_bytes(gzip.compress(content))
        files.append(RemoteFile(file.name, len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(names, "QMNIST_FILES", tuple(files))
    assert names.qmnist(False, [mirror]) == []
    assert [path.name for path in names.qmnist(True, [mirror])] == [file.name for file in files]
    monkeypatch.setenv("TENFOLD_OFFLINE", "1")
    assert len(names.qmnist(True, [mirror])) == 2


def test_uci_is_brought_into_the_frame() -> None:
    """1,797 images, each as scikit-learn has it but larger: centred, with ink inside the 20x20 box only."""
    datasets = pytest.importorskip("sklearn.datasets")
    original, labels = datasets.load_digits(return_X_y=True)
    digits = names.uci()
    assert np.array_equal(digits.labels, labels)
    ink = digits.images.sum(axis=(1, 2), dtype=np.float64)
    assert np.corrcoef(ink, original.sum(axis=1))[0, 1] > 0.99
    grid = np.arange(28)
    down = (digits.images.sum(axis=2) @ grid) / ink
    right = (digits.images.sum(axis=1) @ grid) / ink
    assert np.abs(np.stack([down, right]) - 14).max() <= 0.51
    rows, columns = digits.images.any(axis=2).sum(axis=1), digits.images.any(axis=1).sum(axis=1)
    assert max(rows.max(), columns.max()) <= 20
    assert digits.images.max() == 255


def test_the_uci_split_is_fixed() -> None:
    """Both parts together are the whole, without overlap, with each class in proportion, and never change."""
    pytest.importorskip("sklearn")
    train, test, whole = names.uci("train"), names.uci("test"), names.uci()
    assert (len(train), len(test)) == (1437, 360)
    assert np.array_equal(np.sort(np.concatenate([train.ids, test.ids])), whole.ids)
    assert np.array_equal(whole.images[test.ids - 1], test.images)
    share = np.bincount(test.labels, minlength=10) / np.bincount(whole.labels, minlength=10)
    assert np.abs(share - 360 / 1797).max() < 0.01
    assert hashlib.sha256(test.ids.astype("<i8").tobytes()).hexdigest() == UCI_TEST_SHA256


def test_uci_without_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tenfold\[train\]'"):
        names.uci()


@pytest.mark.data
def test_the_pinned_hashes_are_those_of_mnist() -> None:
    """The four files in TENFOLD_DATA have the pinned sizes and hashes."""
    for file in names.MNIST_FILES:
        part = "train" if file.name.startswith("train") else "test"
        images = names.find("mnist", part)
        assert images is not None
        content = next(images.parent.glob(file.name.removesuffix(".gz") + "*")).read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)


@pytest.mark.data
def test_real_mnist_loads_by_name() -> None:
    """60,000 and 10,000 images with the class counts that MNIST is known for."""
    train, test = names.load("mnist", None, "train"), names.load("mnist", None, "evaluate")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
