"""Exact and near duplicates, against a plain loop over all pairs and all shifts."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tenfold.data import load, overlap
from tenfold.data.digits import Digits
from tenfold.data.overlap import NEAR_RMS, are_near, find_duplicates, find_overlap

Images = NDArray[np.uint8]
SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def noisy(images: Images, random: np.random.Generator, amplitude: int = 8) -> Images:
    """Return the images with even noise of +-amplitude grey levels on every pixel, clipped to 0 to 255."""
    noise = random.integers(-amplitude, amplitude + 1, images.shape)
    return np.clip(images.astype(int) + noise, 0, 255).astype(np.uint8)


def shifted(images: Images, random: np.random.Generator, *, roll: bool = False) -> Images:
    """Return each image shifted by at most one pixel; what is pushed out is lost, or comes in on the other side."""
    result = np.zeros_like(images)
    for image, target in zip(images, result, strict=True):
        down, right = random.integers(-1, 2, 2)
        if roll:
            target[:] = np.roll(image, (down, right), (0, 1))
        else:
            target[:] = np.pad(image, 1)[1 - down : 29 - down, 1 - right : 29 - right]
    return result


def distances_squared(images: Images, image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the least sum of squared differences over all shifts, of the pixels that both show, (N,) int64."""
    sums = []
    for down, right in SHIFTS:
        total = np.zeros(len(images), np.int64)
        for row, column in np.ndindex(28, 28):
            if 0 <= row - down < 28 and 0 <= column - right < 28:
                total += (images[:, row, column].astype(np.int64) - int(image[row - down, column - right])) ** 2
        sums.append(total)
    return np.min(sums, axis=0)


def plain_overlap(first: Images, second: Images, only_earlier: bool = False) -> tuple[list[int], dict[int, set[int]]]:
    """Return the images of `second` with an equal one in `first`, and the near ones of each of the others."""
    exact, near = [], {}
    for j, image in enumerate(second):
        candidates = first[:j] if only_earlier else first
        if any(np.array_equal(candidate, image) for candidate in candidates):
            exact.append(j)
        elif len(close := np.flatnonzero(distances_squared(candidates, image) <= NEAR_RMS**2 * 784)):
            near[j] = set(close.tolist())
    return exact, near


@pytest.fixture(scope="module")
def uci() -> Images:
    """Return the UCI digits' images."""
    pytest.importorskip("sklearn")
    return load("uci", "explore").images


def test_equal_images_are_found_at_their_first_place() -> None:
    """An exact pair names the earliest equal image of the first set; other images have no pair."""
    first = np.zeros((5, 28, 28), np.uint8)
    first[[1, 3], 10:20, 10] = 255
    first[2, 5:20, 5:20] = 100
    first[4, 12, 4:24] = 255
    second = np.concatenate([first[[4, 3]], np.full((1, 28, 28), 200, np.uint8)])
    found = find_overlap(first, second)
    assert found.exact.tolist() == [[4, 0], [1, 1]]
    assert found.near.tolist() == []
    assert found.exact[:, 1].tolist() == [0, 1]
    duplicates = find_duplicates(first)
    assert duplicates.exact.tolist() == [[1, 3]]
    assert duplicates.near.tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_those_of_a_plain_search(seed: int, uci: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """On sets with copies, noise, shifts, blank images and look-alikes at the threshold all pairs found are right."""
    monkeypatch.setattr(overlap, "BLOCK", (13, 7))
    monkeypatch.setattr(overlap, "CHUNK", 5)
    random = np.random.default_rng(seed)
    base = uci[random.choice(len(uci), 12, replace=False)]
    base[8:] = shifted(base[8:], random, roll=True)
    base[10:] = np.roll(base[10:], (6, 5), (1, 2))  # ink on the edge
    first = np.concatenate([base, noisy(base[:5], random, 3), np.zeros((2, 28, 28), np.uint8)])
    amplitudes = [0, 8, 13, 14, 16]  # +-13.7 levels, clipped at 0 in most pixels, have an RMS of 6, the threshold
    second = np.concatenate([noisy(shifted(base, random, roll=a % 2 == 0), random, a) for a in amplitudes])
    second = random.permutation(np.concatenate([second, base[:4], noisy(first[-2:], random, 2), first[-2:]]))
    exact, near = plain_overlap(first, second)
    found = find_overlap(first, second)
    assert found.exact[:, 1].tolist() == exact
    assert found.near[:, 1].tolist() == sorted(near)
    assert all(i in near[j] for i, j in found.near.tolist())
    assert 20 < len(near) < len(second) - len(exact)  # else the claim would be an empty one
    exact, near = plain_overlap(second, second, only_earlier=True)
    found = find_duplicates(second)
    assert found.exact[:, 1].tolist() == exact
    assert found.near[:, 1].tolist() == sorted(near)
    assert all(i in near[j] for i, j in found.near.tolist())


@pytest.mark.parametrize("roll", [False, True])
def test_every_shifted_noisy_copy_is_found(uci: Images, roll: bool) -> None:
    """All of 1,797 copies with noise of +-8 levels and a shift by one pixel are found, each with its original."""
    random = np.random.default_rng(0)
    copies = noisy(shifted(uci, random, roll=roll), random)
    found = find_overlap(uci, copies)
    changed = np.setdiff1d(np.arange(len(uci)), found.exact[:, 1])
    assert found.near[:, 1].tolist() == changed.tolist()
    assert np.mean(found.near[:, 0] == found.near[:, 1]) > 0.99  # a few UCI digits have a near twin of their own


def test_drawings_on_white_paper_are_compared_as_well(uci: Images) -> None:
    """Images that nobody inverted have the same pairs as the inverted ones."""
    random = np.random.default_rng(0)
    first, second = uci[:300], noisy(shifted(uci[200:500], random, roll=True), random)
    expected = find_overlap(first, second)
    assert np.array_equal(find_overlap(255 - first, 255 - second).near[:, 1], expected.near[:, 1])
    assert len(expected.near) >= 100


@given(
    seed=st.integers(0, 2**32 - 1),
    down=st.sampled_from([-1, 0, 1]),
    right=st.sampled_from([-1, 0, 1]),
    amplitude=st.integers(0, 8),
    background=st.integers(0, 255),
    ink=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_no_shifted_noisy_copy_of_any_image_is_missed(
    seed: int, down: int, right: int, amplitude: int, background: int, ink: float
) -> None:
    """Whatever the image holds, up to its edges, a copy shifted and with noise is found in either direction."""
    random = np.random.default_rng(seed)
    images = np.full((3, 28, 28), background, np.uint8)
    images[random.random(images.shape) < ink] = random.integers(0, 256)
    copies = noisy(np.roll(images, (down, right), (1, 2)), random, amplitude)
    expected = are_near(images, copies)
    assert expected.all()
    for found in (find_overlap(images, copies), find_overlap(copies, images)):
        assert sorted([*found.exact[:, 1], *found.near[:, 1]]) == [0, 1, 2]


@given(
    seed=st.integers(0, 2**32 - 1),
    edges=st.lists(st.sampled_from(["top", "bottom", "left", "right"]), max_size=4),
    strength=st.sampled_from([0, 20, 50, 60, 255]),
)
@settings(max_examples=150, deadline=None)
def test_the_filter_drops_no_near_pair(seed: int, edges: list[str], strength: int) -> None:
    """The features of near images, also those with ink that a shift pushes out, are as near as the filter demands."""
    random = np.random.default_rng(seed)
    image = np.zeros((28, 28), np.uint8)
    image[8:20, 8:20] = random.integers(0, 256, (12, 12))
    sides = {"top": np.s_[0], "bottom": np.s_[-1], "left": np.s_[:, 0], "right": np.s_[:, -1]}
    for edge in edges:
        image[sides[edge]] = random.integers(0, strength + 1, 28)
    copy = noisy(shifted(image[None], random, roll=bool(seed % 2)), random)
    assert are_near(image[None], copy).all() or np.array_equal(image, copy[0])
    found = find_overlap(image[None], copy)
    assert len(found.exact) + len(found.near) == 1


def test_nearness_goes_both_ways(uci: Images) -> None:
    """Whether two images are near doesn't depend on which is named first."""
    random = np.random.default_rng(1)
    copies = noisy(shifted(uci[:200], random, roll=True), random, 14)
    assert np.array_equal(are_near(uci[:200], copies), are_near(copies, uci[:200]))
    assert 0 < are_near(uci[:200], copies).sum() < 200


@pytest.mark.parametrize("change", ["two pixels", "much noise", "a missing stroke", "another drawing"])
def test_different_images_are_not_near(change: str, make_digits: Callable[..., Digits]) -> None:
    """A shift by two pixels, strong noise, a part rubbed out and another drawing make another image."""
    random = np.random.default_rng(0)
    images = make_digits(50, 1).images
    others = {
        "two pixels": np.roll(images, 2, axis=2),
        "much noise": noisy(images, random, 20),
        "a missing stroke": images * (np.arange(28) < 12).astype(np.uint8),
        "another drawing": np.roll(images, 1, axis=0),  # of the next digit
    }[change]
    assert not are_near(images, others).any()


def test_many_equal_or_alike_images_give_one_pair_each() -> None:
    """3,000 blank images have 2,999 pairs; with noise as well."""
    blank = np.zeros((3000, 28, 28), np.uint8)
    assert len(find_duplicates(blank).exact) == 2999
    found = find_duplicates(noisy(blank, np.random.default_rng(0)))
    assert found.near[:, 1].tolist() == list(range(1, 3000))
    assert (found.near[:, 0] < found.near[:, 1]).all()


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_empty_sets_have_no_overlap(n: int, m: int) -> None:
    """Nothing in either set gives arrays of shape (0, 2) int64."""
    found = find_overlap(np.zeros((n, 28, 28), np.uint8), np.zeros((m, 28, 28), np.uint8))
    assert found.exact.shape == found.near.shape == (0, 2)
    assert found.exact.dtype == found.near.dtype == np.int64
    assert find_duplicates(np.zeros((n, 28, 28), np.uint8)).exact.shape[1] == 2


@pytest.mark.data
def test_mnist_holds_no_image_twice_and_all_copies_are_found() -> None:
    """Test and training images don't overlap; of 2,000 shifted noisy copies among them every one is found."""
    train, test = load("mnist:train", "train").images, load("mnist:test", "evaluate").images
    random = np.random.default_rng(0)
    picked = random.choice(len(train), 2000, replace=False)
    copies = noisy(shifted(train[picked], random), random)
    found = find_overlap(train, np.concatenate([test, copies, train[:10]]))
    assert found.exact.tolist() == [[i, len(test) + 2000 + i] for i in range(10)]
    assert found.near.tolist() == [[i, len(test) + place] for place, i in enumerate(picked.tolist())]
