"""The ablations' part of a document: a question, its answer, and the newest record of each variant."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ablations import FILE, block
from records import NOTHING

from tenfold.runs import ablation as ablations
from tenfold.runs import results
from tenfold.runs.results import Result


def rendered(folder: Path, found: Sequence[Result]) -> str:
    """Return what is made of a file of these results, in place of the one that is there."""
    (folder / FILE).unlink(missing_ok=True)
    for each in found:
        results.append(folder / FILE, each)
    return block(folder)


def test_render_shows_the_newest(
    tmp_path: Path, ablation: Callable[..., Result], kernels: tuple[Result, Result]
) -> None:
    """Each study is its question and its newest records, its variants in the order of its file; others are left out."""
    newer = ablation("3x3", [0.95], time="2026-02-01T00:00:00+00:00")
    elsewhere = ablation("3x3", [0.1], protocol="mnist", time="2026-03-01T00:00:00+00:00")
    unknown = ablation("3x3", [0.2], study="no-such")
    text = rendered(tmp_path, [newer, kernels[1], kernels[0], elsewhere, unknown, ablation("9x9", [0.3])])
    assert text.startswith(
        "Judged on 10,000 images (mnist, held out); trained on Example CPU, 1 thread.\n\n"
        f"### {ablations.load('kernel').question}"
    )
    assert text.count("###") == 1
    assert text.index("| 3x3 | 95.00 |") < text.index("| **5x5**")
    assert not any(number in text for number in ("98.20", "10.00", "20.00", "30.00"))


def test_render_gives_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels: tuple[Result, Result]
) -> None:
    """The sentence that answers the question stands between it and the table."""
    answered = ablations.load("kernel").model_copy(update={"answer": "Five by five."})
    monkeypatch.setattr(ablations, "load", lambda name: answered)
    assert f"### {answered.question}\n\nFive by five.\n\n| variant" in rendered(tmp_path, [kernels[0], kernels[1]])


def test_nothing_recorded(tmp_path: Path, ablation: Callable[..., Result]) -> None:
    """Without records the place says so, and without any of a study's present variants too."""
    assert "have changed since" in rendered(tmp_path, [ablation("9x9", [0.3])])
    assert rendered(tmp_path, []) == NOTHING
