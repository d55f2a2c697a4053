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
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tenfold import __version__
from tenfold.data import load, locate
from tenfold.data.archive import read_file
from tenfold.data.idx import find_labels, parse_idx
from tenfold.drawing import glyphs
from tenfold.drawing.negatives import make_pictures
from tenfold.errors import DataError, ModelError, TenfoldError
from tenfold.imaging.frame import to_frame
from tenfold.runs import ledger, records
from tenfold.runs.provenance import commit
from tenfold.runs.results import DataUsed
from tenfold.runtime.recogniser import Recogniser
from tenfold.scoring.leak import Part
from tenfold.scoring.reading import READINGS, REFUSALS, Reading, Refusal, readings_table, refusals_table

PROMISES = (0.001, 0.002, 0.005)  # shares of wrong answers; the first that the held-out images can promise


def facts(name: str, recogniser: Recogniser) -> dict[str, Any]:
    """Return what every record says of the model."""
    card = recogniser.card
    return {
        "name": name,
        "recipe": card.recipe,
        "precision": card.precision,
        "config_sha256": card.fields["config_sha256"],
        "model_sha256": recogniser.sha256,
        "commit": commit(),
        "versions": {
            "tenfold": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "threshold": recogniser.threshold,
    }


def parts_of(labels: NDArray[np.int64], wrong: NDArray[np.bool_], answered: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the record's counts: best guesses by digit, and answers."""
    by_digit = [Part(n=int((labels == d).sum()), errors=int((wrong & (labels == d)).sum())) for d in range(10)]
    return {"digits": by_digit, "answered": Part(n=int(answered.sum()), errors=int((wrong & answered).sum()))}


def read_frames(name: str, recogniser: Recogniser, spec: str, max_error: float | None = None) -> Reading:
    """Return the record of a set that is in the frame."""
    digits = load(spec, "evaluate")
    assert digits.labels is not None
    answers = recogniser.predict(digits.images)
    wrong = answers.probabilities.argmax(1) != digits.labels
    used = DataUsed(spec=spec, sha256=digits.content_hash(), n=len(digits))
    return _looked(
        Reading(
            **facts(name, recogniser),
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
    pictures = parse_idx(read_file(file), file.name, 3)
    return pictures, parse_idx(read_file(labels_file), labels_file.name, 1).astype(np.int64)


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
    return _looked(Reading(**facts(name, recogniser), data=used, given_as="pictures", **parts), wrong)


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
    ledger.record(
        ledger.Look(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            run=reading.name,
            weights_sha256=reading.model_sha256,
            data_sha256=reading.data.sha256,
            spec=reading.data.spec,
            n=reading.data.n,
            accuracy=float(1 - wrong.mean()),
        )
    )
    return reading


def refuse(name: str, recogniser: Recogniser, count: int, seed: int) -> Refusal:
    """Return the record of `count` pictures that show no digit, from held-out fonts and MNIST's test digits."""
    test = load("mnist:test", "evaluate")
    assert test.labels is not None
    made = make_pictures(count, seed, (test.images, test.labels), fonts=glyphs.font_files(held_out=True))
    answered = [not each.abstained for each in recogniser.digits(made.pictures)]
    kinds: dict[str, list[bool]] = {}
    for kind, each in zip(made.kinds, answered, strict=True):
        kinds.setdefault(kind, []).append(each)
    parts = {kind: Part(n=len(those), errors=sum(those)) for kind, those in kinds.items()}
    return Refusal(**facts(name, recogniser), seed=seed, kinds=parts)


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
        for reading in readings:
            records.append(options.record / READINGS, reading)
        for refusal in refusals:
            records.append(options.record / REFUSALS, refusal)
    print(readings_table(readings))
    if refusals:
        print(refusals_table(refusals))
    dumped = {
        "readings": [each.model_dump(mode="json") for each in readings],
        "refusals": [each.model_dump(mode="json") for each in refusals],
    }
    print(json.dumps(dumped))


if __name__ == "__main__":
    main()
