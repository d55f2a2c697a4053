"""Griffe's extension: signatures and docstrings as a reference shows them."""

import re
from typing import Any

import griffe

# Where a docstring goes on to the next name ("labels: ..."), or to its errors.
ENTRY = re.compile(r"\n(?=[ ]*(?:[`\w]+(?:, (?:or )?[`\w]+)*:\s|Raises ))")
EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Readable(griffe.Extension):
    """Signatures without the command line's share in them; docstrings that say a thing a paragraph."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Take `T` for `Annotated[T, typer.Option(...)]`: the options' words are the command line's."""
        for parameter in func.parameters:
            annotation = parameter.annotation
            if isinstance(annotation, griffe.ExprSubscript) and annotation.canonical_name == "Annotated":
                inner = annotation.slice
                parameter.annotation = inner.elements[0] if isinstance(inner, griffe.ExprTuple) else inner

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Begin a paragraph with each thing that a docstring names, and set examples as code; but trees stay trees."""
        if obj.docstring and "\n    " not in (text := obj.docstring.value):
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", ENTRY.sub("\n\n", text))
