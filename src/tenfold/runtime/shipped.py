"""The models that come with Tenfold: where they lie, and which content each must have."""

import json
from pathlib import Path

from tenfold.errors import ModelError

PRETRAINED = Path(__file__).parent.parent / "pretrained"
CARD = "card.json"
SHIPPED = {"shipped": "world.onnx", "world": "world.onnx", "tiny": "tiny.onnx"}


def model_path(model: str | Path | None) -> Path:
    """Return the file of a model: of a shipped one by its name (None, "shipped", "tiny"), else the path itself.

    ModelError where the shipped one is not there.
    """
    name = SHIPPED.get("shipped" if model is None else str(model))
    if name is None:
        return Path(str(model))
    path = PRETRAINED / name
    if not path.is_file():
        raise ModelError(f"The shipped model '{name}' is not installed. Give the path of one: tenfold export RUN.")
    return path


def expected_sha256(path: Path) -> str | None:
    """Return the SHA-256 that the card gives of a shipped model's file; None for any other file.

    ModelError where the card is not as it was shipped.
    """
    if path.parent != PRETRAINED:
        return None
    card = PRETRAINED / CARD
    try:
        return str(json.loads(card.read_text(encoding="utf-8"))["models"][path.name]["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{card}' does not say what '{path.name}' must be. Install Tenfold again.") from error
