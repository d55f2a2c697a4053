"""What people read, on stderr: text as it is, and how far whatever takes a while has come.

What comes from outside is shown as it is, and none of it acts. What is worked at is on a terminal a bar for the whole
and one for each part, elsewhere a line every ten seconds, on a quiet console nothing.
"""

import shlex
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from html import escape
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tenfold.errors import printable
from tenfold.progress import Work, begun, under_way

LINE_SECONDS, CELL_SECONDS = 10.0, 0.5
BAR_WIDTH = 20
_screens: "list[PlainConsole]" = []  # which show a bar: all consoles print through it, lest they tear it


class PlainConsole(Console):
    """Rich's console, to which square brackets and colons are text; control characters are escaped."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(stderr=True, highlight=False, markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments of whatever is printed; Rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print, above a bar that another console shows."""
        if not _screens or self in _screens or self.quiet:
            super().print(*objects, **settings)
        else:
            _screens[0].print(*objects, **{"soft_wrap": self.soft_wrap, **settings})

    def next(self, *words: object) -> None:
        """Print the one command to go on with."""
        self.print(Text(f"Next: {shlex.join(map(str, words))}", "dim"), soft_wrap=True)

    @contextmanager
    def working(self, doing: str, total: int | None = None) -> Iterator[Work]:
        """Show meanwhile what is being done, how far it is and how long it will take; total: of `Work.done`."""
        work = Work(doing, total)
        hidden = self.quiet or bool(under_way)
        with begun(work), nullcontext() if hidden else self._showing(work):
            yield work

    @contextmanager
    def _showing(self, work: Work) -> Iterator[None]:
        if self.is_terminal and not self.is_jupyter:
            _screens.append(self)
            try:
                with Live(get_renderable=lambda: _bars(work), console=self, transient=True, refresh_per_second=5):
                    yield
            finally:
                _screens.clear()
            return
        ended, cell = threading.Event(), _cell() if self.is_jupyter else None

        def tell() -> None:
            while not ended.wait(LINE_SECONDS if cell is None else CELL_SECONDS):
                if cell is None:
                    self.print(work.line(), soft_wrap=True)
                else:
                    cell(f'<progress value="{work.share or 0:.4f}"></progress> {escape(work.line())}')

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if cell is not None:
                cell("")


def _cell() -> Callable[[str], None]:
    """Return what draws HTML in a notebook's cell, over what it drew before; Rich's own bar needs ipywidgets."""
    from IPython.display import HTML, display

    shown = display(HTML(""), display_id=True)
    return lambda html: shown.update(HTML(html))


def _bars(work: Work) -> Table:
    table = Table.grid(padding=(0, 1))
    for number, (doing, share, words) in enumerate(work.rows()):
        bar = ProgressBar(1.0, share or 0.0, width=BAR_WIDTH, pulse=share is None)
        percent = "" if share is None else f"{share:4.0%}"
        table.add_row(Text(f"{'  ' if number else ''}{doing}", overflow="ellipsis"), bar, percent, Text(words))
    return table
