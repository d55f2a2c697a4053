"""XGBoost's model.json, checked: the library reads places and sizes from it without looking whether they are there.

What is checked is written anew, so that the library sees nothing else. Format: xgboost/doc/model.schema.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, conlist, create_model

from tenfold.runtime.operators import levels

MAX_COMMAS = 20_000_000  # 1.6 million nodes; each number takes up to a hundred bytes for a moment
CLASSES = 10
LEAF, NO_PARENT = -1, 2**31 - 1

Place = Annotated[int, Field(ge=LEAF, le=NO_PARENT)]
Number = Annotated[float, Field(ge=-3e38, le=3e38)]
Count = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Digit = Annotated[int, Field(ge=0, le=1000)]
Nothing = Annotated[list[int], Field(max_length=0)]
BaseScore = TypeAdapter(Number | Annotated[list[Number], Field(min_length=1, max_length=CLASSES)])


def _table(fields: dict[str, Any]) -> Any:
    """Return the model of a JSON object with these keys: a type, a type and its default, or an object's own keys."""
    types = {key: _table(each) if isinstance(each, dict) else each for key, each in fields.items()}
    made: dict[str, Any] = {key: each if isinstance(each, tuple) else (each, ...) for key, each in types.items()}
    return create_model("Table", **made)


Tree = _table(
    {
        **dict.fromkeys(("base_weights", "loss_changes", "sum_hessian", "split_conditions"), list[Number]),
        "default_left": list[Literal[0, 1]],
        "split_type": list[Literal[0]],
        **dict.fromkeys(("split_indices", "left_children", "right_children", "parents"), list[Place]),
        **dict.fromkeys(("categories", "categories_nodes", "categories_segments", "categories_sizes"), Nothing),
        "id": int,
        "tree_param": {
            "num_deleted": (Literal["0"], "0"),
            "num_feature": Count,
            "num_nodes": Count,
            "size_leaf_vector": Literal["0", "1"],
        },
    }
)
File = _table(
    {
        "learner": {
            "attributes": dict[str, Count],
            "feature_names": Nothing,
            "feature_types": Nothing,
            "gradient_booster": {
                "model": {
                    "gbtree_model_param": {"num_parallel_tree": Literal["1"], "num_trees": Count},
                    "iteration_indptr": list[int],
                    "tree_info": list[int],
                    "trees": conlist(Tree),
                },
                "name": Literal["gbtree"],
            },
            "learner_model_param": {
                "base_score": Annotated[str, Field(max_length=1000)],
                "boost_from_average": Literal["0", "1"],
                "num_class": Literal["10"],
                "num_feature": Count,
                "num_target": Literal["1"],
            },
            "objective": {"name": Literal["multi:softprob"], "softmax_multiclass_param": {"num_class": Literal["10"]}},
        },
        "version": tuple[Annotated[int, Field(ge=2, le=1000)], Digit, Digit],  # the extra asks for 3 and later
    }
)


def checked_trees(content: bytes, width: int) -> bytes:
    """Return the JSON of trees for ten digits and rows of `width` values; ValueError where it is none."""
    if content.count(b",") > MAX_COMMAS:
        raise ValueError(f"it has over {MAX_COMMAS:,} numbers")
    file = File.model_validate_json(content)
    learner = file.learner
    model = learner.gradient_booster.model
    rounds = range(0, len(model.trees) + 1, CLASSES)
    score = BaseScore.validate_json(learner.learner_model_param.base_score)
    if isinstance(score, list) and len(score) not in (1, CLASSES):
        raise ValueError(f"it has '{len(score)}' scores to begin with")
    if int(learner.learner_model_param.num_feature) != width:
        raise ValueError(f"it takes rows of '{learner.learner_model_param.num_feature}' values, not {width}")
    if model.iteration_indptr != list(rounds) or model.tree_info != list(range(CLASSES)) * (len(rounds) - 1):
        raise ValueError("its trees aren't ten a round, one for each digit")
    if int(model.gbtree_model_param.num_trees) != len(model.trees):
        raise ValueError(f"it has '{len(model.trees)}' trees, and states {model.gbtree_model_param.num_trees}")
    for number, tree in enumerate(model.trees):
        _check(tree, number, width)
    written: bytes = file.model_dump_json().encode()
    return written


def _check(tree: Any, number: int, width: int) -> None:
    """Raise ValueError where a place or a length isn't what it must be."""
    count = len(tree.parents)
    lists = {len(value) for key, value in tree if isinstance(value, list) and not key.startswith("categories")}
    stated = int(tree.tree_param.num_nodes), int(tree.tree_param.num_feature), tree.id
    left, right, parents = (np.array(each) for each in (tree.left_children, tree.right_children, tree.parents))
    inner = np.flatnonzero(left != LEAF)
    if lists != {count} or stated != (count, width, number) or not count:
        raise ValueError(f"tree {number} has lists of other lengths than it states")
    if not 0 <= min(tree.split_indices) <= max(tree.split_indices) < width:
        raise ValueError(f"tree {number} splits by a value that rows don't have")
    if not np.array_equal(left == LEAF, right == LEAF) or max(*left, *right) >= count:
        raise ValueError(f"tree {number} has a child that isn't there")
    levels(left, right, left == LEAF, np.zeros(1, np.int64))
    expected = np.full(count, NO_PARENT)
    expected[left[inner]] = expected[right[inner]] = inner
    if (expected != parents).any() or (expected == NO_PARENT).sum() > 1:
        raise ValueError(f"tree {number} has other parents than children")
