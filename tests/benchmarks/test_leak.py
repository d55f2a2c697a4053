"""The leak is measured as it says, and its tables say what the records say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import leak as script
import numpy as np
import pytest
from leak import FILE, Leak, block, leak_table
from records import NOTHING, Part, read_records

from tenfold.data.digits import Digits
from tenfold.errors import DataError
from tenfold.metrics.intervals import wilson
from tenfold.runs import results


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
    assert block(tmp_path) == NOTHING
    results.append(tmp_path / FILE, leak("alone", contained=77))
    assert block(tmp_path) == NOTHING
    results.append(tmp_path / FILE, MERGED)
    results.append(tmp_path / FILE, ALONE)
    assert block(tmp_path) == leak_table([ALONE, MERGED])


@pytest.fixture
def competition(make_digits: Callable[..., Digits], tmp_path: Path) -> Digits:
    """Write train.npz, test.npz without labels, and two files with the answers; return the test with its labels."""
    everything = make_digits(500, seed=1)
    order = np.random.default_rng(0).permutation(500)
    first, second = everything.take(order[:250]), everything.take(order[250:])
    train, test = everything.take(np.arange(300)), everything.take(np.arange(300, 500))
    np.savez(tmp_path / "train.npz", X=train.images, y=train.labels)
    np.savez(tmp_path / "test.npz", X=test.images)
    np.savez(tmp_path / "first.npz", X=first.images, y=first.labels)
    np.savez(tmp_path / "second.npz", X=second.images, y=second.labels)
    return test


@pytest.mark.slow
def test_leak(
    competition: Digits,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without the answers no test image was trained on, with them all were but those held out; a second call trains
    nothing."""
    monkeypatch.chdir(tmp_path)
    words = ["--out", "runs", "--recipe", str(recipe), "--record", "results/leak.jsonl", "--validation", "0.2"]
    words += ["--train", "train.npz", "--test", "test.npz", "--answers", "first.npz", "second.npz"]
    script.main(words)
    alone, merged = read_records(Path("results/leak.jsonl"), Leak)
    assert (alone.variant, merged.variant) == ("alone", "merged")
    assert (alone.n_train, alone.validation.n, alone.contained, alone.exact.n) == (240, 60, 0, 0)
    assert (merged.n_train, merged.validation.n, merged.contained) == (640, 160, 200)
    assert merged.exact.n + merged.near.n + merged.unseen.n == 200
    assert 0 < merged.unseen.n < 80
    assert merged.validation_known > 0
    assert merged.whole().errors <= merged.whole().n
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["leak"][1]["contained"] == 200
    before = Path("runs/merged/run.json").read_bytes()
    script.main(words)
    assert Path("runs/merged/run.json").read_bytes() == before
    again = read_records(Path("results/leak.jsonl"), Leak)[-1]
    assert again.model_dump(exclude={"time"}) == merged.model_dump(exclude={"time"})
    with pytest.raises(SystemExit, match="was trained with other settings"):
        script.main([*words, "--seed", "5"])


def test_labels_are_recovered_exactly_or_not_at_all(competition: Digits, make_digits: Callable[..., Digits]) -> None:
    """Equal images give their labels; an image that is not there, or has two labels, is an error that counts it."""
    images = Digits.of(competition.images)
    shuffled = competition.take(np.random.default_rng(1).permutation(200))
    assert competition.labels is not None
    np.testing.assert_array_equal(script.recover_labels(images, [shuffled, make_digits(9)]).labels, competition.labels)
    with pytest.raises(DataError, match="'150' of the 200 test images"):
        script.recover_labels(images, [competition.take(np.arange(50))])
    contradicting = Digits.of(competition.images[:3], (competition.labels[:3] + 1) % 10)
    with pytest.raises(DataError, match="'3' of the 200 test images"):
        script.recover_labels(images, [competition, contradicting])
