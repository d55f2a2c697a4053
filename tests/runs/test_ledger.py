"""The ledger counts every look and survives crashes and crowds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold.errors import TenfoldError
from tenfold.runs import ledger
from tenfold.runs.ledger import Look

LOOK = Look("2026-01-01T00:00:00+00:00", "runs/a", "w1", "d1", "mnist:test", 10_000, 0.9971)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, not made yet, for every test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TENFOLD_CACHE", str(folder))
    return folder


def test_counts_looks_and_models() -> None:
    """Looks are counted a data set, and models by their weights: the same model twice is two looks, one model."""
    assert (ledger.looks("d1"), ledger.models("d1")) == (0, 0)
    for look in (LOOK, LOOK, LOOK._replace(weights_sha256="w2"), LOOK._replace(data_sha256="d2")):
        ledger.record(look)
    assert (ledger.looks("d1"), ledger.models("d1")) == (3, 2)
    assert (ledger.looks("d2"), ledger.models("d2")) == (1, 1)


def test_a_look_is_one_line(cache: Path) -> None:
    """A look is kept as one JSON line with all its fields, and earlier lines stay as they were."""
    ledger.record(LOOK)
    before = (cache / "ledger.jsonl").read_bytes()
    ledger.record(LOOK._replace(spec="a\nb"))
    after = (cache / "ledger.jsonl").read_bytes()
    assert after.startswith(before)
    assert [json.loads(line) for line in after.splitlines()] == [
        LOOK._asdict(),
        LOOK._replace(spec="a\nb")._asdict(),
    ]


@pytest.mark.parametrize("torn", [b'{"data_sha256": "d1", "accur', b"\xff\xfe\x00", b"17", b"\n\n"])
def test_a_torn_line_costs_no_other(cache: Path, torn: bytes) -> None:
    """A line that a crash cut short takes neither the look before it nor the look after it away."""
    ledger.record(LOOK)
    with (cache / "ledger.jsonl").open("ab") as file:
        file.write(torn)
    assert ledger.looks("d1") == 1
    ledger.record(LOOK)
    assert ledger.looks("d1") == 2


def test_concurrent_looks_are_all_kept(cache: Path) -> None:
    """Four processes that write 200 looks each at the same time leave 800 whole lines."""
    program = (
        "import sys; from tenfold.runs import ledger\n"
        "for i in range(200): ledger.record(ledger.Look('t', 'r' * 500, sys.argv[1], 'd1', 's', i, 0.5))"
    )
    workers = [subprocess.Popen([sys.executable, "-c", program, str(i)]) for i in range(4)]
    assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
    lines = [line for line in (cache / "ledger.jsonl").read_text().split("\n") if line]
    seen = {(entry["weights_sha256"], entry["n"]) for entry in map(json.loads, lines)}
    assert len(lines) == len(seen) == ledger.looks("d1") == 800
    assert ledger.models("d1") == 4


def test_a_ledger_that_cannot_be_written_is_an_error(cache: Path) -> None:
    """A look that cannot be written down is refused, with the file and a way out."""
    cache.write_text("a file where the folder should be")
    with pytest.raises(TenfoldError, match=r"'.*ledger\.jsonl'.*TENFOLD_CACHE"):
        ledger.record(LOOK)
