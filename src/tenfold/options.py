"""The options that several verbs share, each declared once: a verb's signature is its command line."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import typer

from tenfold.data import Purpose, locate
from tenfold.errors import DataError, UsageError
from tenfold.files import refuse_inputs

MOST_SEED = 2**64 - 1  # that PyTorch takes

DATA_HELP = (
    "A name (mnist, mnist:test, kaggle:test, uci) or a path (Kaggle zip or CSV, IDX, NPZ, a folder for each digit)."
)
MODEL_HELP = "a file that 'tenfold export' wrote, shipped or tiny."

DATA = typer.Option("--data", metavar="DATA", help=DATA_HELP)
SETS = typer.Option("--data", metavar="DATA", help=f"{DATA_HELP} More than once: merged.")
RUN = typer.Argument(metavar="RUN", help="A folder that 'tenfold train' or 'tenfold ensemble' wrote.")
SYSTEM = typer.Argument(metavar="SYSTEM", help=f"A run's folder, an ensemble's, or {MODEL_HELP}")
MAX_ERROR = typer.Option("--max-error", metavar="P", help="Answer so that at most this share is wrong, 95% certain.")
THRESHOLD = typer.Option("--threshold", metavar="T", help="Answer from this confidence on [default: the system's own].")
MIN_CONFIDENCE = typer.Option(
    "--threshold", "--min-confidence", metavar="T", help="Answer from this confidence on [default: the system's own]."
)
OVERRIDES = typer.Option("--set", metavar="KEY=VALUE", help="Override the recipe: training.epochs=2. May be repeated.")
SPLIT = typer.Option(
    "--split", metavar="HOW", help="Hold out images at random, or all of a writer's: writers [default: the recipe's]."
)
BY = typer.Option("--split", metavar="HOW", help="writers: tell the score by who wrote the images too.")
SUBSET = typer.Option("--subset", metavar="N", min=1, help="Train on so many images, chosen stratified.")
DEDUPLICATE = typer.Option("--deduplicate", help="Omit later copies of an image, equal or nearly equal.")
LABELS = typer.Option("--labels", metavar="FILE", help="Change labels as this file of 'tenfold audit' decides.")
SEED = typer.Option(
    "--seed", metavar="N", min=0, max=MOST_SEED, help="Seed of everything random [default: the recipe's]."
)
FORCE = typer.Option("--force", help="Replace a file that is there.")
MAX_SECONDS = typer.Option("--max-seconds", metavar="S", min=0.001, help="End with a usable result after so long.")
DEVICE = typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or mps.")
THREADS = typer.Option("--threads", metavar="N", min=1, max=1024, help="Processor threads [default: all].")
WORKERS = typer.Option("--workers", metavar="W", min=1, help="So many side by side, each with its share of the cores.")
ON = typer.Option("--on", metavar="PLACE", help="Where: local, ray (a cluster here, meanwhile) or ray://HOST:PORT.")
RECORD = typer.Option("--record", metavar="FILE", help="Append the results to this .jsonl file.")
MARKDOWN = typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown too.")
QUIET = typer.Option("--quiet", help="Print nothing but errors.")


def split_by(how: str | None) -> list[str]:
    """Return the override that `--split HOW` stands for; UsageError for another word."""
    if how not in (None, "random", "writers"):
        raise UsageError(f"'--split {how}' is no way to split. Give random or writers.")
    return [] if how is None else [f"data.split={how}"]


def by_writers(how: str | None) -> bool:
    """Return True for `--split writers`; UsageError for what is no way to split."""
    return bool(split_by(how)) and how == "writers"


def check_target(
    out: str | Path | None,
    specs: Sequence[str | None],
    purpose: Purpose,
    others: Iterable[str | Path] = (),
    option: str = "--out",
) -> None:
    """Raise TenfoldError where a verb would write over data, by name or path, or over what else it reads."""
    if out is not None:
        inputs: list[str | Path | None] = [*specs, *others]
        for spec in specs:
            with suppress(DataError):  # what is not there is said where it is read
                inputs.append(None if spec is None else locate(spec, purpose))
        refuse_inputs(Path(out), inputs, option)
