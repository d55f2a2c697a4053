"""Every score against scikit-learn or a case worked by hand."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn import metrics as sk

from tenfold.errors import DataError
from tenfold.metrics import scores as metrics
from tenfold.metrics.scores import calibrated_nll, fit_temperature, nll, sharpen

DIGITS = np.arange(10)


def predictions(n: int = 500, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels and probabilities of a middling classifier that never gives a 9."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    logits = rng.normal(size=(n, 10)) + 2.5 * np.eye(10)[labels]
    logits[:, 9] -= 1000
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return labels, (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def two_way(confidence: float, given: int, n: int) -> NDArray[np.float64]:
    """`n` rows that give `given` with `confidence` and its neighbour the rest."""
    row = np.zeros(10)
    row[given], row[(given + 1) % 10] = confidence, 1 - confidence
    return np.tile(row, (n, 1))


def test_counts_equal_sklearn() -> None:
    """Accuracy, confusion matrix, precision, recall and F1 equal scikit-learn's."""
    labels, shares = predictions()
    given = shares.argmax(axis=1)
    result = metrics.score(labels, shares)
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(labels, given))
    assert result["errors"] == int((labels != given).sum())
    assert result["n"] == 500
    assert result["confusion"] == sk.confusion_matrix(labels, given, labels=DIGITS).tolist()
    theirs = sk.precision_recall_fscore_support(labels, given, labels=DIGITS, zero_division=np.nan)
    for ours, precision, recall, f1, n in zip(result["per_class"], *theirs, strict=True):
        assert ours["n"] == n
        assert ours["recall"] == pytest.approx(recall)
        if ours["digit"] == 9:  # never given: precision is 0 / 0
            assert ours["precision"] is None
        else:
            assert ours["precision"] == pytest.approx(precision)
        assert ours["f1"] == pytest.approx(f1)


def test_nll_equals_sklearn() -> None:
    """NLL equals scikit-learn's log loss, a true digit that got exactly 0 included."""
    labels, shares = predictions()
    assert (shares[np.arange(500), labels] == 0).any()
    assert metrics.nll(labels, shares) == pytest.approx(sk.log_loss(labels, shares, labels=DIGITS), rel=1e-5)


def test_nll_of_a_certain_mistake_is_finite() -> None:
    """A mistake made with probability 1 costs -ln of float32's epsilon, 15.9 nats, and not infinity."""
    assert metrics.nll([0], two_way(1.0, 1, 1)) == pytest.approx(15.9424, abs=1e-4)


def test_brier_equals_sklearn() -> None:
    """Brier's score equals scikit-learn's sum over classes; 0 for the certain truth, 2 for the certain lie."""
    labels, shares = predictions()
    theirs = sk.brier_score_loss(labels, shares, labels=DIGITS, scale_by_half=False)
    assert metrics.brier(labels, shares) == pytest.approx(theirs, rel=1e-5)
    assert metrics.brier([3], two_way(1.0, 3, 1)) == 0
    assert metrics.brier([4], two_way(1.0, 3, 1)) == 2


def test_ece_by_hand() -> None:
    """Eight images at 0.75 with 4 right and two at 0.95 with 2 right: 0.8 x 0.25 + 0.2 x 0.05 = 0.21."""
    shares = np.vstack([two_way(0.75, 1, 8), two_way(0.95, 2, 2)])
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 2, 2]
    assert metrics.ece(labels, shares) == pytest.approx(0.21)
    assert metrics.score(labels, shares)["ece"] == pytest.approx(0.21)


def test_ece_averages_inside_a_bin_first() -> None:
    """0.68 right and 0.72 wrong share the bin (0.667, 0.733]: |0.5 - 0.70| = 0.2, not the mean of 0.32 and 0.72."""
    shares = np.vstack([two_way(0.68, 1, 1), two_way(0.72, 1, 1)])
    assert metrics.ece([1, 2], shares) == pytest.approx(0.2)


def test_calibration_bins() -> None:
    """There are 15 bins of equal width; an edge belongs to the bin below it; empty bins stay, without means."""
    edge = np.linspace(0.0, 1.0, 16)[12]  # 0.8
    shares = np.vstack([two_way(edge, 1, 1), two_way(np.nextafter(edge, 1), 1, 1), two_way(1.0, 1, 1)])
    bins = metrics.calibration_bins([1, 1, 0], shares)
    assert [b.n for b in bins] == [0] * 11 + [1, 1, 0, 1]
    assert bins[0] == (0.0, pytest.approx(1 / 15), 0, None, None, None)
    assert bins[11].confidence == pytest.approx(0.8)
    assert bins[14].accuracy == 0.0
    assert bins[14].ci95 == pytest.approx((0.0, 0.793450), abs=1e-6)  # z^2 / (1 + z^2)
    assert [b.low for b in bins[1:]] == [b.high for b in bins[:-1]]


def test_calibration_bins_hold_every_image() -> None:
    """Every image lies in the one bin whose edges enclose its confidence."""
    labels, shares = predictions()
    bins = metrics.calibration_bins(labels, shares, bins=7)
    confidence = shares.max(axis=1).astype(np.float64)
    assert [b.n for b in bins] == [int(((confidence > b.low) & (confidence <= b.high)).sum()) for b in bins]
    assert sum(b.n for b in bins) == 500


def test_most_confident_mistakes() -> None:
    """Mistakes come the surest first, equals in their own order, right answers never, and no more than k."""
    shares = np.vstack([two_way(c, 1, 1) for c in (0.6, 0.9, 0.99, 0.9, 0.7)])
    labels = [0, 0, 1, 0, 0]
    assert metrics.most_confident_mistakes(labels, shares).tolist() == [1, 3, 4, 0]
    assert metrics.most_confident_mistakes(labels, shares, 2).tolist() == [1, 3]
    assert metrics.most_confident_mistakes([1] * 5, shares, 2).tolist() == []


def test_score_is_json() -> None:
    """A score survives JSON without NaN or numpy types, one image and unseen digits included."""
    result = metrics.score([3], two_way(1.0, 3, 1))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["accuracy"] == 1.0
    assert result["per_class"][5] == {"digit": 5, "precision": None, "recall": None, "f1": None, "n": 0}


def bad(row: int, column: int, value: float) -> NDArray[np.float64]:
    """Four good rows with one value replaced."""
    shares = two_way(0.5, 3, 4)
    shares[row, column] = value
    return shares


@pytest.mark.parametrize(
    ("labels", "shares", "message"),
    [
        ([3] * 4, np.ones((4, 9)) / 9, r"shape '\(4, 9\)'"),
        ([3] * 4, np.ones(10) / 10, r"shape '\(10,\)'"),
        ([3] * 3, two_way(0.5, 3, 4), r"shape '\(3,\)' for 4 rows"),
        ([[3]] * 4, two_way(0.5, 3, 4), r"shape '\(4, 1\)'"),
        ([], np.empty((0, 10)), "'0' images"),
        ([3.0] * 4, two_way(0.5, 3, 4), "dtype 'float64'"),
        ([3, 3, 10, 3], two_way(0.5, 3, 4), "Label '10' in row 2"),
        ([3, -1, 3, 3], two_way(0.5, 3, 4), "Label '-1' in row 1"),
        ([3] * 4, bad(2, 7, np.nan), "'nan' in row 2, column 7"),
        ([3] * 4, bad(1, 0, np.inf), "'inf' in row 1, column 0"),
        ([3] * 4, bad(1, 0, -0.1), "'-0.1' in row 1, column 0"),
        ([3] * 4, bad(3, 3, 0.25), "Row 3 of the probabilities sums to '0.75'"),
    ],
)
def test_bad_input_is_refused(labels: object, shares: NDArray[np.float64], message: str) -> None:
    """Wrong shapes, labels, values and sums are refused with the place and the value in quotes."""
    for function in (metrics.score, metrics.ece, metrics.most_confident_mistakes):
        with pytest.raises(DataError, match=message):
            function(labels, shares)


def test_sharpen_by_hand() -> None:
    """Temperature 1/2 squares the probabilities and scales them; 1 leaves them; the answer never changes."""
    probabilities = np.array([[0.6, 0.3, 0.1] + [0.0] * 7], np.float32)
    np.testing.assert_allclose(sharpen(probabilities, 1.0), probabilities, atol=1e-6)
    np.testing.assert_allclose(sharpen(probabilities, 0.5)[0, :3], np.array([0.36, 0.09, 0.01]) / 0.46, rtol=1e-5)
    assert sharpen(probabilities, 5.0).argmax() == 0


def test_temperature_is_found() -> None:
    """Probabilities flattened by a temperature of 3 are restored: the fit finds 1/3."""
    random = np.random.default_rng(0)
    true = random.dirichlet(np.full(10, 0.2), 20_000).astype(np.float32)
    labels = np.array([random.choice(10, p=row / row.sum()) for row in true.astype(np.float64)])
    assert fit_temperature(labels, sharpen(true, 3.0)) == pytest.approx(1 / 3, rel=0.05)
    assert fit_temperature(labels, true) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("concentration", "wrong"), [(0.2, 0.0), (0.2, 0.1), (0.05, 0.01), (1.0, 0.9)])
def test_temperature_is_the_one_that_scipy_finds(concentration: float, wrong: float) -> None:
    """The search gives the temperature and the log-loss that scipy's bounded minimisation gives."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(10, concentration), 3_000).astype(np.float32)
    labels = np.where(random.random(3_000) < wrong, random.integers(0, 10, 3_000), probabilities.argmax(1))
    labels[0] = probabilities[0].argmin()

    def loss(log_temperature: float) -> float:
        return nll(labels, sharpen(probabilities, float(np.exp(log_temperature))))

    found = minimize_scalar(loss, bounds=(-np.log(8), np.log(8)), method="bounded")
    assert fit_temperature(labels, probabilities) == pytest.approx(np.exp(found.x), rel=1e-4)
    assert calibrated_nll(labels, probabilities) == pytest.approx(found.fun, rel=1e-5)


def test_risk_coverage() -> None:
    """A case worked by hand: equal confidences are one point, and the last point is the whole set's error."""
    thresholds, coverages, risks = metrics.risk_coverage(
        np.array([0.5, 0.9, 0.9, 0.7]), np.array([False, True, False, True])
    )
    np.testing.assert_allclose(thresholds, [0.9, 0.7, 0.5])
    np.testing.assert_allclose(coverages, [0.5, 0.75, 1])
    np.testing.assert_allclose(risks, [1 / 2, 1 / 3, 2 / 4])
    assert [len(part) for part in metrics.risk_coverage(np.zeros(0), np.zeros(0, bool))] == [0, 0, 0]


def test_no_mistake_no_temperature() -> None:
    """Where every held-out image is right, nothing can be learnt about confidence, and it is left alone."""
    assert fit_temperature(np.arange(10), np.eye(10, dtype=np.float32) * 0.5 + 0.05) == 1.0


def test_calibrated_nll_is_the_least() -> None:
    """No temperature gives a lower log-loss, and one is fitted without a mistake too."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(10, 0.2), 500).astype(np.float32)
    labels = probabilities.argmax(1).astype(np.int64)
    least = calibrated_nll(labels, probabilities)
    assert least <= min(nll(labels, sharpen(probabilities, each)) for each in (0.2, 0.5, 1.0, 2.0)) + 1e-6
    assert least < nll(labels, probabilities)
