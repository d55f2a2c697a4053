"""A moving picture of the terminal: commands run for real, what they print, and when, as one SVG that plays itself.

    python benchmarks/terminal_picture.py --out docs/terminal.svg      # needs pyte, of the extra "docs"

The commands run in a folder of their own on the digits that come with scikit-learn. Long waits are shortened, and
long commands made faster; what is printed is not touched.
"""

import argparse
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path

import pyte

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 86, 24
COMMANDS = (
    "tenfold train instant --data uci --out runs/first",
    "tenfold evaluate runs/first --data uci:test",
    "tenfold read --digits docs/seven.png",
)
KEY_SECONDS, LONGEST_WAIT, LONGEST_COMMAND, AFTER, AT_END = 0.04, 0.7, 6.0, 1.2, 4.0
CELL, LINE, MARGIN = 8.4, 19, 14  # of a letter, in pixels
COLOURS = {
    "default": "#d8dee9", "green": "#a3be8c", "red": "#e06c75", "blue": "#81a1c1", "cyan": "#88c0d0",
    "magenta": "#b48ead", "yellow": "#ebcb8b", "brown": "#ebcb8b", "white": "#eceff4", "black": "#6b7689",
}  # fmt: skip
Row = list[tuple[int, str, str, bool]]  # of each run of like letters: where it begins, text, colour, bold


def record(commands: tuple[str, ...], folder: Path) -> list[tuple[float, list[Row]]]:
    """Return the screens that a terminal shows while somebody types and runs the commands, and for how many seconds."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.ByteStream(screen)
    screens: list[tuple[float, list[Row]]] = []

    def shown(seconds: float) -> None:
        screens.append((min(seconds, LONGEST_WAIT), [_runs(screen.buffer[line]) for line in range(HEIGHT)]))

    for command in commands:
        stream.feed(b"\x1b[32m$\x1b[0m ")
        for letter in command:
            stream.feed(letter.encode())
            shown(KEY_SECONDS)
        stream.feed(b"\r\n")
        outputs = _outputs(command, folder)
        faster = max(1.0, sum(seconds for _, seconds in outputs) / LONGEST_COMMAND)
        for output, seconds in outputs:
            shown(seconds / faster)
            stream.feed(output)
        shown(0.2)
        screens.append((AFTER, screens[-1][1]))
    return [*screens, (AT_END, screens[-1][1])]


def _outputs(command: str, folder: Path) -> list[tuple[bytes, float]]:
    """Return what a command prints on a terminal, piece by piece, each with the seconds that it waited before."""
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TERM": "xterm-256color",
                                "TENFOLD_CACHE": str(folder / "cache")}  # fmt: skip
    words = [sys.executable, "-m", *shlex.split(command)]
    process = subprocess.Popen(words, cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    found, last = [], time.monotonic()
    while True:
        if select.select([master], [], [], 0.1)[0]:
            try:
                output = os.read(master, 1 << 16)
            except OSError:  # the terminal's other end is closed
                break
            now = time.monotonic()
            found.append((output, now - last))
            last = now
        elif process.poll() is not None:
            break
    os.close(master)
    if process.wait():
        raise RuntimeError(f"'{command}' ended with {process.returncode}")
    return found


def _runs(line: "dict[int, pyte.screens.Char]") -> Row:
    row: Row = []
    for column in range(WIDTH):
        letter = line[column]
        look = (COLOURS.get(letter.fg, f"#{letter.fg}" if len(letter.fg) == 6 else COLOURS["default"]), letter.bold)
        if row and (row[-1][2], row[-1][3]) == look:
            start, text, *rest = row[-1]
            row[-1] = (start, text + letter.data, *rest)  # type: ignore[assignment]
        else:
            row.append((column, letter.data, *look))
    return [run for run in row if run[1].strip()]


def svg(screens: list[tuple[float, list[Row]]]) -> str:
    """Return the screens as an SVG that shows one after the other, and begins again."""
    total = sum(seconds for seconds, _ in screens)
    width, height = 2 * MARGIN + WIDTH * CELL, 2 * MARGIN + HEIGHT * LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" '
        'font-size="14"><style>text{white-space:pre}</style><rect width="100%" height="100%" rx="8" fill="#2e3440"/>'
    ]
    # A line that stays is drawn once, for as long as it stands.
    for number in range(HEIGHT):
        begun, now = 0.0, 0.0
        for place, (seconds, rows) in enumerate(screens):
            now += seconds
            after = screens[place + 1][1][number] if place + 1 < len(screens) else None
            if after != rows[number]:
                if rows[number]:
                    parts.append(
                        _line(rows[number], MARGIN + (number + 0.75) * LINE, begun / total, now / total, total)
                    )
                begun = now
    return "".join([*parts, "</svg>\n"])


def _line(row: Row, y: float, begin: float, end: float, total: float) -> str:
    weight = {True: ' font-weight="bold"', False: ""}
    spans = "".join(
        f'<text x="{MARGIN + start * CELL:.1f}" y="{y:.0f}" fill="{colour}" textLength="{len(text) * CELL:.1f}"'
        f"{weight[bold]}>{escape(text)}</text>"
        for start, text, colour, bold in ((place, each.rstrip(), *look) for place, each, *look in row)
    )
    keys = [0.0, begin, end] if end < 1 else [0.0, begin]
    values = ["hidden", "visible", "hidden"][: len(keys)]
    if not begin:
        keys, values = keys[1:], values[1:]
    times = ";".join(f"{key:.4f}" for key in keys)
    animation = f'dur="{total:.1f}s" repeatCount="indefinite" calcMode="discrete"'
    return (
        f'<g visibility="hidden"><animate attributeName="visibility" values="{";".join(values)}" keyTimes="{times}" '
        f"{animation}/>{spans}</g>"
    )


def main() -> None:
    """Record, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "terminal.svg")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "docs").mkdir()
        shutil.copy(ROOT / "docs" / "seven.png", Path(name) / "docs")
        out.write_text(svg(record(COMMANDS, Path(name))), encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1000:,.0f} kB")


if __name__ == "__main__":
    main()
