"""The pool: members that differ, a folder that resumes with its own settings alone, and the run that it becomes."""

from pathlib import Path

import numpy as np
import pytest

from tenfold.console import PlainConsole
from tenfold.data import load
from tenfold.ensembles.averaging import combine
from tenfold.ensembles.pool import Pool, Settings, answers, assemble, check_alike, same_held_out
from tenfold.ensembles.selection import Choice
from tenfold.errors import RecipeError, RunError
from tenfold.metrics.scores import score, sharpen
from tenfold.runs.begin import same_data
from tenfold.runs.estimator import from_run
from tenfold.runs.fit import fit
from tenfold.runs.run import Run

QUICK = ("training.epochs=1", "training.min_steps=30", "model.widths=[[8],[16]]")


def trained(pool: Pool, count: int) -> list[Run]:
    """Return the first members' runs, trained."""
    for number in range(count):
        member = pool.member(number)
        fit(member.recipe, pool.settings.data, member.folder, overrides=member.overrides, seed=member.seed,
            subset=pool.settings.subset)  # fmt: skip
    assert len(pool.trained(count + 5)) == count
    return [Run.open(pool.member(number).folder) for number in range(count)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pool, list[Run]]:
    """Return a pool of three whose members hold out the same images of a subset."""
    path = tmp_path_factory.mktemp("shared") / "pool"
    settings = Settings(("instant",), ("uci:train",), seed=3, subset=900, overrides=(*QUICK, "data.validation=0.2"))
    pool = Pool.begin(path, settings)
    return pool, trained(pool, 3)


def test_members_differ_and_hold_out_the_same(shared: tuple[Pool, list[Run]]) -> None:
    """Each has its own seed and weights; the subset and the held-out images are the pool's."""
    _, runs = shared
    assert [run.manifest["seed"] for run in runs] == [3, 4, 5]
    assert len({run.weights_sha256() for run in runs}) == 3
    assert len({run.manifest["data"]["sha256"] for run in runs}) == 1
    held = answers(runs)
    assert held.probabilities.shape == (3, 180, 10)
    assert np.isfinite(held.probabilities).all()
    for run in runs:
        assert np.array_equal(run.held_out(), held.indices)


def test_folds_leave_each_image_to_those_that_did_not_see_it(tmp_path: Path) -> None:
    """Recipes take turns before folds do; every image has exactly one member a round, the other rows are NaN."""
    overrides = ("training.epochs=0.3", "training.min_steps=30")
    settings = Settings(("instant",), ("uci:train",), subset=600, folds=2, overrides=overrides)
    runs = trained(Pool.begin(tmp_path / "pool", settings), 4)
    held = answers(runs)
    known = ~np.isnan(held.probabilities[:, :, 0])
    assert len(held.indices) == 600
    assert (known.sum(0) == 2).all()
    assert np.array_equal(known[0], known[2])
    assert np.array_equal(known[0], ~known[1])
    pool = Pool(tmp_path, Settings(("a", "b"), (), folds=2), ["fp32", "bf16"])
    assert [pool.member(n).overrides[-2] for n in range(5)] == [
        "data.fold=0", "data.fold=0", "data.fold=1", "data.fold=1", "data.fold=0",
    ]  # fmt: skip


def test_a_pool_resumes_with_its_own_settings_alone(shared: tuple[Pool, list[Run]], tmp_path: Path) -> None:
    """The same settings open it again; another one is named; a folder of something else is left alone."""
    pool, _ = shared
    assert len(Pool.begin(pool.path, pool.settings).trained(10)) == 3
    other = Settings(("instant",), ("uci:train",), seed=4, subset=900, overrides=pool.settings.overrides)
    with pytest.raises(RunError, match=r"was begun with seed '3', not '4'"):
        Pool.begin(pool.path, other)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="exists already and is no pool"):
        Pool.begin(tmp_path, pool.settings)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_pool_cut_short_before_it_began_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted before its settings are written, a pool leaves nothing that the same call would refuse."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    settings = Settings(("instant",), ("uci:train",))
    with monkeypatch.context() as patch:
        patch.setattr("tenfold.ensembles.pool.write_atomically", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Pool.begin(tmp_path / "pool", settings)
    assert Pool.begin(tmp_path / "pool", settings).trained(1) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(("svm",), ("uci",)), "'svm' is no network"),
        (Settings(("instnt",), ("uci",)), "Did you mean 'instant'"),
    ],
)
def test_what_cannot_be_a_member(settings: Settings, message: str, tmp_path: Path) -> None:
    """It is named before a folder is made."""
    with pytest.raises(RecipeError, match=message):
        Pool.begin(tmp_path / "pool", settings)
    assert not (tmp_path / "pool").exists()


def test_the_ensemble_is_a_run(shared: tuple[Pool, list[Run]]) -> None:
    """It answers what its members answer, averaged and calibrated; its held-out images are theirs."""
    pool, runs = shared
    choice = Choice("greedy:2", (0, 2), np.array([0.5, 0.0, 0.5]))
    held = answers(runs)
    together = combine(held.probabilities, choice.weights)
    pictures = same_data(runs[0], (), PlainConsole(quiet=True)).images[held.indices]
    run = assemble(pool.path, runs, choice, held, together, pictures)
    manifest = Run.open(pool.path).manifest
    assert manifest["parameters"] == 2 * runs[0].manifest["parameters"]
    members = ["000-instant", "002-instant"]
    assert manifest["ensemble"] == {"rule": "greedy:2", "members": members}
    images = load("uci:test", "evaluate").images
    both = np.stack([from_run(each, "cpu").predict_proba(images) for each in (runs[0], runs[2])])
    expected = sharpen(combine(both, np.array([0.5, 0.5])), run.manifest["temperature"])
    np.testing.assert_allclose(from_run(run, "cpu").predict_proba(images), expected, atol=1e-5)
    kept = run.validation()
    assert kept is not None
    assert np.array_equal(run.held_out(), held.indices)
    assert np.array_equal(np.sort(run.training_hashes()), np.sort(runs[0].training_hashes()))
    assert np.array_equal(kept["mistake_images"], pictures[kept["mistake_indices"]])
    figures = score(kept["labels"], kept["probabilities"])
    assert figures["accuracy"] == run.manifest["validation_accuracy"]
    np.testing.assert_allclose(kept["probabilities"], sharpen(together, run.manifest["temperature"]), atol=1e-6)


def test_what_goes_together(shared: tuple[Pool, list[Run]], tmp_path: Path) -> None:
    """Members were begun on the same images, and may have held out others; other data is named."""
    _, runs = shared
    check_alike(runs)
    assert same_held_out(runs)
    other = fit("instant", ["uci:train"], tmp_path / "split", seed=3, subset=900,
                overrides=[*QUICK, "data.split_seed=3", "data.validation=0.1"])  # fmt: skip
    check_alike([*runs, other])
    assert not same_held_out([*runs, other])
    fewer = fit("instant", ["uci:train"], tmp_path / "fewer", seed=3, subset=800,
                overrides=[*QUICK, "data.validation=0.2"])  # fmt: skip
    with pytest.raises(
        RunError, match=r"fewer' was begun on other data \('uci:train'\) than the other members. Omit it"
    ):
        check_alike([*runs, fewer])
