"""What is read on a page: numbers, their digits, and where they stand."""

from dataclasses import dataclass, field
from typing import Any

Box = tuple[int, int, int, int]  # left, top, width, height, in pixels of the picture as it is read (upright)


@dataclass(frozen=True, slots=True)
class Digit:
    """One digit of a number. digit: 0 to 9. confidence: 0 to 1. box: left, top, width, height in pixels."""

    digit: int
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class Number:
    """Digits that stand together.

    text: them, from left to right; also the best guess where it is not to be used, "" where nothing could be read.
    confidence: 0 to 1, how likely all of the text is right. box: left, top, width, height in pixels. abstained: True
    where the text is not to be used; reason then says why, such as "unsure: 481 or 487"; else None.
    """

    text: str
    confidence: float
    box: Box
    digits: list[Digit] = field(default_factory=list)
    abstained: bool = False
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        from dataclasses import asdict

        return asdict(self)


@dataclass(frozen=True, slots=True)
class Page:
    """What a picture shows, in reading order: rows from top to bottom, each from left to right.

    rows: how many numbers each row has. size: width and height of the picture as it was read, in pixels. turned:
    degrees, counterclockwise, that it was turned by before (0, 90, 180 or 270).
    """

    numbers: list[Number]
    rows: list[int]
    size: tuple[int, int]
    turned: int = 0

    @property
    def text(self) -> str:
        """The numbers of a row with spaces between them, a line a row."""
        found, lines = iter(self.numbers), []
        for count in self.rows:
            lines.append(" ".join(next(found).text for _ in range(count)))
        return "\n".join(lines)
