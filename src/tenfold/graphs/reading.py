"""A network that reads as an ONNX file: `pixels` (N, 1, H, W) in, probabilities out, its weights in 16 bits."""

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.files import write_atomically
from tenfold.models import build
from tenfold.models.reading import LineNet
from tenfold.runs.reading import desk, held_out_count
from tenfold.runtime.abstain import held_out_errors
from tenfold.runtime.model_file import FORMAT, KEY, PRETRAINED, open_reading, open_session
from tenfold.runtime.reader import Reader, digit_model

if TYPE_CHECKING:
    from onnx import ModelProto

    from tenfold.console import PlainConsole
    from tenfold.data.strings import Row
    from tenfold.runs.run import Run

OPSET = 17
THRESHOLD = 0.75  # a confidence at which no more than one in four is wrong is asked of an answer
FEW = 64  # numbers: smaller tensors stay in 32 bits


class Answering(nn.Module):
    """A network that reads, with probabilities in place of logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (N, W / 4, 11) probabilities of a row's columns, or a page's (N, 13, H / 4, W / 4)."""
        answer: Tensor = self.network(pixels)
        if isinstance(self.network, LineNet):
            return answer.softmax(2)
        return torch.cat([answer[:, :11].softmax(1), answer[:, 11:].exp()], 1)


def write_reader(run: "Run", rows: "list[Row]", console: "PlainConsole") -> Path:
    """Return the file, in the run's folder, that `tenfold read` takes: the network of a run, and its card.

    rows: the user's own; the held-out ones of them are read, or drawn pictures, for the run's score and the card.
    """
    kind, manifest = run.recipe.model.kind, run.manifest
    network = build(kind, run.recipe.model.arguments())
    run.fill(network)
    with console.working("Reading the held-out pictures"):
        sure, right = _scored(network.eval(), run, rows)
    found = {
        "threshold": THRESHOLD,
        "held_out": {"n": len(sure), "errors": held_out_errors(sure, right)},
    }
    held = manifest["data"] | {"n_validation": len(sure)}
    run.update_manifest(found | {"validation_accuracy": float(right.mean()), "data": held})
    card = {
        "format": FORMAT,
        "name": run.recipe.name,
        "recipe": run.recipe.name,
        "precision": "fp16",
        "data": {"spec": manifest["data"]["spec"]},
        "metrics": {"exactly_right": float(right.mean())},
        **found,
    }
    path = run.path / f"{kind}.onnx"
    write_atomically(path, reading_graph(network, card))
    return path


def _scored(network: nn.Module, run: "Run", rows: "list[Row]") -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return how sure the network is of each held-out picture, and whether it reads it right.

    A network of rows is asked as `tenfold read --line` asks it, beside the shipped one of pages.
    """
    from tenfold.drawing import numbers
    from tenfold.training.reading import held_out, scored_pages

    count = held_out_count(run.recipe)
    if not isinstance(network, LineNet):
        return scored_pages(network, desk(run.recipe), count)
    page = open_reading(PRETRAINED / "page.onnx", "page").session
    reader = Reader(page, open_session(reading_graph(network, {}), str(run.path)), digit_model(), None, 0.0)
    asked = [rows[index] for index in run.held_out()] or held_out(desk(run.recipe), numbers.line, count)
    found = [(reader.read(picture, line=True), text) for picture, text in asked]
    numbers_read = [(next(iter(page.numbers), None), text) for page, text in found]
    sure = [0.0 if each is None else each.confidence for each, _ in numbers_read]
    right = [each is not None and each.text == text for each, text in numbers_read]
    return np.array(sure, np.float32), np.array(right, np.bool_)


@torch.no_grad()
def reading_graph(network: nn.Module, card: dict[str, Any]) -> bytes:
    """Return the file of a network in evaluation mode; `card` is kept in it as JSON."""
    import onnx

    is_line = isinstance(network, LineNet)
    sizes = {0: "N", 3: "W"} if is_line else {0: "N", 2: "H", 3: "W"}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # see `run_graph.traced`
        path = Path(folder) / "traced.onnx"
        torch.onnx.export(
            Answering(network).eval(),
            (torch.zeros(2, 1, 32, 64),),
            path,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # so that batch norm keeps its weights, to train on from
            do_constant_folding=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=["answers"],
            dynamic_axes={"pixels": sizes, "answers": {0: "N", 1: "T"} if is_line else {0: "N", 2: "H", 3: "W"}},
        )
        model = onnx.load(path)
    _halve(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(card)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _halve(model: "ModelProto") -> None:
    """Keep every large tensor in 16 bits, from which it is brought back when the file is opened."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= FEW:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
