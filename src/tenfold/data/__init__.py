"""Digits by name or path: `load` is the one entrance, the modules beside it do the work.

A path goes through walk.py (what is there, in folders, zips and .gz alike), formats.py (which of it: arrays.py,
csv_format.py, pictures) and meaning.py (values, polarity, position, labels), a name through names.py (where its files
lie, or are downloaded from). What was read before lies in cache.py.
"""

import functools
import glob
import logging
import os
from pathlib import Path
from typing import Literal

from tenfold.data import formats, names
from tenfold.data.digits import Digits
from tenfold.data.walk import fault, unreadable
from tenfold.errors import nearest, printable

Purpose = Literal["train", "evaluate", "explore", "submit"]

log = logging.getLogger(__name__)


def load(spec: str | Path, purpose: Purpose = "explore", *, deadline: float | None = None) -> Digits:
    """Return the digits that a name (`mnist`, `kaggle:test`, `uci`, ...) or a path stands for.

    >>> len(load("mnist"))  # to look at; to train and to score, name the parts: "mnist:train", "mnist:test"
    60000

    A path may omit what the names of IDX files end in: `folder/semeion` is `folder/semeion-images-idx3-ubyte.gz`.

    A bare name gives `train` and `explore` its training part, `evaluate` and `submit` its test part; `kaggle` gives
    its test part, which has no labels, to `submit` alone, and `uci` gives `explore` all there is. A file or folder in
    the working directory that has such a name is meant by `./mnist`. deadline: seconds that a download may take.
    Raises DataError where the data cannot be read, or lack the labels that train and evaluate need; SourceError (a
    DataError) where a named data set is not to be had. What was assumed, the digits' `notes`, is logged.
    """
    if (named := names.parse(spec) if isinstance(spec, str) else None) is None:
        digits = formats.read(_existing(str(spec)), purpose)
    else:
        digits = names.load(*named, purpose, deadline=names.DOWNLOAD_SECONDS if deadline is None else deadline)
    for note in digits.notes:
        say(str(spec), note)
    return digits


@functools.cache  # once a process, however often a set is read
def say(spec: str, note: str) -> None:
    """Log what was assumed of a set; without handlers, as on the command line, that is a plain line on stderr."""
    log.warning("'%s': %s.", printable(spec), printable(note))


def locate(spec: str, purpose: Purpose) -> Path | None:
    """Return the file or folder on this machine that `load` would read, or None (`uci`, or not yet downloaded)."""
    if (named := names.parse(spec)) is None:
        return _existing(spec)
    name, part = named
    return None if name == "uci" else names.find(name, part or names.part_for(name, purpose) or "train")


def _existing(spec: str) -> Path:
    path = Path(os.path.expanduser(spec))
    try:
        if spec and path.exists():
            return path
        pattern = f"{glob.escape(path.name)}-images*idx3-ubyte*"
        pair = [each for each in path.parent.glob(pattern) if each.is_file()] if spec else []
    except PermissionError as error:
        raise unreadable(path, error) from error
    except (OSError, ValueError):  # too long, or with a null byte
        pair = []
    if len(pair) == 1:
        return pair[0]
    known = [*names.NAMES, *(f"{name}:{part}" for name in names.NAMES for part in names.PARTS)]
    what = f"is no file or folder, and no name.{nearest(spec[:100], known)}"
    raise fault(spec, f"{what} Give a path, or one of {', '.join(names.NAMES)}.")
