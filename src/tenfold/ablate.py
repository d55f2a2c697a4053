"""A question in, its answer's numbers out: `ablate` trains recipes that differ in one thing, several seeds of each.

All are judged on the same held-out sixth of the training data (10,000 of MNIST's 60,000), whatever their seed; test
images are not looked at. Networks this small use one core well and two badly, so several are trained side by side,
each in a process of its own on one thread.
"""

import functools
import hashlib
import json
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from tenfold import settings
from tenfold.data import load, splits
from tenfold.data.digits import Digits
from tenfold.errors import DataError, RecipeError, RunError, TrainingError
from tenfold.files import write_atomically
from tenfold.pages.ablation_tables import rows, study_table
from tenfold.runs import results
from tenfold.training import ablation as ablations
from tenfold.training.ablation import Ablation, Variant
from tenfold.training.recipe import Recipe

if TYPE_CHECKING:
    from rich.console import Console

OUT = Path("runs/ablate")
HELD_OUT_SHARE = 6  # one in so many images
SPLIT_SEED = 0  # of the images held out


class Job(NamedTuple):
    """One training, and the file for what comes of it; variants that ask for the same training share it."""

    recipe: Recipe
    images: int | None
    seed: int
    spec: str
    file: Path


class Outcome(results.Record):
    """What came of one training; seconds are those of training on one thread."""

    config_sha256: str
    trial: results.Trial
    parameters: int
    epochs: float
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]
    commit: str | None


def ablate(
    names: Sequence[str | Path],
    *,
    seeds: int = 3,
    data: str = "mnist",
    out: Path = OUT,
    workers: int | None = None,
    record: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Return what the ablations gave; what an earlier call finished is not trained again.

    names: shipped ablations or .toml files. seeds: each variant is trained with the seeds 0 to seeds - 1.
    data: labelled digits, a name or a path. out: the folder for one small JSON file a training.
    workers: trainings side by side (default: one a processor). record: append a line a variant to this .jsonl file.
    quiet: print nothing; otherwise progress and a table an ablation go to stderr.
    Keys: studies, one dictionary each: study, question, baseline, held_out {spec, sha256, n}, and rows, one dictionary
    a variant as `ablation_tables.rows` gives them.
    Raises RecipeError, DataError, TrainingError, and RunError for a file in `out` that is none of ours.
    """
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(stderr=True, quiet=quiet, highlight=False)
    studies = [ablations.load(name) for name in names]
    _check(studies, data)
    sha256 = load(data, "train").content_hash()
    jobs = {
        (study.name, variant.label): [_job(study, variant, seed, data, sha256, out) for seed in range(seeds)]
        for study in studies
        for variant in study.variants
    }
    _train_all(jobs, workers or settings.threads(), console)
    answers = []
    for study in studies:
        measured = [_result(study, variant, jobs[study.name, variant.label]) for variant in study.variants]
        console.print(f"\n{study.name}: {study.question}", markup=False, style="bold")
        console.print(Markdown(study_table(measured, study.baseline)))
        if record is not None:
            for result in measured:
                results.append(record, result)
        answers.append(
            {
                "study": study.name,
                "question": study.question,
                "baseline": study.baseline,
                "held_out": measured[0].test_data.model_dump(),
                "rows": rows(measured, study.baseline),
            }
        )
    return {"studies": answers}


def _check(studies: Sequence[Ablation], spec: str) -> None:
    """Raise what is wrong with a study, a network or the data now, before an hour of training comes to it."""
    from tenfold.models import build

    there = len(_parts(spec)[0])

    names = [study.name for study in studies]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"Two ablations are called '{twice}'. Give each once, or rename one of the files.")
    for study in studies:
        for variant in study.variants:
            recipe = study.recipe_of(variant)
            build(recipe.model.kind, recipe.model.arguments())
            wanted = study.images_of(variant) or 1
            if wanted > there:
                raise DataError(
                    f"'{study.name}, {variant.label}' asks for '{wanted:,}' images, and '{spec}' leaves {there:,} to "
                    "train on. Give a larger set."
                )


def _job(study: Ablation, variant: Variant, seed: int, spec: str, sha256: str, out: Path) -> Job:
    recipe, images = study.recipe_of(variant), study.images_of(variant)
    system = json.dumps([recipe.config_hash(), images, sha256])  # all that decides the outcome, but for the seed
    name = f"{hashlib.sha256(system.encode()).hexdigest()[:16]}-{seed}.json"
    return Job(recipe, images, seed, spec, out / name)


def _train_all(jobs: dict[tuple[str, str], list[Job]], workers: int, console: "Console") -> None:
    """Train what has no file yet, side by side; on Ctrl-C those under way are finished and kept."""
    missing: dict[Path, tuple[str, Job]] = {}
    for (study, label), seeds in jobs.items():
        for job in seeds:
            if not job.file.exists():
                missing.setdefault(job.file, (f"{study}, {label}, seed {job.seed}", job))
    if not missing:
        return
    # Forked processes would inherit torch's locks; spawned ones start clean.
    with ProcessPoolExecutor(min(workers, len(missing)), get_context("spawn"), _leave_interrupts_to_parent) as pool:
        titles = {pool.submit(_train, job): title for title, job in missing.values()}
        try:
            for number, done in enumerate(as_completed(titles), start=1):
                trial = _finished(titles[done], done.result).trial
                console.print(
                    f"{number} of {len(missing)}: {titles[done]}: {trial.accuracy:.2%} in {trial.seconds:.1f} s",
                    markup=False,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            console.print("Finishing the trainings under way; the same command goes on after them.")
            raise


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _finished(title: str, result: Any) -> Outcome:
    """Return a training's outcome; TrainingError says which one failed."""
    try:
        outcome: Outcome = result()
    except TrainingError as error:
        raise TrainingError(f"{title}: {error}") from None
    except BrokenProcessPool:
        raise TrainingError(f"A training ended by itself, '{title}' or one beside it. Give --workers 1.") from None
    return outcome


@functools.cache
def _parts(spec: str) -> tuple[Digits, Digits]:
    """Return the digits to train on, and those held out, which are the same for everybody."""
    digits = load(spec, "train")
    assert digits.labels is not None  # load's promise to "train"
    kept, held_out = splits.stratified_split(digits.labels, len(digits) // HELD_OUT_SHARE, SPLIT_SEED)
    return digits.take(kept), digits.take(held_out)


def _train(job: Job) -> Outcome:
    """Return the outcome of one training on one thread, and write it down."""
    import torch

    from tenfold.metrics.scores import nll
    from tenfold.runs import provenance
    from tenfold.training import device as devices
    from tenfold.training.loop import Trainer
    from tenfold.training.predict import predict

    training, held_out = _parts(job.spec)
    if job.images is not None and training.labels is not None:
        training = training.take(splits.subset(training.labels, job.images, job.seed))
    assert training.labels is not None
    assert held_out.labels is not None
    trainer = Trainer(
        job.recipe,
        training.images,
        training.labels,
        (held_out.images, held_out.labels),
        seed=job.seed,
        device=devices.choose("auto"),
        threads=devices.use_threads(1),
    )
    trainer.run()
    trainer.module.load_state_dict(trainer.weights())  # the average's or the best, where the recipe keeps those
    images = torch.from_numpy(held_out.images).to(trainer.device)
    probabilities = predict(trainer.module, images, job.recipe.prediction.shifts)
    outcome = Outcome(
        config_sha256=job.recipe.config_hash(),
        trial=results.Trial(
            seed=job.seed,
            accuracy=float((probabilities.argmax(1) == held_out.labels).mean()),
            nll=nll(held_out.labels, probabilities),
            seconds=round(trainer.position.seconds, 3),
        ),
        parameters=sum(parameter.numel() for parameter in trainer.module.parameters()),
        epochs=round(trainer.epoch, 4),
        machine=devices.describe(trainer.device, trainer.arithmetic),
        versions=provenance.versions(job.recipe),
        commit=provenance.commit(),
    )
    job.file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(job.file, (outcome.model_dump_json(indent=2) + "\n").encode())
    return outcome


def _result(study: Ablation, variant: Variant, jobs: Sequence[Job]) -> results.Result:
    """Return the record of one variant over its seeds."""
    outcomes = [_read(job.file) for job in jobs]
    first, spec = outcomes[0], Path(jobs[0].spec).name
    training, held_out = _parts(jobs[0].spec)
    if any(other.machine["cpu"] != first.machine["cpu"] for other in outcomes):
        raise RunError(f"'{jobs[0].file.parent}' holds trainings of several machines. Give another --out.")
    return results.Result(
        recipe=jobs[0].recipe.name,
        config_sha256=first.config_sha256,
        commit=", ".join(sorted({outcome.commit or "unknown" for outcome in outcomes})),
        machine=first.machine,
        versions=first.versions,
        train_data=results.DataUsed(spec=spec, sha256=training.content_hash(), n=jobs[0].images or len(training)),
        test_data=results.DataUsed(spec=f"{spec}, held out", sha256=held_out.content_hash(), n=len(held_out)),
        parameters=first.parameters,
        epochs=first.epochs,
        trials=[outcome.trial for outcome in outcomes],
        protocol="ablation",
        study=study.name,
        variant=variant.label,
    )


def _read(file: Path) -> Outcome:
    try:
        return Outcome.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not what `tenfold ablate` wrote"
        raise RunError(f"'{file}' cannot be used ({reason}). Delete it, and run the same again.") from None
