"""Tenfold: handwritten digits, from labelled data to an honest score.

What `import tenfold` offers is loaded when it is first used, so that importing Tenfold never imports torch.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenfold.data import load
    from tenfold.data.digits import Digits
    from tenfold.runs.estimator import DigitClassifier
    from tenfold.runs.tracking import Callback
    from tenfold.runtime.recogniser import Prediction, Recogniser

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime reads it when it is imported, and no later call undoes that

__version__ = "0.1.0"
__all__ = ["Callback", "DigitClassifier", "Digits", "Prediction", "Recogniser", "__version__", "load"]

_HOME = {
    "Digits": "tenfold.data.digits",
    "Callback": "tenfold.runs.tracking",
    "DigitClassifier": "tenfold.runs.estimator",
    "Prediction": "tenfold.runtime.recogniser",
    "Recogniser": "tenfold.runtime.recogniser",
    "load": "tenfold.data",
}


def __getattr__(name: str) -> Any:
    """Return the public name, importing the module that it lives in; a stand-in for a class whose extra is missing."""
    if name not in _HOME:
        raise AttributeError(f"module 'tenfold' has no attribute '{name}'")
    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        from tenfold.errors import TRAINING, MissingExtraError

        library = (error.name or "").partition(".")[0]
        if library not in TRAINING:
            raise
        missing = MissingExtraError(f"'{library}', which '{name}' needs,", "train")

    def refuse(*_: Any, **__: Any) -> None:
        raise missing.with_traceback(None)

    # Help, hasattr and `import *` look at every name, and must not fail; making one must.
    return type(name, (), {"__init__": refuse, "__doc__": str(missing), "__module__": __name__})


def __dir__() -> list[str]:
    """Return the public names, those not yet loaded too."""
    return sorted(__all__)
