"""The card: what a model says of itself, in its metadata, and how it fared on the images that were held out."""

import json
import math
from dataclasses import dataclass
from typing import Any

from tenfold.errors import ModelError
from tenfold.runtime.wire import ADVICE

KEY, FORMAT = "tenfold", 1
MAX_CARD_BYTES = 4 << 20  # 100,000 held-out errors; our worst classical model has 750


@dataclass(frozen=True, slots=True)
class Card:
    """A model's card, checked.

    name, recipe, precision ("fp32" or "int8") as exported. threshold: the confidence from which it answers, where
    the user gives none. n: how many images were held out. held_out: for each of them that was read wrong,
    (confidence, how many held-out images have at least that confidence), by falling confidence.
    fields: the whole JSON object.
    """

    name: str
    recipe: str
    precision: str
    threshold: float
    n: int
    held_out: tuple[tuple[float, int], ...]
    fields: dict[str, Any]


def parse(text: str, model: str) -> Card:
    """Return the card that a model's metadata holds as JSON; ModelError where anything in it is not as it must be."""
    if len(text) > MAX_CARD_BYTES:
        raise _malformed(model, f"it has '{len(text)}' characters")
    try:
        fields = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _malformed(model, "it is not JSON") from error
    if not isinstance(fields, dict):
        raise _malformed(model, "it is no JSON object")
    if fields.get("format") != FORMAT or isinstance(fields["format"], bool):
        raise ModelError(
            f"'{model}' has a card of format '{_short(fields.get('format'))}'; this Tenfold reads {FORMAT}. "
            "Export the model again, or install the Tenfold that wrote it."
        )
    for key, kind in (("name", str), ("recipe", str), ("precision", str), ("data", dict), ("metrics", dict)):
        if not isinstance(fields.get(key), kind):
            raise _malformed(model, f"its '{key}' is '{_short(fields.get(key))}'")
    if fields["precision"] not in ("fp32", "int8"):
        raise _malformed(model, f"its 'precision' is '{_short(fields['precision'])}'")
    if not _is_share(fields.get("threshold")):
        raise _malformed(model, f"its 'threshold' is '{_short(fields.get('threshold'))}'")
    n, errors = _held_out(fields.get("held_out"), model)
    return Card(
        fields["name"], fields["recipe"], fields["precision"], float(fields["threshold"]), n, tuple(errors), fields
    )


def _held_out(value: Any, model: str) -> tuple[int, list[tuple[float, int]]]:
    """Return how many images were held out, and the (confidence, answered) pairs of those read wrong."""
    if not isinstance(value, dict) or not _is_count(value.get("n")) or not isinstance(value.get("errors"), list):
        raise _malformed(model, f"its 'held_out' is '{_short(value)}'")
    n, pairs = value["n"], []
    confidence, answered = 1.0, 0
    for number, pair in enumerate(value["errors"], start=1):
        good = isinstance(pair, list) and len(pair) == 2 and _is_share(pair[0]) and _is_count(pair[1])
        # Fewer errors than answers, both counted down to this confidence; equal confidences have equal counts.
        if good and pair[0] <= confidence and max(number, answered) <= pair[1] <= n:
            confidence, answered = float(pair[0]), pair[1]
            pairs.append((confidence, answered))
        else:
            raise _malformed(model, f"its held-out error {number} is '{_short(pair)}'")
    return n, pairs


def _refuse_constant(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity, which JSON does not have


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _short(value: Any) -> str:
    """Return a value as one short line."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # deep nesting, or a number of thousands of digits
        text = type(value).__name__
    return ascii(text)[1:-1][:60]


def _malformed(model: str, how: str) -> ModelError:
    return ModelError(f"'{model}' has a malformed card: {how}. {ADVICE}")
