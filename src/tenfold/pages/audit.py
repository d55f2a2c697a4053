"""Suspect labels, shown: each image with its label, what is suggested, who says so, and the images most alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.data.digits import Digits
from tenfold.pages import page

if TYPE_CHECKING:
    from tenfold.audit import Audited

SHOWN = 200  # suspects


def write(
    path: Path, result: "Audited", digits: Digits, found: NDArray[np.int64], alike: Sequence[Sequence[int]]
) -> Path:
    """Return `path`, the page of an audit, written whole.

    digits: all that was audited. found: the suspects' indices, alike: and those of the images most alike each, in the
    order of the result's rows. Raises DataError where the page cannot be written.
    """
    assert digits.labels is not None
    pictures = [
        (
            page.picture(digits.images[index]),
            [(page.picture(digits.images[each]), digits.labels[each]) for each in near],
        )
        for index, near in zip(found[:SHOWN].tolist(), alike, strict=False)
    ]
    html = page.render("audit.html", result=result, shown=list(zip(result.rows, pictures, strict=False)))
    return page.write(path, html, "Give another --out.")
