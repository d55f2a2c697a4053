"""The ledger counts every look and survives crashes and crowds."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from tenfold.data.digits import Digits, image_hashes
from tenfold.errors import RunError, SourceError, TenfoldError
from tenfold.runs import ledger
from tenfold.runs.ledger import Look, Seen, find_seen, overlap_score

LOOK = Look("2026-01-01T00:00:00+00:00", "runs/a", "w1", "d1", "mnist:test", 10_000, 0.9971)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own, not made yet, for every test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TENFOLD_CACHE", str(folder))
    return folder


def test_counts_looks_and_models() -> None:
    """Looks are counted a data set, and models by their weights: the same model twice is two looks, one model."""
    assert ledger.looks("d1") == (0, 0)
    for look in (LOOK, LOOK, LOOK._replace(weights_sha256="w2"), LOOK._replace(data_sha256="d2")):
        ledger.record(look)
    assert ledger.looks("d1") == (3, 2)
    assert ledger.looks("d2") == (1, 1)


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
    assert ledger.looks("d1") == (1, 1)
    ledger.record(LOOK)
    assert ledger.looks("d1") == (2, 1)


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
    assert len(lines) == len(seen) == 800
    assert ledger.looks("d1") == (800, 4)


def test_a_ledger_that_cannot_be_written_is_an_error(cache: Path) -> None:
    """A look that cannot be written down is refused, with the file and a way out."""
    cache.write_text("a file where the folder should be")
    with pytest.raises(TenfoldError, match=r"'.*ledger\.jsonl'.*TENFOLD_CACHE"):
        ledger.record(LOOK)


def random_digits(n: int, seed: int) -> Digits:
    """Images of noise, none near another."""
    generator = np.random.default_rng(seed)
    return Digits.of(generator.integers(0, 250, (n, 28, 28), dtype=np.uint8), generator.integers(0, 10, n))


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Digits:
    """The training data that `training.npz` names, 50 images."""
    digits = random_digits(50, seed=1)
    monkeypatch.setattr(ledger, "load", lambda spec, purpose: {("training.npz", "train"): digits}[spec, purpose])
    return digits


@pytest.fixture
def others(training: Digits) -> Digits:
    """20 images, 0 to 3 equal to ones trained on, and 4 and 5 near to ones."""
    images = random_digits(20, seed=2).images
    images[:4] = training.images[10:14]
    images[4:6] = training.images[20:22]
    images[4:6, 5:20, 5:20] += 3
    return Digits.of(images, np.zeros(20, np.int64))


def run(path: Path, training: Digits, used: NDArray[np.bool_] | None = None) -> Any:
    """As much of a run as this needs, trained on the images that `used` marks."""
    hashes = image_hashes(training.images if used is None else training.images[used])
    manifest = {"data": {"spec": "training.npz"}}
    return SimpleNamespace(path=path, manifest=manifest, training_hashes=lambda: hashes)


def found(one: Any, digits: Digits) -> Seen:
    """Return what the run has seen of the digits."""
    return find_seen(one, digits, digits.content_hash())


def test_overlap(training: Digits, others: Digits, tmp_path: Path) -> None:
    """4 equal and 2 near images are found, by their indices."""
    both = found(run(tmp_path, training), others)
    assert (both.exact.tolist(), both.near.tolist(), both.unchecked) == ([0, 1, 2, 3], [4, 5], None)
    assert both.mask(20).nonzero()[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_images_held_out_do_not_count(training: Digits, others: Digits, tmp_path: Path) -> None:
    """An image of the training data that was held out from training is no overlap, neither equal nor near."""
    used = np.ones(50, dtype=bool)
    used[[10, 20]] = False
    part = found(run(tmp_path, training, used), others)
    assert (part.exact.tolist(), part.near.tolist()) == ([1, 2, 3], [5])


def test_score_by_hand(training: Digits, others: Digits, tmp_path: Path) -> None:
    """With five images misread, two of them known, accuracy is 4/6 on the known ones and 11/14 on the others."""
    right = np.ones(20, bool)
    right[[0, 4, 10, 11, 12]] = False
    score = overlap_score(found(run(tmp_path, training), others), right)
    assert (score.exact, score.near, score.near_checked, score.n_without) == (4, 2, True, 14)
    assert score.accuracy_on_overlap == pytest.approx(4 / 6)
    assert score.accuracy_without == pytest.approx(11 / 14)
    theirs = binomtest(11, 14).proportion_ci(method="wilson")
    assert score.ci95_without == pytest.approx([theirs.low, theirs.high])


def test_score_of_nothing() -> None:
    """Without overlap there is no accuracy on it, and with nothing but overlap none without it."""
    nothing = np.empty(0, np.int64)
    none = overlap_score(Seen(nothing, nothing), np.ones(3, bool))
    assert (none.accuracy_on_overlap, none.accuracy_without, none.n_without) == (None, 1.0, 3)
    whole = overlap_score(Seen(np.arange(3), nothing), np.ones(3, bool))
    assert (whole.accuracy_on_overlap, whole.accuracy_without, whole.ci95_without) == (1.0, None, None)


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (lambda *_: (_ for _ in ()).throw(SourceError("No data are called 'training.npz'.")), "No data are called"),
        (lambda *_: random_digits(50, seed=9), "no longer hold what the run was trained on"),
    ],
)
def test_near_images_unchecked(
    training: Digits,
    others: Digits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loader: Callable[..., Digits],
    reason: str,
) -> None:
    """Without the training data, equal images are still found, and why near ones were not looked for is said."""
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "load", loader)
        part = found(run(tmp_path, training), others)
    assert (len(part.exact), len(part.near)) == (4, 0)
    assert part.unchecked is not None
    assert reason in part.unchecked
    assert found(run(tmp_path, training), others).unchecked is None, "what could not be checked must be tried again"


def test_the_second_look_does_not_compare_again(
    training: Digits, others: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is kept with the run by the data's content, and made anew when what was kept is damaged."""
    one, calls = run(tmp_path, training), []
    find_overlap = ledger.find_overlap
    monkeypatch.setattr(ledger, "find_overlap", lambda *sets: (calls.append(1), find_overlap(*sets))[1])
    assert found(one, others).near.tolist() == found(one, others).near.tolist() == [4, 5]
    assert len(calls) == 1
    found(one, random_digits(20, seed=5))
    assert len(calls) == 2
    (kept,) = [f for f in (tmp_path / "evaluations").glob("overlap-*") if others.content_hash()[:16] in f.name]
    kept.write_bytes(kept.read_bytes()[:100])
    assert found(one, others).near.tolist() == [4, 5]
    assert len(calls) == 3


def test_a_run_that_cannot_be_written_is_named(training: Digits, others: Digits, tmp_path: Path) -> None:
    """A run's folder that takes no files is an error that names it."""
    (tmp_path / "evaluations").write_text("a file where a folder must be")
    with pytest.raises(RunError, match=f"'{tmp_path}'.*Make its folder writable"):
        found(run(tmp_path, training), others)


def test_a_line_that_fits_in_part_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk takes a part of the line alone, the look is not recorded, and that is said."""

    class Full(io.BytesIO):
        def write(self, line: Any) -> int:
            return super().write(line[:10])

    monkeypatch.setattr(ledger, "open_regular", lambda *_: Full())
    with pytest.raises(TenfoldError, match="No space left on device. Free some space there.* TENFOLD_CACHE"):
        ledger.record(LOOK)


def test_a_linked_file_is_not_appended_to(tmp_path: Path) -> None:
    """A link in a run's folder leads no line elsewhere."""
    (tmp_path / "evaluations.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="it is a link"):
        ledger.append_line(tmp_path / "evaluations.jsonl", {})
    assert not (tmp_path / "elsewhere").exists()
