"""The protocols that published systems are trained and scored on, and the runs that they make.

`mnist` trains on MNIST's 60,000 and scores on its 10,000 test images; `kaggle` trains on Kaggle's 42,000 but for a
tenth, and scores on that tenth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tenfold.data import load
from tenfold.data.digits import Digits
from tenfold.data.names import anywhere
from tenfold.errors import RunError, SourceError
from tenfold.metrics.side_by_side import SideBySide
from tenfold.runs import scoring, systems
from tenfold.runs.results import ProtocolName, data_name, held_out_look
from tenfold.runs.run import Run
from tenfold.training import recipe as recipes
from tenfold.training.recipe import Recipe


@dataclass(frozen=True)
class Protocol:
    """What a system is trained on and scored on; test None: on the images that it held out itself."""

    name: ProtocolName
    title: str
    train: str
    test: str | None
    overrides: tuple[str, ...] = ()
    note: str = ""

    @cached_property
    def train_sha256(self) -> str:
        """The hash of what is trained on."""
        return load(self.train, "train").content_hash()

    @cached_property
    def images(self) -> Digits | None:
        """What is scored, None where each run has its own."""
        return load(self.test, "evaluate") if self.test else None

    def check_data(self) -> None:
        """Raise DataError where the data are not to be had."""
        try:
            _ = self.train_sha256, self.images
        except SourceError as error:
            others = ", ".join(f"'{name}'" for name in PROTOCOLS if name != self.name)
            raise SourceError(f"{error} Or omit this protocol: --protocol {others}.") from None

    def answers(self, runs: Sequence[Run]) -> SideBySide:
        """Return the runs' answers to the images that are scored; the runs have been looked at."""
        names = [run.recipe.name for run in runs]
        if self.images is None:
            return scoring.held_out(runs, names, self.title, self.note)
        assert self.images.labels is not None
        kept = [scoring.kept_probabilities(run.answers_of(self._looks(run)[-1]) or run.path) for run in runs]
        sides = [scoring.side(run, name, own) for run, name, own in zip(runs, names, kept, strict=True)]
        return SideBySide(self.title, self.images.labels, sides, dict(enumerate(self.images.images)), self.note)

    def look(self, run: Run, device: str) -> dict[str, Any]:
        """Return the run's score on the images; a run that was evaluated on them is not evaluated again."""
        if self.images is None or self.test is None:
            return held_out_look(run)
        if not self._looks(run):
            scoring.score_system(systems.open_system(run.path, device=device), self.images, self.test)
        return self._looks(run)[-1]

    def _looks(self, run: Run) -> list[dict[str, Any]]:
        """Return the run's evaluations on the test images, read as the recipe says."""
        assert self.images is not None
        same = self.images.content_hash(), run.recipe.prediction.shifts > 0
        return [look for look in run.looks() if (look.get("data", {}).get("sha256"), look.get("tta")) == same]


MNIST = Protocol("mnist", "MNIST: test images", "mnist:train", "mnist:test")
KAGGLE = Protocol(
    "kaggle",
    "Kaggle: a tenth of 42,000 held out",
    "kaggle:train",
    None,
    ("data.validation=0.1",),
    "Each seed holds out its own tenth. A recipe that keeps its best epoch, or stops early, chose it on those images.",
)
PROTOCOLS = {protocol.name: protocol for protocol in (MNIST, KAGGLE)}


class Training(NamedTuple):
    """One system, trained with one seed on one protocol, in a folder of its own."""

    protocol: Protocol
    name: str  # what the recipe is loaded by
    recipe: Recipe
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        """What progress calls it."""
        return f"{self.protocol.name}: {self.recipe.name}, seed {self.seed}"

    def arguments(self) -> dict[str, Any]:
        """Return what to train, as any process finds it again."""
        return {
            "recipe": self.name if self.name in recipes.available() else str(Path(self.name).absolute()),
            "data": anywhere(self.protocol.train),
            "folder": str(self.folder.absolute()),
            "overrides": list(self.protocol.overrides),
            "seed": self.seed,
        }

    def run(self) -> Run:
        """Return the run in the folder; RunError where it is not what would be trained there."""
        run, recipe = Run.open(self.folder), self.recipe
        known = run.manifest
        if run.recipe.config_hash() != recipe.config_hash():
            why = f"recipe '{recipe.name}' has changed since it was trained"
        elif known["data"]["sha256"] != self.protocol.train_sha256:
            why = f"it was trained on other data, '{data_name(known['data']['spec'])}'"
        elif known["seed"] != self.seed:
            why = f"its seed is {known['seed']}"
        elif known.get("from"):
            why = f"it began from the run '{known['from']['run']}'"
        else:
            return run
        raise RunError(f"'{run.path}' is another system than asked for: {why}. Move it away, or give another --out.")
