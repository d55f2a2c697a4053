"""The ablations' part of a document: a question, its answer, and the newest record of each variant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ablations import FILE, block
from records import NOTHING

from tenfold.runs import ablation as ablations
from tenfold.runs import results
from tenfold.runs.results import DataUsed, Result, Trial


def rendered(folder: Path, found: Sequence[Result]) -> str:
    """Return what is made of a file of these results, in place of the one that is there."""
    (folder / FILE).unlink(missing_ok=True)
    for each in found:
        results.append(folder / FILE, each)
    return block(folder)


def result(variant: str, accuracies: list[float], study: str = "kernel", **changes: Any) -> Result:
    """Return a record of one variant, a seed for each accuracy."""
    values: dict[str, Any] = {
        "time": "2026-01-01T00:00:00+00:00",
        "recipe": "base",
        "config_sha256": "c" * 64,
        "commit": "abc",
        "machine": {"cpu": "Example CPU", "threads": 1},
        "versions": {},
        "train_data": DataUsed(spec="mnist", sha256="a" * 64, n=50_000),
        "test_data": DataUsed(spec="mnist, held out", sha256="b" * 64, n=10_000),
        "parameters": 24_058,
        "epochs": 2.0,
        "trials": [
            Trial(seed=seed, accuracy=accuracy, nll=0.03 + 0.01 * seed, seconds=10.0 + seed)
            for seed, accuracy in enumerate(accuracies)
        ],
        "protocol": "ablation",
        "study": study,
        "variant": variant,
    }
    return Result(**(values | changes))


SMALL, LARGE = result("3x3", [0.980, 0.981, 0.985]), result("5x5", [0.984, 0.986, 0.988])


def test_render_shows_the_newest(tmp_path: Path) -> None:
    """Each study is its question and its newest records, its variants in the order of its file; others are left out."""
    newer = result("3x3", [0.95], time="2026-02-01T00:00:00+00:00")
    elsewhere = result("3x3", [0.1], protocol="mnist", time="2026-03-01T00:00:00+00:00")
    unknown = result("3x3", [0.2], study="no-such")
    text = rendered(tmp_path, [newer, LARGE, SMALL, elsewhere, unknown, result("9x9", [0.3])])
    assert text.startswith(
        "Judged on 10,000 images (mnist, held out); trained on Example CPU, 1 thread.\n\n"
        f"### {ablations.load('kernel').question}"
    )
    assert text.count("###") == 1
    assert text.index("| 3x3 | 95.00 |") < text.index("| **5x5**")
    assert not any(number in text for number in ("98.20", "10.00", "20.00", "30.00"))


def test_render_gives_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence that answers the question stands between it and the table."""
    answered = ablations.load("kernel").model_copy(update={"answer": "Five by five."})
    monkeypatch.setattr(ablations, "load", lambda name: answered)
    assert f"### {answered.question}\n\nFive by five.\n\n| variant" in rendered(tmp_path, [SMALL, LARGE])


def test_nothing_recorded(tmp_path: Path) -> None:
    """Without records the place says so, and without any of a study's present variants too."""
    assert "have changed since" in rendered(tmp_path, [result("9x9", [0.3])])
    assert rendered(tmp_path, []) == NOTHING
