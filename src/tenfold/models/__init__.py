"""Every network, by the name that a recipe's `model.kind` gives it."""

import inspect
from typing import TYPE_CHECKING, Any

from tenfold.errors import RecipeError, nearest

if TYPE_CHECKING:
    from torch import nn

from tenfold.models.cnn import ConvNet

MODELS: dict[str, type["nn.Module"]] = {
    "convnet": ConvNet,
}


def build(kind: str, arguments: dict[str, Any]) -> "nn.Module":
    """Return a fresh network of that kind; RecipeError names an unknown kind or argument, and the nearest known."""
    if kind not in MODELS:
        known = ", ".join(MODELS)
        raise RecipeError(f"No model is called '{kind}'.{nearest(kind, MODELS)} Set model.kind to one of: {known}.")
    known_arguments = list(inspect.signature(MODELS[kind]).parameters)
    for name in arguments:
        if name not in known_arguments:
            raise RecipeError(
                f"Model '{kind}' has no argument '{name}'.{nearest(name, known_arguments)} "
                f"Known here: {', '.join(known_arguments)}."
            )
    try:
        return MODELS[kind](**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise RecipeError(
            f"Model '{kind}' cannot be built from '{arguments}': {error}. Mend the [model] table."
        ) from None
