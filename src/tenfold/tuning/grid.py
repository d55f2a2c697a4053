"""The search that needs no model of its own: a coarse grid, a finer one around its best, and a finest.

Every point is judged by cross-validation on the training images, through scikit-learn's GridSearchCV.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.data import splits
from tenfold.data.digits import Digits
from tenfold.errors import RecipeError
from tenfold.tuning.search import Space, Values, grid, numeric, objective, overrides
from tenfold.tuning.study import Study, Tried, rank

if TYPE_CHECKING:
    from tenfold.tuning.trial import Figures

STAGES = 3
FOLDS = 3
POINTS = (5, 3)  # values on an axis: more where they fit into the number of trials
MOST_POINTS = 30  # candidates of a stage where no number of trials is given


def axis_points(space: Space, trials: int | None) -> int:
    """Return how many values each numeric axis gets in a stage, so that all stages fit into `trials`.

    Raises RecipeError where even the coarsest grid has more candidates than that.
    """
    most = MOST_POINTS if trials is None else (trials - 1) // STAGES  # one trial is the recipe as it is
    for points in POINTS:
        if len(grid(space, points)) <= most or (trials is None and points == POINTS[-1]):
            return points
    least = STAGES * len(grid(space, POINTS[-1])) + 1
    raise RecipeError(
        f"A grid over '{', '.join(space)}' does not fit into '{trials}' trials. "
        f"Give --trials {least} or more, fewer keys in [search], or --method optuna."
    )


def search(
    study: Study,
    own: Values,
    judge: Callable[[Sequence[tuple[str, ...]]], list["Figures"]],
    *,
    metric: str,
    points: int,
    deadline: float | None,
    say: Callable[[str], None],
    show: Callable[[Tried], None],
) -> bool:
    """Judge every candidate of every stage and keep it in the study; return False where `deadline` came before the end.

    own: the recipe's own values, judged first. judge: gives the figures of candidates (overrides of the recipe), such
    as `cross_validated`. A stage that the study has already is not judged again; one that has
    begun is finished. say is told what comes next, show is given each stage's trials.
    """
    for stage in range(STAGES):
        tried = study.tried()
        if not any(each.base for each in tried):
            figures = judge([()])[0]
            study.add(
                own, objective(metric, figures.nll, figures.accuracy), _kept(figures) | {"base": True, "stage": 0}
            )
            tried = study.tried()
            show(tried[-1])
        before = [each for each in tried if each.base or (each.stage or 0) < stage]
        centre = min(before, key=rank).values
        known = [each.values for each in tried]
        todo = [values for values in grid(study.space, points, stage, centre) if values not in known]
        if not todo:
            continue
        if deadline is not None and time.monotonic() >= deadline:
            return False
        say(
            f"Stage {stage + 1} of {STAGES}: {len(todo)} candidates, {FOLDS} folds each"
            f"{_around(study.space, centre, stage)}"
        )
        judged = judge([overrides(values) for values in todo])
        for values, figures in zip(todo, judged, strict=True):
            study.add(values, objective(metric, figures.nll, figures.accuracy), _kept(figures) | {"stage": stage})
        for each in study.tried()[-len(todo) :]:
            show(each)
    return True


def _around(space: Space, centre: Values, stage: int) -> str:
    """Return where a later stage looks, for people."""
    refined = [f"{key}={centre[key]}" for key, choices in space.items() if numeric(choices)]
    return f", around {' '.join(refined)}" if stage and refined else ""


def _kept(figures: "Figures") -> dict[str, Any]:
    """Return what the study keeps of the figures."""
    return {"nll": figures.nll, "accuracy": figures.accuracy, "seconds": figures.seconds}


def cross_validated(
    candidates: Sequence[tuple[str, ...]], recipe: Path, digits: Digits, seed: int, workers: int, threads: int
) -> list["Figures"]:
    """Return what each candidate (overrides of the recipe) comes to, on the mean of the folds that the seed makes.

    Each image is judged once, by a model that was fitted to the other folds; seconds are those of one fit.
    """
    from sklearn.model_selection import GridSearchCV

    from tenfold.tuning.trial import Candidate, Figures

    assert digits.labels is not None
    search = GridSearchCV(
        Candidate(str(recipe.resolve()), seed=seed, threads=threads),
        {"overrides": list(candidates)},
        scoring={"nll": "neg_log_loss", "accuracy": "accuracy"},
        cv=splits.stratified_folds(digits.labels, FOLDS, seed),
        n_jobs=workers,
        refit=False,
        error_score="raise",
    )
    search.fit(digits.images, digits.labels)
    results = search.cv_results_
    columns = (results[key].tolist() for key in ("mean_test_nll", "mean_test_accuracy", "mean_fit_time"))
    return [
        Figures(-log_likelihood, accuracy, len(digits), round(seconds, 3))
        for log_likelihood, accuracy, seconds in zip(*columns, strict=True)
    ]
