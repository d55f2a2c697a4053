"""How well numbers are read in pictures: cheques, photographs, pages without digits, and what our generator draws.

    python benchmarks/reading.py --rivals /path/to/python --record results/reading.jsonl
    python benchmarks/reading.py --run runs/mine                 # another network of rows
    python benchmarks/reading.py --own runs/own even             # train on half of the cheques, read the other half

`--rivals` names a Python that has RapidOCR; Tesseract is looked for on the path. Pictures are those of
`reading_sets.py`, programs those of `readers.py`. A picture is right when all of its digits are, in reading order, and
none is beside them; spaces and rows do not count. Nothing may be chosen by these numbers; each look is written to the
ledger. The last line on stdout is JSON.
"""

import argparse
import csv
import hashlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import readers  # beside this file
import reading_sets
from pydantic import Field
from readers import Answer, wrong_digits
from reading_sets import AMOUNTS, BOXES, HALVES, LARGE, NEGATIVES, PAGES, ROWS, SHEETS, SINGLES, WORDS, Sample
from records import MISSING, NOTHING, Machine, Measured, Part, dumped, newest, save, versions, write_look

from tenfold.errors import DataError, TenfoldError
from tenfold.pages.page import table
from tenfold.runs.results import DataUsed, Record
from tenfold.runs.run import commit
from tenfold.runtime.reader import Reader
from tenfold.settings import data_folder

FILE = "reading.jsonl"  # in the folder of results
TENFOLD, RAPIDOCR = "tenfold", "RapidOCR"
TESSERACT = {mode: f"Tesseract, mode {mode}" for mode in readers.MODES}
OWN = "trained on the {} rows"
ALL = "all"
SUREST = 0.8
WITH_DIGITS, WITHOUT = (AMOUNTS, SINGLES, SHEETS, ROWS, PAGES, LARGE), (WORDS, NEGATIVES, BOXES)
FOUND = (AMOUNTS, SINGLES, SHEETS)  # labelled by others: a look at them is written down


class Scores(Record):
    """What a reader made of some pictures.

    digits: of the truth, and the insertions, deletions and substitutions between it and what was read.
    """

    pictures: Part = Field(description="best guesses, abstained from or not")
    used: Part = Field(description="the numbers that were answered, taken alone: all digits right and none beside them")
    digits: Part
    answered: Part = Field(description="pictures of which all numbers were answered")
    surest: Part = Field(description="the surest 80% of the pictures")
    read: Part = Field(description="pictures, and how many of them something was read on")
    read_digits: int = Field(ge=0)
    claimed: Part = Field(description="pictures, and how many of them something was read on and not abstained from")
    claimed_digits: int = Field(ge=0)
    seconds: float = Field(ge=0, description="a picture, the median")
    cpu_seconds: float = Field(ge=0, description="of the processor, the median")


class NumbersRead(Measured):
    """How one program reads every kind of picture; a kind is told apart by condition, with all of them first."""

    name: str = Field(min_length=1, description="what the tables call it")
    version: str
    model_sha256: str | None = Field(None, description="of Tenfold's two networks")
    seed: int = Field(ge=0, description="of the drawn pictures")
    limit: int | None = Field(None, description="of pictures a condition, in a trial")
    machine: Machine
    groups: dict[str, dict[str, Scores]]


def scores(samples: Sequence[Sample], answers: Sequence[Answer]) -> Scores:
    """Return how well some pictures were read."""
    wrong = [wrong_digits(sample, answer.text) for sample, answer in zip(samples, answers, strict=True)]
    used = [wrong_digits(sample, answer.answered) for sample, answer in zip(samples, answers, strict=True)]
    order = sorted(range(len(wrong)), key=lambda place: -answers[place].confidence)
    surest = order[: max(1, round(SUREST * len(order)))]
    whole = [place for place, answer in enumerate(answers) if answer.whole]
    return Scores(
        pictures=_part(wrong, range(len(wrong))),
        used=_part(used, range(len(used))),
        digits=Part(n=sum(len(each.truth) for each in samples), errors=sum(wrong)),
        answered=_part(wrong, whole),
        surest=_part(wrong, surest),
        read=Part(n=len(answers), errors=sum(bool(each.text) for each in answers)),
        read_digits=sum(len(each.text) for each in answers),
        claimed=Part(n=len(answers), errors=sum(bool(each.answered) for each in answers)),
        claimed_digits=sum(len(each.answered) for each in answers),
        seconds=round(statistics.median(each.seconds for each in answers), 4),
        cpu_seconds=round(statistics.median(each.cpu_seconds for each in answers), 4),
    )


def _part(wrong: Sequence[int], places: Sequence[int]) -> Part:
    return Part(n=len(places), errors=sum(wrong[place] > 0 for place in places))


def grouped(samples: Sequence[Sample], answers: Sequence[Answer]) -> dict[str, dict[str, Scores]]:
    """Return the scores of every kind, and of every condition where a kind has several."""
    found: dict[str, dict[str, Scores]] = {}
    for group in dict.fromkeys(each.group for each in samples):
        conditions = list(dict.fromkeys(each.condition for each in samples if each.group == group))
        found[group] = {}
        for condition in [ALL, *(conditions if len(conditions) > 1 else ())]:
            some = [
                pair
                for pair in zip(samples, answers, strict=True)
                if pair[0].group == group and condition in (ALL, pair[0].condition)
            ]
            found[group][condition] = scores([sample for sample, _ in some], [answer for _, answer in some])
    return found


def block(folder: Path) -> str:
    """Return the Markdown of how the shipped networks read, beside the newest record of each rival."""
    found = _shown(folder)
    return f"{reading_table(found)}\n\n{nothing_table(found)}" if found else NOTHING


def short_block(folder: Path) -> str:
    """Return the Markdown of the kinds of pictures alone, a row a program."""
    found = _shown(folder)
    return short_table(found) if found else NOTHING


def own_block(folder: Path) -> str:
    """Return the Markdown of what a training on half of the cheques is worth on the other half."""
    found = {each.name: each for each in newest(folder / FILE, NumbersRead, lambda each: each.name)}
    return own_table(found) if TENFOLD in found and OWN.format("even") in found else NOTHING


BLOCKS = {"reading": block, "reading-short": short_block, "reading-own": own_block}


def _shown(folder: Path) -> list[NumbersRead]:
    names = (TENFOLD, RAPIDOCR, *TESSERACT.values())
    found = {each.name: each for each in newest(folder / FILE, NumbersRead, lambda each: each.name)}
    return [found[name] for name in names if name in found] if TENFOLD in found else []


def reading_table(found: Sequence[NumbersRead]) -> str:
    """Return a Markdown table, a row a kind of picture and condition; the first record's program in more columns."""
    own, rivals = found[0], found[1:]
    head = ["what is read", "pictures", "all digits right", "digits wrong", "right of the surest 80%"]
    head += [
        "wholly answered",
        "right of these",
        "right without the unsure numbers",
        "seconds",
        *(f"{_title(each)}: all right; digits wrong; seconds" for each in rivals),
    ]
    rows = []
    for group in (each for each in WITH_DIGITS if each in own.groups):
        for condition, its in own.groups[group].items():
            others = [each.groups.get(group, {}).get(condition) for each in rivals]
            rows.append([_row_title(group, condition), f"{its.pictures.n:,}", *_cells(its, group)])
            rows[-1] += [MISSING if each is None else _cell(each, group) for each in others]
    return table(head, rows)


def _title(record: NumbersRead) -> str:
    name, comma, mode = record.name.partition(",")
    return f"{name} {record.version}{comma}{mode}"


def _row_title(group: str, condition: str) -> str:
    return f"**{group}**" if condition == ALL else condition


def _cells(its: Scores, group: str) -> list[str]:
    low, high = its.pictures.interval()
    interval = f" ({100 * low:.1f} to {100 * high:.1f}; {its.pictures.errors:,} wrong)"
    answered = f"{100 * its.answered.n / its.pictures.n:.1f}%"
    right = _percent(its.answered) if its.answered.n else MISSING
    cells = [_percent(its.pictures) + interval, _rate(its), _percent(its.surest), answered, right]
    return [*cells, _percent(its.used), _seconds(its, group)]


def _cell(its: Scores, group: str) -> str:
    return f"{_percent(its.pictures)}; {_rate(its)}; {_seconds(its, group)}"


def _percent(part: Part) -> str:
    return f"{100 * part.accuracy:.1f}%"


def _rate(its: Scores) -> str:
    return f"{100 * its.digits.errors / its.digits.n:.2f}%" if its.digits.n else MISSING


def _seconds(its: Scores, group: str) -> str:
    """Return the processor's seconds, which other programs on the machine do not change; of two threads the clock's."""
    return f"{its.seconds if group == LARGE else its.cpu_seconds:.2g}"


def nothing_table(found: Sequence[NumbersRead]) -> str:
    """Return a Markdown table of what was read where nothing is written by hand."""
    own, rivals = found[0], found[1:]
    head = ["no handwritten digits", "pictures", "digits answered", "with the unsure ones", *map(_title, rivals)]
    rows = []
    for group in (each for each in WITHOUT if each in own.groups):
        its = own.groups[group][ALL]
        others = [each.groups.get(group, {}).get(ALL) for each in rivals]
        rows.append([group, f"{its.pictures.n:,}", _false(its.claimed_digits, its.claimed)])
        rows[-1] += [_false(its.read_digits, its.read)]
        rows[-1] += [MISSING if each is None else _false(each.read_digits, each.read) for each in others]
    return table(head, rows)


def _false(digits: int, part: Part) -> str:
    return f"{digits:,} on {part.errors:,}" if digits else "none"


def short_table(found: Sequence[NumbersRead]) -> str:
    """Return a Markdown table, a row a program and a column a kind: pictures of which all digits are right."""
    groups = [each for each in (AMOUNTS, SINGLES, SHEETS) if each in found[0].groups]
    empty = [each for each in (WORDS,) if each in found[0].groups]
    head = ["all digits right", *(f"{each}, {found[0].groups[each][ALL].pictures.n:,}" for each in groups)]
    head += [f"{each}, {found[0].groups[each][ALL].pictures.n:,}: digits read on" for each in empty]
    rows = []
    for record in found:
        cells = [record.groups.get(each, {}).get(ALL) for each in groups]
        rows.append([_title(record), *(MISSING if each is None else _percent(each.pictures) for each in cells)])
        none = [record.groups.get(each, {}).get(ALL) for each in empty]
        rows[-1] += [MISSING if each is None else f"{each.claimed.errors:,}" for each in none]
    return table(head, rows)


def own_table(found: dict[str, NumbersRead]) -> str:
    """Return a Markdown table of the shipped network and of those that learned from half of the cheques."""
    rows = []
    for half, other in (HALVES, HALVES[::-1]):
        trained = found.get(OWN.format(half))
        for name, record in (("as shipped", found[TENFOLD]), (OWN.format(half), trained)) if trained else ():
            its = record.groups.get(AMOUNTS, {})
            score = its.get(f"{other} rows", its.get(ALL))
            if score is not None:
                cells = [_percent(score.surest), f"{100 * score.answered.n / score.pictures.n:.1f}%"]
                right = _percent(score.answered) if score.answered.n else MISSING
                rows.append([f"{other} rows, {name}", f"{score.pictures.n:,}", score.pictures.words(), _rate(score)])
                rows[-1] += [*cells, right]
    head = ["cheque amounts", "pictures", "all digits right", "digits wrong", "right of the surest 80%"]
    return table([*head, "wholly answered", "right of these"], rows)


def record(
    name: str,
    version: str,
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    options: argparse.Namespace,
    sha256: str | None = None,
) -> NumbersRead:
    """Return the record of one program."""
    from tenfold.training.device import processor

    return NumbersRead(
        name=name,
        version=version,
        model_sha256=sha256,
        commit=commit(),
        versions=versions("numpy", "onnxruntime", "opencv-python-headless"),
        seed=options.seed,
        limit=options.limit,
        machine={"cpu": processor(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        groups=grouped(samples, answers),
    )


def ours(
    name: str, model: str | Path | None, samples: Sequence[Sample], options: argparse.Namespace
) -> tuple[NumbersRead, list[Answer]]:
    """Return the record of Tenfold with a network of rows, and its answers; looks at labelled pictures are noted."""
    from tenfold import __version__

    answers = readers.tenfold(model, samples)
    sha256 = Reader.load(model).sha256
    made = record(name, __version__, samples, answers, options, sha256)
    for group in (each for each in FOUND if each in made.groups):
        some = [sample for sample in samples if sample.group == group]
        digest = hashlib.sha256("".join(f"{each.name} {each.truth} " for each in some).encode()).hexdigest()
        right = made.groups[group][ALL].pictures.accuracy
        write_look(name, sha256, DataUsed(spec=group, sha256=digest, n=len(some)), right)
    return made, answers


def rivals(samples: Sequence[Sample], options: argparse.Namespace) -> Iterator[NumbersRead]:
    """Give the records of the rivals that are installed."""
    if options.rivals and (read := readers.rapidocr(options.rivals, samples)) is not None:
        yield record(RAPIDOCR, read[0], samples, read[1], options)
    if options.rivals and (version := readers.tesseract_version()) is not None:
        lines = [each for each in samples if each.line]
        pages = [each for each in samples if not each.line]
        read_lines = readers.tesseract("7", lines)  # the same whatever the mode for pages
        for mode, name in TESSERACT.items():
            answers = [*read_lines, *readers.tesseract(mode, pages)]
            yield record(name, version, [*lines, *pages], answers, options)


def own(
    samples: Sequence[Sample], halves: Sequence[str], out: Path, options: argparse.Namespace
) -> Iterator[NumbersRead]:
    """Give a record for each half of the cheques: of the network that learned from it, read on the other half."""
    from tenfold.train import train

    for half in halves:
        known = [each for each in samples if each.condition == f"{half} rows"]
        with tempfile.TemporaryDirectory() as folder:
            reading_sets.write_rows(Path(folder), known)
            settings = {"overrides": options.set, "threads": options.threads, "from_run": "shipped"}
            run = train("lines", folder, out / half, **settings)
        if run.status != "finished":
            raise DataError(f"The training '{run.run}' is '{run.status}'. Remove it, and begin again.")
        others = [each for each in samples if each not in known]
        yield ours(OWN.format(half), run.run, others, options)[0]


def write_wrong(path: Path, samples: Sequence[Sample], answers: Sequence[Answer]) -> None:
    """Write a table of what was misread, for somebody to look at: kind, condition, file, truth, text, confidence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table_file = csv.writer(file)
        table_file.writerow(["kind", "condition", "file", "truth", "read", "confidence", "answered"])
        for sample, answer in zip(samples, answers, strict=True):
            if wrong_digits(sample, answer.text) or wrong_digits(sample, answer.answered):
                whole = [sample.group, sample.condition, sample.name, sample.truth, answer.text]
                table_file.writerow([*whole, f"{answer.confidence:.4f}", answer.answered])


def calibration(samples: Sequence[Sample], answers: Sequence[Answer]) -> tuple[float, float]:
    """Return offset and slope of the log-odds with which confidences fit best how often they are right (logistic)."""
    from sklearn.linear_model import LogisticRegression

    sure = np.clip([each.confidence for each in answers], 1e-6, 1 - 1e-6)
    right = [not wrong_digits(sample, answer.text) for sample, answer in zip(samples, answers, strict=True)]
    fitted = LogisticRegression(C=1e6).fit(np.log(sure / (1 - sure))[:, None], right)
    return float(fitted.intercept_[0]), float(fitted.coef_[0, 0])


def main(arguments: list[str] | None = None) -> None:
    """Read every picture with every program, print the tables, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rivals", metavar="PYTHON", help="a Python that has rapidocr; Tesseract is read with too")
    parser.add_argument("--run", metavar="RUN", help="a run of `tenfold train lines` in place of the shipped network")
    parser.add_argument("--own", nargs="+", metavar=("FOLDER", "HALF"), help="train on half of the cheques: even, odd")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the recipe, with --own")
    parser.add_argument("--threads", type=int, help="of the training, with --own")
    parser.add_argument("--limit", type=int, help="pictures a condition, to try the program")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="kinds of pictures, such as 'cheque amounts'")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn pictures")
    parser.add_argument("--record", type=Path, help="append to this file, such as results/reading.jsonl")
    parser.add_argument("--wrong", type=Path, help="write a table of what Tenfold misread here")
    parser.add_argument("--calibrate", action="store_true", help="of the drawn rows: `calibrated` in runtime/reader.py")
    parser.add_argument("--sheet", type=Path, help="write a picture of what the generator draws here")
    parser.add_argument("--picture", type=Path, help="write a drawn page with what was read on it here")
    options = parser.parse_args(arguments)
    halves = (options.own or [])[1:] or list(HALVES[:1])
    if unknown := [each for each in halves if each not in HALVES]:
        parser.error(f"'{unknown[0]}' is no half. Give even, odd or both.")
    try:
        if options.sheet:
            reading_sets.write_sheet(options.sheet, options.seed)
        if options.picture:
            reading_sets.write_picture(options.picture, Reader.load(options.run))
        with tempfile.TemporaryDirectory() as folder:
            only = [AMOUNTS] if options.own else [ROWS] if options.calibrate else options.only
            samples = reading_sets.gather(data_folder(), Path(folder), options.seed, options.limit, only)
            name = TENFOLD if options.run is None else Path(options.run).name
            made, answers = ours(name, options.run, samples, options)
            if options.calibrate:
                print("OFFSET, SLOPE = {:.2f}, {:.2f} on top of what they are".format(*calibration(samples, answers)))
            found = [] if options.own else [made]
            save(options.record, found)
            others = own(samples, halves, Path(options.own[0]), options) if options.own else rivals(samples, options)
            for each in others:  # kept as they come
                save(options.record, [each])
                found.append(each)
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    if options.wrong:
        write_wrong(options.wrong, samples, answers)
    print(own_table({each.name: each for each in [made, *found]} | {TENFOLD: made}) if options.own else told(found))
    print(json.dumps({"reading": dumped(found)}))


def told(found: Sequence[NumbersRead]) -> str:
    """Return the tables of one measurement."""
    return f"{reading_table(found)}\n\n{nothing_table(found)}"


if __name__ == "__main__":
    main()
