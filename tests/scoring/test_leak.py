"""The leak's tables say what the records say."""

from pathlib import Path
from typing import Any

from tenfold.metrics.intervals import wilson
from tenfold.runs import records
from tenfold.scoring.leak import FILE, Leak, Part, block, leak_table


def leak(variant: str, **changes: Any) -> Leak:
    """Return a record: 1,000 test images, nothing of them seen, unless changed."""
    values: dict[str, Any] = {
        "variant": variant,
        "recipe": "padded-5x5",
        "config_sha256": "c" * 64,
        "commit": "abc",
        "machine": {"cpu": "Example CPU"},
        "versions": {},
        "seed": 0,
        "epochs": 35.0,
        "seconds": 100.0,
        "train_data": ["kaggle:train"],
        "train_sha256": "a" * 64,
        "test_data": "kaggle:test",
        "test_sha256": "b" * 64,
        "n_train": 3600,
        "validation": Part(n=400, errors=4),
        "validation_known": 0,
        "contained": 0,
        "exact": Part(n=0, errors=0),
        "near": Part(n=0, errors=0),
        "unseen": Part(n=1000, errors=6),
    }
    return Leak(**(values | changes))


ALONE = leak("alone")
MERGED = leak(
    "merged",
    train_data=["kaggle:train", "mnist:train"],
    validation_known=321,
    contained=1000,
    exact=Part(n=890, errors=1),
    near=Part(n=10, errors=0),
    unseen=Part(n=100, errors=2),
)


def row(table: str, name: str) -> list[str]:
    """Return the cells behind a row's name."""
    line = next(line for line in table.splitlines() if name in line)
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_tables() -> None:
    """A column a training; accuracy apart by what was trained on, with Wilson's interval, and the published score."""
    text = leak_table([ALONE, MERGED])
    assert row(text, "right answers on") == ["kaggle:train", "kaggle:train + mnist:train"]
    assert row(text, "images of kaggle:test among all these") == ["0", "1,000"]
    assert row(text, "has a copy") == ["0", "321"]
    low, high = wilson(997, 1000)
    assert row(text, "as a leaderboard shows it") == [
        "99.40% (98.70 to 99.72), 6 wrong of 1,000",
        f"99.70% ({100 * low:.2f} to {100 * high:.2f}), 3 wrong of 1,000",
    ]
    assert row(text, "that it was trained on")[0] == "–"
    assert row(text, "that it was trained on")[1].endswith("1 wrong of 890")
    assert row(text, "was not trained on")[1].endswith("2 wrong of 100")
    assert row(text, "published") == ["", "99.892%"]


def test_own_recipe_has_nothing_published() -> None:
    """A recipe that is not shipped has no published score to show."""
    assert "published" not in leak_table([leak("alone", recipe="mine"), leak("merged", recipe="mine")])


def test_block_takes_the_newest_of_both(tmp_path: Path) -> None:
    """The block needs both trainings, and takes the last line of each."""
    assert block(tmp_path) == "No leak is recorded yet."
    records.append(tmp_path / FILE, leak("alone", contained=77))
    assert block(tmp_path) == "No leak is recorded yet."
    records.append(tmp_path / FILE, MERGED)
    records.append(tmp_path / FILE, ALONE)
    assert block(tmp_path) == leak_table([ALONE, MERGED])
