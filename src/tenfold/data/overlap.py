"""Images that two sets share, or that one set holds twice: exactly, or nearly.

Two images are *near* when, after the best shift of at most one pixel down, up, left, right or both, the squared
differences of the pixels that both then show add up to at most 784 x `NEAR_RMS`^2. Noise spread evenly over +-8 grey
levels has an RMS of 4.9 and stays below. The two most alike drawings by different hands in MNIST's 60,000 + 10,000,
both of them straight 1s, have 7.5, and above 12 such pairs of 1s come by the hundred. The threshold stands between.

An image of the second set gets one pair at most, so that 10,000 blank pages give 9,999 pairs, not 50 million.

How the near pairs are found, with none missed:

1. Each image is set into a frame of 32x32, where a shift by one pixel loses nothing, and transformed: the magnitudes
   of the 2-D Fourier transform don't change under a shift. By Parseval's theorem and the reverse triangle
   inequality, the distance of two magnitude spectra is at most the distance of the images under the best shift.
   (An image with ink on its edge, which a shift may push out, stands there once more for each edge it may lose.)
2. Keeping only the lowest frequencies makes that distance smaller still: pairs farther apart than the threshold in
   these 66 numbers can't be near. One blocked matrix product finds the others: 1 pair in 20,000 at MNIST.
3. Those few are compared pixel by pixel under all nine shifts.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tenfold.data.digits import IMAGE_SHAPE, image_hashes
from tenfold.imaging.decode import border
from tenfold.progress import track

Images = NDArray[np.uint8]
Indices = NDArray[np.int64]
Floats = NDArray[np.float32]

HEIGHT, WIDTH = IMAGE_SHAPE
NEAR_RMS = 6.0  # grey levels
NEAR_SQUARED = NEAR_RMS**2 * HEIGHT * WIDTH  # the same as a sum of squared differences

FRAME_SIZE = 32  # at least 28 + 1, so that a shift by one pixel wraps nothing onto the other side
LOWEST_FREQUENCIES = 5  # 4 to 6 take the same time: fewer candidates to compare against a longer product
EDGE_SQUARED = 0.1 * NEAR_SQUARED  # less than this on an edge is no ink: the filter's threshold makes up for it
BLOCK = (4096, 512)  # images of the first and of the second set in one product: 8 MB of distances
CHUNK = 2048  # images transformed, or pairs compared, at a time: 30 MB at most

# The part that an image still shows when it has been shifted by (-1, 0, 1) pixels along one axis of 28.
SHOWN = {-1: slice(1, 28), 0: slice(0, 28), 1: slice(0, 27)}
SHIFTS = sorted(product((-1, 0, 1), repeat=2), key=any)  # none comes first


@dataclass(frozen=True, eq=False)
class Overlap:
    """Which images of a second set have a twin in a first one.

    exact: (P, 2) int64, pairs (index in the first set, index in the second) of equal images.
    near:  (Q, 2) int64, pairs of images that are near but not equal.
    Both are sorted by the second index, and an index of the second set stands in one pair of the two arrays at most.
    """

    exact: Indices
    near: Indices

    @property
    def pairs(self) -> Indices:
        """All pairs, the exact ones first, (P + Q, 2) int64."""
        return np.concatenate([self.exact, self.near])


def find_overlap(first: Images, second: Images) -> Overlap:
    """Return the images of `second` that are in `first` too, exactly or nearly.

    first: (N, 28, 28) uint8, second: (M, 28, 28) uint8. The exact twin of an image is the earliest in `first`; the
    near twin is one of those near it.
    """
    hashes, originals = np.unique(image_hashes(first), return_index=True)  # originals: where each is seen first
    wanted = image_hashes(second)
    found = np.isin(wanted, hashes)
    exact = np.column_stack([originals[np.searchsorted(hashes, wanted[found])], np.flatnonzero(found)])
    unique, rest = np.sort(originals), np.flatnonzero(~found)
    rows, columns = _near_pairs(first[unique], second[rest])
    return Overlap(exact, np.column_stack([unique[rows], rest[columns]]))


def find_duplicates(images: Images) -> Overlap:
    """Return the images that have an earlier twin in the same set, exactly or nearly, as pairs (earlier, later).

    images: (N, 28, 28) uint8. Of k equal images the first is the twin of the k - 1 others.
    """
    _, originals, inverse = np.unique(image_hashes(images), return_index=True, return_inverse=True)
    repeated = np.flatnonzero(originals[inverse] != np.arange(len(images)))
    exact = np.column_stack([originals[inverse[repeated]], repeated])
    unique = np.sort(originals)
    rows, columns = _near_pairs(images[unique], images[unique], only_earlier=True)
    return Overlap(exact, np.column_stack([unique[rows], unique[columns]]))


def are_near(first: Images, second: Images) -> NDArray[np.bool_]:
    """Return (N,) bool: whether `first[i]` and `second[i]` are one image, but for small noise and a one-pixel shift.

    first, second: (N, 28, 28) uint8.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)  # whole numbers up to 2^24 are exact
    near = np.zeros(len(first), dtype=bool)
    for down, right in SHIFTS:
        difference = a[:, SHOWN[down], SHOWN[right]] - b[:, SHOWN[-down], SHOWN[-right]]
        near |= np.einsum("nyx,nyx->n", difference, difference) <= NEAR_SQUARED
    return near


def _near_pairs(first: Images, second: Images, *, only_earlier: bool = False) -> tuple[Indices, Indices]:
    """Return the indices (Q,) in `first` and (Q,) in `second` of near pairs, one at most for an image of `second`.

    only_earlier: both are the same set, and an image's twin comes before it.
    """
    # The usual grey level on the images' edges is what lies around a drawing.
    background = float(np.bincount(border(second).ravel(), minlength=256).argmax())
    x, x_half, x_owner = _shift_free_features(first, background)
    y, y_half, y_owner = _shift_free_features(second, background)
    # One product gives x.y - |x|^2/2 - |y|^2/2 = -|x - y|^2 / 2 for all pairs.
    rows = np.column_stack([x, -x_half, np.ones_like(x_half)])
    columns = np.column_stack([y, np.ones_like(y_half), -y_half])
    # The slack covers what float32 rounds off in sums of this size: a candidate too many costs one comparison, one
    # too few would be a twin missed.
    slack = 1e-5 * float(x_half.max(initial=0) + y_half.max(initial=0))
    least = -((NEAR_SQUARED + 2 * EDGE_SQUARED) / 2 + slack)

    twins = np.full(len(second), -1, dtype=np.int64)
    for left in track(range(0, len(columns), BLOCK[1])):
        block = slice(left, left + BLOCK[1])
        stop = np.searchsorted(x_owner, y_owner[block][-1]) if only_earlier else len(rows)
        for top in range(0, int(stop), BLOCK[0]):
            waiting = twins[y_owner[block]] < 0
            if not waiting.any():
                break
            closeness = rows[top : top + BLOCK[0]] @ columns[block].T
            candidates = np.flatnonzero((closeness > least) & waiting)
            candidates = candidates[np.argsort(-closeness.ravel()[candidates], kind="stable")]
            row, column = np.divmod(candidates, closeness.shape[1])
            a, b = x_owner[top + row], y_owner[left + column]
            if only_earlier:
                a, b = a[a < b], b[a < b]
            _settle(twins, first, second, a, b)
    found = np.flatnonzero(twins >= 0)
    return twins[found], found


def _settle(twins: Indices, first: Images, second: Images, a: Indices, b: Indices) -> None:
    """Set `twins[b]` to `a` for the candidate pairs (a, b) that are near, where an image has no twin yet.

    Candidates come with the most alike first, and those of an image that has its twin are passed over: a set of
    look-alikes costs about one comparison an image, not one a pair.
    """
    while True:
        waiting = twins[b] < 0
        a, b = a[waiting], b[waiting]
        if not len(a):
            return
        near = are_near(first[a[:CHUNK]], second[b[:CHUNK]])
        found, places = np.unique(b[:CHUNK][near], return_index=True)
        twins[found] = a[:CHUNK][near][places]
        a, b = a[CHUNK:], b[CHUNK:]


def _shift_free_features(images: Images, background: float) -> tuple[Floats, Floats, Indices]:
    """Return features (M, 66) float32, half their squared lengths (M,), and each row's image (M,), sorted.

    An image with ink on an edge gets a row for each way to lose that edge; every image gets one that shows it whole.
    The distance of two images' nearest rows is at most their distance under the best shift (give or take the ink
    below `EDGE_SQUARED`).
    """
    features, owners = [], []
    for start in range(0, max(1, len(images)), CHUNK):
        batch = images[start : start + CHUNK].astype(np.float32) - np.float32(background)
        features.append(_low_magnitudes(batch))
        owners.append(np.arange(start, start + len(batch)))
        inside = np.einsum("nyx,nyx->n", batch[:, 1:-1, 1:-1], batch[:, 1:-1, 1:-1])
        on_edge = np.flatnonzero(np.einsum("nyx,nyx->n", batch, batch) - inside > EDGE_SQUARED)
        for down, right in SHIFTS[1:]:
            shown = np.zeros((len(on_edge), HEIGHT, WIDTH), dtype=np.float32)
            shown[:, SHOWN[down], SHOWN[right]] = batch[on_edge, SHOWN[down], SHOWN[right]]
            lost = np.square(batch[on_edge] - shown).sum(axis=(1, 2)) > EDGE_SQUARED
            features.append(_low_magnitudes(shown[lost]))
            owners.append(start + on_edge[lost])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    flat = np.concatenate(features)[order]
    return flat, np.einsum("nf,nf->n", flat, flat) / 2, owner[order]


def _low_magnitudes(images: Floats) -> Floats:
    """Return the magnitudes of the lowest frequencies, (N, 66) float32, each weighted by how often it occurs."""
    k = LOWEST_FREQUENCIES
    spectrum = np.fft.rfft2(images, s=(FRAME_SIZE, FRAME_SIZE), norm="ortho")
    vertical = np.r_[0 : k + 1, FRAME_SIZE - k : FRAME_SIZE]  # -k to k
    magnitudes = np.abs(spectrum[:, vertical, : k + 1]).astype(np.float32)
    magnitudes[:, :, 1:] *= np.float32(np.sqrt(2))  # the real transform leaves out these columns' mirror images
    return magnitudes.reshape(len(images), len(vertical) * (k + 1))
