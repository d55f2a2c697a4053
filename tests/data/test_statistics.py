"""What is said about a set of digits, against hand-worked values and independent implementations."""

from dataclasses import astuple

import numpy as np
import pytest

from tenfold.data import statistics
from tenfold.data.digits import Digits


def test_chi_square_agrees_with_scipy() -> None:
    """The statistic and the p-value equal scipy's."""
    stats = pytest.importorskip("scipy.stats")
    counts = np.array([90, 110, 95, 105, 100, 100, 80, 120, 101, 99])
    expected = stats.chisquare(counts)
    assert astuple(statistics.chi_square(counts)) == pytest.approx((expected.statistic, expected.pvalue))


def test_chi_square_between_agrees_with_scipy() -> None:
    """The test of two sets equals scipy's on the 2 x 10 table."""
    stats = pytest.importorskip("scipy.stats")
    first, second = np.arange(10, 20), np.arange(30, 10, -2)
    expected = stats.chi2_contingency(np.stack([first, second]), correction=False)
    assert astuple(statistics.chi_square(np.stack([first, second]))) == pytest.approx(
        (expected.statistic, expected.pvalue)
    )


def test_measures_of_a_hand_made_image() -> None:
    """A block of 4 x 2 pixels of ink 255 at rows 10 to 13 and columns 20 and 21 is measured as it is."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 10:14, 20:22] = 255
    measured = {name: float(values[0]) for name, values in statistics.measure(image).items()}
    expected = {"ink": 8 * 255 / 784, "coverage": 8 / 784, "height": 4, "width": 2, "down": 11.5 - 13.5, "right": 7}
    assert measured == pytest.approx(expected)


def test_an_empty_image_is_measured() -> None:
    """An image without ink has size 0 and a centre of mass in the middle, not NaN."""
    measured = statistics.measure(np.zeros((2, 28, 28), np.uint8))
    assert all((values == 0).all() for values in measured.values())
    assert set(measured) == set(statistics.MEASURES)


def test_nearly_empty() -> None:
    """Nine pixels of stroke are nearly empty, ten are not, and faint grey does not count."""
    images = np.zeros((4, 28, 28), np.uint8)
    images[1, 0, :9] = 255
    images[2, 0, :10] = 128
    images[3] = 100
    assert statistics.look_at(Digits.of(images), "mine").empty.tolist() == [0, 1, 3]


def test_mean_and_spread_agree_with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunked mean and standard deviation equal numpy's on the whole."""
    monkeypatch.setattr(statistics, "CHUNK", 7)
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28)).astype(np.uint8)
    mean, spread = statistics.mean_and_spread(images)
    np.testing.assert_allclose(mean, images.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread, images.std(axis=0), rtol=1e-4)


def test_principal_components_agree_with_svd() -> None:
    """The coordinates equal those of numpy's singular value decomposition, but for the axes' signs."""
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28)).astype(np.uint8)
    images[:, 5, 5:8] = np.linspace(0, 255, 60).astype(np.uint8)[:, None]
    rows = images.reshape(60, -1).astype(np.float64)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    ours = statistics.principal_components(images, 3)
    np.testing.assert_allclose(np.abs(ours), np.abs(u[:, :3] * s[:3]), rtol=1e-2, atol=2)


def test_strangeness_finds_the_stranger() -> None:
    """A point far from its own group is the strangest, though it lies in the midst of another group."""
    rng = np.random.default_rng(0)
    coordinates = np.concatenate([rng.normal(0, 1, (50, 4)), rng.normal(20, 1, (50, 4))]).astype(np.float32)
    groups = np.repeat([0, 1], 50)
    groups[3] = 1
    distances = statistics.strangeness(coordinates, groups)
    assert distances.argmax() == 3
    assert 0.5 < np.median(distances) < 1.5


@pytest.mark.parametrize("n", [1, 2])
def test_strangeness_of_few_images(n: int) -> None:
    """One image, or a digit with one image, has a finite distance."""
    distances = statistics.strangeness(np.ones((n, 50), np.float32), np.arange(n))
    assert np.isfinite(distances).all()


def test_few_images_are_embedded_by_their_components() -> None:
    """Too few images for neighbours are placed by their first two components, which may be fewer than two."""
    places, method = statistics.embed(np.arange(3, dtype=np.float32)[:, None])
    assert places.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert method == "the first two principal components"


def test_embedding_keeps_groups_apart() -> None:
    """Two well-separated groups stay apart on the map: everybody's nearest neighbour is of the same group."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 60)
    coordinates = (rng.normal(0, 1, (120, 10)) + 30 * groups[:, None]).astype(np.float32)
    places, method = statistics.embed(coordinates)
    distances = ((places[:, None] - places) ** 2).sum(axis=2) + 1e9 * np.eye(120)
    assert method == "t-SNE"
    assert (groups[distances.argmin(axis=1)] == groups).all()


def test_grid_gives_every_cell_once() -> None:
    """Points in the corners get the corners; of ten at one place nine get that cell and its neighbours, one none."""
    corners = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], float)
    cells = statistics.place_on_grid(np.concatenate([corners, np.full((10, 2), 5.0)]), rows=5, columns=5)
    assert cells[:4].tolist() == [0, 4, 20, 24]
    assert cells[4] == 12
    assert sorted(cells[4:].tolist()) == [-1, 6, 7, 8, 11, 12, 13, 16, 17, 18]
