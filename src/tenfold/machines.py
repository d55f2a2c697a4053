"""Where tasks run, and what the machines of a cluster must have in common with this one: versions and folders."""

import importlib.metadata
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tenfold.errors import ClusterError


@dataclass(frozen=True)
class Place:
    """Where tasks run: processes of this machine ("local"), a Ray cluster of its own ("ray"), or one that is there."""

    kind: Literal["local", "ray", "cluster"]
    address: str | None = None

    @classmethod
    def parse(cls, text: "str | None") -> "Place":
        """Return the place that "local" (or None), "ray" or "ray://HOST:PORT" names; ClusterError for anything else."""
        if text is None or text == "local":
            return cls("local")
        if text == "ray":
            return cls("ray")
        found = re.fullmatch(r"ray://([\w.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", text)
        if found is None or not 1 <= int(found[2]) <= 65535:
            raise ClusterError(
                f"--on '{text}' is no place to compute. Give local, ray (a cluster on this machine while it is needed) "
                "or ray://HOST:PORT (a cluster that is there; 10001 is Ray's usual port)."
            )
        return cls("cluster", text)

    @property
    def host_and_port(self) -> tuple[str, int]:
        """What to connect to, of a cluster that is there."""
        assert self.address is not None
        host, _, port = self.address.removeprefix("ray://").rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Machine:
    """What a machine was found to be like.

    versions: of Python and of packages, by name; None where a package is missing. unseen: the folders that it cannot
    use, each with why.
    """

    host: str
    versions: dict[str, str | None]
    unseen: dict[str, str]

    def check(self, address: str) -> None:
        """Raise ClusterError where tasks would fail there, or come to something else than here.

        address: of the cluster, for the message.
        """
        for name, there in self.versions.items():
            here = versions()[name]
            # Two patches of one Python compute the same; of the others not even that is sure.
            same = _minor(there) == _minor(here) if name == "Python" else there == here
            if not same:
                found = f"{name} '{there}'" if there else f"no {name}"
                raise ClusterError(
                    f"Machine '{self.host}' of {address} has {found}, and this one '{here}'. "
                    "Install the same version on every machine."
                )
        for folder, why in self.unseen.items():
            raise ClusterError(
                f"'{folder}' {why} on machine '{self.host}' of {address}. Give a folder that all machines share."
            )


def versions() -> dict[str, str | None]:
    """Return the versions of this machine."""
    import tenfold

    return {
        "Python": platform.python_version(), "ray": importlib.metadata.version("ray"), "tenfold": tenfold.__version__
    }  # fmt: skip


def _minor(version: str | None) -> list[str]:
    return (version or "").split(".")[:2]


def mark(token: str) -> str:
    """Return the name of the file that is put into a shared folder here, to be looked for elsewhere."""
    return f".tenfold-{token}"


def looking() -> Callable[[list[str], str, str], dict[str, Any]]:
    """Return a function (folders, name and content of a file in each) that gives the arguments of its `Machine`.

    It is made here, in a function, and imports what it needs, so that it travels whole: over there Tenfold may be
    missing.
    """

    def look(folders: list[str], name: str, content: str) -> dict[str, Any]:
        import importlib.metadata
        import os
        import platform

        try:
            from tenfold import __version__ as tenfold
        except ImportError:
            tenfold = None  # type: ignore[assignment]
        unseen = {}
        for folder in folders:
            path = os.path.join(folder, name)
            try:
                with open(path) as file:
                    seen = file.read() == content
            except OSError:
                seen = False
            try:
                if seen:
                    with open(f"{path}-{os.getpid()}", "w"):
                        os.unlink(f"{path}-{os.getpid()}")
                else:
                    unseen[folder] = "is not there, or is another folder,"
            except OSError:
                unseen[folder] = "cannot be written"
        versions = {
            "Python": platform.python_version(), "ray": importlib.metadata.version("ray"), "tenfold": tenfold
        }  # fmt: skip
        return {"host": platform.node(), "versions": versions, "unseen": unseen}

    return look
