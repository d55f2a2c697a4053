"""A graph in 8 bits: nothing between two convolutions is left in float32."""

import numpy as np
import onnxruntime
import torch

from tenfold.graphs.quantise import quantised
from tenfold.graphs.run_graph import network
from tenfold.models import build


def test_activations_are_bounds_of_eight_bits() -> None:
    """A ReLU that follows a convolution is no operator of its own any more, and the answers stay near."""
    torch.manual_seed(0)
    graph = network(build("convnet", {"widths": [[8, 8], [16]], "patch": 2}).eval())
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)
    eight = quantised(graph.SerializeToString(), images)
    assert "Relu" in {node.op_type for node in graph.graph.node}
    assert "Relu" not in {node.op_type for node in eight.graph.node}
    before, after = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"images": images})[0]
        for each in (graph, eight)
    )
    np.testing.assert_allclose(after, before, atol=0.01)
