"""Probabilities that mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_dinoad.calibration import MAX_NEG_LOG10_P, Calibration, OwnScores, fused_scores, scan_score
from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.errors import ModelFileError, ScorerError, SettingError


def normal_scans(n_scans=6, n_voxels=40_000, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.gamma(2.0, 0.1, n_voxels).astype(np.float32) for _ in range(n_scans)]


def calibrated(scans, top_fraction=0.01):
    pooled = ScoreHistogram.of(np.concatenate(scans))
    return Calibration.from_histogram(pooled, [OwnScores.of(scores, top_fraction) for scores in scans])


@pytest.mark.parametrize("fpr", [0.1, 0.05, 0.01, 0.001])
def test_the_rate_holds_on_normal_voxels_never_seen(fpr):
    calibration = calibrated(normal_scans())
    fresh = np.concatenate(normal_scans(n_scans=10, seed=1))
    marked = (calibration.neg_log10_p(fresh) >= -np.log10(fpr)).mean()
    spread = 4 * np.sqrt(fpr / 240_000) + 4 * np.sqrt(fpr / 400_000)
    assert marked == pytest.approx(fpr, abs=spread + 0.002 * fpr)
    assert (fresh >= calibration.threshold(fpr)).mean() == pytest.approx(fpr, abs=spread + 0.002 * fpr)


@pytest.mark.parametrize("shift", [0.0, -1500.0])
def test_p_is_the_empirical_share(shift):
    scans = [scores + np.float32(shift) for scores in normal_scans()]
    calibration = calibrated(scans)
    pooled = np.concatenate(scans)
    probes = np.quantile(pooled, [0.05, 0.5, 0.9, 0.99, 0.999]).astype(np.float32)
    expected = [(1 + np.count_nonzero(pooled >= probe)) / (1 + pooled.size) for probe in probes]
    # A key of the histogram is 1.2e-4 of the score wide, which matters for scores far from 0.
    tolerance = 0.02 if shift == 0 else 0.5
    np.testing.assert_allclose(calibration.neg_log10_p(probes), -np.log10(expected), atol=tolerance)


def tied_scans(value, share, shift=0.0, width=1.0, seed=0):
    """Return normal scores of which a share is one value."""
    rng = np.random.default_rng(seed)
    free = rng.gamma(2.0, width, 200_000)
    return (np.concatenate([free, np.full(int(share * free.size), value)]) + shift).astype(np.float32)


def defined_p(pooled, scores):
    ascending = np.sort(pooled)
    return (1 + pooled.size - np.searchsorted(ascending, scores, "left")) / (1 + pooled.size)


TIES = [
    {"value": 7.6261234, "share": 0.04},
    {"value": 5.5, "share": 0.04},
    {"value": 1.2344999, "share": 1.0},
    {"value": 30.001, "share": 0.01},
    {"value": 0.0, "share": 0.5},
    {"value": 0.01, "share": 0.3, "width": 0.002, "shift": -100.0},
    {"value": 0.0, "share": 0.0, "width": 0.01, "shift": 100.0},
]


@pytest.mark.parametrize("ties", TIES, ids=str)
def test_tied_scores_count_all_of_their_tie(ties):
    pooled = tied_scans(**ties)
    calibration = calibrated([pooled])
    scores = np.unique(pooled)
    given = 10.0 ** -calibration.neg_log10_p(scores).astype(np.float64)
    # The table's knots are 1/1024 of the range of −log10 p apart.
    assert (given >= 10 ** (-calibration.resolved_neg_log10_p / 1000) * defined_p(pooled, scores)).all()
    for fpr in (0.1, 0.05, 0.01, 0.001):
        assert (calibration.neg_log10_p(pooled) >= np.float32(-np.log10(fpr))).mean() <= 1.005 * fpr


@pytest.mark.parametrize("ties", TIES, ids=str)
def test_the_bulk_of_normal_scores_is_resolved_to_a_thousandth_of_p(ties):
    pooled = tied_scans(**ties)
    scores = np.unique(pooled)
    given = 10.0 ** -calibrated([pooled]).neg_log10_p(scores).astype(np.float64)
    # Knots are 1/1024 apart in rank, too.
    assert (given >= defined_p(pooled, scores) - 1 / 1000).all()


@pytest.mark.parametrize("ties", TIES, ids=str)
def test_joined_calibrations_count_all_of_a_tie(ties):
    parts = [tied_scans(**ties), tied_scans(**{**ties, "share": 0.0}, seed=1)]
    pooled = np.concatenate(parts)
    joined = Calibration.joined([calibrated([part]) for part in parts])
    scores = np.unique(pooled)
    given = 10.0 ** -joined.neg_log10_p(scores).astype(np.float64)
    assert (given >= 10 ** (-2 * joined.resolved_neg_log10_p / 1000) * defined_p(pooled, scores)).all()


@pytest.mark.parametrize("factor", [2.0**-40, 2.0**40])
def test_the_unit_of_scores_has_no_influence(factor):
    scans = normal_scans()
    plain, scaled = calibrated(scans), calibrated([scores * np.float32(factor) for scores in scans])
    probes = np.linspace(0, 4 * plain.table_scores[-1], 1001).astype(np.float32)
    np.testing.assert_allclose(
        scaled.neg_log10_p(probes * np.float32(factor)), plain.neg_log10_p(probes), rtol=1e-5, atol=1e-6
    )


def test_a_shifted_tie_of_zeros_can_be_stored():
    shifted = calibrated([np.zeros(100, np.float32)]).shifted(0.7)
    again = Calibration.from_stored(shifted.arrays(), shifted.counts())
    assert again.neg_log10_p(np.array([0.7], np.float32)) == pytest.approx(0, abs=0.01)


def test_higher_scores_are_never_less_abnormal():
    calibration = calibrated(normal_scans())
    scores = np.linspace(-1, 50, 20_001).astype(np.float32)
    levels = calibration.neg_log10_p(scores)
    assert (np.diff(levels) >= 0).all()
    assert levels[0] == 0
    assert levels.max() <= MAX_NEG_LOG10_P
    beyond = calibration.table_scores[-1] + np.array([0.01, 0.02, 0.03])
    assert (np.diff(calibration.neg_log10_p(beyond)) > 0).all(), "regions beyond the table keep their order"


@pytest.mark.parametrize("at_once", [1, 7, 333, 999, 1000])
def test_how_many_scores_are_calibrated_at_a_time_changes_none(at_once, monkeypatch):
    calibration = calibrated(normal_scans(n_scans=1))
    scores = 1.5 * normal_scans(n_scans=1, n_voxels=1000, seed=1)[0].reshape(10, 100)
    whole = calibration.neg_log10_p(scores)
    monkeypatch.setattr("napari_dinoad.calibration.calibration._CHUNK", at_once)
    np.testing.assert_array_equal(calibration.neg_log10_p(scores), whole)


def exponential_scores(n, scale=1.0):
    """Return scores whose −log10 p, (1 + rank) / (1 + n), rises by 1 / (scale · ln 10) for each unit."""
    return (-scale * np.log((np.arange(n) + 2) / (n + 1))).astype(np.float32)


def rise_beyond(calibration, step):
    end = calibration.table_scores[-1]
    levels = calibration.neg_log10_p(np.array([end, end + step])).astype(np.float64)
    return float(levels[1] - levels[0]) / step


@pytest.mark.parametrize("n_voxels", [100, 200_000])
@pytest.mark.parametrize("scale", [0.01, 3.0])
def test_beyond_the_table_the_map_rises_as_the_highest_normal_scores_do(n_voxels, scale):
    calibration = calibrated([exponential_scores(n_voxels, scale)])
    assert rise_beyond(calibration, scale) == pytest.approx(1 / (scale * np.log(10)), rel=0.01)


def test_the_tail_of_few_voxels_does_not_rest_on_the_last_two():
    scores = exponential_scores(100)
    scores[0] = 1.001 * scores[1]
    assert rise_beyond(calibrated([scores]), 1.0) == pytest.approx(1 / np.log(10), rel=0.5)


def test_the_tail_hears_the_highest_thousandth_alone():
    bulk, tail = np.linspace(0, 1, 999_000, dtype=np.float32), 1 + exponential_scores(1000, 20.0)
    calibration = calibrated([np.concatenate([bulk, tail])])
    assert rise_beyond(calibration, 20.0) == pytest.approx(1 / (20 * np.log(10)), rel=0.1)


@pytest.mark.parametrize("fpr", [0.3, 1e-3, 1e-5, 1e-7, 1e-10])
def test_a_threshold_is_where_the_map_reaches_its_rate(fpr):
    """Within the table, and beyond the one voxel in a hundred thousand that it resolves."""
    calibration = calibrated([exponential_scores(100_000)])
    level = calibration.neg_log10_p(np.array([calibration.threshold(fpr)]))
    assert level == pytest.approx(-np.log10(fpr), abs=1e-5)


def test_scan_level_p_value_counts_scans():
    calibration = calibrated(normal_scans(n_scans=9))
    own = calibration.scan_scores
    assert calibration.n_scans == 9
    assert calibration.scan_p_value(own[-1] + 1) == pytest.approx(1 / 10)
    assert calibration.scan_p_value(own[0] - 1) == 1
    assert calibration.scan_p_value(own[4]) == pytest.approx((1 + 5) / 10)


def test_scan_p_values_of_normals_are_valid():
    """Over many cohorts a normal scan gets p ≤ α in at most a share α of them."""
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(400):
        scores = rng.normal(size=10)
        calibration = calibrated([np.full(3, s, np.float32) for s in scores[1:]], top_fraction=1)
        p_values.append(calibration.scan_p_value(float(np.float32(scores[0]))))
    p_values = np.array(p_values)
    for alpha in (0.1, 0.2, 0.5):
        assert (p_values <= alpha + 1e-9).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / 400)


def test_scan_score_is_the_mean_of_the_top():
    scores = np.arange(1000, dtype=np.float32)
    assert scan_score(scores, 0.01) == pytest.approx(np.arange(990, 1000).mean())
    assert scan_score(scores[:3], 0.01) == 2
    assert scan_score(scores[:175], 0.01) == (173 + 174) / 2  # 1.75 voxels are two
    assert scan_score(np.zeros(0, np.float32), 0.01) == float("-inf")


@pytest.mark.parametrize("top_fraction", [1e-3, 0.01, 0.3, 1.0])
def test_where_the_highest_scores_lie_in_a_scan_has_no_influence_on_its_own(top_fraction):
    scores = normal_scans(n_scans=1, n_voxels=2000)[0].reshape(10, 20, 10)
    as_it_was = scores.copy()
    n_top = round(2000 * top_fraction)
    wanted = np.sort(scores, axis=None)[-n_top:].mean(dtype=np.float64)
    assert scan_score(scores, top_fraction) == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_array_equal(scores, as_it_was)
    assert scan_score(scores, top_fraction, overwrite=True) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("fpr", [0, 1, -0.01, float("nan")])
def test_no_score_is_exceeded_by_none_or_by_all_normal_voxels(fpr):
    with pytest.raises(SettingError, match="false-positive rate"):
        calibrated(normal_scans(n_scans=1, n_voxels=100)).threshold(fpr)


def test_stored_and_rebuilt():
    calibration = calibrated(normal_scans())
    again = Calibration.from_stored(calibration.arrays(), calibration.counts())
    scores = np.random.default_rng(0).gamma(2, 0.2, 1000).astype(np.float32)
    np.testing.assert_array_equal(again.neg_log10_p(scores), calibration.neg_log10_p(scores))
    assert again.scan_p_value(0.9) == calibration.scan_p_value(0.9)
    assert len(calibration.table_scores) <= 2100


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_scores_do_not_break_it(value):
    calibration = calibrated([np.full(100, value, np.float32)])
    assert calibration.neg_log10_p(np.array([value], np.float32)) == pytest.approx(0, abs=0.01)
    assert calibration.neg_log10_p(np.array([value + 5], np.float32)) > 2, "nothing normal is as high"


@pytest.mark.parametrize(("value", "size"), [(0.0, 1e-6), (0.3, 0.3), (-4.0, 4.0)])
def test_above_constant_scores_one_by_their_size_higher_is_ten_times_as_rare(value, size):
    calibration = calibrated([np.full(100, value, np.float32)])
    assert calibration.neg_log10_p(np.array([value + size])) == pytest.approx(1, rel=1e-3)


def test_a_single_part_is_left_as_it_is():
    scores = normal_scans(n_scans=1)[0]
    assert fused_scores([scores], [calibrated(normal_scans())]) is scores


def test_fused_scores_are_free_of_the_parts_units():
    """A part's scores in another unit, or in any order-preserving form, fuse to the same."""
    one, other = normal_scans(seed=0), normal_scans(seed=1)
    patient = [scans[0][:500] * 1.2 for scans in (one, other)]
    plain = fused_scores(patient, [calibrated(one), calibrated(other)])
    stretched = calibrated([np.exp(4 * scores) for scores in other])
    changed = fused_scores([patient[0], np.exp(4 * patient[1])], [calibrated(one), stretched])
    inside = plain < 3
    # A key of the histogram is wider, as a share of the score, once that is an exponential.
    np.testing.assert_allclose(changed[inside], plain[inside], atol=0.02)
    assert plain.dtype == np.float32


def test_fused_scores_are_the_mean_of_neg_log10_p():
    parts = [normal_scans(seed=seed)[0][:1000] for seed in range(3)]
    calibrations = [calibrated(normal_scans(seed=seed)) for seed in range(3)]
    levels = [c.neg_log10_p(p) for c, p in zip(calibrations, parts, strict=True)]
    np.testing.assert_allclose(fused_scores(parts, calibrations), np.mean(levels, axis=0), rtol=1e-6)


def test_nothing_to_calibrate_with():
    with pytest.raises(ScorerError, match="at least one"):
        Calibration.from_histogram(ScoreHistogram.empty(), [])
    with pytest.raises(ScorerError, match="no body voxel"):
        calibrated([np.zeros(0, np.float32)])


@pytest.mark.parametrize(
    "fault",
    [
        "missing",
        "no peaks",
        "fewer peaks",
        "NaN",
        "shuffled",
        "tied",
        "shape",
        "falling",
        "flat tail",
        "complex",
    ],
)
def test_a_damaged_table_is_refused(fault):
    calibration = calibrated(normal_scans())
    arrays, counts = calibration.arrays(), calibration.counts()
    if fault == "missing":
        del arrays["scan_scores"]
    elif fault == "no peaks":
        del arrays["scan_peaks"]
    elif fault == "fewer peaks":
        arrays["scan_peaks"] = arrays["scan_peaks"][1:]
    elif fault == "NaN":
        arrays["scan_peaks"] = np.full_like(arrays["scan_peaks"], np.nan)
    elif fault == "shuffled":
        arrays["table_scores"] = arrays["table_scores"][::-1].copy()
    elif fault == "tied":
        arrays["table_scores"] = np.append(arrays["table_scores"][:1], arrays["table_scores"][:-1])
    elif fault == "falling":
        arrays["table_neg_log10_p"] = arrays["table_neg_log10_p"].copy()
        arrays["table_neg_log10_p"][-1] = 0.0
    elif fault == "flat tail":
        counts["tail_slope"] = 0.0
    elif fault == "complex":
        arrays["table_scores"] = arrays["table_scores"].astype(complex)
    else:
        arrays["table_neg_log10_p"] = arrays["table_neg_log10_p"][:-1]
    with pytest.raises(ModelFileError, match="Calibration"):
        Calibration.from_stored(arrays, counts)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_joined_by_counts_is_calibrated_on_all(shift):
    """Of two hospitals of unlike size and scores, as if all scans had been at hand."""
    here = normal_scans(n_scans=6)
    there = [scores + np.float32(shift) for scores in normal_scans(n_scans=3, n_voxels=10_000, seed=1)]
    joined = Calibration.joined([calibrated(here), calibrated(there)])
    wanted = calibrated([*here, *there])
    assert (joined.n_voxels, joined.n_scans) == (wanted.n_voxels, wanted.n_scans)
    np.testing.assert_array_equal(joined.scan_scores, wanted.scan_scores)
    np.testing.assert_array_equal(joined.scan_peaks, wanted.scan_peaks)
    probes = np.linspace(0, wanted.table_scores[-1], 5001).astype(np.float32)
    # The tables have knots at other places; among the highest few of 240,000 voxels that shows.
    np.testing.assert_allclose(joined.neg_log10_p(probes), wanted.neg_log10_p(probes), atol=0.06)
    assert (np.diff(joined.neg_log10_p(probes)) >= 0).all()
    again = Calibration.from_stored(joined.arrays(), joined.counts())
    assert again.method == "joined"


def test_joining_one_calibration_changes_nothing():
    own = calibrated(normal_scans())
    joined = Calibration.joined([own])
    probes = np.linspace(0, own.table_scores[-1], 1001).astype(np.float32)
    np.testing.assert_allclose(joined.neg_log10_p(probes), own.neg_log10_p(probes), atol=1e-6)


def test_a_shifted_calibration_is_that_of_shifted_scores():
    own = calibrated(normal_scans())
    probes = np.linspace(-1, 4, 1001)
    np.testing.assert_allclose(own.shifted(0.7).neg_log10_p(probes + 0.7), own.neg_log10_p(probes), atol=1e-6)
    assert own.shifted(0.7).scan_p_value(1.7) == own.scan_p_value(1.0)
    np.testing.assert_allclose(own.shifted(0.7).normal_peaks().levels, own.normal_peaks().levels, atol=1e-5)


def test_a_scaled_calibration_is_that_of_scaled_scores():
    own = calibrated([np.linspace(0, 1, 5000), np.linspace(0.5, 2, 5000)])
    probes = np.linspace(-1, 4, 101)

    def ratio(scores):
        return np.interp(scores, [0, 2], [0.4, 0.8])

    scaled = own.scaled(ratio)
    np.testing.assert_allclose(scaled.neg_log10_p(probes * ratio(probes)), own.neg_log10_p(probes), atol=1e-3)
    assert scaled.scan_p_value(0.59) == own.scan_p_value(0.99)
    # Of the two scans the one with the higher scores of its own has the lower peak here.
    turned = replace(own, scan_peaks=own.scan_peaks[::-1].copy()).scaled(ratio)
    np.testing.assert_allclose(turned.scan_peaks, [2 * 0.8, 1 * 0.6])


def of_scores(scan_scores, persons=None):
    """Return a calibration of scans that have these own scores, and are of these persons."""
    pooled = ScoreHistogram.of(np.asarray(scan_scores, np.float32))
    return Calibration.from_histogram(pooled, [OwnScores(one, one) for one in scan_scores], persons=persons)


def test_scans_of_one_person_count_as_one():
    """Persons 0 (scores 1, 5, 6), 1 (2) and 2 (3, 4)."""
    calibration = of_scores([5.0, 1.0, 6.0, 2.0, 4.0, 3.0], [0, 0, 0, 1, 2, 2])
    assert (calibration.n_scans, calibration.n_persons) == (6, 3)
    assert calibration.smallest_scan_p_value == 1 / 4
    wanted = {
        7.0: 1 / 4,
        6.0: (1 + 1 / 3) / 4,
        5.5: (1 + 1 / 3) / 4,
        5.0: (1 + 2 / 3) / 4,
        4.0: (1 + 2 / 3 + 1 / 2) / 4,
        3.0: (1 + 2 / 3 + 1) / 4,
        2.0: (1 + 2 / 3 + 1 + 1) / 4,
        1.0: 1.0,
        0.0: 1.0,
    }
    for score, p_value in wanted.items():
        assert calibration.scan_p_value(score) == pytest.approx(p_value, abs=1e-15), score
    assert calibration.scan_p_value(0.0) == 1, "twelve thirds are four"


def test_p_values_of_all_normal_scans_at_once():
    for scores, persons in (
        ([5.0, 1.0, 6.0, 2.0, 4.0, 3.0], [0, 0, 0, 1, 2, 2]),
        ([2.0, 1.0, 2.0, 1.0], [0, 1, 2, 2]),
    ):
        calibration = of_scores(scores, persons)
        one_by_one = [calibration.scan_p_value(score) for score in calibration.scan_scores]
        np.testing.assert_allclose(calibration.normal_scan_p_values(), one_by_one, rtol=1e-14)


def test_single_scans_count_one_each_and_are_stored_as_before():
    plain, single = of_scores([3.0, 1.0, 2.0]), of_scores([3.0, 1.0, 2.0], [7, 2, 5])
    assert single.scan_scores.tolist() == [1, 2, 3]
    assert "scan_weights" not in single.arrays()
    for score in (0.5, 1, 2, 2.5, 3, 4):
        assert single.scan_p_value(score) == plain.scan_p_value(score)


@pytest.mark.parametrize("n_scans", [3, 49, 98, 1000])
def test_a_person_of_any_number_of_scans_is_one(n_scans):
    """49 times a forty-ninth is less than 1 in floating point."""
    calibration = of_scores(np.linspace(1, 2, n_scans), [0] * n_scans)
    assert calibration.n_persons == 1
    assert calibration.smallest_scan_p_value == 1 / 2


def test_ties_of_several_persons():
    calibration = of_scores([2.0, 2.0, 2.0, 1.0], [0, 1, 1, 0])
    assert calibration.scan_p_value(2.0) == pytest.approx((1 + 1 / 2 + 1) / 3)


def test_weights_survive_storing_shifting_and_joining():
    one = of_scores([1.0, 2.0, 9.0], [0, 0, 1])
    again = Calibration.from_stored(one.arrays(), one.counts())
    joined = Calibration.joined([again.shifted(0.5), of_scores([0.0, 5.0], [0, 0]), of_scores([4.0])])
    assert (again.n_persons, joined.n_persons, joined.n_scans) == (2, 4, 6)
    for score in (0.5, 1.0, 1.5, 2.0, 9.0, 10.0):
        assert again.scan_p_value(score) == one.scan_p_value(score)
    assert joined.scan_p_value(4.5) == pytest.approx((1 + 1 + 1 / 2) / 5)
    assert joined.scan_p_value(2.5) == pytest.approx((1 + 1 / 2 + 1 + 1 / 2 + 1) / 5)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0.5, 2.0], [0.5, 0.5, np.nan]])
def test_damaged_weights_are_refused(weights):
    calibration = of_scores([1.0, 2.0, 3.0], [0, 0, 1])
    arrays = calibration.arrays() | {"scan_weights": np.array(weights)}
    with pytest.raises(ModelFileError, match="Calibration"):
        Calibration.from_stored(arrays, calibration.counts())


def test_scan_p_values_are_valid_where_persons_have_several_scans():
    """Also where those who come often differ from those who come once, and scans of a person are alike."""
    rng = np.random.default_rng(5)
    by_persons, by_scans = [], []
    n_cohorts = 2000
    for _ in range(n_cohorts):
        counts = rng.choice([1, 1, 6], 9)
        level = rng.normal(0, 1, 10) - 0.5 * (np.append(counts, rng.choice([1, 1, 6])) == 6)
        persons = np.repeat(np.arange(9), counts)
        scores = level[persons] + rng.normal(0, 0.05, persons.size)
        new = float(level[9] + rng.normal(0, 0.05))
        by_persons.append(of_scores(scores.tolist(), persons.tolist()).scan_p_value(new))
        by_scans.append(of_scores(scores.tolist()).scan_p_value(new))
    for alpha in (0.1, 0.2, 0.5):
        room = 3 * np.sqrt(alpha * (1 - alpha) / n_cohorts)
        assert np.mean(np.array(by_persons) <= alpha + 1e-9) <= alpha + room
    assert np.mean(np.array(by_scans) <= 0.1) > 0.1 + 3 * np.sqrt(0.09 / n_cohorts), (
        "scans are not exchangeable"
    )
