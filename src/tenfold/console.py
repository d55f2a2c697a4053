"""The console that people read, on stderr: what comes from outside is shown as it is, and none of it acts."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from tenfold.errors import printable


class PlainConsole(Console):
    """Rich's console, to which square brackets and colons are text; control characters are escaped."""

    def __init__(self, *, quiet: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=True, quiet=quiet, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments of whatever is printed; Rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def status(self, status: RenderableType, **settings: Any) -> Status:
        """Return what shows that something is under way."""
        return super().status(Text(status) if isinstance(status, str) else status, **settings)
