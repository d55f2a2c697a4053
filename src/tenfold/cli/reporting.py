"""How a verb's result, or what went wrong, reaches the user: stdout for JSON alone, stderr for people, an exit code."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from tenfold.errors import MissingExtraError, TenfoldError

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended
TRAINING = ("torch", "safetensors", "sklearn", "matplotlib", "xgboost", "optuna", "onnx", "skl2onnx", "scipy")
EXTRAS = dict.fromkeys(TRAINING, "train")  # the extra that brings a library


@contextmanager
def reporting(context: typer.Context, as_json: bool, debug: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function for the verb's result; turn whatever goes wrong into one line and an exit code.

    What people read goes to stderr; stdout is for the JSON alone.
    """

    def finish(result: dict[str, Any]) -> None:
        if as_json:
            import json

            print(json.dumps(result, allow_nan=False), flush=True)
        if result.get("status") == "interrupted":
            raise typer.Exit(INTERRUPTED)

    def fail(message: str, code: int = 1) -> NoReturn:
        message = " ".join(message.split())  # one line, whatever was quoted in it
        print(message if code == INTERRUPTED else f"Error: {message}", file=sys.stderr, flush=True)
        finish({"error": message})
        raise typer.Exit(code)

    try:
        yield finish
    except KeyboardInterrupt:
        fail("Interrupted.", INTERRUPTED)
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:
        if debug or context.obj:
            raise
        fail(explain(error))


def explain(error: Exception) -> str:
    """Return the one line that tells a user what went wrong and what to do."""
    if isinstance(error, TenfoldError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and (extra := EXTRAS.get((error.name or "").partition(".")[0])):
        return str(MissingExtraError(f"'{error.name}'", extra))
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: '{error.filename}'. Check the path, its permissions and the free space."
    return f"{type(error).__name__}: {error}. This is unexpected: run it again with --debug, and report what it shows."
