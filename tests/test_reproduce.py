"""Reproducing the published systems: a row each, going on where it was stopped, one failure leaving the others be."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tenfold import reproduce as module
from tenfold.cli import app
from tenfold.data import load
from tenfold.errors import RecipeError, SourceError
from tenfold.parallel import Task
from tenfold.reproduce import KAGGLE, MNIST, Protocol, reproduce
from tenfold.runs import ledger, results
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


@pytest.fixture
def protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Protocol]:
    """Return both protocols on a few digits, in a working directory with recipes a.toml and b.toml."""
    monkeypatch.chdir(tmp_path)
    for part, purpose, n in (("train", "train", 200), ("test", "evaluate", 100)):
        digits = load(f"uci:{part}", purpose)  # type: ignore[arg-type]
        np.savez(tmp_path / f"{part}.npz", X=digits.images[:n], y=digits.labels[:n])  # type: ignore[index]
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(TINY.format(name=name, lr=0.003))
    return [replace(MNIST, train="train.npz", test="test.npz"), replace(KAGGLE, train="train.npz")]


def test_rows_and_records(protocols: list[Protocol], tmp_path: Path) -> None:
    """Each recipe has a row on each protocol, the mean of its seeds beside the published score, and a record."""
    options = {"seeds": 2, "out": tmp_path / "runs", "record": tmp_path / "r.jsonl", "markdown": tmp_path / "t.md"}
    result = reproduce(["a.toml"], protocols, quiet=True, **options)  # type: ignore[arg-type]
    assert json.loads(json.dumps(result)) == result
    assert (result["status"], result["failed"]) == ("finished", [])
    on_test, on_held_out = result["rows"]
    looks = [ledger.read_lines(tmp_path / "runs" / "mnist" / f"a-{seed}" / "evaluations.jsonl") for seed in (0, 1)]
    assert on_test["accuracy"] == pytest.approx(np.mean([look["accuracy"] for (look,) in looks]))
    assert (on_test["published"], on_test["published_on"], on_test["meets_published"]) == (0.15, "test", True)
    assert (on_test["n"], on_test["seeds"], on_test["parameters"]) == (100, 2, 784 * 16 + 16 + 16 * 10 + 10)
    assert on_test["ci95"][0] < on_test["accuracy"] < on_test["ci95"][1]
    manifests = [Run.open(tmp_path / "runs" / "kaggle" / f"a-{seed}").manifest for seed in (0, 1)]
    assert on_held_out["accuracy"] == pytest.approx(np.mean([one["validation_accuracy"] for one in manifests]))
    assert (on_held_out["published"], on_held_out["n"], on_held_out["meets_published"]) == (0.999, 20, False)
    recorded = results.read(tmp_path / "r.jsonl")
    assert [(one.recipe, one.protocol, len(one.trials)) for one in recorded] == [("a", "mnist", 2), ("a", "kaggle", 2)]
    assert recorded[0].accuracy()[0] == on_test["accuracy"]
    assert "| a |" in (tmp_path / "t.md").read_text()
    assert "Kaggle: a tenth of 42,000 held out" in (tmp_path / "compare.html").read_text()


def test_what_is_done_stays_done(protocols: list[Protocol], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run trained by hand is taken over, a cut one is gone on with, and a second call trains and looks at nothing."""
    out, only = tmp_path / "runs", protocols[:1]
    train("a.toml", "train.npz", out / "mnist" / "a-0", seed=0, quiet=True)
    train("b.toml", "train.npz", out / "mnist" / "b-0", seed=0, max_seconds=1e-6, quiet=True)
    before = Run.open(out / "mnist" / "a-0").manifest
    first = reproduce(["a.toml", "b.toml"], only, out=out, record=tmp_path / "r.jsonl", quiet=True)
    assert first["status"] == "finished"
    assert Run.open(out / "mnist" / "a-0").manifest == before
    assert Run.open(out / "mnist" / "b-0").manifest["status"] == "finished"

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained or evaluated again")

    monkeypatch.setattr(sys.modules["tenfold.train"], "train", never)
    monkeypatch.setattr(module, "evaluate", never)
    second = reproduce(["a.toml", "b.toml"], only, out=out, record=tmp_path / "r.jsonl", quiet=True)
    assert second["rows"] == first["rows"]
    assert len(results.read(tmp_path / "r.jsonl")) == 2


def test_another_system_in_its_place_is_named(protocols: list[Protocol], tmp_path: Path) -> None:
    """A run of a changed recipe or other data is not taken for the one asked for; the others have their rows."""
    out, only = tmp_path / "runs", protocols[:1]
    reproduce(["a.toml"], only, out=out, quiet=True)
    train("b.toml", "test.npz", out / "mnist" / "b-0", seed=0, max_seconds=1e-6, quiet=True)
    (tmp_path / "a.toml").write_text(TINY.format(name="a", lr=0.004))
    (tmp_path / "c.toml").write_text(TINY.format(name="c", lr=0.003))
    result = reproduce(["a.toml", "b.toml", "c.toml"], only, out=out, quiet=True)
    assert result["status"] == "failed"
    assert [row["recipe"] for row in result["rows"]] == ["c"]
    changed, other = result["failed"]
    assert (changed["recipe"], changed["protocol"], changed["seed"]) == ("a", "mnist", 0)
    assert "recipe 'a' has changed since it was trained. Move it away, or give another --out." in changed["error"]
    assert "it was trained on other data, 'test.npz'" in other["error"]


def test_an_interrupted_call_keeps_what_is_done(
    protocols: list[Protocol], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second system leaves the first one's row, and ends as interrupted, without the other protocol."""

    def second_is_cut(recipe: str, *arguments: object, **options: object) -> dict[str, object]:
        limit = {"max_seconds": 1e-6} if recipe == "b.toml" else {}
        return train(recipe, *arguments, **options, **limit)  # type: ignore[arg-type]

    monkeypatch.setattr(sys.modules["tenfold.train"], "train", second_is_cut)
    result = reproduce(["a.toml", "b.toml"], protocols, out=tmp_path / "runs", quiet=True)
    assert result["status"] == "interrupted"
    assert [(row["recipe"], row["protocol"]) for row in result["rows"]] == [("a", "mnist")]


def test_what_cannot_begin(protocols: list[Protocol], tmp_path: Path) -> None:
    """An unknown recipe, the same one twice, and data that is not there are refused before anything is trained."""
    with pytest.raises(RecipeError, match="No recipe is called 'nothing'"):
        reproduce(["a.toml", "nothing"], protocols, out=tmp_path / "runs", quiet=True)
    with pytest.raises(RecipeError, match="Two recipes are called 'a'"):
        reproduce(["a.toml", "./a.toml"], protocols, out=tmp_path / "runs", quiet=True)
    with pytest.raises(SourceError, match=r"'kaggle' is not on this machine.*--protocol 'mnist'"):
        reproduce(["a.toml"], [protocols[0], KAGGLE], out=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()


def test_command(protocols: list[Protocol], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command prints a row a recipe as JSON, and exits with 1 and a line that names what failed."""
    monkeypatch.setattr(module, "PROTOCOLS", {"mnist": protocols[0]})
    words = ["compare", "--reproduce", "--recipes", "a.toml", "--protocol", "mnist", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert {"published", "accuracy", "ci95", "seconds", "parameters"} <= set(row)
    Path("a.toml").write_text(TINY.format(name="a", lr=0.1))
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "Error: These systems failed: 'a (mnist)'." in done.stderr
    done = CliRunner().invoke(app, [*words[:-2], "mnits"])
    assert "No protocol is called 'mnits'. Did you mean 'mnist'?" in done.stderr


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what is never twice the same, nor said of the folder that the runs are in."""
    return [{key: value for key, value in row.items() if key not in ("seconds", "runs")} for row in rows]


def answers(out: Path) -> dict[str, bytes]:
    """Return the weights of every run, by its name."""
    return {str(file.parent.relative_to(out)): file.read_bytes() for file in out.rglob("weights.safetensors")}


def test_side_by_side_is_the_same(protocols: list[Protocol], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained side by side every system has the same weights, row and record as one after the other; what is done
    stays done, one failure leaves the others be, and another system in its place is named.
    """
    alone = reproduce(["a.toml", "b.toml"], protocols, out=tmp_path / "alone", threads=1, quiet=True)
    (tmp_path / "wild.toml").write_text(TINY.format(name="wild", lr=0.003).replace("lr =", 'kind = "sgd"\nlr = 1e30 #'))
    options = {"out": tmp_path / "both", "threads": 1, "on": "local", "workers": 2, "quiet": True}
    names = ["a.toml", "b.toml", "wild.toml"]
    both = reproduce(names, protocols[:1], record=tmp_path / "r.jsonl", **options)  # type: ignore[arg-type]
    assert both["status"] == "failed"
    assert [one["recipe"] for one in both["failed"]] == ["wild"]
    assert "loss" in both["failed"][0]["error"]
    rest = reproduce(["a.toml", "b.toml"], protocols, **options)  # type: ignore[arg-type]
    assert rest["status"] == "finished"
    assert without_times(rest["rows"]) == without_times(alone["rows"])
    assert without_times(both["rows"]) == without_times(alone["rows"][:2])
    assert answers(tmp_path / "alone").items() <= answers(tmp_path / "both").items()
    assert len(results.read(tmp_path / "r.jsonl")) == 2

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again, or evaluated")

    monkeypatch.setattr(module, "run_tasks", never)
    monkeypatch.setattr(module, "evaluate", never)
    assert reproduce(["a.toml", "b.toml"], protocols, **options)["rows"] == rest["rows"]  # type: ignore[arg-type]
    (tmp_path / "a.toml").write_text(TINY.format(name="a", lr=0.004))
    changed = reproduce(["a.toml", "b.toml"], protocols[:1], **options)  # type: ignore[arg-type]
    assert "recipe 'a' has changed since it was trained" in changed["failed"][0]["error"]


def test_interrupted_side_by_side(protocols: list[Protocol], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while systems are trained side by side leaves the rows of those that were trained, and trains no more."""
    done: list[str] = []

    def one_and_no_more(tasks: list[Task], **options: Any) -> bool:
        done.append(tasks[0].key)
        options["done"](tasks[0], module.train_task(**tasks[0].arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_tasks", one_and_no_more)
    result = reproduce(["a.toml", "b.toml"], protocols, out=tmp_path / "runs", on="local", quiet=True)
    assert done == ["mnist: a, seed 0"]
    assert result["status"] == "interrupted"
    assert [(row["recipe"], row["protocol"]) for row in result["rows"]] == [("a", "mnist")]


@pytest.mark.skipif(not (find_spec("ray") and find_spec("grpc")), reason="ray[client] is not installed")
@pytest.mark.slow
def test_on_ray_rows_are_the_same(protocols: list[Protocol], tmp_path: Path) -> None:
    """On Ray every system has the same weights and the same row as one after the other in this process."""
    alone = reproduce(["a.toml", "b.toml"], protocols, seeds=2, out=tmp_path / "alone", threads=1, quiet=True)
    options = {"out": tmp_path / "ray", "threads": 1, "on": "ray", "workers": 2, "quiet": True}
    ray = reproduce(["a.toml", "b.toml"], protocols, seeds=2, **options)  # type: ignore[arg-type]
    assert (ray["status"], ray["failed"]) == ("finished", [])
    assert without_times(ray["rows"]) == without_times(alone["rows"])
    assert answers(tmp_path / "ray") == answers(tmp_path / "alone")
    assert len(answers(tmp_path / "ray")) == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reproduce", "--workers", "2"], "goes with --on PLACE"),
        (["a", "b", "--on", "ray"], "goes with --reproduce alone"),
        (["--reproduce", "--recipes", "a.toml", "--on", "cloud"], "--on 'cloud' is no place to compute"),
    ],
)
def test_refused_places(protocols: list[Protocol], words: list[str], message: str) -> None:
    """--on and --workers where they mean nothing, and a place that is none, are refused."""
    done = CliRunner().invoke(app, ["compare", *words])
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.stderr.split())
