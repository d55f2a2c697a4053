"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DATA = "A name (mnist, mnist:test, kaggle:test, uci) or a path (Kaggle zip or CSV, IDX, NPZ, a folder for each digit)."
Data = Annotated[str, typer.Option("--data", metavar="DATA", help=DATA)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that 'tenfold train' wrote.")]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or mps.")]
On = Annotated[
    str | None,
    typer.Option(metavar="PLACE", help="Where: local, ray (a cluster here, meanwhile) or ray://HOST:PORT."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, last on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
