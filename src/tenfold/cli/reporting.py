"""How a verb's result, or what went wrong, reaches the user: stdout for JSON alone, stderr for people, an exit code."""

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from tenfold.errors import REMEDIES, MissingExtraError, TenfoldError, UsageError, printable, remedy, unwritten

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended
# What the extra "train" brings.
TRAINING = ("torch", "safetensors", "sklearn", "xgboost", "optuna", "onnx", "skl2onnx", "scipy")

# How libraries say it: NumPy, PyTorch, onnxruntime and XGBoost, OpenCV, the loader of libraries.
NO_MEMORY = re.compile(
    r"allocat\w* .{0,20}memory|bad.?alloc|(insufficient|out of|not enough) memory|failed to map", re.I
)


@contextmanager
def reporting(as_json: bool, debug: bool) -> Iterator[Callable[[Any], None]]:
    """Give a function for the verb's result; turn whatever goes wrong into one line and an exit code.

    A result is a frozen dataclass. Where it has a `problem` that is not None, that line is printed and the code is 1;
    where its `status` is "interrupted", the code is 130. What people read goes to stderr; stdout has the JSON alone or,
    without --json, the `lines` that a result has.
    """

    def show(content: Any) -> None:
        if as_json:
            answer(json.dumps(content, allow_nan=False, default=str))

    def finish(result: Any) -> None:
        show(dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result)  # type: ignore[arg-type]
        if not as_json and (lines := getattr(result, "lines", None)):
            answer(printable("\n".join(lines)))
        if getattr(result, "status", None) == "interrupted":
            raise typer.Exit(INTERRUPTED)
        if (problem := getattr(result, "problem", None)) is not None:
            print(f"Error: {one_line(problem)}", file=sys.stderr, flush=True)
            raise typer.Exit(1)

    def fail(message: str, code: int = 1) -> NoReturn:
        message = one_line(message)
        print(message if code == INTERRUPTED else f"Error: {message}", file=sys.stderr, flush=True)
        show({"error": message})
        raise typer.Exit(code)

    try:
        yield finish
    except KeyboardInterrupt:
        fail("Interrupted.", INTERRUPTED)
    except (typer.Exit, BrokenPipeError):
        raise
    except UsageError as error:
        fail(str(error), 2)
    except Exception as error:
        if debug:
            raise
        fail(explain(error))


def one_line(message: str) -> str:
    """Return the message as one line of text, whatever was quoted in it."""
    return printable(" ".join(message.split()))


def answer(text: str = "") -> None:
    """Print on stdout, and whatever waits to be printed there; where it takes nothing, that is an error in one line."""
    try:
        print(text, end="\n" if text else "", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where the rest goes when the process ends
        if not isinstance(error, BrokenPipeError):  # who reads no further has read enough
            message = unwritten("stdout", error, "Send it elsewhere.")
            print(f"Error: {message}", file=sys.stderr, flush=True)
        raise typer.Exit(1) from None


def explain(error: Exception) -> str:
    """Return the one line that tells a user what went wrong and what to do."""
    if isinstance(error, TenfoldError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in TRAINING:
        return str(MissingExtraError(f"'{error.name}'", "train"))
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or NO_MEMORY.search(said):
        return f"There is too little memory: '{said[:100]}'. Give fewer images or threads, or free some."
    if isinstance(error, FileNotFoundError) and not error.filename and "temporary directory" in said:
        return f"No folder takes temporary files: '{said[:200]}'. Name one that can be written in TMPDIR."
    if isinstance(error, OSError) and (error.filename or error.errno in REMEDIES):
        advice = remedy(error, "Check the path, its permissions and the free space.")
        return f"{error.strerror}: '{error.filename or 'a file'}'. {advice}"
    return f"{said}. This is unexpected: run it again with --debug, and report what it shows."
