"""A run's report: one self-contained HTML page made from what is in the run folder."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.decisions import described
from tenfold.errors import RunError
from tenfold.files import MOST_TEXT, read_bytes
from tenfold.metrics.intervals import wilson
from tenfold.metrics.scores import calibration_bins, risk_coverage, score
from tenfold.pages import page, plots
from tenfold.pages.plots import Text
from tenfold.runs.run import Run
from tenfold.runs.schema import read_answers

SHOWN_MISTAKES = 60
SHOWN_CONFUSIONS = 3
SHOWN_SETS = 4  # the newest evaluation of each of the largest data sets has a section; the table lists every look
CALIBRATION_BINS = 10  # a phone has room for ten counts

CURVES: list[tuple[str, str, Text, float]] = [  # key, title, words of a value, least value drawn
    ("validation_accuracy", "Validation accuracy", plots.accuracy_text, 0),
    ("loss", "Training loss", "{:.3g}".format, 1e-6),
    ("validation_nll", "Validation loss (NLL)", "{:.3g}".format, 1e-6),
    ("learning_rate", "Learning rate", "{:.2g}".format, 1e-8),
]
STATUS = {
    "interrupted": "Training was interrupted; the figures are those of the weights kept at that moment.",
    "out_of_time": "Training ended at its time limit, before the recipe was through.",
    "running": "Training had not ended when this page was written.",
}


def write_report(run: Run) -> Path:
    """Return the path of report.html in the run folder, written anew from the run's files.

    Shows the newest evaluation of each data set, the largest set first, then the validation images; either may be
    missing.
    Raises DataError where it cannot be written, and RunError where a file in the folder is damaged.
    """
    looks = run.looks()
    newest = {_data(look)["sha256"] or _data(look)["spec"]: look for look in looks}  # later looks replace earlier ones
    latest = sorted(newest.values(), key=lambda look: (look["n"], looks.index(look)), reverse=True)[:SHOWN_SETS]
    sections = [_evaluation(run, look, f"set-{i}") for i, look in enumerate(latest, 1)]
    held_out = run.validation()
    if held_out is not None and len(held_out["labels"]):
        figures = score(held_out["labels"], held_out["probabilities"])
        sections.append(_section(figures, held_out, "validation", title="Validation images", kind="validation"))
    html = page.render(
        "report.html",
        run=run,
        manifest=run.manifest,
        sections=sections,
        headline=next((section for section in sections if section["unseen"]), None),
        curves=_curves(run.metrics(), run.manifest),
        looks=[look | {"spec": _data(look)["spec"], "unseen": _unseen(look)} for look in reversed(looks)],
        status=STATUS.get(run.manifest.get("status", ""), ""),
        recipe=read_bytes(run.path / "recipe.toml", MOST_TEXT).decode("utf-8", "replace"),
        command=_command(run),
        provenance=_provenance(run.manifest),
    )
    return page.write(run.path / "report.html", html)


def _evaluation(run: Run, look: dict[str, Any], anchor: str) -> dict[str, Any]:
    """Return the section of one evaluation: its figures from the record, its pictures from the .npz beside it."""
    arrays, file = {}, run.answers_of(look)
    if file is not None and file.exists():
        try:
            arrays = read_answers(file)
        except (OSError, ValueError) as error:
            raise RunError(f"'{file}' is damaged: {error}. Evaluate the run again.") from None
    return _section(look, arrays, anchor, title=page.name_of(_data(look)["spec"]), kind="test")


def _section(
    figures: dict[str, Any], arrays: dict[str, NDArray[Any]], anchor: str, title: str, kind: str
) -> dict[str, Any]:
    """Return what the page shows of one set of predictions."""
    confusion = np.array(figures["confusion"])
    shades = np.log1p(confusion * (1 - np.eye(len(confusion))))  # of errors alone, which differ by powers of ten
    confused = [(true, given, int(n)) for (true, given), n in np.ndenumerate(confusion) if n and true != given]
    shaded = np.dstack([confusion, shades / max(shades.max(), 1e-9)])  # Shape: (10, 10, 2): images, shade
    section = figures | {
        "anchor": anchor,
        "title": title,
        "kind": kind,
        "unseen": _unseen(figures),
        "confusion": shaded.tolist(),
        "confused": sorted(confused, key=lambda error: -error[2])[:SHOWN_CONFUSIONS],  # the most frequent first
        **dict.fromkeys(("calibration", "refusal", "mistakes")),
    }
    if "labels" in arrays and "probabilities" in arrays:
        labels, probabilities = arrays["labels"], arrays["probabilities"]
        bins = calibration_bins(labels, probabilities, CALIBRATION_BINS)
        section["calibration"] = plots.reliability(bins, label=f"Accuracy against confidence, {title}")
        if figures["errors"]:  # or there is nothing to gain by refusing
            _, coverage, risk = risk_coverage(probabilities.max(1), probabilities.argmax(1) == labels)
            section["refusal"] = plots.risk_coverage(coverage, risk, label=f"Errors against refusals, {title}")
        section["mistakes"] = _mistakes(arrays)
    return section


def _unseen(figures: dict[str, Any]) -> dict[str, Any] | None:
    """Return accuracy, errors, n and ci95 on the images that training never saw, None where it saw them all."""
    overlap = figures.get("overlap")
    if not overlap or not overlap["exact"] + overlap["near"]:
        return figures
    accuracy, n = overlap.get("accuracy_without"), overlap.get("n_without")
    if accuracy is None or not n:
        return None
    right = round(accuracy * n)
    return {"accuracy": accuracy, "errors": n - right, "n": n, "ci95": wilson(right, n)}


def _mistakes(arrays: dict[str, NDArray[Any]]) -> list[dict[str, Any]] | None:
    """Return the surest mistakes with their pictures, or None where the pictures were not kept."""
    if "mistake_images" not in arrays or "mistake_indices" not in arrays:
        return None
    kept = zip(arrays["mistake_indices"][:SHOWN_MISTAKES], arrays["mistake_images"], strict=False)
    return [
        {
            "image": page.picture(image),
            "index": int(i),
            "label": int(arrays["labels"][i]),
            "given": int(arrays["probabilities"][i].argmax()),
            "confidence": float(arrays["probabilities"][i].max()),
        }
        for i, image in kept  # the surest first
    ]


def _curves(metrics: list[dict[str, Any]], manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the charts of loss, validation accuracy and learning rate over training that there is data for."""
    half_an_image = 0.5 / ((manifest.get("data") or {}).get("n_validation") or 1000)  # stands for no error
    charts = []
    for key, title, text, least in CURVES:
        rows = [row for row in metrics if row.get(key) is not None and np.isfinite(row[key])]
        if len(rows) < 2:  # one point is no curve
            continue
        points = [(float(row["epoch"]), float(row["seconds"]), float(row[key])) for row in rows]
        accuracy = key == "validation_accuracy"
        if accuracy:  # drawn by its error, or every good run is a line along the top
            points = [(epoch, seconds, 1 - value) for epoch, seconds, value in points]
        label = f"{title} over training, {text(points[-1][2])} at the end"
        svg = plots.line_chart(
            points, label=label, text=text, floor=half_an_image if accuracy else least, flip=accuracy
        )
        charts.append({"title": title, "svg": svg})
    return charts


def _data(look: dict[str, Any]) -> dict[str, str]:
    """Return the spec and the content hash of the data that was looked at, "" where unknown."""
    data: dict[str, str] = {"spec": "", "sha256": ""} | look.get("data", {})
    return data


def _command(run: Run) -> str:
    """Return the shell command that trains this run again."""
    data, source = (run.manifest.get(key) or {} for key in ("data", "from"))
    specs = data.get("spec", "DATA")
    words = ["tenfold", "train", str(run.path / "recipe.toml")]
    for spec in [specs] if isinstance(specs, str) else specs:
        words += ["--data", str(spec)]
    if data.get("labels"):
        words += ["--labels", str(run.labels)]
    if data.get("deduplicated"):
        words += ["--deduplicate"]
    options = {"--subset": data.get("subset"), "--from": source.get("run"), "--layers": source.get("layers")}
    for option, value in (options | {"--seed": run.manifest.get("seed")}).items():
        words += [] if value is None else [option, str(value)]
    return shlex.join(words)


def _provenance(manifest: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the rows (what, value) that say where the run comes from; None or "" where that is unknown."""
    data, machine, versions = (manifest.get(key) or {} for key in ("data", "machine", "versions"))
    source, cores, threads = manifest.get("from"), machine.get("cores"), machine.get("threads")
    images = twice = None
    if data.get("n_train") is not None:
        images = f"{page.count(data['n_train'])} trained on, {page.count(data.get('n_validation'))} held out"
    if copies := data.get("copies"):
        kept = f"; {page.counted(copies['held_out'], 'held-out image')} with a copy in the training part"
        twice = f"{copies['exact']:,} exact, {copies['near']:,} near{', left out' if copies['dropped'] else kept}"
    return [
        ("Started", page.minute(manifest.get("started"))),
        ("Seed", manifest.get("seed")),
        ("Training data", " + ".join(specs) if isinstance(specs := data.get("spec"), list) else specs),
        ("Images", images),
        ("Copies", twice),
        ("Labels", described(labels) if (labels := data.get("labels")) else None),
        ("Began from", f"{source['run']} ({source['recipe']}), {source['layers']} trained on" if source else None),
        ("Data SHA-256", data.get("sha256")),
        ("Processor", machine.get("cpu")),
        ("Cores", f"{cores}, {threads} threads used" if cores is not None and threads is not None else cores),
        ("Device", machine.get("device")),
        ("Precision", machine.get("precision")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Commit", manifest.get("commit")),
    ]
