"""The whole road in one command: the best data at hand, the default recipe, a score, a report, and where to go next."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data import load, names
from tenfold.errors import SourceError
from tenfold.evaluate import evaluate
from tenfold.runs.scoring import Evaluation
from tenfold.train import Trained, train

RECIPE = "fast"
FOLDER = Path("runs", "quickstart")
OUT = typer.Option("--out", metavar="FOLDER", help="Folder for the run [default: runs/quickstart].")
DOWNLOAD_SECONDS = 20.0  # for MNIST's 11 MB; who has a slower line starts with the UCI digits


@dataclass(frozen=True)
class Quickstarted:
    """What the road led to: the data that was taken, and what `train` and `evaluate` returned.

    After Ctrl-C status is "interrupted", report and evaluate are None, and the run can be resumed.
    """

    data: str
    status: str
    run: str
    train: Trained
    report: str | None
    evaluate: Evaluation | None


def quickstart(
    out: Annotated[str | Path | None, OUT] = None,
    *,
    quiet: Annotated[bool, options.QUIET] = False,
) -> Quickstarted:
    """Return what training and scoring the default recipe on the best data at hand came to.

    Takes MNIST where it is on this machine or downloads in 20 s, and otherwise the UCI digits that scikit-learn
    carries. out: `runs/quickstart` where not given, numbered where that is taken.
    """
    console = PlainConsole(quiet=quiet, soft_wrap=True)
    name = choose_data(console)
    folder = free_folder(FOLDER) if out is None else Path(out)
    trained = train(RECIPE, f"{name}:train", folder, quiet=quiet)
    if trained.status == "interrupted":
        return Quickstarted(name, trained.status, trained.run, trained, None, None)
    scored = evaluate(folder, f"{name}:test", quiet=quiet)
    steps = [
        (f"tenfold explore --data {name}", "see what is in the data"),
        (f"tenfold train strong --data {name}", "take longer, err less"),
        ("tenfold train --data digit-recognizer.zip", "train on Kaggle's files, or your own"),
        (f"tenfold submit {folder} --data FILE --out answers.csv", "answer images without labels"),
    ]
    if name != "mnist":
        steps.insert(0, ("tenfold train --data mnist", "train on all of MNIST, once there is a network"))
    width = max(len(command) for command, _ in steps)
    console.print("\n".join([f"Run: {folder}", "Next:", *(f"  {command:{width}}  {why}" for command, why in steps)]))
    return Quickstarted(name, trained.status, trained.run, trained, scored.report, scored)


def choose_data(console: PlainConsole) -> str:
    """Return `mnist`, or `uci` after saying why where MNIST is not to be had."""
    if names.available("mnist"):
        return "mnist"
    try:
        with console.working("Downloading MNIST"):
            load("mnist", "train", deadline=DOWNLOAD_SECONDS)
    except SourceError:
        console.print(
            "MNIST is not on this machine and could not be downloaded, so this trains on the 1,797 small digits of UCI."
        )
        return "uci"
    return "mnist"


def free_folder(folder: Path) -> Path:
    """Return the folder, or the first of FOLDER-2, FOLDER-3, ... that does not exist."""
    numbered = (folder if n == 1 else folder.with_name(f"{folder.name}-{n}") for n in count(1))
    return next(path for path in numbered if not path.exists())
