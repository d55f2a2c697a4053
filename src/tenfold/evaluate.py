"""A run or a model + labelled data -> how well it reads them, how often it abstains, and how wrong it is then."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data import load
from tenfold.data.writers import with_writers
from tenfold.errors import UsageError
from tenfold.pages.page import count, counted, drawn, number, percent, span
from tenfold.pages.report import write_report
from tenfold.runs.scoring import Evaluation, score_system
from tenfold.runs.systems import open_system

MODEL = typer.Option("--model", metavar="MODEL", help=f"In place of SYSTEM: {options.MODEL_HELP}")
TTA = typer.Option("--tta/--no-tta", help="Average over shifts [default: as the recipe says].")


def evaluate(
    system: Annotated[str | Path | None, options.SYSTEM] = None,
    data: Annotated[str | None, options.DATA] = None,
    *,
    model: Annotated[str | Path | None, MODEL] = None,
    max_error: Annotated[float | None, options.MAX_ERROR] = None,
    threshold: Annotated[float | None, options.THRESHOLD] = None,
    tta: Annotated[bool | None, TTA] = None,
    split: Annotated[str | None, options.BY] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    quiet: Annotated[bool, options.QUIET] = False,
) -> Evaluation:
    """Return the score of a system on labelled data, and record the look in the ledger, and in a run's folder.

    system, or model: see `runs.systems.open_system`. split: "writers" adds the score by who wrote the images, with
    intervals that count writers. quiet: otherwise a summary goes to stderr, the overlap with the training data first.
    Raises RunError or ModelError for what is no system, DataError for data that cannot be read or have no labels.
    """
    name = model if system is None else system
    if name is None or (system is not None and model is not None):
        raise UsageError("Give one system: a run's folder, or '--model MODEL'.")
    if data is None:
        raise UsageError("There is no '--data'. Give labelled data, such as --data mnist:test.")
    opened = open_system(name, max_error=max_error, threshold=threshold, device=device)
    opened.shifts(tta)
    console = PlainConsole(quiet=quiet)
    by_writers, digits = options.by_writers(split), load(data, "evaluate")
    digits = with_writers(digits, needed=True) if by_writers else digits
    result = score_system(opened, digits, data, tta=tta, console=console).evaluation
    table = Table.grid(padding=(0, 2))
    for title, value, note in _rows(result):
        table.add_row(Text(title, "dim"), Text(value, "bold"), Text(note))
    console.print()
    console.print(table)
    if opened.run is not None:
        result = replace(result, report=drawn(write_report, opened.run))
        if result.report:
            console.print(f"Report: {result.report}", soft_wrap=True)
        console.next("tenfold", "export", opened.run.path, "--out", "model.onnx")
    return result


def _rows(result: Evaluation) -> list[tuple[str, str, str]]:
    """Return the lines of the summary, the score without the overlap first: title, value, what belongs to it."""

    def among(errors: int, n: int, ci95: Sequence[float] | None) -> str:
        interval = "" if ci95 is None else f", 95% interval {span(ci95)}"
        return f"{counted(errors, 'error')} in {n:,}{interval}"

    overlap, answered, rows = result.overlap, result.answered, []
    if overlap is not None and overlap.exact + overlap.near:
        others, shared = overlap.n_without, result.n - overlap.n_without
        wrong = round(others * (1 - (overlap.accuracy_without or 0)))
        rows += [
            ("without overlap", percent(overlap.accuracy_without), among(wrong, others, overlap.ci95_without)),
            ("overlap alone", percent(overlap.accuracy_on_overlap), counted(shared, "image")),
        ]
    confusions = sorted(
        (-n, true, given) for true, row in enumerate(result.confusion) for given, n in enumerate(row) if true != given
    )
    confused = ", ".join(f"{true} read as {given} ({-n:,})" for n, true, given in confusions[:3] if n)
    reasons = ", ".join(f"{reason} ({times:,})" for reason, times in result.abstentions.items())
    models = counted(result.models_looked, "model")
    writers = [
        (each.kind, percent(each.accuracy), f"{among(each.errors, each.n, each.ci95)}, {each.writers} writers")
        for each in result.written_by or ()
    ]
    return [
        *rows,
        ("accuracy", percent(result.accuracy), among(result.errors, result.n, result.ci95)),
        *writers,
        ("answered", percent(result.coverage), f"confidence of {number(result.threshold)} or more"),
        ("right then", percent(answered.accuracy), among(answered.errors, answered.n, answered.ci95)),
        ("abstained", f"{result.n - answered.n:,}", reasons or "never"),
        ("calibration", percent(result.ece), "expected calibration error"),
        ("NLL", number(result.nll), f"Brier score {number(result.brier)}"),
        ("confused", "", confused or "nothing"),
        ("speed", count(result.images_per_second), "images a second"),
        ("looks", str(result.looks), f"at these data on this machine, by {models}"),
    ]
