"""Documents' tables, made from `results/*.jsonl` and nothing else.

A document holds blocks, each between two lines that name it; what lies between them is written here, the rest by hand:

    <!-- results:speed:start -->
    <!-- results:speed:end -->

    python benchmarks/tables.py --write README.md docs/results.md
    python benchmarks/tables.py --check README.md docs/results.md    # exits with 1 when a table is stale

A new kind of table is a new entry of a script's own BLOCKS.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

# beside this file
import ablations
import accelerator
import audit
import card
import ensemble
import faults
import latency
import leak
import reading
import recogniser
import reproduced
import robustness
import time_to_accuracy
import training_speed
import writers
from records import Block

from tenfold.errors import DataError, TenfoldError, nearest
from tenfold.files import write_atomically

COMMAND = "python benchmarks/tables.py"
BLOCK = re.compile(r"(<!-- results:(?P<name>[\w-]+):start -->)(?P<old>.*?)(<!-- results:(?P=name):end -->)", re.DOTALL)
MARKER = re.compile(r"<!-- results:.*?-->")

SCRIPTS = (
    ablations,
    audit,
    accelerator,
    card,
    ensemble,
    faults,
    latency,
    leak,
    reading,
    recogniser,
    reproduced,
    robustness,
    time_to_accuracy,
    training_speed,
    writers,
)
BLOCKS: dict[str, Block] = {name: block for script in SCRIPTS for name, block in script.BLOCKS.items()}


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
