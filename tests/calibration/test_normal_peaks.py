"""A region's peak against the highest voxel of each normal scan."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.calibration import Calibration, NormalPeaks, OwnScores, ScanScores
from napari_dinoad.calibration.score_histogram import ScoreHistogram


def normal_scans(seed, n_scans=19, n_voxels=2_000):
    """Return scans whose voxels vary, and scans as such: each has a mean of its own."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 1, (n_scans, n_voxels)) + rng.normal(0, 0.5, (n_scans, 1))).astype(np.float32)


def test_a_peak_is_compared_with_the_highest_voxel_of_each_normal_scan():
    scans = normal_scans(0)
    calibration = Calibration.from_scans([ScanScores.of(scan, 0.01) for scan in scans])
    peaks = calibration.normal_peaks()
    assert peaks.n_scans == 19
    highest = np.sort(scans.max(axis=1))
    # Between two of them, as the table tells scores apart.
    for n_below, score in enumerate((highest[1:] + highest[:-1]) / 2, start=1):
        (level,) = calibration.neg_log10_p(np.array([score]))
        assert peaks.n_reaching(level) == 19 - n_below
        assert peaks.p_value(level) == pytest.approx((1 + 19 - n_below) / 20)
        assert not peaks.is_beyond(level)
    (beyond,) = calibration.neg_log10_p(highest[-1:] * 1.5)
    assert (peaks.n_reaching(beyond), peaks.p_value(beyond)) == (0, 1 / 20)
    assert peaks.is_beyond(beyond)
    # A scan's own peak reaches itself.
    assert peaks.n_reaching(peaks.levels.max()) == 1
    assert not peaks.is_beyond(peaks.levels.max())
    assert (peaks.n_reaching(0.0), peaks.p_value(0.0)) == (19, 1.0)


def test_the_rate_of_new_normal_scans_with_any_such_region():
    """However many voxels a scan has: one in 20 new ones has a voxel beyond 19 others, three have one beyond 17."""
    n_trials, found = 400, np.zeros(2)
    for seed in range(n_trials):
        *behind, new = normal_scans(seed, 20, 200)
        calibration = Calibration.from_scans([ScanScores.of(scan, 0.01) for scan in behind])
        level = calibration.neg_log10_p(new).max()
        p_value = calibration.normal_peaks().p_value(level)
        found += [p_value <= 1 / 20, p_value <= 3 / 20]
    spread = 4 * np.sqrt(np.array([0.05 * 0.95, 0.15 * 0.85]) / n_trials)
    assert (np.abs(found / n_trials - [0.05, 0.15]) < spread).all()


def test_scans_of_one_person_count_as_one():
    pooled = ScoreHistogram.of(np.arange(10, dtype=np.float32))
    scans = [OwnScores(1.0, 9.0), OwnScores(2.0, 5.0), OwnScores(3.0, 7.0)]
    calibration = Calibration.from_histogram(pooled, scans, persons=[4, 4, 8])
    peaks = calibration.normal_peaks()
    (level,) = calibration.neg_log10_p(np.array([6.0]))
    assert (peaks.n_scans, peaks.n_persons) == (3, 2)
    assert peaks.n_reaching(level) == 2
    assert peaks.p_value(level) == (1 + 1 / 2 + 1) / (1 + 2)


def test_an_empty_scan_reaches_nothing():
    assert OwnScores.of(np.zeros(0, np.float32), 0.01) == (-np.inf, -np.inf)
    assert NormalPeaks(np.zeros(1, np.float32), np.ones(1)).n_reaching(1e-3) == 0


def test_a_ratio_that_falls_leaves_peaks_where_voxels_of_their_score_are():
    """Scores that would change places are raised, voxels and peaks by the same ones."""
    calibration = Calibration.from_scans([ScanScores.of(scan, 0.01) for scan in np.exp(normal_scans(0))])
    scaled = calibration.scaled(lambda scores: 1 + 0.9 * np.sin(3 * scores))
    assert scaled.scan_peaks.max() == scaled.table_scores[-1]
    for peak, after in zip(calibration.scan_peaks, scaled.scan_peaks, strict=True):
        voxels = calibration.table_scores[calibration.table_scores <= peak]
        assert after >= (voxels * (1 + 0.9 * np.sin(3 * voxels))).max()
