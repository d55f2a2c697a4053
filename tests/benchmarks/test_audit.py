"""What audited labels are worth is measured as the script says."""

import json
from pathlib import Path

import numpy as np
import pytest
from audit import AUDITED, FILE, PLAIN, Audit, main, promises, promises_block, trained_block
from records import NOTHING, read_records

from tenfold.audit import audit
from tenfold.ensemble import ensemble

QUICK = ("model.widths=[[8],[16]]", "training.batch_size=32", "training.epochs=6", "training.min_steps=0",
         "training.precision=fp32")  # fmt: skip


def test_wrong_labels_forbid_a_promise() -> None:
    """Of 60,000 perfect answers 0.1% can be promised for all; with 1 in 500 labels wrong among the surest, for none."""
    labels = np.arange(60_000) % 10
    probabilities = np.full((60_000, 10), 0.001, np.float32)
    probabilities[np.arange(60_000), labels] = np.linspace(0.5, 0.999, 60_000)
    facts = {"commit": None, "versions": {}}
    good = promises(probabilities, labels, PLAIN, facts)
    assert [each.coverage for each in good] == [1.0, 1.0]
    wrong = labels.copy()
    wrong[::500] = (wrong[::500] + 1) % 10
    assert promises(probabilities, wrong, AUDITED, facts)[0].coverage is None


def test_from_pools_to_tables(written_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two pools, one trained on audited labels, are judged on the same images by either labels."""
    pytest.importorskip("cleanlab")
    plain, other = tmp_path / "plain", tmp_path / "audited"
    made = {"folds": 2, "split": "writers", "overrides": QUICK, "workers": 1, "quiet": True}
    ensemble("instant", "mnist", plain, **made)  # type: ignore[arg-type]
    audit(plain, out=tmp_path / "audit.html", quiet=True)
    file = tmp_path / "decisions.csv"
    rows = file.read_text().splitlines()
    if len(rows) > 1:
        file.write_text("\n".join([rows[0], rows[1].replace(",keep,", ",drop,"), *rows[2:]]) + "\n")
    ensemble("instant", "mnist", other, labels=file, **made)  # type: ignore[arg-type]
    arguments = ["--pool", str(plain), "--plain", str(plain), "--audited", str(other), "--record", str(tmp_path)]
    main([str(file), *arguments])
    assert json.loads(capsys.readouterr().out)["n"] == 400
    (record,) = read_records(tmp_path / FILE, Audit)
    assert [(each.trained_on, each.judged_by) for each in record.trained] == [
        (PLAIN, PLAIN), (AUDITED, PLAIN), (PLAIN, AUDITED), (AUDITED, AUDITED)
    ]  # fmt: skip
    assert {each.whole.n for each in record.trained} == {400 - record.decided.get("drop", 0)}
    assert "labels audited" in trained_block(tmp_path) and "0.1%" in promises_block(tmp_path)
    assert trained_block(tmp_path / "none") == NOTHING
