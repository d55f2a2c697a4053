"""The command line: one command per verb, each of which parses, calls and prints.

Nothing heavy is imported here: `tenfold --help` answers before a network library could be loaded.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from tenfold.errors import MissingExtraError, TenfoldError

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended
EXTRAS = {"torch": "train", "safetensors": "train", "sklearn": "train", "matplotlib": "train", "jinja2": "train"}

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

        for name in available():
            print(f"{name:10} {load(name).summary}")
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
    data: Annotated[str | None, typer.Option("--data", metavar="DATA", help=DATA)] = None,
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
    if data is None and resume is None:
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
    lines = [f"{result['epochs']:.4g} epochs in {result['seconds']:.1f} s"]
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


def main() -> None:
    """Run the command line; what the `tenfold` command calls."""
    app()
