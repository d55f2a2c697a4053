"""Training of networks that read: the same every time, whole after a break, on drawn pictures and on a user's own."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.drawing import numbers
from tenfold.drawing.numbers import Box, Desk
from tenfold.errors import TrainingError
from tenfold.models.reading import NOTHING, LineNet
from tenfold.runtime.ctc import text_probability
from tenfold.training import reading
from tenfold.training.reading import (
    BUCKET,
    Line,
    ReadingTrainer,
    as_line,
    held_out,
    line_batch,
    line_loss,
    page_batch,
    page_loss,
    page_targets,
    scored_pages,
    varied,
)
from tenfold.training.recipe import Recipe, load

SMALL = ["pictures.count=48", "training.batch_size=4"]
TINY = {"lines": [*SMALL, "model.widths=[8,8,8]", "model.context=16"], "page": [*SMALL, "model.widths=[4,8,8,8]"]}


def tiny(kind: str, *overrides: str) -> Recipe:
    """Return the recipe of a network that learns for twelve steps."""
    return load(kind, [*TINY[kind], *overrides])


def weights(trainer: ReadingTrainer) -> dict[str, Tensor]:
    """Return the weights of a trained network."""
    return {name: value.clone() for name, value in trainer.finish().state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Return True where weights are the same, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def own(desk: Desk) -> list[Line]:
    """Return a user's rows."""
    return [as_line(*numbers.line(desk, np.random.default_rng(seed))) for seed in range(5)]


@pytest.mark.parametrize("kind", ["lines", "page"])
def test_the_same_seed_gives_the_same_weights(kind: str, desk: Desk) -> None:
    """Trained twice from one seed, weights are the same bit for bit; from another they are others."""
    made = []
    for seed in (1, 1, 2):
        trainer = ReadingTrainer(tiny(kind), desk, seed)
        assert trainer.run()
        assert trainer.step == trainer.total_steps == 12
        made.append(weights(trainer))
    assert same(made[0], made[1])
    assert not same(made[0], made[2])


@pytest.mark.parametrize(("kind", "breaks"), [("lines", (3, 8, 9)), ("page", (5,))])
def test_a_training_that_is_resumed_is_an_unbroken_one(
    kind: str, breaks: tuple[int, ...], desk: Desk, own: list[Line]
) -> None:
    """Stopped within and between buckets, and taken up by a new trainer, it ends in the same weights bit for bit."""
    rows = own if kind == "lines" else []
    whole = ReadingTrainer(tiny(kind), desk, 1, own=rows)
    whole.run()
    state: Any = None
    for end in (*breaks, None):
        part = ReadingTrainer(tiny(kind), desk, 1, own=rows)
        if state is not None:
            part.restore(*state)
        assert part.run(lambda trainer, end=end: trainer.step == end) == (end is None)
        assert part.step == (end or 12)
        tensors, rest = part.state()
        state = {name: value.clone() for name, value in tensors.items()}, rest
    assert same(weights(part), weights(whole))
    assert [each["step"] for each in part.history] == [each["step"] for each in whole.history]


def test_a_state_of_another_network_is_refused(desk: Desk) -> None:
    """The state of a network of other widths does not fit."""
    state = ReadingTrainer(tiny("lines"), desk, 1).state()
    with pytest.raises(RuntimeError, match="size mismatch"):
        ReadingTrainer(tiny("lines", "model.widths=[4,4,4]"), desk, 1).restore(*state)


def test_every_row_of_a_bucket_comes_once(desk: Desk, own: list[Line]) -> None:
    """The steps of a bucket share its rows out, none twice; half are the user's; those of a step are about as long."""
    trainer = ReadingTrainer(tiny("lines"), desk, 1, own=own)
    dealt = []
    for trainer.step in range(BUCKET):
        dealt.append(trainer._rows())
    assert [len(rows) for rows in dealt] == [4] * BUCKET
    rows = [row for step in dealt for row in step]
    assert len({id(picture) for picture, _ in rows}) == len(rows)
    drawn = {numbers.line(desk, np.random.default_rng((1, 0, at)))[0].tobytes() for at in range(BUCKET * 4)}
    assert sum(picture.tobytes() in drawn for picture, _ in rows) == len(rows) // 2
    assert {text for picture, text in rows if picture.tobytes() not in drawn} <= {text for _, text in own}
    spread = [np.ptp([picture.shape[1] for picture, _ in step]) for step in dealt]
    assert np.mean(spread) < np.ptp([picture.shape[1] for picture, _ in rows]) / 3


def test_a_training_learns(desk: Desk) -> None:
    """A network of rows that sees four rows again and again has a smaller loss on them than it began with."""
    rows = [numbers.line(desk, np.random.default_rng(seed)) for seed in range(4)]
    overrides = ["pictures.count=480", "pictures.share=1", "model.dropout=0", "training.ema=0.9"]
    trainer = ReadingTrainer(tiny("lines", *overrides), desk, 1, own=rows)
    pictures, truths = line_batch(rows)
    with torch.no_grad():
        before = float(line_loss(trainer.module.eval()(pictures), truths))
    trainer.run()
    with torch.no_grad():
        after = float(line_loss(trainer.finish()(pictures), truths))
    assert after < 0.8 * before


def test_a_loss_that_is_not_finite_ends_the_training(desk: Desk) -> None:
    """It says what the loss is, and which setting to lower."""
    trainer = ReadingTrainer(tiny("lines", "optimiser.lr=1e30", "optimiser.clip_norm=0"), desk, 1)
    with pytest.raises(TrainingError, match=r"The loss is '(nan|inf)' after \d+ steps. Lower optimiser.lr."):
        trainer.run()


def test_training_begins_with_the_weights_given(desk: Desk) -> None:
    """A trainer with a start has its weights before the first step, the averaged ones too."""
    torch.manual_seed(9)
    start = LineNet([8, 8, 8], 16).state_dict()
    trainer = ReadingTrainer(tiny("lines"), desk, 1, start=start)
    assert same(trainer.module.state_dict(), start)
    assert same(weights(trainer), start)


def test_held_out_pictures_are_not_trained_on(desk: Desk) -> None:
    """They are the same each time, and none of them is among those that a training draws first."""
    first, again = ([picture for picture, _ in held_out(desk, numbers.line, 5)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    trainer = ReadingTrainer(tiny("lines"), desk, 0)
    drawn = {trainer._drawn(numbers.line, at)[0].tobytes() for at in range(50)}
    assert not drawn & {picture.tobytes() for picture in first}


def test_loss_of_rows_is_the_texts_probability(desk: Desk) -> None:
    """It is the mean over rows of minus the logarithm of the probability that the reader's formula gives, a digit."""
    torch.manual_seed(0)
    rows = [numbers.line(desk, np.random.default_rng(seed)) for seed in range(3)]
    pictures, truths = line_batch(rows)
    assert pictures.shape[0] == 3 and pictures.shape[2] == 32 and pictures.shape[3] % 16 == 0
    logits = LineNet([8, 8, 8], 16).eval()(pictures).detach()
    shares = logits.softmax(2).numpy()
    each = [-np.log(text_probability(share, truth)) / len(truth) for share, truth in zip(shares, truths, strict=True)]
    assert float(line_loss(logits, truths)) == pytest.approx(np.mean(each), rel=1e-3)


def test_a_row_without_room_for_its_digits_costs_nothing() -> None:
    """More digits than columns make no infinite loss."""
    assert float(line_loss(torch.zeros(1, 3, 11), [[1, 1, 1, 1]])) == 0


def test_targets_are_where_digits_are() -> None:
    """The place in a digit's middle has its class and the logarithms of its size; places far from it nothing."""
    box = Box(100, 60, 20, 30, 7)
    classes, counted, sizes = page_targets((1, 13, 64, 64), [[box]])
    row, column = int((60 + 15) / 4), int((100 + 10) / 4)
    assert classes[0, row, column] == 7 and counted[0, row, column] == 1
    assert sizes[0, :, row, column].exp().tolist() == pytest.approx([20, 30])
    rows, columns = torch.nonzero(classes[0] == 7, as_tuple=True)
    assert (rows - row).abs().max() <= 2 and (columns - column).abs().max() <= 2
    far = torch.ones(64, 64, dtype=torch.bool)
    far[row - 4 : row + 5, column - 4 : column + 5] = False
    assert (classes[0][far] == NOTHING).all() and (counted[0][far] == 1).all()
    assert (counted[0] == 0).any()


@pytest.mark.parametrize(("height", "shown"), [(5, False), (9, False), (30, True), (60, False), (200, False)])
def test_too_small_and_too_large_digits_are_no_target(height: float, shown: bool) -> None:
    """A digit whose size is for another scale is not asked for; around it nothing need be nothing."""
    classes, counted, _ = page_targets(
        (1, 13, 64, 64), [[Box(128 - height / 3, 128 - height / 2, height / 1.5, height, 3)]]
    )
    assert bool((classes == 3).any()) == shown
    assert (counted < 1).any() or height < 8


def test_loss_of_a_page_is_least_for_the_truth() -> None:
    """Maps that say what is there cost next to nothing; a wrong digit, none, or a wrong size more."""
    boxes = [[Box(100, 60, 20, 30, 7)]]
    classes, _, sizes = page_targets((1, 13, 64, 64), boxes)
    right = torch.zeros(1, 13, 64, 64)
    right[:, :11].scatter_(1, classes[:, None], 20.0)
    right[:, 11:] = sizes
    swapped, empty, large = right.clone(), right.clone(), right.clone()
    swapped[:, [7, 1]] = right[:, [1, 7]]
    empty[:, :11] = 0
    empty[:, 10] = 20
    large[:, 11:] += 1
    best, *worse = (float(page_loss(each, boxes)) for each in (right, swapped, empty, large))
    assert best < 1e-3 and min(worse) > 0.5
    assert float(page_loss(torch.zeros(1, 13, 64, 64), [[]])) > 0


def test_pages_are_scored_at_their_digits(desk: Desk) -> None:
    """Each digit of a size that is looked for is asked about once; a network that knows them all is always right."""
    pages = list(held_out(desk, numbers.page, 3))
    asked = [box for _, boxes in pages for box in boxes if reading.LEAST <= max(box.height, box.width) <= reading.MOST]

    class Knows(torch.nn.Module):
        calls = 0

        def forward(self, pictures: Tensor) -> Tensor:
            assert pictures.shape == page_batch([pages[self.calls][0]]).shape
            classes, _, _ = page_targets((1, 13, 64, 64), [pages[self.calls][1]])
            self.calls += 1
            return torch.cat([torch.nn.functional.one_hot(classes, 11).permute(0, 3, 1, 2) * 20.0,
                              torch.zeros(1, 2, 64, 64)], 1)  # fmt: skip

    sure, right = scored_pages(Knows(), desk, 3)
    assert len(sure) == len(right) == len(asked) > 0
    assert right.mean() > 0.9 and sure.min() > 0.9


def test_own_rows_are_varied_and_stay_readable(own: list[Line]) -> None:
    """A row keeps its digits and its height, changes with the generator, and comes out the same from the same one."""
    for picture, text in own:
        (first, digits), (again, _), (other, _) = (
            varied(picture, text, np.random.default_rng(seed)) for seed in (1, 1, 2)
        )
        assert digits == text and first.dtype == np.uint8 and first.shape[0] == 32
        assert 0.7 * picture.shape[1] < first.shape[1] < 1.5 * picture.shape[1] + 12
        assert np.array_equal(first, again)
        assert first.shape != other.shape or not np.array_equal(first, other)


def test_own_rows_are_dark_on_light(desk: Desk) -> None:
    """A user's row, light on dark, in colour and of any height, becomes 32 pixels high and dark on light."""
    picture, text = numbers.line(desk, np.random.default_rng(3))
    light = np.repeat(np.repeat(255 - np.dstack([picture] * 3), 2, 0), 2, 1)
    row, digits = as_line(light, text)
    assert digits == text
    assert np.abs(row.astype(int) - as_line(picture, text)[0]).mean() < 3
