"""A run -> which labels are suspect, by answers that were not trained on them; a page, and a file to decide in."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data import decisions as files
from tenfold.data import load, names
from tenfold.data.digits import Digits
from tenfold.data.merge import load_sets, merge
from tenfold.data.writers import with_writers
from tenfold.ensembles.pool import MEMBERS
from tenfold.errors import DataError, RunError, UsageError
from tenfold.metrics import suspects
from tenfold.pages import audit as pages
from tenfold.pages import page as writing
from tenfold.runs.begin import same_data
from tenfold.runs.ledger import find_seen
from tenfold.runs.run import LABELS, Run, training_specs
from tenfold.runs.scoring import score_system
from tenfold.runs.systems import System, open_system

PAGE, DECISIONS = "audit.html", "decisions.csv"
UNCLEAR = 0.5  # no other digit is as probable as this: --auto leaves the image out
LISTED = 10  # suspects in the terminal
HEAD = ("image", "label", "suggested", "", "members say", "alike", "decision")
OTHER = typer.Option(
    "--data", metavar="DATA", help="Audit these data [default: what the run held out]. May be repeated."
)
OUT = typer.Option("--out", metavar="FILE", help="The page to write [default: RUN/audit.html].")
FILE = typer.Option(
    "--decisions", metavar="FILE", help="The file to decide in [default: decisions.csv beside the page]."
)
AUTO = typer.Option("--auto", metavar="P", min=0.5, max=1, help="Relabel where another digit has this probability.")


@dataclass(frozen=True)
class Suspect:
    """An image whose label is suspect.

    image: its number in its data. probability: of the suggested digit; given_probability: of the label. members: how
    many of an ensemble's members give which digit. neighbours: the labels of the images most alike, the nearest first.
    decision: keep, relabel (to `label`) or drop; None for a test set, of which nothing is decided.
    """

    image: int
    given: int
    suggested: int
    probability: float
    given_probability: float
    members: dict[int, int]
    neighbours: list[int]
    writer: int | None
    decision: str | None = None
    label: int | None = None


@dataclass(frozen=True)
class Audited:
    """Which labels are suspect, the most suspicious first.

    n: audited images; known: those left out because the run was trained on them. decided: how many of the suspects to
    keep, relabel and drop. page, decisions: the files; None for a test set, as is decided.
    """

    run: str
    data: list[str]
    n: int
    known: int
    suspects: int
    rows: list[Suspect]
    decided: dict[str, int] | None
    page: str
    decisions: str | None


def audit(
    run: Annotated[str | Path, options.RUN],
    data: Annotated[str | Sequence[str], OTHER] = (),
    out: Annotated[str | Path | None, OUT] = None,
    *,
    decisions: Annotated[str | Path | None, FILE] = None,
    auto: Annotated[float | None, AUTO] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    quiet: Annotated[bool, options.QUIET] = False,
) -> Audited:
    """Return which labels are suspect; write a page that shows them, and a file of decisions, which `train` takes.

    data: labelled data that the run was not trained on; without it the images that it held out, which for an ensemble
    of folds are all. Of a test set there is a report alone, and the look is recorded. auto: relabel where another digit
    has this calibrated probability, and leave out where none has a half. What a file that is there decides, but to
    keep, stands. Raises TenfoldError: UsageError, DataError, RunError, MissingExtraError.
    """
    console = PlainConsole(quiet=quiet, soft_wrap=True)
    specs = [data] if isinstance(data, str) else list(data)
    test = _is_test(specs, decides=decisions is not None or auto is not None)
    suspects.finder()  # before anything takes long, or is recorded
    system = open_system(run, threshold=0.0, device=device)
    if system.run is None:
        raise RunError(f"'{run}' is a model, which does not say what it was trained on. Give a run's folder.")
    page, named = Path(out or system.run.path / PAGE), specs or training_specs(system.run.manifest)
    file, copy = Path(decisions or page.with_name(DECISIONS)), system.run.path / LABELS
    if page.is_dir() or file.resolve() == page.resolve():
        raise DataError(f"'{page}' is a folder, or the file of decisions. Give --out another file.")
    options.check_target(page, named, "train", [copy])
    options.check_target(file, named, "train", [copy], "--decisions")
    before = files.parse(files.read(file), file) if not test and os.path.lexists(file) else []
    own = files.parse(files.read(copy), copy) if not specs and system.run.labels else []

    digits, shares, known = _other(system, specs, test, console) if specs else _held_out(system.run, console)
    digits = with_writers(digits, needed=False)
    hashes = files.hashes_of(digits)
    there = {*hashes} if specs else {f"x{each:016x}" for each in system.run.hashes().tolist()}
    if before and (there | {row.hash for row in own}).isdisjoint(row.hash for row in before):
        raise DataError(f"'{file}' was made for other data, and is kept as it is. Give another --decisions.")
    with console.working(f"Auditing {len(digits):,} labels"):
        assert digits.labels is not None
        found = suspects.find_suspects(digits.labels, shares)
        alike = suspects.nearest(digits.images, found)
        answers = _members(system.run, digits.images[found], device)
    decided = {row.key: row for row in [*own, *before]}
    first = {(row.hash, row.target): row.key for row in own}  # what the data say of an image that the run relabelled
    rows = []
    for place, index in enumerate(found.tolist()):
        one = _suspect(digits, index, shares[index], [each[place] for each in answers], alike[place])
        key = first.get((hashes[index], one.given), (hashes[index], one.given))
        if key not in decided or decided[key].decision == files.KEEP:
            word: files.Word = "keep"
            if auto is not None and not UNCLEAR <= one.probability < auto:
                word = "relabel" if one.probability >= auto else "drop"
            sure = f"{one.probability:.4f}"
            decided[key] = files.Decision(str(one.image), key[1], one.suggested, sure, word, None, key[0])
        rows.append(one if test else replace(one, decision=decided[key].decision, label=decided[key].target))
    counts = Counter(row.decision for row in rows)
    result = Audited(
        run=str(run),
        data=named,
        n=len(digits),
        known=known,
        suspects=len(rows),
        rows=rows,
        decided=None if test else {word: counts[word] for word in (files.KEEP, files.RELABEL, files.DROP)},
        page=str(page),
        decisions=None if test else str(file),
    )
    pages.write(page, result, digits, found, alike)
    if not test:
        writing.write(file, files.render(decided.values()), "Give another --decisions.", "The decisions ")
    _show(result, console)
    return result


def _suspect(
    digits: Digits, index: int, shares: NDArray[np.float32], answers: Sequence[np.int64], alike: Sequence[int]
) -> Suspect:
    """Return what is known of an image; shares: (10,) of it; answers: the members'; alike: other images' indices."""
    writers, labels = digits.writers, digits.labels
    assert labels is not None
    given = int(labels[index])
    suggested = next(digit for digit in shares.argsort()[::-1].tolist() if digit != given)
    return Suspect(
        image=int(digits.ids[index]),
        given=given,
        suggested=suggested,
        probability=float(shares[suggested]),
        given_probability=float(shares[given]),
        members=dict(Counter(map(int, answers)).most_common()),
        neighbours=labels[alike].tolist(),
        writer=None if writers is None else int(writers[index]),
    )


def _is_test(specs: Sequence[str], decides: bool) -> bool:
    """Return whether a test set is named; UsageError where something is to be decided of it, or others are with it."""
    stem = names.MNIST_STEMS["test"]
    tests = [spec for spec in specs if (names.parse(spec) or ("", ""))[1] == "test" or stem in Path(spec).name]
    if tests and (decides or len(specs) > 1):
        what = f"'{tests[0]}' is a test set: its audit is a report by itself, and nothing is decided of it."
        raise UsageError(f"{what} Omit --auto, --decisions and other --data.")
    return bool(tests)


def _held_out(run: Run, console: PlainConsole) -> tuple[Digits, NDArray[np.float32], int]:
    """Return the images that a run held out, its answers to them, (N, 10), and 0; RunError where it has no such."""
    kept = run.validation()
    if kept is None or not len(kept["labels"]):
        raise RunError(f"'{run.path}' has no answers to held-out images. Give --data, or an ensemble with --folds.")
    digits = same_data(run, (), console)
    answered = np.ptp(kept["probabilities"], axis=1) > 0  # the others no chosen member held out
    indices, labels = kept["indices"][answered], kept["labels"][answered]
    assert digits.labels is not None
    if (indices >= len(digits)).any() or (digits.labels[indices] != labels).any():
        raise RunError(f"The answers of '{run.path}' are to other data: their 'labels' differ. Train it again.")
    return digits.take(indices), kept["probabilities"][answered], 0


def _other(
    system: System, specs: Sequence[str], test: bool, console: PlainConsole
) -> tuple[Digits, NDArray[np.float32], int]:
    """Return labelled images that the run was not trained on, its answers to them, (N, 10), and how many it knows."""
    assert system.run is not None
    digits = load(specs[0], "evaluate") if test else merge(load_sets(specs), look=False).digits
    if test:
        scored = score_system(system, digits, specs[0], console=console)  # which records the look
        shares, seen = scored.probabilities, scored.seen
    else:
        with console.working(f"Reading {len(digits):,} images"):
            shares = system.probabilities(digits.images)
            seen = find_seen(system.run, digits, digits.content_hash())
    assert seen is not None
    new = (~seen.mask(len(digits))).nonzero()[0]
    known = len(digits) - len(new)
    if not len(new):
        what = f"The run was trained on all '{known}' images of '{' + '.join(specs)}'."
        raise DataError(f"{what} Omit --data, to audit what it held out.")
    if known:
        console.print(f"Left out: {known:,} of {len(digits):,} images, which the run was trained on", style="yellow")
    return digits.take(new), shares[new], known


def _members(run: Run, images: NDArray[np.uint8], device: str) -> list[NDArray[np.int64]]:
    """Return what each member of an ensemble gives, (S,) each; none where their folders are not there."""
    chosen = (run.manifest.get("ensemble") or {}).get("members", [])
    folders = [path for path in sorted((run.path / MEMBERS).glob("*")) if path.name in chosen] if len(images) else []
    return [open_system(path, threshold=0.0, device=device).probabilities(images).argmax(1) for path in folders]


def _show(result: Audited, console: PlainConsole) -> None:
    """Print what people read."""
    one_in = f", 1 in {result.n / result.suspects:,.0f}" if result.suspects else ""
    console.print(f"{writing.counted(result.suspects, 'suspect label')} of {result.n:,}{one_in}")
    table = Table(box=None)
    for head in HEAD:
        table.add_column(head, justify="right")
    for row in result.rows[:LISTED]:
        said = " ".join(f"{digit}x{times}" for digit, times in row.members.items())
        cells = (row.image, row.given, row.suggested, writing.percent(row.probability), said)
        table.add_row(*map(str, cells), " ".join(map(str, row.neighbours)), row.decision or "")
    if result.rows:
        console.print(table)
    if result.suspects > LISTED:
        console.print(f"... and {result.suspects - LISTED:,} more on the page")
    console.print(f"Page: {result.page}")
    if result.decisions is not None:
        words = ", ".join(f"{count} {word}" for word, count in (result.decided or {}).items())
        console.print(f"Decisions: {result.decisions} ({words}). Edit it where you see otherwise.")
        named = [word for spec in result.data for word in ("--data", spec)]
        console.next("tenfold", "train", "fast", *named, "--labels", result.decisions)
