"""How deployed models read: MNIST's test set, sets by other hands, and pictures that show no digit at all.

    python benchmarks/recogniser.py world=shipped tiny=tiny --sets folder/semeion folder/other
    python benchmarks/recogniser.py world=model.onnx --record results

MNIST's test images are given in their frame, the other sets as they were found, picture by picture, through
`Recogniser.digits`. What is no digit is made by our own code from fonts that no training saw and from MNIST's test
digits. Nothing may be chosen by these numbers; each look at labelled data is written to the ledger. The last line on
stdout is JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from records import (  # beside this file
    MISSING,
    NOTHING,
    OfModel,
    Part,
    dumped,
    facts,
    newest,
    read_records,
    save,
    write_look,
)

from tenfold.data import load, locate
from tenfold.data.arrays import find_labels, parse_idx
from tenfold.data.walk import Entry
from tenfold.drawing import glyphs
from tenfold.drawing.negatives import make_negatives
from tenfold.errors import DataError, ModelError, TenfoldError
from tenfold.imaging.frame import to_frame
from tenfold.pages.page import table
from tenfold.runs.results import DataUsed
from tenfold.runtime.recogniser import Recogniser

READINGS, REFUSALS = "readings.jsonl", "refusals.jsonl"  # in the folder of results
PROMISES = (0.001, 0.002, 0.005)  # shares of wrong answers; the first that the held-out images can promise


class Reading(OfModel):
    """One model's answers to one labelled set, at one threshold."""

    config_sha256: str
    data: DataUsed
    given_as: Literal["frames", "pictures"] = Field(description="in the frame already, or as they were found")
    threshold: float
    max_error: float | None = Field(None, description="what the threshold was chosen to promise")
    digits: list[Part] = Field(min_length=10, max_length=10, description="best guesses, answered or not, by true digit")
    answered: Part = Field(description="the images answered, and how many of those wrongly")

    def total(self) -> Part:
        """Return all images and the errors of the best guesses."""
        return Part.sum(self.digits)


class Refusal(OfModel):
    """How many pictures of each kind of what is no digit a model answered all the same."""

    config_sha256: str
    threshold: float
    seed: int = Field(ge=0)
    kinds: dict[str, Part] = Field(min_length=1, description="pictures of each kind, and how many were answered")

    def total(self) -> Part:
        """Return all pictures, and how many were answered."""
        return Part.sum(self.kinds.values())


def readings_block(folder: Path) -> str:
    """Return the Markdown of the newest reading of every set by every model, at every promise."""
    found = newest(folder / READINGS, Reading, lambda each: (each.name, each.data.spec, each.max_error))
    return readings_table(found) if found else NOTHING


def refusals_block(folder: Path) -> str:
    """Return the Markdown of every model's newest refusals."""
    found = read_records(folder / REFUSALS, Refusal)
    if not found:
        return NOTHING
    last = found[-1]
    same = [each for each in found if each.seed == last.seed and each.kinds.keys() == last.kinds.keys()]
    return refusals_table(list({each.name: each for each in same}.values()))


BLOCKS = {"readings": readings_block, "refusals": refusals_block}


def readings_table(readings: Sequence[Reading]) -> str:
    """Return a Markdown table, a row a reading."""
    head = ["model", "read", "images", "best guess right", "answered", "right where answered", "misread most"]
    return table(head, [_reading_row(each) for each in readings])


def _reading_row(reading: Reading) -> list[str]:
    total, answered = reading.total(), reading.answered
    worst = sorted(range(10), key=lambda digit: -reading.digits[digit].errors)[:3]
    misread = ", ".join(f"{digit} ({reading.digits[digit].errors})" for digit in worst if reading.digits[digit].errors)
    promise = f" (at most {100 * reading.max_error:g}% wrong)" if reading.max_error else ""
    return [
        f"`{reading.name}`",
        f"{reading.data.spec}{promise}",
        f"{total.n:,}",
        total.words(),
        f"{100 * answered.n / total.n:.2f}%",
        answered.words() if answered.n else MISSING,
        misread or "none",
    ]


def refusals_table(refusals: Sequence[Refusal]) -> str:
    """Return a Markdown table, a row a kind and a column a model: the share refused. All must have the same kinds."""
    rows = [["**all**", f"{refusals[0].total().n:,}", *(f"**{_refused(each.total())}**" for each in refusals)]]
    for kind, part in refusals[0].kinds.items():
        rows.append([kind, f"{part.n:,}", *(_refused(each.kinds[kind]) for each in refusals)])
    return table(["what is no digit", "pictures", *(f"refused by `{each.name}`" for each in refusals)], rows)


def _refused(part: Part) -> str:
    return f"{100 * (1 - part.errors / part.n):.1f}%"


def of_model(name: str, model: Recogniser) -> dict[str, Any]:
    """Return what both records say of the model."""
    return facts(name, model) | {"config_sha256": model.card.fields["config_sha256"], "threshold": model.threshold}


def parts_of(labels: NDArray[np.int64], wrong: NDArray[np.bool_], answered: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the record's counts: best guesses by digit, and answers."""
    return {"digits": [Part.of(wrong[labels == digit]) for digit in range(10)], "answered": Part.of(wrong[answered])}


def read_frames(name: str, recogniser: Recogniser, spec: str, max_error: float | None = None) -> Reading:
    """Return the record of a set that is in the frame."""
    digits = load(spec, "evaluate")
    assert digits.labels is not None
    answers = recogniser.predict(digits.images)
    wrong = answers.probabilities.argmax(1) != digits.labels
    used = DataUsed(spec=spec, sha256=digits.content_hash(), n=len(digits))
    return _looked(
        Reading(
            **of_model(name, recogniser),
            data=used,
            given_as="frames",
            max_error=max_error,
            **parts_of(digits.labels, wrong, ~answers.abstained),
        ),
        wrong,
    )


def found_pictures(spec: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return what a set of IDX files holds as it was found, (N, H, W) uint8, and its labels, (N,)."""
    file = locate(spec, "evaluate")
    labels_file = None if file is None or not file.is_file() else find_labels(file)
    if file is None or labels_file is None:
        raise DataError(f"'{spec}' is no IDX file with its labels beside it. Give such a file.")
    pictures, labels = (parse_idx(Entry(each.name, each).read(), each.name) for each in (file, labels_file))
    return pictures, labels.astype(np.int64)


def read_pictures(name: str, recogniser: Recogniser, spec: str, sheets: Path | None = None) -> Reading:
    """Return the record of a set of IDX files as they were found: any size, any polarity.

    sheets: a folder in which a picture of all that was misread is written.
    """
    pictures, labels = found_pictures(spec)
    predictions = recogniser.digits(list(pictures))
    wrong = np.array([each.digit for each in predictions]) != labels
    answered = np.array([not each.abstained for each in predictions])
    if sheets is not None:
        misread = np.flatnonzero(wrong)
        titles = [f"{labels[index]} as {predictions[index].digit}" for index in misread]
        write_sheet(sheets / f"{name}-{Path(spec).name}.png", [to_frame(pictures[index]) for index in misread], titles)
    used = DataUsed(spec=Path(spec).name, sha256=load(spec, "evaluate").content_hash(), n=len(labels))
    parts = parts_of(labels, wrong, answered)
    return _looked(Reading(**of_model(name, recogniser), data=used, given_as="pictures", **parts), wrong)


def write_sheet(path: Path, frames: list[NDArray[np.uint8]], titles: list[str]) -> None:
    """Write a picture of frames with a title above each, twenty a row."""
    from PIL import Image, ImageDraw

    width, height, columns = 62, 74, 20
    sheet = Image.new("L", (width * columns, height * max(1, -(-len(frames) // columns))), 40)
    draw = ImageDraw.Draw(sheet)
    for number, (frame, title) in enumerate(zip(frames, titles, strict=True)):
        left, top = number % columns * width, number // columns * height
        draw.text((left + 3, top + 2), title, 255)
        sheet.paste(Image.fromarray(frame.repeat(2, 0).repeat(2, 1)), (left + 3, top + 15))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _looked(reading: Reading, wrong: NDArray[np.bool_]) -> Reading:
    """Write the look to the ledger and return the record."""
    write_look(reading.name, reading.model_sha256, reading.data, float(1 - wrong.mean()))
    return reading


def refuse(name: str, recogniser: Recogniser, count: int, seed: int) -> Refusal:
    """Return the record of `count` pictures that show no digit, from held-out fonts and MNIST's test digits."""
    test = load("mnist:test", "evaluate")
    assert test.labels is not None
    made = list(make_negatives(count, seed, (test.images, test.labels), fonts=glyphs.font_files(held_out=True)))
    answered = np.array([not each.abstained for each in recogniser.digits([each.picture for each in made])])
    drawn = np.array([each.kind for each in made])
    parts = {kind: Part.of(answered[drawn == kind]) for kind in dict.fromkeys(drawn.tolist())}
    return Refusal(**of_model(name, recogniser), seed=seed, kinds=parts)


def promised(name: str, place: str, spec: str) -> list[Reading]:
    """Return the record of a set in the frame, answered so rarely that the least error is kept that can be promised."""
    for promise in PROMISES:
        try:
            recogniser = Recogniser.load(place, max_error=promise)
        except ModelError as error:
            print(f"{name}: {error}", file=sys.stderr)
        else:
            return [read_frames(name, recogniser, spec, promise)]
    return []


def main(arguments: list[str] | None = None) -> None:
    """Read everything with every model, print the tables, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL", help="a model file, or shipped, or tiny")
    parser.add_argument("--sets", nargs="*", default=[], help="IDX files of other digits, as they were found")
    parser.add_argument("--data", default="mnist:test", help="labelled images in the frame")
    parser.add_argument("--negatives", type=int, default=2000, help="pictures that show no digit")
    parser.add_argument("--seed", type=int, default=1, help="of these")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="append to the records in this folder")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="write pictures of what was misread here")
    options = parser.parse_args(arguments)
    readings: list[Reading] = []
    refusals: list[Refusal] = []
    try:
        for words in options.models:
            name, _, place = words.rpartition("=")
            recogniser = Recogniser.load(place)
            name = name or recogniser.card.name
            readings.append(read_frames(name, recogniser, options.data))
            readings += promised(name, place, options.data)
            readings += [read_pictures(name, recogniser, spec, options.sheets) for spec in options.sets]
            if options.negatives:
                refusals.append(refuse(name, recogniser, options.negatives, options.seed))
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    if options.record:
        save(options.record / READINGS, readings)
        save(options.record / REFUSALS, refusals)
    print(readings_table(readings))
    if refusals:
        print(refusals_table(refusals))
    print(json.dumps({"readings": dumped(readings), "refusals": dumped(refusals)}))


if __name__ == "__main__":
    main()
