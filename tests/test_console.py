"""What people read on stderr: text from outside, as it is, and never acting."""

import io

import pytest
from rich.table import Table
from rich.text import Text

from tenfold.console import PlainConsole
from tenfold.errors import printable


@pytest.mark.parametrize("text", ["[/x]", "[bold]a", ":smile:", "[red]", "a[0]"])
def test_brackets_and_colons_are_text(text: str) -> None:
    """Whatever is printed, put into a table or shown as under way is no markup."""
    console = PlainConsole(file=io.StringIO(), force_terminal=True, width=80)
    table = Table(title=text, box=None)
    table.add_column(text)
    table.add_row(text)
    console.print(text)
    console.print(table)
    with console.working(text):
        pass
    assert console.file.getvalue().count(text) >= 4


def test_control_characters_do_not_act() -> None:
    """Escape sequences, changes of direction and half characters are shown in escapes; line ends stay."""
    console = PlainConsole()
    console.file = io.StringIO()
    console.print("a\x1b]0;title\x07\nb\u202e\udcff\x7f", soft_wrap=True)
    console.print(Text("\x1b[2J"))
    assert console.file.getvalue() == "a\\x1b]0;title\nb\\u202e\\udcff\\x7f\n\\x1b[2J\n"  # Rich itself omits a bell


@pytest.mark.parametrize("text", ["plain", "zwölf – 十二\n\t", "\N{GRINNING FACE}"])
def test_other_text_stays(text: str) -> None:
    """Letters of any script, line ends and tabs are printable as they are."""
    assert printable(text) == text
    assert printable(printable("\x1b")) == "\\x1b"
