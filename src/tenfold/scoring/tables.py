"""Documents' tables, made from `results/*.jsonl` and nothing else.

A document holds blocks, each between two lines that name it; what lies between them is written here, the rest by hand:

    <!-- results:speed:start -->
    <!-- results:speed:end -->

    python -m tenfold.scoring.tables --write README.md docs/results.md
    python -m tenfold.scoring.tables --check README.md docs/results.md    # exits with 1 when a table is stale

A new kind of table is a new entry of BLOCKS.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tenfold.errors import DataError, TenfoldError, nearest
from tenfold.files import write_atomically
from tenfold.pages import ablation_tables, result_tables
from tenfold.runs import results
from tenfold.runs.results import Result
from tenfold.scoring import ensembles, latency, leak, reading, robustness, shipped, training_speed

COMMAND = "python -m tenfold.scoring.tables"
BLOCK = re.compile(r"(<!-- results:(?P<name>[\w-]+):start -->)(?P<old>.*?)(<!-- results:(?P=name):end -->)", re.DOTALL)
MARKER = re.compile(r"<!-- results:.*?-->")

Block = Callable[[Path], str]
"""A function from the folder of results to a block's Markdown."""


def of(file: str, render: Callable[[Sequence[Result]], str]) -> Block:
    """Return the block that `render` makes of the results in one file of the folder."""
    return partial(_render_file, file, render)


def _render_file(file: str, render: Callable[[Sequence[Result]], str], folder: Path) -> str:
    return render(results.read(folder / file))


BLOCKS: dict[str, Block] = {
    "speed": of("mnist.jsonl", result_tables.speed),
    "reproduced-mnist": of("reproduced.jsonl", result_tables.reproduced("mnist")),
    "reproduced-kaggle": of("reproduced.jsonl", result_tables.reproduced("kaggle")),
    "ablations": of("ablations.jsonl", ablation_tables.render),
    "training-speed": training_speed.block,
    "leak": leak.block,
    "robustness": robustness.block,
    "readings": reading.readings_block,
    "refusals": reading.refusals_block,
    "latency": latency.block,
    "shipped": shipped.block,
    "ensemble-test": ensembles.scores_block,
    "ensemble-rules": ensembles.rules_block,
    "ensemble-bands": ensembles.bands_block,
    "record-test": partial(ensembles.scores_block, name="record"),
    "twenty-test": partial(ensembles.scores_block, name="twenty"),
}


def stale(document: Path, folder: Path | None = None) -> list[str]:
    """Return the names of the document's blocks that differ from what the results in `folder` give.

    folder: `results/` beside the document or one folder above it where not given.
    Raises DataError for a document without blocks, a block that is not closed or that no function makes.
    """
    blocks = _blocks(document)
    place = folder or _results_beside(document)
    return [block["name"] for block in blocks if block["old"] != f"\n{BLOCKS[block['name']](place)}\n"]


def rewrite(document: Path, folder: Path | None = None) -> None:
    """Bring the document's blocks up to date; the rest of it stays as it is. Raises what `stale` raises."""
    if not stale(document, folder):
        return
    place = folder or _results_beside(document)

    def fresh(block: re.Match[str]) -> str:
        return f"{block[1]}\n{BLOCKS[block['name']](place)}\n{block[4]}"

    write_atomically(document, BLOCK.sub(fresh, document.read_bytes().decode()).encode())


def _blocks(document: Path) -> list[re.Match[str]]:
    try:
        text = document.read_bytes().decode()
    except OSError as error:
        raise DataError(f"Cannot read '{document}' ({error.strerror}). Name the document with the tables.") from error
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        if block["name"] not in BLOCKS:
            hint = nearest(block["name"], BLOCKS)
            raise DataError(f"'{document}' has a table '{block['name']}'.{hint} Known: {', '.join(BLOCKS)}.")
    if stray := MARKER.search(BLOCK.sub("", text)):
        raise DataError(f"'{document}' has '{stray[0]}' by itself. Add the other end of that table.")
    if not blocks:
        raise DataError(
            f"'{document}' has no place for tables. Add the lines '<!-- results:NAME:start -->' and "
            f"'<!-- results:NAME:end -->', where NAME is one of {', '.join(BLOCKS)}."
        )
    return blocks


def _results_beside(document: Path) -> Path:
    parent = document.resolve().parent
    return next((folder / "results" for folder in (parent, parent.parent) if (folder / "results").is_dir()), parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check documents' tables or bring them up to date; return the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Tables from results/.")
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--check", action="store_true", help="exit with 1 when a table is stale")
    verb.add_argument("--write", action="store_true", help="bring the tables up to date")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="default: results/ beside or above the document")
    parser.add_argument("documents", nargs="+", type=Path, metavar="DOCUMENT")
    options = parser.parse_args(arguments)
    try:
        for document in options.documents:
            if options.write:
                rewrite(document, options.results)
            elif old := stale(document, options.results):
                names = ", ".join(f"'{name}'" for name in old)
                raise DataError(f"In '{document}' these tables are stale: {names}. Run: {COMMAND} --write {document}")
    except TenfoldError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
