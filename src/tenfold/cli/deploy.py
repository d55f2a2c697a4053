"""The commands that put a trained system to use."""

from pathlib import Path
from typing import Annotated

import typer

from tenfold.cli.options import DATA, Debug, Json, Quiet, RunFolder
from tenfold.reporting import reporting


def export(
    context: typer.Context,
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .onnx file to write.")],
    int8: Annotated[bool, typer.Option("--int8", help="In 8 bits, with its accuracy and speed beside fp32's.")] = False,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help=f"Images to compare on. {DATA} [default: mnist:test]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run as one ONNX file, once its answers are proven to be the run's."""
    with reporting(context, json, debug) as finish:
        from tenfold.export import export

        finish(export(run, out, data=data, int8=int8, force=force, quiet=quiet))
