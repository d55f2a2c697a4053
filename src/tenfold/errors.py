"""Every error that Tenfold raises on purpose, and how a message is worded.

    TenfoldError
    ├── DataError: SourceError; InputError, a ValueError and a TypeError too (runs/estimator.py)
    └── RecipeError, RunError, ModelError, ExportError, TrainingError, ClusterError, MissingExtraError, UsageError

A message is one line: what went wrong, the offending value in quotes, what to do about it. The command line
prints it as `Error: ...` and exits with 1; a traceback appears with `--debug` alone.
"""

import difflib
import errno
import re
from collections.abc import Iterable
from os import PathLike

# What to do about a system's reason not to write.
REMEDIES = {
    errno.ENOSPC: "Free some space there, and run the same again.",
    errno.EDQUOT: "Delete what your account no longer needs there, and run the same again.",
    errno.EROFS: "Give a place on a drive that can be written to.",
    errno.EACCES: "Give yourself the right to write there, or give another place.",
    errno.EPERM: "Give yourself the right to write there, or give another place.",
}
# What the extra "train" brings.
TRAINING = ("torch", "safetensors", "sklearn", "xgboost", "optuna", "onnx", "skl2onnx", "scipy")

# How libraries say it: NumPy, PyTorch, onnxruntime and XGBoost, OpenCV, the loader of libraries.
NO_MEMORY = re.compile(
    r"allocat\w* .{0,20}memory|bad.?alloc|(insufficient|out of|not enough) memory|failed to map", re.I
)
# Control characters but line ends and tabs, marks that turn the direction of text, and halves of surrogate pairs, which
# stand in a name for bytes that are no text.
UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class TenfoldError(Exception):
    """The base of every error that a user can cause and mend."""


class DataError(TenfoldError):
    """Input that cannot be read as digits; the message names the row or byte where it goes wrong."""


class SourceError(DataError):
    """A named data set that is neither on this machine nor could be downloaded."""


class RecipeError(TenfoldError):
    """A recipe that is unknown, does not parse, or holds an unknown key or a value out of range."""


class RunError(TenfoldError):
    """A folder that is not a run, or a run that lacks what the command needs."""


class ModelError(TenfoldError):
    """A model file that is refused, or a model that cannot do what is asked of it."""


class ExportError(TenfoldError):
    """A run that cannot be exported as asked, or an exported graph that does not answer as its run does."""


class TrainingError(TenfoldError):
    """Training that cannot go on, such as a loss that is no longer finite."""


class ClusterError(TenfoldError):
    """A place to compute that is unknown, or a cluster that is not there or cannot be used."""


class UsageError(TenfoldError):
    """Arguments that do not go together, or one that is missing; the command line exits with 2."""


class MissingExtraError(TenfoldError):
    """A dependency that an extra brings is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed. Run: pip install 'tenfold[{extra}]'")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'X'?" for the known word most like `word`, or "" when none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""


def remedy(error: OSError, otherwise: str) -> str:
    """Return what to do where something could not be written; `otherwise` where the system's reason says nothing."""
    return REMEDIES.get(error.errno or 0, otherwise)


def unwritten(path: "str | PathLike[str]", error: OSError, otherwise: str) -> str:
    """Return the message for a file or folder that could not be written."""
    return f"'{path}' cannot be written: {error.strerror or error}. {remedy(error, otherwise)}"


def expected(error: Exception) -> str | None:
    """Return what an error, of ours or of a library, tells a user to do; None where nobody foresaw it."""
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
    return None


def printable(text: str) -> str:
    """Return text from outside as any terminal, page or file takes it: what acts, or is no text, escaped ("\\x1b")."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)
