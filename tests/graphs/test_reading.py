"""Networks that read as ONNX files: they answer as torch does, and their weights come back to be trained on."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from tenfold.graphs.reading import FEW, Answering, reading_graph
from tenfold.models.reading import LineNet, PageNet
from tenfold.runs.reading import _weights_of
from tenfold.runtime.model_file import PRETRAINED, open_reading
from tenfold.training.recipe import load

CARD = {
    "format": 1,
    "name": "lines",
    "recipe": "lines",
    "precision": "fp16",
    "data": {"spec": "drawn"},
    "metrics": {},
    "threshold": 0.5,
    "held_out": {"n": 10, "errors": [[0.5, 9]]},
}


def used(network: nn.Module) -> nn.Module:
    """Return a network in evaluation mode whose batch norms have seen pictures."""
    with torch.no_grad():  # the exporter keeps tensors that are equal, as fresh ones are, once
        for each in network.parameters():
            each.add_(0.01 * torch.randn_like(each))
    for seed in range(3):
        torch.manual_seed(seed)
        network.train()(torch.rand(4, 1, 32, 64))
    return network.eval()


@pytest.fixture(params=["lines", "page"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    """Return a small network of each kind."""
    torch.manual_seed(0)
    return used(LineNet([8, 12, 16], 24) if request.param == "lines" else PageNet([4, 8, 12, 16]))


@torch.no_grad()
def test_onnx_answers_as_torch_does(network: nn.Module, tmp_path: Path) -> None:
    """Opened by the reader, the file gives torch's answers within the rounding of 16 bits, for batches of any size."""
    kind = "lines" if isinstance(network, LineNet) else "page"
    (tmp_path / "m.onnx").write_bytes(reading_graph(network, CARD))
    opened = open_reading(tmp_path / "m.onnx", kind)
    assert (opened.card.name, opened.card.threshold) == ("lines", 0.5)
    for shape in ((1, 1, 32, 16), (3, 1, 32, 320)):
        torch.manual_seed(5)
        pixels = torch.rand(shape)
        (answers,) = opened.session.run(None, {"pixels": pixels.numpy()})
        wanted = Answering(network)(pixels).numpy()
        assert answers.shape == wanted.shape
        np.testing.assert_allclose(answers, wanted, rtol=2e-2, atol=5e-3)


def test_answers_are_probabilities(network: nn.Module) -> None:
    """Eleven shares make 1 at each place; a page's sizes are pixels, above 0."""
    answers = Answering(network)(torch.rand(2, 1, 32, 64))
    shares = answers if isinstance(network, LineNet) else answers[:, :11].movedim(1, -1)
    assert torch.allclose(shares.sum(-1), torch.ones(shares.shape[:-1]), atol=1e-5)
    assert isinstance(network, LineNet) or (answers[:, 11:] > 0).all()


def test_large_weights_are_kept_in_16_bits(network: nn.Module) -> None:
    """Every tensor of many numbers has 16 bits, so the file takes little more than two bytes a weight."""
    content = reading_graph(network, CARD)
    model = onnx.load_from_string(content)
    assert all(each.data_type != TensorProto.FLOAT or np.prod(each.dims) < FEW for each in model.graph.initializer)
    onnx.checker.check_model(model)


def test_the_same_network_gives_the_same_file(network: nn.Module) -> None:
    """Written twice, the file is the same."""
    assert reading_graph(network, CARD) == reading_graph(network, CARD)


@torch.no_grad()
def test_weights_come_back_from_the_file(network: nn.Module) -> None:
    """All weights and statistics are read back by their names, within 16 bits' rounding, and answer as before."""
    kept = _weights_of(reading_graph(network, CARD))
    again = LineNet([8, 12, 16], 24) if isinstance(network, LineNet) else PageNet([4, 8, 12, 16])
    missing, unknown = again.load_state_dict(kept, strict=False)
    assert unknown == [] and all(name.endswith("num_batches_tracked") for name in missing)
    torch.manual_seed(1)
    pixels = torch.rand(2, 1, 32, 64)
    assert torch.allclose(Answering(again.eval())(pixels), Answering(network)(pixels), rtol=2e-2, atol=5e-3)


@pytest.mark.parametrize("kind", ["lines", "page"])
@torch.no_grad()
def test_the_shipped_weights_answer_as_the_shipped_file(kind: str) -> None:
    """Loaded back into the recipe's own network, the shipped weights give the shipped file's answers to 0.01."""
    from tenfold.models import build

    file = PRETRAINED / f"{kind}.onnx"
    network = build(kind, load(kind).model.arguments())
    network.load_state_dict(_weights_of(file.read_bytes()), strict=True)
    torch.manual_seed(1)
    pixels = torch.rand(2, 1, 32, 160)
    (answers,) = open_reading(file, kind).session.run(None, {"pixels": pixels.numpy()})
    wanted = Answering(network.eval())(pixels).numpy()
    if kind == "page":  # sizes are compared by their logarithms, as they are learnt
        answers[:, 11:], wanted[:, 11:] = np.log(answers[:, 11:]), np.log(wanted[:, 11:])
    assert np.abs(answers - wanted).max() < 1e-2
