"""The shipped models' card: made from records of those very files, and stale where one is missing."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import card as script
import pytest
import reading
from records import NOTHING

from tenfold.runs import results
from tenfold.runtime.model_file import PRETRAINED, SHIPPED

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Return arguments that name copies of the models and of the results."""
    shutil.copytree(PRETRAINED, tmp_path / "pretrained")
    shutil.copytree(RESULTS, tmp_path / "results")
    return ["--results", str(tmp_path / "results"), "--pretrained", str(tmp_path / "pretrained")]


def test_card_is_made_of_records(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The card in the repository is up to date; a changed number is noticed, and mended by --write."""
    assert script.main(["--check", *folders]) == 0
    file = tmp_path / "pretrained" / "card.json"
    card: dict[str, Any] = json.loads(file.read_text())
    assert set(card["models"]) == {*SHIPPED.values(), "page.onnx", "lines.onnx"}
    card["models"]["world.onnx"]["readings"][0]["errors"] = 0
    file.write_text(json.dumps(card))
    assert script.main(["--check", *folders]) == 1
    assert "is stale. Run: python benchmarks/card.py --write" in capsys.readouterr().err
    assert script.main(["--write", *folders]) == 0
    assert script.main(["--check", *folders]) == 0


def test_every_number_needs_a_record(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a measurement of the file as it is there is no card."""
    (tmp_path / "results" / "latency.jsonl").unlink()
    assert script.main(["--write", *folders]) == 1
    assert "'latency.jsonl' has no record of 'world.onnx' as it is" in capsys.readouterr().err


def test_networks_that_read(tmp_path: Path) -> None:
    """Their facts are of the record of both files, and the digits' model, together; another file has none."""
    from tenfold.graphs.reading import reading_graph
    from tenfold.models import build
    from tenfold.runtime.model_file import model_path
    from tenfold.training.recipe import load

    held_out = {"n": 100, "errors": [[0.5, 90]]}
    for kind in ("page", "lines"):
        fields = {"format": 1, "name": kind, "recipe": kind, "precision": "fp16", "data": {"spec": "drawn"}}
        facts = fields | {"metrics": {}, "threshold": 0.5, "held_out": held_out}
        network = build(kind, load(kind).model.arguments())
        (tmp_path / f"{kind}.onnx").write_bytes(reading_graph(network, facts))
    assert script.readers_block(tmp_path, tmp_path) == NOTHING
    files = [tmp_path / "page.onnx", tmp_path / "lines.onnx", model_path("shipped")]
    all_three = "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    part = reading.Part(n=100, errors=3)
    its: dict[str, Any] = dict.fromkeys(("pictures", "used", "digits", "answered", "surest", "read", "claimed"), part)
    scores = reading.Scores(**its, read_digits=5, claimed_digits=4, seconds=1, cpu_seconds=1)
    none = scores.model_copy(update={"digits": reading.Part(n=0, errors=5)})
    record = reading.NumbersRead(
        name=reading.TENFOLD,
        version="1.0",
        commit=None,
        versions={},
        model_sha256=hashlib.sha256(all_three.encode()).hexdigest(),
        seed=1,
        machine={},
        groups={"cheque amounts": {"all": scores}, "drawn words alone": {"all": none}},
    )
    results.append(tmp_path / reading.FILE, record)
    found = script.reading_facts(tmp_path, tmp_path)
    assert list(found) == ["page.onnx", "lines.onnx"]
    lines = found["lines.onnx"]
    assert (lines["recipe"], lines["precision"], lines["held_out"]["errors"]) == ("lines", "fp16", 1)
    assert lines["commands"] == ["tenfold train lines --seed 0 --out runs/lines"]
    assert lines["trained_on"]["mnist_training_images"] == 12_000
    assert lines["readings"]["cheque amounts"]["errors"] == 3
    assert lines["readings"]["drawn words alone"]["read_digits"] == 5
    text = script.readers_block(tmp_path, tmp_path)
    assert "| held-out drawn ones right: digits on pages, rows | 99.00% (94.55 to 99.82) of 100 |" in text
    page = (tmp_path / "page.onnx").read_bytes()
    (tmp_path / "page.onnx").write_bytes(page.replace(b'"threshold": 0.5', b'"threshold": 0.6'))
    assert script.readers_block(tmp_path, tmp_path) == NOTHING
