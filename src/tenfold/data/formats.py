"""Digits from a path, whatever the file or folder is: the kind is found by looking inside, not by the name.

    file    IDX (gzipped or not; the labels file is found beside it) · Kaggle's CSV · Kaggle's zip · NPZ
    folder  Kaggle's unpacked files · IDX files · a folder per class with pictures

Each kind of file has its own reader: idx.py, csv_format.py, npz.py; archive.py guards what is compressed.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tenfold.data.archive import (
    entries,
    gunzip_start,
    open_zip,
    quoted,
    read_file,
    read_member,
    read_unpacked,
    safe_members,
    unreadable,
)
from tenfold.data.cache import parsed
from tenfold.data.csv_format import parse_csv, parse_sample_submission
from tenfold.data.digits import Digits
from tenfold.data.idx import IMAGE_DIMENSIONS, find_labels, is_idx, read_idx
from tenfold.data.npz import is_npz, read_npz
from tenfold.errors import DataError

CLASSES = frozenset("0123456789")
KINDS = "IDX, Kaggle's CSV or zip, NPZ, or a folder with class folders 0 to 9"
NEEDS_LABELS = ("train", "evaluate")
HELD_OUT = ("evaluate", "submit")  # take the test part where a folder or archive holds both
SAMPLE_SUBMISSION = "sample_submission.csv"
PART_FOLDERS = frozenset(("train", "training", "test", "testing"))
PICTURE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")


def read(path: Path, purpose: str) -> Digits:
    """Return the digits at `path` for a purpose: train, evaluate, explore or submit.

    Where there is a training and a test part, Kaggle's test.csv is for submit alone (it has no labels); otherwise
    evaluate and submit take the test part. DataError, with the row or byte, for whatever is not as it should be,
    and where train or evaluate get data without labels.
    """
    digits = _read_folder(path, purpose) if path.is_dir() else _read_file(path, purpose)
    if digits.labels is None and purpose in NEEDS_LABELS:
        raise DataError(
            f"'{path}' has no labels, and {purpose} needs them. "
            "Give a CSV with a label column, the IDX labels file beside the images, 'y' in an NPZ, or class folders."
        )
    return digits


def sample_submission_ids(path: Path) -> NDArray[np.int64] | None:
    """Return the ImageId column of sample_submission.csv in a Kaggle zip or folder, or beside a CSV, (N,) int64.

    None where there is no such file.
    """
    if path.is_file() and read_start(path)[:2] == b"PK":
        with open_zip(path) as archive:
            members = safe_members(archive, path.name)
            name = _one_named(members, SAMPLE_SUBMISSION, path.name)
            if name is None:
                return None
            return parse_sample_submission(read_member(archive, members[name], path.name), name)
    sample = (path if path.is_dir() else path.parent) / SAMPLE_SUBMISSION
    if not sample.is_file() or (path.is_file() and kind_of(path) != "csv"):
        return None
    return parse_sample_submission(read_file(sample), sample.name)


def read_start(path: Path) -> bytes:
    """Return the first 4,096 bytes of a file."""
    if not path.is_file():
        raise DataError(f"'{path}' is not a file. Give {KINDS}.")
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError as error:
        raise unreadable(path, error) from error


def kind_of(path: Path) -> str:
    """Return "idx", "zip" or "csv" by a file's first bytes. DataError for an empty file and any other kind."""
    start = read_start(path)
    if not start:
        raise DataError(f"'{path.name}' is empty: '0' bytes. Give {KINDS}.")
    if start[:2] == b"PK":
        return "zip"
    start = gunzip_start(start) or read_unpacked(path)  # the second says where it is damaged
    if is_idx(start):
        return "idx"
    if start.startswith(PICTURE_STARTS):
        raise DataError(f"'{path.name}' is one picture. Give a folder with pictures in folders named 0 to 9.")
    if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"'{path.name}' begins with '{start[:4].hex()}', which no reader knows. Give {KINDS}.")
    return "csv"


def _read_file(path: Path, purpose: str) -> Digits:
    kind = kind_of(path)
    if kind == "zip":
        return _read_zip(path, purpose)
    if kind == "csv":
        return parsed({"csv": path}, lambda: parse_csv(read_unpacked(path), path.name))
    labels = find_labels(path)
    files = {"images": path} if labels is None else {"images": path, "labels": labels}
    return parsed(files, lambda: read_idx(path))


def _read_zip(path: Path, purpose: str) -> Digits:
    with open_zip(path) as archive:
        members = safe_members(archive, path.name)
        if is_npz(members):
            return read_npz(archive, path.name, purpose in HELD_OUT)
        name = _kaggle_file(members, purpose, path.name)
        if name is None:
            contents = quoted(", ".join(members) or "nothing")
            raise DataError(f"'{path.name}' holds {contents}. Give Kaggle's zip or an NPZ.")
        return parsed({name: path}, lambda: parse_csv(read_member(archive, members[name], path.name), name))


def _read_folder(path: Path, purpose: str) -> Digits:
    inside = entries(path)
    files = {entry.name: entry for entry in inside if entry.is_file()}
    name = _kaggle_file(files, purpose, path.name)
    if name is not None:
        return _read_file(files[name], purpose)
    images = [file for file in files.values() if "images" in file.name and _is_idx_images(file)]
    if images:
        return _read_file(_choose_part(images, path, purpose), purpose)
    folders = [entry for entry in inside if entry.is_dir()]
    if folders and {folder.name.lower() for folder in folders} <= PART_FOLDERS:
        path = _choose_part(folders, path, purpose)
    elif files and not folders:
        raise DataError(f"'{path}' holds {quoted(', '.join(files))}. Give {KINDS}.")
    pictures = list_pictures(path)
    return parsed(pictures, lambda: read_pictures(pictures))


def list_pictures(folder: Path) -> dict[str, Path]:
    """Return every picture below the class folders by its name `class/file`, in the order of class, then name.

    What file managers leave behind is skipped. DataError for a folder that is not a class, a file among the class
    folders, a folder or special file among the pictures, and where there is no picture at all.
    """
    pictures: dict[str, Path] = {}
    for entry in entries(folder):
        if not entry.is_dir() or entry.name not in CLASSES:
            raise DataError(f"'{folder.name}' holds {quoted(entry.name)}. Give folders named 0 to 9 and nothing else.")
        for picture in entries(entry):
            name = f"{entry.name}/{picture.name}"
            if not picture.is_file():
                raise DataError(f"{quoted(name)} is not a picture file. Give pictures and nothing else in a class.")
            pictures[name] = picture
    if not pictures:
        raise DataError(f"'{folder}' holds no pictures. Put them into folders named 0 to 9.")
    return pictures


def read_pictures(pictures: dict[str, Path]) -> Digits:
    """Return the pictures that `list_pictures` found, each brought into the 28x28 frame, labelled by its folder."""
    from tenfold.imaging.decode import decode
    from tenfold.imaging.frame import to_frame

    images = np.empty((len(pictures), 28, 28), dtype=np.uint8)
    for index, (name, path) in enumerate(pictures.items()):
        images[index] = to_frame(decode(read_file(path), name))
    return Digits.of(images, np.array([int(name[0]) for name in pictures], dtype=np.int64))


def _kaggle_file(names: Mapping[str, object], purpose: str, where: str) -> str | None:
    """Return which of the files in a zip or folder holds the digits for this purpose, or None."""
    wanted = "test.csv" if purpose == "submit" else "train.csv"
    name = _one_named(names, wanted, where)
    if name is not None:
        return name
    tables = [each for each in names if each.lower().endswith(".csv") and _base(each) != SAMPLE_SUBMISSION]
    if len(tables) > 1 or (tables and _base(tables[0]) in ("train.csv", "test.csv")):
        contents = quoted(", ".join(tables))
        raise DataError(f"'{where}' holds {contents} but no '{wanted}', which {purpose} needs. Add it.")
    return tables[0] if tables else None


def _one_named(names: Mapping[str, object], wanted: str, where: str) -> str | None:
    found = [name for name in names if _base(name) == wanted]
    if len(found) > 1:
        raise DataError(f"'{where}' holds {quoted(', '.join(found))}. Leave one '{wanted}' in it.")
    return found[0] if found else None


def _base(name: str) -> str:
    return PurePosixPath(name).name.lower()


def _is_idx_images(path: Path) -> bool:
    start = gunzip_start(read_start(path))
    return is_idx(start) and start[3] == IMAGE_DIMENSIONS


def _choose_part(parts: list[Path], folder: Path, purpose: str) -> Path:
    """Return the training or the test part among files or folders whose names say which they are."""
    if len(parts) == 1:
        return parts[0]
    held_out = purpose in HELD_OUT
    chosen = [part for part in parts if ("t10k" in part.name.lower() or "test" in part.name.lower()) == held_out]
    if len(chosen) != 1:
        names = quoted(", ".join(part.name for part in parts))
        raise DataError(f"'{folder}' holds {names}, and which one {purpose} needs is not clear. Give one of them.")
    return chosen[0]
