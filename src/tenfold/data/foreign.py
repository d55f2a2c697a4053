"""Formats that are not read, known by their first bytes, and the Python that makes an NPZ of each."""

import re

from tenfold.data.archive import fault
from tenfold.errors import DataError

SAVE = "numpy.savez('digits.npz', X=X, y=y)"
TABLE = "X, y = t.drop(columns='label'), t['label']; numpy.savez('digits.npz', X=X, y=y)"
# What a file's first bytes are, by name; then the Python that loads it, or None. FILE is the file's name.
FORMATS = (
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


def foreign(start: bytes) -> int | None:
    """Return which of the `FORMATS` a file with these first bytes is, or None."""
    return next((index for index, (pattern, *_) in enumerate(FORMATS) if re.match(pattern, start)), None)


def refusal(index: int, name: str) -> DataError:
    """Return the DataError for a file of such a format."""
    _, what, code = FORMATS[index]
    if code is None:
        return fault(name, f"is {what}, which is not read. Unpack it, and give the folder.")
    shown = "; ".join(code).replace("OPEN", "gzip.open" if name.endswith("gz") else "open")
    if len(name) < 60 and name.isprintable() and "'" not in name and "/" not in name:
        shown = shown.replace("FILE", f"'{name}'")
    return fault(name, f"is {what}, which is not read. Turn it into what is, in Python: {shown}")
