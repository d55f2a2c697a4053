"""Pictures -> numbers: two networks and the recogniser of digits, run by onnxruntime, without torch."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.runtime.numbers import Page

if TYPE_CHECKING:
    from tenfold.runtime.frames import Picture


class Reader:
    """Reads the numbers in pictures. All methods may be called from several threads at once.

    threshold: the confidence from which a number is answered. sha256: of what it reads with. name: of the models.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold, self.sha256, self.name = threshold, "", "shipped"

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        max_error: float | None = None,
        min_confidence: float | None = None,
        threads: int = 1,
    ) -> "Reader":
        """Return the shipped reader, or one with the network of rows of a run's folder or model file."""
        raise NotImplementedError

    def read(self, picture: "Picture | NDArray[np.uint8]", *, line: bool = False, rotate: str = "none") -> Page:
        """Return the numbers in a picture: (H, W) or (H, W, 3) uint8 upright, a path, bytes, or a PIL image.

        line: it shows one number alone. rotate: "none", or "auto" to try quarter turns too.
        Raises DataError for what is no picture.
        """
        raise NotImplementedError
