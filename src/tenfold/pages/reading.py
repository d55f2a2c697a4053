"""Numbers that were read, shown: the doubtful ones first, each with its picture, then what stands on which page."""

import heapq
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tenfold.pages import page
from tenfold.runtime.reader import Reader

SHOWN, LISTED = 200, 1000  # numbers with pictures, which have 1 MB, and pages


def write(path: Path, sources: list[str], reader: Reader, read: Iterable[dict[str, Any]]) -> Path:
    """Return `path`, the page of what was read, see `runtime.documents.listed`, with its crops.

    Raises DataError where the page cannot be written.
    """
    listed: list[dict[str, Any]] = []
    totals: Counter[str] = Counter()

    def numbers() -> Iterable[tuple[bool, float, int, dict[str, Any], dict[str, Any]]]:
        for one in read:
            texts = iter([number["text"] for number in one["numbers"]])
            rows = [" ".join(next(texts) or "?" for _ in range(row)) for row in one["rows"]]
            totals.update(pages=one["page"] is not None, unreadable="error" in one)
            if len(listed) < LISTED:
                listed.append({**one, "numbers": [], "rows": [one["error"]] if "error" in one else rows})
            for number in one["numbers"]:
                totals.update(numbers=1, abstained=number["abstained"])
                if "crop" in number:
                    yield not number["abstained"], number["confidence"], totals["numbers"], one, number

    values = {"doubtful": heapq.nsmallest(SHOWN, numbers()), "sources": sources, "reader": reader}
    return page.write(path, page.render("reading.html", listed=listed, totals=totals, **values), "Give another --page.")
