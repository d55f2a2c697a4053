"""Every model, by the name that a recipe's `model.kind` gives it."""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from tenfold.errors import RecipeError, nearest

if TYPE_CHECKING:
    from torch import nn

AVERAGES = ("probabilities", "logits", "votes")  # what of its members' answers an ensemble can average
CLASSICAL = ("logistic", "svm", "knn", "forest", "xgboost")

# As module:class, so that naming a model imports neither PyTorch nor scikit-learn.
MODELS: dict[str, str] = {
    "convnet": "tenfold.models.cnn:ConvNet",
    "layers": "tenfold.models.layers:Layers",
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
        return network(**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise RecipeError(
            f"Model '{kind}' cannot be built from '{arguments}': {error}. Mend the [model] table."
        ) from None
