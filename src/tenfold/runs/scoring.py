"""A system + labelled images -> its score; the only place where test labels are read.

In this order: what the images share with those a run was trained on is found and named; the system answers; the look is
written to the ledger, and to the run's folder; only then is there a score. A model file does not carry what it was
trained on, so that an overlap cannot be looked for. Answers that runs have kept are put side by side without a look.
"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.console import PlainConsole
from tenfold.data.digits import Digits
from tenfold.data.writers import series
from tenfold.errors import DataError, RunError, TenfoldError
from tenfold.files import npz, write_atomically
from tenfold.metrics import scores
from tenfold.metrics.intervals import clustered, wilson
from tenfold.metrics.side_by_side import Side, SideBySide
from tenfold.runs import ledger
from tenfold.runs.ledger import OverlapScore, Seen, find_seen, not_writable, overlap_score
from tenfold.runs.schema import read_answers
from tenfold.runs.systems import System
from tenfold.runtime.recogniser import Answers

if TYPE_CHECKING:
    from tenfold.runs.run import Run

KEPT_MISTAKES = 100  # whose pictures stay with the run, for the report
NOT_IN_THE_RUN = ("run", "model", "report")  # a run's folder may be moved


@dataclass(frozen=True)
class ScoredModel:
    """An exported model, as its card and its file name it."""

    name: str
    recipe: str
    precision: str
    sha256: str


@dataclass(frozen=True)
class ScoredData:
    """The labelled images: what the user called them, `Digits.content_hash()`, and how many they are."""

    spec: str
    sha256: str
    n: int


@dataclass(frozen=True)
class AnsweredImages:
    """The images that the system did not refuse; accuracy and its 95% interval are None without any."""

    n: int
    errors: int
    accuracy: float | None
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class WrittenBy:
    """The score of the images by one kind of people: "everybody", "employees" or "students".

    writers: how many there are. ci95: of the accuracy, as writers vary, not as images do.
    """

    kind: str
    writers: int
    n: int
    errors: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """How well a system reads labelled images; fractions are 0 to 1.

    run: its folder, or else model. overlap: None for a model. accuracy to confusion: of all images, answered or not,
    see `scores.score`. threshold: the confidence from which it answers; coverage: the share that it answered, and its
    95% interval; abstentions: how often for which reason. errors_per_digit: ten counts, of all images. tta: whether it
    averaged over shifts; None for a model, which does as it was exported. seconds, images_per_second: of answering.
    looks, models_looked: at these data on this machine, this one included. written_by: where it was asked for.
    file: the answers, in the run's folder; report: the page; None for a model.
    """

    run: str | None
    model: ScoredModel | None
    data: ScoredData
    overlap: OverlapScore | None
    accuracy: float
    errors: int
    n: int
    ci95: Sequence[float]
    nll: float
    ece: float
    brier: float
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]
    threshold: float
    coverage: float
    coverage_ci95: tuple[float, float]
    answered: AnsweredImages
    abstentions: dict[str, int]
    errors_per_digit: list[int]
    tta: bool | None
    seconds: float
    images_per_second: float
    time: str
    looks: int
    models_looked: int
    written_by: list[WrittenBy] | None = None
    file: str | None = None
    report: str | None = None


@dataclass(frozen=True, eq=False)
class Scored:
    """An evaluation, and what it was made of: probabilities (N, 10) float32, and what a run had seen."""

    evaluation: Evaluation
    probabilities: NDArray[np.float32]
    seen: Seen | None


def score_system(
    system: System, digits: Digits, spec: str, *, tta: bool | None = None, console: PlainConsole | None = None
) -> Scored:
    """Return the score of a system on labelled images, with the look recorded in the ledger and in the run's folder.

    spec: what the user called the images. tta: average over shifted copies (test-time augmentation) or not; None leaves
    it to the recipe. console: where the overlap is named; None says nothing.
    Raises DataError for images without labels, or none; RunError for a run's folder that cannot be written.
    """
    console = console or PlainConsole(quiet=True)
    if digits.labels is None:
        raise DataError(f"'{spec}' has no labels to score against. Give labelled data, such as mnist:test.")
    labels, n, sha256 = digits.labels, len(digits), digits.content_hash()
    if not n:
        raise DataError(f"'{spec}' holds '0' images. Give at least one.")
    shifts = system.shifts(tta)
    seen = None
    if system.run is not None:
        with console.working(f"Comparing {n:,} images with those trained on"):
            seen = find_seen(system.run, digits, sha256)
        _name_overlap(seen, n, console)
    with console.working(f"Reading {n:,} images"):
        system.load()
        start = time.perf_counter()
        answers = system.answers(digits.images, tta)
        seconds = time.perf_counter() - start
    score, wrong = scores.score(labels, answers.probabilities), answers.probabilities.argmax(1) != labels
    now = datetime.now(UTC).isoformat(timespec="seconds")
    card = None if system.model is None else system.model.card
    place = system.path if system.run is None else str(system.run.path.resolve())
    kept = None if system.run is None else _keep(system.run, digits, answers.probabilities)
    try:
        ledger.record(ledger.Look(now, place, system.sha256, sha256, spec, n, score["accuracy"]))
    except TenfoldError:
        if kept is not None:
            kept.unlink()
        raise
    looks, models = ledger.looks(sha256)
    evaluation = Evaluation(
        run=None if system.run is None else system.path,
        model=None if card is None else ScoredModel(card.name, card.recipe, card.precision, system.sha256),
        data=ScoredData(spec, sha256, n),
        overlap=None if seen is None else overlap_score(seen, ~wrong),
        **score,
        threshold=system.threshold,
        **_coverage(answers, wrong),
        errors_per_digit=np.bincount(labels[wrong], minlength=10).tolist(),
        tta=None if shifts is None else shifts > 0,
        seconds=seconds,
        images_per_second=n / seconds,
        time=now,
        looks=looks,
        models_looked=models,
        written_by=None if digits.writers is None else written_by(digits, ~wrong),
        file=None if kept is None else f"{kept.parent.name}/{kept.name}",
    )
    if system.run is not None:
        line = {key: value for key, value in asdict(evaluation).items() if key not in NOT_IN_THE_RUN}
        try:
            ledger.append_line(system.run.path / "evaluations.jsonl", line)
        except OSError as error:
            raise not_writable(system.run.path, error) from error
    return Scored(evaluation, answers.probabilities, seen)


def written_by(digits: Digits, right: NDArray[np.bool_]) -> list[WrittenBy]:
    """Return the scores of everybody's images and of each kind of writers'; right: (N,). The writers are known."""
    assert digits.writers is not None
    rows, kinds = [], {"everybody": np.ones(len(digits), bool)} | series(digits.writers)
    for kind, which in kinds.items():
        theirs, n = digits.writers[which], int(which.sum())
        errors, count = int((~right[which]).sum()), len(np.unique(theirs))
        interval = clustered(right[which], theirs) if count > 1 else wilson(n - errors, n)
        rows.append(WrittenBy(kind, count, n, errors, (n - errors) / n, interval))
    return rows


def kept_probabilities(file: Path) -> NDArray[np.float32]:
    """Return the probabilities (N, 10) that a look left in a run's folder; RunError where they are damaged or gone."""
    try:
        return np.asarray(read_answers(file)["probabilities"], np.float32)
    except (OSError, ValueError) as error:
        raise RunError(f"'{file}' is damaged: {error}. Evaluate the run again.") from None


def side(run: "Run", name: str, probabilities: NDArray[np.float32]) -> Side:
    """Return a run's answers with what it took to train it."""
    manifest = run.manifest
    return Side(name, probabilities, manifest["seconds"], manifest["parameters"], str(run.path), run.recipe.name)


def held_out(runs: "Sequence[Run]", names: Sequence[str], title: str, note: str = "") -> SideBySide:
    """Return the runs' answers to the images that all of them held out.

    Raises RunError where one held none out, or others than the first.
    """
    answers, first = [], runs[0]
    for run in runs:
        own = run.validation()
        if own is None or not len(own["labels"]):
            raise RunError(f"'{run.path}' held no images out. Give --data, such as mnist:test.")
        same = run.manifest["data"]["sha256"] == first.manifest["data"]["sha256"]
        if not same or not np.array_equal(run.held_out(), first.held_out()):
            raise RunError(f"'{run.path}' held out other images than '{first.path}'. Give --data, such as mnist:test.")
        answers.append(own)
    sides = [side(run, name, own["probabilities"]) for run, name, own in zip(runs, names, answers, strict=True)]
    images = {
        int(i): image for own in answers for i, image in zip(own["mistake_indices"], own["mistake_images"], strict=True)
    }
    return SideBySide(title, answers[0]["labels"], sides, images, note)


def _coverage(answers: Answers, wrong: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how many images were answered, how many of those wrongly, and why the others were not."""
    given = ~answers.abstained
    n, errors = int(given.sum()), int((wrong & given).sum())
    reasons = Counter(str(answers.reason(i)).partition(":")[0] for i in np.flatnonzero(answers.abstained).tolist())
    return {
        "coverage": n / len(given),
        "coverage_ci95": wilson(n, len(given)),
        "answered": AnsweredImages(
            n, errors, accuracy=(n - errors) / n if n else None, ci95=wilson(n - errors, n) if n else None
        ),
        "abstentions": dict(sorted(reasons.items())),
    }


def _keep(run: "Run", digits: Digits, probabilities: NDArray[np.float32]) -> Path:
    """Return the file in the run's folder that keeps the answers, and the pictures of the mistakes."""
    assert digits.labels is not None
    mistakes = scores.most_confident_mistakes(digits.labels, probabilities, KEPT_MISTAKES)
    arrays: dict[str, NDArray[Any]] = {"labels": digits.labels, "probabilities": probabilities, "ids": digits.ids}
    pictures: dict[str, NDArray[Any]] = {"mistake_indices": mistakes, "mistake_images": digits.images[mistakes]}
    file = folder = run.path / "evaluations"
    try:
        folder.mkdir(exist_ok=True)
        for file in (folder / f"{number}.npz" for number in count(1)):
            with suppress(FileExistsError):
                file.touch(exist_ok=False)  # so that no other process takes it
                break
        write_atomically(file, npz(arrays | pictures))
    except OSError as error:
        if file != folder:
            with suppress(OSError):
                file.unlink()
        raise not_writable(run.path, error) from error
    return file


def _name_overlap(seen: Seen, n: int, console: PlainConsole) -> None:
    """Name the overlap with the training data, before any score."""
    both = len(seen.exact) + len(seen.near)
    if both:
        console.print(
            f"[bold yellow]Overlap: {both:,} of these {n:,} images were trained on[/] "
            f"({len(seen.exact):,} exactly, {len(seen.near):,} nearly). The honest score is the one without them.",
            markup=True,
        )
    if seen.unchecked:
        console.print(f"Near duplicates were not looked for: {seen.unchecked}", style="yellow")
