"""Did the published systems reach what is published of them? The documents' tables of `tenfold reproduce`.

tenfold reproduce --record results/reproduced.jsonl
python benchmarks/tables.py --write docs/results.md
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from records import MISSING, by_place  # beside this file
from systems import SystemResult, errors, interval, label, parameters, processor, read, score

from tenfold.pages import reproduced
from tenfold.pages.page import seconds, table
from tenfold.training import recipe as recipes

FILE = "reproduced.jsonl"  # in the folder of results
HEAD = ["recipe", "published on", "published, %", "ours, %", "95% interval", "reached", "errors", "seeds"]


def block(protocol: str, folder: Path) -> str:
    """Return the Markdown of a protocol's table: for each machine, each system's published score beside ours."""
    found = [one for one in read(folder / FILE) if one.protocol == protocol]
    kept = {(processor(one), one.recipe, one.note): one for one in found}
    shipped = [recipes.load(name) for name in recipes.available()]
    order = [recipe.name for recipe in sorted(shipped, key=reproduced.place)]
    places = {name: order.index(name) if name in order else len(order) for _, name, _ in kept}
    members = sorted(kept.values(), key=lambda one: (places[one.recipe], one.recipe, one.note))
    return by_place(members, processor, systems_table)


BLOCKS = {f"reproduced-{protocol}": partial(block, protocol) for protocol in ("mnist", "kaggle")}


def systems_table(found: Sequence[SystemResult]) -> str:
    """Return a Markdown table, a row a system."""
    return table([*HEAD, "training, s", "parameters"], map(_cells, found), left=2)


def _cells(result: SystemResult) -> list[str]:
    known = recipes.load(result.recipe).published if result.recipe in recipes.available() else None
    row = reproduced.row(result, known)
    return [
        label(result),
        row.where(),
        MISSING if row.published is None else f"{100 * row.published:.2f}",
        score(result),
        interval(result),
        {None: MISSING, True: "yes", False: "**no**"}[row.meets_published],
        errors(result),
        str(row.seeds),
        seconds(row.seconds),
        parameters(result),
    ]
