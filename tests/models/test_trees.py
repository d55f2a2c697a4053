"""XGBoost's trees are taken as they were written, and refused where a place or a size in them cannot be."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from tenfold.data.digits import Digits
from tenfold.errors import RunError
from tenfold.models.classical import Classical
from tenfold.models.fitted import open_fitted
from tenfold.models.trees import checked_trees

Edit = Callable[[dict[str, Any]], Any]
ODD: list[Any] = [
    -1,
    -2,
    25,
    2**31 - 1,
    2**31,
    2**63,
    10**30,
    1e300,
    0.5,
    None,
    True,
    "x",
    "99999999",
    "-5",
    [],
    {},
    [1, 2],
]


@pytest.fixture(scope="module")
def content(digits: Digits) -> bytes:
    """Return the JSON of twenty trees on rows of 12 values."""
    fitted = Classical("xgboost", {"n_estimators": 2}, {"pca": 12}).fit(digits.images, digits.labels).fitted
    assert fitted
    return fitted.content


def test_answers_stay_the_same(content: bytes) -> None:
    """What is written anew answers bit for bit as what XGBoost wrote."""
    rows = np.random.default_rng(0).random((200, 12), np.float32)
    expected = xgboost.Booster(model_file=bytearray(content)).inplace_predict(rows)
    again = xgboost.Booster(model_file=bytearray(checked_trees(content, 12))).inplace_predict(rows)
    np.testing.assert_array_equal(again, expected)


def tree(number: int, **changed: Any) -> Edit:
    """Return an edit of a tree's lists: a value each, by place."""

    def edit(learner: dict[str, Any]) -> None:
        lists = learner["gradient_booster"]["model"]["trees"][number]
        for key, (place, value) in changed.items():
            lists[key][place] = value

    return edit


def model(**changed: Any) -> Edit:
    """Return an edit of what belongs to all trees."""
    return lambda learner: learner["gradient_booster"]["model"].update(changed)


IMPOSSIBLE: dict[str, tuple[Edit, str]] = {
    "a child out of the tree": (tree(3, left_children=(0, 9999)), "tree 3 has a child that isn't there"),
    "a tree without end": (tree(0, left_children=(0, 0)), "two parents"),
    "one child": (tree(0, right_children=(0, -1)), "a child that isn't there"),
    "another parent": (tree(1, parents=(1, 2)), "other parents"),
    "a value that rows lack": (tree(1, split_indices=(0, 12)), "tree 1 splits by a value"),
    "a categorical split": (tree(1, split_type=(0, 1)), "split_type.0: Input should be 0"),
    "a digit of 25": (lambda learner: tree_info(learner, 25), "ten a round"),
    "another end of a round": (model(iteration_indptr=[0, 10, 30]), "ten a round"),
    "a tree less": (lambda learner: learner["gradient_booster"]["model"]["trees"].pop(), "ten a round"),
    "more trees stated": (model(gbtree_model_param={"num_parallel_tree": "1", "num_trees": "21"}), "states 21"),
    "no number": (tree(0, split_conditions=(0, float("nan"))), "split_conditions.0"),
    "other rows": (lambda learner: learner["learner_model_param"].update(num_feature="13"), "rows of '13' values"),
    "other classes": (lambda learner: learner["learner_model_param"].update(num_class="11"), "num_class"),
    "three scores": (lambda learner: learner["learner_model_param"].update(base_score="[1,2,3]"), "'3' scores"),
    "an old version": (lambda learner: None, "version.0"),
    "another objective": (lambda learner: learner["objective"].update(name="rank:ndcg"), "objective.name"),
    "another booster": (lambda learner: learner["gradient_booster"].update(name="dart"), "gradient_booster.name"),
}


def tree_info(learner: dict[str, Any], digit: int) -> None:
    """Let the first tree speak of another digit."""
    learner["gradient_booster"]["model"]["tree_info"][0] = digit


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_trees(what: str, content: bytes, tmp_path: Path) -> None:
    """Each is refused in one line that says what is wrong with it."""
    whole = json.loads(content)
    edit, message = IMPOSSIBLE[what]
    edit(whole["learner"])
    if what == "an old version":
        whole["version"] = [0, 90, 0]
    path = tmp_path / "model.json"
    path.write_text(json.dumps(whole))
    with pytest.raises(RunError) as error:
        open_fitted(path, 12, 1)
    assert message in str(error.value) and "\n" not in str(error.value)


def mutated(content: bytes, seed: int) -> bytes:
    """Return the JSON with one to three of its values, anywhere, removed or replaced, and maybe some bytes."""
    generator = random.Random(seed)
    whole = json.loads(content)
    for _ in range(generator.randint(1, 3)):
        place: Any = whole
        keys = list(place)
        while True:
            key = generator.choice(keys)
            inside = place[key]
            if not isinstance(inside, dict | list) or not inside or generator.random() < 0.1:
                break
            place, keys = inside, list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if generator.random() < 0.2:
            del place[key]
        else:
            place[key] = generator.choice(ODD)
    text = bytearray(json.dumps(whole).encode())
    for _ in range(generator.choice([0, 0, 3])):
        text[generator.randrange(len(text))] = generator.randrange(256)
    return bytes(text)


def test_mutated_trees(content: bytes, tmp_path: Path) -> None:
    """Of 300 mutated files none ends the process or is anything but opened or refused in a line."""
    for seed in range(300):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "model.json").write_bytes(mutated(content, seed))
        (folder / "run.json").write_text("{}")
    code = f"""
import pathlib, numpy
from tenfold.errors import RunError
from tenfold.models.fitted import open_fitted
counts = [0, 0]
for folder in pathlib.Path({str(tmp_path)!r}).iterdir():
    try:
        answer = open_fitted(folder / "model.json", 12, 1).answer(numpy.ones((3, 12), numpy.float32))
        assert answer.shape == (3, 10)
        counts[0] += 1
    except RunError as error:
        assert "\\n" not in str(error)
        counts[1] += 1
print(*counts)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    opened, refused = map(int, done.stdout.split())
    assert opened + refused == 300 and refused > 150 and opened > 0


def test_too_many_numbers(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of more numbers than memory is there for is refused before it is parsed."""
    monkeypatch.setattr("tenfold.models.trees.MAX_COMMAS", 100)
    with pytest.raises(ValueError, match="over 100 numbers"):
        checked_trees(content, 12)
