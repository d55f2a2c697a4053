"""The kind of a file or folder is found by its content, and each purpose gets its part."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tenfold import settings
from tenfold.data import formats
from tenfold.errors import DataError

HEADER = ",".join(f"pixel{index}" for index in range(784))
TRAIN = f"label,{HEADER}\n" + "".join(f"{label},{','.join(['9'] * 784)}\n" for label in (3, 1, 4))
TEST = f"{HEADER}\n" + f"{','.join(['8'] * 784)}\n" * 2
SAMPLE = "ImageId,Label\n1,0\n2,0\n"
KAGGLE = {"sample_submission.csv": SAMPLE, "test.csv": TEST, "train.csv": TRAIN}


def kaggle_zip(path: Path, files: dict[str, str], prefix: str = "") -> Path:
    """Return the path of a zip with these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(prefix + name, text)
    return path


@pytest.fixture(params=["zip", "nested zip", "folder"])
def kaggle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return Kaggle's three files as a zip (its name says nothing), a zip with a folder in it, and a folder."""
    if request.param != "folder":
        return kaggle_zip(tmp_path / "download", KAGGLE, "digits/" if request.param == "nested zip" else "")
    for name, text in KAGGLE.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_kaggle_purposes(kaggle: Path) -> None:
    """train, evaluate and explore get train.csv, submit gets test.csv, and the sample's ids are found."""
    for purpose in ("train", "evaluate", "explore"):
        labels = formats.read(kaggle, purpose).labels
        assert labels is not None
        assert labels.tolist() == [3, 1, 4]
    test = formats.read(kaggle, "submit")
    assert test.labels is None
    assert (test.images == 8).all() and len(test) == 2
    ids = formats.sample_submission_ids(kaggle)
    assert ids is not None
    assert ids.tolist() == [1, 2]


def test_single_csv(tmp_path: Path) -> None:
    """A CSV alone is read whatever its name, gzipped or zipped; test.csv has its sample beside it."""
    (tmp_path / "digits").write_text(TRAIN)
    (tmp_path / "digits.gz").write_bytes(gzip.compress(TRAIN.encode()))
    kaggle_zip(tmp_path / "digits.zip", {"digits.csv": TRAIN})
    for name in ("digits", "digits.gz", "digits.zip"):
        assert len(formats.read(tmp_path / name, "train")) == 3
    (tmp_path / "test.csv").write_text(TEST)
    assert formats.sample_submission_ids(tmp_path / "test.csv") is None
    (tmp_path / "sample_submission.csv").write_text(SAMPLE)
    assert formats.sample_submission_ids(tmp_path / "test.csv") is not None


def test_missing_labels(tmp_path: Path) -> None:
    """A CSV without the label column is refused by train and evaluate, read by explore and submit."""
    (tmp_path / "a.csv").write_text(TEST)
    for purpose in ("train", "evaluate"):
        with pytest.raises(DataError, match=f"has no labels, and {purpose} needs them"):
            formats.read(tmp_path / "a.csv", purpose)
    assert len(formats.read(tmp_path / "a.csv", "explore")) == len(formats.read(tmp_path / "a.csv", "submit")) == 2


@pytest.mark.parametrize(
    ("files", "purpose", "fault"),
    [
        ({"test.csv": TEST}, "train", "has no labels, and train needs them"),
        (
            {"a.csv": TRAIN, "b.csv": TRAIN.replace("9", "8")},
            "train",
            "holds 'a.csv', 'b.csv', and which one train needs",
        ),
        ({"readme.txt": "x"}, "train", "'a.zip/readme.txt' is text that begins with 'x', and no table"),
        ({}, "train", "holds 'nothing'"),
        ({"train.csv": ""}, "train", "'a.zip/train.csv' is empty"),
    ],
)
def test_zip_without_the_part(tmp_path: Path, files: dict[str, str], purpose: str, fault: str) -> None:
    """A zip that lacks what the purpose needs, or has it twice, says what it holds."""
    with pytest.raises(DataError) as error:
        formats.read(kaggle_zip(tmp_path / "a.zip", files), purpose)
    assert fault in str(error.value)


def test_what_is_no_data(tmp_path: Path) -> None:
    """A missing path, an empty file and folder, other binary files and UTF-16 text are each told apart."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0\0\0")
    (tmp_path / "utf16").write_bytes(TRAIN.encode("utf-16"))
    (tmp_path / "broken.gz").write_bytes(gzip.compress(TRAIN.encode())[:15])
    (tmp_path / "folder").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    for name, fault in {
        "missing": "No such file",
        "empty": "is empty",
        "binary": "is of a kind that no reader knows",
        "utf16": "'UTF-16'",
        "broken.gz": "truncated: its gzip data breaks off at byte '15'",
        "folder": "holds 'nothing', and no digits",
        "texts": "holds 'a.txt', and no digits. Give a CSV",
        "nul\0byte": "null byte",
    }.items():
        with pytest.raises(DataError, match=fault):
            formats.read(tmp_path / name, "train")


def test_unclear_idx_folder(tmp_path: Path) -> None:
    """Several IDX sets of which none is called train or test are listed."""
    for name in ("a-images", "b-images"):
        (tmp_path / name).write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, ord(name[0])]))
    with pytest.raises(DataError, match="holds 'a-images', 'b-images', and which one evaluate needs is not clear"):
        formats.read(tmp_path, "evaluate")


@given(
    st.sampled_from([b"", b"PK\3\4", b"\x1f\x8b\x08", b"\0\0\x08\3", b"label,", b"\x89PNG"]), st.binary(max_size=200)
)
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, start: bytes, noise: bytes) -> None:
    """Whatever a file holds, whatever kind it seems to be: Digits or a DataError of one line."""
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(start + noise)
    for purpose in ("explore", "submit"):
        try:
            formats.read(path, purpose)
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.data
def test_kaggle_download() -> None:
    """The competition's zip gives 42,000 labelled images, and 28,000 with ids 1 to 28,000 to submit."""
    data = settings.data_folder()
    assert data is not None
    path = data / "kaggle" / "digit-recognizer.zip"
    train, test = formats.read(path, "train"), formats.read(path, "submit")
    assert train.images.shape == (42_000, 28, 28) and train.labels is not None
    assert test.images.shape == (28_000, 28, 28) and test.labels is None
    np.testing.assert_array_equal(formats.sample_submission_ids(path), test.ids)
    again = formats.read(path, "train")
    assert again.content_hash() == train.content_hash()


def bar(side: int, ink: int, paper: int) -> Image.Image:
    """Return a square picture with an upright bar in it."""
    pixels = np.full((side, side), paper, np.uint8)
    pixels[side // 5 : -side // 5, side * 2 // 5 : side * 3 // 5] = ink
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with pictures of several sizes, polarities and formats in classes 1 and 7."""
    root = tmp_path / "digits"
    for name, picture in {
        "7/b.png": bar(50, 0, 255),
        "7/a.jpg": bar(200, 20, 230),
        "1/x.bmp": bar(28, 255, 0),
        "1/w.gif": bar(100, 255, 0),
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


def test_order_labels_and_polarity(folder: Path) -> None:
    """Pictures come by class, then name; all have ink 255 on background 0 whatever they were; clutter is skipped."""
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "7" / "Thumbs.db").write_bytes(b"x")
    (folder / "3").mkdir()
    digits = formats.read(folder, "train")
    assert digits.labels is not None
    assert digits.labels.tolist() == [1, 1, 7, 7]
    assert (digits.images[:, 0] == 0).all()
    assert (digits.images[:, 14, 14] > 200).all()


def test_other_files(folder: Path) -> None:
    """What is no picture is left out and counted, in a class and beside them; a broken picture is named."""
    (folder / "7" / "notes.txt").write_text("hello")
    (folder / "README.md").write_text("hello")
    (folder / "docs").mkdir()
    bar(28, 0, 255).save(folder / "docs" / "screen.png")
    digits = formats.read(folder, "train")
    assert len(digits) == 4
    assert digits.notes == ("left out 3 other files: '7/notes.txt', 'README.md', 'docs/screen.png'",)
    (folder / "7" / "c.png").write_text("hello")
    with pytest.raises(DataError, match="'7/c.png' is not a picture"):
        formats.read(folder, "train")


@pytest.mark.parametrize("name", ["10", "seven", "07", "-1"])
def test_other_classes(folder: Path, name: str) -> None:
    """A folder with pictures that is meant as a digit and is none is named."""
    (folder / name).mkdir()
    assert len(formats.read(folder, "train")) == 4
    bar(28, 0, 255).save(folder / name / "a.png")
    with pytest.raises(DataError, match=f"holds '{name}'. Give folders named 0 to 9"):
        formats.read(folder, "train")


def test_pictures_without_an_ending(folder: Path) -> None:
    """A picture is one by its content; a folder may hold a single one."""
    (folder / "7" / "b.png").rename(folder / "7" / "b")
    assert len(formats.read(folder, "train")) == 4
    for name in ("7/a.jpg", "1/x.bmp", "1/w.gif"):
        (folder / name).unlink()
    assert len(formats.read(folder, "train")) == 1
    (folder / "7" / "b").rename(folder / "7" / "b.png")
    assert len(formats.read(folder, "train")) == 1


@pytest.fixture(params=["folder", "zip", "deep folder", "deep zip", "zip in folder"])
def pack(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Return what puts files into a folder or a zip, a level down or not, and gives the path."""

    def pack(files: dict[str, bytes]) -> Path:
        kind, root = request.param, tmp_path / "data"
        files = {("some/thing/" if kind.startswith("deep") else "") + name: content for name, content in files.items()}
        if "folder" in kind and "zip" not in kind:
            for name, content in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(content)
            return root
        root.mkdir(exist_ok=True)
        with zipfile.ZipFile(root / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return root if kind == "zip in folder" else root / "data.zip"

    return pack


RANDOM = np.random.default_rng(5)
TRAIN_SET, TEST_SET = ((RANDOM.integers(0, 256, (n, 28, 28)).astype(np.uint8), np.arange(n) % 10) for n in (12, 10))


def table(images: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> bytes:
    """Return a CSV."""
    header = ("label," if labels is not None else "") + HEADER
    rows = images.reshape(len(images), -1).tolist()
    lines = rows if labels is None else [[label, *row] for label, row in zip(labels.tolist(), rows, strict=True)]
    return "\n".join([header, *(",".join(map(str, line)) for line in lines)]).encode()


def idx(array: NDArray[np.integer]) -> bytes:
    """Return an array as IDX."""
    shape = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def npy(array: NDArray[np.integer]) -> bytes:
    """Return an array as .npy."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def pictures(folder: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, bytes]:
    """Return PNG files in class folders."""
    files = {}
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        buffer = io.BytesIO()
        Image.fromarray(bars(image, label)).save(buffer, "PNG")
        files[f"{folder}{label}/{number:03}.png"] = buffer.getvalue()
    return files


def bars(image: NDArray[np.uint8], label: int) -> NDArray[np.uint8]:
    """Return a framed image that stands for one of a set."""
    framed = np.zeros((28, 28), np.uint8)
    framed[4:24, 12:16] = 200 + label
    framed[4, 12:14] = image[0, :2] // 4 + 100
    return framed


def parts(make: Callable[[str], dict[str, bytes]], train: str, test: str) -> dict[str, bytes]:
    """Return the files of both parts."""
    return make(train) | make(test)


def make_csv(name: str) -> dict[str, bytes]:
    """Return a CSV of the part that its name says."""
    return {f"{name}.csv": table(*(TRAIN_SET if "train" in name.lower() else TEST_SET))}


def make_idx(name: str) -> dict[str, bytes]:
    """Return two IDX files, the one gzipped, of the part that the name says, %s for what they hold."""
    images, labels = TRAIN_SET if "train" in name.lower() else TEST_SET
    return {name % "images" + ".gz": gzip.compress(idx(images)), name % "labels": idx(labels)}


def make_npy(name: str) -> dict[str, bytes]:
    """Return two .npy files of the part that the name says."""
    images, labels = TRAIN_SET if "train" in name.lower() else TEST_SET
    return {name % "X" + ".npy": npy(images), name % "y" + ".npy": npy(labels)}


@pytest.mark.parametrize(
    "files",
    [
        parts(make_csv, "mnist_train", "mnist_test"),
        parts(make_csv, "training/data", "testing/data"),
        parts(make_csv, "TrainSet", "TestSet"),
        parts(make_csv, "digits-train-v2", "digits-eval-v2"),
        parts(make_idx, "train-%s-idx3-ubyte", "t10k-%s-idx3-ubyte"),
        parts(make_idx, "MNIST/raw/train-%s.idx3-ubyte", "MNIST/raw/t10k-%s.idx3-ubyte"),
        parts(make_idx, "emnist-digits-train-%s-idx3-ubyte", "emnist-digits-test-%s-idx3-ubyte"),
        parts(make_idx, "train-%s/train-%s".replace("%s/", "images/"), "t10k/%s"),
        parts(make_npy, "%s_train", "%s_test"),
        parts(make_npy, "train/%s", "test/%s"),
        parts(make_csv, "mnist_train_small", "mnist_test"),
        parts(make_csv, "train", "test") | make_csv("train_small") | {"valid.csv": table(*TEST_SET)},
        parts(make_idx, "train-%s-idx3-ubyte", "t10k-%s-idx3-ubyte")
        | {"processed/training.pt": b"\x80\x02\x8a", "train-images-idx3-ubyte": idx(TRAIN_SET[0])},
    ],
)
def test_parts_in_any_container(pack: Callable[[dict[str, bytes]], Path], files: dict[str, bytes]) -> None:
    """Arrays and tables of two parts: train takes the one, evaluate and submit the other, bit for bit."""
    path = pack(files | {"README.md": b"my digits", "names.txt": b"zero,one"})
    for purpose, (images, labels) in {"train": TRAIN_SET, "evaluate": TEST_SET, "submit": TEST_SET}.items():
        digits = formats.read(path, purpose)
        np.testing.assert_array_equal(digits.images, images)
        np.testing.assert_array_equal(digits.labels, labels)
        assert digits.notes[0].startswith("took '")
        assert "other file" in digits.notes[1] and "README.md'" in "".join(digits.notes)


@pytest.mark.parametrize(
    ("train", "test"),
    [("", None), ("train/", "test/"), ("trainingSet/trainingSet/", "testSet/testSet/"), ("a/training/", "a/valid/")],
)
def test_pictures_in_any_container(pack: Callable[[dict[str, bytes]], Path], train: str, test: str | None) -> None:
    """The level that holds 0 to 9 is found; parts go by their names, samples and bystanders are left out."""
    files = pictures(train, *TRAIN_SET) | {"README.md": b"Handwritten digits, " * 99 + b"\n"}
    if test is not None:
        files |= pictures(test, *TEST_SET) | pictures("trainingSample/", *TEST_SET)
    path = pack(files)
    for purpose, (images, labels) in {"train": TRAIN_SET, "evaluate": TRAIN_SET if test is None else TEST_SET}.items():
        digits = formats.read(path, purpose)
        order = np.argsort(labels, kind="stable")
        np.testing.assert_array_equal(digits.labels, labels[order])
        expected = [bars(image, label) for image, label in zip(images[order], labels[order], strict=True)]
        np.testing.assert_array_equal(digits.images, expected)
        assert digits.notes[-1].startswith("left out 1 other file: '")


def test_flat_pictures_to_submit(pack: Callable[[dict[str, bytes]], Path]) -> None:
    """A part of pictures without classes is for submit; the numbers in the names are the ids and the order."""
    images = TEST_SET[0]
    flat = pictures("", images, np.arange(10))
    flat = {f"versions/1/testSet/img_{at + 1}.png": content for at, content in enumerate(flat.values())}
    path = pack(flat | pictures("versions/1/trainingSet/", *TRAIN_SET))
    digits = formats.read(path, "submit")
    assert digits.labels is None
    np.testing.assert_array_equal(digits.ids, np.arange(1, 11))
    expected = [bars(image, label) for image, label in zip(images, range(10), strict=True)]
    np.testing.assert_array_equal(digits.images, expected)
    assert len(formats.read(path, "train")) == len(formats.read(path, "evaluate")) == len(TRAIN_SET[0])


def test_the_same_file_twice(pack: Callable[[dict[str, bytes]], Path]) -> None:
    """A file that is there twice, as some downloads have it, is one; two of other content are refused."""
    path = pack({"train.csv": table(*TRAIN_SET), "train/train.csv": table(*TRAIN_SET)})
    np.testing.assert_array_equal(formats.read(path, "train").images, TRAIN_SET[0])
    path = pack({"train.csv": table(*TRAIN_SET), "train/train.csv": table(*TEST_SET)})
    with pytest.raises(DataError, match=r"train.csv', '.*train.csv', and which one train needs is not clear. Give one"):
        formats.read(path, "train")


def test_dark_pictures_come_back_as_they_were(tmp_path: Path) -> None:
    """Framed digits saved black on white are the same images, not framed once more."""
    for name, content in pictures("", *TRAIN_SET).items():
        (tmp_path / "png" / name).parent.mkdir(parents=True, exist_ok=True)
        inverted = 255 - np.asarray(Image.open(io.BytesIO(content)))
        Image.fromarray(inverted).save(tmp_path / "png" / name)
    order = np.argsort(TRAIN_SET[1], kind="stable")
    expected = [bars(TRAIN_SET[0][at], TRAIN_SET[1][at]) for at in order]
    np.testing.assert_array_equal(formats.read(tmp_path / "png", "train").images, expected)


def test_names_of_any_kind(tmp_path: Path) -> None:
    """Brackets, and bytes that are not UTF-8, in the names of files and folders change nothing."""
    folder = tmp_path / "[red] d\udce4ta *?"
    folder.mkdir()
    for name in ("[bold]d\udce4.csv", "x.npy"):
        content = npy(TEST_SET[0]) if name == "x.npy" else table(*TRAIN_SET)
        (folder / name).write_bytes(content)
    assert len(formats.read(folder / "[bold]d\udce4.csv", "train")) == 12
    with pytest.raises(DataError) as error:
        formats.read(folder / "x.npy", "train")
    assert str(error.value).isprintable()


def test_parts(folder: Path, tmp_path: Path) -> None:
    """Of `training` and `testing` folders, train takes the first and evaluate the second."""
    both = tmp_path / "both"
    (both / "testing" / "5").mkdir(parents=True)
    bar(40, 0, 255).save(both / "testing" / "5" / "a.png")
    folder.rename(both / "training")
    assert len(formats.read(both, "train")) == 4
    assert len(formats.read(both, "evaluate")) == 1
    notes = formats.read(both, "train").notes
    assert notes == ("took 'training' (4 pictures), left out 'testing' (1 pictures)",)


@pytest.mark.data
def test_mnist_pictures_come_back_identical(tmp_path: Path) -> None:
    """MNIST images saved as PNG in class folders are the same bytes when read, in the same cache or a new one."""
    data = settings.data_folder()
    assert data is not None
    digits = formats.read(data / "mnist", "evaluate").take(np.arange(300))
    assert digits.labels is not None
    for index, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        (tmp_path / "png" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "png" / str(label) / f"{index:04}.png")
    order = np.argsort(digits.labels, kind="stable")
    for _ in range(2):
        read = formats.read(tmp_path / "png", "train")
        np.testing.assert_array_equal(read.images, digits.images[order])
        np.testing.assert_array_equal(read.labels, digits.labels[order])


def test_picture_given_alone(tmp_path: Path) -> None:
    """One picture instead of a folder gets the advice to make folders."""
    buffer = io.BytesIO()
    bar(28, 0, 255).save(buffer, "PNG")
    (tmp_path / "train.csv").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="is one picture"):
        formats.read(tmp_path / "train.csv", "train")
