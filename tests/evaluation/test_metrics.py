"""Metrics of arrays in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from napari_dinoad.errors import ScorerError, SettingError
from napari_dinoad.evaluation import (
    LabelledHistogram,
    auroc,
    average_precision,
    best_dice,
    dice,
    image_auroc,
    image_score,
)

PAIRS = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=80)


@given(PAIRS)
def test_voxel_metrics_are_exact_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float32) / 3
    labels = np.array([label for _, label in pairs])
    counted = LabelledHistogram.of(scores, labels, 32)
    assert auroc(scores, labels) == pytest.approx(counted.auroc(), abs=1e-12, nan_ok=True)
    expected = counted.average_precision()
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    abnormal, normal = scores[labels, np.newaxis], scores[~labels]
    if labels.any() and not labels.all():
        won = (abnormal > normal).mean() + (abnormal == normal).mean() / 2
        assert auroc(scores, labels) == pytest.approx(won, abs=1e-12)


def test_infinite_scores_are_ordered_and_nan_is_refused() -> None:
    labels = np.array([False, False, True, True])
    assert auroc(np.array([-np.inf, 0, 1, np.inf]), labels) == 1
    assert average_precision(np.array([-np.inf, 0, -1, np.inf]), labels) == pytest.approx(0.5 + 0.5 * 2 / 3)
    with pytest.raises(ScorerError, match="1 NaN among 4"):
        auroc(np.array([0, np.nan, 1, 1]), labels)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_dice_is_the_f1_score(pairs: list[tuple[bool, bool]]) -> None:
    mask, truth = np.array(pairs).T
    if mask.any() or truth.any():
        assert dice(mask, truth) == pytest.approx(f1_score(truth, mask))
    else:
        assert dice(mask, truth) == 1.0
    assert dice(mask, truth) == dice(truth, mask)


@given(PAIRS)
def test_no_threshold_beats_the_best_dice(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float32)
    truth = np.array([label for _, label in pairs])
    best = best_dice(scores, truth)
    if not truth.any():
        assert np.isnan(best.dice) and np.isnan(best.threshold)
        return
    assert dice(scores >= best.threshold, truth) == pytest.approx(best.dice)
    assert best.dice == pytest.approx(max(dice(scores >= t, truth) for t in scores))


def test_volumes_and_multi_class_truths() -> None:
    truth = np.zeros((3, 4, 5), dtype=np.uint8)
    truth[1, 1:3, 2] = (1, 4)
    scores = np.where(truth > 0, 0.9, 0.1)
    assert auroc(scores, truth) == average_precision(scores, truth) == dice(scores > 0.5, truth) == 1.0


def test_all_zero_map_is_chance() -> None:
    truth = np.arange(100) < 7
    scores = np.zeros(100)
    assert auroc(scores, truth) == 0.5
    assert average_precision(scores, truth) == pytest.approx(0.07)
    assert best_dice(scores, truth).dice == pytest.approx(2 * 7 / 107)


def test_image_score_is_the_maximum_or_the_mean_of_the_top() -> None:
    score_map = np.arange(100, dtype=np.float32).reshape(10, 10)
    assert image_score(score_map) == 99
    assert image_score(score_map, 0.1) == pytest.approx(np.arange(90, 100).mean())
    assert image_score(score_map, 1.0) == pytest.approx(score_map.mean())
    # At least one voxel, however small the share.
    assert image_score(score_map, 1e-6) == 99


def test_image_auroc() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3 == 0
    maps = [rng.random((6, 5 + i)) + 0.3 * label for i, label in enumerate(labels)]
    expected = roc_auc_score(labels, [m.max() for m in maps])
    assert image_auroc(maps, labels) == pytest.approx(expected)
    assert image_auroc(maps, labels, 1.0) == 1.0
    assert np.isnan(image_auroc(maps, np.zeros(12, dtype=bool)))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(SettingError, match=r"\(2, 2\), got \(4,\)"):
        dice(np.zeros((2, 2)), np.zeros(4))
    with pytest.raises(SettingError, match="at least one score"):
        image_score(np.zeros((0, 3)))
    with pytest.raises(SettingError, match="top fraction"):
        image_score(np.zeros(3), 0.0)
    with pytest.raises(SettingError, match="each of 2 maps, got 1"):
        image_auroc([np.zeros(2), np.zeros(2)], [True])
