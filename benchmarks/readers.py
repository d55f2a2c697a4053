"""Programs that read digits in pictures, all asked alike: Tenfold, RapidOCR and Tesseract.

The rivals are general readers of text, taken as they come, and only the digits of their answers count. Where one is not
installed, that is said and its column left out.
"""

import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reading_sets import LARGE, Sample  # beside this file

from tenfold.errors import DataError
from tenfold.runtime.reader import Reader

SCRIPT = Path(__file__).with_name("rapidocr_reads.py")
MODES = ("6", "11")  # of Tesseract, for a page: one block of text; text anywhere
SECONDS = 60  # for one picture: Tesseract takes minutes over noise, and is then taken to have read nothing
LARGE_THREADS = 2


@dataclass(frozen=True)
class Answer:
    """The digits read of a picture.

    text: all of them. answered: without those that it abstained from. whole: it abstained from none. confidence: of
    the least sure part, 0 where nothing was read.
    """

    text: str
    answered: str
    whole: bool
    confidence: float
    seconds: float
    cpu_seconds: float


def threads_of(sample: Sample) -> int:
    """Return how many threads a picture is read with: one, but two for the large one."""
    return LARGE_THREADS if sample.group == LARGE else 1


def digits_of(text: str) -> str:
    """Return the digits of a text."""
    return "".join(each for each in text if each in "0123456789")


def tenfold(model: str | Path | None, samples: Sequence[Sample]) -> list[Answer]:
    """Return what Tenfold reads, the picture's file opened anew each time."""
    readers = {threads: Reader.load(model, threads=threads) for threads in {threads_of(each) for each in samples}}
    answers = []
    for sample in samples:
        reader = readers[threads_of(sample)]
        if not answers:
            reader.read(sample.path, line=sample.line)  # the first is slower
        began, used = time.perf_counter(), time.process_time()
        numbers = reader.read(sample.path, line=sample.line).numbers
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
        text = "".join(each.text for each in numbers)
        answered = "".join(each.text for each in numbers if not each.abstained)
        least = min((each.confidence for each in numbers), default=0.0)
        whole = bool(numbers) and not any(each.abstained for each in numbers)
        answers.append(Answer(text, answered, whole, least, seconds, cpu_seconds))
    return answers


def rapidocr(python: str, samples: Sequence[Sample]) -> tuple[str, list[Answer]] | None:
    """Return RapidOCR's version, and what it reads; None where this Python does not have it."""
    version, found = "", dict[int, Answer]()
    for threads in sorted({threads_of(each) for each in samples}):
        places = [place for place, each in enumerate(samples) if threads_of(each) == threads]
        files = json.dumps([[str(samples[place].path), samples[place].line] for place in places])
        command = [python, str(SCRIPT), str(threads)]
        try:
            done = subprocess.run(
                command, input=files, capture_output=True, text=True, check=False, env=_environment(threads)
            )
        except OSError as error:
            print(f"No RapidOCR: '{python}' cannot be run ({error.strerror}).", file=sys.stderr)
            return None
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode and not lines:
            print(f"No RapidOCR in '{python}': {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            return None
        if len(lines) != len(places) + 1:
            raise DataError(f"RapidOCR read '{len(lines) - 1}' of {len(places)} pictures: {done.stderr[-300:]}")
        version = lines[0]["version"]
        for place, line in zip(places, lines[1:], strict=True):
            text = digits_of(line["text"])
            sure = line["confidence"] if text else 0.0
            found[place] = Answer(text, text, bool(text), sure, line["seconds"], line["cpu_seconds"])
    return version, [found[place] for place in range(len(samples))]


def tesseract(mode: str, samples: Sequence[Sample]) -> list[Answer]:
    """Return what Tesseract reads: a line by mode 7, of digits alone, and a page by the given mode."""
    answers = []
    for sample in samples:
        began, used = time.perf_counter(), _children()
        command = ["tesseract", str(sample.path), "stdout", "--psm", "7" if sample.line else mode]
        if sample.line:
            command += ["-c", "tessedit_char_whitelist=0123456789"]
        environment = _environment(threads_of(sample))
        try:
            done = subprocess.run(
                [*command, "tsv"], capture_output=True, text=True, check=False, env=environment, timeout=SECONDS
            )
            words = list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t", quoting=csv.QUOTE_NONE))
        except subprocess.TimeoutExpired:
            words = []
        with_digits = [each for each in words if digits_of(each["text"] or "")]
        text = "".join(digits_of(each["text"]) for each in with_digits)
        least = min((float(each["conf"]) / 100 for each in with_digits), default=0.0)
        seconds, cpu_seconds = time.perf_counter() - began, _children() - used
        answers.append(Answer(text, text, bool(text), least, seconds, cpu_seconds))
    return answers


def tesseract_version() -> str | None:
    """Return the version of the Tesseract that is installed; None, said on stderr, where there is none."""
    if shutil.which("tesseract") is None:
        print("No Tesseract: 'tesseract' is not on the path.", file=sys.stderr)
        return None
    done = subprocess.run(["tesseract", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment(threads: int) -> dict[str, str]:
    some = {"OMP_NUM_THREADS": str(threads), "OMP_THREAD_LIMIT": str(threads)}
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return kept | some


def edits(truth: str, text: str) -> int:
    """Return how many digits have to be put in, left out or changed to make one text of another.

    Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals" (1966).
    """
    row = list(range(len(text) + 1))
    for number, wanted in enumerate(truth, start=1):
        before, row[0] = row[0], number
        for place, have in enumerate(text, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (wanted != have))
    return row[-1]


def wrong_digits(sample: Sample, text: str) -> int:
    """Return the edits between a picture's digits and those read; of one without an order, in any order."""
    if sample.any_order:
        short, long = Counter(sample.truth), Counter(text)
        return max((short - long).total(), (long - short).total())
    return edits(sample.truth, text)
