"""The features as ONNX graphs give what the features give, for digits and for images that are none."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tenfold.data.digits import Digits
from tenfold.graphs.feature_graphs import features
from tenfold.models.features import Features

CHOICES: list[tuple[dict[str, Any], float]] = [
    ({}, 0),
    ({"standardise": True}, 0),
    ({"deskew": True}, 0),
    ({"hog": True}, 1e-5),
    ({"deskew": True, "hog": True}, 1e-5),
    ({"deskew": True, "pca": 20}, 1e-5),
    ({"hog": True, "standardise": True, "pca": 20}, 1e-4),  # rows of up to 50, whose deviations are divided by 0.001
]


def answers(fitted: Features, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the graph gives for the images."""
    content = features(fitted).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rows: NDArray[np.float32] = session.run(None, {"images": images})[0]
    return rows


@pytest.mark.parametrize(("arguments", "tolerance"), CHOICES)
def test_the_graph_does_as_the_features(arguments: dict[str, Any], tolerance: float, digits: Digits) -> None:
    """Every feature, alone and with others, gives the same rows, in a batch of many and of one."""
    fitted = Features(**arguments)
    expected = fitted.fit_transform(digits.images)
    np.testing.assert_allclose(answers(fitted, digits.images), expected, atol=tolerance, rtol=0)
    np.testing.assert_allclose(answers(fitted, digits.images[3:4]), expected[3:4], atol=tolerance, rtol=0)


def test_images_that_are_no_digits() -> None:
    """Blank, full, thin and noisy images give the same rows, and no number that is none."""
    images = np.zeros((40, 28, 28), np.uint8)
    images[1], images[2, 5], images[3, :, 0], images[4, 27, 27] = 255, 255, 200, 1
    images[5:] = np.random.default_rng(0).integers(0, 256, (35, 28, 28))
    images[6, 14:] = images[6, :14, ::-1]
    features = Features(deskew=True, hog=True)
    rows = answers(features, images)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows, features.transform(images), atol=1e-5)
