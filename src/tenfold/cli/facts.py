"""What a bug report needs: versions, the machine, the precision and why, where data lie, which extras are there."""

import importlib.metadata
import importlib.util
import platform
from typing import Any

from tenfold import __version__, settings

LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "pydantic", "torch", "scikit-learn", "xgboost")
# A module that each extra brings.
EXTRAS = {"train": "torch", "audit": "cleanlab", "cluster": "ray", "track": "mlflow", "docs": "mkdocs", "dev": "pytest"}


def facts() -> dict[str, Any]:
    """Return plain values by name; nothing is downloaded, and the paths in it are those of data and cache."""
    from tenfold.data import names

    installed = {distribution.name.lower(): distribution.version for distribution in importlib.metadata.distributions()}
    data = {name: names.find(name, "train") for name in ("mnist", "kaggle")}
    return {
        "tenfold": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "threads": settings.threads(),
        **_precision(),
        "libraries": {name: installed[name] for name in LIBRARIES if name in installed},
        "extras": [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module) is not None],
        "data": {name: place and str(place) for name, place in data.items()},
        "cache": str(settings.cache_folder()),
        "offline": settings.offline(),
    }


def _precision() -> dict[str, str]:
    """Return what networks are trained in here, and by what that was chosen; nothing without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return {}
    from tenfold.training import device as devices

    device = devices.choose("auto")
    precision = devices.precision_of("auto", device)
    why = f"{device.type} {'computes' if precision == 'bf16' else 'does not compute'} in bf16"
    return {"processor": devices.processor(), "device": device.type, "precision": precision, "precision_why": why}
