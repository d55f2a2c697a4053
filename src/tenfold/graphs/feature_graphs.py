"""The features of classical models as an ONNX graph: `images` (N, 28, 28) uint8 in, rows (N, D) float32 out."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from tenfold.graphs.network_graph import traced
from tenfold.models.estimator_graphs import chained, described
from tenfold.models.features import Features

if TYPE_CHECKING:
    from onnx import ModelProto

PIXELS = """
pixels (uint8[N, 28, 28] images) => (float[N, 28, 28] pixels) {
    ink = Cast <to = 1> (images)
    pixels = Div(ink, most)
}
"""
FLAT = """
flat (float[N, 28, 28] pixels) => (float[N, D] rows) {
    rows = Flatten(pixels)
}
"""
PROJECTION = """
projection (float[N, D] rows) => (float[N, E] projected) {
STEPS
}
"""


class Extraction(nn.Module):
    """Features as a module: what needs no learning."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        """Return rows, (N, D) float32, of images (N, 28, 28) uint8."""
        return self.features.extract(images)


def features(fitted: Features) -> "ModelProto":
    """Return the graph of fitted features: `images` (N, 28, 28) uint8 in, rows (N, D) float32 out."""
    if fitted.deskew or fitted.hog:
        links = [traced(Extraction(fitted), ["rows"])]
    else:
        links = [described(PIXELS, most=255.0), described(FLAT)]
    if fitted.learned:
        links.append(_projection(fitted))
    return chained(*links)


def _projection(fitted: Features) -> "ModelProto":
    """Return the graph of what the features learned: (N, D) float32 in, centred, scaled and projected out."""
    learned = dict(fitted.learned)
    operators = {"offset": "Sub", "scale": "Mul", "components": "MatMul"}
    lines, before = [], "rows"
    for number, name in enumerate(learned, start=1):
        after = "projected" if number == len(learned) else f"after_{name}"
        lines.append(f"    {after} = {operators[name]}({before}, {name})")
        before = after
    if "components" in learned:
        learned["components"] = learned["components"].T
    return described(PROJECTION.replace("STEPS", "\n".join(lines)), **learned)
