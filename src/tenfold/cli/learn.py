"""The commands that look at data and train on them."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tenfold.cli.options import DATA, Data, Debug, Device, Json, On, Quiet
from tenfold.cli.reporting import reporting


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
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of each trial [default: its share of the cores].")
    ] = None,
    on: On = None,
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
                threads=threads,
                on=on,
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


def ensemble(
    context: typer.Context,
    recipes: Annotated[str, typer.Argument(metavar="RECIPE[,RECIPE...]", help="Networks' recipes, which take turns.")],
    data: Annotated[list[str], typer.Option("--data", metavar="DATA", help=f"{DATA} More than once: merged.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The pool; one that was cut short goes on.")],
    models: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Train so many members [default: 10, or as time allows].")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="S", min=0.001, help="Train members for so many seconds.")
    ] = None,
    select: Annotated[
        str,
        typer.Option(metavar="RULE", help="all, top:K, random:K, greedy:K, diverse:K, weights; auto: what is best."),
    ] = "auto",
    average: Annotated[
        str, typer.Option(metavar="WHAT", help="Average probabilities or logits, or count votes.")
    ] = "probabilities",
    folds: Annotated[
        int | None,
        typer.Option(metavar="K", min=2, help="Each member holds out another fold, not all the same images."),
    ] = None,
    trained: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="RUN", help="Take this trained network in as a member too. May be repeated."),
    ] = None,
    distil: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Then train one network on the ensemble's answers.")
    ] = None,
    on: Annotated[
        str | None, typer.Option(metavar="PLACE", help="local, ray, or ray://HOST:PORT [default: local].")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="W", min=1, help="Members side by side [default: one a core].")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="Threads of each.")] = 1,
    stack: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Members that one program trains [default: 1; 20 on an accelerator]."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override every recipe: training.epochs=2.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the split and the first member.")] = 0,
    subset: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Train on so many images, chosen stratified.")
    ] = None,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Leave out later copies of an image, equal or nearly equal.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train many networks and choose the few that complement each other; the result is a run."""
    with reporting(context, json, debug) as finish:
        from tenfold.ensemble import ensemble

        finish(
            ensemble(
                [name.strip() for name in recipes.split(",") if name.strip()],
                data,
                out,
                models=models,
                budget=budget,
                select=select,
                average=average,
                folds=folds,
                trained=trained or [],
                overrides=overrides or [],
                seed=seed,
                subset=subset,
                deduplicate=deduplicate,
                on=on,
                workers=workers,
                threads=threads,
                device=device,
                stack=stack,
                distil=distil,
                quiet=quiet,
            )
        )


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
