"""Numbers that were read, shown: the doubtful ones first, each with its picture, then what stands on which page."""

import heapq
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.pages import page

if TYPE_CHECKING:
    from tenfold.runtime.reader import Reader

SHOWN, LISTED = 200, 1000  # numbers with pictures, which have 1 MB, and pages


def write(path: Path, sources: list[str], reader: "Reader", answers: Iterable[tuple[str, dict[str, Any]]]) -> Path:
    """Return `path`, the page of what was read, written whole.

    answers: each file's name and what `runtime.documents.read` gave. DataError where the page cannot be written.
    """
    listed: list[tuple[str, dict[str, Any]]] = []
    totals: Counter[str] = Counter()

    def numbers() -> Iterable[tuple[bool, float, int, str, int, dict[str, Any]]]:
        for name, answer in answers:
            totals.update(files=1, pages=len(answer["pages"]), unreadable=answer["problem"] is not None)
            for one in (*answer["pages"], *([] if answer["problem"] is None else [answer])):
                texts = iter([number["text"] for number in one.get("numbers", ())])
                rows = [" ".join(next(texts) or "?" for _ in range(row)) for row in one.get("rows", ())]
                if len(listed) < LISTED:
                    listed.append((name, {"page": "", "problem": "", **one, "rows": rows}))
                for number in one.get("numbers", ()):
                    totals.update(numbers=1, abstained=number["abstained"])
                    if "crop" in number:
                        key = not number["abstained"], number["confidence"]
                        yield *key, totals["numbers"], name, one["page"], number

    doubtful = heapq.nsmallest(SHOWN, numbers())
    values = {"sources": sources, "reader": reader, "doubtful": doubtful, "listed": listed, "totals": totals}
    return page.write(path, page.render("reading.html", **values), "Give another --page.")
