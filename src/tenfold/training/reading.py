"""The training of networks that read: on pictures of numbers, which are drawn while it runs, or a user's own.

Every picture is a function of (seed, its number), every step of (seed, step), so a training that is resumed gives the
same weights as an unbroken one, on the same machine and thread count.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.drawing import numbers
from tenfold.drawing.numbers import LEAST, LINE_HEIGHT, MOST, Box, Desk
from tenfold.errors import TrainingError
from tenfold.imaging.level import dark, levelled
from tenfold.models import build
from tenfold.models.reading import NOTHING
from tenfold.progress import steps
from tenfold.runtime.finder import PAGE_REACH, STRIDE
from tenfold.runtime.reader import LINE_REACH, resized_row
from tenfold.training.device import Precision, autocast, lay_out
from tenfold.training.optimise import Average, Optimiser, multiple
from tenfold.training.recipe import Recipe

CORE, RIM = 0.16, 0.34  # of a digit's height: nearer to its middle it is shown, farther nothing, between them either
FURTHER_RATE = 0.4  # of the learning rate, where training begins with weights that know much already
BUCKET = 8  # steps, whose rows are dealt out by their length: nothing is computed for the paper behind shorter ones
HELD_OUT = 10**9  # the number of the first picture that is held out

Line = tuple[NDArray[np.uint8], str]


def as_line(picture: NDArray[np.uint8], text: str) -> Line:
    """Return a user's picture of a row as (32, W) uint8, its writing dark, and its digits."""
    return resized_row(dark(picture)), text


@dataclass
class ReadingTrainer:
    """One network that reads, in training.

    own: a user's pictures of rows, (32, W) uint8, and their digits, a part of every batch. start: the weights that
    training begins with.
    """

    recipe: Recipe
    desk: Desk
    seed: int
    precision: Precision = "fp32"
    own: Sequence[Line] = ()
    start: dict[str, Tensor] | None = None
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.module: nn.Module = lay_out(build(self.recipe.model.kind, self.recipe.model.arguments()))
        if self.start is not None:
            self.module.load_state_dict(self.start)
        self.optimiser = Optimiser(self.module, self.recipe.optimiser)
        self.average = Average(self.module, self.recipe.training.ema or 0.999)
        self.batch_size = self.recipe.training.batch_size
        assert self.recipe.pictures is not None
        self.share = self.recipe.pictures.share
        pictures = self.recipe.pictures
        count = pictures.count if self.start is None else min(pictures.count, pictures.further)
        self.total_steps = max(1, count // self.batch_size)
        self.rate = 1.0 if self.start is None else FURTHER_RATE
        self._bucket: tuple[int, list[Line], NDArray[np.int64]] = (-1, [], np.zeros(0, np.int64))
        self.reads_lines = self.recipe.model.kind == "lines"

    def run(self, each_step: Callable[["ReadingTrainer"], bool] = lambda trainer: False) -> bool:
        """Train on; return True when done, False when `each_step`, called after every step, asked to stop."""
        began, losses = time.perf_counter() - self.seconds, list[float]()
        device = torch.device("cpu")
        every = max(1, self.total_steps // 40)
        self.module.train()
        with steps(self.total_steps) as progress:
            progress(self.step)
            while self.step < self.total_steps:
                torch.manual_seed((self.seed * 1_000_003 + self.step) % 2**63)  # dropout
                with autocast(device, self.precision):
                    loss = self._loss()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimiser.step(self.rate * multiple(self.recipe.schedule, self.step / self.total_steps))
                self.average.update(self.step)
                losses.append(loss.item())
                self.step += 1
                self.seconds = time.perf_counter() - began
                progress(self.step)
                if self.step % every == 0 or self.step == self.total_steps:
                    mean = float(np.mean(losses))
                    if not np.isfinite(mean):
                        raise TrainingError(f"The loss is '{mean}' after {self.step} steps. Lower optimiser.lr.")
                    self._note(mean)
                    losses.clear()
                if each_step(self):
                    break
        return self.step >= self.total_steps

    def _note(self, loss: float) -> None:
        """Add a line to the history; an epoch is the whole training, in which no picture comes twice."""
        rate = self.recipe.optimiser.lr * self.rate * multiple(self.recipe.schedule, (self.step - 1) / self.total_steps)
        self.history.append(
            {
                "epoch": round(self.step / self.total_steps, 4),
                "step": self.step,
                "images": self.step * self.batch_size,
                "seconds": round(self.seconds, 3),
                "loss": loss,
                "learning_rate": rate,
                "images_per_second": round(self.step * self.batch_size / max(self.seconds, 1e-9), 1),
                "validation_accuracy": None,
                "validation_nll": None,
            }
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that a training is resumed from: tensors by name, and the rest."""
        parts = {
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state(),
            "average": self.average.state(),
        }
        tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        return tensors, {"position": {"step": self.step, "seconds": self.seconds}, "history": self.history}

    def restore(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """Go on where `state` was taken. KeyError or RuntimeError where it is another network's."""
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "optimiser": {}, "average": {}}
        for name, tensor in tensors.items():
            part, _, own = name.partition("/")
            parts[part][own] = tensor
        self.module.load_state_dict(parts["module"])
        self.optimiser.restore(parts["optimiser"])
        self.average.restore(parts["average"])
        self.step, self.seconds = rest["position"]["step"], rest["position"]["seconds"]
        self.history = [dict(each) for each in rest["history"]]

    def finish(self) -> nn.Module:
        """Return the network with the weights that answer: the averaged ones."""
        self.module.load_state_dict(self.average.weights(self.module.state_dict()))
        return self.module.eval()

    def _loss(self) -> Tensor:
        first = self.step * self.batch_size
        if not self.reads_lines:
            pages = [self._drawn(numbers.page, first + each) for each in range(self.batch_size)]
            return page_loss(self.module(page_batch([page for page, _ in pages])), [boxes for _, boxes in pages])
        pictures, truths = line_batch(self._rows())
        return line_loss(self.module(pictures), truths)

    def _rows(self) -> list[Line]:
        """Return the rows of a step: of BUCKET steps' rows those that are about as long as each other."""
        bucket = self.step - self.step % BUCKET
        if self._bucket[0] != bucket:
            generator = np.random.default_rng((self.seed, 1, bucket))
            own = round(BUCKET * self.batch_size * self.share) if self.own else 0
            first = bucket * self.batch_size
            rows = [self._drawn(numbers.line, first + each) for each in range(BUCKET * self.batch_size - own)]
            chosen = generator.integers(len(self.own), size=own) if own else ()
            rows += [varied(*self.own[int(index)], generator) for index in chosen]
            rows.sort(key=lambda row: row[0].shape[1])
            self._bucket = bucket, rows, generator.permutation(BUCKET)
        _, rows, order = self._bucket
        start = int(order[self.step % BUCKET]) * self.batch_size
        return rows[start : start + self.batch_size]

    def _drawn(self, draw: Callable[[Desk, np.random.Generator], Any], number: int) -> Any:
        return draw(self.desk, np.random.default_rng((self.seed, 0, number)))


def held_out(desk: Desk, draw: Callable[[Desk, np.random.Generator], Any], count: int) -> Iterator[Any]:
    """Give pictures that no training draws."""
    return (draw(desk, np.random.default_rng((HELD_OUT, number))) for number in range(count))


def scored_pages(module: nn.Module, desk: Desk, count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return how sure a network of pages is of digits on drawn ones, (N,) float32, and whether it is right."""
    sure, right = [], []
    for page, boxes in held_out(desk, numbers.page, count):
        with torch.no_grad():
            maps = module(page_batch([page]))[0, :11].softmax(0).numpy()
        for box in boxes:
            if LEAST <= max(box.height, box.width) <= MOST:
                x, y = box.x + box.width / 2, box.y + box.height / 2
                shares = maps[:, min(int(y / STRIDE), maps.shape[1] - 1), min(int(x / STRIDE), maps.shape[2] - 1)]
                sure.append(float(shares.max()))
                right.append(int(shares.argmax()) == box.digit)
    return np.array(sure, np.float32), np.array(right, np.bool_)


def line_batch(rows: Sequence[Line]) -> tuple[Tensor, list[list[int]]]:
    """Return rows as (B, 1, 32, W) with nothing behind the shorter ones, and their digits."""
    width = -(-max(picture.shape[1] for picture, _ in rows) // (4 * STRIDE)) * 4 * STRIDE
    batch = np.zeros((len(rows), 1, LINE_HEIGHT, width), np.float32)
    for row, (picture, _) in zip(batch, rows, strict=True):
        row[0, :, : picture.shape[1]] = levelled(picture, LINE_REACH)
    return torch.from_numpy(batch), [[int(digit) for digit in text] for _, text in rows]


def line_loss(logits: Tensor, truths: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean CTC loss a digit of (B, T, 11) logits."""
    batch, places, _ = logits.shape
    lengths = torch.tensor([len(each) for each in truths])
    flat = torch.tensor([digit for each in truths for digit in each])
    scores = logits.float().log_softmax(2).transpose(0, 1)
    return F.ctc_loss(scores, flat, torch.full((batch,), places), lengths, NOTHING, zero_infinity=True)


def page_batch(pages: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return pages as (B, 1, H, W)."""
    return torch.from_numpy(np.stack([levelled(page, PAGE_REACH) for page in pages])[:, None])


def page_loss(maps: Tensor, boxes: Sequence[Sequence[Box]]) -> Tensor:
    """Return the loss of (B, 13, H, W) maps: which digit stands where (focal), and how large it is."""
    maps = maps.float()
    classes, weights, sizes = page_targets(maps.shape, boxes)
    scores = maps[:, :11].log_softmax(1)
    right = scores.gather(1, classes[:, None])[:, 0]
    losses = -right * (1 - right.exp()) ** 2 * weights
    shown = classes != NOTHING
    count = max(1, int(shown.sum()))
    size_loss = ((maps[:, 11:] - sizes).abs().sum(1) * shown).sum() / count
    return (losses[shown].sum() + losses[~shown].sum()) / count + 0.3 * size_loss


def page_targets(shape: Sequence[int], boxes: Sequence[Sequence[Box]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the class (B, H, W), what it counts, and the logarithms of width and height (B, 2, H, W)."""
    count, _, rows, columns = shape
    classes = np.full((count, rows, columns), NOTHING)
    weights = np.ones((count, rows, columns), np.float32)
    sizes = np.zeros((count, 2, rows, columns), np.float32)
    down, right = (np.arange(side, dtype=np.float32) * STRIDE + STRIDE / 2 - 0.5 for side in (rows, columns))
    for page, digits in enumerate(boxes):
        for box in digits:
            y, x = box.y + box.height / 2, box.x + box.width / 2
            size = max(box.height, box.width)
            far = np.maximum(np.abs(down[:, None] - y), np.abs(right[None] - x))
            may_be_found = LEAST * 0.75 < size < MOST * 1.3
            weights[page][(far < RIM * size) & (classes[page] == NOTHING)] = 0 if may_be_found else 0.3
            if not LEAST <= size <= MOST:
                continue
            core = far < max(CORE * size, STRIDE * 0.75)
            classes[page][core], weights[page][core] = box.digit, 1
            sizes[page, 0][core], sizes[page, 1][core] = np.log(max(2.0, box.width)), np.log(max(2.0, box.height))
    return torch.from_numpy(classes), torch.from_numpy(weights), torch.from_numpy(sizes)


def varied(picture: NDArray[np.uint8], text: str, generator: np.random.Generator) -> Line:
    """Return a user's row a little changed: cut closer, wider, lighter, slanted."""
    import cv2

    height, width = picture.shape
    slant, rise = generator.normal(0, 0.12), generator.normal(0, 0.015)
    tall, wide = generator.uniform(0.85, 1.12), generator.uniform(0.85, 1.2)
    place = (generator.uniform(-0.08, 0.08) * height, generator.uniform(0, 0.12) * height)
    size = round(width * wide + abs(slant) * height / 2)
    turn = np.array(
        [
            [wide, slant, place[1] - slant * height / 2],
            [rise, tall, (1 - tall) * height / 2 + place[0] - rise * width / 2],
        ]
    )
    moved = cv2.warpAffine(
        picture, turn, (max(12, size), height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    grain = generator.normal(0, generator.uniform(0, 8), moved.shape)
    grey = moved.astype(np.float64) * generator.uniform(0.7, 1.1) + grain
    if generator.random() < 0.3:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), generator.uniform(0.3, 0.9)), np.float64)
    return np.asarray(np.clip(grey, 0, 255), np.uint8), text
