"""Strangers' files, each made from (kind, seed, number) alone, and what is done with them, one after another.

    python benchmarks/mutants.py FOLDER KIND SEED FIRST LAST       # what faults.py starts: a line of JSON of each

FOLDER holds the originals that `faults.py` made. One mutant at a time lies in its folder `work`.
"""

import copy
import gzip
import io
import json
import os
import random
import shutil
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_decode import mutated, pictures  # beside this file

from tenfold.cli.reporting import explain
from tenfold.data import load
from tenfold.errors import TenfoldError
from tenfold.files import npz
from tenfold.runtime.model_file import model_path

ROOM = 1 << 30  # bytes of memory that judging one file may take
NUMBERS = (-1, 0, 1, 25, 2**31, 2**63, -(2**63), 1e308, -1e-300, 10**30)
ABSURD = (*NUMBERS, None, True, "x", "", "../x", [], {}, [[]], "9" * 99)
HOSTILE = [
    "ConstantOfShape",
    "Expand",
    "Tile",
    "Loop",
    "Div",
    "MatMul",
    "Resize",
    "Pad",
    "OneHot",
    "Dropout",
    "If",
    "Range",
]


def data_files(folder: Path) -> list[tuple[str, bytes]]:
    """Return a small file of every kind that data come in."""
    digits = load("uci:test", "evaluate").take(np.arange(12))
    pixels = digits.images.reshape(12, -1)
    head = ",".join(["label", *(f"pixel{number}" for number in range(784))])
    rows = [",".join(map(str, [label, *row])) for label, row in zip(digits.labels, pixels.tolist(), strict=True)]
    csv = "\n".join([head, *rows]).encode()
    idx = b"\0\0\x08\x03" + np.array(digits.images.shape, ">u4").tobytes() + digits.images.tobytes()
    array = io.BytesIO()
    np.save(array, digits.images)
    arrays = {"X": digits.images, "y": digits.labels}
    return [
        ("d.csv", csv),
        ("d.csv.gz", gzip.compress(csv, mtime=0)),
        ("train-images-idx3-ubyte", idx),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx, mtime=0)),
        ("d.npz", npz(arrays, compress=False)),
        ("c.npz", npz(arrays)),
        ("f.npz", npz({"x_train": digits.images / 255, "y_train": np.eye(10)[digits.labels]}, compress=False)),
        ("d.npy", array.getvalue()),
        ("d.zip", zipped({"train.csv": csv, "test.csv": csv})),
        ("p.zip", zipped({f"{number % 10}/{number}.png": file for number, file in enumerate(pictures()[:20])})),
    ]


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a zip of files by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def changed(value: Any, generator: random.Random) -> Any:
    """Return JSON in which one place is gone, absurd, doubled or cut short; text that is JSON is changed inside."""
    if isinstance(value, str) and value[:1] in "{[" and value:
        with suppress(ValueError):
            return json.dumps(changed(json.loads(value), generator))
    if isinstance(value, dict | list) and value and generator.random() < 0.93:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = generator.choice(keys)
        if generator.random() < 0.12:
            value.pop(key)
        elif isinstance(value, list) and generator.random() < 0.1:
            value[:] = value[: generator.randrange(len(value))] if generator.random() < 0.5 else value * 3
        else:
            value[key] = changed(value[key], generator)
        return value
    if isinstance(value, str) and value.lstrip("-").replace(".", "").isdigit() and generator.random() < 0.7:
        return str(generator.choice(NUMBERS))
    return copy.deepcopy(generator.choice(ABSURD))  # else what is changed later would be all of them


def graphs() -> list[bytes]:
    """Return the models that come with Tenfold, the small one several times."""
    return [model_path("tiny").read_bytes()] * 9 + [model_path("world").read_bytes()]


def graph_mutant(content: bytes, generator: random.Random) -> bytes:
    """Return a model with another operator, attribute, size or input somewhere."""
    import onnx

    model = onnx.load_from_string(content)
    node = generator.choice(list(model.graph.node))
    match generator.randrange(5):
        case 0:
            node.op_type = generator.choice(HOSTILE)
        case 1 if node.attribute:
            each = generator.choice(list(node.attribute))
            each.i = generator.choice([-1, 0, 2**31, 2**62])
            each.ints[:] = [generator.choice([-1, 0, 1, 2**31, 2**62]) for _ in each.ints]
        case 2:
            constant = generator.choice(list(model.graph.initializer))
            constant.dims[:] = [generator.choice([0, 1, -1, 2**20, 2**40]) for _ in constant.dims]
        case 3:
            node.input[:] = [generator.choice(list(model.graph.node)).output[0] for _ in node.input]
        case _:
            for _ in range(generator.choice([3, 300])):
                model.graph.node.add().CopyFrom(node)
    return bytes(model.SerializeToString())


class Bench:
    """A folder with the originals that mutants are made of: made once, and read by each process that judges."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, folder / "work"
        self.outside, self.test = folder / "outside", folder / "test.npz"

    def mutant(self, kind: str, seed: int, number: int) -> Path:
        """Make mutant `number` in the empty folder `work`, and return it."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        generator = random.Random(f"{kind} {seed} {number}")
        if kind in ("xgboost", "runs"):
            run = self.place / "run"
            shutil.copytree(self.folder / kind, run)
            (self._trees if kind == "xgboost" else self._damage)(run, generator)
            return run
        if kind == "models":
            if number % 2:
                content = graph_mutant(graphs()[number // 2 % 10], generator)
            else:
                content = mutated(self._cached("models"), seed, number // 2)
            path = self.place / "model.onnx"
        elif kind == "pictures":
            content, path = mutated(self._cached("pictures"), seed, number), self.place / "picture.png"
        else:
            names, files = zip(*self._cached("data"), strict=True)
            name = names[number % len(names)]
            if name.endswith(".gz") and number // len(names) % 2:  # what is inside, packed again
                inside = [gzip.decompress(file) if each.endswith(".gz") else file
                          for each, file in zip(names, files, strict=True)]  # fmt: skip
                content = gzip.compress(mutated(inside, seed, number), mtime=0)
            else:
                content = mutated(list(files), seed, number)
            path = self.place / name
        path.write_bytes(content)
        return path

    def _cached(self, kind: str) -> Any:
        if not hasattr(self, f"_{kind}"):
            make = {"models": graphs, "pictures": pictures, "data": lambda: data_files(self.folder)}[kind]
            setattr(self, f"_{kind}", make())
        return getattr(self, f"_{kind}")

    def _trees(self, run: Path, generator: random.Random) -> None:
        content = (run / "model.onnx").read_bytes()
        for _ in range(generator.randint(1, 3)):
            content = graph_mutant(content, generator)
        (run / "model.onnx").write_bytes(content)

    def _damage(self, run: Path, generator: random.Random) -> None:
        """Damage one to three of a run's files."""
        for _ in range(generator.randint(1, 3)):
            path = generator.choice(sorted(file for file in run.rglob("*") if file.is_file() or file.is_symlink()))
            how = generator.randrange(8)
            if how < 4 and path.suffix in (".json", ".jsonl") and path.is_file() and not path.is_symlink():
                with suppress(ValueError):  # damaged before
                    lines = [changed(json.loads(line), generator) for line in self._lines(path)]
                    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
            elif how == 4:
                path.unlink()
                os.mkfifo(path)
            elif how in (5, 6):
                path.unlink()
                target = [
                    self.outside / "mine.txt",
                    self.outside / "new",
                    "/dev/zero",
                    "/proc/kmsg",
                    self.outside,
                    path,
                ]
                path.symlink_to(generator.choice(target))
            elif path.is_symlink() or not path.is_file():
                path.unlink()
            elif path.suffix == ".toml":
                text = path.read_text().replace("[8]", "[1000000000]")
                keys = [line for line in text.splitlines() if " = " in line]
                line = generator.choice(keys)
                path.write_text(text.replace(line, f"{line.split(' = ')[0]} = {json.dumps(generator.choice(ABSURD))}"))
            else:
                os.truncate(path, generator.choice([0, path.stat().st_size // 2, 1 << 40]))

    @staticmethod
    def _lines(path: Path) -> list[str]:
        return path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]

    def judge(self, kind: str, path: Path, number: int) -> None:
        """Do with a mutant what its kind is for."""
        images = np.zeros((2, 28, 28), np.uint8)
        images[:, 5:20, 10:13] = 255
        if kind == "data":
            load(str(path), ("train", "evaluate", "explore", "submit")[number % 4])  # type: ignore[arg-type]
        elif kind == "pictures":
            from tenfold.runtime.frames import read_frame

            read_frame(path, path.name)
        elif kind == "models":
            from tenfold.runtime.recogniser import Recogniser

            Recogniser.load(path, threads=1).predict(images)
        elif kind == "xgboost":
            from tenfold.runs.systems import open_system

            open_system(path, threads=1).probabilities(images)
        else:
            from tenfold.evaluate import evaluate

            evaluate(str(path), str(self.test), quiet=True)


def work(folder: Path, kind: str, seed: int, first: int, last: int) -> None:
    """Judge mutants `first` to `last`; print of each, as JSON: number, ending, what was said, and bytes of growth."""
    import resource

    bench, out = Bench(folder), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.chdir(folder)
    if kind in ("xgboost", "runs"):  # so that the libraries' own memory does not count
        bench.judge(kind, folder / kind, 0)
    elif kind == "models":
        bench.judge(kind, model_path("tiny"), 0)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * ROOM, used + 3 * ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last):
        path = bench.mutant(kind, seed, number)
        around, how, said = _around(folder), "answer", ""
        try:
            bench.judge(kind, path, number)
        except TenfoldError as error:
            how, said = "error", str(error)
        except BaseException as error:
            how, said = "unexpected", explain(error) if isinstance(error, Exception) else repr(error)
            how = "large" if "too little memory" in said else how
        if how == "error" and ("\n" in said or len(said) > 1000):
            how = "unexpected"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        how = "outside" if _around(folder) != around else "large" if grown > ROOM else how
        print(json.dumps([number, how, said[:200], grown]), file=out, flush=True)
        if how == "large":
            return


def _around(folder: Path) -> list[tuple[str, int, int]]:
    """Return what lies around the mutant."""
    found = [*folder.iterdir(), *(folder / "outside").iterdir()]
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mode) for path in found if path.name != "work")


def half(file: Path) -> bool:
    """Return True for a file under its final name that is not whole."""
    if not file.is_file() or file.name.startswith(".") or ".part" in file.name:
        return False
    content = file.read_bytes()
    match file.suffix:
        case ".json":
            return not content.rstrip().endswith(b"}")
        case ".npz":
            return not zipfile.is_zipfile(file)
        case ".html":
            return b"</html>" not in content[-100:]
        case ".csv" | ".toml":
            return not content.endswith(b"\n")
    return not content and file.suffix in (".onnx", ".safetensors")


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
