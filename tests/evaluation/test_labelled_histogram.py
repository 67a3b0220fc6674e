"""ROC and precision-recall from histograms, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.errors import ScorerError, SettingError
from napari_dinoad.evaluation import LabelledHistogram, threshold_at_fpr


def _case(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.random(40_000) < 0.03
    scores = {
        "overlapping": rng.normal(size=labels.size) + 1.5 * labels,
        "small and positive": rng.gamma(2.0, 1e-3, labels.size) * (1 + labels),
        "rare": rng.gamma(2.0, 0.1, labels.size) + 0.4 * labels,
        "negative": -rng.gamma(2.0, 5.0, labels.size) * (1 - 0.5 * labels),
        "many ties": np.round(rng.normal(size=labels.size) + labels),
        "reversed": -rng.normal(size=labels.size) - labels,
        "all equal": np.zeros(labels.size),
        "both zeros": np.where(rng.random(labels.size) < 0.5, 0.0, -0.0),
        "wide range": 10.0 ** rng.uniform(-20, 20, labels.size) * (1 + labels),
    }[name]
    return scores.astype(np.float32), labels


CASES = [
    "overlapping",
    "small and positive",
    "rare",
    "negative",
    "many ties",
    "reversed",
    "all equal",
    "both zeros",
    "wide range",
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("bits", "tolerance"), [(32, 1e-12), (24, 1e-6)])
def test_areas_agree_with_scikit_learn(name: str, bits: int, tolerance: float) -> None:
    scores, labels = _case(name)
    histogram = LabelledHistogram.of(scores, labels, bits)
    assert histogram.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=tolerance)
    # Which of two tied scores comes first moves precision by one in a rank: a larger share than it is of AUROC.
    expected = average_precision_score(labels, scores)
    assert histogram.average_precision() == pytest.approx(expected, abs=max(tolerance, 1e-12) * 30)


@pytest.mark.parametrize("name", CASES)
def test_default_bits_are_within_the_documented_tolerance(name: str) -> None:
    scores, labels = _case(name)
    histogram = LabelledHistogram.of(scores, labels)
    assert histogram.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=2e-6)
    assert histogram.average_precision() == pytest.approx(average_precision_score(labels, scores), abs=1e-4)


def test_roc_agrees_with_scikit_learn() -> None:
    scores, labels = _case("many ties")
    roc = LabelledHistogram.of(scores, labels, 32).roc()
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.fpr, fpr)
    np.testing.assert_allclose(roc.tpr, tpr)
    np.testing.assert_allclose(roc.thresholds, thresholds)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-100, 100, width=32), st.booleans()), min_size=1, max_size=60), st.data())
def test_parts_sum_to_the_whole(pairs: list[tuple[float, bool]], data: st.DataObject) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float32)
    labels = np.array([label for _, label in pairs])
    cut = data.draw(st.integers(0, len(pairs)))
    whole = LabelledHistogram.of(scores, labels)
    parts = LabelledHistogram.of(scores[:cut], labels[:cut]) + LabelledHistogram.of(
        scores[cut:], labels[cut:]
    )
    for ours, theirs in ((parts.normal, whole.normal), (parts.abnormal, whole.abnormal)):
        assert np.array_equal(ours.keys, theirs.keys)
        assert np.array_equal(ours.counts, theirs.counts)
    np.testing.assert_array_equal(parts.auroc(), whole.auroc())
    np.testing.assert_array_equal(parts.average_precision(), whole.average_precision())


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60))
def test_auroc_of_negated_scores_is_its_complement(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float32)
    labels = np.array([label for _, label in pairs])
    up, down = (LabelledHistogram.of(s, labels).auroc() for s in (scores, -scores))
    if labels.all() or not labels.any():
        assert np.isnan(up) and np.isnan(down)
    else:
        assert up + down == pytest.approx(1)


def test_best_dice_is_the_best_of_all_thresholds() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(500) < 0.2
    scores = np.round(rng.normal(size=500) + 2 * labels, 1).astype(np.float32)
    histogram = LabelledHistogram.of(scores, labels, 32)
    best = histogram.best_dice()
    every = [
        2 * (labels & (scores >= t)).sum() / (labels.sum() + (scores >= t).sum()) for t in np.unique(scores)
    ]
    assert best.dice == pytest.approx(max(every))
    assert histogram.dice_at(best.threshold) == pytest.approx(best.dice)
    assert histogram.dice_at(np.inf) == 0.0
    assert histogram.dice_at(-np.inf) == pytest.approx(2 * labels.sum() / (labels.sum() + 500))


def test_undefined_figures_are_nan() -> None:
    scores = np.array([0.1, 0.2])
    only_normal = LabelledHistogram.of(scores, np.zeros(2))
    only_abnormal = LabelledHistogram.of(scores, np.ones(2))
    assert np.isnan(only_normal.auroc())
    assert np.isnan(only_normal.average_precision())
    assert np.isnan(only_normal.best_dice().dice)
    assert np.isnan(only_normal.roc().tpr).all()
    assert only_normal.roc().fpr[-1] == 1.0
    for alone in (only_normal, only_abnormal):
        assert {len(rates) for rates in alone.roc()} == {3}, "at +∞, and at each of the scores"
    assert np.isnan(only_abnormal.auroc())
    assert only_abnormal.average_precision() == 1.0
    assert only_abnormal.fpr_at(0.15) == 0.0
    assert only_normal.fpr_at(0.15) == 0.5
    assert LabelledHistogram.empty().dice_at(0.5) == 1.0
    assert np.isnan(LabelledHistogram.empty().auroc())


def test_labels_are_abnormal_above_zero() -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    histogram = LabelledHistogram.of(scores, np.array([0, 0, 2, 255], dtype=np.uint8))
    assert (histogram.normal.total, histogram.abnormal.total) == (2, 2)
    assert histogram.auroc() == 1.0


def test_wrong_input_is_refused() -> None:
    with pytest.raises(SettingError, match=r"\(3,\), got \(2,\)"):
        LabelledHistogram.of(np.zeros(3), np.zeros(2))
    with pytest.raises(ScorerError, match="NaN"):
        LabelledHistogram.of(np.array([np.nan, 1.0]), np.array([0, 1]))
    with pytest.raises(SettingError, match="bits"):
        LabelledHistogram.empty(20) + LabelledHistogram.empty(22)


@pytest.mark.parametrize("fpr", [0.5, 0.1, 0.01, 0.001])
def test_threshold_holds_the_false_positive_rate(fpr: float) -> None:
    scores = np.random.default_rng(0).gamma(2.0, 0.1, 20_000).astype(np.float32)
    normal = ScoreHistogram.of(scores)
    threshold = threshold_at_fpr(normal, fpr)
    assert np.mean(scores >= threshold) <= fpr
    assert np.mean(scores >= threshold) == pytest.approx(fpr, rel=0.06)


@pytest.mark.parametrize("n", [10, 25, 50, 100, 1000])
def test_a_rate_that_is_reached_to_the_voxel_is_reached(n: int) -> None:
    """0.29 × 100 is less than 29 in floating point."""
    normal = ScoreHistogram.of(np.arange(n, dtype=np.float32), 32)
    for count in range(n + 1):
        fpr = count / n
        assert threshold_at_fpr(normal, fpr) == (n - count if count else np.inf)


def test_threshold_of_few_or_tied_scores() -> None:
    tied = ScoreHistogram.of(np.zeros(10))
    assert threshold_at_fpr(tied, 0.5) == np.inf
    assert threshold_at_fpr(tied, 1.0) == 0.0
    assert threshold_at_fpr(ScoreHistogram.empty(), 0.1) == np.inf
    assert threshold_at_fpr(tied, 0) == np.inf
    with pytest.raises(SettingError, match="0 to 1"):
        threshold_at_fpr(tied, 1.5)
