"""Digits by name or path: `load` is the one entrance, the modules beside it do the work.

digits.py      the Digits type
formats.py     a path -> digits, whatever kind of file it is (idx.py, csv_format.py, npz.py, pictures.py)
sources.py     a name -> digits: where the files lie, download.py where they don't
splits.py      stratified splits, folds and subsets
overlap.py     exact and near duplicates
"""

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tenfold.data.digits import Digits

Purpose = Literal["train", "evaluate", "explore", "submit"]


def load(spec: str, purpose: Purpose, *, deadline: float | None = None) -> "Digits":
    """Return the digits that a name (`mnist`, `kaggle:test`, `uci`, ...) or a path stands for.

    A path may leave away what the names of IDX files end in: `folder/semeion` is `folder/semeion-images-idx3-ubyte.gz`.

    A bare name gives `train` and `explore` its training part, `evaluate` and `submit` its test part; `kaggle` gives
    its test part, which has no labels, to `submit` alone, and `uci` gives `explore` all there is. A file or folder in
    the working directory that has such a name is meant by `./mnist`. deadline: seconds that a download may take.
    Raises DataError where the data cannot be read, or lack the labels that train and evaluate need; SourceError (a
    DataError) where a named data set is not to be had.
    """
    from tenfold.data import formats
    from tenfold.data import names as sources

    named = sources.parse(spec)
    if named is not None:
        return sources.load(*named, purpose, deadline=sources.DOWNLOAD_SECONDS if deadline is None else deadline)
    return formats.read(_existing(spec), purpose)


def locate(spec: str, purpose: Purpose) -> Path | None:
    """Return the file or folder on this machine that `load` would read, or None (`uci`, or not yet downloaded)."""
    from tenfold.data import names as sources

    named = sources.parse(spec)
    if named is None:
        return _existing(spec)
    name, part = named
    return None if name == "uci" else sources.find(name, part or sources.part_for(name, purpose) or "train")


def _existing(spec: str) -> Path:
    from tenfold.data import names as sources
    from tenfold.errors import DataError, nearest

    path = Path(spec).expanduser()
    try:
        found = spec != "" and path.exists()
    except (OSError, ValueError):  # too long, or with a null byte
        found = False
    if not found and spec:
        pair = sorted(
            each for each in path.parent.glob(f"{glob.escape(path.name)}-images*idx3-ubyte*") if each.is_file()
        )
        if len(pair) == 1:
            return pair[0]
    if not found:
        names = [*sources.NAMES, *(f"{name}:{part}" for name in sources.NAMES for part in sources.PARTS)]
        raise DataError(
            f"'{spec}' is no file or folder, and no name.{nearest(spec, names)} "
            f"Give a path, or one of {', '.join(sources.NAMES)}."
        )
    return path
