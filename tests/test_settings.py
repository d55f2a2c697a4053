"""Threads: as many as the process may really use, in a container too."""

from pathlib import Path

import pytest

from tenfold import settings
from tenfold.errors import TenfoldError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that stands for the machine's /proc and /sys/fs/cgroup, with 64 processors."""
    monkeypatch.setattr(settings, "PROC", tmp_path / "proc")
    monkeypatch.setattr(settings, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(settings.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return tmp_path


def write(machine: Path, files: dict[str, str]) -> None:
    """Write files below the machine's folder."""
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text + "\n")


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/", "cgroup/cpu.max": "max 100000"}, 64),
        ({"proc/self/cgroup": "0::/", "cgroup/cpu.max": "200000 100000"}, 2),
        ({"proc/self/cgroup": "0::/", "cgroup/cpu.max": "10000 100000"}, 1),
        # v2, nested: the group itself sets nothing, its parent does; the least of several counts.
        ({"proc/self/cgroup": "0::/a/b", "cgroup/a/b/cpu.max": "max 100000", "cgroup/a/cpu.max": "300000 100000"}, 3),
        (
            {"proc/self/cgroup": "0::/a/b", "cgroup/a/b/cpu.max": "400000 100000", "cgroup/a/cpu.max": "800000 100000"},
            4,
        ),
        # v2 within a container that sees the host's path.
        ({"proc/self/cgroup": "0::/host/docker/1234", "cgroup/cpu.max": "500000 100000"}, 5),
        # v1, under either name of its folder.
        (
            {
                "proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/a",
                "cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "600000",
                "cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            6,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/host/path\n0::/",
                "cgroup/cpu/cpu.cfs_quota_us": "700000",
                "cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            7,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "cgroup/cpu/cpu.cfs_quota_us": "-1",
                "cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            64,
        ),
        ({"proc/self/cgroup": "0::/", "cgroup/cpu.max": "nonsense"}, 64),
        ({"proc/self/cgroup": "nonsense", "cgroup/cpu.max": "200000 0"}, 64),
    ],
)
def test_container_quota(files: dict[str, str], threads: int, machine: Path) -> None:
    """The least quota of this process's groups bounds the threads, in both versions of control groups."""
    write(machine, files)
    assert settings.threads() == threads


def test_affinity(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is bound to fewer processors than its quota uses these."""
    write(machine, {"cgroup/cpu.max": "800000 100000"})
    monkeypatch.setattr(settings.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert settings.threads() == 3


def test_no_home_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home and an entry among the users, what lies in it is named; what is named whole needs none."""
    monkeypatch.setattr("os.path.expanduser", str)  # as it is where neither is to be had
    monkeypatch.delenv("TENFOLD_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(TenfoldError, match=r"is in a home folder, and there is none. Set HOME, or name whole paths"):
        settings.cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert settings.cache_folder() == Path("/caches/tenfold")
    monkeypatch.setenv("TENFOLD_DATA", "~nobody/x")
    with pytest.raises(TenfoldError, match="'~nobody/x' is in a home folder"):
        settings.data_folder()
