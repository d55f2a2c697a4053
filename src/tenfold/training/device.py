"""Where and in which precision a network computes, by what the hardware is, never by a clock."""

import ctypes
import functools
import os
import platform
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from tenfold import settings
from tenfold.errors import TrainingError

Precision = Literal["fp32", "bf16"]
# Of a processor that computes in bf16, in torch.cpu.get_capabilities(); on one that only emulates it, a step of a
# convolutional network takes eight to fourteen times as long as in fp32.
BF16_PROCESSORS = ("avx512_bf16", "amx_bf16", "sve_bf16")
LAYOUT = "channels_last"  # of filters in memory: steps of convolutional networks are 3 to 40% shorter in it
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as in glibc's malloc.h


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
    _compute_alone_after_a_fork()
    threads = count or settings.threads()
    torch.set_num_threads(threads)
    return threads


@functools.cache
def _compute_alone_after_a_fork() -> None:
    """Let a fork compute with one thread: OpenMP's others are not in it, and it would wait for them for ever."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


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


def precision_of(wanted: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """Return the precision that a network computes in: the one wanted, or bf16 for "auto" where `device` has it.

    The same hardware always gives the same answer, however busy it is: another precision gives other weights.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return "bf16" if any(able.get(each) for each in BF16_PROCESSORS) else "fp32"


def lay_out(module: nn.Module) -> nn.Module:
    """Return the module with its filters in memory as they are used fastest."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a forward pass runs at that precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def describe(device: torch.device, precision: Precision | None = None) -> dict[str, str | int]:
    """Return what a record says of the machine: processor, cores, threads, device; a network's precision and layout."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    network = {} if precision is None else {"precision": precision, "layout": LAYOUT}
    threads = torch.get_num_threads()
    return {"cpu": processor(), "cores": settings.threads(), "threads": threads, "device": name, **network}


def processor() -> str:
    """Return the processor's name as its system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
