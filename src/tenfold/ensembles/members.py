"""An ensemble's members, trained: each by itself, or several of one recipe as one program; here or on Ray."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.errors import TrainingError
from tenfold.parallel import Place, Task, run_tasks

if TYPE_CHECKING:
    from rich.console import Console

    from tenfold.ensembles.pool import Member, Pool

# Members that one program trains on an accelerator, unless told otherwise. A guess, not measured on one: as many as an
# ensemble needs, of networks so small that each by itself leaves it waiting. On a processor a stack gains nothing.
STACKED_ON_AN_ACCELERATOR = 20


def train_member(
    recipe: str,
    overrides: Sequence[str],
    data: Sequence[str],
    out: str,
    seed: int,
    subset: int | None,
    deduplicate: bool,
    threads: int,
    device: str,
    quiet: bool = True,
) -> dict[str, Any]:
    """Return what training one member came to, begun or gone on with; it runs wherever `tenfold.parallel` puts it."""
    from tenfold.runs.run import MANIFEST
    from tenfold.train import train

    folder = Path(out)
    if (folder / MANIFEST).is_file():
        result = train(resume=folder, device=device, threads=threads, quiet=quiet)
    else:
        result = train(
            recipe,
            list(data),
            folder,
            overrides=overrides,
            seed=seed,
            subset=subset,
            deduplicate=deduplicate,
            device=device,
            threads=threads,
            quiet=quiet,
        )
    return _came_to(result)


def train_members(
    members: Sequence[dict[str, Any]],
    data: Sequence[str],
    subset: int | None,
    deduplicate: bool,
    threads: int,
    device: str,
) -> dict[str, Any]:
    """Return what training members came to, several of them as one program; runs wherever `tenfold.parallel` puts it.

    members: recipe, overrides, out and seed of each, begun now or gone on with. Keys: members (a dictionary each, as of
    `train_member`, in their order), failed (reasons, by folder, of those whose loss did not stay finite).
    """
    from tenfold.train import train_stack

    if len(members) == 1:
        alone = train_member(
            **members[0], data=data, subset=subset, deduplicate=deduplicate, threads=threads, device=device
        )
        return {"members": [alone], "failed": {}}
    each = [{**member, "out": Path(member["out"])} for member in members]
    results = train_stack(each, data, subset=subset, deduplicate=deduplicate, threads=threads, device=device)
    failed = {result["run"]: result["reason"] for result in results if result["status"] == "failed"}
    return {"members": [_came_to(result) for result in results if result["status"] != "failed"], "failed": failed}


def _came_to(result: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a member that `train` ended with; TrainingError where it did not finish."""
    if result["status"] != "finished":
        raise TrainingError(f"'{result['run']}' ended '{result['status']}'. The same command goes on with it.")
    return {key: result[key] for key in ("run", "recipe", "seed", "seconds", "validation_accuracy", "validation_n")}


def train_all(
    pool: "Pool",
    count: int,
    budget: float | None,
    on: str | None,
    workers: int,
    threads: int,
    device: str,
    stack: int | None,
    console: "Console",
) -> dict[str, str]:
    """Train what is not trained yet of the first `count` members; return the names of those that could not be, and why.

    Arguments as of `tenfold.ensemble.ensemble`.
    """
    lost: dict[str, str] = {}
    seconds: list[float] = []  # of each task
    trained = 0
    began = time.monotonic()
    deadline = None if budget is None else began + budget
    done_before = len(pool.finished(count))
    total = f" of {count}" if budget is None else ""
    if done_before:
        console.print(f"{done_before}{total} members are trained already", markup=False)

    def in_time() -> bool:
        """Return whether another task can end before the deadline: what cannot would be trained for nothing."""
        return deadline is None or time.monotonic() + max(seconds, default=0.0) <= deadline

    def tasks() -> Iterator[Task]:
        for group in _groups(pool, count, stack_sizes(pool, on, device, stack, console)):
            if not in_time():
                return
            yield _task(pool, group, threads, device)

    def lose(name: str, reason: str) -> None:
        lost[name] = reason
        console.print(f"{name} could not be trained: {reason}", style="yellow", markup=False)

    def done(task: Task, result: dict[str, Any]) -> None:
        nonlocal trained
        seconds.append(sum(member["seconds"] for member in result["members"]))
        for member in result["members"]:
            trained += 1
            errors = round((1 - member["validation_accuracy"]) * member["validation_n"])
            console.print(
                f"[{done_before + trained}{total}] {Path(member['run']).name}: {errors} of "
                f"{member['validation_n']:,} held-out images wrong after {member['seconds']:.1f} s of training; "
                f"{time.monotonic() - began:.0f} s so far",
                markup=False,
            )
        for folder, reason in result["failed"].items():
            lose(Path(folder).name, reason)

    def failed(task: Task, reason: str) -> None:
        for member in task.arguments["members"]:
            lose(Path(member["out"]).name, reason)

    run_tasks(
        tasks(),
        on=on,
        workers=workers,
        threads=threads,
        done=done,
        failed=failed,
        deadline=deadline,
        shared=[pool.path],
    )
    return lost


def stack_sizes(
    pool: "Pool", on: str | None, device: str, stack: int | None, console: "Console"
) -> Callable[[str], int]:
    """Return a function from a recipe's name in the pool to how many of its members one program trains.

    stack: as many as that, but one where the recipe's networks cannot be trained so, which is said.
    """
    from tenfold.training import device as devices
    from tenfold.training import recipe as recipes
    from tenfold.training.stack import stackable

    accelerated = Place.parse(on).kind == "local" and devices.choose(device).type != "cpu"
    wanted = stack or (STACKED_ON_AN_ACCELERATOR if accelerated else 1)
    sizes = dict.fromkeys(pool.settings.recipes, wanted)
    for name in sizes if wanted > 1 else ():
        if (reason := stackable(recipes.load(name, pool.settings.overrides))) is not None:
            sizes[name] = 1
            console.print(f"Members of '{name}' are trained one by one: {reason}", markup=False)
    return sizes.__getitem__


def _groups(pool: "Pool", count: int, size: Callable[[str], int]) -> Iterator[list["Member"]]:
    """Give those of the first `count` members that are not trained, in groups of one recipe of up to `size`."""
    waiting: dict[str, list[Member]] = {}
    for number in range(count):
        member = pool.member(number)
        if member.finished():
            continue
        group = waiting.setdefault(member.recipe, [])
        group.append(member)
        if len(group) == size(member.recipe):
            yield waiting.pop(member.recipe)
    yield from waiting.values()


def _task(pool: "Pool", group: Sequence["Member"], threads: int, device: str) -> Task:
    """Return the task of training these members, named after the first."""
    made_of = pool.settings
    members = [
        {
            "recipe": str(Path(member.recipe).resolve()) if Path(member.recipe).is_file() else member.recipe,
            "overrides": list(member.overrides),
            "out": str(member.folder.resolve()),
            "seed": member.seed,
        }
        for member in group
    ]
    arguments = {
        "members": members,
        "data": list(made_of.data),
        "subset": made_of.subset,
        "deduplicate": made_of.deduplicate,
        "threads": threads,
        "device": device,
    }
    return Task(group[0].name, "tenfold.ensembles.members:train_members", arguments)
