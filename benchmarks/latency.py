"""How fast is an exported model: one image from array to prediction, many at once, and the first in a new process?

One image: a (28, 28) uint8 array in the frame through `Recogniser.digits([image])` on one thread; "model" is
onnxruntime's own share of it. Many: images a second through `Recogniser.predict` with each number of threads. Cold:
seconds from a new process's first import of tenfold to its first prediction. Each figure is the median of rounds that
take turns; with --spinning, a thread pool within onnxruntime is measured beside ours. The last line is JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from pydantic import Field
from records import Machine, OfModel, by_place, facts, newest, save  # beside this file

from tenfold import settings
from tenfold.pages.page import table
from tenfold.runtime.model_file import INPUT, model_path, open_model
from tenfold.runtime.recogniser import Recogniser

FILE = "latency.jsonl"  # in the folder of results

COLD = """
import time; start = time.perf_counter()
import sys, numpy, tenfold
frame = numpy.zeros((28, 28), numpy.uint8); frame[4:24, 12:17] = 255
tenfold.Recogniser.load(sys.argv[1]).digits([frame]); print(time.perf_counter() - start)
"""


class Latency(OfModel):
    """One model's times; each is the median of rounds in one quiet run."""

    machine: Machine
    model_bytes: int = Field(ge=1)
    one_image: float = Field(gt=0, description="microseconds from an array in the frame to a Prediction, one thread")
    one_image_p99: float = Field(gt=0, description="what 1% of these exceed")
    model_alone: float = Field(gt=0, description="microseconds of these in onnxruntime")
    images_per_second: dict[str, float] = Field(min_length=1, description="of many images at once, by threads")
    first: float = Field(gt=0, description="seconds from the start of a process's imports to its first prediction")


def block(folder: Path) -> str:
    """Return the Markdown of every model's newest record on each processor."""
    found = newest(folder / FILE, Latency, lambda each: (each.machine.get("cpu"), each.name))
    return by_place(found, lambda each: str(each.machine.get("cpu")), latency_table)


BLOCKS = {"latency": block}


def latency_table(measured: Sequence[Latency]) -> str:
    """Return a Markdown table, a row a model."""
    threads = sorted({key for each in measured for key in each.images_per_second}, key=int)
    head = ["model", "precision", "kB", "one image, µs", "– 1% above", "– in the model"]
    head += [f"images/s, {key} {'thread' if key == '1' else 'threads'}" for key in threads]
    rows = []
    for each in measured:
        speeds = [f"{each.images_per_second[key]:,.0f}" if key in each.images_per_second else "–" for key in threads]
        times = [f"{value:.0f}" for value in (each.one_image, each.one_image_p99, each.model_alone)]
        rows.append(
            [f"`{each.name}`", each.precision, f"{each.model_bytes / 1000:,.0f}", *times, *speeds, f"{each.first:.2f}"]
        )
    return table([*head, "first prediction, s"], rows)


def frames(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return images in the frame, (count, 28, 28) uint8: bars of random widths, slants and strengths."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:28, 0:28]
    images = np.empty((count, 28, 28), np.uint8)
    for image in images:
        slant, width = random.uniform(-0.3, 0.3), random.uniform(1.5, 4)
        bar = (np.abs(columns - 14 - slant * (rows - 14)) < width) & (rows >= 4) & (rows < 24)
        image[:] = bar * random.integers(160, 256)
    return images


def microseconds(call: Callable[[Any], Any], images: Any, calls: int) -> list[float]:
    """Return the microseconds of single calls, each with another image."""
    taken = []
    for number in range(calls):
        image = images[number % len(images)]
        start = time.perf_counter_ns()
        call(image)
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken


def quantiles(taken: list[float]) -> dict[str, float]:
    """Return the median, the 1st and the 99th percentile of microseconds."""
    low, middle, high = np.percentile(taken, [1, 50, 99])
    return {"median_us": round(middle, 2), "p1_us": round(low, 2), "p99_us": round(high, 2), "n": len(taken)}


def one(path: str, rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Return how long one image takes: in all, and within onnxruntime."""
    reader, model = Recogniser.load(path, threads=1), open_model(model_path(path))
    images = frames(64)
    ways: dict[str, Callable[[Any], Any]] = {
        "prediction": lambda image: reader.digits([image]),
        "model": lambda image: model.run(image[None]),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        microseconds(call, images, calls)  # warm
    for _ in range(rounds):
        for name, call in ways.items():
            taken[name] += microseconds(call, images, calls)
    return {name: quantiles(values) for name, values in taken.items()}


def many(readers: dict[str, Callable[[Any], Any]], count: int, rounds: int) -> dict[str, float]:
    """Return images a second of each way, the median of rounds in which they take turns."""
    images = frames(count)
    for call in readers.values():
        call(images[:2048])
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, call in readers.items():
            start = time.perf_counter()
            call(images)
            speeds[name].append(count / (time.perf_counter() - start))
    return {name: round(statistics.median(values), 1) for name, values in speeds.items()}


def pooled(path: str, threads: int, spinning: bool) -> Callable[[Any], Any]:
    """Return a function that runs images in onnxruntime's own thread pool: what the recogniser does not do."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    session = onnxruntime.InferenceSession(model_path(path).read_bytes(), options, providers=["CPUExecutionProvider"])

    def run(images: Any) -> None:
        for start in range(0, len(images), 256):
            session.run(None, {INPUT: images[start : start + 256]})

    return run


def cold(path: str, rounds: int) -> dict[str, float]:
    """Return the seconds to the first prediction of new processes."""
    command = [sys.executable, "-c", COLD, str(model_path(path))]
    taken = [float(subprocess.check_output(command)) for _ in range(rounds)]
    return {"median_s": round(statistics.median(taken), 3), "least_s": round(min(taken), 3), "n": len(taken)}


def record(name: str, path: str, result: dict[str, Any]) -> Latency:
    """Return the record of what was measured."""
    from tenfold.training.device import processor

    return Latency(
        **facts(name, Recogniser.load(path)),
        machine={"cpu": processor(), "cores": result["cores"]},
        model_bytes=model_path(path).stat().st_size,
        one_image=result["one"]["prediction"]["median_us"],
        one_image_p99=result["one"]["prediction"]["p99_us"],
        model_alone=result["one"]["model"]["median_us"],
        images_per_second={
            key.removesuffix("_threads"): speed
            for key, speed in result["images_per_second"].items()
            if key.endswith("_threads")
        },
        first=result["cold"]["median_s"],
    )


def main() -> None:
    """Measure, print, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="shipped", help="a file that 'tenfold export' wrote, shipped or tiny")
    parser.add_argument("--calls", type=int, default=1000, help="of one image, in a round")
    parser.add_argument("--images", type=int, default=16384, help="at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spinning", action="store_true", help="measure onnxruntime's own thread pool too")
    parser.add_argument("--name", help="what the tables call the model [default: its own name]")
    parser.add_argument("--record", type=Path, help="append to this file, such as results/latency.jsonl")
    options = parser.parse_args()
    path, cores = options.model, settings.threads()
    result: dict[str, Any] = {"model": Recogniser.load(path).card.name, "cores": cores}
    result["one"] = one(path, options.rounds, options.calls)
    readers: dict[str, Callable[[Any], Any]] = {
        f"{threads}_threads": Recogniser.load(path, threads=threads).predict for threads in sorted({1, cores})
    }
    if options.spinning:
        for spinning in (False, True):
            call = pooled(path, cores, spinning)
            name = f"pool_{'spinning' if spinning else 'sleeping'}"
            readers[name] = call
            result["one"][name] = quantiles(microseconds(lambda image, run=call: run(image[None]), frames(64), 1000))
    result["images_per_second"] = many(readers, options.images, options.rounds)
    result["cold"] = cold(path, options.rounds)
    for name, figures in result["one"].items():
        print(f"one image, {name}: {figures['median_us']:.0f} us (1% below {figures['p1_us']:.0f}, 1% above "
              f"{figures['p99_us']:.0f})")  # fmt: skip
    for name, speed in result["images_per_second"].items():
        print(f"many images, {name}: {speed:,.0f} images/s")
    print(f"first prediction in a new process: {result['cold']['median_s']:.2f} s")
    if options.record:
        save(options.record, [record(options.name or result["model"], path, result)])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
