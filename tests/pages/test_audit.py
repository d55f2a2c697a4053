"""The page of suspect labels: whole, safe, and true to what it shows."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.audit import Audited, Suspect
from tenfold.data.digits import Digits
from tenfold.pages import audit


def written(path: Path, digits: Digits, suspects: int = 3, **changes: Any) -> str:
    """Return the page of so many suspects of these digits, whose data's name has to be escaped."""
    assert digits.labels is not None
    found = np.arange(suspects)
    rows = [
        Suspect(int(i) + 1, int(digits.labels[i]), 9, 0.91, 0.01, {9: 4, 3: 1}, [9, 9, 3], 17, "relabel", 9)
        for i in found
    ]
    given: dict[str, Any] = {"run": "r", "data": ["<b>.csv"], "n": len(digits), "known": 0, "suspects": suspects,
                             "rows": rows, "decided": {"keep": 0, "relabel": suspects, "drop": 0}, "page": str(path),
                             "decisions": "decisions.csv"}  # fmt: skip
    result = Audited(**given | changes)
    audit.write(path, result, digits, found, [[3, 4, 5]] * suspects)
    return path.read_text("utf-8")


def test_shows_everything(tmp_path: Path, digits: Digits) -> None:
    """Each suspect has its picture, label, suggestion, members, writer, decision and neighbours; names are escaped."""
    html = written(tmp_path / "new" / "audit.html", digits)
    assert "3 labels of 200 are suspect, 1 in 67" in html
    assert html.count("--ink-mask:url(data:image/png") == 3 * (1 + 3)
    text = " ".join(re.sub("<[^>]+>", " ", html).split())
    assert "0 → 9 relabel 9: 91.00%, 0: 1.00% Members: 4 say 9, 1 say 3 Image 1, writer 17" in text
    assert "&lt;b&gt;.csv" in html
    assert "<b>.csv" not in html
    assert not re.search(r"<script|<img|src=|href=\"(?!#|data:)|url\((?!data:)", html)


def test_a_test_set_has_no_decisions(tmp_path: Path, digits: Digits) -> None:
    """Of a test set the page says what it is, and names no file and nothing to be done."""
    html = written(tmp_path / "a.html", digits, decisions=None, decided=None, known=5)
    assert "This is a test set" in html
    assert "5 images left out" in html
    assert "--labels" not in html


def test_no_suspect_and_many(tmp_path: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a suspect the page says so; of more than it shows it says how many there are."""
    assert "None of 200 labels is suspect" in written(tmp_path / "a.html", digits, 0)
    monkeypatch.setattr(audit, "SHOWN", 10)
    html = written(tmp_path / "b.html", digits, 50)
    assert "10 of 50 are shown." in html
    assert html.count('class="frame"') == 10


def test_fits(tmp_path: Path, digits: Digits, unfit: Callable[[Path], list[str]]) -> None:
    """The page fits a phone and a laptop."""
    bare = replace(digits, notes=("a note",))
    written(tmp_path / "a.html", bare, 30, data=["a-long-name-" * 8 + ".csv"])
    assert unfit(tmp_path / "a.html") == []
