"""Reproducing the published systems: a row each, resuming where it was stopped, one failure leaving the others be."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold import progress
from tenfold import reproduce as module
from tenfold.cli import app
from tenfold.data import load
from tenfold.errors import RecipeError, SourceError, TenfoldError, UsageError
from tenfold.jobs import Task
from tenfold.pages.reproduced import SystemRow
from tenfold.reproduce import Reproduced, reproduce
from tenfold.runs import fit, ledger, scoring
from tenfold.runs.protocols import KAGGLE, MNIST, PROTOCOLS
from tenfold.runs.results import Result
from tenfold.runs.run import Run
from tenfold.train import train

TINY = """
name = "{name}"
[model]
kind = "layers"
layers = ["flatten", "dense 16"]
[optimiser]
lr = {lr}
[training]
epochs = 2
batch_size = 32
precision = "fp32"
[published]
test = 0.15
validation = 0.999
source = "a page"
"""


@pytest.fixture(autouse=True)
def protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put both protocols on a few digits, in a working directory with recipes a.toml and b.toml."""
    monkeypatch.chdir(tmp_path)
    for part, purpose, n in (("train", "train", 200), ("test", "evaluate", 100)):
        digits = load(f"uci:{part}", purpose)  # type: ignore[arg-type]
        np.savez(tmp_path / f"{part}.npz", X=digits.images[:n], y=digits.labels[:n])  # type: ignore[index]
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(TINY.format(name=name, lr=0.003))
    monkeypatch.setitem(PROTOCOLS, "mnist", replace(MNIST, train="train.npz", test="test.npz"))
    monkeypatch.setitem(PROTOCOLS, "kaggle", replace(KAGGLE, train="train.npz"))


def names(rows: list[SystemRow]) -> list[tuple[str, str]]:
    """Return recipe and protocol of each row."""
    return [(row.recipe, row.protocol) for row in rows]


def recorded_in(file: Path) -> list[Result]:
    """Return the results in a file."""
    return [Result.model_validate_json(line) for line in file.read_text().splitlines()]


def never(*_: object, **__: object) -> None:
    """Stand in for what must not be called."""
    raise AssertionError("trained or evaluated again")


def test_rows_and_records(tmp_path: Path) -> None:
    """Each recipe has a row on each protocol, the mean of its seeds beside the published score, and a record."""
    result = reproduce("a.toml", seeds=2, out="runs", record="r.jsonl", markdown="t.md", quiet=True)
    assert json.loads(json.dumps(asdict(result)))["rows"][0]["recipe"] == "a"
    assert (result.status, result.failed, result.problem) == ("finished", [], None)
    on_test, on_held_out = result.rows
    looks = [ledger.read_lines(tmp_path / "runs" / "mnist" / f"a-{seed}" / "evaluations.jsonl") for seed in (0, 1)]
    assert on_test.accuracy == pytest.approx(np.mean([look["accuracy"] for (look,) in looks]))
    assert (on_test.published, on_test.published_on, on_test.meets_published) == (0.15, "test", True)
    assert (on_test.n, on_test.seeds, on_test.parameters) == (100, 2, 784 * 16 + 16 + 16 * 10 + 10)
    assert on_test.ci95[0] < on_test.accuracy < on_test.ci95[1]
    manifests = [Run.open(tmp_path / "runs" / "kaggle" / f"a-{seed}").manifest for seed in (0, 1)]
    assert on_held_out.accuracy == pytest.approx(np.mean([one["validation_accuracy"] for one in manifests]))
    assert (on_held_out.published, on_held_out.n, on_held_out.meets_published) == (0.999, 20, False)
    recorded = recorded_in(tmp_path / "r.jsonl")
    assert [(one.recipe, one.protocol, len(one.trials)) for one in recorded] == [("a", "mnist", 2), ("a", "kaggle", 2)]
    assert recorded[0].accuracy()[0] == on_test.accuracy
    assert "| a |" in (tmp_path / "t.md").read_text()
    assert "Kaggle: a tenth of 42,000 held out" in (tmp_path / "reproduce.html").read_text()


def test_what_is_done_stays_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run trained by hand is taken over, a cut one is resumed, and a second call trains and looks at nothing."""
    out = tmp_path / "runs"
    train("a.toml", "train.npz", out / "mnist" / "a-0", seed=0, quiet=True)
    train("b.toml", "train.npz", out / "mnist" / "b-0", seed=0, max_seconds=1e-6, quiet=True)
    before = Run.open(out / "mnist" / "a-0").manifest
    first = reproduce(["a.toml", "b.toml"], "mnist", out=out, record=tmp_path / "r.jsonl", quiet=True)
    assert first.status == "finished"
    assert Run.open(out / "mnist" / "a-0").manifest == before
    assert Run.open(out / "mnist" / "b-0").finished
    monkeypatch.setattr(fit, "fit", never)
    monkeypatch.setattr(scoring, "score_system", never)
    second = reproduce(["a.toml", "b.toml"], "mnist", out=out, record=tmp_path / "r.jsonl", quiet=True)
    assert second.rows == first.rows
    assert len(recorded_in(tmp_path / "r.jsonl")) == 2


def test_another_system_in_its_place_is_named(tmp_path: Path) -> None:
    """A run of a changed recipe or other data is not taken for the one asked for; the others have their rows."""
    out = tmp_path / "runs"
    reproduce(["a.toml"], "mnist", out=out, quiet=True)
    train("b.toml", "test.npz", out / "mnist" / "b-0", seed=0, max_seconds=1e-6, quiet=True)
    (tmp_path / "a.toml").write_text(TINY.format(name="a", lr=0.004))
    (tmp_path / "c.toml").write_text(TINY.format(name="c", lr=0.003))
    result = reproduce(["a.toml", "b.toml", "c.toml"], "mnist", out=out, quiet=True)
    assert result.status == "failed"
    assert names(result.rows) == [("c", "mnist")]
    changed, other = result.failed
    assert (changed.recipe, changed.protocol, changed.seed) == ("a", "mnist", 0)
    assert "recipe 'a' has changed since it was trained. Move it away, or give another --out." in changed.error
    assert "it was trained on other data, 'test.npz'" in other.error


def test_each_system_is_a_share_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While systems are trained one after the other, the whole is as far as those that have ended, failed ones too."""
    shares = []

    def fails(*_: object, **__: object) -> None:
        shares.append(progress.under_way[0].share)
        raise TenfoldError("not today")

    monkeypatch.setattr(fit, "fit", fails)
    result = reproduce(["a.toml", "b.toml"], "mnist", seeds=2, out=tmp_path / "runs", quiet=True)
    assert (len(result.failed), shares) == (4, [0.0, 0.25, 0.5, 0.75])


def test_an_interrupted_call_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the second system leaves the first one's row, and ends as interrupted, without the other protocol."""

    def second_is_cut(recipe: str, data: list[str], folder: Path, **options: Any) -> Run:
        if Path(recipe).stem != "b":
            return trained(recipe, data, folder, **options)
        train(recipe, data, folder, seed=options["seed"], max_seconds=1e-6, quiet=True)
        return Run.open(folder)

    trained = fit.fit
    monkeypatch.setattr(fit, "fit", second_is_cut)
    result = reproduce(["a.toml", "b.toml"], out=tmp_path / "runs", quiet=True)
    assert result.status == "interrupted"
    assert names(result.rows) == [("a", "mnist")]


def test_what_cannot_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown recipe, the same one twice, and data that is not there are refused before anything is trained."""
    with pytest.raises(RecipeError, match="No recipe is called 'nothing'"):
        reproduce(["a.toml", "nothing"], out=tmp_path / "runs", quiet=True)
    with pytest.raises(RecipeError, match="Two recipes are called 'a'"):
        reproduce("a.toml,./a.toml", out=tmp_path / "runs", quiet=True)
    with pytest.raises(UsageError, match="'--workers 2' goes with --on PLACE"):
        reproduce("a.toml", workers=2, quiet=True)
    monkeypatch.setitem(PROTOCOLS, "kaggle", KAGGLE)
    with pytest.raises(SourceError, match=r"'kaggle' is not on this machine.*--protocol 'mnist'"):
        reproduce(["a.toml"], out=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()


def test_command() -> None:
    """The command prints a row a recipe as JSON, and exits with 1 and a line that names what failed."""
    words = ["reproduce", "--recipes", "a.toml", "--protocol", "mnist", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert {"published", "accuracy", "ci95", "seconds", "parameters", "runs"} <= set(row)
    Path("a.toml").write_text(TINY.format(name="a", lr=0.1))
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "Error: These systems failed: 'a (mnist)'." in done.stderr
    done = CliRunner().invoke(app, [*words[:-2], "mnits"])
    assert "No protocol is called 'mnits'. Did you mean 'mnist'?" in done.stderr


def test_order_is_the_recipes_own(tmp_path: Path) -> None:
    """Rows stand in the order that recipes give, those without one behind, by name."""
    (tmp_path / "z.toml").write_text(TINY.format(name="z", lr=0.003).replace('"z"', '"z"\norder = 5'))
    result = reproduce(["b.toml", "z.toml", "a.toml"], "mnist", out=tmp_path / "runs", quiet=True)
    assert [row.recipe for row in result.rows] == ["z", "a", "b"]


def without_times(rows: list[SystemRow]) -> list[SystemRow]:
    """Return rows without what is never twice the same, nor said of the folder that the runs are in."""
    return [replace(row, seconds=0, runs=[]) for row in rows]


def answers(out: Path) -> dict[str, bytes]:
    """Return the weights of every run, by its name."""
    return {str(file.parent.relative_to(out)): file.read_bytes() for file in out.rglob("weights.safetensors")}


@pytest.fixture
def side_by_side(tmp_path: Path) -> Callable[..., Reproduced]:
    """Return `reproduce` with two workers of one thread, in a folder of its own."""

    def run(*arguments: Any, **options: Any) -> Reproduced:
        return reproduce(*arguments, out=tmp_path / "both", threads=1, on="local", workers=2, quiet=True, **options)

    return run


def test_side_by_side_is_the_same(
    side_by_side: Callable[..., Reproduced], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained side by side every system has the same weights, row and record as one after the other; what is done
    stays done, one failure leaves the others be, and another system in its place is named.
    """
    alone = reproduce(["a.toml", "b.toml"], out=tmp_path / "alone", threads=1, quiet=True)
    (tmp_path / "wild.toml").write_text(TINY.format(name="wild", lr=0.003).replace("lr =", 'kind = "sgd"\nlr = 1e30 #'))
    both = side_by_side(["a.toml", "b.toml", "wild.toml"], "mnist", record=tmp_path / "r.jsonl")
    assert both.status == "failed"
    assert [one.recipe for one in both.failed] == ["wild"]
    assert "loss" in both.failed[0].error
    rest = side_by_side(["a.toml", "b.toml"])
    assert rest.status == "finished"
    assert without_times(rest.rows) == without_times(alone.rows)
    assert without_times(both.rows) == without_times(alone.rows[:2])
    assert answers(tmp_path / "alone").items() <= answers(tmp_path / "both").items()
    assert len(recorded_in(tmp_path / "r.jsonl")) == 2
    monkeypatch.setattr(module, "run_tasks", never)
    monkeypatch.setattr(scoring, "score_system", never)
    assert side_by_side(["a.toml", "b.toml"]).rows == rest.rows
    (tmp_path / "a.toml").write_text(TINY.format(name="a", lr=0.004))
    changed = side_by_side(["a.toml", "b.toml"], "mnist")
    assert "recipe 'a' has changed since it was trained" in changed.failed[0].error


def test_interrupted_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while systems are trained side by side leaves the rows of those that were trained, and trains no more."""
    done: list[str] = []

    def one_and_no_more(tasks: list[Task], **options: Any) -> bool:
        done.append(tasks[0].key)
        options["done"](tasks[0], module.train_task(**tasks[0].arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_tasks", one_and_no_more)
    result = reproduce(["a.toml", "b.toml"], out=tmp_path / "runs", on="local", quiet=True)
    assert done == ["mnist: a, seed 0"]
    assert result.status == "interrupted"
    assert names(result.rows) == [("a", "mnist")]


@pytest.mark.skipif(not (find_spec("ray") and find_spec("grpc")), reason="ray[client] is not installed")
@pytest.mark.slow
def test_on_ray_rows_are_the_same(tmp_path: Path) -> None:
    """On Ray every system has the same weights and the same row as one after the other in this process."""
    alone = reproduce(["a.toml", "b.toml"], seeds=2, out=tmp_path / "alone", threads=1, quiet=True)
    options: dict[str, Any] = {"out": tmp_path / "ray", "threads": 1, "on": "ray", "workers": 2, "quiet": True}
    ray = reproduce(["a.toml", "b.toml"], seeds=2, **options)
    assert (ray.status, ray.failed) == ("finished", [])
    assert without_times(ray.rows) == without_times(alone.rows)
    assert answers(tmp_path / "ray") == answers(tmp_path / "alone")
    assert len(answers(tmp_path / "ray")) == 8


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--workers", "2"], "goes with --on PLACE", 2),
        (["--recipes", "a.toml", "--on", "cloud"], "--on 'cloud' is no place to compute", 1),
        (["--seeds", "0"], "Invalid value for '--seeds'", 2),
    ],
)
def test_refused_places(words: list[str], message: str, code: int) -> None:
    """--workers where it means nothing, and a place that is none, are refused."""
    done = CliRunner().invoke(app, ["reproduce", *words])
    assert done.exit_code == code
    assert message in " ".join(done.stderr.split())
