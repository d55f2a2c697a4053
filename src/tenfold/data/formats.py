"""Digits from a path, whatever is there: one walk lists it, the kind of each file is found by its first bytes.

What belongs together is a set: pictures in class folders 0 to 9, an array of images (IDX, .npy, in an NPZ) with its
labels, a table (CSV). Of several sets a purpose takes one by the names of parts (train, test, valid, sample); what is
left out is said, and what stays ambiguous is refused. Whether it is a folder, a zip or a file makes no difference.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import csv_format
from tenfold.data.arrays import MAGIC, is_idx, parse_idx, parse_npy, read_header
from tenfold.data.cache import parsed
from tenfold.data.digits import Digits
from tenfold.data.meaning import digits_of
from tenfold.data.walk import Entry, fault, is_gzip, quoted, sha256, walk
from tenfold.errors import DataError
from tenfold.imaging.decode import MAX_BYTES, decode
from tenfold.imaging.frame import is_framed, to_frame

CLASSES = frozenset("0123456789")
NEAR_CLASSES = re.compile(r"\d|zero|one|two|three|four|five|six|seven|eight|nine")
KINDS = "a CSV, IDX, NPZ or .npy file, pictures in folders named 0 to 9, or a folder or zip of one of them"
NEEDS_LABELS = ("train", "evaluate")
SAMPLE_SUBMISSION = "sample_submission.csv"
PICTURES = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0\0\0\0|II\*\0|MM\0\*|RIFF.{4}WEBP", re.DOTALL)
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_OTHERS = 20_000  # files that are no pictures, each of which is opened
# Names of parts, and what each purpose takes first where there are several; "" is a name that says nothing.
PARTS = {"sample": r"sample|small|subset|tiny", "valid": r"val(id\w*)?|dev|holdout", "test": r"test\w*|eval\w*",
         "train": r"train\w*"}  # fmt: skip
BEFORE_PART = r"(?:x|y|mnist|kaggle|digits?)?"  # xtrain, mnisttest
ORDER = {"train": ("train", "", "sample", "valid", "test"), "explore": ("train", "", "sample", "valid", "test"),
         "evaluate": ("test", "valid", "", "train", "sample"),
         "submit": ("test", "", "valid", "train", "sample")}  # fmt: skip
IMAGES = frozenset(("x", "image", "images", "img", "imgs", "data", "pixels", "pictures", "features"))
LABELS = frozenset(("y", "label", "labels", "target", "targets", "class", "classes"))
SHOWN_OTHERS = 3
SAVE = "numpy.savez('digits.npz', X=X, y=y)"
TABLE = "X, y = t.drop(columns='label'), t['label']; numpy.savez('digits.npz', X=X, y=y)"
# Formats that are not read: a file's first bytes, its name, and the Python that makes an NPZ of FILE, or None.
FOREIGN = (
    (rb"\x80[\x02-\x05]|\(?[dl]p\d+\n|\(lp|c[a-z_.]+\n[a-zA-Z_]+\n", "a pickle (which runs whatever is in it)", (
        "import gzip, pickle, numpy; (X, y), *_ = pickle.load(OPEN(FILE, 'rb'), encoding='latin1')", SAVE)),
    (rb"PAR1", "Parquet", ("import numpy, pandas; t = pandas.read_parquet(FILE)", TABLE)),
    (rb"ARROW1|FEA1", "Arrow (Feather)", ("import numpy, pandas; t = pandas.read_feather(FILE)", TABLE)),
    (rb"\x89HDF", "HDF5", ("import h5py, numpy; f = h5py.File(FILE); print(list(f))",
                           "numpy.savez('digits.npz', X=f['X'], y=f['y'])")),
    (rb"MATLAB 7\.3", "MATLAB 7.3", ("import h5py, numpy; f = h5py.File(FILE); print(list(f))",
                                     "numpy.savez('digits.npz', X=numpy.array(f['X']).T, y=f['y'])")),
    (rb"MATLAB ", "MATLAB", ("import numpy, scipy.io; m = scipy.io.loadmat(FILE); print(list(m))",
                             "numpy.savez('digits.npz', X=m['X'], y=m['y'])")),
    (rb"[-+.\d]+(e[-+]?\d+)?([ \t]+\d+:[-+.\deE]+)+", "libsvm (svmlight) text", (
        "import numpy, sklearn.datasets; X, y = sklearn.datasets.load_svmlight_file(FILE)",
        "numpy.savez('digits.npz', X=X.toarray(), y=y)")),
    (rb"(?i)\s*(%[^\n]*\n\s*)*@relation", "ARFF", (
        "import numpy, pandas, scipy.io.arff; t = pandas.DataFrame(scipy.io.arff.loadarff(FILE)[0])",
        "numpy.savez('digits.npz', X=t.iloc[:, :-1], y=t.iloc[:, -1].astype(int))")),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1|XLSX", "Excel", ("import numpy, pandas; t = pandas.read_excel(FILE)", TABLE)),
    (rb"SQLite format 3\0", "SQLite", (
        "import numpy, pandas, sqlite3; t = pandas.read_sql('SELECT * FROM digits', sqlite3.connect(FILE))", TABLE)),
    (rb"TORCH", "PyTorch's", ("import numpy, torch; X, y, *_ = torch.load(FILE, weights_only=True)",
                              "numpy.savez('digits.npz', X=X.numpy(), y=y.numpy())")),
    (rb"[\[{]\s*[\[{\"]", "JSON", ("import json, numpy, pathlib; d = json.loads(pathlib.Path(FILE).read_text())",
                             "numpy.savez('digits.npz', X=d['X'], y=d['y'])")),
    (rb"(RD[XA][23]\n|[XA]\n\0\0\0)", "R's", (
        "import numpy, rdata; t = next(iter(rdata.read_rda(FILE).values()))", TABLE)),
    (rb"(?s).{257}ustar", "a tar archive", None),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", None),
    (rb"Rar!\x1a\x07", "a rar archive", None),
    (rb"\xfd7zXZ\0|BZh[1-9]|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18", "compressed by xz, bzip2, zstd or lz4", None),
    (rb"\xff\xfe|\xfe\xff", "'UTF-16' text", ("t = open(FILE, encoding='utf-16').read()",
                                              "open('digits.csv', 'w', encoding='utf-8').write(t)")),
    (rb"%PDF", "a PDF", None),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Set:
    """Digits that belong together: pictures; or an array of images, and its labels where there are some; or a table."""

    kind: str
    name: str  # where they are below what was given
    entries: tuple[Entry, ...]
    labelled: bool  # of a table: perhaps

    def __str__(self) -> str:
        count = f" ({len(self.entries):,} pictures)" if self.kind == "picture" else ""
        return f"{quoted(Path(self.name))}{count}"

    def read(self) -> Digits:
        """Return the digits. DataError, with the place, for whatever is not as it should be."""
        if self.kind == "csv":
            return csv_format.read_csv(self.entries[0].chunks(), self.entries[0].file)
        if self.kind == "picture":
            return _read_pictures(self.entries, self.labelled)
        images, *labels = (_array(entry) for entry in self.entries)
        name, labels_name = self.entries[0].file, self.entries[-1].file
        return digits_of(images, labels[0] if labels else None, name=name, labels_name=labels_name)


def read(path: Path, purpose: str) -> Digits:
    """Return the digits at `path` for a purpose: train, evaluate, explore or submit.

    Where there are several parts it takes the first of `ORDER`; evaluate only one with labels (Kaggle's test.csv has
    none). DataError, with the row or byte, for whatever is not as it should be, and where train or evaluate get data
    without labels.
    """
    with walk(path) as entries:
        single = not path.is_dir() and len(entries) == 1 and entries[0].info is None
        sets, others = _sets([*entries, *_beside(path, entries)] if single else entries, single)
        if not sets:
            raise _nothing(path, others)
        chosen, left = _choose(sets, purpose, path)
        digits = parsed({f"{chosen.kind} {entry.name}": entry.path for entry in chosen.entries}, chosen.read)
    notes = [f"took {chosen}, left out {', '.join(map(str, left[:SHOWN_OTHERS]))}"] if left else []
    if len(left) > SHOWN_OTHERS:
        notes[0] += f" and {len(left) - SHOWN_OTHERS:,} more"
    if others:
        names = ", ".join(quoted(entry.name) for entry in others[:SHOWN_OTHERS])
        notes.append(f"left out {len(others):,} other {'file' if len(others) == 1 else 'files'}: {names}")
    if digits.labels is None and purpose in NEEDS_LABELS:
        kinds = "a CSV with a label column, the IDX labels file beside the images, 'y' in an NPZ, or class folders"
        raise fault(path, f"has no labels, and {purpose} needs them. Give {kinds}.")
    return replace(digits, notes=(*notes, *digits.notes))


def sample_submission_ids(path: Path) -> NDArray[np.int64] | None:
    """Return the ImageId column, (N,) int64, of a sample_submission.csv that is in a zip or folder or beside a CSV."""
    beside = path.with_name(SAMPLE_SUBMISSION)
    with walk(path) as entries:
        found = list(filter(_is_sample, entries))
        if not found and path.is_file() and beside.is_file() and [kind_of(entry) for entry in entries] == ["csv"]:
            found = [Entry(SAMPLE_SUBMISSION, beside)]
        if len(found) > 1:
            names = quoted(", ".join(entry.name for entry in found))
            raise fault(path, f"holds {names}. Leave one '{SAMPLE_SUBMISSION}' in it.")
        return csv_format.parse_sample_submission(bytes(found[0].read()), found[0].file) if found else None


def _is_sample(entry: Entry) -> bool:
    return PurePosixPath(entry.name).name.lower() == SAMPLE_SUBMISSION


def kind_of(entry: Entry) -> str:
    """Return "idx", "npy", "picture", "csv", "foreign", "text" or "binary", by a file's first bytes; "" for none."""
    start = entry.start
    if not start:
        return ""
    if is_idx(start):
        return "idx"
    if start.startswith(MAGIC):
        return "npy"
    if PICTURES.match(start):
        return "picture"
    if _refusal(start, "") is not None:
        return "foreign"
    if b"\0" in start or is_gzip(start):
        return "binary"
    lines = start.splitlines()[:2]
    columns = max(max(line.count(separator) for separator in (*csv_format.SEPARATORS, b" ")) + 1 for line in lines)
    return "csv" if columns >= csv_format.LEAST_PIXELS else "text"


def _sets(entries: Sequence[Entry], single: bool) -> tuple[list[Set], list[Entry]]:
    """Return the sets that the entries make, and those that belong to none; single: where a file was given."""
    pictures: dict[tuple[str, bool], list[Entry]] = defaultdict(list)
    kinds: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        ending = PurePosixPath(entry.name).suffix.lower()
        kind = "picture" if ending in PICTURE_ENDINGS and not single else kind_of(entry)
        if kind == "picture" and not single:
            folders = PurePosixPath(entry.name).parts[:-1]
            labelled = folders[-1:] != () and folders[-1] in CLASSES
            pictures["/".join(folders[:-1] if labelled else folders), labelled].append(entry)
        else:
            if sum(map(len, kinds.values())) >= MAX_OTHERS:
                raise DataError(f"There are more than '{MAX_OTHERS}' files that are no pictures. Give fewer.")
            kinds[kind].append(entry)
    sets, used = _array_sets(kinds.pop("idx", []) + kinds.pop("npy", []))
    tables = {entry: csv_format.read_layout(entry.chunks(), entry.file) for entry in _distinct(kinds.pop("csv", []))}
    of_images = {entry: layout for entry, layout in tables.items() if single or layout}
    sets += [Set("csv", each.name, (each,), not layout or layout.may_have_labels) for each, layout in of_images.items()]
    others = used + [entry for kind in kinds.values() for entry in kind if not _is_sample(entry)]
    for (key, labelled), found in pictures.items():
        above, _, last = key.rpartition("/")
        if not labelled and (above, True) in pictures and not _part(last) and NEAR_CLASSES.search(last.lower()):
            raise DataError(f"{quoted(above or '.')} holds {quoted(last)}. Give folders named 0 to 9 and nothing else.")
        alone = len(pictures) == 1 and not sets
        if labelled or alone or (_part(key) and (key, True) not in pictures):
            sets.append(Set("picture", key, tuple(found), labelled))
        else:
            others += found
    if not sets:  # why the tables can't be read is told when they are
        return [Set("csv", entry.name, (entry,), True) for entry in tables], others
    return sets, others + [entry for entry in tables if entry not in of_images]


def _array_sets(entries: list[Entry]) -> tuple[list[Set], list[Entry]]:
    """Return the sets that arrays make: images with their labels, by their names; and arrays that belong to none."""
    images: list[Entry] = []
    free: list[Entry] = []  # labels without images
    for entry in _distinct(entries):
        image, label = _names(entry, IMAGES), _names(entry, LABELS)
        (free if label > image or (label == image and _is_flat(entry)) else images).append(entry)
    named = [entry for entry in images if _names(entry, IMAGES)] or images
    sets = []
    for entry in named:
        key, part = _key(entry.name), _part(entry.name)
        labels = [each for each in free if _key(each.name) == key][:1]
        if not labels and [_part(each.name) for each in named].count(part) == 1:
            labels = [each for each in free if _part(each.name) == part]
        labels = labels if len(labels) == 1 else []
        free = [each for each in free if each not in labels]
        sets.append(Set("array", entry.name, (entry, *labels), bool(labels)))
    return sets, free + [entry for entry in images if entry not in named]


def _names(entry: Entry, words: frozenset[str]) -> bool:
    return not words.isdisjoint(_words(entry.name))


def _distinct(entries: list[Entry]) -> list[Entry]:
    """Return the entries without the second of a file and its .gz."""
    ordered = sorted(entries, key=lambda entry: entry.path.suffix != ".gz")  # of two, the last one stays
    return list({entry.name: entry for entry in ordered}.values())


def _words(name: str) -> list[str]:
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", name.removesuffix(".npy")).lower().replace("t10k", "test")
    text = re.sub(r"\b([xy])(?=train|test|val)", r"\1 ", text.replace("_", " "))
    return re.findall(r"[a-z]+|\d+", text)


def _key(name: str) -> list[str]:
    """Return what the names of images and of their labels have in common."""
    text = re.sub(r"idx\d|arr.\d", " ", name.lower())
    return [each for each in _words(text) if each not in IMAGES | LABELS | {"ubyte", "int", "byte"}]


def _part(name: str) -> str:
    """Return which part of a data set a name says that it is: the last folder or file that says so; "" if none."""
    for step in reversed(PurePosixPath(name).parts):
        for part, pattern in PARTS.items():
            if any(re.fullmatch(BEFORE_PART + f"(?:{pattern})", word) for word in _words(step)):
                return part
    return ""


def _choose(sets: list[Set], purpose: str, path: Path) -> tuple[Set, list[Set]]:
    """Return the set that a purpose takes, and those that it leaves out."""
    good = sets
    if len(sets) > 1 and purpose in NEEDS_LABELS:
        good = [each for each in sets if each.labelled] or sets
    part = min((_part(each.name) for each in good), key=ORDER[purpose].index)
    chosen = [each for each in good if _part(each.name) == part]
    if len(chosen) > 1 and {each.kind for each in chosen} != {"picture"}:  # the same file, unpacked twice, is one
        content = {sha256(chain(*(entry.chunks() for entry in each.entries))): each for each in reversed(chosen)}
        chosen = list(content.values())[::-1]
    if len(chosen) > 1:
        names = ", ".join(str(each) for each in chosen[:9])
        raise fault(path, f"holds {names}, and which one {purpose} needs is not clear. Give one of them.")
    return chosen[0], [each for each in sets if each is not chosen[0]]


def _beside(path: Path, entries: list[Entry]) -> list[Entry]:
    """Return the labels that lie beside a single file with an array of images."""
    if kind_of(entries[0]) not in ("idx", "npy") or not _names(entries[0], IMAGES):
        return []
    key, endings = _key(entries[0].name), (".npy", ".gz")
    paths = (each for each in path.parent.iterdir() if path.suffix != ".npy" or each.suffix in endings)
    beside = (Entry(each.name.removesuffix(".gz"), each) for each in paths)
    return _distinct([each for each in beside if _names(each, LABELS) and _key(each.name) == key and each.start])


def _is_flat(entry: Entry) -> bool:
    """Return True where an array's header tells of labels: one axis, or few values each (one-hot, QMNIST's)."""
    if is_idx(entry.start):
        return entry.start[3] < 3
    try:
        shape = read_header(entry.start, entry.file)[0]
    except DataError:  # it is told when it is read
        return False
    return len(shape) < 2 or (len(shape) == 2 and shape[1] <= len(CLASSES))


def _array(entry: Entry) -> NDArray[Any]:
    if not is_idx(entry.start):
        return parse_npy(entry.read(), entry.file)
    array = parse_idx(entry.read(), entry.file)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 8 else array  # QMNIST's labels: the class comes first


def _read_pictures(entries: Sequence[Entry], labelled: bool) -> Digits:
    """Return pictures, each brought into the 28x28 frame, labelled by their folders, in the order of class and name.

    Where they have no classes, a number in each name is its id, and its place.
    """
    ids = labels = None
    if labelled:
        entries = sorted(entries, key=lambda entry: PurePosixPath(entry.name).parts[-2:])  # by class, then name
        labels = np.array([int(PurePosixPath(entry.name).parts[-2]) for entry in entries], dtype=np.int64)
    else:
        numbers = [int((re.findall(r"\d{1,9}", PurePosixPath(entry.name).stem) or [-1])[-1]) for entry in entries]
        if len(set(numbers)) == len(numbers) and min(numbers) >= 0:
            entries = [entries[at] for at in np.argsort(numbers)]
            ids = np.sort(np.array(numbers, dtype=np.int64))
    images = np.empty((len(entries), 28, 28), dtype=np.uint8)
    for index, entry in enumerate(entries):
        picture = decode(bytes(entry.read(MAX_BYTES)), quoted(entry.name)[1:-1])
        if picture.shape == (28, 28) and is_framed(255 - picture):  # only the other way round
            picture = 255 - picture
        images[index] = to_frame(picture)
    return digits_of(images, labels, name=entries[0].file, ids=ids)


def _nothing(path: Path, others: list[Entry]) -> DataError:
    """Return the DataError for a path at which there are no digits."""
    zips = ((r"data\.pkl", b"TORCH"), (r"xl/workbook\.xml", b"XLSX"))  # what is in them is some program's
    found = [(start, each.path.name) for end, start in zips for each in others if re.search(f"(^|/){end}$", each.name)]
    for start, name in chain(found, ((entry.start, entry.file) for entry in others)):
        if (error := _refusal(start, name)) is not None:
            return error
    if len(others) != 1 or path.is_dir():
        names = quoted(", ".join(entry.name for entry in others) or "nothing")
        return fault(path, f"holds {names}, and no digits. Give {KINDS}.")
    entry, kind = others[0], kind_of(others[0])
    if kind == "picture":
        what = "is one picture. Read it with 'tenfold read', or give folders named 0 to 9"
    elif kind == "text":
        line = quoted(entry.start.splitlines()[0].decode("latin-1"))
        what = f"is text that begins with {line}, and no table of images. {csv_format.ADVICE}"
    elif kind in ("idx", "npy"):
        what = "holds labels alone. Give the images, with the labels beside them"
    elif kind == "binary" and not is_gzip(entry.start):
        what = f"is of a kind that no reader knows. Give {KINDS}"
    else:  # reading it says where it is damaged
        what = f"is empty: '{len(entry.read())}' bytes. Give {KINDS}"
    return fault(entry.file, f"{what}.")


def _refusal(start: bytes, name: str) -> DataError | None:
    """Return the DataError for a file whose first bytes tell of a format that is not read; None for any other."""
    found = next((each for each in FOREIGN if re.match(each[0], start)), None)
    if found is None:
        return None
    _, what, code = found
    if code is None:
        return fault(name, f"is {what}, which is not read. Unpack it, and give the folder.")
    shown = "; ".join(code).replace("OPEN", "gzip.open" if name.endswith("gz") else "open")
    if len(name) < 60 and name.isprintable() and "'" not in name and "/" not in name:
        shown = shown.replace("FILE", f"'{name}'")
    return fault(name, f"is {what}, which is not read. Turn it into what is, in Python: {shown}")
