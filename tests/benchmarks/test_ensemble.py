"""Records of ensembles on test images, and their tables."""

import json
from pathlib import Path

import ensemble as script
import numpy as np
import pytest
from ensemble import BLOCKS, FILE, Band, EnsembleTest, MemberScore
from PIL import Image
from records import NOTHING, Part, read_records

from tenfold.data import load
from tenfold.ensemble import ensemble
from tenfold.runs import ledger, results
from tenfold.runs.estimator import from_run
from tenfold.runs.results import DataUsed
from tenfold.runs.run import Run
from tenfold.train import train

RULE = {"rule": "all", "members": 3.0, "n": 3000, "nll": 0.0123, "seen_nll": 0.0123, "nll_difference": 0.0,
        "nll_noise": 0.0, "errors": 11.5, "errors_difference": 0.0, "errors_noise": 0.0}  # fmt: skip


def record_of(name: str, errors: int) -> EnsembleTest:
    """Return a record of three members with 30, 33 and 36 errors, and an ensemble."""
    held, training = Part(n=3000, errors=13), Part(n=20_000, errors=20)
    members = [
        MemberScore(name=f"00{number}-fast", held_out=held, held_out_nll=0.01, training=training,
                    test=Part(n=10_000, errors=30 + 3 * number))
        for number in range(3)
    ]  # fmt: skip
    greedy = RULE | {"rule": "greedy:2", "nll": 0.0125, "nll_difference": 0.0002, "nll_noise": 0.0001, "errors": 12.0,
                     "errors_difference": 0.5, "errors_noise": 0.75}  # fmt: skip
    return EnsembleTest(
        name=name,
        recipes=["fast"],
        seconds_a_member=90.0,
        rules=[RULE, greedy],
        rule="all",
        test=DataUsed(spec="mnist:test", sha256="0" * 64, n=10_000),
        members=members,
        ensembles={"`auto`: all": Part(n=10_000, errors=errors)},
        wrong={"`auto`: all": [*range(errors - 2), 947, 9729]},
        bands=[Band(size=2, draws=100, mean=0.9971, p5=0.9968, p95=0.9974, least=0.9966, most=0.9975)],
        student={"`fast`, taught": Part(n=10_000, errors=29)},
        commit=None,
        versions={},
        machine={"cpu": "some processor", "cores": 2},
    )


def test_tables_of_the_newest_record(tmp_path: Path) -> None:
    """Members in the mean, ensembles and student with intervals; rules by unseen images; the band."""
    assert {block(tmp_path) for block in BLOCKS.values()} == {NOTHING}
    for each in (record_of("forty", 99), record_of("forty", 25), record_of("record", 20)):
        results.append(tmp_path / FILE, each)
    assert BLOCKS["ensemble-test"](tmp_path).splitlines()[2:] == [
        "| one member, mean of 3 | 99.670 ± 0.030 | 99.54 to 99.76 | 33.0 | – |",
        "| the best and the worst member | 99.70, 99.64 | – | 30, 36 | – |",
        "| `auto`: all | 99.75 | 99.63 to 99.83 | 25 | 2 |",
        "| `fast`, taught | 99.71 | 99.58 to 99.80 | 29 | – |",
    ]
    assert "| `auto`: all | 99.80 | 99.69 to 99.87 | 20 | 2 |" in BLOCKS["record-test"](tmp_path)
    rules = BLOCKS["ensemble-rules"](tmp_path)
    assert "`auto` took `all`" in rules
    assert "| `greedy:2` | 3.0 | 0.01250 | 0.01230 | +0.00020 ± 0.00010 | 12.00 | +0.50 ± 0.75 |" in rules
    assert "| 2 | 99.710 | 99.680 | 99.740 | 99.660 | 99.750 |" in BLOCKS["ensemble-bands"](tmp_path)


def test_ensemble(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Members, their mean and a student are scored in one go, each look goes to the ledger, and mistakes are drawn."""
    pool = tmp_path / "pool"
    ensemble([str(recipe)], "uci:train", pool, models=2, workers=1, quiet=True)
    train(str(recipe), "uci:train", pool / script.STUDENT, overrides=[f"distil.teacher={pool}"], quiet=True)
    test = load("uci:test", "evaluate")
    words = [str(pool), "--data", "uci:test", "--record", str(tmp_path / FILE)]
    script.main([*words, "--errors", str(tmp_path / "errors.png")])
    (full,) = read_records(tmp_path / FILE, EnsembleTest)
    runs = [Run.open(path) for path in sorted((pool / "members").iterdir())]
    answers = np.stack([from_run(run, "cpu").predict_proba(test.images) for run in runs])
    assert [each.test.errors for each in full.members] == (answers.argmax(2) != test.labels).sum(1).tolist()
    assert full.ensembles["`all`"].errors == (answers.mean(0).argmax(1) != test.labels).sum()
    assert len(full.student) == 2
    assert len(full.pairs) == 3
    assert [each.training for each in full.members] == [None, None]  # it is asked of large pools alone
    assert ledger.looks(test.content_hash()) == (3, 3)  # two members and the student
    with Image.open(tmp_path / "errors.png") as sheet:
        assert sheet.width == script.WIDTH * script.COLUMNS
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["name"] == "pool"
