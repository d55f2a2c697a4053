"""The commands that put a trained system to use."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tenfold.cli.options import DATA, Debug, Json, Quiet, RunFolder
from tenfold.cli.reporting import reporting


def export(
    context: typer.Context,
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .onnx or .h file to write.")],
    int8: Annotated[bool, typer.Option("--int8", help="In 8 bits, with its accuracy and speed beside fp32's.")] = False,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help=f"Images to compare on. {DATA} [default: mnist:test]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run as one ONNX file, or C header, once its answers are proven to be the run's."""
    with reporting(context, json, debug) as finish:
        from tenfold.export import export

        finish(export(run, out, data=data, int8=int8, force=force, quiet=quiet))


def read(
    context: typer.Context,
    frame: Annotated[
        Path, typer.Option("--frame", metavar="DATA", help="A folder of pictures of one digit each, or an NPZ file.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .csv or .npz file to write.")],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="A file that 'tenfold export' wrote, shipped or tiny.")
    ] = "shipped",
    max_error: Annotated[
        float | None, typer.Option(metavar="P", help="Answer so that at most this share is wrong, 95% certain.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="Or answer from this confidence on [default: the model's].")
    ] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="Processor threads [default: all].")] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Read pictures of digits, any number of them; the same command goes on where it was stopped."""
    if max_error is not None and threshold is not None:
        raise typer.BadParameter("give one of --max-error and --threshold.", param_hint="--threshold")
    with reporting(context, json, debug) as finish:
        from tenfold.read import read_frames

        result = read_frames(
            frame, out, model=model, max_error=max_error, threshold=threshold, threads=threads, quiet=quiet
        )
        finish(result)
        if result["unreadable"]:
            print(
                f"Error: '{result['unreadable']}' of {result['images']} pictures could not be read. "
                f"Their rows in '{out}' say why.",
                file=sys.stderr,
            )
            raise typer.Exit(1)
