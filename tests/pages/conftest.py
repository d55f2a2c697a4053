"""What tests of pages share: a look at one in Chromium, with the script of benchmarks/ that takes their pictures."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture
def unfit() -> Callable[[Path], list[str]]:
    """Return a function that names what does not fit on a page, on a phone and on a laptop."""
    import page_pictures

    if page_pictures.browser() is None:
        pytest.skip("needs Chromium")

    def look(path: Path) -> list[str]:
        found = page_pictures.unfit([path])
        assert [line["width"] for line in found] == [390, 1280]
        return [finding for line in found for finding in line["findings"]]

    return look
