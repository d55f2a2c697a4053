"""The step that an accelerator repeats as a graph is the project's own; networks are written whole, and in time."""

import copy
import json
from pathlib import Path
from typing import Any

import accelerator as script
import numpy as np
import pytest
import torch
from accelerator import FILE, Accelerated, GraphTrainer, TensorAverage, block, device_table, in_graphs
from records import NOTHING, Part, read_records
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from tenfold.data.digits import Digits
from tenfold.errors import RecipeError
from tenfold.models import build
from tenfold.runs import results
from tenfold.runs.results import DataUsed
from tenfold.training.optimise import Average, Optimiser
from tenfold.training.recipe import load

RECIPE = """
name = "small"
model = { kind = "convnet", widths = [[8], [16]], patch = 2, crop = 2, residual = true, pool = "mean", dropout = 0.1 }
training = { epochs = 2, batch_size = 64, ema = 0.9, label_smoothing = 0.1, hard_share = 0.5, precision = "fp32" }
augment = { rotation = 5, scale = 0.1, shear = 0.1, shift = 1, elastic = 0.5, contrast = 0.1 }
optimiser = { kind = "muon", lr = 0.1, weight_decay = 0.01, clip_norm = 1 }
prediction = { shifts = 1 }
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    """A network's recipe with everything that the step knows."""
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def trainer(small: str, digits: Digits) -> GraphTrainer:
    """A network that has not begun."""
    assert digits.labels is not None
    return GraphTrainer(load(small), digits.images, digits.labels, 0, torch.device("cpu"))


class Recorded(TorchDispatchMode):
    """Keeps each operation with whatever in its arguments is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tuple(tensor.shape), (args, kwargs))
        self.operations.append(f"{function} {plain}")
        return function(*args, **(kwargs or {}))


def test_two_steps_are_the_same_operations_on_the_same_memory(trainer: GraphTrainer) -> None:
    """No number of a step differs from another step's, none is read from a tensor, and the weights stay in place."""
    places = [tensor.data_ptr() for tensor in trainer.module.state_dict().values()]
    steps = []
    for _ in range(4):
        trainer.indices.copy_(trainer.sampler.batch(trainer.done))
        with Recorded() as recorded:
            trainer.repeated(True, True)
        trainer.done += 1
        steps.append(recorded.operations)
    assert len(steps[1]) > 100
    assert steps[1] == steps[2] == steps[3]
    assert not [each for each in steps[1] if "_local_scalar_dense" in each or "nonzero" in each]
    assert places == [tensor.data_ptr() for tensor in trainer.module.state_dict().values()]


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_rules_are_the_optimisers_own(small: str, kind: str) -> None:
    """With tensors for the learning rate and the steps, weights and their average become what they would without."""
    recipe = load(small, [f"optimiser.kind={kind}"])
    torch.manual_seed(0)
    ours = build(recipe.model.kind, recipe.model.arguments())
    theirs = copy.deepcopy(ours)
    optimisers = in_graphs(Optimiser(ours, recipe.optimiser), torch.device("cpu")), Optimiser(theirs, recipe.optimiser)
    averages = TensorAverage(ours, 0.9), Average(theirs, 0.9)
    for step in range(5):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        optimisers[0].step(torch.tensor(0.3 + step / 10))  # type: ignore[arg-type]
        optimisers[1].step(0.3 + step / 10)
        averages[0].update(torch.tensor(float(step)))
        averages[1].update(step)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for slow, other in zip(averages[0].slow, averages[1].slow, strict=True):
        torch.testing.assert_close(slow, other, rtol=1e-4, atol=1e-5)


def test_what_the_step_does_not_know_is_refused(small: str, digits: Digits) -> None:
    """A rule without a tensor's learning rate, and a schedule that hangs on looks, are one line."""
    assert digits.labels is not None
    for override, message in (("optimiser.kind=sgd", "'SGD' is not written"), ("schedule.kind=plateau", "does more")):
        with pytest.raises(RecipeError, match=message):
            GraphTrainer(load(small, [override]), digits.images, digits.labels, 0, torch.device("cpu"))


def test_networks_and_what_is_brought_back(small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights, answers and a record a network; again, nothing is trained anew; without time, nothing is begun."""
    out, file = tmp_path / "out", tmp_path / "results" / FILE
    words = ["--recipes", small, "--champion", small, "--set", "name=large", "--data", "uci", "--device", "cpu"]
    words += ["--record", str(file), "--seconds"]
    script.main([*words, "100000", "--networks", "2", "--out", str(out)])
    records = read_records(file, Accelerated)
    assert [(each.recipe, each.seed) for each in records] == [("small", 0), ("large", 0), ("large", 1)]
    assert set(records[0].seconds_to) == {"0.99", "0.993", "0.996"}
    assert not records[1].seconds_to
    answers = [np.load(out / f"large-seed{seed}.npz") for seed in (0, 1)]
    np.testing.assert_array_equal(answers[0]["indices"], answers[1]["indices"])
    for record, each in zip(records[1:], answers, strict=True):
        assert record.held_out == Part.of(each["probabilities"].argmax(1) != each["labels"])
    shape = build("convnet", load(small).model.arguments()).state_dict()
    assert load_file(out / "large-seed1.safetensors").keys() == shape.keys()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["results"][2]["seed"] == 1
    script.main([*words, "0", "--networks", "3", "--out", str(out)])
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["results"]) == 3
    assert read_records(file, Accelerated) == records
    assert not list(out.glob("*seed2*"))
    with pytest.raises(RecipeError, match="of another recipe"):
        script.main([*words, "0", "--set", "optimiser.lr=0.2", "--out", str(out)])


def record_of(seed: int, errors: int, reached: float | None) -> Accelerated:
    """Return a record of one network on 1,000 held-out images."""
    return Accelerated(
        commit=None,
        versions={},
        recipe="instant",
        config_sha256="c" * 64,
        machine={"device": "Example GPU"},
        data=DataUsed(spec="mnist:train", sha256="a" * 64, n=20_000),
        seed=seed,
        parameters=132_000,
        batch_size=128,
        epochs=0.5,
        seconds=1 + seed,
        images_per_second=1000,
        held_out=Part(n=1000, errors=errors),
        seconds_to={"0.99": 0.5, "0.993": reached, "0.996": None},
    )


def test_table(tmp_path: Path) -> None:
    """A row a recipe: all held-out answers together, means of seconds, and a dash where nothing came so far."""
    assert block(tmp_path) == NOTHING
    records = [record_of(0, 10, None), record_of(1, 4, 0.7)]
    for each in records:
        results.append(tmp_path / FILE, each)
    assert block(tmp_path) == f"**On Example GPU**\n\n{device_table(records)}"
    assert device_table(records).splitlines()[2] == (
        "| `instant` | 2 | 132,000 | 99.30% (98.83 to 99.58; 14 wrong) | 1.50 | 1,000 | 0.50 | 0.70 | – |"
    )
