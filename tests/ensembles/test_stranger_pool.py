"""A pool, and a run that is taken into one, may come from elsewhere: what is no pool's or no run's stays out."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.ensembles.pool import Pool, Settings
from tenfold.errors import RunError
from tenfold.runs.run import Run
from tenfold.training import recipe as recipes

SETTINGS = Settings(("instant",), ("uci",))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a finished run with answers to held-out images."""
    manifest = {"seed": 0, "status": "finished", "data": {"spec": "uci", "sha256": "00"}}
    hashes = np.arange(20, dtype=np.uint64)
    run = Run.create(tmp_path / "run", recipes.load("instant"), manifest, hashes, np.arange(10))
    run.write_validation(indices=np.arange(10), labels=np.arange(10), probabilities=np.eye(10, dtype=np.float32))
    return run


def test_a_runs_own_files_alone_are_taken_in(run: Run, tmp_path: Path) -> None:
    """Of a run's folder a pool copies what a run has, and nothing else; a link in it is refused."""
    (run.path / "secret").write_text("large")
    (run.path / "more").mkdir()
    pool = Pool(tmp_path / "pool", SETTINGS, ["fp32"])
    pool.take_in([run.path])
    taken = tmp_path / "pool" / "members" / "with-run"
    assert {path.name for path in taken.iterdir()} == {"recipe.toml", "run.json", "data.npz", "validation.npz"}
    os.symlink("/dev/zero", run.path / "weights.safetensors")
    with pytest.raises(RunError, match="weights.safetensors' is a link"):
        Pool(tmp_path / "other", SETTINGS, ["fp32"]).take_in([run.path])
    assert not (tmp_path / "other").exists()


BEGUN: dict[str, Any] = {"recipes": ["instant"], "data": ["uci"], "precisions": ["fp32"]}


@pytest.mark.parametrize(
    "content",
    ["[]", "{", "null", *(json.dumps(BEGUN | change) for change in (
        {"precisions": []}, {"precisions": ["fp7"]}, {"precisions": 1}, {"seed": "a"}, {"data": None},
        {"folds": [1]}))],
)  # fmt: skip
def test_another_pool(content: str, tmp_path: Path) -> None:
    """A pool.json that is none is refused by name."""
    (tmp_path / "pool.json").write_text(content)
    with pytest.raises(RunError, match="pool.json' is not what a pool begins with"):
        Pool.begin(tmp_path, SETTINGS)


@pytest.mark.parametrize("name", ["pool.json", "members", "members/000-instant"])
def test_a_pool_has_no_links(name: str, tmp_path: Path) -> None:
    """A link in a pool, to which members would be written, is refused; without it the pool is resumed."""
    pool, elsewhere = tmp_path / "pool", tmp_path / "elsewhere"
    (pool / "members").mkdir(parents=True)
    (pool / "pool.json").write_text(json.dumps(BEGUN))
    assert Pool.begin(pool, SETTINGS).precisions == ("fp32",)
    elsewhere.mkdir()
    if (path := pool / name).exists():
        path.rename(elsewhere / "kept")
    path.symlink_to(elsewhere)
    with pytest.raises(RunError, match="is a link"):
        Pool.begin(pool, SETTINGS)
