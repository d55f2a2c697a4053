"""The ledger: one line for every look at labelled test data on this machine, so that a test set cannot wear out unseen.

A score on a test set that was looked at a hundred times is no longer an honest one, so `evaluate` writes down every
look before it shows the score. The file (`ledger.jsonl` in the cache folder) only grows: each look is one write to a
file opened for appending, which processes at the same time cannot tear; a line that a crash cut short is passed over.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tenfold import settings
from tenfold.errors import TenfoldError


class Look(NamedTuple):
    """One look: which model (by its weights) scored what on which labelled data."""

    time: str  # ISO 8601, UTC
    run: str  # the run's folder
    weights_sha256: str
    data_sha256: str  # Digits.content_hash()
    spec: str  # what the user called the data
    n: int
    accuracy: float


def path() -> Path:
    """Return where the ledger is kept, whether it exists yet or not."""
    return settings.cache_folder() / "ledger.jsonl"


def record(look: Look) -> None:
    """Append one look. Raises TenfoldError where the cache folder cannot be written."""
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        append_line(path(), look._asdict())
    except OSError as error:
        raise TenfoldError(
            f"Cannot write the ledger of looks '{path()}' ({error.strerror}). Name a writable folder in TENFOLD_CACHE."
        ) from error


def looks(data_sha256: str) -> int:
    """Return how often these labelled data were looked at on this machine."""
    return len(_looks_at(data_sha256))


def models(data_sha256: str) -> int:
    """Return how many different models, told apart by their weights, looked at these labelled data."""
    return len({look.get("weights_sha256") for look in _looks_at(data_sha256)})


def append_line(file: Path, entry: Mapping[str, Any]) -> None:
    """Append `entry` as one JSON line in a single write; a line that was cut short before it is closed first."""
    line = json.dumps(entry, allow_nan=False) + "\n"
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    try:
        if _is_torn(descriptor):
            line = "\n" + line
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the JSON objects in a file of JSON lines, oldest first; lines that a crash cut short are passed over."""
    try:
        text = file.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [entry for line in text.split("\n") if (entry := _parse(line)) is not None]


def _looks_at(data_sha256: str) -> list[dict[str, Any]]:
    return [entry for entry in read_lines(path()) if entry.get("data_sha256") == data_sha256]


def _is_torn(descriptor: int) -> bool:
    # Another process's write may show by halves here; then a blank line more is written, which readers pass over.
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if not size:
        return False
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) != b"\n"


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
