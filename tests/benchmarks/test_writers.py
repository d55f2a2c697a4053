"""What the script about writers measures, on a small MNIST, and the tables of its records."""

import json
from pathlib import Path

import numpy as np
import pytest
import writers as script
from records import NOTHING, read_records
from writers import FILE, FOLDS, Folded, Neighbours, folds_block, main, neighbours_block

from tenfold.data import load
from tenfold.data.writers import with_writers
from tenfold.ensemble import ensemble

QUICK = ("model.widths=[[4]]", "training.batch_size=32", "training.epochs=1", "training.min_steps=0",
         "training.precision=fp32")  # fmt: skip


def test_neighbours_leave_out_the_writers_own(written_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image whose only likeness is by the same hand is read right among all, and wrong among other writers'."""
    digits = with_writers(load("mnist:train"), needed=True)
    assert digits.labels is not None and digits.writers is not None
    random = np.random.default_rng(0)
    # Each writer has ten pictures of their own, drawn twice: nobody else's is alike.
    styles = random.integers(0, 256, (20, 10, 28, 28)).astype(np.uint8)
    object.__setattr__(digits, "images", styles[digits.writers, digits.labels])
    monkeypatch.setattr(script, "ASKED", 60)
    found = script.neighbours(digits)
    assert found.all_others.errors < 12  # both of a pair may have been held out
    assert found.other_writers.errors > 30
    assert found.all_others.n == found.other_writers.n == 60


def test_pools(written_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pool's record has its errors by who wrote the images, and the difference to the first pool is paired."""
    pools = []
    for name, more in (("plain", ()), ("smooth", ("training.label_smoothing=0.3",))):
        pools.append(str(tmp_path / name))
        overrides = (*QUICK, *more)
        ensemble("instant", "mnist", pools[-1], folds=2, split="writers", overrides=overrides, workers=1, quiet=True)
    main([*pools, "--record", str(tmp_path / "results")])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["folds"]
    first, second = read_records(tmp_path / "results" / FOLDS, Folded)
    assert [first.whole.n, second.whole.n] == [400, 400] == [each["whole"]["n"] for each in told]
    assert first.kinds["employees"] == first.whole and first.split == "writers"
    assert first.than_first is None and second.than_first is not None
    assert second.than_first[0] == pytest.approx(second.nll - first.nll)
    table = folds_block(tmp_path / "results")
    assert "training.label_smoothing=0.3" in table and f"| {first.whole.errors} |" in table


def test_nothing_is_recorded_yet(tmp_path: Path) -> None:
    """Without records the tables say so; the newest of two is shown."""
    assert folds_block(tmp_path) == neighbours_block(tmp_path) == NOTHING
    for errors in (3, 4):
        record = Neighbours(commit=None, versions={}, all_others={"n": 50, "errors": 1},  # type: ignore[arg-type]
                            other_writers={"n": 50, "errors": errors})  # type: ignore[arg-type]  # fmt: skip
        script.save(tmp_path / FILE, [record])
    assert "4 wrong" in neighbours_block(tmp_path) and "3 wrong" not in neighbours_block(tmp_path)


def test_a_pool_without_folds_is_refused(written_mnist: Path, tmp_path: Path) -> None:
    """It has answers to its held-out images alone."""
    pool = tmp_path / "pool"
    ensemble("instant", "mnist", pool, models=2, overrides=(*QUICK, "data.validation=0.2"), workers=1, quiet=True)
    with pytest.raises(SystemExit, match="has no answers to all of its images"):
        main([str(pool)])
