"""Where and in which arithmetic a network runs: the device asked for, and the faster of the arithmetics that it has."""

import copy
import ctypes
import functools
import platform
import time
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold import settings
from tenfold.errors import TrainingError

Precision = Literal["fp32", "bf16"]
Layout = Literal["contiguous", "channels_last"]
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PROBE_STEPS = 3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as in glibc's malloc.h


class Arithmetic(NamedTuple):
    """How a network computes: the precision of its convolutions, and the order of its tensors in memory."""

    precision: Precision
    layout: Layout


# bf16 without channels_last was never the fastest of the four where we measured.
CANDIDATES = (
    Arithmetic("fp32", "contiguous"),
    Arithmetic("fp32", "channels_last"),
    Arithmetic("bf16", "channels_last"),
)


def choose(name: str) -> torch.device:
    """Return the device that `name` asks for ("auto", "cpu", "cuda", "mps"); TrainingError where it is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if not there.get(name.partition(":")[0], False):
        have = ", ".join(kind for kind, yes in there.items() if yes)
        raise TrainingError(f"Device '{name}' is not available here. Give auto or one of: {have}.")
    return torch.device(name)


def use_threads(count: int | None = None) -> int:
    """Set how many threads torch computes with (default: all that this process may use) and return it."""
    _keep_memory()
    threads = count or settings.threads()
    torch.set_num_threads(threads)
    return threads


@functools.cache
def _keep_memory() -> None:
    """Tell glibc's malloc to keep what is freed, as far as it goes; elsewhere do nothing.

    Left alone it gives freed activations back to the system and takes them again, page by page, in the next step: 6 to
    9% of a training step of small convolutional networks.
    """
    library = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if library is not None:
        library.mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def probe(module: nn.Module, batch: Tensor, labels: Tensor) -> Arithmetic:
    """Return the arithmetic in which a training step on `batch` is fastest, timed on copies of `module`.

    bf16 has processors that compute with it (AVX-512 BF16, AMX, every recent GPU) and others that only emulate it, so
    the answer is measured, in a handful of steps, and recorded in the run; a resumed run does not ask again.
    """
    return min(CANDIDATES, key=lambda candidate: _step_seconds(copy.deepcopy(module), batch, labels, candidate))


def lay_out(module: nn.Module, layout: Layout) -> nn.Module:
    """Return the module with its filters in that order in memory."""
    return module.to(memory_format=FORMATS[layout])  # type: ignore[call-overload,no-any-return]


def _step_seconds(module: nn.Module, batch: Tensor, labels: Tensor, arithmetic: Arithmetic) -> float:
    """Return the fastest of a few forward and backward passes, after one that warms up, in seconds."""
    lay_out(module, arithmetic.layout)
    timings = []
    for _ in range(PROBE_STEPS + 1):
        synchronise(batch.device)
        start = time.perf_counter()
        with autocast(batch.device, arithmetic.precision):
            logits = module(batch)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        synchronise(batch.device)
        timings.append(time.perf_counter() - start)
    return min(timings[1:])


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a forward pass runs at that precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def describe(device: torch.device, arithmetic: Arithmetic) -> dict[str, str | int]:
    """Return what a record says of the machine: processor, cores, threads, device, precision."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "cpu": processor(),
        "cores": settings.threads(),
        "threads": torch.get_num_threads(),
        "device": name,
        **arithmetic._asdict(),
    }


def processor() -> str:
    """Return the processor's name as its system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
