"""Networks in a stack: each comes out as it does alone, up to rounding, and can be stopped, resumed and lost."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tenfold.data.digits import Digits
from tenfold.errors import TrainingError
from tenfold.training.loop import Trainer
from tenfold.training.optimise import orthogonalise
from tenfold.training.recipe import load
from tenfold.training.stack import Stack, stackable, train_together

SEEDS = (3, 4, 5)
TINY = [
    "model.widths=[[8],[16]]",
    "training.batch_size=32",
    "training.epochs=3",
    "training.min_steps=0",
    "training.precision=fp32",
    "training.hard_after=1",
    "optimiser.lr=0.05",
]
LAYERS = ["training.batch_size=32", "training.epochs=3", "training.precision=fp32", "schedule.kind=onecycle"]
# Recipes of which each has something that could get mixed up between members; all of ten steps or more.
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "muon, batch norm, average, hard images, halves": ("fast", TINY),
    "one part, residual, mean": ("fast", [*TINY, "training.shards=1", "model.residual=true", "model.pool=mean"]),
    "dropout, best kept": ("fast", [*TINY, "model.dropout=0.3", "training.keep=best"]),
    "erasing, contrast, clipping": (
        "fast", [*TINY, "augment.erasing=0.5", "augment.contrast=0.3", "optimiser.clip_norm=0.3"]
    ),
    "degraded, penalised": (
        "fast", [*TINY, "degrade.noise=0.5", "degrade.lines=0.5", "optimiser.kind=sgd", "optimiser.l1=0.001"]
    ),
    "layers, adamw, dropout": (
        "two-conv",
        [*LAYERS,
         'model.layers=["conv 4", "pool", "dropout 0.2", "conv 6 norm", "global mean", "dense 9", "dropout 0.2"]',
         "training.epochs=2", "optimiser.kind=adamw", "optimiser.lr=0.003", "optimiser.weight_decay=0.1"],
    ),
    "layers, sgd, batch norm of vectors": (
        "two-conv",
        [*LAYERS, 'model.layers=["pad 1", "conv 4 5x5 valid", "pool", "flatten", "dense 12 norm", "norm"]',
         "model.mean=0.13", "optimiser.kind=sgd", "optimiser.lr=0.01"],
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def orthogonal_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Muon orthogonalise in fp32: in bf16 a last bit that differs grows a thousandfold in a step."""
    monkeypatch.setattr(Tensor, "bfloat16", Tensor.float)


def make_trainer(digits: Digits, name: str, *more: str, seed: int = 0, count: int = 160, **options: Any) -> Trainer:
    """Return a trainer of a variant on the first `count` images; the others are held out."""
    recipe, overrides = VARIANTS[name]
    assert digits.labels is not None
    images, labels = digits.images, digits.labels
    return Trainer(
        load(recipe, [*overrides, *more]),
        images[:count],
        labels[:count],
        (images[count:], labels[count:]),
        seed=seed,
        device=torch.device("cpu"),
        **options,
    )


def make_trainers(digits: Digits, name: str, *more: str, **options: Any) -> list[Trainer]:
    """Return a trainer of each seed."""
    return [make_trainer(digits, name, *more, seed=seed, **options) for seed in SEEDS]


def close(first: Trainer, second: Trainer, tolerance: float = 1e-4) -> None:
    """Assert that two trainers are at the same state but for rounding: statistics and optimiser too."""
    (tensors, rest), (others, other_rest) = first.state(), second.state()
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, others[name], rtol=tolerance, atol=tolerance, msg=name)
    for line, other in zip(rest["history"], other_rest["history"], strict=True):
        assert line["step"] == other["step"]
        assert line["loss"] == pytest.approx(other["loss"], abs=tolerance)
        assert line["validation_accuracy"] == other["validation_accuracy"]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_member_is_what_it_is_alone(digits: Digits, name: str) -> None:
    """After all steps of training every member has the weights, the statistics and the history that it has alone."""
    together, alone = make_trainers(digits, name), make_trainers(digits, name)
    before = [{key: tensor.clone() for key, tensor in trainer.weights().items()} for trainer in alone]
    assert train_together(together, lambda members: False) == {}
    for member, trainer, start in zip(together, alone, before, strict=True):
        trainer.run()
        assert trainer.position.step >= 10
        close(member, trainer)
        moved = trainer.weights()
        assert max((moved[key] - start[key]).abs().max() for key in start if key.endswith("weight")) > 0.01
    assert not torch.allclose(together[0].losses, together[1].losses, atol=1e-2)


def test_two_threads_are_as_one(digits: Digits) -> None:
    """The halves of the stacked batch may run side by side, and the weights stay the same bits."""
    name = "dropout, best kept"
    one, two = make_trainers(digits, name), make_trainers(digits, name, threads=2)
    for trainers in (one, two):
        train_together(trainers, lambda members: members[0].position.step >= 6)
    for first, second in zip(one, two, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first.weights().values(), second.weights().values(), strict=True))


@pytest.mark.parametrize("name", ["dropout, best kept", "layers, adamw, dropout"])
def test_a_stack_that_is_resumed_is_unbroken(digits: Digits, name: str) -> None:
    """Stopped, saved, and gone on with in new trainers, a stack ends with the very bits of one that was not."""
    unbroken = make_trainers(digits, name)
    train_together(unbroken, lambda members: False)
    first = make_trainers(digits, name)
    train_together(first, lambda members: members[0].position.step >= 7)
    second = make_trainers(digits, name)
    for old, new in zip(first, second, strict=True):
        assert old.position.step == 7
        tensors, rest = old.state()
        new.restore({key: tensor.clone() for key, tensor in tensors.items()}, rest)
    train_together(second, lambda members: False)
    for member, whole in zip(second, unbroken, strict=True):
        close(member, whole, tolerance=0)


def test_a_member_goes_on_alone(digits: Digits) -> None:
    """What a member saves in a stack is what a trainer by itself goes on from, and the other way round."""
    name = "muon, batch norm, average, hard images, halves"
    alone, stacked, again = make_trainer(digits, name), make_trainer(digits, name), make_trainer(digits, name)
    alone.run()
    train_together([stacked, make_trainer(digits, name, seed=9)], lambda members: members[0].position.step >= 5)
    again.restore(*stacked.state())
    again.run(lambda trainer: trainer.position.step >= 9)
    assert again.position.step == 9
    last = make_trainer(digits, name)
    last.restore(*again.state())
    train_together([last], lambda members: False)
    close(last, alone)


def test_those_behind_catch_up(digits: Digits) -> None:
    """Members at three different steps end as they would alone, and in between they are trained together."""
    name = "one part, residual, mean"
    together, alone = make_trainers(digits, name), make_trainers(digits, name)
    for trainer, step in zip(together, (2, 6, 4), strict=True):
        trainer.run(lambda trainer, step=step: trainer.position.step >= step)
    sizes: list[int] = []

    def note(members: Sequence[Trainer]) -> bool:
        sizes.append(len(members))
        return False

    train_together(together, note)
    total = together[0].total_steps
    assert sizes == [1] * 2 + [2] * 2 + [3] * (total - 6)
    for member, trainer in zip(together, alone, strict=True):
        trainer.run()
        close(member, trainer)


def test_members_of_other_sizes_are_trained_apart(digits: Digits) -> None:
    """Members whose sets of images have other numbers of steps are trained all the same, one group after the other."""
    name = "one part, residual, mean"
    trainers = [make_trainer(digits, name, seed=seed, count=count) for seed, count in ((0, 160), (1, 120), (2, 161))]
    alone = [make_trainer(digits, name, seed=seed, count=count) for seed, count in ((0, 160), (1, 120), (2, 161))]
    train_together(trainers, lambda members: False)
    for member, trainer in zip(trainers, alone, strict=True):
        trainer.run()
        close(member, trainer)


def test_images_are_shared(digits: Digits) -> None:
    """Trainers of the same images hold them once; other images stay their own, and nothing else is shared."""
    name = "one part, residual, mean"
    first = make_trainer(digits, name)
    same, other = make_trainer(digits, name, seed=1, like=first), make_trainer(digits, name, count=120, like=first)
    assert same.images is first.images
    assert same.labels is first.labels
    assert first.validation is not None and same.validation is not None
    assert same.validation[0] is first.validation[0]
    assert len(other.images) == 120
    assert same.losses is not first.losses


def test_seconds_are_divided(digits: Digits) -> None:
    """The members' seconds add up to about those that passed: each has an equal part, on top of what it had."""
    trainers = make_trainers(digits, "one part, residual, mean")
    trainers[1].position.seconds = 100.0
    for trainer in trainers:
        trainer.take_preparation()
    train_together(trainers, lambda members: False)
    first, second, third = (trainer.position.seconds for trainer in trainers)
    assert first > 0
    assert second - 100 == pytest.approx(first, rel=0.5)
    assert third == pytest.approx(first, rel=0.5)


def test_a_lost_member_leaves_the_others_alone(digits: Digits) -> None:
    """One whose loss is no longer finite is reported with the step, and the others end as if it had not been there."""
    name = "erasing, contrast, clipping"
    together, alone = make_trainers(digits, name), make_trainers(digits, name)
    seen: list[Trainer] = []

    def poison(members: Sequence[Trainer]) -> bool:
        seen.extend(members)
        if together[1] in members and together[1].position.step == 3:
            with torch.no_grad():
                next(together[1].module.parameters()).fill_(float("nan"))
        return False

    lost = train_together(together, poison)
    assert list(lost) == [together[1]]
    assert "The loss is 'nan' at step 4 " in lost[together[1]]
    assert seen.count(together[1]) == 3
    for index in (0, 2):
        alone[index].run()
        close(together[index], alone[index])


def test_orthogonalised_together_as_alone() -> None:
    """Matrices in a batch come out as one by one, whichever side is longer and however large each is."""
    torch.manual_seed(0)
    for shape in ((16, 40), (40, 16)):
        matrices = torch.randn(3, *shape) * torch.tensor([1.0, 100.0, 0.01]).view(3, 1, 1)
        batch = orthogonalise(matrices)
        for matrix, result in zip(matrices, batch, strict=True):
            torch.testing.assert_close(result, orthogonalise(matrix), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["training.early_stopping=3"], "training.early_stopping is '3'"),
        (["schedule.kind=plateau"], "schedule.kind is 'plateau'"),
        (["model.pool=both"], "model.pool is 'both'"),
    ],
)
def test_refused(digits: Digits, overrides: list[str], reason: str) -> None:
    """A recipe whose networks cannot be trained in lockstep is refused with the reason."""
    name = "one part, residual, mean"
    assert reason in str(stackable(load(VARIANTS[name][0], [*VARIANTS[name][1], *overrides])))
    with pytest.raises(TrainingError, match=f"'fast' cannot be stacked: {reason}"):
        Stack(make_trainers(digits, name, *overrides))


@pytest.mark.parametrize("name", ["instant", "fast", "strong", "world", "tiny", "dense-128-64", "two-conv", "deep-20"])
def test_shipped_recipes(name: str) -> None:
    """Our own networks and those in papers can be stacked; a classical model cannot."""
    assert stackable(load(name)) is None
    assert "'knn'" in str(stackable(load("knn")))


def test_members_must_fit(digits: Digits) -> None:
    """What differs in more than seed and data, or is at another step, is refused by name."""
    name = "one part, residual, mean"
    first = make_trainer(digits, name)
    with pytest.raises(TrainingError, match="differ in 'optimiser'"):
        Stack([first, make_trainer(digits, name, "optimiser.lr=0.01")])
    later = make_trainer(digits, name)
    later.run(lambda trainer: trainer.position.step >= 1)
    with pytest.raises(TrainingError, match="differ in their step: '0' and '1'"):
        Stack([first, later])
