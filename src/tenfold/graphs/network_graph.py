"""A network as an ONNX graph: `images` (N, 28, 28) uint8 in, `probabilities` (N, 10) out, and maybe `digit` (N,)."""

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.models.blocks import shift_offsets, shifted
from tenfold.models.estimator_graphs import OPSETS

if TYPE_CHECKING:
    from onnx import ModelProto

DIGITS = 10


class AnsweringNetwork(nn.Module):
    """What a recogniser answers, from a network's logits: pixels scaled, shifts averaged.

    network: in evaluation mode, on the processor.
    radius: average over shifts of up to so many pixels, as `tenfold.training.predict.predict`.
    Gives probabilities, (N, 10), not yet calibrated; and, for a network of eleven logits, the last of which stands for
    what is no digit, the probability (N,) that the image is one.
    """

    def __init__(self, network: nn.Module, radius: int = 0) -> None:
        super().__init__()
        self.network = network
        self.radius = radius
        with torch.no_grad():  # asked once: in a trace, a comparison of sizes cannot be followed
            self.columns = network(torch.zeros(1, 1, 28, 28)).shape[1]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return probabilities, or (probabilities, digit_probability), of images (N, 28, 28) uint8."""
        # All shifts as one batch, shift by shift: the network stands in the graph but once.
        logits = self.network(torch.cat(shifted(images.float().div(255).unsqueeze(1), self.radius)))
        if self.columns == DIGITS:
            return self._averaged(F.softmax(logits, dim=1), DIGITS)
        probabilities = self._averaged(F.softmax(logits[:, :DIGITS], dim=1), DIGITS)
        digit_probability = 1 - self._averaged(F.softmax(logits, dim=1), self.columns)[:, DIGITS]
        return probabilities, digit_probability

    def _averaged(self, shares: Tensor, columns: int) -> Tensor:
        """Return the mean over the shifts, (N, columns), of (shifts * N, columns)."""
        return shares.reshape(len(shift_offsets(self.radius)), -1, columns).mean(0) if self.radius else shares


def network(module: nn.Module, radius: int = 0) -> "ModelProto":
    """Return the graph of `AnsweringNetwork(module, radius)`, batch norm folded into the convolutions before it."""
    answers = AnsweringNetwork(module, radius).eval()
    return traced(answers, ["probabilities"] if answers.columns == DIGITS else ["probabilities", "digit"])


@torch.no_grad()
def traced(module: nn.Module, outputs: list[str]) -> "ModelProto":
    """Return the graph of a module that takes `images`, (N, 28, 28) uint8.

    By PyTorch's older exporter: for three of our networks its graph had the same operators as that of the newer one,
    which took 3 to 10 s in place of 0.4 (PyTorch 2.13).
    """
    import onnx

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", DeprecationWarning)  # it says that the newer exporter is the default
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # of a padding: onnxruntime folds it
        path = Path(folder) / "traced.onnx"
        torch.onnx.export(
            module,
            (torch.zeros(3, 28, 28, dtype=torch.uint8),),
            path,
            dynamo=False,
            opset_version=OPSETS[""],
            input_names=["images"],
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in ("images", *outputs)},
        )
        model: ModelProto = onnx.load(path)
    return model
