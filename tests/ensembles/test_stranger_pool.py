"""A pool may come from elsewhere: what is no pool's stays out."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.ensembles.pool import Pool, Settings
from tenfold.errors import RunError

SETTINGS = Settings(("instant",), ("uci",))


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
