"""What the tests of `tenfold.jobs` have worker processes do. Not a test: workers import it by name."""

import errno
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.errors import DataError


def product(seed: int) -> dict[str, Any]:
    """Return figures that depend on the order in which threads add up, and how many threads there are."""
    from threadpoolctl import threadpool_info

    random = np.random.default_rng(seed)
    left, right = random.normal(size=(2, 300, 300))
    return {
        "sum": float((left @ right).sum()),
        "least": float(np.linalg.svd(left, compute_uv=False)[-1]),
        "threads": max(library["num_threads"] for library in threadpool_info()),
    }


def where() -> dict[str, Any]:
    """Return who does the work; what a task prints is not for stdout."""
    print("printed by a task")
    return {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}


def killed_once(folder: str, seed: int) -> dict[str, Any]:
    """Return the product, but kill the own process at the first attempt."""
    mark = Path(folder) / f"killed-{seed}"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return product(seed)


def killed_always(folder: str) -> dict[str, Any]:
    """Leave one more line in a file, and kill the own process."""
    with (Path(folder) / "attempts").open("a") as file:
        file.write("begun\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def waits_to_be_killed(folder: str, seed: int) -> dict[str, Any]:
    """Return the product; at the first attempt wait for ever, once the own process id is told."""
    if not (mark := Path(folder) / "pid").exists():
        mark.write_text(str(os.getpid()))
        with (Path(folder) / "pipe").open("rb") as pipe:  # goes on when the test opens the other end
            pipe.read()
    return product(seed)


def waits_for_ever(folder: str) -> dict[str, Any]:
    """Wait on a pipe that nobody writes to, once the own process id is told."""
    (Path(folder) / "waiting").write_text(str(os.getpid()))
    with (Path(folder) / "pipe").open("rb") as pipe:
        pipe.read()
    return {}


def refuses(value: str) -> dict[str, Any]:
    """Raise the error of a user's mistake."""
    raise DataError(f"'{value}' is no data. Give some.")


def breaks() -> dict[str, Any]:
    """Raise an error that is nobody's but ours."""
    return {"value": {}["missing"]}


def finds_no_room() -> dict[str, Any]:
    """Raise what a write to a full disk raises."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")


def far(number: int, folder: str) -> dict[str, Any]:
    """Say that a quarter is done, or three, until that was read."""
    from tenfold import progress

    with progress.steps(4) as step:
        step(1 + 2 * number)
        while not (Path(folder) / f"seen-{number}").exists():
            pass
    return {}
