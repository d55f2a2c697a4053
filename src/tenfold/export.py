"""Run -> model.onnx, proven equal: one file that answers as the run does, wherever onnxruntime runs, without torch.

A run in whole numbers gives model.h too, the same in C, for a microcontroller. The graph takes pixels and gives
calibrated probabilities; features, test-time shifts and temperature are inside. Before it is written, it has answered
every image of the test set, one, two, seven and 64 at a time, as the run itself does. Test labels are never looked at.
"""

from pathlib import Path
from typing import Annotated

import typer

from tenfold import options
from tenfold.console import PlainConsole
from tenfold.data import load, names
from tenfold.errors import DataError, ExportError, unwritten
from tenfold.files import write_atomically
from tenfold.graphs.exported import ExportedGraph, ExportedHeader
from tenfold.runs.run import Run, training_specs

SUFFIX, HEADER = ".onnx", ".h"
OUT = typer.Option("--out", metavar="FILE", help="The .onnx or .h file to write.")
INT8 = typer.Option("--int8", help="In 8 bits, with its accuracy and speed beside fp32's.")
DATA = typer.Option("--data", metavar="DATA", help=f"Images to compare on. {options.DATA_HELP} [default: mnist:test]")


def export(
    run: Annotated[str | Path, options.RUN],
    out: Annotated[str | Path, OUT],
    *,
    int8: Annotated[bool, INT8] = False,
    data: Annotated[str | None, DATA] = None,
    force: Annotated[bool, options.FORCE] = False,
    quiet: Annotated[bool, options.QUIET] = False,
) -> ExportedGraph | ExportedHeader:
    """Return what was written to `out`, one ONNX file or, where its name ends in .h, a C header.

    int8: is measured on the run's held-out images in place of being proven equal. data: where MNIST's test images are
    not on this machine, by default what the run's own data have.
    Raises ExportError where the file does not answer as the run does, RunError for a folder that is no run or has no
    weights, DataError for data that cannot be read.
    """
    from tenfold.graphs.proven import Subject, proven_graph, proven_header
    from tenfold.runs.estimator import from_run

    console = PlainConsole(quiet=quiet, soft_wrap=True)
    opened, out = Run.open(run), Path(out)
    _check(out, opened, int8, force)
    spec = data or _default_data(opened)
    options.check_target(out, [spec], "submit", [run])
    classifier = from_run(opened, "cpu")
    images = load(spec, "submit").images
    if not len(images):
        raise DataError(f"'{spec}' holds '0' images. Give at least one to compare on.")
    subject = Subject(opened, classifier, spec, images, out)
    header = out.suffix == HEADER
    content, result = proven_header(subject, console) if header else proven_graph(subject, int8, console)
    try:
        write_atomically(out, content)
    except OSError as error:
        raise ExportError(unwritten(out, error, "Give --out another file.")) from None
    for line in describe(result):
        console.print(line)
    if not header:
        console.next("tenfold", "read", "PICTURE.png", "--model", out)
    return result


def _check(out: Path, run: Run, int8: bool, force: bool) -> None:
    """Raise ExportError where nothing can or should be written, or what is asked for cannot be made or measured."""
    if out.suffix not in (SUFFIX, HEADER):
        raise ExportError(f"'{out}' does not end in {SUFFIX} or {HEADER}. Give --out a name such as 'model{SUFFIX}'.")
    if not out.parent.is_dir():
        raise ExportError(f"'{out.parent}' is no folder. Make it, or give --out another file.")
    if out.is_dir():
        raise ExportError(f"'{out}' is a folder. Give --out a file.")
    if run.recipe.classical and out.resolve() == (run.path / "model.onnx").resolve():
        raise ExportError(f"'{out}' is what the run itself answers with. Give --out another file.")
    if out.exists() and not force:
        raise ExportError(f"'{out}' exists already. Give --out another file, or add --force.")
    if int8 and out.suffix == HEADER:
        raise ExportError(f"'{out}' is in whole numbers of eight bits anyway. Omit --int8.")
    if run.recipe.classical and out.suffix == HEADER:
        from tenfold.models.integer_network import ADVICE

        raise ExportError(f"'{run.recipe.model.kind}' is no network, and a header needs one. {ADVICE}")
    if run.recipe.classical and int8:
        raise ExportError(f"'{run.recipe.model.kind}' is no network, and --int8 is for networks alone. Omit --int8.")
    if int8 and not len(run.held_out()):
        what = f"'{run.path}' held out '0' images, so what --int8 costs cannot be measured."
        raise ExportError(f"{what} Omit --int8, or train with data.validation above 0.")


def _default_data(run: Run) -> str:
    """Return mnist:test where that is on this machine, or the test part or path of the run's own data that is."""
    if names.find("mnist", "test") is not None:
        return "mnist:test"
    for spec in training_specs(run.manifest):
        named = names.parse(spec)
        if named is None and Path(spec).expanduser().exists():
            return spec
        if named is not None and names.available(named[0]):
            return f"{named[0]}:test"
    what = f"Neither 'mnist:test' nor the run's own '{run.manifest['data']['spec']}' is on this machine."
    raise DataError(f"{what} Give images to compare on with --data.")


def describe(result: ExportedGraph | ExportedHeader) -> list[str]:
    """Return what people are told of an export, line by line."""
    from tenfold.graphs.proven import TIE

    most = f"no probability differs by more than {result.largest_difference:.1g}"
    alike = f"{result.images:,} images of {result.data} as the run does: {most}"
    if isinstance(result, ExportedHeader):
        sizes = f"{result.weight_bytes:,} bytes of weights, {result.buffer_bytes:,} bytes of buffers"
        return [f"The whole numbers answer {alike}.", f"Wrote {result.out}: {sizes}"]
    speed = result.images_per_second
    lines = [f"The fp32 graph answers {alike}, at batch sizes {', '.join(speed)}."]
    if result.ties:
        lines.append(
            f"{len(result.ties)} of them have two best digits within {TIE:g}, of which the graph names the other one; "
            "the run's own answer to them changes with how many are asked at a time."
        )
    lines.append(f"On one thread: {speed['1']:,.0f} images a second one by one, {speed['64']:,.0f} in batches of 64.")
    if (int8 := result.int8) is not None:
        lines.append(
            f"int8 reads {100 * int8.accuracy:.2f}% of {int8.n:,} held-out images rightly, fp32 "
            f"{100 * int8.fp32_accuracy:.2f}%; of the images compared it answers {100 * int8.agreement:.2f}% as fp32 "
            "does."
        )
        for batch, after in int8.images_per_second.items():
            before = int8.fp32_images_per_second[batch]
            word = "faster" if after > before else "SLOWER"
            lines.append(f"In batches of {batch} int8 is {word}: {after:,.0f} images a second, fp32 {before:,.0f}.")
    return [*lines, f"Wrote {result.out}: {result.bytes / 1e6:.2f} MB, it answers from {result.threshold:.4g} on"]
