"""How a tune begins: what cannot work is refused, the plan is written down, and the folder is made."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tenfold import data as digit_data
from tenfold.data import splits
from tenfold.data.digits import Digits
from tenfold.errors import RecipeError, RunError, TrainingError, UsageError, unwritten
from tenfold.files import MOST_TEXT, parse_json, read_bytes, refuse_odd, write_atomically
from tenfold.runs import run
from tenfold.runs.begin import check, free_folder
from tenfold.training import recipe as recipes
from tenfold.tuning import space as spaces

METRICS = ("nll", "accuracy")
TRIALS = 30  # where neither a number nor a time is given
SEEDS = 3  # of the comparison at the end
PLAN, RECIPE, JOURNAL = "tune.json", "recipe.toml", "journal.log"


@dataclass(frozen=True)
class TuneSettings:
    """What is asked of a tune, see `tenfold.tune.tune`; None leaves it to the recipe."""

    recipe: str | Path | None = None
    data: str | None = None
    out: str | Path | None = None
    trials: int | None = None
    max_seconds: float | None = None
    seed: int | None = None
    subset: int | None = None
    metric: str | None = None
    seeds: int | None = None
    name: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Plan:
    """What a tune is about: tune.json, written once."""

    recipe: str
    name: str
    method: Literal["optuna"]
    metric: Annotated[str, Field(pattern=f"^({'|'.join(METRICS)})$")]
    seed: Annotated[int, Field(ge=0, lt=recipes.SEEDS)]
    subset: Annotated[int, Field(ge=1)] | None
    trials: Annotated[int, Field(ge=1)] | None
    max_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    seeds: Annotated[int, Field(ge=0, le=1000)]
    spec: str
    sha256: str
    images: Annotated[int, Field(ge=0)]
    started: str
    versions: dict[str, str]
    commit: str | None

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """Return the plan of the tune in `folder`; RunError where it is none."""
        file = folder / PLAN
        if not file.is_file():
            raise RunError(f"'{folder}' is no tune: it has no {PLAN}. Give the folder that `tenfold tune` wrote.")
        refuse_odd(folder)
        try:
            return parse_json(read_bytes(file, MOST_TEXT), cls)
        except (OSError, ValueError) as error:
            raise RunError(f"'{file}' cannot be read: {error}. Start another tune without --resume.") from None


def begin(settings: TuneSettings, device: str) -> tuple[Path, Plan]:
    """Return a new folder and its plan, after looking at everything that could be wrong."""
    if settings.data is None:
        raise UsageError("There is no '--data'. Give --data DATA, such as --data mnist, or --resume FOLDER.")
    recipe = settings.recipe or recipes.DEFAULT_RECIPE
    base = recipes.load(recipe, [] if settings.split is None else [f"data.split={settings.split}"])
    check(base, device, None)
    spaces.check(base, recipe)
    metric = settings.metric or METRICS[0]
    if metric not in METRICS:
        raise TrainingError(f"--metric '{metric}' is unknown. Give one of: {', '.join(METRICS)}.")
    if base.data.validation == 0:
        raise RecipeError(f"Recipe '{base.name}' holds nothing out to be judged on. Set data.validation=0.05 in it.")
    seed = base.seed if settings.seed is None else settings.seed
    digits = digits_of(settings.data, settings.subset, seed)
    limited = settings.trials is not None or settings.max_seconds is not None
    plan = Plan(
        recipe=base.name,
        name=settings.name or f"{base.name}-tuned",
        method="optuna",
        metric=metric,
        seed=seed,
        subset=settings.subset,
        trials=settings.trials if limited else TRIALS,
        max_seconds=settings.max_seconds,
        seeds=SEEDS if settings.seeds is None else settings.seeds,
        spec=settings.data,
        sha256=digits.content_hash(),
        images=len(digits),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=run.versions(base),
        commit=run.commit(),
    )
    path = free_folder(f"tune-{base.name}") if settings.out is None else Path(settings.out)
    run.refuse_taken(path, f"--resume '{path}' to resume the tune there")
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / RECIPE, base.to_toml().encode())
        # Last, because it makes the folder a tune.
        write_atomically(path / PLAN, (json.dumps(asdict(plan), indent=2) + "\n").encode())
    except OSError as error:
        raise RunError(unwritten(path, error, "Give another --out.")) from None
    return path, plan


def digits_of(spec: str, subset: int | None, seed: int) -> Digits:
    """Return the labelled digits to search on."""
    digits = digit_data.load(spec, "train")
    assert digits.labels is not None  # load's promise to "train"
    return digits if subset is None else digits.take(splits.subset(digits.labels, subset, seed))


def resumed(path: Path, settings: TuneSettings) -> Plan:
    """Return the plan of the tune at `path`, with the new limits where there are any.

    Raises RunError where a resumed tune would ignore a setting, the data are others, or `path` is no tune.
    """
    for option, value in asdict(settings).items():
        if value is not None and option not in ("data", "trials", "max_seconds"):
            what = "The recipe" if option == "recipe" else f"--{option}"
            raise RunError(
                f"{what} '{value}' does not go with --resume: a tune is resumed as it began. Omit it, or begin another."
            )
    plan = Plan.read(path)
    spec = settings.data or plan.spec
    if digits_of(spec, plan.subset, plan.seed).content_hash() != plan.sha256:
        raise RunError(f"The data '{spec}' is not what was tuned on. Give the same --data.")
    if settings.trials is None and settings.max_seconds is None:
        return plan
    return replace(plan, trials=settings.trials or plan.trials, max_seconds=settings.max_seconds)
