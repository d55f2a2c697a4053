"""What strangers' files, kills, full disks and busy machines do to Tenfold: nothing but answers and errors of one line.

    python benchmarks/faults.py --quick                                  # a few of each kind
    python benchmarks/faults.py --record results/faults.jsonl            # a few minutes
    python benchmarks/faults.py --only models=5000,xgboost=2000 --seed 3

Files of five kinds are mutated, each from (kind, seed, number) alone, so that any can be made again (--show).
A process of its own judges many of them; one that dies, or takes over ten seconds, is counted, and the next goes on
behind. The other kinds run the commands: killed or interrupted at random moments, side by side, on a disk that fills
up, beside four busy processes. The last line on stdout is JSON; every fault in it is to be 0.
"""

import argparse
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mutants  # beside this file
import numpy as np
from mutants import Bench, half
from pydantic import Field
from records import NOTHING, Measured, dumped, newest, save, versions

from tenfold.data import load
from tenfold.files import npz
from tenfold.pages.page import table
from tenfold.runs.ledger import read_lines
from tenfold.runs.run import commit

FILE = "faults.jsonl"  # in the folder of results
SECONDS = 10.0  # that judging one file may take
FAULTS = ("died", "unexpected", "slow", "large", "outside", "lost")
COLUMNS = ("dead processes", "unexpected errors", "over 10 s", "over 1 GB", "written outside", "lost or different")
SHOWN = 8  # faults of a kind that are named
TRAIN = ["instant", "--data", "uci:train", "--set", "training.epochs=10", "--threads", "1", "--quiet"]


class Faults(Measured):
    """What came of one kind of fault: how many tries, and how often something else than an answer or an error did."""

    kind: str = Field(min_length=1)
    seed: int = Field(ge=0)
    tries: int = Field(ge=0)
    answers: int = Field(ge=0, description="of mutants that were read all the same")
    faults: dict[str, int]
    named: list[str]
    seconds: float = Field(ge=0)


def block(folder: Path) -> str:
    """Return the Markdown of the newest record of each kind."""
    found = newest(folder / FILE, Faults, lambda record: record.kind)
    return faults_table(found) if found else NOTHING


BLOCKS = {"faults": block}


def faults_table(found: Sequence[Faults]) -> str:
    """Return a Markdown table, a row a kind."""
    rows = [[TITLES[each.kind], f"{each.tries:,}", *(str(each.faults.get(key, 0)) for key in FAULTS)] for each in found]
    return table(["what", "tries", *COLUMNS], rows)


def make(bench: Bench, kinds: Sequence[str]) -> None:
    """Make the originals that these kinds need."""
    bench.outside.mkdir()
    (bench.outside / "mine.txt").write_text("mine")
    test = load("uci:test", "evaluate").take(np.arange(30))
    bench.test.write_bytes(npz({"X": test.images, "y": test.labels}))
    for kind, *words in (
        ("xgboost", "xgboost", "--set", "model.n_estimators=3"),
        ("runs", "instant", "--set", "training.epochs=1"),
    ):
        if kind in kinds:
            tenfold("train", *words, "--data", "uci:train", "--subset", "200", "--quiet", "--out", bench.folder / kind)
    if "runs" in kinds:
        tenfold("evaluate", bench.folder / "runs", "--data", bench.test, "--quiet")


def fuzz(bench: Bench, kind: str, seed: int, count: int) -> tuple[int, Counter[str], list[str]]:
    """Return tries, faults and examples of mutants 0 to `count`."""
    faults: Counter[str] = Counter()
    named: list[str] = []
    number = 0
    while number < count:
        command = [sys.executable, mutants.__file__, bench.folder, kind, str(seed), str(number), str(count)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        begun, ending = False, "died"
        while True:
            if not select.select([process.stdout], [], [], SECONDS if begun else 120)[0]:
                ending = "slow"
                break
            if not (line := process.stdout.readline()):
                break
            begun = True
            number, how, said, grown = json.loads(line)
            number += 1
            faults["answer"] += how == "answer"
            if how in FAULTS:
                faults[how] += 1
                named.append(f"{kind} {number - 1}: {how}, {grown >> 20} MB, {said}")
            if number % 1000 == 0:
                print(f"{kind}: {number:,} of {count:,} {dict(faults)}", file=sys.stderr, flush=True)
        process.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.0 if ending == "slow" else SECONDS)
        process.kill()
        code = process.wait()
        if number < count and (ending == "slow" or code != 0):
            faults[ending] += 1
            named.append(f"{kind} {number}: {ending} ({code})")
            number += 1
    return count, faults, named[:SHOWN]


# -- commands -----------------------------------------------------------------------------------------------------


def start(*words: object, **settings: Any) -> "subprocess.Popen[str]":
    """Start a command."""
    command = [sys.executable, "-m", "tenfold", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def tenfold(*words: object, code: int = 0) -> str:
    """Return what a command said on stderr; raise where it ends with another code."""
    process = start(*words)
    said = process.communicate()[1]
    if process.returncode != code:
        raise RuntimeError(f"'tenfold {' '.join(map(str, words))}' ended with {process.returncode}: {said[-500:]}")
    return said


def weights(run: Path) -> bytes:
    """Return a run's weights."""
    return (run / "weights.safetensors").read_bytes()


def strange(said: str, code: int, codes: Sequence[int]) -> str | None:
    """Return what is wrong with how a command ended; None where it said its one line."""
    if code not in codes:
        return "died"
    return "unexpected" if "unexpected" in said or "Traceback" in said or said.count("Error: ") > 1 else None


Outcome = Iterator[tuple[str | None, str]]  # of each try: a fault, and where


def kills(bench: Bench, generator: random.Random, count: int) -> Outcome:
    """Kill a training, a pool, a search and a reading at random moments; the same call then gives the same."""
    folder, place = bench.folder, bench.place
    verbs = {
        "train": ["train", *TRAIN, "--out", "OUT"],
        "ensemble": ["ensemble", *TRAIN, "--models", "2", "--out", "OUT"],
        "read": ["read", "--data", folder / "many.npz", "--out", "OUT.csv", "--threads", "1", "--quiet"],
        "tune": ["tune", *TRAIN[:3], "--trials", "2", "--seeds", "1", "--subset", "300", "--quiet", "--out", "OUT"],
    }
    (folder / "many.npz").write_bytes(npz({"X": load("uci", "train").images.repeat(20, 0)}))

    def words(verb: str, out: Path) -> list[str]:
        return [str(word).replace("OUT", str(out)) for word in verbs[verb]]

    def result(verb: str, out: Path) -> Any:
        if verb == "read":
            return out.with_suffix(".csv").read_bytes()
        return sorted(path.name for path in out.glob("*.toml")) if verb == "tune" else weights(out)

    whole: dict[str, tuple[Any, float]] = {}
    for number in range(count):
        verb = list(verbs)[number if number < 4 else number % 12 // 3 * (number % 3 == 0)]  # a training most often
        if verb not in whole:
            began = time.monotonic()
            tenfold(*words(verb, folder / verb))
            whole[verb] = result(verb, folder / verb), time.monotonic() - began
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        out, moment = place / "out", generator.uniform(0.1, 1.0) * whole[verb][1]
        process = start(*words(verb, out), start_new_session=True)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        again = ["--resume", out] if verb in ("train", "tune") and out.is_dir() else None
        process = start(*([verb, *again, "--quiet"] if again else words(verb, out)))
        said = process.communicate()[1]
        fault = strange(said, process.returncode, (0,))
        if fault is None and result(verb, out) != whole[verb][0]:
            fault = "lost"
        yield fault, f"{verb} killed after {moment:.2f} s: {said[-200:]}"


def interrupts(bench: Bench, generator: random.Random, count: int) -> Outcome:
    """Ctrl-C at random moments, most of them while libraries load: exit code 130, or 0 where it had ended."""
    for _ in range(count):
        shutil.rmtree(bench.place, ignore_errors=True)
        moment = generator.uniform(0.15, 4)
        process = start("train", *TRAIN[:-1], "--out", bench.place / "run")
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        yield strange(said, process.returncode, (0, 130)), f"after {moment:.2f} s: {process.returncode} {said[-200:]}"


def looks(bench: Bench, generator: random.Random, count: int) -> Outcome:
    """Eight evaluations at once: eight looks in the ledger, and eight scores."""
    run = bench.folder / "scored"
    tenfold("train", *TRAIN, "--out", run)
    for _ in range(count):
        cache = bench.folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        environment = os.environ | {"TENFOLD_CACHE": str(cache)}
        words = ["evaluate", run, "--data", bench.test, "--quiet"]
        processes = [start(*words, env=environment) for _ in range(8)]
        said = [process.communicate()[1] for process in processes]
        lines = read_lines(cache / "ledger.jsonl")
        bad = [strange(text, process.returncode, (0,)) for text, process in zip(said, processes, strict=True)]
        yield (
            next(filter(None, bad), None if len(lines) == 8 else "lost"),
            f"{len(lines)} looks {max(said, key=len)[-200:]}",
        )


def pairs(bench: Bench, generator: random.Random, count: int) -> Outcome:
    """Two trainings, or two readings with other thresholds, into one place: one is done, the other says one line."""
    tenfold("train", *TRAIN, "--out", bench.folder / "alone")
    (bench.folder / "some.npz").write_bytes(npz({"X": load("uci", "train").images.repeat(10, 0)}))
    for number in range(count):
        shutil.rmtree(bench.place, ignore_errors=True)
        bench.place.mkdir()
        out = bench.place / "out"
        read = ["read", "--data", bench.folder / "some.npz", "--out", f"{out}.csv", "--quiet", "--threshold"]
        if number % 2:
            processes = [start(*read, threshold) for threshold in (0.1, 0.9)]
        else:
            processes = [start("train", *TRAIN, "--out", out) for _ in range(2)]
        said = [process.communicate()[1] for process in processes]
        codes = [process.returncode for process in processes]
        fault = next(filter(None, (strange(text, code, (0, 1)) for text, code in zip(said, codes, strict=True))), None)
        if fault is None and number % 2:
            lines = Path(f"{out}.csv").read_bytes()
            fault = "lost" if lines.count(b"\n") != 10 * len(load("uci", "train")) + 1 or b"\0" in lines else None
        elif fault is None and (codes.count(0) != 1 or weights(out) != weights(bench.folder / "alone")):
            fault = "lost"
        yield fault, f"{'read' if number % 2 else 'train'} {codes} {max(said, key=len)[-200:]}"


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """Mount a disk of `size` bytes at `place` meanwhile."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        raise PermissionError("No small disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def disks(bench: Bench, generator: random.Random, count: int) -> Outcome:
    """Every verb that writes, on a disk with too little room: nothing by halves, no look lost, one line."""
    run, disk = bench.folder / "written", bench.folder / "disk"
    tenfold("train", *TRAIN, "--out", run)
    verbs = [
        ["train", *TRAIN, "--out", disk / "run"],
        ["evaluate", disk / "copy", "--data", bench.test, "--quiet", "--json"],
        ["read", "--data", "uci", "--out", disk / "labels.npz", "--quiet"],
        ["submit", run, "--data", bench.test, "--out", disk / "s.csv", "--quiet"],
        ["explore", "--data", bench.test, "--out", disk / "e.html", "--quiet"],
        ["export", run, "--out", disk / "m.onnx", "--data", bench.test, "--quiet"],
        ["ensemble", *TRAIN, "--models", "2", "--out", disk / "pool"],
    ]
    for number in range(count):
        words = verbs[number % len(verbs)]
        used = sum(file.stat().st_size + 8192 for file in run.rglob("*")) if "evaluate" in words else 0
        size = used + int(2 ** generator.uniform(12, 21))
        with small_disk(disk, size):
            if used:
                shutil.copytree(run, disk / "copy", copy_function=shutil.copyfile)
            process = start(*words, env=os.environ | {"TENFOLD_CACHE": str(disk / "cache")})
            out, said = process.communicate()
            fault = strange(said, process.returncode, (0, 1))
            with suppress(ValueError):
                scored = "accuracy" in json.loads((out.splitlines() or [""])[-1])
                ledger = disk / "cache" / "ledger.jsonl"
                if scored and not (ledger.is_file() and ledger.read_text().endswith("\n")):
                    fault = fault or "lost"
            fault = fault or next(("lost" for file in disk.rglob("*") if half(file)), None)
            yield fault, f"{words[0]} on {size} bytes: {process.returncode} {said[-200:]}"


def busy(bench: Bench, generator: random.Random, count: int) -> Outcome:
    """The same recipe and seed beside four busy processes: the same weights."""
    words = ["train", "instant", "--data", "uci:train", "--set", "training.epochs=2", "--quiet", "--out"]
    tenfold(*words, bench.folder / "quiet")
    for number in range(count):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
        try:
            said = tenfold(*words, bench.folder / f"busy-{number}")
        finally:
            for other in others:
                other.kill()
                other.wait()
        same = weights(bench.folder / f"busy-{number}") == weights(bench.folder / "quiet")
        yield None if same else "lost", f"other weights {said[-100:]}"


COMMANDS = {"kills": kills, "interrupts": interrupts, "looks": looks, "pairs": pairs, "disks": disks, "busy": busy}
TITLES = {
    "data": "data files (CSV, IDX, gzip, NPZ, NPY, zip), mutated",
    "pictures": "pictures (PNG, JPEG, WebP, BMP, GIF, TIFF), mutated",
    "models": "model files (ONNX), mutated",
    "xgboost": "XGBoost's trees in a run, mutated",
    "runs": "run folders with pipes, links, wrong types, absurd sizes",
    "kills": "killed at a random moment, then the same call: train, read, ensemble, tune",
    "interrupts": "Ctrl-C at a random moment of a training, most while libraries load",
    "looks": "eight evaluations at once",
    "pairs": "two trainings, or two readings, into one place",
    "disks": "a disk that fills up: train, evaluate, read, submit, explore, export, ensemble",
    "busy": "the same recipe and seed beside four busy processes",
}
COUNTS = {"data": 2000, "pictures": 4000, "models": 1000, "xgboost": 500, "runs": 200, "kills": 12, "interrupts": 12,
          "looks": 1, "pairs": 4, "disks": 14, "busy": 2}  # fmt: skip
QUICK = {"data": 30, "pictures": 40, "models": 20}


def measure(counts: dict[str, int], seed: int) -> Iterator[Faults]:
    """Yield the record of each kind."""
    with tempfile.TemporaryDirectory(prefix="tenfold-faults-") as name:
        bench = Bench(Path(name))
        os.environ |= {"TENFOLD_CACHE": str(bench.folder / "cache"), "TENFOLD_OFFLINE": "1"}
        (bench.folder / "cache").mkdir()
        make(bench, list(counts))
        for kind, count in counts.items():
            began = time.monotonic()
            if kind in COMMANDS:
                faults, named, tries = Counter[str](), [], 0
                for fault, where in COMMANDS[kind](bench, random.Random(f"{kind} {seed}"), count):
                    tries += 1  # noqa: SIM113
                    if fault:
                        faults[fault] += 1
                        named.append(f"{kind} {fault}: {where}")
            else:
                tries, faults, named = fuzz(bench, kind, seed, count)
            seconds = round(time.monotonic() - began, 1)
            print(f"{kind}: {tries:,} tries, {dict(faults) or 'no faults'}, {seconds} s", file=sys.stderr, flush=True)
            counts_of = {key: faults[key] for key in FAULTS}
            yield Faults(commit=commit(), versions=versions("numpy", "onnxruntime"), kind=kind, seed=seed, tries=tries,
                         answers=faults["answer"], faults=counts_of, named=named[:SHOWN], seconds=seconds)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Try every kind, print the table, and record where asked; exit with 1 where there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="KIND=TRIES,...; default: all kinds, a few minutes")
    parser.add_argument("--quick", action="store_true", help="a few mutated files, seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="append to this file, such as results/faults.jsonl")
    parser.add_argument("--show", nargs=2, metavar=("KIND", "NUMBER"), help="leave this mutant in ./mutant")
    options = parser.parse_args(arguments)
    if options.show:
        bench = Bench(Path("mutant").absolute())
        bench.folder.mkdir()
        make(bench, [options.show[0]])
        print(bench.mutant(options.show[0], options.seed, int(options.show[1])))
        return
    counts = QUICK if options.quick else COUNTS
    if options.only:
        counts = {words.partition("=")[0]: int(words.partition("=")[2] or 1) for words in options.only.split(",")}
        if unknown := set(counts) - set(TITLES):
            parser.error(f"'{', '.join(unknown)}' is no kind. Give some of {', '.join(TITLES)}.")
    found = []
    for record in measure(counts, options.seed):
        save(options.record, [record])
        found.append(record)
    for line in (line for record in found for line in record.named):
        print(line, file=sys.stderr)
    print(faults_table(found))
    print(json.dumps({"faults": sum(sum(each.faults.values()) for each in found), "kinds": dumped(found)}))
    sys.exit(any(sum(each.faults.values()) for each in found))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
