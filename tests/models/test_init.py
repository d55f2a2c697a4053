"""Networks are built by name, and one that would take gigabytes is refused before it takes any."""

from typing import Any

import pytest

from tenfold.errors import RecipeError
from tenfold.models import build

SMALL = {"kind": "convnet", "widths": [[8]]}


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("convnet", {"widths": [[10**9]]}), ("convnet", {"widths": [[20_000]]}),
        ("convnet", {"widths": [[8] * 20_000]}),
        ("convnet", {"widths": [[600] * 100]}), ("convnet", {"widths": [[8]], "crop": 10**12}),
        ("convnet", {"widths": 7}), ("convnet", {"widths": [["a"]]}), ("convnet", {"widths": [[8]], "activation": []}),
        ("layers", {"layers": ["conv 1000000000"]}), ("layers", {"layers": ["pad 5000"]}), ("layers", {"layers": [1]}),
        ("layers", {"layers": ["dense 60000", "dense 60000"]}), ("layers", {"layers": ["conv " + "9" * 5000]}),
        ("ensemble", {"members": [1]}), ("ensemble", {"members": [SMALL | {"shifts": 1000}]}),
        ("ensemble", {"members": [SMALL | {"temperature": float("inf")}]}),
        ("ensemble", {"members": [SMALL | {"widths": [[10**9]]}]}),
    ],
)  # fmt: skip
def test_absurd_sizes(kind: str, arguments: dict[str, Any]) -> None:
    """Widths, counts, paddings and parameters beyond all use, and values of wrong types, are a RecipeError."""
    with pytest.raises(RecipeError, match=r"cannot be built from .* Mend the \[model\] table") as caught:
        build(kind, arguments)
    assert len(str(caught.value)) < 700
