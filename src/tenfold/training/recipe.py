"""The recipe: everything that decides how a system is built and trained, as a TOML file checked by this schema.

A recipe is found by its name among the shipped ones (`recipes/*.toml`) or by its path. Single values are overridden
with `KEY=VALUE` strings such as `optimiser.lr=0.02`, the value written as in TOML (a bare word is taken as a string).
"""

import hashlib
import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tenfold.data import splits
from tenfold.data.digits import Digits
from tenfold.errors import RecipeError, nearest
from tenfold.files import MOST_TEXT, read_bytes
from tenfold.models import CLASSICAL

DEFAULT_RECIPE = "fast"
SEEDS = 2**64  # so many PyTorch knows


class Section(BaseModel):
    """A table of the recipe: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(Section):
    """Which part of the training data is held out, for choosing and for an honest score."""

    validation: float = Field(0.05, ge=0, lt=1, description="share of the images held out, stratified")
    split: Literal["random", "writers"] = Field(
        "random", description="what goes to one side as a whole: an image, or all by one writer"
    )
    split_seed: int | None = Field(
        None, ge=0, lt=SEEDS, description="of the subset and the held-out part; or the run's"
    )
    folds: int | None = Field(
        None, ge=2, le=1000, description="equal parts, of which one is held out, in place of a share"
    )
    fold: int | None = Field(None, ge=0, description="which of them, from 0 on")

    def seed_of(self, seed: int) -> int:
        """Return the seed of the subset and the held-out part: members of an ensemble share it, whatever theirs is."""
        return seed if self.split_seed is None else self.split_seed

    def hold_out(self, digits: Digits, seed: int) -> tuple[splits.Indices, splits.Indices]:
        """Return the indices to train on and those to hold out, of labelled digits, for a training with this seed.

        Raises DataError, and SourceError, where a split by writers is asked for and they are not known.
        """
        from tenfold.data.writers import with_writers

        assert digits.labels is not None
        groups = with_writers(digits, needed=True).writers if self.split == "writers" else None
        seed = self.seed_of(seed)
        return splits.hold_out(digits.labels, self.validation, seed, folds=self.folds, fold=self.fold, groups=groups)

    @model_validator(mode="after")
    def _check_fold(self) -> "DataSettings":
        if (self.folds is None) != (self.fold is None):
            raise ValueError("folds and fold go together: give both, or neither")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold '{self.fold}' is not one of {self.folds}: give 0 to {self.folds - 1}")
        return self


class AugmentSettings(Section):
    """Ranges of the random distortions; 0 switches one off. All but contrast are composed into one resampling."""

    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation, degrees")
    scale: float = Field(0.0, ge=0, lt=1, description="largest relative change of size, each axis its own")
    shear: float = Field(0.0, ge=0, le=2, description="largest horizontal shear, pixels across a pixel down")
    shift: float = Field(0.0, ge=0, le=14, description="largest shift, pixels")
    elastic: float = Field(0.0, ge=0, le=14, description="standard deviation of the elastic displacement, pixels")
    elastic_grid: int = Field(5, ge=2, le=28, description="control points an axis of the elastic field")
    contrast: float = Field(0.0, ge=0, lt=1, description="largest relative change of the ink's strength")
    calm_end: float = Field(0.0, ge=0, le=1, description="share of training, at its end, without distortion")

    @model_validator(mode="before")
    @classmethod
    def _without_erasing(cls, table: Any) -> Any:
        """Drop a 0 that recipes of earlier runs have: a distortion that is no more, and was off."""
        unused = isinstance(table, dict) and table.get("erasing") == 0
        return {key: value for key, value in table.items() if key != "erasing"} if unused else table


class DegradeSettings(Section):
    """How often an image suffers from each of these, as probabilities; 0 switches one off."""

    share: float = Field(1.0, gt=0, le=1, description="of the images that any of the following may befall")
    stretch: float = Field(0.0, ge=0, le=1, description="another aspect ratio, up to filling a square")
    offset: float = Field(0.0, ge=0, le=1, description="smaller, and out of the middle")
    pen: float = Field(0.0, ge=0, le=1, description="thicker or thinner, softer or sharper strokes")
    outline: float = Field(0.0, ge=0, le=1, description="the edges of the strokes alone")
    resolution: float = Field(0.0, ge=0, le=1, description="kept in 8 to 18 pixels, grey or black and white")
    fragments: float = Field(0.0, ge=0, le=1, description="a neighbour's edge")
    lines: float = Field(0.0, ge=0, le=1, description="box edges, ruled, dotted and zigzag lines")
    background: float = Field(0.0, ge=0, le=1, description="grey or cloudy paper")
    inversion: float = Field(0.0, ge=0, le=1, description="a band in which light and dark change places")
    blur: float = Field(0.0, ge=0, le=1, description="out of focus, or smeared")
    noise: float = Field(0.0, ge=0, le=1, description="grain, specks, pixels that changed places")


class SyntheticSettings(Section):
    """Images made for training by our own code, beside those of the data."""

    negatives: int = Field(0, ge=0, le=1_000_000, description="pictures of no digit; the model needs classes = 11")
    variants: int = Field(
        0, ge=0, le=1_000_000, description="drawn digits that MNIST lacks: flags, serifs, crossed sevens"
    )


class OptimiserSettings(Section):
    """The optimiser and its step size."""

    kind: Literal["sgd", "adam", "adamw", "rmsprop", "muon"] = "adamw"
    lr: float = Field(0.01, gt=0)
    weight_decay: float = Field(0.0, ge=0, description="decoupled, but for SGD")
    l1: float = Field(0.0, ge=0, description="of the loss: times the sum of the weights' sizes; no biases, no norms")
    l2: float = Field(0.0, ge=0, description="of the loss: times half the sum of the weights' squares")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD and Muon; beta 1 of Adam and AdamW")
    beta2: float = Field(0.99, ge=0, lt=1, description="of Adam, AdamW and RMSprop, and of the AdamW beside Muon")
    side_lr: float = Field(0.01, gt=0, description="AdamW's for what Muon leaves: biases, norms, the last layer")
    clip_norm: float = Field(0.0, ge=0, description="largest gradient norm; 0: no clipping")


class ScheduleSettings(Section):
    """The learning rate over training, as a multiple of the optimiser's."""

    kind: Literal["onecycle", "cosine", "plateau", "constant"] = "onecycle"
    warmup: float = Field(0.2, ge=0, lt=1, description="share of training until the peak")
    final: float = Field(0.0, ge=0, le=1, description="the last multiple")
    patience: int = Field(3, ge=1, description="plateau: evaluations without gain before a reduction")
    factor: float = Field(0.5, gt=0, lt=1, description="plateau: what the rate is multiplied with")
    floor: float = Field(0.0, ge=0, description="plateau: the rate below which it is not reduced")


class TrainingSettings(Section):
    """How long and how training runs."""

    epochs: float = Field(4.0, gt=0, le=1e6, description="images trained on, in multiples of the training set")
    min_steps: int = Field(0, ge=0, le=10**9, description="train for at least so many, however small the training set")
    batch_size: int = Field(128, ge=2, le=65_536)
    small_share: float = Field(0.0, ge=0, lt=1, description="share of training, at its start, on smaller images")
    small_edge: int = Field(20, ge=8, le=28, description="pixels a side of those")
    shards: int = Field(1, ge=1, le=16, description="parts of a batch that run side by side on a processor")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    hard_share: float = Field(1.0, gt=0, le=1, description="share of the images in a pass once hard ones are chosen")
    hard_after: int = Field(1, ge=1, description="whole passes before that")
    doubtful_share: float = Field(0.0, ge=0, lt=0.5, description="share left out of them: the very highest losses")
    ema: float = Field(0.0, ge=0, lt=1, description="decay a step of the weights' moving average; 0: none")
    evaluate_every: float = Field(1.0, gt=0, description="epochs between validations")
    early_stopping: int = Field(0, ge=0, description="validations without gain before stopping; 0: never")
    keep: Literal["last", "best"] = "last"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    weight_bits: Literal[8] | None = Field(None, description="bits of a weight, rounded to when training ends")


class PredictionSettings(Section):
    """How a trained network answers."""

    shifts: int = Field(0, ge=0, le=3, description="test-time augmentation over shifts of up to so many pixels")


class DistilSettings(Section):
    """A teacher, whose probabilities a network learns from beside the labels (Hinton, Vinyals and Dean, 2015)."""

    teacher: str = Field(description="a run's folder; an ensemble is one")
    share: float = Field(0.9, gt=0, le=1, description="of the loss that is measured against the teacher's answers")
    temperature: float = Field(1.0, ge=0.5, le=20, description="that both answers are softened with")


class PictureSettings(Section):
    """The pictures of numbers that a network learns to read from, drawn while it trains."""

    count: int = Field(200_000, ge=1, le=10**8, description="pictures in all")
    further: int = Field(48_000, ge=1, le=10**8, description="at most, where training begins with weights: --from")
    images: int = Field(12_000, ge=10, le=60_000, description="of MNIST's training images that digits are written like")
    drawn: int = Field(8_000, ge=10, le=100_000, description="digits of our own shapes")
    share: float = Field(0.5, ge=0, le=1, description="of a user's own pictures in a batch, where there are any")


class FeatureSettings(Section):
    """What a classical model is given in place of raw pixels / 255; applied in this order."""

    deskew: bool = Field(False, description="shear upright, by the second moments of the ink")
    hog: bool = Field(False, description="histograms of oriented gradients")
    standardise: bool = Field(False, description="mean 0 and variance 1 over the training images")
    pca: int = Field(0, ge=0, le=784, description="principal components kept; 0: all, unturned")


class Published(Section):
    """What others reported of this system, as fractions, and where."""

    test: float | None = Field(None, ge=0, le=1, description="on MNIST's test set")
    kaggle: float | None = Field(None, ge=0, le=1, description="on Kaggle's leaderboard")
    validation: float | None = Field(None, ge=0, le=1, description="on 10% of Kaggle's 42,000, held out")
    source: str
    leaked: bool = Field(False, description="the training data held answers of the test")


class Range(Section):
    """Numbers to search between, both ends included; whole numbers where `low`, `high` and `step` are."""

    low: int | float
    high: int | float
    step: int | float | None = Field(None, gt=0)
    log: bool = False

    @model_validator(mode="after")
    def _not_empty(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"the range from {self.low} to {self.high} is empty; low has to be less than high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a log range needs low above 0, and no step")
        return self


Choices = Annotated[list[bool | int | float | str], Field(min_length=1)]


class ModelSettings(BaseModel):
    """The model's name in MODELS; the other keys are that model's own arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for the module."""
        return dict(self.model_extra or {})


READERS = ("lines", "page")  # kinds of networks that read pictures of numbers
NETWORK_TABLES = ("augment", "degrade", "synthetic", "optimiser", "schedule", "training", "distil", "prediction")
IMAGE_TABLES = ("features", "augment", "degrade", "synthetic", "distil", "prediction")  # of what learns from images
UNHASHED = {"name", "summary", "order", "seed", "published", "search"}


class Recipe(Section):
    """One system, whole."""

    name: str
    summary: str = ""
    order: int | None = Field(None, ge=0, description="its place in tables of systems; those without stand last")
    seed: int = Field(0, ge=0, lt=SEEDS)
    model: ModelSettings
    data: DataSettings = DataSettings()
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    degrade: DegradeSettings | None = None
    synthetic: SyntheticSettings | None = None
    optimiser: OptimiserSettings = OptimiserSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    training: TrainingSettings = TrainingSettings()
    distil: DistilSettings | None = None
    prediction: PredictionSettings = PredictionSettings()
    pictures: PictureSettings | None = None
    published: Published | None = None
    search: dict[str, Range | Choices] = {}

    @property
    def classical(self) -> bool:
        """True for a model that is fitted in one go, without epochs."""
        return self.model.kind in CLASSICAL

    @property
    def reads(self) -> bool:
        """True for a network that learns from pictures of numbers, not from images of a digit."""
        return self.model.kind in READERS

    @model_validator(mode="after")
    def _only_what_applies(self) -> "Recipe":
        """Refuse what would be ignored in silence, or that the model cannot answer for."""
        if self.reads != (self.pictures is not None):
            raise ValueError(f"[pictures] is for the models {' and '.join(READERS)}, which need it")
        if self.reads and (idle := self.model_fields_set & set(IMAGE_TABLES)):
            raise ValueError(f"the model '{self.model.kind}' draws its pictures and has no [{min(idle)}]; omit that")
        for title in NETWORK_TABLES if self.classical else ("features",):
            if title in self.model_fields_set:
                keys = ", ".join(f"{title}.{key}" for key in sorted(getattr(self, title).model_fields_set)) or title
                kind = "is fitted in one go and has" if self.classical else "is a network and has"
                raise ValueError(f"the model '{self.model.kind}' {kind} no '{keys}'; omit that")
        if self.synthetic and self.synthetic.negatives and self.model.arguments().get("classes") != 11:
            raise ValueError("synthetic.negatives needs a model that can answer 'no digit'; set model.classes = 11")
        if self.training.weight_bits and self.model.kind != "convnet":  # others' norms cannot be folded away
            raise ValueError(f"training.weight_bits is for the model 'convnet', not for '{self.model.kind}'; omit that")
        if self.training.small_share and self.model.kind != "convnet":  # others are built for one size
            raise ValueError(f"training.small_share is for the model 'convnet', not for '{self.model.kind}'; omit that")
        return self

    def config_hash(self) -> str:
        """Return the SHA-256 (hex) of all that decides what comes out, but for the seed."""
        return hashlib.sha256(json.dumps(self.tables(exclude=UNHASHED), sort_keys=True).encode()).hexdigest()

    def tables(self, exclude: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
        """Return the recipe as nested dictionaries, every default written out, without what does not apply to it."""
        idle = set(NETWORK_TABLES) if self.classical else {"features"}
        idle |= set(IMAGE_TABLES) if self.reads else set()
        idle |= set() if self.search else {"search"}
        return self.model_dump(exclude=exclude | idle, exclude_none=True)

    def to_toml(self) -> str:
        """Return the recipe as TOML, every default written out."""
        tables = self.tables()
        head = {key: value for key, value in tables.items() if not isinstance(value, dict)}
        lines = [f"{key} = {_toml_value(value)}" for key, value in head.items()]
        for title, table in tables.items():
            if isinstance(table, dict):
                lines += ["", f"[{title}]"] + [f"{_toml_key(key)} = {_toml_value(table[key])}" for key in table]
        return "\n".join(lines) + "\n"


def available(kind: str = "recipe") -> list[str]:
    """Return the names of the shipped recipes, sorted; or of the files in another folder, of `kind` + "s"."""
    folder = resources.files("tenfold") / f"{kind}s"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of that name or at that path, with `KEY=VALUE` overrides applied.

    Raises RecipeError naming the unknown recipe, key or value, and the nearest known one.
    """
    tables = read("recipe", name_or_path, available())
    for override in overrides:
        _apply(tables, override)
    changed = {override.partition("=")[0].strip() for override in overrides}
    if "training.epochs" in changed and "training.min_steps" not in changed:
        tables["training"].pop("min_steps", None)  # a length that was asked for is the length
    return parse(tables, str(name_or_path))


def read(kind: str, name_or_path: str | Path, known: Sequence[str]) -> dict[str, Any]:
    """Return the tables of a shipped TOML file, of the folder `kind` + "s", or of the one at a path.

    known: the shipped names. Raises RecipeError for what is neither, cannot be read, or is no TOML.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in known:
        return tomllib.loads((resources.files("tenfold") / f"{kind}s" / f"{name}.toml").read_text("utf-8"))
    if path.suffix != ".toml" and not path.is_file():
        raise RecipeError(
            f"No {kind} is called '{name}'.{nearest(name, known)} Give one of {', '.join(known)}, or a .toml file."
        )
    try:
        return tomllib.loads(read_bytes(path.resolve(), MOST_TEXT).decode())
    except OSError as error:
        raise RecipeError(f"{kind.title()} '{name}' cannot be read: {error.strerror}. Give a .toml file.") from None
    except RecursionError:
        raise RecipeError(f"{kind.title()} '{name}' is nested too deeply. Give a .toml file.") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{kind.title()} '{name}' is not UTF-8 text. Give a .toml file.") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{kind.title()} '{name}' is not valid TOML: {error}. Mend that line.") from None


def parse(tables: dict[str, Any], where: str) -> Recipe:
    """Return the recipe that these tables hold; `where` names it in errors (RecipeError)."""
    try:
        json.dumps(tables, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:  # an argument, or a path in one, in another encoding
        raise RecipeError(f"Recipe '{where}' holds what is no UTF-8 text: '{error.object[-60:]}'. Rename it.") from None
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        raise RecipeError(_explain(error, where)) from None


def _apply(tables: dict[str, Any], override: str) -> None:
    """Set one dotted key in the nested tables."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"Override '{override}' is not KEY=VALUE. Write for example optimiser.lr=0.02.")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *path, last = key.strip().split(".")
    table = tables
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(
                f"Override '{override}' goes into '{part}', which is no table. Name a key such as seed=1."
            )
    table[last] = value


def _explain(error: ValidationError, where: str) -> str:
    """Return one line for the first thing wrong: an unknown key names the nearest known one."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    *tables, last = [str(part) for part in first["loc"]] or [""]
    if not last:
        return f"Recipe '{where}': {message}."
    if tables and tables[0] == "search":
        key = tables[1] if len(tables) > 1 else last
        return (
            f"Recipe '{where}' has search.\"{key}\" = '{first['input']}': {message}. "
            "Give { low = 0.001, high = 0.1, log = true } or a list of choices."
        )
    dotted = ".".join([*tables, last])
    if first["type"] == "extra_forbidden":
        section: type[BaseModel] = Recipe
        for table in tables:
            section = _section(section, table)
        known = list(section.model_fields)
        return f"Recipe '{where}' has an unknown key '{dotted}'.{nearest(last, known)} Known here: {', '.join(known)}."
    if first["type"] == "missing":
        return f"Recipe '{where}' lacks the key '{dotted}'. Add it."
    return f"Recipe '{where}' has {dotted} = '{first['input']}': {message}. Change that value."


def _section(parent: type[BaseModel], table: str) -> type[BaseModel]:
    """Return the class of a table of `parent`, also of one that may be missing."""
    annotation = parent.model_fields[table].annotation
    choices = get_args(annotation) or (annotation,)
    return next(choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel))


def _toml_key(key: str) -> str:
    """Return a TOML key: dotted ones are quoted."""
    return json.dumps(key) if "." in key else key


def _toml_value(value: Any) -> str:
    """Return a TOML literal; JSON's strings, numbers, booleans and arrays of them are TOML too, its objects are not."""
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return "[\n" + "".join(f"  {_toml_value(each)},\n" for each in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(key)} = {_toml_value(value[key])}" for key in value) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
