"""The card of the models that come with Tenfold: every number from `results/*.jsonl` or from the model's own metadata.

    python benchmarks/card.py --write
    python benchmarks/card.py --check     # exits with 1 when card.json is stale, or a model has no record

A record counts where it is of that very file, by SHA-256; a model that was trained again has to be measured again.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import latency  # beside this file
import reading
import recogniser
import robustness
from recogniser import PROMISES
from records import MISSING, NOTHING, Part, read_records

from tenfold import __version__
from tenfold.errors import DataError, ModelError, TenfoldError
from tenfold.files import write_atomically
from tenfold.pages.page import table
from tenfold.runtime.abstain import guarantee
from tenfold.runtime.model_file import CARD, PRETRAINED, SHIPPED, open_model, open_reading
from tenfold.runtime.reader import digit_model

COMMAND = "python benchmarks/card.py"
FILES = tuple(dict.fromkeys(SHIPPED.values()))
READERS = {f"{kind}.onnx": kind for kind in ("page", "lines")}  # read together; in the order of `Reader.sha256`


def card(results: Path, pretrained: Path = PRETRAINED) -> dict[str, Any]:
    """Return card.json's content: a key `models`, the files' names to what is known of each.

    Raises ModelError for a file that is no model, DataError where nothing is recorded of one.
    """
    models = {name: _facts(pretrained / name, results) for name in FILES}
    return {"models": models | reading_facts(results, pretrained)}


def reading_facts(results: Path, pretrained: Path = PRETRAINED) -> dict[str, Any]:
    """Return what is known of the networks that read numbers, by file; raises what `card` raises."""
    opened = {name: open_reading(pretrained / name, kind) for name, kind in READERS.items()}
    hashes = [*(each.sha256 for each in opened.values()), digit_model().sha256]  # as of `Reader.sha256`
    both = hashlib.sha256("".join(hashes).encode()).hexdigest()
    every = read_records(results / reading.FILE, reading.NumbersRead)
    of_both = [each for each in every if each.model_sha256 == both and each.name == reading.TENFOLD]
    last = _some([each for each in of_both if each.limit is None], " and ".join(READERS), reading.FILE)[-1]
    numbers = {group: _numbers(conditions[reading.ALL]) for group, conditions in last.groups.items()}
    return {name: _reader(pretrained / name, each) | {"readings": numbers} for name, each in opened.items()}


def _reader(file: Path, opened: Any) -> dict[str, Any]:
    """Return what a network's file and its recipe say of it."""
    from tenfold.drawing.glyphs import HANDWRITING, TRAINING
    from tenfold.models import build
    from tenfold.training.recipe import load

    held, recipe = opened.card, load(opened.card.recipe)
    network, pictures = build(recipe.model.kind, recipe.model.arguments()), recipe.pictures
    assert pictures is not None
    seed = held.fields.get("seed", 0)
    return {
        "sha256": opened.sha256,
        "bytes": file.stat().st_size,
        "recipe": recipe.name,
        "config_sha256": recipe.config_hash(),
        "precision": held.precision,
        "version": held.fields.get("version", __version__),
        "seed": seed,
        "parameters": sum(each.numel() for each in network.parameters()),
        "trained_on": {
            "spec": held.fields["data"]["spec"],
            "pictures": pictures.count,
            "mnist_training_images": pictures.images,
            "drawn_shapes": pictures.drawn,
            "fonts": [*TRAINING, *HANDWRITING],
        },
        "commands": [f"tenfold train {recipe.name} --seed {seed} --out runs/{recipe.name}"],
        "held_out": _score(Part(n=held.n, errors=len(held.held_out))) if held.n else None,
        "threshold": held.threshold,
    }


def _numbers(its: reading.Scores) -> dict[str, Any]:
    """Return how pictures of a kind were read: those with digits, or how often something was read without any."""
    if not its.digits.n:
        read = {"answered_on": its.claimed.errors, "answered_digits": its.claimed_digits}
        return {"n": its.read.n} | read | {"read_on": its.read.errors, "read_digits": its.read_digits}
    rate = its.digits.errors / its.digits.n
    wrong = {"answered": its.answered.n, "answered_wrongly": its.answered.errors}
    wrong["right_without_unsure"] = its.used.n - its.used.errors
    return _score(its.pictures) | {"digits": its.digits.n, "digit_error_rate": rate} | wrong


def _facts(file: Path, results: Path) -> dict[str, Any]:
    model = open_model(file)
    fields = model.card.fields
    name, option = model.card.recipe, " --int8" if model.card.precision == "int8" else ""
    return {
        "sha256": model.sha256,
        "bytes": file.stat().st_size,
        "recipe": name,
        "config_sha256": fields["config_sha256"],
        "precision": model.card.precision,
        "version": fields["version"],
        "seed": fields["seed"],
        "trained_on": fields["data"],
        "commands": [
            f"tenfold train {name} --data mnist --seed {fields['seed']} --out runs/{name}",
            f"tenfold export runs/{name}{option} --out {file.name}",
        ],
        "temperature": fields["temperature"],
        "held_out": fields["metrics"]["validation"],
        "threshold": model.card.threshold,
        "promise": _promise(model.card),
        "readings": _readings(results, model.sha256, file.name),
        "no_digits": _no_digits(results, model.sha256, file.name),
        "corruptions": _corruptions(results, model.sha256, file.name),
        "speed": _speed(results, model.sha256, file.name),
    }


def _promise(held: Any) -> dict[str, Any] | None:
    """Return the least error of PROMISES that the held-out images can promise, None where it is none of them."""
    for promise in PROMISES:
        try:
            found = guarantee(held, promise)
            break
        except ModelError:
            continue
    else:
        return None
    return {
        "max_error": promise,
        "threshold": found.threshold,
        "n": found.n,
        "answered": found.answered,
        "errors": found.errors,
        "coverage": found.answered / found.n,
    }


def _readings(results: Path, sha256: str, name: str) -> list[dict[str, Any]]:
    every = read_records(results / recogniser.READINGS, recogniser.Reading)
    newest = {(each.data.spec, each.max_error): each for each in every if each.model_sha256 == sha256}
    return [
        {"data": each.data.spec, "max_error": each.max_error, "given_as": each.given_as}
        | _score(each.total())
        | {"answered": each.answered.n, "answered_wrongly": each.answered.errors}
        for each in _some(list(newest.values()), name, recogniser.READINGS)
    ]


def _no_digits(results: Path, sha256: str, name: str) -> dict[str, Any]:
    every = read_records(results / recogniser.REFUSALS, recogniser.Refusal)
    newest = _some([each for each in every if each.model_sha256 == sha256], name, recogniser.REFUSALS)[-1]
    total = newest.total()
    return {
        "n": total.n,
        "refused": total.n - total.errors,
        "kinds": {kind: {"n": part.n, "refused": part.n - part.errors} for kind, part in newest.kinds.items()},
    }


def _corruptions(results: Path, sha256: str, name: str) -> dict[str, Any]:
    every = read_records(results / robustness.FILE, robustness.Robustness)
    newest = _some([each for each in every if each.weights_sha256 == sha256], name, robustness.FILE)[-1]
    parts = newest.corruptions.items()
    return {"mean": newest.mean(), "accuracy": {kind: part.accuracy for kind, part in parts}}


def _speed(results: Path, sha256: str, name: str) -> dict[str, Any]:
    every = read_records(results / latency.FILE, latency.Latency)
    newest = _some([each for each in every if each.model_sha256 == sha256], name, latency.FILE)[-1]
    return {
        "cpu": newest.machine.get("cpu"),
        "one_image_microseconds": newest.one_image,
        "images_per_second": newest.images_per_second,
        "first_prediction_seconds": newest.first,
    }


def _some(found: list[Any], name: str, file: str) -> list[Any]:
    if not found:
        raise DataError(f"'{file}' has no record of '{name}' as it is. Measure it: see benchmarks/.")
    return found


def _score(part: Part) -> dict[str, Any]:
    right = part.n - part.errors
    return {"n": part.n, "errors": part.errors, "accuracy": right / part.n, "ci95": list(part.interval())}


def block(results: Path) -> str:
    """Return the Markdown of what the shipped models are and how they read, a column a model."""
    models = {name: _facts(PRETRAINED / name, results) for name in FILES}
    rows = [["**file**", *(f"`{name}`, {facts['bytes'] / 1000:,.0f} kB" for name, facts in models.items())]]

    def row(title: str, cells: list[str]) -> None:
        rows.append([title, *cells])

    every = list(models.values())
    row("recipe, weights", [f"`{facts['recipe']}`, {facts['precision']}" for facts in every])
    row("images trained on", [f"{facts['trained_on']['n_train']:,} of MNIST's 60,000" for facts in every])
    row("held out", [_percent(facts["held_out"]) for facts in every])
    for index, each in enumerate(every[0]["readings"]):
        promise = f", at most {100 * each['max_error']:g}% of the answers wrong" if each["max_error"] else ""
        row(f"**{each['data']}**{promise}", [_reading(facts["readings"], index) for facts in every])
    row("no digits, refused", [_refused(facts["no_digits"]) for facts in every])
    row("fifteen corruptions, mean", [f"{100 * facts['corruptions']['mean']:.2f}%" for facts in every])
    row("one image, one thread", [f"{facts['speed']['one_image_microseconds']:.0f} µs" for facts in every])
    row("images a second", [_speeds(facts["speed"]["images_per_second"]) for facts in every])
    row("first prediction of a process", [f"{facts['speed']['first_prediction_seconds']:.2f} s" for facts in every])
    return table(["", *(f"`{facts['recipe']}`" for facts in every)], rows)


def readers_block(results: Path, pretrained: Path = PRETRAINED) -> str:
    """Return the Markdown of what the networks that read numbers are, and how both together read."""
    try:
        models = reading_facts(results, pretrained)
    except (DataError, ModelError):
        return NOTHING
    every = list(models.values())
    rows = [["**file**", *(f"`{name}`, {facts['bytes'] / 1000:,.0f} kB" for name, facts in models.items())]]
    rows.append(["recipe, weights", *(f"`{facts['recipe']}`, {facts['precision']}" for facts in every)])
    rows.append(["parameters", *(f"{facts['parameters']:,}" for facts in every)])
    rows.append(
        ["MNIST's images drawn with", *(f"{facts['trained_on']['mnist_training_images']:,}" for facts in every)]
    )
    rows.append(["drawn pictures trained on", *(f"{facts['trained_on']['pictures']:,}" for facts in every)])
    held = [_percent(facts["held_out"]) if facts["held_out"] else MISSING for facts in every]
    rows.append(["held-out drawn ones right: digits on pages, rows", *held])
    made = table(["", *(f"`{facts['recipe']}`" for facts in every)], rows)
    read = []
    for group, its in every[0]["readings"].items():
        if "accuracy" in its:
            answered = f"{100 * its['answered'] / its['n']:.1f}%, {its['answered_wrongly']} of those wrong"
            read.append([group, _percent(its), f"{100 * its['digit_error_rate']:.2f}%", answered])
        else:
            read.append(
                [f"{group}, {its['n']}", MISSING, MISSING, f"{its['answered_digits']} digits on {its['answered_on']}"]
            )
    head = ["both together", "all digits right", "digits wrong", "answered"]
    return f"{made}\n\n{table(head, read)}"


BLOCKS = {"shipped": block, "shipped-readers": readers_block}


def _percent(score: dict[str, Any]) -> str:
    low, high = score["ci95"]
    return f"{100 * score['accuracy']:.2f}% ({100 * low:.2f} to {100 * high:.2f}) of {score['n']:,}"


def _reading(readings: list[dict[str, Any]], index: int) -> str:
    if index >= len(readings):
        return MISSING
    each = readings[index]
    if each["max_error"]:
        return f"answers {100 * each['answered'] / each['n']:.2f}%, {each['answered_wrongly']} wrong"
    answered = f"answers {100 * each['answered'] / each['n']:.2f}%, {each['answered_wrongly']} of those wrong"
    return f"{_percent(each)}; {answered}"


def _refused(part: dict[str, Any]) -> str:
    return f"{100 * part['refused'] / part['n']:.1f}% of {part['n']:,}"


def _speeds(speeds: dict[str, float]) -> str:
    return ", ".join(f"{speed:,.0f} on {threads}" for threads, speed in speeds.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write card.json or check it; return the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="The shipped models' card, from results/.")
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--check", action="store_true", help="exit with 1 when the card is stale")
    verb.add_argument("--write", action="store_true", help="bring the card up to date")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--pretrained", type=Path, default=PRETRAINED, metavar="FOLDER")
    options = parser.parse_args(arguments)
    file = options.pretrained / CARD
    try:
        content = json.dumps(card(options.results, options.pretrained), indent=1) + "\n"
        if options.write:
            write_atomically(file, content.encode())
        elif not file.is_file() or file.read_text(encoding="utf-8") != content:
            raise DataError(f"'{file}' is stale. Run: {COMMAND} --write")
    except TenfoldError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
