"""The sheet of the steps into MNIST's frame."""

from pathlib import Path

import frame_steps as steps
import numpy as np
from PIL import Image

from tenfold.imaging.decode import decode

DOCUMENTED = Path(__file__).parents[2] / "docs" / "frame.png"


def test_frame_steps(tmp_path: Path) -> None:
    """The sheet has a row for each of its own pictures, or of a user's, and is the one in the documentation."""
    own = tmp_path / "own.png"
    steps.main(["--out", str(own)])
    picture = np.full((60, 40), 255, np.uint8)
    picture[10:50, 18:23] = 0
    Image.fromarray(picture).save(tmp_path / "one.png")
    steps.main(["--out", str(tmp_path / "sheet.png"), str(tmp_path / "one.png")])
    sheets = [decode(path.read_bytes(), path.name) for path in (own, tmp_path / "sheet.png")]
    documented = decode(DOCUMENTED.read_bytes(), "frame.png")
    assert sheets[0].shape == documented.shape
    assert np.abs(sheets[0].astype(int) - documented).mean() < 2  # another OpenCV may draw an edge another way
    assert sheets[0].shape[0] == len(steps.examples()) * sheets[1].shape[0]
