"""The commands that score runs, compare them and answer with them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tenfold.cli.options import DATA, Data, Debug, Device, Json, On, Quiet, RunFolder
from tenfold.cli.reporting import reporting


def evaluate(
    context: typer.Context,
    data: Data,
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A folder that 'tenfold train' wrote, or an exported model.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="In place of RUN: an .onnx file, or shipped, or tiny.")
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(metavar="P", help="A model: answer so rarely that at most this share is wrong.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="A model: answer from this confidence on [default: its own].")
    ] = None,
    tta: Annotated[
        bool | None, typer.Option("--tta/--no-tta", help="Average over shifts [default: as the recipe says].")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Score a run or a model on labelled data."""
    if (run is None) == (model is None):
        raise typer.BadParameter("give one, a run's folder or --model MODEL.", param_hint="RUN")
    if model is None and run is not None and run.is_file():
        model = str(run)
    for option, value in {"--max-error": max_error, "--threshold": threshold}.items():
        if value is not None and model is None:
            raise typer.BadParameter("goes with a model; a run always answers.", param_hint=option)
    if model is not None and (tta is not None or device != "auto"):
        raise typer.BadParameter("a model answers as it was exported, on the processor.", param_hint="--tta, --device")
    with reporting(context, json, debug) as finish:
        if model is not None:
            from tenfold.evaluate_model import evaluate_model

            finish(evaluate_model(model, data, max_error=max_error, threshold=threshold, quiet=quiet))
            return
        from tenfold.evaluate import evaluate

        assert run is not None
        finish(evaluate(run, data, tta=tta, device=device, quiet=quiet))


def compare(
    context: typer.Context,
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN", help="Two or more runs.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help=f"{DATA} [default: what the runs held out]")
    ] = None,
    reproduce: Annotated[
        bool, typer.Option("--reproduce", help="Train and score the published systems instead, going on if stopped.")
    ] = False,
    recipes: Annotated[
        str | None, typer.Option(metavar="A,B", help="With --reproduce: these recipes [default: all].")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --reproduce: mnist, kaggle or both [default: both].")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With --reproduce: so many seeds [default: 1].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With --reproduce: for the runs [default: runs/reproduce].")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --reproduce: append the results to this .jsonl file.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With --reproduce: processor threads [default: all].")
    ] = None,
    on: On = None,
    workers: Annotated[
        int | None, typer.Option(metavar="W", min=1, help="With --on: so many trainings side by side.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page to write [default: compare.html].")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables as Markdown too.")] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Test runs pairwise on the same images; or reproduce the published systems."""
    given = {"--recipes": recipes, "--protocol": protocol, "--seeds": seeds, "--out": out, "--record": record}
    for option, value in (given | {"--threads": threads, "--on": on, "--workers": workers}).items():
        if value is not None and not reproduce:
            raise typer.BadParameter("goes with --reproduce alone.", param_hint=option)
    if workers is not None and on is None:
        raise typer.BadParameter("goes with --on PLACE, such as --on local.", param_hint="--workers")
    if reproduce and (runs or data):
        raise typer.BadParameter("takes no runs and no --data: it trains its own.", param_hint="--reproduce")
    if not reproduce and len(runs or []) < 2:
        raise typer.BadParameter("give two or more, or --reproduce.", param_hint="RUN")
    with reporting(context, json, debug) as finish:
        if not reproduce:
            from tenfold.compare import compare

            finish(compare(runs or [], data, page=page, markdown=markdown, device=device, quiet=quiet))
            return
        from tenfold.reproduce import RUNS, protocols_called
        from tenfold.reproduce import reproduce as run_all

        result = run_all(
            recipes.split(",") if recipes is not None else None,
            protocols_called(protocol or "both"),
            seeds=seeds or 1,
            out=out or RUNS,
            record=record,
            page=page,
            markdown=markdown,
            device=device,
            threads=threads,
            on=on,
            workers=workers,
            quiet=quiet,
        )
        finish(result)
        if result["failed"]:
            which = ", ".join(f"{one['recipe']} ({one['protocol']})" for one in result["failed"])
            print(f"Error: These systems failed: '{which}'. Mend what is said above and run it again.", file=sys.stderr)
            raise typer.Exit(1)


def submit(
    context: typer.Context,
    run: RunFolder,
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The CSV file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Also where the data has labels.")] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run's answers to unlabelled data as Kaggle takes them."""
    with reporting(context, json, debug) as finish:
        from tenfold.submit import submit

        finish(submit(run, data, out, force=force, device=device, quiet=quiet))
