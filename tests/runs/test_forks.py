"""A process that has computed and forks leaves a child that computes too."""

import os
import subprocess
import sys

import pytest

IN_A_FORK = """
import os, sys
import numpy as np
from tenfold import DigitClassifier

generator = np.random.default_rng(0)
images = generator.integers(0, 256, (600, 28, 28)).astype(np.uint8)
classifier = DigitClassifier("instant", ("training.epochs=1",)) if sys.argv[1] == "network" else None
if classifier:
    classifier.fit(images, np.arange(600) % 10)
    ask = classifier.predict
else:
    from tenfold.models.classical import Classical
    fitted = Classical("xgboost", {"n_estimators": 2}, {}, threads=2).fit(images, np.arange(600) % 10)
    ask = fitted.probabilities
expected = ask(images)
child = os.fork()
if child == 0:
    os._exit(0 if np.allclose(ask(images), expected) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.parametrize("what", ["network", "xgboost"])
def test_fork(what: str) -> None:
    """Networks and XGBoost's trees answer in a fork, whose threads are gone, as before it."""
    done = subprocess.run([sys.executable, "-c", IN_A_FORK, what], timeout=100, check=False)
    assert done.returncode == 0
