"""A tune's plan is checked before anything is resumed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import RunError
from tenfold.tuning.plan import Plan

PLAN: dict[str, Any] = {
    "recipe": "instant", "name": "a", "method": "optuna", "metric": "nll", "seed": 0, "subset": None, "trials": 2,
    "max_seconds": None, "seeds": 1, "spec": "uci", "sha256": "00", "images": 10, "started": "2026", "commit": None,
    "versions": {"numpy": "2"},
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"seed": -1}, {"seed": 2**64}, {"method": "luck"}, {"metric": "x"}, {"subset": 0}, {"trials": "a"}, {"spec": 1},
     {"max_seconds": -1}, {"seeds": 10**9}, {"versions": []}],
)  # fmt: skip
def test_another_plan(changes: dict[str, Any], tmp_path: Path) -> None:
    """A tune.json with a value of another kind, or out of range, is refused by name; one of ours is read."""
    (tmp_path / "tune.json").write_text(json.dumps(PLAN))
    assert Plan.read(tmp_path) == Plan(**PLAN)
    (tmp_path / "tune.json").write_text(json.dumps(PLAN | changes))
    with pytest.raises(RunError, match=f"tune.json' cannot be read: at '{next(iter(changes))}"):
        Plan.read(tmp_path)


def test_a_tune_has_no_links(tmp_path: Path) -> None:
    """A journal that is a link leads nothing elsewhere."""
    (tmp_path / "tune.json").write_text(json.dumps(PLAN))
    (tmp_path / "journal.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="journal.log' is a link"):
        Plan.read(tmp_path)
