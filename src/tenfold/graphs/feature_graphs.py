"""The features of classical models as an ONNX graph: `images` (N, 28, 28) uint8 in, rows (N, D) float32 out.

Each graph does what the function of its name in `tenfold.models.features` does, step by step; the reasons stand there.
"""

from typing import TYPE_CHECKING

import numpy as np

from tenfold.models.estimator_graphs import Constants, chained, described
from tenfold.models.features import CLIP, DIRECTIONS, GRIDS, Features, cell_weights

if TYPE_CHECKING:
    from onnx import ModelProto

EDGE = 28

PIXELS = """
pixels (uint8[N, 28, 28] images) => (float[N, 28, 28] pixels) {
    ink = Cast <to = 1> (images)
    pixels = Div(ink, most)
}
"""

# The moments in double precision: a variance is the small difference of large numbers, and a hundred-thousandth of a
# pixel moves every value that follows.
DESKEW = """
deskew (float[N, 28, 28] pixels) => (float[N, 28, 28] upright) {
    exact = Cast <to = 11> (pixels)
    total = ReduceSum <keepdims = 0> (exact, both)
    total_column = Unsqueeze(total, first)
    mass = Max(total_column, least_mass)
    across = ReduceSum <keepdims = 0> (exact, first)
    down = ReduceSum <keepdims = 0> (exact, second)
    x_moment = MatMul(across, places)
    x = Div(x_moment, mass)
    y_moment = MatMul(down, places)
    y = Div(y_moment, mass)
    yy_moment = MatMul(down, places_squared)
    yy = Div(yy_moment, mass)
    y_squared = Mul(y, y)
    variance = Sub(yy, y_squared)
    row_moments = MatMul(exact, places)
    row_moments_flat = Squeeze(row_moments, second)
    xy_moment = MatMul(row_moments_flat, places)
    xy = Div(xy_moment, mass)
    x_times_y = Mul(x, y)
    covariance = Sub(xy, x_times_y)
    is_tall = Greater(variance, least_variance)
    divisor = Max(variance, least_variance)
    quotient = Div(covariance, divisor)
    slope = Where(is_tall, quotient, upright_slope)
    height = Sub(heights, y)
    exact_shift = Mul(slope, height)
    shift = Cast <to = 1> (exact_shift)
    shift_column = Unsqueeze(shift, second)
    source = Add(columns, shift_column)
    left = Floor(source)
    share = Sub(source, left)
    rest = Sub(one, share)
    left_padded = Add(left, one)
    right_padded = Add(left_padded, one)
    left_above = Max(left_padded, zero)
    left_within = Min(left_above, last_padded)
    left_index = Cast <to = 7> (left_within)
    right_above = Max(right_padded, zero)
    right_within = Min(right_above, last_padded)
    right_index = Cast <to = 7> (right_within)
    padded = Pad(pixels, margins)
    left_ink = GatherElements <axis = 2> (padded, left_index)
    right_ink = GatherElements <axis = 2> (padded, right_index)
    left_part = Mul(left_ink, rest)
    right_part = Mul(right_ink, share)
    upright = Add(left_part, right_part)
}
"""

FLAT = """
flat (float[N, 28, 28] pixels) => (float[N, D] rows) {
    rows = Flatten(pixels)
}
"""

# ONNX has no arctangent of two arguments: that of the smaller over the larger side, then turned by symmetry. And in
# place of adding up by index, each direction takes the share 1 - (its distance on the circle), where that is positive.
ENERGY = """
energy (float[N, 28, 28] pixels) => (float[N, 28, 28, O] energy) {
    down = MatMul(difference, pixels)
    across = MatMul(pixels, difference_turned)
    down_squared = Mul(down, down)
    across_squared = Mul(across, across)
    squares = Add(down_squared, across_squared)
    magnitude = Sqrt(squares)
    width = Abs(across)
    height = Abs(down)
    larger = Max(width, height)
    divisor = Max(larger, least_side)
    smaller = Min(width, height)
    ratio = Div(smaller, divisor)
    eighth = Atan(ratio)
    eighth_turned = Sub(half_pi, eighth)
    is_steep = Greater(height, width)
    quarter = Where(is_steep, eighth_turned, eighth)
    quarter_turned = Sub(pi, quarter)
    is_left = Less(across, zero)
    half = Where(is_left, quarter_turned, quarter)
    half_turned = Sub(two_pi, half)
    is_up = Less(down, zero)
    angle = Where(is_up, half_turned, half)
    position = Mul(angle, directions_per_radian)
    position_column = Unsqueeze(position, last)
    offset = Sub(position_column, directions)
    one_way = Abs(offset)
    other_way = Sub(count, one_way)
    distance = Min(one_way, other_way)
    nearness = Sub(one, distance)
    share = Relu(nearness)
    magnitude_column = Unsqueeze(magnitude, last)
    energy = Mul(magnitude_column, share)
}
"""

# The cells of one grid, then its blocks; `_G` stands for the grid in every name.
GRID = """
    tall_G = MatMul(cells_G, wide)
    tall_pixels_G = Reshape(tall_G, pixels_shape_G)
    histograms_G = MatMul(cells_G, tall_pixels_G)
    upper_left_G = Slice(histograms_G, start_both, end_G, cell_axes)
    upper_right_G = Slice(histograms_G, start_right, end_right_G, cell_axes)
    lower_left_G = Slice(histograms_G, start_lower, end_lower_G, cell_axes)
    lower_right_G = Slice(histograms_G, start_last, end_last_G, cell_axes)
    raw_G = Concat <axis = 3> (upper_left_G, upper_right_G, lower_left_G, lower_right_G)
    raw_squares_G = Mul(raw_G, raw_G)
    raw_energy_G = ReduceSum <keepdims = 1> (raw_squares_G, last)
    raw_positive_G = Add(raw_energy_G, least_energy)
    raw_length_G = Sqrt(raw_positive_G)
    unit_G = Div(raw_G, raw_length_G)
    clipped_G = Min(unit_G, most)
    squares_G = Mul(clipped_G, clipped_G)
    energy_G = ReduceSum <keepdims = 1> (squares_G, last)
    positive_G = Add(energy_G, least_energy)
    length_G = Sqrt(positive_G)
    unit_again_G = Div(clipped_G, length_G)
    blocks_G = Min(unit_again_G, most)
    rows_G = Flatten(blocks_G)
"""

HISTOGRAMS = """
histograms (float[N, 28, 28, O] energy) => (float[N, D] rows) {
    wide = Reshape(energy, wide_shape)
GRIDS
    rows = Concat <axis = 1> (ROWS)
}
"""

PROJECTION = """
projection (float[N, D] rows) => (float[N, E] projected) {
STEPS
}
"""


def features(fitted: Features) -> "ModelProto":
    """Return the graph of fitted features: `images` (N, 28, 28) uint8 in, rows (N, D) float32 out."""
    links = [described(PIXELS, most=255.0)]
    if fitted.deskew:
        links.append(deskew())
    links += hog() if fitted.hog else [described(FLAT)]
    if fitted.learns:
        links.append(projection(fitted))
    return chained(*links)


def deskew() -> "ModelProto":
    """Return the graph of `tenfold.models.features.deskew`, (N, 28, 28) float32 in and out."""
    places = np.arange(EDGE, dtype=np.float64)
    constants: Constants = {
        "first": [1], "second": [2], "both": [1, 2],
        "places": places[:, None], "places_squared": places[:, None] ** 2,
        "heights": places, "columns": places.astype(np.float32),
        "least_mass": np.float64(1e-6), "least_variance": np.float64(1e-3), "upright_slope": np.float64(0),
        "zero": 0.0, "one": 1.0, "margins": [0, 0, 1, 0, 0, 1], "last_padded": EDGE + 1.0,
    }  # fmt: skip
    return described(DESKEW, **constants)


def hog() -> "list[ModelProto]":
    """Return the links that do as `tenfold.models.features.hog`: (N, 28, 28) float32 in, (N, D) float32 out."""
    # The matrix, (28, 28), that takes values to their gradient as `np.gradient` does.
    difference = np.asarray(np.gradient(np.eye(EDGE, dtype=np.float32), axis=0))
    gradient: Constants = {
        "difference": difference, "difference_turned": difference.T,
        "least_side": 1e-30, "half_pi": np.pi / 2, "pi": np.pi, "two_pi": 2 * np.pi, "zero": 0.0, "one": 1.0,
        "last": [3], "directions_per_radian": DIRECTIONS / (2 * np.pi),
        "directions": np.arange(DIRECTIONS, dtype=np.float32), "count": float(DIRECTIONS),
    }  # fmt: skip
    grids = "".join(GRID.replace("_G", f"_{grid}") for grid in GRIDS)
    text = HISTOGRAMS.replace("GRIDS", grids).replace("ROWS", ", ".join(f"rows_{grid}" for grid in GRIDS))
    constants: Constants = {
        "wide_shape": [-1, EDGE, EDGE * DIRECTIONS], "cell_axes": [1, 2],
        "start_both": [0, 0], "start_right": [0, 1], "start_lower": [1, 0], "start_last": [1, 1],
        "last": [3], "least_energy": 1e-2, "most": CLIP,
    }  # fmt: skip
    for grid in GRIDS:
        constants |= {
            f"cells_{grid}": cell_weights(grid, EDGE),
            f"pixels_shape_{grid}": [-1, grid, EDGE, DIRECTIONS],
            f"end_{grid}": [grid - 1, grid - 1],
            f"end_right_{grid}": [grid - 1, grid],
            f"end_lower_{grid}": [grid, grid - 1],
            f"end_last_{grid}": [grid, grid],
        }
    return [described(ENERGY, **gradient), described(text, **constants)]


def projection(fitted: Features) -> "ModelProto":
    """Return the graph of what the features learned: (N, D) float32 in, centred, scaled and projected out."""
    learned = fitted.arrays()
    operators = {"offset": "Sub", "scale": "Mul", "components": "MatMul"}
    lines, before = [], "rows"
    for number, name in enumerate(learned, start=1):
        after = "projected" if number == len(learned) else f"after_{name}"
        lines.append(f"    {after} = {operators[name]}({before}, {name})")
        before = after
    if "components" in learned:
        learned["components"] = learned["components"].T
    return described(PROJECTION.replace("STEPS", "\n".join(lines)), **learned)
