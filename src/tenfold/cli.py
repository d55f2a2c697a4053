"""The command line: one command per verb, each of which parses, calls and prints.

Nothing heavy is imported here: `tenfold --help` answers before a network library could be loaded.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tenfold.reporting import reporting

app = typer.Typer(
    name="tenfold",
    rich_markup_mode=None,  # Rich's boxes cost another 0.08 s
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command takes --json. Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted.",
)

DATA = "A name (mnist, mnist:test, kaggle:test, uci) or a path (Kaggle zip or CSV, IDX, NPZ, a folder for each digit)."
Data = Annotated[str, typer.Option("--data", metavar="DATA", help=DATA)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that 'tenfold train' wrote.")]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or mps.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, last on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def print_version(asked: bool) -> None:
    """Print the version and stop."""
    if asked:
        from tenfold import __version__

        print(f"tenfold {__version__}")
        raise typer.Exit


def print_recipes(asked: bool) -> None:
    """Print a line for each shipped recipe and stop."""
    if asked:
        from tenfold.training.recipe import available, load

        width = max(map(len, available()))
        for name in available():
            print(f"{name:{width}}  {load(name).summary}")
        raise typer.Exit


def print_ablations(asked: bool) -> None:
    """Print a line for each shipped ablation and stop."""
    if asked:
        from tenfold.training.ablation import available, load

        for name in available():
            print(f"{name:15} {load(name).question}")
        raise typer.Exit


@app.callback()
def tenfold(
    context: typer.Context,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Handwritten digits: see the data, train in minutes, trust the score, submit."""
    context.obj = debug


@app.command()
def quickstart(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder for the run [default: runs/quickstart].")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take the whole road once: data, training, score, report."""
    with reporting(context, json, debug) as finish:
        from tenfold.quickstart import quickstart

        finish(quickstart(out, quiet=quiet))


@app.command()
def explore(
    context: typer.Context,
    data: Annotated[list[str], typer.Option("--data", metavar="DATA", help=f"{DATA} Twice: compare the two.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The page to write.")] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what is in the data: counts, sheets, duplicates, leaks."""
    with reporting(context, json, debug) as finish:
        from tenfold.explore import explore

        finish(explore(data, out, quiet=quiet))


@app.command()
def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a .toml file.")] = "fast",
    data: Annotated[
        list[str] | None, typer.Option("--data", metavar="DATA", help=f"{DATA} More than once: merged.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder for the run [default: runs/RECIPE-N].")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override the recipe: optimiser.lr=0.02.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of everything random [default: the recipe's].")
    ] = None,
    subset: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Train on so many images, chosen stratified.")
    ] = None,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Leave out later copies of an image, equal or nearly equal.")
    ] = False,
    from_run: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Start from the weights of a finished run.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="LAYERS", help="With --from: train on all layers or the head [default: all].")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(metavar="S", min=0.001, help="End with a usable run after so long.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with a run that was cut short.")] = None,
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="Processor threads [default: all].")] = None,
    quiet: Quiet = False,
    list_recipes: Annotated[
        bool, typer.Option("--list", callback=print_recipes, is_eager=True, help="List the shipped recipes.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a recipe on labelled data and write a run."""
    if not data and resume is None:
        raise typer.BadParameter("give --data DATA, or --resume RUN.", param_hint="--data")
    with reporting(context, json, debug) as finish:
        from tenfold.train import train

        result = train(
            recipe,
            data,
            out,
            overrides=overrides or [],
            seed=seed,
            subset=subset,
            deduplicate=deduplicate,
            from_run=from_run,
            layers=layers,
            max_seconds=max_seconds,
            resume=resume,
            device=device,
            threads=threads,
            quiet=quiet,
        )
        if not quiet:
            print(describe_training(result), file=sys.stderr)
        finish(result)


def describe_training(result: dict[str, Any]) -> str:
    """Return how training ended, and where the run is."""
    run, accuracy = result["run"], result["validation_accuracy"]
    length = "Fitted" if result["epochs"] is None else f"{result['epochs']:.4g} epochs"  # a classical model has none
    lines = [f"{length} in {result['seconds']:.1f} s"]
    if accuracy is not None:
        low, high = result["validation_ci95"]
        lines[0] += f", validation accuracy {accuracy:.2%} (95% interval {low:.2%} to {high:.2%})"
    if result["status"] != "finished":
        lines.append(f"Cut short. To go on: tenfold train --resume {run}")
    return "\n".join([*lines, f"Run: {run}", f"Report: {result['report']}"])


@app.command()
def evaluate(
    context: typer.Context,
    run: RunFolder,
    data: Data,
    tta: Annotated[
        bool | None, typer.Option("--tta/--no-tta", help="Average over shifts [default: as the recipe says].")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Score a run on labelled data, and write its report."""
    with reporting(context, json, debug) as finish:
        from tenfold.evaluate import evaluate

        finish(evaluate(run, data, tta=tta, device=device, quiet=quiet))


@app.command()
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
    for option, value in (given | {"--threads": threads}).items():
        if value is not None and not reproduce:
            raise typer.BadParameter("goes with --reproduce alone.", param_hint=option)
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
            quiet=quiet,
        )
        finish(result)
        if result["failed"]:
            which = ", ".join(f"{one['recipe']} ({one['protocol']})" for one in result["failed"])
            print(f"Error: These systems failed: '{which}'. Mend what is said above and run it again.", file=sys.stderr)
            raise typer.Exit(1)


@app.command()
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


@app.command()
def ablate(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Shipped ablations' names, or .toml files.")],
    data: Data = "mnist",
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Train each variant with so many seeds.")] = 3,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Keep what is trained here, and go on from it.")] = Path(
        "runs/ablate"
    ),
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Trainings side by side [default: one a processor].")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append a line for each variant to this .jsonl file.")
    ] = None,
    quiet: Quiet = False,
    list_ablations: Annotated[
        bool, typer.Option("--list", callback=print_ablations, is_eager=True, help="List the shipped ablations.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer a question by recipes that differ in one thing."""
    with reporting(context, json, debug) as finish:
        from tenfold.ablate import ablate

        finish(ablate(names, seeds=seeds, data=data, out=out, workers=workers, record=record, quiet=quiet))


@app.command()
def tune(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a .toml file, with a table [search]."),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="DATA", help=DATA)] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder for the tune [default: runs/tune-RECIPE-N].")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Try so many, at most [default: 30, or as time allows].")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(metavar="S", min=0.001, help="Search so long; the comparison comes after it.")
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="W", min=1, help="Trials side by side, each with its share of the cores.")
    ] = 1,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of everything random [default: the recipe's].")
    ] = None,
    subset: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Search on so many images, chosen stratified.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="nll or accuracy of held-out images [default: nll; for a grid accuracy]."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="METHOD", help="optuna (default for networks) or grid (for classical models).")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Compare at the end on so many unused seeds [default: 3].")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the new recipe [default: RECIPE-tuned].")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Go on with a tune that was cut short.")] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Search for better values of a recipe, judged on held-out images."""
    if data is None and resume is None:
        raise typer.BadParameter("give --data DATA, or --resume FOLDER.", param_hint="--data")
    with reporting(context, json, debug) as finish:
        from tenfold.tune import tune

        finish(
            tune(
                recipe,
                data,
                out,
                trials=trials,
                max_seconds=max_seconds,
                workers=workers,
                seed=seed,
                subset=subset,
                metric=metric,
                method=method,
                seeds=seeds,
                name=name,
                resume=resume,
                device=device,
                quiet=quiet,
            )
        )


def main() -> None:
    """Run the command line; what the `tenfold` command calls."""
    app()
