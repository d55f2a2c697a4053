"""How results and errors reach the user where stdout is full, or can show ASCII alone."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold.cli.reporting import explain

NO_TERMINAL = {"LC_ALL": "C", "PYTHONUTF8": "0"}


def tenfold(*words: str, stdout: int = subprocess.PIPE, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "tenfold", *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=os.environ | environment, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("words", [("--version",), ("train", "--list"), ("explore", "--data", "none", "--json")])
def test_a_full_stdout_is_one_line(words: tuple[str, ...]) -> None:
    """Whatever would go to a full disk ends in exit code 1 and an error that says so, without a traceback."""
    full = os.open("/dev/full", os.O_WRONLY)
    done = tenfold(*words, stdout=full)
    os.close(full)
    assert done.returncode == 1
    assert (
        done.stderr.decode().splitlines()[-1].startswith("Error: 'stdout' cannot be written: No space left on device")
    )
    assert b"Traceback" not in done.stderr


def test_what_is_no_ascii_is_shown_in_escapes() -> None:
    """In a locale of ASCII alone, names that are no text and sentences with other letters do not end in an error."""
    done = tenfold("explore", "--data", "zwölf\udcff\x1b", "--json", **NO_TERMINAL)
    assert done.returncode == 1
    assert b"\\udcc3\\udcb6lf\\udcff\\x1b" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "Free some space"), (errno.EDQUOT, "Delete what your account"), (errno.EROFS, "can be written to"),
     (errno.EACCES, "Give yourself the right"), (errno.ENOENT, "Check the path")],
)  # fmt: skip
def test_each_reason_has_its_advice(number: int, words: str) -> None:
    """A full disk, a quota, a read-only drive and missing rights are told apart."""
    assert words in explain(OSError(number, os.strerror(number), "file"))
