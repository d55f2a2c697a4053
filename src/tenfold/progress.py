"""How far whatever takes a while has come: the whole and its parts, told by the loops themselves.

A verb begins a `Work` (see `tenfold.console`); the loops in it, wherever they are, say how far they are through
`track`, and tasks in other processes through `watched`. Where nobody looks, that costs nothing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")

under_way: "list[Work]" = []  # in this process, each within the one before
watched: Any = None  # in a process that does a task: a ctypes double, in which who gave the task reads how far it is


class Work:
    """Something under way.

    done: how many of the `total` pieces are done; set it, or let `track` do so. words: what else there is to say, such
    as a loss. parts: gives name and share of whatever is under way side by side.
    """

    def __init__(self, doing: str, total: int | None = None) -> None:
        self.doing, self.words, self.began = doing, "", time.monotonic()
        self.loops: list[list[float]] = [] if total is None else [[0, total]]  # done and total, the outermost first
        self.inner: Work | None = None
        self.parts: Callable[[], Iterable[tuple[str, float | None]]] = tuple
        self.deadline: float | None = None  # of time.monotonic, where the end of the time is the end
        self._share_then: float | None = None  # when there first was one: what is resumed does not begin at 0

    @property
    def done(self) -> float:
        """How many pieces are done."""
        return self.loops[0][0] if self.loops else 0

    @done.setter
    def done(self, done: float) -> None:
        self.loops[0][0] = done
        self.told()

    def told(self) -> None:
        """Take note of a step."""
        if self._share_then is None:
            self._share_then, self.began = self.share, time.monotonic()
        if watched is not None:
            watched.value = under_way[0].share or 0.0

    @property
    def share(self) -> float | None:
        """How far it is, 0 to 1; None where that is not known."""
        if self.deadline is not None:
            return min(1.0, (time.monotonic() - self.began) / max(self.deadline - self.began, 1e-9))
        if not self.loops:
            return None if self.inner is None else self.inner.share
        share = (self.inner and self.inner.share) or sum(part or 0 for _, part in self.parts())
        for done, total in reversed(self.loops):
            share = min(1.0, (done + share) / max(total, 1))
        return share

    @property
    def left(self) -> str:
        """How long it will take from now, "1:05 left"; where that is not known how long it has taken, "1:05 so far"."""
        share, then, so_far = self.share, self._share_then or 0.0, time.monotonic() - self.began
        if share is None or share <= then:
            return f"{clock(so_far)} so far"
        return f"{clock(so_far * (1 - share) / (share - then))} left"

    def rows(self) -> Iterator[tuple[str, float | None, str]]:
        """Yield what is done, its share and what else there is to say: of the whole, then of its parts."""
        yield self.doing, self.share, "  ".join(filter(None, (self.left, self.words)))
        if self.inner is not None:
            yield from self.inner.rows()
        for name, share in self.parts():
            yield name, share, ""

    def line(self) -> str:
        """Return the same as one line."""
        (doing, share, words), *others = self.rows()
        parts = ", ".join(f"{name} {part:.0%}" for name, part, _ in others if part)
        how = ", ".join(filter(None, ("" if share is None else f"{share:.0%}", words)))
        return f"{doing}{f': {how}' if how else ''}{f' ({parts})' if parts else ''}"


def clock(seconds: float) -> str:
    """Return "1:05", with hours where there are some "1:00:05"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


@contextmanager
def begun(work: Work) -> Iterator[None]:
    """Make this what is worked at in this process, within what was."""
    if under_way:
        under_way[-1].inner = work
    under_way.append(work)
    try:
        yield
    finally:
        under_way.pop()
        if under_way:
            under_way[-1].inner = None


@contextmanager
def parts(
    shares: Callable[[], Iterable[tuple[str, float | None]]], deadline: float | None
) -> Iterator[Callable[[], None]]:
    """Show these as the parts of what is being worked at in this process; give what is to be called as each ends.

    deadline: of time.monotonic; how far it is goes by the time where nobody knows how many parts there will be.
    """
    work = under_way[-1] if under_way else Work("")
    work.parts, work.deadline = shares, None if work.loops else deadline

    def ended() -> None:
        if work.loops:
            work.done += 1

    try:
        yield ended
    finally:
        work.parts = tuple


@contextmanager
def steps(total: float) -> Iterator[Callable[[float], None]]:
    """Give what is told how many of `total` steps are done; so far is meanwhile what is being worked at."""
    if not under_way:
        yield lambda done: None
        return
    work, loop = under_way[-1], [0, total]
    work.loops.append(loop)

    def step(done: float) -> None:
        loop[0] = done
        work.told()

    try:
        yield step
    finally:
        work.loops = [each for each in work.loops if each is not loop]


def track(items: Sequence[Item]) -> Iterator[Item]:
    """Yield the items; whatever is being worked at in this process is meanwhile as far as the loop over them."""
    with steps(len(items)) as step:
        for number, item in enumerate(items):
            step(number)
            yield item
