"""The training loop: it learns, it stops as asked, and it resumes bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.data.digits import Digits
from tenfold.errors import RecipeError, TrainingError
from tenfold.training.loop import Trainer, prefixed, under
from tenfold.training.recipe import Recipe, load

TINY = [
    "model.widths=[[8],[16]]",
    "training.batch_size=32",
    "training.epochs=6",
    "training.min_steps=0",
    "training.precision=fp32",
    "optimiser.lr=0.05",
]


def make_trainer(digits: Digits, *overrides: str, seed: int = 0, held_out: int = 40, **options: Any) -> Trainer:
    """Return a trainer of a tiny network that holds out the last images."""
    recipe: Recipe = load("fast", [*TINY, *overrides])
    assert digits.labels is not None
    images, labels = digits.images, digits.labels
    validation = (images[-held_out:], labels[-held_out:]) if held_out else None
    cut = len(images) - held_out
    return Trainer(recipe, images[:cut], labels[:cut], validation, seed=seed, device=torch.device("cpu"), **options)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Return whether two sets of weights are equal to the bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns(digits: Digits) -> None:
    """A few epochs on 160 generated digits classify the 40 held-out ones far above chance."""
    trainer = make_trainer(digits, "training.epochs=20")
    assert trainer.run()
    assert trainer.history[-1]["validation_accuracy"] > 0.8
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]


def test_same_seed_same_weights_other_seed_others(digits: Digits) -> None:
    """Weights are a function of the seed."""
    runs = [make_trainer(digits, seed=seed) for seed in (1, 1, 2)]
    for trainer in runs:
        trainer.run()
    assert same(runs[0].weights(), runs[1].weights())
    assert not same(runs[0].weights(), runs[2].weights())


VARIANTS = [
    [],
    ["optimiser.kind=adamw", "optimiser.lr=0.01", "training.keep=best"],
    ["optimiser.kind=sgd", "schedule.kind=plateau", "schedule.patience=1", "training.ema=0"],
    ["model.dropout=0.3", "augment.contrast=0.3", "training.early_stopping=2"],
    ["training.hard_share=0.5", "training.hard_after=1"],
    ["training.precision=bf16"],
]


@pytest.mark.parametrize("overrides", VARIANTS, ids=lambda overrides: " ".join(overrides) or "default")
def test_resumed_is_unbroken(digits: Digits, overrides: list[str]) -> None:
    """Stopping at any step and going on in a new trainer gives the unbroken run's weights and history, bit for bit."""
    unbroken = make_trainer(digits, *overrides)
    unbroken.run()
    last = unbroken.position.step
    for stop in (1, last // 2, last - 1):
        first = make_trainer(digits, *overrides)
        first.run(lambda trainer, stop=stop: trainer.position.step >= stop)
        assert first.position.step == stop
        tensors, rest = first.state()
        second = make_trainer(digits, *overrides, precision=unbroken.precision)
        second.restore({name: tensor.clone() for name, tensor in tensors.items()}, rest)
        assert second.run()
        assert same(second.weights(), unbroken.weights())
        timeless = [{k: v for k, v in line.items() if "second" not in k} for line in second.history]
        assert timeless == [{k: v for k, v in line.items() if "second" not in k} for line in unbroken.history]


def test_sample_weights_are_shares(digits: Digits) -> None:
    """Equal weights of any size train as none do, to the bit; other weights train another network."""
    shares = np.linspace(0.1, 2, 160)
    plain, equal, steered = (
        make_trainer(digits, "training.shards=2", sample_weight=weights)
        for weights in (None, np.full(160, 4.0), shares)
    )
    for trainer in (plain, equal, steered):
        trainer.run()
    assert same(plain.weights(), equal.weights())
    assert not same(plain.weights(), steered.weights())


def test_each_epoch_sees_every_image_once(digits: Digits) -> None:
    """The order of an epoch is a permutation, another one each epoch."""
    trainer = make_trainer(digits, held_out=8)  # 192 = 6 batches of 32
    orders = []
    for epoch in range(2):
        steps = range(epoch * trainer.steps_per_epoch, (epoch + 1) * trainer.steps_per_epoch)
        batches = [trainer.sampler.batch(step) for step in steps]
        orders.append(torch.cat(batches))
    torch.testing.assert_close(orders[0].sort().values, orders[1].sort().values)
    assert not torch.equal(orders[0], orders[1])


def test_hard_images_are_chosen(digits: Digits) -> None:
    """With hard_share, an epoch after the first ones holds that share, and the images of highest loss are in it."""
    trainer = make_trainer(digits, "training.hard_share=0.5", "training.hard_after=1", held_out=8)
    trainer.run(lambda trainer: trainer.position.step >= trainer.steps_per_epoch)
    losses = trainer.sampler.losses.clone()
    order = trainer.sampler._pass_order(1)
    assert len(order) == 96
    assert len(np.unique(order)) == 96
    hardest = losses.topk(30).indices.tolist()
    assert set(hardest) <= set(order.tolist())


def test_doubtful_images_are_left_out(digits: Digits) -> None:
    """With doubtful_share, the images of the very highest loss are in no later pass, and the next highest are."""
    hard = ["training.hard_share=0.5", "training.hard_after=1", "training.doubtful_share=0.05"]
    trainer = make_trainer(digits, *hard, held_out=0)
    trainer.run(lambda trainer: trainer.position.step >= trainer.steps_per_epoch)
    ranked = trainer.sampler.losses.argsort(descending=True).tolist()
    order = set(trainer.sampler._pass_order(1).tolist())
    assert not set(ranked[:10]) & order
    assert set(ranked[10:40]) <= order


def test_keep_best_keeps_the_best(digits: Digits) -> None:
    """With keep=best the weights are those of the best validation, not the last."""
    trainer = make_trainer(digits, "training.keep=best", "training.epochs=10", "optimiser.lr=0.3")
    snapshots: dict[int, dict[str, torch.Tensor]] = {}

    def note(trainer: Trainer) -> bool:
        line = trainer.history[-1] if trainer.history else {"step": -1}
        if line["step"] == trainer.position.step and line["validation_accuracy"] is not None:
            latest = trainer._latest()
            snapshots[trainer.position.step] = {name: tensor.clone() for name, tensor in latest.items()}
        return False

    trainer.run(note)
    validated = [line for line in trainer.history if line["validation_accuracy"] is not None]
    best = max(validated, key=lambda line: line["validation_accuracy"])
    assert trainer.position.best_step == best["step"]
    assert same(trainer.weights(), snapshots[best["step"]])


def test_early_stopping_stops(digits: Digits) -> None:
    """Without gain for so many validations training ends before its last step, and counts as finished."""
    trainer = make_trainer(digits, "training.early_stopping=2", "training.epochs=100", "optimiser.lr=0.0000001")
    assert trainer.run()
    assert trainer.position.step < trainer.total_steps
    assert sum(line["validation_accuracy"] is not None for line in trainer.history) <= 6


def test_plateau_reduces_the_rate(digits: Digits) -> None:
    """ReduceLROnPlateau multiplies the rate by its factor after `patience` validations without gain."""
    trainer = make_trainer(
        digits, "schedule.kind=plateau", "schedule.patience=2", "schedule.factor=0.5", "optimiser.lr=0.0000001"
    )
    trainer.run()
    gains = [line["validation_accuracy"] for line in trainer.history if line["validation_accuracy"] is not None]
    best, without, reductions = -1.0, 0, 0
    for gain in gains:
        best, without = (gain, 0) if gain > best else (best, without + 1)
        reductions += without > 0 and without % 2 == 0
    assert reductions >= 1
    assert trainer.position.plateau == 0.5**reductions


def test_plateau_stops_at_its_floor(digits: Digits) -> None:
    """The rate is never brought below `schedule.floor`."""
    trainer = make_trainer(
        digits,
        "schedule.kind=plateau",
        "schedule.patience=1",
        "schedule.factor=0.1",
        "schedule.floor=4e-8",
        "optimiser.lr=0.0000001",
    )
    trainer.run()
    assert trainer.position.plateau == pytest.approx(0.4)


def test_dropout_resumes_and_splits_alike(digits: Digits) -> None:
    """With dropout the weights are the same for one thread and two, and after an interruption."""
    overrides = ["model.dropout=0.3", "training.shards=2", "training.epochs=4"]
    whole, threaded, cut = (make_trainer(digits, *overrides, threads=threads) for threads in (1, 2, 1))
    whole.run()
    threaded.run()
    assert same(whole.weights(), threaded.weights())
    assert not cut.run(lambda trainer: trainer.position.step == 7)
    resumed = make_trainer(digits, *overrides)
    resumed.restore(*cut.state())
    resumed.run()
    assert same(whole.weights(), resumed.weights())


def test_start_fills_in_weights_before_the_optimiser_is_made(digits: Digits) -> None:
    """`start` may freeze: what needs no gradient keeps its value."""

    def start(module: torch.nn.Module) -> None:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name.startswith("head"))

    trainer = make_trainer(digits, "training.epochs=1", "training.ema=0", start=start)
    before = {name: tensor.clone() for name, tensor in trainer.module.named_parameters()}
    trainer.run()
    moved = {name for name, tensor in trainer.module.named_parameters() if not torch.equal(tensor, before[name])}
    assert moved == {"head.weight", "head.bias"}


def test_non_finite_loss_stops_training(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that overflows ends training with an error that names step, loss and a way out."""
    trainer = make_trainer(digits)
    with torch.no_grad():
        next(trainer.module.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="The loss is 'nan' at step 1 .*Lower optimiser.lr"):
        trainer.run()


def test_a_diverging_loss_stops_training(digits: Digits) -> None:
    """Plain gradient descent with an absurd rate ends with the same error, whatever it was that overflowed first."""
    trainer = make_trainer(digits, "optimiser.kind=sgd", "optimiser.lr=100", "training.epochs=20")
    with pytest.raises(TrainingError, match="'(nan|inf|-inf)' at step .*Lower optimiser.lr"):
        trainer.run()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("order", torch.arange(10**6)),
        ("order", torch.zeros(3)),
        ("order", torch.full((5,), -1)),
        ("best/odd", torch.zeros(1)),
        ("losses", torch.zeros(2)),
        ("module/head.weight", torch.zeros(3, 3)),
    ],
)
def test_a_state_of_another_training_is_refused(name: str, tensor: torch.Tensor, digits: Digits) -> None:
    """What a state holds is looked at before training goes on with it."""
    trainer = make_trainer(digits)
    tensors, rest = trainer.state()
    with pytest.raises((RuntimeError, ValueError)):
        trainer.restore(tensors | {name: tensor}, rest)


def test_small_sets_train_for_min_steps(make_digits: Callable[..., Digits]) -> None:
    """min_steps lengthens training where a few epochs would be few steps, with a curve of twenty points."""
    trainer = make_trainer(make_digits(100), "training.min_steps=60", held_out=20)
    trainer.run()
    assert trainer.position.step >= 60
    assert 20 <= len(trainer.history) <= 60


def test_without_held_out_data(digits: Digits) -> None:
    """No held-out data: training runs through and reports no validation accuracy."""
    trainer = make_trainer(digits, held_out=0)
    assert trainer.run()
    assert trainer.history[-1]["validation_accuracy"] is None


def test_prefix_round_trip() -> None:
    """`under` undoes `prefixed`, and leaves other names alone."""
    tensors = {"a": torch.ones(1), "b/c": torch.zeros(1)}
    assert under("x", prefixed("x", tensors) | {"xy/a": torch.ones(2)}) == tensors


def test_small_images_come_first(digits: Digits) -> None:
    """For its share of the steps the network sees smaller images, then whole ones."""
    small = ["training.small_share=0.5", "training.small_edge=16"]
    trainer = make_trainer(digits, *small, "training.shards=1", held_out=0)
    seen: list[int] = []
    trainer.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2]))
    trainer.run()
    half = trainer.total_steps // 2
    assert seen == [16] * half + [28] * (trainer.total_steps - half)
    with pytest.raises(RecipeError, match="small_share is for the model 'convnet'"):
        load("dense-128", ["training.small_share=0.5"])
