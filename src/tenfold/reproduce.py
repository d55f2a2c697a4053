"""Recipes -> each published system, trained and scored on fixed protocols, beside its published score.

What is done stays done: a second call resumes where the first was stopped.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tenfold import options, settings
from tenfold.console import PlainConsole
from tenfold.errors import RecipeError, TenfoldError, UsageError, nearest
from tenfold.jobs import Place, Task, check_place, run_tasks
from tenfold.metrics.side_by_side import SideBySide
from tenfold.pages import comparison as comparisons
from tenfold.pages import reproduced
from tenfold.pages.page import drawn, duration, percent
from tenfold.pages.reproduced import SystemRow
from tenfold.runs import fit, results
from tenfold.runs.begin import folder_name
from tenfold.runs.protocols import PROTOCOLS, Protocol, Training
from tenfold.training import recipe as recipe_files

RECIPES = typer.Option("--recipes", metavar="A,B", help="These recipes [default: all].")
PROTOCOL = typer.Option("--protocol", metavar="NAME", help="mnist, kaggle or both.")
SEEDS = typer.Option("--seeds", metavar="N", min=1, help="Train each with so many seeds.")
OUT = typer.Option("--out", metavar="FOLDER", help="Keep the runs here, and resume from them.")
PAGE = typer.Option("--page", metavar="FILE", help="The page to write.")
WORKERS = typer.Option("--workers", metavar="W", min=1, help="With --on: so many trainings side by side.")
# What may go wrong with one system and leave the others be: no memory, no xgboost, a loss that is not finite.
FAILURES = (TenfoldError, OSError, ImportError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class FailedSystem:
    """A system that has no row, and why; seed None: its seeds together."""

    recipe: str
    protocol: str
    seed: int | None
    error: str


@dataclass(frozen=True)
class Reproduced:
    """A row a system and protocol, and the systems that failed.

    status: "finished", "failed" or "interrupted". page, markdown: None where there are no rows.
    """

    rows: list[SystemRow]
    failed: list[FailedSystem]
    status: str
    page: str | None
    markdown: str | None
    record: str | None
    seconds: float

    @property
    def problem(self) -> str | None:
        """What is to be done about the systems that failed."""
        which = ", ".join(f"{one.recipe} ({one.protocol})" for one in self.failed)
        return f"These systems failed: '{which}'. Mend what is said above and run it again." if which else None


def reproduce(
    recipes: Annotated[str | Sequence[str], RECIPES] = (),
    protocol: Annotated[str, PROTOCOL] = "both",
    *,
    seeds: Annotated[int, SEEDS] = 1,
    out: Annotated[str | Path, OUT] = "runs/reproduce",
    record: Annotated[str | Path | None, options.RECORD] = None,
    page: Annotated[str | Path, PAGE] = "reproduce.html",
    markdown: Annotated[str | Path | None, options.MARKDOWN] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    threads: Annotated[int | None, options.THREADS] = None,
    on: Annotated[str | None, options.ON] = None,
    workers: Annotated[int | None, WORKERS] = None,
    quiet: Annotated[bool, options.QUIET] = False,
) -> Reproduced:
    """Return a row for each recipe on each protocol, its published score beside ours, and write them as a page.

    recipes: none: every shipped one. seeds: from 0 on. out: a run is looked for, and otherwise trained or resumed, in
    out/PROTOCOL/RECIPE-SEED; one that was evaluated is not evaluated again. record: each row's result, once. One
    system's failure leaves the others be.
    on: None trains one system after the other in this process; a place several side by side, at most `workers`, with
    `threads` threads each: where one of the two is not given, as many as the other leaves of this machine's. A
    cluster's machines have to see `out` and the data. Scored is here in any case.
    Raises RecipeError for an unknown recipe, DataError where a protocol's data is not to be had.
    """
    if workers is not None and on is None:
        raise UsageError(f"'--workers {workers}' goes with --on PLACE. Add --on local, or omit it.")
    check_place(Place.parse(on), device)
    console = PlainConsole(quiet=quiet, soft_wrap=True)
    protocols = _protocols_called(protocol)
    trainings = _trainings(recipes, protocols, seeds, Path(out))
    specs = [spec for one in protocols for spec in (one.train, one.test)]
    for target, option in ((page, "--page"), (markdown, "--markdown"), (record, "--record")):
        options.check_target(target, specs, "train", {training.name for training in trainings}, option)
    for one in protocols:
        one.check_data()
    tally = Tally(len(trainings), device, console)
    interrupted = False
    try:
        missing = [training for training in trainings if not tally.stands(training)]
        _train(missing, tally, Path(out), device, threads, on, workers, quiet)
    except KeyboardInterrupt:
        interrupted = True
    sections = [section for one in protocols if (section := _section(one, trainings, tally, record))]
    page_written = markdown_written = None
    if sections:
        page_written = drawn(comparisons.write_page, Path(page), "Published systems, reproduced", sections)
        text = "\n\n".join(f"**{found.title}**\n\n{reproduced.markdown(rows)}" for found, rows in sections)
        markdown_written = drawn(comparisons.write_markdown, None if markdown is None else Path(markdown), text)
    result = Reproduced(
        rows=[row for _, rows in sections for row in rows],
        failed=tally.failed,
        status="interrupted" if interrupted else "failed" if tally.failed else "finished",
        page=page_written,
        markdown=markdown_written,
        record=None if record is None else str(record),
        seconds=round(time.monotonic() - tally.began, 2),
    )
    reproduced.show(sections, console)
    for failure in result.failed:
        console.print(f"Failed: {failure.protocol}, {failure.recipe}: {failure.error}")
    if result.page:
        console.print(f"Page: {result.page}")
    if interrupted:
        console.print("What is trained is kept: the same command resumes from there.")
    return result


def _protocols_called(name: str) -> list[Protocol]:
    """Return the protocol of that name, or all of them for "both"; RecipeError for another name."""
    known = [*PROTOCOLS, "both"]
    if name not in known:
        raise RecipeError(f"No protocol is called '{name}'.{nearest(name, known)} Give one of {', '.join(known)}.")
    return [replace(protocol) for key, protocol in PROTOCOLS.items() if name in (key, "both")]


def _trainings(names: str | Sequence[str], protocols: Sequence[Protocol], seeds: int, out: Path) -> list[Training]:
    """Return all that is to be there in the end, in the order of the tables; RecipeError for what is no recipe."""
    given = [name for words in ([names] if isinstance(names, str) else names) for name in words.split(",")]
    found = []
    for protocol in protocols:
        systems = [(name, recipe_files.load(name, protocol.overrides)) for name in given or recipe_files.available()]
        systems = [each for each in systems if given or not each[1].reads]  # these have no score on digits
        titles = [recipe.name for _, recipe in systems]
        twice = [title for title in titles if titles.count(title) > 1]
        if twice:
            raise RecipeError(f"Two recipes are called '{twice[0]}'. Name each once.")
        found += [
            Training(protocol, name, recipe, seed, out / protocol.name / f"{folder_name(recipe.name)}-{seed}")
            for name, recipe in sorted(systems, key=lambda system: reproduced.place(system[1]))
            for seed in range(seeds)
        ]
    return found


class Tally:
    """What has come of the trainings so far: the looks at those that are trained, by folder, and what failed."""

    def __init__(self, count: int, device: str, console: PlainConsole) -> None:
        self.count, self.device, self.console, self.began = count, device, console, time.monotonic()
        self.looks: dict[Path, dict[str, Any]] = {}
        self.failed: list[FailedSystem] = []

    def stands(self, training: Training) -> bool:
        """Return True where there is nothing to train: it was trained before, and is scored now, or it cannot be."""
        try:
            if not training.folder.exists() or not training.run().finished:
                return False
            self.score(training, "trained before")
        except FAILURES as error:
            self.fail(training, error)
        return True

    def score(self, training: Training, when: str) -> None:
        """Look at what a finished run makes of the protocol's images."""
        try:
            run = training.run()
            look = training.protocol.look(run, self.device)
        except FAILURES as error:
            self.fail(training, error)
            return
        self.looks[training.folder] = look
        accuracy, seconds = percent(look["accuracy"]), duration(run.manifest["seconds"])
        self._say(training, f"{accuracy} after {seconds} of training, {when}")

    def fail(self, training: Training, error: BaseException | str) -> None:
        """Take note that a training, or its score, failed."""
        message = " ".join(str(error).split()) or type(error).__name__
        self.failed.append(FailedSystem(training.recipe.name, training.protocol.name, training.seed, message))
        self._say(training, f"failed: {message}")

    def _say(self, training: Training, words: str) -> None:
        done, so_far = len(self.looks) + len(self.failed), duration(time.monotonic() - self.began)
        self.console.print(f"[{done}/{self.count}] {training.title}: {words} ({so_far} so far)")


def _train(
    missing: Sequence[Training],
    tally: Tally,
    out: Path,
    device: str,
    threads: int | None,
    on: str | None,
    workers: int | None,
    quiet: bool,
) -> None:
    """Train each, here in turn or as tasks, and score it as soon as it is there; KeyboardInterrupt where one is cut."""
    if not missing:
        return
    if on is not None:
        threads = threads or max(1, settings.threads() // (workers or 1))
        device, quiet = device if Place.parse(on).kind == "local" else "cpu", True
        tally.console.print(f"{len(missing)} to train, threads for each: {threads}")
    by_key = {each.title: each for each in missing}
    common = {"device": device, "threads": threads, "quiet": quiet}
    tasks = [Task(key, f"{__name__}:train_task", each.arguments() | common) for key, each in by_key.items()]

    def done(task: Task, result: dict[str, Any]) -> None:
        if not result["finished"]:
            raise KeyboardInterrupt
        tally.score(by_key[task.key], "trained now")

    def failed(task: Task, reason: BaseException | str) -> None:
        tally.fail(by_key[task.key], reason)

    with tally.console.working("Training systems", len(tasks)) as work:
        if on is not None:
            out.mkdir(parents=True, exist_ok=True)
            run_tasks(tasks, on=on, workers=workers, threads=threads or 1, done=done, failed=failed, shared=[out])
            return
        for task in tasks:
            tally.console.print(task.key)
            try:
                result = train_task(**task.arguments)
            except FAILURES as error:
                failed(task, error)
            else:
                done(task, result)
            work.done += 1


def train_task(
    recipe: str, data: str, folder: str, overrides: list[str], seed: int, device: str, threads: int | None, quiet: bool
) -> dict[str, Any]:
    """Return whether a system is trained, begun or resumed in `folder`."""
    given: dict[str, Any] = {"overrides": overrides, "seed": seed, "device": device, "threads": threads, "quiet": quiet}
    return {"finished": fit.fit(recipe, [data], Path(folder), **given).finished}


def _section(
    protocol: Protocol, trainings: Sequence[Training], tally: Tally, record: str | Path | None
) -> tuple[SideBySide, list[SystemRow]] | None:
    """Return answers and rows of the systems of which every seed is there; None where there are none."""
    systems: dict[str, list[Training]] = {}
    for each in trainings:
        if each.protocol is protocol:
            systems.setdefault(each.recipe.name, []).append(each)
    rows, first = [], []
    for own in systems.values():
        if not all(each.folder in tally.looks for each in own):
            continue
        try:
            runs = [each.run() for each in own]
            result = results.from_runs(runs, [tally.looks[each.folder] for each in own], protocol=protocol.name)
            if record is not None:
                results.append_once(Path(record), result)
        except FAILURES as error:
            tally.failed.append(FailedSystem(own[0].recipe.name, protocol.name, None, str(error)))
            continue
        rows.append(reproduced.row(result, own[0].recipe.published, [str(run.path) for run in runs]))
        first.append(runs[0])
    return (protocol.answers(first), rows) if rows else None
