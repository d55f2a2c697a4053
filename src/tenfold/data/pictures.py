"""A folder per class: `0` to `9`, each with pictures of that digit, of any size and either polarity."""

from pathlib import Path

import numpy as np

from tenfold.data.archive import entries, quoted, read_file
from tenfold.data.digits import Digits
from tenfold.errors import DataError

CLASSES = frozenset("0123456789")


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
