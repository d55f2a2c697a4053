"""How far something has come: the whole and its parts, in this process and in others, told to whoever looks."""

import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenfold import console as consoles
from tenfold import progress
from tenfold.console import PlainConsole
from tenfold.jobs import Task, run_tasks
from tenfold.progress import Work, begun, clock, steps, track


def test_loops_within_loops() -> None:
    """The share counts what an inner loop has done of the outer one's step, wherever the loop is written."""
    shares = []
    with begun(work := Work("Reading")):
        assert work.share is None
        for _ in track(range(2)):
            for _ in track(range(4)):
                shares.append(work.share)
    assert shares == [each / 8 for each in range(8)]
    assert work.share is None


def test_work_within_work() -> None:
    """What is begun within something else is its part, and counts for it."""
    with begun(whole := Work("All", 2)):
        whole.done = 1
        with begun(Work("One")), steps(10) as step:
            step(5)
            assert whole.share == 0.75
            assert [(doing, share) for doing, share, _ in whole.rows()] == [("All", 0.75), ("One", 0.5)]
        assert whole.share == 0.5


def test_a_loop_that_is_left_is_forgotten() -> None:
    """A loop that is left half way, or by an error, no longer counts."""
    with begun(work := Work("Reading")):
        for _ in track(range(2)):
            break
        with pytest.raises(ValueError, match="stop"), steps(3):
            raise ValueError("stop")
        assert work.share is None


def test_nobody_looks() -> None:
    """Without anything under way a loop is a loop."""
    assert list(track([1, 2])) == [1, 2]
    with steps(2) as step:
        step(1)
    assert not progress.under_way


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (65, "1:05"), (3605, "1:00:05"), (36000, "10:00:00")]
)
def test_clock(seconds: float, text: str) -> None:
    """Minutes and seconds, with hours where there are some."""
    assert clock(seconds) == text


def test_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time left goes by what was done since it began, and what was done before does not count."""
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with begun(work := Work("Reading", 10)):
        work.done = 5
        now = 110.0
        assert work.left == "0:10 so far"
        work.done = 6
        assert work.left == "0:40 left"
    with begun(timed := Work("Searching")):
        timed.deadline = 210.0
        now = 135.0
        assert (timed.share, timed.left) == (0.25, "1:15 left")


def test_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are parts by their title, say how far they are from where they run, and count when they end."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    console = PlainConsole(file=io.StringIO())
    missing: list[str] = []

    def look() -> None:
        for number, share in enumerate((0.25, 0.75)):
            while (f"task {number}", share) not in work.parts() and not missing:
                pass
            (tmp_path / f"seen-{number}").touch()

    def tasks() -> Iterator[Task]:
        for number in range(2):
            yield Task(f"key {number}", "job_tasks:far", {"number": number, "folder": str(tmp_path)}, f"task {number}")

    with console.working("Working", 2) as work:
        watcher = threading.Thread(target=look)
        watcher.start()
        failed = lambda task, why: missing.append(why)  # noqa: E731
        run_tasks(tasks(), workers=1, threads=1, done=lambda task, result: None, failed=failed)
        watcher.join()
    assert not missing
    assert work.share == 1


def test_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal there is a line every so often, with share, time left and parts; none on a quiet console."""
    monkeypatch.setattr(consoles, "LINE_SECONDS", 0.001)
    for quiet in (False, True):
        text = io.StringIO()
        with PlainConsole(file=text, quiet=quiet).working("Reading [all]", 4) as work:
            work.done = 1
            work.parts = lambda: [("a", 0.5), ("b", 0.0)]
            if not quiet:
                while "(a 50%)" not in text.getvalue():
                    pass
        lines = text.getvalue().splitlines()
        assert bool(lines) is not quiet
        assert all(
            re.fullmatch(r"Reading \[all\]: 3[18]%, \d:\d\d (left|so far) \(a 50%\)", line) for line in lines[-1:]
        )


def test_on_a_terminal() -> None:
    """On a terminal bars are shown meanwhile and gone afterwards, and other consoles print above them."""
    text = io.StringIO()
    console = PlainConsole(file=text, force_terminal=True, width=80)
    with console.working("Reading", 2) as work:
        work.done = 1
        PlainConsole(soft_wrap=True).print("a line")
        with PlainConsole().working("Its part"):
            (live,) = [each for each in consoles._screens if each is console]
            live.print(consoles._bars(work))
    shown = text.getvalue()
    assert "a line" in shown
    assert "50%" in shown
    assert "Its part" in shown
    assert not consoles._screens
