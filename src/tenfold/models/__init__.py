"""Every model, by the name that a recipe's `model.kind` gives it."""

import importlib
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tenfold.errors import RecipeError, nearest

if TYPE_CHECKING:
    from torch import nn

AVERAGES = ("probabilities", "logits", "votes")  # what of its members' answers an ensemble can average
CLASSICAL = ("logistic", "svm", "knn", "forest", "xgboost")

# What a network may take: weights of 512 MB, and 512 MB for what a layer gives for 256 images in fp32.
MOST_PARAMETERS, MOST_ACTIVATIONS, MOST_SETTINGS, LARGEST = 2**27, 2**19, 10_000, 65_536
MOST_SHOWN = 200  # letters of a table in a message

# As module:class, so that naming a model imports neither PyTorch nor scikit-learn.
MODELS: dict[str, str] = {
    "convnet": "tenfold.models.cnn:ConvNet",
    "layers": "tenfold.models.layers:Layers",
    "lines": "tenfold.models.reading:LineNet",
    "page": "tenfold.models.reading:PageNet",
    "ensemble": "tenfold.models.ensemble:Ensemble",
    **dict.fromkeys(CLASSICAL, "tenfold.models.classical:Classical"),
}


def build(kind: str, arguments: dict[str, Any]) -> "nn.Module":
    """Return a fresh network of that kind; RecipeError names an unknown kind or argument, and the nearest known.

    A classical model is no network: it is made by `tenfold.models.classical.Classical`.
    """
    if kind not in MODELS:
        raise RecipeError(
            f"No model is called '{kind}'.{nearest(kind, MODELS)} Set model.kind to one of: {', '.join(MODELS)}."
        )
    if kind in CLASSICAL:
        raise RecipeError(f"Model '{kind}' is no network. Give a recipe with one of: convnet, layers.")
    module, _, name = MODELS[kind].partition(":")
    network: type[nn.Module] = getattr(importlib.import_module(module), name)
    known_arguments = list(inspect.signature(network).parameters)
    for argument in arguments:
        if argument not in known_arguments:
            raise RecipeError(
                f"Model '{kind}' has no argument '{argument}'.{nearest(argument, known_arguments)} "
                f"Known here: {', '.join(known_arguments)}."
            )
    try:
        _check_size(arguments, lambda: network(**arguments))
        return network(**arguments)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RuntimeError) as error:
        shown = repr(arguments)[:MOST_SHOWN]
        raise RecipeError(f"Model '{kind}' cannot be built from '{shown}': {error}. Mend the [model] table.") from None


def check_layer(numbers: int) -> None:
    """Raise ValueError for a layer that gives too many numbers an image."""
    if numbers > MOST_ACTIVATIONS:
        raise ValueError(f"a layer gives '{numbers}' numbers an image, and {MOST_ACTIVATIONS} are the most")


def _check_size(arguments: dict[str, Any], make: "Callable[[], nn.Module]") -> None:
    """Raise ValueError for a network of too many parts or parameters, before it takes any memory."""
    import torch

    count, queue = 0, [*arguments.values()]
    while queue:
        each = queue.pop()
        queue += each if isinstance(each, list) else ()  # a member of an ensemble, a table, is a network of its own
        numbers = map(int, re.findall(r"\d{1,4000}", each)) if isinstance(each, str) else (each,)  # "conv 32 5x5"
        count += 1
        if count > MOST_SETTINGS or any(isinstance(number, int) and abs(number) > LARGEST for number in numbers):
            raise ValueError(f"it has more than {MOST_SETTINGS} settings, or one above {LARGEST}")
    with torch.device("meta"):  # shapes alone: no weights
        parameters = sum(parameter.numel() for parameter in make().parameters())
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"it has '{parameters}' parameters, and {MOST_PARAMETERS} are the most")
