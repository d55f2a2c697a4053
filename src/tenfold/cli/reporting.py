"""How a verb's result, or what went wrong, reaches the user: stdout for JSON alone, stderr for people, an exit code."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from tenfold.errors import UsageError, expected, printable, unwritten

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


@contextmanager
def reporting(as_json: bool, debug: bool) -> Iterator[Callable[[Any], None]]:
    """Give a function for the verb's result; turn whatever goes wrong into one line and an exit code.

    A result is a frozen dataclass. Where it has a `problem` that is not None, that line is printed and the code is 1;
    where its `status` is "interrupted", the code is 130. What people read goes to stderr; stdout has the JSON alone, of
    its fields or what its `json` is, or without --json the `lines` that a result has.
    """

    def show(content: Any) -> None:
        if as_json:
            answer(json.dumps(content, allow_nan=False, default=str))

    def finish(result: Any) -> None:
        fields = dataclasses.asdict(result) if dataclasses.is_dataclass(result) else result  # type: ignore[arg-type]
        show(getattr(result, "json", fields))
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
    advice = "This is unexpected: run it again with --debug, and report what it shows."
    return expected(error) or f"{type(error).__name__}: {error}. {advice}"
