"""Networks as graphs: shifts are averaged as in training, and an eleventh logit tells what is no digit."""

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
from tenfold.graphs.network_graph import network
from tenfold.models import build
from tenfold.models.blocks import shift_offsets
from tenfold.training.predict import predict


class Corner(nn.Module):
    """Logits that are sums over the image's parts, so that every shift changes them; of ten or eleven columns."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(784, columns, generator=generator) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, columns)."""
        return x.flatten(1) @ self.weight


def run(graph: ModelProto, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Return the graph's outputs by name."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_shifts_are_averaged(radius: int, digits: Digits) -> None:
    """The graph answers as `predict` does, for one image and for many."""
    module = Corner(10).eval()
    expected = predict(module, torch.from_numpy(digits.images), radius)
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
    expected = predict(module, torch.from_numpy(digits.images), 1)
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
