"""A run's graph, part by part: features, networks and calibration answer as what they are made of."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from tenfold.data.digits import Digits
from tenfold.graphs.run_graph import calibrated, features, network
from tenfold.metrics.scores import sharpen
from tenfold.models import build
from tenfold.models.blocks import shift_offsets
from tenfold.models.features import Features
from tenfold.models.fitted import described
from tenfold.training.predict import answer

CHOICES: list[tuple[dict[str, Any], float]] = [
    ({}, 0),
    ({"standardise": True}, 0),
    ({"deskew": True}, 0),
    ({"hog": True}, 1e-5),
    ({"deskew": True, "hog": True}, 1e-5),
    ({"deskew": True, "pca": 20}, 1e-5),
    ({"hog": True, "standardise": True, "pca": 20}, 1e-4),  # rows of up to 50, whose deviations are divided by 0.001
]

SAME = """
same (float[N, K] x) => (float[N, K] y) {
    y = Identity(x)
}
"""


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


class Corner(nn.Module):
    """Logits that are sums over the image's parts, so that every shift changes them; of ten or eleven columns."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(784, columns, generator=generator) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, columns)."""
        return x.flatten(1) @ self.weight


def run(graph: ModelProto, images: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Return the graph's outputs for its only input, by name."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_shifts_are_averaged(radius: int, digits: Digits) -> None:
    """The graph answers as `predict` does, for one image and for many."""
    module = Corner(10).eval()
    expected = answer(module, torch.from_numpy(digits.images), radius).probabilities
    graph = network(module, radius)
    for images, wanted in ((digits.images, expected), (digits.images[5:6], expected[5:6])):
        given = run(graph, images)
        assert list(given) == ["probabilities"]
        np.testing.assert_allclose(given["probabilities"], wanted, atol=1e-6)


@pytest.mark.parametrize("radius", [0, 1])
def test_an_eleventh_logit(radius: int, digits: Digits) -> None:
    """Probabilities are the softmax of the first ten; `digit` is 1 less the softmax's eleventh; both shift by shift."""
    module = Corner(11).eval()
    padded = np.pad(digits.images / 255, ((0, 0), (radius, radius), (radius, radius)))
    ten, eleven = np.zeros((len(digits), 10)), np.zeros(len(digits))
    for down, right in shift_offsets(radius):
        window = padded[:, radius - down :, radius - right :][:, :28, :28]
        powers = np.exp(window.reshape(-1, 784) @ module.weight.detach().numpy().astype(np.float64))
        ten += powers[:, :10] / powers[:, :10].sum(1, keepdims=True)
        eleven += powers[:, 10] / powers.sum(1)
    shifts = len(shift_offsets(radius))
    given = run(network(module, radius), digits.images)
    assert [array.shape for array in given.values()] == [(200, 10), (200,)]
    np.testing.assert_allclose(given["probabilities"], ten / shifts, atol=1e-5)
    np.testing.assert_allclose(given["digit"], 1 - eleven / shifts, atol=1e-5)
    assert np.ptp(given["digit"]) > 0.1


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("convnet", {"widths": [[8, 8], [12]], "patch": 2, "crop": 2, "pool": "both", "residual": True}),
        ("convnet", {"widths": [[6], [8]], "pool": "mean", "activation": "gelu", "dropout": 0.5}),
        ("layers", {"layers": ["pad 2", "conv 6 5x5 valid norm", "pool 3", "conv 8", "norm", "global max"]}),
        (
            "layers",
            {"layers": ["conv 4 norm", "pool", "flatten", "dense 16 norm", "dropout 0.5"], "activation": "silu"},
        ),
    ],
)
def test_every_part_of_a_network(kind: str, arguments: dict[str, Any], digits: Digits) -> None:
    """What recipes may build networks of comes out as in PyTorch, whose batch norms have seen images."""
    torch.manual_seed(0)
    module = build(kind, arguments)
    module.train()(torch.from_numpy(digits.images).float().div(255).unsqueeze(1))
    graph = network(module.eval(), 1)
    expected = answer(module, torch.from_numpy(digits.images), 1).probabilities
    np.testing.assert_allclose(run(graph, digits.images)["probabilities"], expected, atol=1e-5)
    convolved = [node.op_type for node in graph.graph.node].count("Conv")
    assert convolved == sum(isinstance(part, nn.Conv2d) for part in module.modules())  # once, whatever the shifts


def test_the_module_is_left_as_it_was(digits: Digits, tmp_path: Path) -> None:
    """Exporting leaves a network's mode and weights alone."""
    module = build("convnet", {"widths": [[4]]}).eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    network(module)
    assert not module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("temperature", [0.125, 0.7, 8.0])
def test_calibrated(temperature: float) -> None:
    """The graph's calibration is `sharpen`, for zeros, ties in the last bit and the farthest temperatures."""
    shares = np.random.default_rng(0).dirichlet(np.full(10, 0.05), 500).astype(np.float32)
    shares[0], shares[1], shares[2] = 0.1, 0, np.float32(0.1)
    shares[1, 4] = 1
    shares[2, 7] = np.nextafter(np.float32(0.1), np.float32(1))
    (given,) = run(calibrated(described(SAME), temperature), shares).values()
    expected = sharpen(shares, temperature)
    np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-30)
    np.testing.assert_array_equal(given.argmax(1), expected.argmax(1))
