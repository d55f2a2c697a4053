"""Evaluated runs of one recipe, one a seed -> one line in a file of results.

python benchmarks/add_runs.py runs/a runs/b --record results/mnist.jsonl
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from systems import SystemResult  # beside this file

from tenfold.errors import RunError, TenfoldError
from tenfold.runs import ledger, results
from tenfold.runs.run import Run


def newest_look(run: Run) -> dict[str, Any]:
    """Return what `tenfold evaluate` wrote down last of the run. RunError where there is nothing."""
    found = ledger.read_lines(run.path / "evaluations.jsonl")
    if not found:
        raise RunError(f"'{run.path}' has no evaluation. Run: tenfold evaluate {run.path} --data mnist:test")
    return found[-1]


def result_of(runs: Sequence[Run], note: str) -> SystemResult:
    """Return the result of runs that differ by seed, each with its newest evaluation."""
    found = results.from_runs(runs, [newest_look(run) for run in runs])
    return SystemResult(**found.model_dump(), note=note)


def main(arguments: Sequence[str] | None = None) -> None:
    """Append the result of the runs to a file, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="evaluated runs of one recipe, one a seed")
    parser.add_argument("--record", type=Path, metavar="FILE", required=True, help="the .jsonl file to append to")
    parser.add_argument("--note", default="", help="shown beside the recipe's name")
    options = parser.parse_args(arguments)
    try:
        runs = [Run.open(path) for path in options.runs]
        result = result_of(runs, options.note)
        results.append(options.record, result)
    except TenfoldError as error:
        sys.exit(f"Error: {error}")
    print(json.dumps(result.model_dump(mode="json")))


if __name__ == "__main__":
    main()
