"""How a tune begins: what cannot work is refused, the plan is written down, and the folder is made."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tenfold import data as digit_data
from tenfold.data import splits
from tenfold.data.digits import Digits
from tenfold.errors import RecipeError, RunError, TrainingError
from tenfold.files import write_atomically
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe
from tenfold.tuning import search

METRICS, METHODS = ("nll", "accuracy"), ("optuna", "grid")
TRIALS = 30  # where neither a number nor a time is given
SEEDS = 3  # of the comparison at the end
PLAN, RECIPE = "tune.json", "recipe.toml"


@dataclass(frozen=True)
class Plan:
    """What a tune is about: tune.json, written once."""

    recipe: str
    name: str
    method: str
    metric: str
    seed: int
    subset: int | None
    trials: int | None
    max_seconds: float | None
    seeds: int
    spec: str
    sha256: str
    images: int
    started: str
    versions: dict[str, str]
    commit: str | None


def begin(
    recipe: str | Path,
    spec: str,
    out: Path | None,
    trials: int | None,
    max_seconds: float | None,
    seed: int | None,
    subset: int | None,
    metric: str | None,
    method: str | None,
    seeds: int | None,
    name: str | None,
    device: str,
) -> tuple[Path, Plan, Digits]:
    """Return a new folder, its plan and the data, after looking at everything that could be wrong."""
    from tenfold.runs import provenance
    from tenfold.runs.begin import check
    from tenfold.tuning import grid

    base = recipes.load(recipe)
    check(base, device, None)
    space = search.checked(base, recipe)
    chosen = method or ("grid" if base.classical else "optuna")
    _one_of("--method", chosen, METHODS)
    if chosen == "grid":
        grid.axis_points(space, trials)
    judged_by = metric or ("accuracy" if chosen == "grid" else "nll")
    _one_of("--metric", judged_by, METRICS)
    if base.data.validation == 0:
        raise RecipeError(f"Recipe '{base.name}' holds nothing out to be judged on. Set data.validation=0.05 in it.")
    first_seed = base.seed if seed is None else seed
    digits = digits_of(spec, subset, first_seed)
    plan = Plan(
        recipe=base.name,
        name=name or f"{base.name}-tuned",
        method=chosen,
        metric=judged_by,
        seed=first_seed,
        subset=subset,
        trials=TRIALS if trials is None and max_seconds is None and chosen == "optuna" else trials,
        max_seconds=max_seconds,
        seeds=SEEDS if seeds is None else seeds,
        spec=spec,
        sha256=digits.content_hash(),
        images=len(digits),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=provenance.versions(base),
        commit=provenance.commit(),
    )
    return _new_folder(out or _free_folder(base.name), base, plan), plan, digits


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise TrainingError(f"{option} '{value}' is unknown. Give one of: {', '.join(known)}.")


def digits_of(spec: str, subset: int | None, seed: int) -> Digits:
    """Return the labelled digits to search on."""
    digits = digit_data.load(spec, "train")
    assert digits.labels is not None  # load's promise to "train"
    return digits if subset is None else digits.take(splits.subset(digits.labels, subset, seed))


def _free_folder(name: str) -> Path:
    """Return the first of runs/tune-NAME-1, runs/tune-NAME-2, ... that is not there."""
    number = 1
    while (path := Path("runs") / f"tune-{name}-{number}").exists():
        number += 1
    return path


def _new_folder(path: Path, recipe: Recipe, plan: Plan) -> Path:
    """Return `path`, now a folder with the recipe and the plan in it; RunError where something stands there already."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"'{path}' exists already. Give another --out, or --resume '{path}' to go on with a tune there.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"'{path}' cannot be made: {error.strerror}. Give another --out.") from None
    write_atomically(path / RECIPE, recipe.to_toml().encode())
    # Last, because it makes the folder a tune.
    write_atomically(path / PLAN, (json.dumps(asdict(plan), indent=2) + "\n").encode())
    return path


def resumed(path: Path, trials: int | None, max_seconds: float | None) -> Plan:
    """Return the plan of the tune at `path`, with the new limits where there are any; RunError where it is none."""
    file = path / PLAN
    if not file.is_file():
        raise RunError(f"'{path}' is no tune: it has no {PLAN}. Give the folder that `tenfold tune` wrote.")
    try:
        plan = Plan(**json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(f"'{file}' cannot be read: {error}. Start another tune without --resume.") from None
    if trials is not None and plan.method == "grid":
        raise RunError(f"--trials '{trials}' cannot change a grid that has begun. Leave --trials away.")
    if trials is None and max_seconds is None:
        return plan
    return replace(plan, trials=plan.trials if trials is None else trials, max_seconds=max_seconds)


def refuse_with_resume(options: dict[str, object]) -> None:
    """Raise RunError naming an option that a tune which goes on would ignore."""
    for option, value in options.items():
        if value is not None:
            raise RunError(
                f"{option} '{value}' does not go with --resume: a tune goes on as it began. Leave it away, or begin "
                "a new tune."
            )
