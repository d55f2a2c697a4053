"""The only reader of environment variables: folders and threads."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tenfold.errors import TenfoldError

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def data_folder() -> Path | None:
    """Return the folder that `TENFOLD_DATA` names, where named data sets are looked for first, or None."""
    value = os.environ.get("TENFOLD_DATA")
    return expanded(value) if value else None


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder in the place of "~"; TenfoldError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise TenfoldError(
            f"'{path}' is in a home folder, and there is none. Set HOME, or name whole paths (TENFOLD_CACHE)."
        ) from None


def cache_folder() -> Path:
    """Return the folder for downloads and parsed data: `TENFOLD_CACHE`, or the user's cache folder."""
    value = os.environ.get("TENFOLD_CACHE")
    if value:
        return expanded(value)
    if sys.platform == "darwin":
        return expanded("~/Library/Caches/tenfold")
    if sys.platform == "win32":
        return expanded(os.environ.get("LOCALAPPDATA", "~/AppData/Local")) / "tenfold"
    return expanded(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "tenfold"


def offline() -> bool:
    """Return True where `TENFOLD_OFFLINE` asks that nothing be downloaded."""
    return os.environ.get("TENFOLD_OFFLINE", "").lower() in ("1", "true", "yes")


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables meanwhile; put these, all others and the handler of SIGTERM back as they were."""
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def threads() -> int:
    """Return how many processors this process may use, bounded by its affinity and its container's CPU quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, _container_quota() or count)


def _container_quota() -> int | None:
    """Return the whole CPUs that the container's control groups grant, None where they set no limit.

    Every group from this process's own up to the root may set one, and the least counts: cgroup v2's `cpu.max` ("quota
    period"), v1's `cpu.cfs_quota_us` (-1: none) and `cpu.cfs_period_us`. Within a container the group's path may be
    one of the host's, which is not there; the root, which is the container's own group then, is read in any case.
    """
    quotas: list[float] = []
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in ("0::/", "1:cpu:/", *lines):
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = PurePosixPath(path.lstrip("/"))
        for root in {CGROUPS / controllers, CGROUPS / "cpu" if controllers else CGROUPS}:
            quotas += [quota for each in (group, *group.parents) if (quota := _quota(root / each))]
    return max(1, round(min(quotas))) if quotas else None


def _quota(group: Path) -> float | None:
    """Return the CPUs that one control group grants, v2 or v1; None where it sets no limit or is not there."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return int(quota) / int(period) if quota not in ("max", "-1") and int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError):
        return None
