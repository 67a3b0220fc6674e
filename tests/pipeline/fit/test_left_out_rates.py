"""The rates of a calibration are those of persons who are not behind it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.calibration import Calibration, OwnScores
from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.pipeline.fit.held_out_scans import HeldOutScans, Level
from napari_dinoad.pipeline.fit.left_out_rates import LeftOutRates

N_VOXELS = 2000


def make_scan(rng, spread):
    """Return scores with a mean and a standard deviation of the scan's own."""
    width = np.exp(rng.normal(0, 0.3 * spread))
    return (10 + rng.normal(0, spread) + width * rng.standard_normal(N_VOXELS)).astype(np.float32)


def level_of(scans, persons=()):
    held_out = HeldOutScans(tuple(range(len(scans))), 0.01, "cross", persons=tuple(persons))
    return Level.of(held_out, scans.__getitem__)


def share_marked(calibration, scans, fpr):
    return float((calibration.neg_log10_p(np.stack(scans)) >= np.float32(-np.log10(fpr))).mean())


@pytest.mark.parametrize(("n_scans", "fpr", "spread"), [(5, 0.01, 1.0)])
def test_new_scans_are_marked_as_often_as_is_said_where_scans_differ(n_scans, fpr, spread):
    """Over 100 cohorts; counted as they are, the rates would be exceeded by far more than chance."""
    rates = {"counted": [], "corrected": []}
    for cohort in range(100):
        rng = np.random.default_rng([cohort, n_scans])
        level = level_of([make_scan(rng, spread) for _ in range(n_scans)])
        new = [make_scan(rng, spread) for _ in range(8)]
        rates["counted"].append(share_marked(level.calibration, new, fpr))
        rates["corrected"].append(share_marked(level.for_new_persons(), new, fpr))
    counted, corrected = (np.array(rates[name]) for name in ("counted", "corrected"))
    errors = [own.std() / np.sqrt(own.size) for own in (counted, corrected)]
    assert counted.mean() > fpr + 3 * errors[0]
    assert corrected.mean() == pytest.approx(fpr, abs=3 * errors[1])
    assert (corrected <= counted).all()


@pytest.mark.parametrize("n_scans", [2, 5, 12])
def test_p_is_raised_to_the_share_of_left_out_voxels_by_the_others_table(n_scans):
    rng = np.random.default_rng(n_scans)
    scans = [make_scan(rng, 1.0) for _ in range(n_scans)]
    level = level_of(scans)
    corrected = level.for_new_persons()
    levels = []
    for scan, scores in enumerate(scans):
        own = ScoreHistogram.of(scores)
        levels.append(np.repeat(level.without(scan, scores).neg_log10_p(own.values), own.counts))
    left_out = np.concatenate(levels)
    for table, given in zip(
        level.calibration.table_neg_log10_p[::25], corrected.table_neg_log10_p[::25], strict=True
    ):
        measured = (1 + np.count_nonzero(left_out >= table)) / (1 + left_out.size)
        # Levels are counted by thousandths.
        coarser = (1 + np.count_nonzero(left_out >= table - 0.001)) / (1 + left_out.size)
        assert given <= max(0.0, min(table, -np.log10(measured))) + 1e-9
        assert given >= max(0.0, min(table, -np.log10(coarser))) - 1e-9


def test_p_is_never_lowered_and_scores_keep_their_order():
    rng = np.random.default_rng(0)
    level = level_of([make_scan(rng, 1.0) for _ in range(6)])
    counted, corrected = level.calibration, level.for_new_persons()
    scores = np.linspace(0, 40, 5001).astype(np.float32)
    levels = corrected.neg_log10_p(scores)
    assert (np.diff(levels) >= 0).all()
    inside = scores <= counted.table_scores[-1]
    assert (levels <= counted.neg_log10_p(scores) + 1e-6)[inside].all()
    assert corrected.resolved_neg_log10_p < counted.resolved_neg_log10_p
    beyond = corrected.table_scores[-1] + np.array([0.0, 1.0, 2.0])
    assert (np.diff(corrected.neg_log10_p(beyond)) > 0).all()
    # What is said of whole scans stays, and the table can be stored.
    np.testing.assert_array_equal(corrected.scan_scores, counted.scan_scores)
    again = Calibration.from_stored(corrected.arrays(), corrected.counts())
    np.testing.assert_array_equal(again.table_neg_log10_p, corrected.table_neg_log10_p)


def test_among_scans_that_do_not_differ_next_to_nothing_changes():
    rng = np.random.default_rng(0)
    level = level_of([rng.standard_normal(20_000).astype(np.float32) for _ in range(20)])
    counted, corrected = level.calibration, level.for_new_persons()
    for fpr in (0.1, 0.05, 0.01, 0.001):
        assert corrected.threshold(fpr) == pytest.approx(counted.threshold(fpr), abs=0.03)


def test_persons_are_left_out_with_all_their_scans():
    rng = np.random.default_rng(0)
    heads = [make_scan(rng, 1.5) for _ in range(4)]
    scans = [head + rng.normal(0, 0.01, N_VOXELS).astype(np.float32) for head in heads for _ in range(3)]
    persons = [person for person in range(4) for _ in range(3)]
    by_person = level_of(scans, persons).for_new_persons()
    by_scan = level_of(scans).for_new_persons()
    assert by_person.threshold(0.01) > by_scan.threshold(0.01)
    rates = LeftOutRates()
    for person in range(4):
        is_own = np.array(persons) == person
        own, rest = (ScoreHistogram.of(np.stack(scans)[is_wanted].ravel()) for is_wanted in (is_own, ~is_own))
        rates.add(own, Calibration.from_histogram(rest, [OwnScores(0.0, 0.0)]))
    wanted = rates.corrected(level_of(scans, persons).calibration)
    np.testing.assert_array_equal(by_person.table_neg_log10_p, wanted.table_neg_log10_p)


@pytest.mark.parametrize("persons", [(), (0, 0)])
def test_a_single_person_is_compared_with_nobody(persons):
    rng = np.random.default_rng(0)
    level = level_of([make_scan(rng, 1.0) for _ in range(max(1, len(persons)))], persons)
    assert level.for_new_persons() is level.calibration
