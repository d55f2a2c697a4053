"""A network in whole numbers as one C header: tables of its weights, and the few functions that go through them.

The functions stand in digit.h.in, with $names where a network has numbers or ways of its own.
"""

import json
import textwrap
from collections.abc import Iterable
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from tenfold.models.integer_network import IntegerLayer, IntegerNetwork

TEMPLATE = "digit.h.in"
WIDTH = 116  # of a line of a table
ACTIVATIONS = {
    "relu": "x > 0.0f ? x : 0.0f",
    "gelu": "0.5f * x * (1.0f + erff(x * 0.70710678f))",
    "silu": "x / (1.0f + expf(-x))",
    "tanh": "tanhf(x)",
    "sigmoid": "1.0f / (1.0f + expf(-x))",
}
LARGEST = """\
        float largest = plane[0];
        for (int pixel = 1; pixel < edge * edge; pixel++)
            largest = plane[pixel] > largest ? plane[pixel] : largest;"""
MEAN = """\
        float mean = 0.0f;
        for (int pixel = 0; pixel < edge * edge; pixel++)
            mean += plane[pixel] / (float)(edge * edge);"""
POOLS = {  # how a plane becomes a number or two, and what these add to a logit; a head's row is `inside` weights
    "max": ([LARGEST], "(float)tenfold_head_weights[digit * {inside} + channel] * largest"),
    "mean": ([MEAN], "(float)tenfold_head_weights[digit * {inside} + channel] * mean"),
    "both": (
        [LARGEST, MEAN],
        "(float)tenfold_head_weights[digit * {inside} + channel] * largest\n"
        "                + (float)tenfold_head_weights[digit * {inside} + {channels} + channel] * mean",
    ),
}


def c_header(network: IntegerNetwork, card: dict[str, Any]) -> str:
    """Return the text of a header, ASCII, without date and path; the same network and card give the same text.

    card: as of an exported model; its facts go into the first comment.
    """
    layers, head = network.layers, network.head
    channels = len(layers[-1].biases)
    pooling, pooled = POOLS[network.pool]
    even, odd = _planes(network)
    named = [*((f"layer{number}", layer) for number, layer in enumerate(layers)), ("head", head)]
    template = Template((resources.files("tenfold.graphs") / TEMPLATE).read_text("utf-8"))
    return template.substitute(
        title=f"Handwritten digits: {_quoted(card['name'])}, a network in whole numbers of eight bits.",
        facts="\n".join(f"   {line}" for line in _facts(card)),
        weights=f"{network.weights:,}",
        numbers=f"{4 * network.numbers:,}",
        buffers=f"{4 * (even + odd):,}",
        tables="\n\n".join(_tables(layer, name) for name, layer in named),
        count=len(layers),
        layers=",\n".join(f"    {_row(layer, number)}" for number, layer in enumerate(layers)),
        shifts=", ".join(f"{{{down}, {right}}}" for down, right in network.shifts),
        shift_count=len(network.shifts),
        even=even,
        odd=odd,
        activation=ACTIVATIONS[network.activation],
        patch=network.patch,
        crop=network.crop,
        edge=network.edge,
        channels=channels,
        pooling="\n".join(pooling),
        pooled=pooled.format(inside=head.integers.shape[1], channels=channels),
        temperature=_float(network.temperature),
    )


def buffers(network: IntegerNetwork) -> int:
    """Return how many bytes of memory the header's code keeps its planes in."""
    return 4 * sum(_planes(network))


def _planes(network: IntegerNetwork) -> tuple[int, int]:
    """Return the floats that the larger planes need: what even layers read and odd ones write, and the other way."""
    edge = network.edge
    needed = [[network.patch**2 * edge**2], [0]]
    for number, layer in enumerate(network.layers):
        if layer.halved:
            edge //= 2
        edge += 1 - layer.integers.shape[2] % 2  # a filter of even edge writes a pixel more
        needed[(number + 1) % 2].append(len(layer.biases) * edge**2)
    return max(needed[0]), max(needed[1])


def _facts(card: dict[str, Any]) -> list[str]:
    """Return what is told of the network, a line each."""
    lines = [f"recipe: {_quoted(card['recipe'])}", f"seed: {card['seed']}", f"config: {card['config_sha256']}"]
    spec = card["data"]["spec"]
    names = " + ".join(_quoted(name) for name in ([spec] if isinstance(spec, str) else spec))
    lines += [f"trained on {card['data']['n_train']:,} pictures of {names}, tenfold {card['version']}"]
    validation = card["metrics"].get("validation")
    if validation:
        low, high = validation["ci95"]
        lines += [
            f"of {validation['n']:,} held-out pictures {100 * validation['accuracy']:.2f}% were read rightly "
            f"(95%: {100 * low:.2f} to {100 * high:.2f}%);",
            f"99% of them with a probability of {card['threshold']:.4g} or more: below that, do not trust the digit",
        ]
    return lines


def _quoted(text: str) -> str:
    """Return text in quotes and in ASCII, and such that it can neither end a comment nor begin one."""
    return json.dumps(text).replace("\\", "/").replace("*/", "* /").replace("/*", "/ *")


def _row(layer: IntegerLayer, number: int) -> str:
    outside, inside, filters, _ = layer.integers.shape
    names = ", ".join(f"tenfold_layer{number}_{what}" for what in ("weights", "scales", "biases"))
    return f"{{{names}, {inside}, {outside}, {filters}, {int(layer.halved)}, {int(layer.residual)}}}"


def _tables(layer: IntegerLayer, name: str) -> str:
    """Return a layer's three arrays."""
    weights = _table("int8_t", f"tenfold_{name}_weights", map(str, layer.integers.ravel()))
    scales = _table("float", f"tenfold_{name}_scales", map(_float, layer.scales))
    biases = _table("float", f"tenfold_{name}_biases", map(_float, layer.biases))
    return f"{weights}\n{scales}\n{biases}"


def _table(kind: str, name: str, values: Iterable[str]) -> str:
    """Return the definition of an array, in lines of at most WIDTH."""
    words, indent = list(values), "    "
    body = textwrap.fill(
        ", ".join(words), WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return f"static const {kind} {name}[{len(words)}] = {{\n{body}\n}};"


def _float(value: float) -> str:
    """Return a number as a C literal of type float, from which the same fp32 comes back."""
    digits = f"{np.float32(value):.9g}"
    return f"{digits}f" if "." in digits or "e" in digits else f"{digits}.0f"
