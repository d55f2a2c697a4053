"""Formats that are not read, known by their first bytes, and what reads them."""

import re

UNPACK = "Unpack it, and give the folder."
LOAD = "Load it with {}, and save its images and labels: numpy.savez('digits.npz', X=X, y=y)"
# What a file's first bytes are, by name; then what loads it, or what else to do, a sentence.
FORMATS = (
    (rb"\x80[\x02-\x05]|\(?[dl]p\d+\n|\(lp|c[a-z_.]+\n[a-zA-Z_]+\n", "a pickle (which runs whatever is in it)",
     "pickle.load"),
    (rb"PAR1", "Parquet", "pandas.read_parquet"),
    (rb"ARROW1|FEA1", "Arrow (Feather)", "pandas.read_feather"),
    (rb"\x89HDF", "HDF5", "h5py.File"),
    (rb"MATLAB 7\.3", "MATLAB 7.3", "h5py.File (images come transposed)"),
    (rb"MATLAB ", "MATLAB", "scipy.io.loadmat"),
    (rb"[-+.\d]+(e[-+]?\d+)?([ \t]+\d+:[-+.\deE]+)+", "libsvm (svmlight) text", "sklearn.datasets.load_svmlight_file"),
    (rb"(?i)\s*(%[^\n]*\n\s*)*@relation", "ARFF", "scipy.io.arff.loadarff"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1|XLSX", "Excel", "pandas.read_excel"),
    (rb"SQLite format 3\0", "SQLite", "pandas.read_sql"),
    (rb"TORCH", "PyTorch's", "torch.load (with weights_only=True)"),
    (rb"[\[{]\s*[\[{\"]", "JSON", "json.load"),
    (rb"(RD[XA][23]\n|[XA]\n\0\0\0)", "R's", "rdata.read_rda"),
    (rb"(?s).{257}ustar", "a tar archive", UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (rb"Rar!\x1a\x07", "a rar archive", UNPACK),
    (rb"\xfd7zXZ\0|BZh[1-9]|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18", "compressed by xz, bzip2, zstd or lz4", UNPACK),
    (rb"\xff\xfe|\xfe\xff", "'UTF-16' text", "Save it as UTF-8."),
    (rb"%PDF", "a PDF", UNPACK),
)  # fmt: skip


def foreign(start: bytes) -> str | None:
    """Return what a file with these first bytes is and what to do about it, or None where it is none of `FORMATS`."""
    for pattern, what, how in FORMATS:
        if re.match(pattern, start):
            return f"is {what}, which is not read. {how if how.endswith('.') else LOAD.format(how)}"
    return None
