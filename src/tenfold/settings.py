"""The only reader of environment variables: folders and threads."""

import os
import sys
from pathlib import Path


def data_folder() -> Path | None:
    """Return the folder that `TENFOLD_DATA` names, where named data sets are looked for first, or None."""
    value = os.environ.get("TENFOLD_DATA")
    return Path(value).expanduser() if value else None


def cache_folder() -> Path:
    """Return the folder for downloads and parsed data: `TENFOLD_CACHE`, or the user's cache folder."""
    value = os.environ.get("TENFOLD_CACHE")
    if value:
        return Path(value).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tenfold"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tenfold"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tenfold"


def offline() -> bool:
    """Return True where `TENFOLD_OFFLINE` asks that nothing be downloaded."""
    return os.environ.get("TENFOLD_OFFLINE", "").lower() in ("1", "true", "yes")


def threads() -> int:
    """Return how many processors this process may use, bounded by its affinity and its container's CPU quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _container_quota()
    return max(1, min(count, quota)) if quota else max(1, count)


def _container_quota() -> int | None:
    """Return the whole CPUs of the cgroup v2 quota (`cpu.max`: "quota period"), or None where there is none."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return None
