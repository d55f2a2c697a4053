"""Recipes -> each published system, trained and scored on fixed protocols, beside its published score.

A protocol says what is trained on and what is scored. `mnist` trains on MNIST's 60,000 and scores on its 10,000 test
images; `kaggle` trains on Kaggle's 42,000 but for a tenth, and scores on that tenth. What is done stays done: a second
call goes on where the first was stopped.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold import settings
from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.errors import RecipeError, RunError, SourceError, TenfoldError, TrainingError, nearest
from tenfold.evaluate import evaluate
from tenfold.pages import comparison as comparisons
from tenfold.pages import page as pages
from tenfold.pages import reproduced, result_tables
from tenfold.pages.comparison import Comparison
from tenfold.parallel import Place, Task, check_place, run_tasks
from tenfold.runs import ledger, results
from tenfold.runs.results import Result
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe
from tenfold.tuning.workers import anywhere

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.runs.run import Run

RUNS, PAGE = Path("runs/reproduce"), Path("compare.html")
# What may go wrong with one system and leave the others be: no memory, no xgboost, a loss that is not finite.
FAILURES = (TenfoldError, OSError, ImportError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Protocol:
    """What a system is trained on and scored on; test None: on the images that it held out itself."""

    name: results.Protocol
    title: str
    train: str
    test: str | None
    overrides: tuple[str, ...] = ()
    note: str = ""


MNIST = Protocol("mnist", "MNIST: test images", "mnist:train", "mnist:test")
KAGGLE = Protocol(
    "kaggle",
    "Kaggle: a tenth of 42,000 held out",
    "kaggle:train",
    None,
    ("data.validation=0.1",),
    "Each seed holds out its own tenth. A recipe that keeps its best epoch, or stops early, chose it on those images.",
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (MNIST, KAGGLE)}


def protocols_called(name: str) -> list[Protocol]:
    """Return the protocol of that name, or all of them for "both"; RecipeError for another name."""
    if name == "both":
        return list(PROTOCOLS.values())
    if name not in PROTOCOLS:
        known = [*PROTOCOLS, "both"]
        raise RecipeError(f"No protocol is called '{name}'.{nearest(name, known)} Give one of {', '.join(known)}.")
    return [PROTOCOLS[name]]


@dataclass(frozen=True, eq=False)
class Sets:
    """A protocol's data: the hash of what is trained on, and what is scored, with its hash."""

    train_sha256: str
    test: Digits | None
    test_sha256: str | None


def reproduce(
    names: Sequence[str] | None = None,
    protocols: Sequence[Protocol] = (MNIST, KAGGLE),
    *,
    seeds: int = 1,
    out: Path = RUNS,
    record: Path | None = None,
    page: Path | None = None,
    markdown: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    on: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return a row for each recipe on each protocol, its published score beside ours, and write them as a page.

    names: recipes, by name or path; None takes every shipped one. seeds: 0 to N - 1. out: a run is looked for, and
    otherwise trained, in out/PROTOCOL/RECIPE-SEED; one that was cut short is gone on with, one that was evaluated is
    not evaluated again. record: append each row's result to this .jsonl file, once. page: `compare.html` where not
    given. One system's failure leaves the others be.
    on: None trains one system after the other in this process; "local", "ray" or "ray://HOST:PORT" (a cluster whose
    machines see `out` and the data) several side by side, at most `workers`, with `threads` threads each: where one of
    the two is not given, as many as the other leaves of this machine's. Scored is here in any case.

    Keys: rows (see `result_tables.row`, and runs), failed (recipe, protocol, seed, error), status ("finished",
    "failed", "interrupted"), page and markdown (None where there are no rows), record and seconds.
    Raises RecipeError for an unknown recipe, DataError where a protocol's data is not to be had.
    """
    from rich.console import Console

    if not protocols or seeds < 1:
        raise RecipeError(
            f"'{len(protocols)}' protocols with '{seeds}' seeds are nothing to do. Give at least one each."
        )
    if on is not None:
        check_place(Place.parse(on), device)
    chosen = _recipes(names, protocols)
    sets = [_load(protocol) for protocol in protocols]
    console = Console(stderr=True, quiet=quiet, highlight=False, emoji=False, soft_wrap=True)
    work = Work(out, seeds, record, device, threads, quiet, console, len(protocols) * len(chosen) * seeds)
    sections: list[reproduced.Section] = []
    interrupted = False
    if on is not None:
        with suppress(KeyboardInterrupt):  # what is not trained then is missed below
            work.train_side_by_side(chosen, list(zip(protocols, sets, strict=True)), on, workers)
    for protocol, own in zip(protocols, sets, strict=True):
        finished: list[tuple[dict[str, Any], Run]] = []
        try:
            for name in chosen:
                finished += work.system(name, protocol, own)
        except KeyboardInterrupt:
            interrupted = True
        if finished:
            sections.append((_comparison(protocol, own, [run for _, run in finished]), [row for row, _ in finished]))
        if interrupted:
            break
    result: dict[str, Any] = {
        "rows": [row for _, rows in sections for row in rows],
        "failed": work.failed,
        "status": "interrupted" if interrupted else "failed" if work.failed else "finished",
        "page": None,
        "markdown": None,
        "record": None if record is None else str(record),
        "seconds": round(time.monotonic() - work.began, 2),
    }
    if sections:
        result["page"] = str(comparisons.write_page(page or PAGE, "Published systems, reproduced", sections))
        text = "\n\n".join(f"**{found.title}**\n\n{reproduced.markdown(rows)}" for found, rows in sections)
        result["markdown"] = comparisons.write_markdown(markdown, text)
    reproduced.show(result, sections, console)
    return result


@dataclass
class Work:
    """How the systems are trained, and how far that has come."""

    out: Path
    seeds: int
    record: Path | None
    device: str
    threads: int | None
    quiet: bool
    console: "Console"
    jobs: int
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    failed: list[dict[str, Any]] = field(default_factory=list)
    side_by_side: bool = False
    reasons: dict[Path, str] = field(default_factory=dict)  # why there is no run in a folder, of those side by side
    new: set[Path] = field(default_factory=set)  # trained now, of those side by side

    def train_side_by_side(
        self, names: Sequence[str], protocols: Sequence[tuple[Protocol, Sets]], on: str, workers: int | None
    ) -> None:
        """Train what is missing, each as a task of its own, and score it here as soon as it is there."""
        from tenfold.runs.run import Run

        self.side_by_side = True
        places: dict[str, tuple[Path, Protocol, Sets]] = {}
        tasks = []
        for protocol, sets in protocols:
            for name in names:
                recipe = recipes.load(name, protocol.overrides)
                for seed in range(self.seeds):
                    folder = self._folder(protocol, recipe, seed)
                    if folder.exists() and self._stands(folder, recipe, sets, seed):
                        continue
                    key = f"{protocol.name}: {recipe.name}, seed {seed}"
                    places[key] = folder, protocol, sets
                    arguments = {
                        "recipe": name if name in recipes.available() else str(Path(name).absolute()),
                        "data": anywhere(protocol.train),
                        "folder": str(folder.absolute()),
                        "overrides": list(protocol.overrides),
                        "seed": seed,
                    }
                    tasks.append(Task(key, f"{__name__}:train_task", arguments))
        threads = self.threads or max(1, settings.threads() // (workers or 1))
        device = self.device if Place.parse(on).kind == "local" else "cpu"
        for task in tasks:
            task.arguments.update(threads=threads, device=device)
        self.out.mkdir(parents=True, exist_ok=True)
        self._say(f"{len(tasks)} to train, threads for each: {threads}")

        def done(task: Task, result: dict[str, Any]) -> None:
            folder, protocol, sets = places[task.key]
            self.new.add(folder)
            if result["status"] == "finished":
                with suppress(*FAILURES):  # tried again, and told, when its row is made
                    self._score(Run.open(folder), protocol, sets)
            self._say(f"{task.key}: {result['status']}; {pages.duration(time.monotonic() - self.began)} so far")

        def failed(task: Task, reason: str) -> None:
            self.reasons[places[task.key][0]] = reason
            self._say(f"{task.key}: failed: {reason}")

        if tasks:
            run_tasks(tasks, on=on, workers=workers, threads=threads, done=done, failed=failed, shared=[self.out])

    def _folder(self, protocol: Protocol, recipe: Recipe, seed: int) -> Path:
        return self.out / protocol.name / f"{recipe.name}-{seed}"

    def _stands(self, folder: Path, recipe: Recipe, sets: Sets, seed: int) -> bool:
        """Return True where there is nothing to train in a folder that is there: it is finished, or something else."""
        from tenfold.runs.run import Run

        try:
            run = Run.open(folder)
            _refuse_other(run, recipe, sets, seed)
        except FAILURES:
            return True  # told when its row is made
        return bool(run.manifest["status"] == "finished")

    def system(self, name: str, protocol: Protocol, sets: Sets) -> "list[tuple[dict[str, Any], Run]]":
        """Return the system's row and its run of seed 0 in a list, which is empty where a seed of it failed."""
        recipe = recipes.load(name, protocol.overrides)
        runs, looks = [], []
        for seed in range(self.seeds):
            self.done += 1
            folder = self._folder(protocol, recipe, seed)
            self._say(f"[{self.done}/{self.jobs}] {protocol.name}: {recipe.name}, seed {seed}")
            try:
                run, trained = self._train(folder, name, recipe, protocol, sets, seed)
                look = self._score(run, protocol, sets)
            except FAILURES as error:
                self._fail(recipe, protocol, seed, error)
                continue
            runs.append(run)
            looks.append(look)
            how = "trained now" if trained else "trained before"
            so_far = pages.duration(time.monotonic() - self.began)
            score = f"{pages.percent(look['accuracy'])} after {pages.duration(run.manifest['seconds'])} of training"
            self._say(f"    {score} ({how}); {so_far} so far")
        if len(runs) < self.seeds:
            return []
        try:
            result = results.from_runs(runs, protocol=protocol.name, looks=looks)
            self._record(result)
        except FAILURES as error:
            self._fail(recipe, protocol, None, error)
            return []
        row = result_tables.row(result, recipe.published) | {"runs": [str(run.path) for run in runs]}
        return [(row, runs[0])]

    def _train(
        self, folder: Path, name: str, recipe: Recipe, protocol: Protocol, sets: Sets, seed: int
    ) -> "tuple[Run, bool]":
        """Return the finished run in `folder`, and whether it was trained now; KeyboardInterrupt where that was cut."""
        from tenfold.runs.run import Run
        from tenfold.train import train

        options: dict[str, Any] = {"device": self.device, "threads": self.threads, "quiet": self.quiet}
        if folder in self.reasons:
            raise TrainingError(self.reasons[folder])
        if folder.exists():
            run = Run.open(folder)
            _refuse_other(run, recipe, sets, seed)
            if run.manifest["status"] == "finished":
                return run, folder in self.new
        if self.side_by_side:
            raise KeyboardInterrupt
        if folder.exists():
            outcome = train(resume=folder, **options)
        else:
            outcome = train(name, protocol.train, folder, overrides=protocol.overrides, seed=seed, **options)
        if outcome["status"] != "finished":
            raise KeyboardInterrupt
        return Run.open(folder), True

    def _score(self, run: "Run", protocol: Protocol, sets: Sets) -> dict[str, Any]:
        """Return the run's score on the protocol's images; a run that was evaluated on them is not evaluated again."""
        if protocol.test is None:
            return results.held_out_look(run)
        if not _looks(run, sets):
            evaluate(run.path, protocol.test, device=self.device, quiet=True)
        return _looks(run, sets)[-1]

    def _record(self, result: Result) -> None:
        """Append the result, unless the newest of its system in the file is the same but for the time."""
        if self.record is None:
            return
        known = [
            one for one in results.read(self.record) if (one.recipe, one.protocol) == (result.recipe, result.protocol)
        ]
        if not known or known[-1].model_copy(update={"time": result.time}) != result:
            results.append(self.record, result)

    def _fail(self, recipe: Recipe, protocol: Protocol, seed: int | None, error: BaseException) -> None:
        message = " ".join(str(error).split()) or type(error).__name__
        self.failed.append({"recipe": recipe.name, "protocol": protocol.name, "seed": seed, "error": message})
        self._say(f"    failed: {message}")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False)


def train_task(
    recipe: str, data: str, folder: str, overrides: list[str], seed: int, threads: int, device: str
) -> dict[str, Any]:
    """Return {"status": how the training ended} of one system, begun in `folder` or gone on with there."""
    from tenfold.train import train

    options: dict[str, Any] = {"device": device, "threads": threads, "quiet": True}
    if Path(folder).exists():
        return {"status": train(resume=Path(folder), **options)["status"]}
    return {"status": train(recipe, data, Path(folder), overrides=overrides, seed=seed, **options)["status"]}


def _recipes(names: Sequence[str] | None, protocols: Sequence[Protocol]) -> list[str]:
    """Return the recipes in the order of the tables, every shipped one for None; RecipeError for what is none."""
    if names is None:
        return result_tables.in_order(recipes.available())
    for protocol in protocols:
        titles = [recipes.load(name, protocol.overrides).name for name in names]  # what is wrong shall fail now
        twice = [title for title in titles if titles.count(title) > 1]
        if twice:
            raise RecipeError(f"Two recipes are called '{twice[0]}'. Name each once.")
    if not names:
        raise RecipeError("There are '0' recipes to reproduce. Name at least one.")
    return result_tables.in_order(names)


def _load(protocol: Protocol) -> Sets:
    """Return what identifies the protocol's data; DataError where they are not to be had, before any training."""
    try:
        train_sha256 = load(protocol.train, "train").content_hash()
        test = load(protocol.test, "evaluate") if protocol.test else None
    except SourceError as error:
        others = ", ".join(f"'{name}'" for name in PROTOCOLS if name != protocol.name)
        raise SourceError(f"{error} Or leave this protocol out: --protocol {others}.") from None
    return Sets(train_sha256, test, test.content_hash() if test else None)


def _refuse_other(run: "Run", recipe: Recipe, sets: Sets, seed: int) -> None:
    """Raise RunError where the run in the folder is not what would be trained there."""
    known = run.manifest
    if run.recipe.config_hash() != recipe.config_hash():
        why = f"recipe '{recipe.name}' has changed since it was trained"
    elif known["data"]["sha256"] != sets.train_sha256:
        why = f"it was trained on other data, '{pages.name_of(known['data']['spec'])}'"
    elif known["seed"] != seed:
        why = f"its seed is {known['seed']}"
    elif known.get("from"):
        why = f"it began from the run '{known['from']['run']}'"
    else:
        return
    raise RunError(f"'{run.path}' is another system than asked for: {why}. Move it away, or give another --out.")


def _looks(run: "Run", sets: Sets) -> list[dict[str, Any]]:
    """Return the run's evaluations on the protocol's test images, read as the recipe says."""
    shifted = run.recipe.prediction.shifts > 0
    looks = ledger.read_lines(run.path / "evaluations.jsonl")
    return [look for look in looks if look["data"]["sha256"] == sets.test_sha256 and look["tta"] == shifted]


def _comparison(protocol: Protocol, sets: Sets, runs: Sequence["Run"]) -> Comparison:
    """Return the runs' answers to the images that the protocol scores."""
    if sets.test is not None:
        assert sets.test.labels is not None
        files = [run.path / _looks(run, sets)[-1]["file"] for run in runs]
        systems = [
            comparisons.system(run, run.recipe.name, comparisons.probabilities_in(file))
            for run, file in zip(runs, files, strict=True)
        ]
        return Comparison(protocol.title, sets.test.labels, systems, dict(enumerate(sets.test.images)), protocol.note)
    return comparisons.held_out(runs, [run.recipe.name for run in runs], protocol.title, protocol.note)
