"""The run's report: what it shows, that it shows it whole, safely, and without asking the network for anything."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.errors import RunError
from tenfold.metrics.scores import most_confident_mistakes, score
from tenfold.pages import report
from tenfold.runs.run import Run
from tenfold.training.recipe import Recipe

INLINE = {"a", "b", "span", "text"}
VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = "\"><script>alert('x')</script><img src=//evil.example/x>"
MANIFEST: dict[str, Any] = {
    "data": {"spec": "mnist", "sha256": "9f" * 32, "n_train": 950, "n_validation": 50},
    "seed": 7,
    "status": "finished",
    "seconds": 58.23,
    "epochs": 4.0,
    "images_per_second": 3917.2,
    "validation_accuracy": 0.98,
    "machine": {"cpu": "Some CPU @ 2 GHz", "cores": 2, "threads": 2, "device": "cpu", "precision": "bf16"},
    "versions": {"tenfold": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
    "commit": "0f3c2d1",
    "started": "2025-11-21T07:58:01+00:00",
    "parameters": 214321,
}
KEYS = ("epoch", "seconds", "loss", "learning_rate", "validation_accuracy", "validation_nll")
LINES = (1.0, 14.5, 0.9, 0.01, 0.9, 0.3), (2.0, 29.0, 0.5, 0.0, 1.0, 0.0)
METRICS = [dict(zip(KEYS, line, strict=True)) for line in LINES]


class Page(HTMLParser):
    """A strict reading of a page: tags that do not match are an error; ids, links, headings and sources are kept."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.images: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag; an image for people who cannot see must have a label."""
        values = dict(attrs)
        if tag not in INLINE:
            self.text += " "
        if tag not in VOID:
            self.open.append(tag)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values["href"]))
        else:
            self.sources += [str(values[key]) for key in ("href", "src") if values.get(key)]
        if values.get("role") == "img":
            self.images.append(values.get("aria-label") or "")

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost tag, which must be this one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Gather what can be read."""
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data.strip())
        if "style" not in self.open:
            self.text += data

    @property
    def words(self) -> str:
        """The text with every run of white space made one space."""
        return " ".join(self.text.split())


def answers(n: int, wrong: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return labels and probabilities of which the first `wrong` are off by one digit, less and less sure."""
    labels = np.arange(n, dtype=np.int64) % 10
    given = labels.copy()
    given[:wrong] = (labels[:wrong] + 1) % 10
    probabilities = np.full((n, 10), 0.01, np.float32)
    sure = np.full(n, 0.91, np.float32)
    probabilities[np.arange(n), given] = sure
    for i in range(wrong):
        probabilities[i, given[i]] -= 0.001 * i
        probabilities[i, labels[i]] += 0.001 * i
    return labels, probabilities


def kept(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return the arrays that an evaluation keeps."""
    indices = most_confident_mistakes(labels, probabilities, 100)
    images = np.zeros((len(indices), 28, 28), np.uint8)
    images[:, 4:24, 12:16] = 255
    return {"labels": labels, "probabilities": probabilities, "mistake_indices": indices, "mistake_images": images}


def make_run(folder: Path, *, name: str = "fast", validation: bool = True, **changes: Any) -> Run:
    """Return a finished run without evaluations; `changes` go into its manifest."""
    folder.mkdir()
    (folder / "recipe.toml").write_text(Recipe.model_validate({"name": name, "model": {"kind": "conv"}}).to_toml())
    (folder / "run.json").write_text(json.dumps(MANIFEST | changes))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    if validation:
        np.savez(folder / "validation.npz", indices=np.arange(50), **kept(*answers(50, 1)))
    return Run.open(folder)


def add_look(run: Run, spec: str, n: int = 200, wrong: int = 3, **more: Any) -> None:
    """Add an evaluation to the run's folder as `evaluate` does."""
    labels, probabilities = answers(n, wrong)
    file = run.path / "evaluations" / f"{sum(1 for _ in run.path.glob('evaluations/*')) + 1}.npz"
    file.parent.mkdir(exist_ok=True)
    np.savez(file, **kept(labels, probabilities))
    line = score(labels, probabilities) | {
        "data": {"spec": spec, "sha256": f"hash of {spec}", "n": n},
        "overlap": None,
        "looks": 3,
        "models_looked": 2,
        "time": "2025-11-21T08:12:00+00:00",
        "file": file.relative_to(run.path).as_posix(),
    }
    with (run.path / "evaluations.jsonl").open("a") as stream:
        stream.write(json.dumps(line | more) + "\n")


def written(run: Run) -> Page:
    """Return the run's report, read back."""
    return Page(report.write_report(run).read_text("utf-8"))


def test_every_section_is_there(tmp_path: Path) -> None:
    """A run with an evaluation shows every part, each link leads to one of them, and each picture has a label."""
    run = make_run(tmp_path / "run")
    add_look(run, "mnist:test")
    read = written(run)
    assert read.headings == [
        *("fast", "Learning curves"),
        *("mnist:test", "Confusion matrix", "Digit by digit", "Calibration", "If it may refuse", "Mistakes"),
        *("Validation images", "Confusion matrix", "Digit by digit", "Calibration", "If it may refuse", "Mistakes"),
        *("Looks at test data", "Recipe", "Where it comes from", "To train it again"),
    ]
    assert len(set(read.ids)) == len(read.ids)
    assert {link.removeprefix("#") for link in read.links} <= set(read.ids)
    assert all(read.images)


def test_headline_numbers(tmp_path: Path) -> None:
    """The newest evaluation gives the headline, with its interval, and the manifest the costs."""
    run = make_run(tmp_path / "run")
    add_look(run, "mnist:test")
    words = written(run).words
    for shown in (
        "It misreads 3 of the 200 images of mnist:test.",
        "98.50% Test accuracy, with 95% confidence between 95.68% and 99.49%.",
        "Errors 3 of 200",
        "Validation accuracy 98.00%",
        "Training 58.2 s",
        "Images per second 3,917",
        "Parameters 214k",
    ):
        assert shown in words


def test_provenance(tmp_path: Path) -> None:
    """Recipe, machine, versions, data hash, seed and the command to train it again are on the page."""
    words = written(make_run(tmp_path / "run")).words
    for shown in ('kind = "conv"', "Some CPU @ 2 GHz", "torch 2.13.0", "9f" * 32, "Seed 7", "Commit 0f3c2d1"):
        assert shown in words
    assert f"tenfold train {tmp_path / 'run' / 'recipe.toml'} --data mnist --seed 7" in words


def test_page_is_self_contained(tmp_path: Path) -> None:
    """Nothing on the page makes a browser ask the network, or run a script."""
    run = make_run(tmp_path / "run")
    add_look(run, "mnist:test")
    html = report.write_report(run).read_text("utf-8")
    assert all(source.startswith("data:") for source in Page(html).sources)
    assert all(target.startswith("data:image/png;base64,") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "<script" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html
    assert len(html) < 1_500_000


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    """Markup in a recipe's name, a data set's name, a version or a machine stays text."""
    run = make_run(
        tmp_path / "run",
        name=HOSTILE,
        data={"spec": HOSTILE, "sha256": HOSTILE, "n_train": 1, "n_validation": 1},
        machine={"cpu": HOSTILE},
        versions={HOSTILE: HOSTILE},
        commit=HOSTILE,
    )
    add_look(run, HOSTILE, time=HOSTILE)
    html = report.write_report(run).read_text("utf-8")
    assert "<script" not in html
    assert "<img" not in html
    assert Page(html).sources == ["data:,"]


def test_validation_alone(tmp_path: Path) -> None:
    """Before the first evaluation the validation images give the headline, and the page says so."""
    read = written(make_run(tmp_path / "run"))
    assert "It has not been evaluated on test data yet" in read.words
    assert "98.00% Validation accuracy, with 95%" in read.words
    assert "Looks at test data" not in read.headings


def test_perfect_score(tmp_path: Path) -> None:
    """A run without a mistake says so, and its page is whole."""
    run = make_run(tmp_path / "run", validation=False)
    add_look(run, "mnist:test", wrong=0)
    words = written(run).words
    assert "It reads all 200 images of mnist:test correctly." in words
    assert "100% Test accuracy" in words
    assert "None: every answer is right." in words
    assert "If it may refuse" not in words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("interrupted", "Training was interrupted"),
        ("out_of_time", "Training ended at its time limit"),
        ("running", "Training had not ended"),
    ],
)
def test_training_that_did_not_end(tmp_path: Path, status: str, words: str) -> None:
    """A run cut short, with nothing scored yet, has a page that says what happened."""
    run = make_run(tmp_path / "run", validation=False, status=status)
    (run.path / "metrics.jsonl").unlink()
    read = written(run)
    assert words in read.words
    assert "It has not been evaluated yet." in read.words
    assert "Too few measurements to draw" in read.words


def test_bare_manifest(tmp_path: Path) -> None:
    """A manifest that knows nothing yet is enough."""
    run = make_run(tmp_path / "run")
    (run.path / "run.json").write_text("{}")
    assert "fast" in written(Run.open(run.path)).headings


def test_several_evaluations(tmp_path: Path) -> None:
    """Each data set has a section for its newest evaluation, the newest set first; the table lists every look."""
    run = make_run(tmp_path / "run", validation=False)
    add_look(run, "mnist:test", wrong=5)
    add_look(run, "uci", wrong=4)
    add_look(run, "mnist:test", wrong=2)
    read = written(run)
    titles = [heading for heading in read.headings if heading in ("mnist:test", "uci")]
    assert titles == ["mnist:test", "uci"]
    table = read.words.partition("Every time that this run was scored")[2]
    listed = re.findall(r"(\S+) [\d.]+% [\d.]+% to [\d.]+% (\d) 200 2025", table)
    assert listed == [("mnist:test", "2"), ("uci", "4"), ("mnist:test", "5")]
    assert "3 looks by 2 models" in table


def test_overlap_is_named_first(tmp_path: Path) -> None:
    """Where training saw test images, the headline is the score without them; the one with them is a note."""
    run = make_run(tmp_path / "run")
    overlap = {"exact": 60, "near": 3, "near_checked": True, "accuracy_on_overlap": 1.0}
    overlap |= {"accuracy_without": 134 / 137, "n_without": 137, "ci95_without": [0.9376, 0.9925]}
    add_look(run, "mnist:test", overlap=overlap)
    words = written(run).words
    assert "It misreads 3 of the 137 images of mnist:test that training never saw." in words
    assert "97.81% Test accuracy on images that training never saw, with 95% confidence between 93.76% and" in words
    assert "Errors 3 of 137 Validation accuracy" in words  # no log-loss: it counts what training saw
    assert "60 of the 200 test images are in the training data, and 3 more are nearly equal to one there." in words
    assert "on those that it saw 100%, on all of them together 98.50%, which says less about new digits" in words
    assert "What follows counts all 200 images, those that it was trained on too: 98.50% read correctly" in words
    assert "mnist:test 97.81% 93.76% to 99.25% 3 137 2025" in words  # the table of looks
    assert words.index("Training and test data overlap.") < words.index("Learning curves")


def test_overlap_of_everything(tmp_path: Path) -> None:
    """Where no test image is new to the model, its score is no headline, and the page says that it means nothing."""
    run = make_run(tmp_path / "run")
    overlap = {"exact": 200, "near": 0, "near_checked": False, "accuracy_on_overlap": 1.0}
    overlap |= {"accuracy_without": None, "n_without": 0, "ci95_without": None}
    add_look(run, "mnist:test", overlap=overlap)
    words = written(run).words
    assert "near duplicates were not looked for" in words
    assert "the score on them, 98.50%, says nothing about new digits" in words
    assert "evaluated on nothing but images that it was trained on: the figures are of 50 images held out" in words
    assert "98.00% Validation accuracy, with 95%" in words
    assert "mnist:test – – – 0 2025" in words


def test_mistakes_are_the_surest_first(tmp_path: Path) -> None:
    """The gallery shows label, answer and confidence of each mistake, at most sixty, the surest first."""
    run = make_run(tmp_path / "run", validation=False)
    add_look(run, "mnist:test", n=100, wrong=70)
    words = written(run).words
    assert "The 60 surest of 70 mistakes, the surest first" in words
    shown = re.findall(r"(\d) → (\d) ([\d.]+)%", words)
    assert len(shown) == 60
    assert shown[:3] == [("0", "1", "91.0"), ("1", "2", "90.9"), ("2", "3", "90.8")]


def test_lost_pictures(tmp_path: Path) -> None:
    """An evaluation whose .npz was deleted still shows its figures, and says what is missing."""
    run = make_run(tmp_path / "run", validation=False)
    add_look(run, "mnist:test")
    (run.path / "evaluations" / "1.npz").unlink()
    read = written(run)
    assert "3 mistakes, of which no pictures were kept." in read.words
    assert "Calibration" not in read.headings


def test_confusion_counts(tmp_path: Path) -> None:
    """The matrix has the true digit in rows: three images, 0, 1 and 2, were read as the next digit."""
    run = make_run(tmp_path / "run", validation=False)
    add_look(run, "mnist:test", n=200, wrong=3)
    words = written(run).words
    assert "Most often confused: 0 read as 1 (1 image), 1 read as 2 (1 image), 2 read as 3 (1 image)." in words
    assert "0 19 1 0 0 0 0 0 0 0 0 1 0 19 1" in words


def test_rare_confusions_are_paler(tmp_path: Path) -> None:
    """The most frequent confusion is the strongest in colour, a rarer one has its logarithm's share."""
    confusion = np.diag([100] * 10)
    confusion[3, 5], confusion[4, 9] = 7, 1
    section = report._section({"confusion": confusion.tolist()}, {}, "set-1", "mnist:test", "test")
    shades = np.array(section["confusion"])[..., 1]
    assert shades[3, 5] == 1
    assert shades[4, 9] == pytest.approx(1 / 3)  # ln 2 / ln 8
    assert np.count_nonzero(shades) == 2


def test_classical_models_and_ensembles_have_no_curves(tmp_path: Path) -> None:
    """What was not trained epoch by epoch has no learning curves, and an ensemble no command that trains it."""
    run = make_run(tmp_path / "svm")
    (run.path / "recipe.toml").write_text(Recipe.model_validate({"name": "a", "model": {"kind": "svm"}}).to_toml())
    assert "Learning curves" not in written(Run.open(run.path)).words
    run = make_run(tmp_path / "ensemble")
    model = {"kind": "ensemble", "members": [{"kind": "conv"}, {"kind": "conv"}]}
    (run.path / "recipe.toml").write_text(Recipe.model_validate({"name": "b", "model": model}).to_toml())
    read = written(Run.open(run.path))
    assert "An ensemble of 2 members, trained on mnist" in read.words
    assert "Learning curves" not in read.headings
    assert "To train it again" not in read.headings


def test_torn_lines(tmp_path: Path) -> None:
    """An evaluation cut off while it was written is left out; the ones before and after it are shown."""
    run = make_run(tmp_path / "run", validation=False)
    add_look(run, "mnist:test", n=200, wrong=3)
    path = run.path / "evaluations.jsonl"
    path.write_text(path.read_text() + '{"accuracy": 0.9\n')
    add_look(run, "uci:test", n=100, wrong=1)
    words = written(run).words
    assert "mnist:test" in words
    assert "uci:test" in words


def test_damaged_arrays(tmp_path: Path) -> None:
    """An .npz that is damaged, or that would have to be unpickled, is an error that names the file."""
    run = make_run(tmp_path / "run", validation=False)
    add_look(run, "mnist:test")
    file = run.path / "evaluations" / "1.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match=r"'.*1.npz' is damaged"):
        report.write_report(run)
    np.savez(file, labels=np.array([object()], dtype=object))
    with pytest.raises(RunError, match=r"'.*1.npz' is damaged"):
        report.write_report(run)


def test_file_outside_the_run_is_not_read(tmp_path: Path) -> None:
    """A record that points out of the run's folder, as one handed in by others may, is not followed."""
    run = make_run(tmp_path / "run", validation=False)
    np.savez(tmp_path / "secret.npz", **kept(*answers(20, 1)))
    add_look(run, "mnist:test", file="../secret.npz")
    assert "no pictures were kept" in written(run).words


def test_page_fits(tmp_path: Path, unfit: Callable[[Path], list[str]]) -> None:
    """Nothing on a report is cut off or illegible: a large test set, many mistakes, long lines in the recipe."""
    run = make_run(tmp_path / "run", name="a-recipe-of-a-name-that-goes-on-" * 4)
    add_look(run, "a-file-of-a-long-name-" * 5 + ".npz", n=10_000, wrong=70)
    assert unfit(report.write_report(run)) == []
