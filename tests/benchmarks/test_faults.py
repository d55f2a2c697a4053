"""Mutants are the same each time, their judge tells a fault from an error, and the table says what the records say."""

import json
import random
from pathlib import Path

import faults as script
import mutants
import pytest
from faults import FAULTS, FILE, Faults, block, strange
from mutants import Bench, changed, half
from records import NOTHING, read_records

from tenfold.runs import results


@pytest.mark.slow
def test_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few mutants of each kind of file do no harm; the record gives the table."""
    with pytest.raises(SystemExit) as ended:
        script.main(["--quick", "--record", str(tmp_path / FILE)])
    out = capsys.readouterr().out
    assert ended.value.code == 0, out
    records = read_records(tmp_path / FILE, Faults)
    assert {each.kind: each.tries for each in records} == script.QUICK
    assert sum(each.answers for each in records)  # some mutants are read all the same
    assert block(tmp_path) in out
    assert json.loads(out.splitlines()[-1])["faults"] == 0


@pytest.mark.parametrize("kind", ["data", "pictures", "models"])
def test_a_mutant_is_the_same_each_time(kind: str, tmp_path: Path) -> None:
    """Kind, seed and number alone decide the bytes; another number or seed gives others."""
    bench = Bench(tmp_path)
    pairs = [(0, 3), (0, 3), (1, 3), (0, 5)]
    first, again, other, third = (bench.mutant(kind, seed, number).read_bytes() for seed, number in pairs)
    assert first == again
    assert len({first, other, third}) == 3


def test_a_death_and_a_delay_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies or hangs costs one mutant; the next is judged by another process."""
    judge = tmp_path / "judge.py"
    judge.write_text(
        "import os, signal, sys\nfirst, last = map(int, sys.argv[4:])\n"
        "for number in range(first, last):\n"
        "    if number == 1: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if number == 3: signal.pause()\n"
        '    print(f\'[{number}, "answer", "", 0]\', flush=True)\n'
    )
    monkeypatch.setattr(mutants, "__file__", str(judge))
    monkeypatch.setattr(script, "SECONDS", 0.5)
    tries, faults, named = script.fuzz(Bench(tmp_path), "data", 0, 6)
    assert (tries, faults["died"], faults["slow"], faults["answer"]) == (6, 1, 1, 4)
    assert named == ["data 1: died (-11)", "data 3: slow (-9)"]


def test_what_is_strange() -> None:
    """Another exit code is a death; a traceback, two errors or "unexpected" are no single line."""
    assert strange("Error: 'x' is no run. Give one.", 1, (0, 1)) is None
    assert strange("", -11, (0, 1)) == "died"
    for said in ("Traceback (most recent call last):", "Error: a\nError: b", "Error: X: y. This is unexpected"):
        assert strange(said, 1, (0, 1)) == "unexpected"


def test_half_a_file(tmp_path: Path) -> None:
    """A file that was cut off is half under its final name alone."""
    for name, whole in (("run.json", b"{}\n"), ("a.csv", b"x\n"), ("r.html", b"<html></html>\n"), ("m.onnx", b"x")):
        (tmp_path / name).write_bytes(whole)
        (tmp_path / f".{name}.part").write_bytes(b"")
        assert not half(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        assert half(tmp_path / name)
        assert not half(tmp_path / f".{name}.part")


def test_changed_json() -> None:
    """JSON is changed at one place, inside strings that are JSON too."""
    value = {"a": [1, 2, {"b": "x"}], "c": '{"d": [1, 2, 3]}'}
    made = {json.dumps(changed(json.loads(json.dumps(value)), random.Random(seed))) for seed in range(50)}
    assert len(made) > 20
    assert json.dumps(value) not in made or len(made) > 21


def test_table_has_the_newest_of_each_kind(tmp_path: Path) -> None:
    """A newer record replaces an older one of its kind; faults stand in their columns."""
    assert block(tmp_path) == NOTHING

    def record(kind: str, **faults: int) -> Faults:
        counts = dict.fromkeys(FAULTS, 0) | faults
        return Faults(commit=None, versions={}, kind=kind, seed=0, tries=1000, answers=1, faults=counts, named=[],
                      seconds=1.0)  # fmt: skip

    for each in (record("data", died=3), record("kills", lost=1), record("data", slow=2)):
        results.append(tmp_path / FILE, each)
    rows = block(tmp_path).splitlines()[2:]
    assert rows == [
        f"| {script.TITLES['data']} | 1,000 | 0 | 0 | 2 | 0 | 0 | 0 |",
        f"| {script.TITLES['kills']} | 1,000 | 0 | 0 | 0 | 0 | 0 | 1 |",
    ]
