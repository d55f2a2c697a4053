"""Chosen members, and the run that they become."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tenfold.data import load
from tenfold.ensembles.averaging import combine
from tenfold.ensembles.pool import Pool, Settings, answers, assemble, check_alike, same_held_out
from tenfold.ensembles.selection import Choice
from tenfold.errors import RunError
from tenfold.metrics.scores import score, sharpen
from tenfold.runs.begin import same_data
from tenfold.runs.estimator import from_run
from tenfold.runs.fit import fit
from tenfold.runs.run import Run

QUICK = ("training.epochs=1", "model.widths=[[8],[16]]", "data.validation=0.2")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Return a pool of three whose members hold out the same images of a subset."""
    path = tmp_path_factory.mktemp("shared") / "pool"
    pool = Pool.begin(path, Settings(("instant",), ("uci:train",), seed=3, subset=900, overrides=QUICK))
    for member in map(pool.member, range(3)):
        fit(member.recipe, ["uci:train"], member.folder, overrides=member.overrides, seed=member.seed, subset=900)
    return pool


def test_the_ensemble_is_a_run(pool: Pool) -> None:
    """It answers what its members answer, averaged and calibrated; its held-out images are theirs."""
    runs = [Run.open(member.folder) for member in pool.trained(3)]
    choice = Choice("greedy:2", (0, 2), np.array([0.5, 0.0, 0.5]))
    held = answers(runs)
    together = combine(held.probabilities, choice.weights)
    pictures = same_data(runs[0], (), Console(quiet=True)).images[held.indices]
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


def test_what_goes_together(pool: Pool, tmp_path: Path) -> None:
    """Members were begun on the same images, and may have held out others; other data is named."""
    runs = [Run.open(member.folder) for member in pool.trained(3)]
    check_alike(runs)
    assert same_held_out(runs)
    other = fit("instant", ["uci:train"], tmp_path / "split", seed=3, subset=900,
                overrides=[*QUICK, "data.split_seed=3", "data.validation=0.1"])  # fmt: skip
    check_alike([*runs, other])
    assert not same_held_out([*runs, other])
    with pytest.raises(
        RunError, match=r"images that all members held out, and '.*split' held out others. Omit --distil"
    ):
        check_alike([*runs, other], distil=True)
    fewer = fit("instant", ["uci:train"], tmp_path / "fewer", seed=3, subset=800, overrides=QUICK)
    with pytest.raises(
        RunError, match=r"fewer' was begun on other data \('uci:train'\) than the other members. Omit it"
    ):
        check_alike([*runs, fewer])
