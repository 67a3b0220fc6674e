"""What is fused of held-out scans holds its rate on scans yet to come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from added_keys import added_keys
from napari_dinoad.calibration import Calibration, OwnScores, fused_scores
from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.errors import Cancelled, DinoadError
from napari_dinoad.images.slices import SliceStack
from napari_dinoad.pipeline.fit.held_out_scans import HeldOutPlane, HeldOutScans, HeldOutScores, Level
from napari_dinoad.pipeline.slices.slice_smoothing import SliceSmoothing, averaging_like

TOP_FRACTION = 0.01
N_COHORTS = 30


class FakeScan:
    """Every patch is a body voxel."""

    def body_scores(self, patch_scores):
        return patch_scores.ravel()


class FakeCache:
    def __init__(self, n_scans):
        self.scans = [FakeScan()] * n_scans


def make_scan(rng, n_patches=600):
    """Return the raw scores of two scorers that agree in part; scans differ from each other."""
    shift = rng.normal(0, 0.15)
    shared = rng.normal(size=(1, 30, n_patches // 30))
    own = rng.normal(size=(2, 1, 30, n_patches // 30))
    one, other = (0.6 * shared + 0.8 * part + shift for part in own)
    return {"dpmm": np.exp(one).astype(np.float32), "ar-cnn": (100 * other).astype(np.float32)}


def held_out_scans(scans, progress=None):
    return HeldOutScans(tuple(scans), TOP_FRACTION, "cross", progress)


def as_counted(scans):
    """Return the calibration on the body scores (n,) of scans, each of a person of its own."""
    pooled = ScoreHistogram.of(np.concatenate(scans))
    return Calibration.from_histogram(pooled, [OwnScores.of(scores, TOP_FRACTION) for scores in scans])


def calibrated(folder, rng, n_scans, scorers=("dpmm", "ar-cnn")):
    held_out = HeldOutScores(folder)
    for scan in range(n_scans):
        for name, scores in make_scan(rng).items():
            held_out.put("axial", name, scan, scores)
    return HeldOutPlane("axial", scorers, FakeCache(n_scans), held_out, held_out_scans(range(n_scans)))


@pytest.mark.parametrize("n_scans", [4, 10])
def test_the_rate_holds_on_scans_yet_to_come(tmp_path, n_scans):
    """Over many cohorts; the tolerance is three standard errors of the mean over cohorts."""
    rates = []
    for cohort in range(N_COHORTS):
        rng = np.random.default_rng(cohort)
        folder = tmp_path / str(cohort)
        folder.mkdir()
        plane = calibrated(folder, rng, n_scans)
        calibrations = [level.calibration for level in plane.members.values()]
        new = [fused_scores(list(make_scan(rng).values()), calibrations) for _ in range(10)]
        levels = plane.level.calibration.neg_log10_p(np.stack(new))
        rates.append([(levels >= -np.log10(fpr)).mean() for fpr in (0.1, 0.01)])
    for fpr, measured in zip((0.1, 0.01), np.transpose(rates), strict=True):
        assert measured.mean() == pytest.approx(fpr, abs=3 * measured.std() / np.sqrt(N_COHORTS))


def test_what_is_fused_of_a_scan_uses_calibrations_on_the_others(tmp_path):
    plane = calibrated(tmp_path, np.random.default_rng(0), 4)
    rng = np.random.default_rng(0)
    scans = [make_scan(rng) for _ in range(4)]
    others = [as_counted([scans[i][name].ravel() for i in (0, 1, 3)]) for name in ("dpmm", "ar-cnn")]
    own = [scores.ravel() for scores in scans[2].values()]
    np.testing.assert_array_equal(plane.body_scores(2), fused_scores(own, others))
    everyone = [level.calibration for level in plane.members.values()]
    assert not np.array_equal(plane.body_scores(2), fused_scores(own, everyone))


def test_one_scorer_is_calibrated_as_it_is(tmp_path):
    plane = calibrated(tmp_path, np.random.default_rng(0), 5, scorers=("dpmm",))
    assert plane.level is plane.members["dpmm"]
    expected = np.concatenate([plane.body_scores(scan) for scan in range(5)])
    fresh = [make_scan(np.random.default_rng(0))["dpmm"] for _ in range(1)]
    assert np.isin(fresh[0].ravel(), expected).all()
    assert plane.level.pooled.total == expected.size
    assert sorted(plane.level.scan_scores) == [0, 1, 2, 3, 4]


class StackedScan(FakeScan):
    """Twenty slices, 2 mm apart."""

    def body(self):
        return None

    stack = SliceStack((20, 8, 8), 0, tuple(range(20)), is_turned=True, spacing_mm=2.0)


def noisy_slices(rng):
    """Return patch scores (n, gh, gw) with a part that goes on from slice to slice and one that does not."""
    lasting = rng.normal(size=(1, 8, 8)) * 0.5
    return (rng.normal(0, 0.1) + lasting + rng.normal(size=(20, 8, 8))).astype(np.float32)


def test_averaged_slices_and_single_ones_hold_their_rates(tmp_path):
    """Over many cohorts; the tolerance is three standard errors of the mean over cohorts."""
    smoothing = SliceSmoothing(range(20), 2.0, 5.0)
    averaged_rates, single_rates, confused = [], [], []
    for cohort in range(N_COHORTS):
        rng = np.random.default_rng(cohort)
        folder = tmp_path / str(cohort)
        folder.mkdir()
        scores, cache = HeldOutScores(folder), FakeCache(0)
        cache.scans = [StackedScan()] * 8
        for scan in range(8):
            scores.put("axial", "dpmm", scan, noisy_slices(rng))
        held_out = HeldOutScans(tuple(range(8)), TOP_FRACTION, "cross", None, 5.0)
        plane = HeldOutPlane("axial", ["dpmm"], cache, scores, held_out)
        model = plane.model({"dpmm": None})
        new = [noisy_slices(rng) for _ in range(10)]
        whole = np.stack([smoothing.smoothed(scan) for scan in new])
        single = np.stack(new)
        averaged_rates.append((model.calibration.neg_log10_p(whole) >= 2).mean())
        single_rates.append((model.for_single_slices.calibration.neg_log10_p(single) >= 2).mean())
        confused.append((model.calibration.neg_log10_p(single) >= 2).mean())
    for rates in (averaged_rates, single_rates):
        assert np.mean(rates) == pytest.approx(0.01, abs=3 * np.std(rates) / np.sqrt(N_COHORTS))
    assert np.mean(confused) > 0.05, "single slices by the table of averaged ones would claim far too much"


def test_a_cohort_of_single_slices_is_calibrated_once(tmp_path):
    scores, cache = HeldOutScores(tmp_path), FakeCache(0)
    scan = StackedScan()
    scan.stack = SliceStack((1, 8, 8), 0, (0,), is_turned=True, spacing_mm=2.0)
    cache.scans = [scan, scan]
    for number in range(2):
        scores.put("axial", "dpmm", number, np.full((1, 8, 8), number, np.float32))
    held_out = HeldOutScans((0, 1), TOP_FRACTION, "cross", None, 5.0)
    plane = HeldOutPlane("axial", ["dpmm"], cache, scores, held_out)
    assert plane.alone is None
    model = plane.model({"dpmm": None})
    assert model.alone is None
    assert model.for_single_slices is model


def test_single_images_among_volumes_do_not_calibrate_averaged_slices(tmp_path):
    scores, cache = HeldOutScores(tmp_path), FakeCache(0)
    image = StackedScan()
    image.stack = SliceStack((1, 8, 8), 0, (0,), is_turned=True, spacing_mm=2.0)
    cache.scans = [image, StackedScan(), image, StackedScan()]
    rng = np.random.default_rng(0)
    values = [noisy_slices(rng)[: len(scan.stack.indices)] for scan in cache.scans]
    for number, own in enumerate(values):
        scores.put("axial", "dpmm", number, own)
    held_out = HeldOutScans((0, 1, 2, 3), TOP_FRACTION, "cross", None, 5.0)
    plane = HeldOutPlane("axial", ["dpmm"], cache, scores, held_out)
    assert (plane.level.calibration.n_scans, plane.alone.level.calibration.n_scans) == (2, 4)
    assert plane.level.pooled.total == 2 * 20 * 64
    assert plane.alone.level.pooled.total == 2 * (20 + 1) * 64

    class Mean:
        def add(self, stack, indices, body, levels):
            self.levels = levels

    # Fused over planes, too, each by the table of its kind, without itself.
    for number, kind in ((0, plane.alone), (1, plane)):
        fused = Mean()
        plane.add_to(fused, number)
        raw = kind.body_scores(number)
        assert np.array_equal(fused.levels, kind.level.without(number, raw).neg_log10_p(raw))
    # The cohort report compares all scans with each other: volumes as if their slices were single images, too.
    assert plane.level.scan_scores[1] < plane.alone.level.scan_scores[1]
    assert plane.scan_scores == plane.alone.level.scan_scores
    assert sorted(plane.scan_scores) == [0, 1, 2, 3]


def test_scans_that_are_all_averaged_are_compared_by_averaged_scores(tmp_path):
    scores, cache = HeldOutScores(tmp_path), FakeCache(0)
    cache.scans = [StackedScan()] * 3
    rng = np.random.default_rng(0)
    for number in range(3):
        scores.put("axial", "dpmm", number, noisy_slices(rng))
    plane = HeldOutPlane(
        "axial", ["dpmm"], cache, scores, HeldOutScans((0, 1, 2), TOP_FRACTION, "cross", None, 5.0)
    )
    assert plane.scan_scores == plane.level.scan_scores != plane.alone.scan_scores


@pytest.mark.parametrize(("n_thin", "n_thick", "usual"), [(2, 5, 6.0), (5, 2, 2.0), (3, 4, 6.0), (4, 3, 2.0)])
def test_how_much_noise_is_usual_is_what_is_left_in_most_scans(tmp_path, n_thin, n_thick, usual):
    thin, thick = StackedScan(), StackedScan()
    thick.stack = SliceStack((7, 8, 8), 0, tuple(range(7)), is_turned=True, spacing_mm=6.0)
    scores, cache = HeldOutScores(tmp_path), FakeCache(0)
    cache.scans = [thin] * n_thin + [thick] * n_thick
    rng = np.random.default_rng(0)
    for number, scan in enumerate(cache.scans):
        scores.put("axial", "dpmm", number, noisy_slices(rng)[: len(scan.stack.indices)])
    held_out = HeldOutScans(tuple(range(len(cache.scans))), TOP_FRACTION, "cross", None, 5.0)
    plane = HeldOutPlane("axial", ["dpmm"], cache, scores, held_out)
    stack = (thin if usual == 2.0 else thick).stack
    assert plane.noise_share == SliceSmoothing(stack.indices, usual, 5.0).noise_share


def test_volumes_of_thicker_slices_hold_their_rate_in_a_mixed_cohort(tmp_path):
    """Averaging leaves more noise where slices lie farther apart; the tolerance is three standard errors."""
    thin, thick = StackedScan(), StackedScan()
    thick.stack = SliceStack((7, 8, 8), 0, tuple(range(7)), is_turned=True, spacing_mm=6.0)
    rates = {"thin": [], "thick": []}
    for cohort in range(N_COHORTS):
        rng = np.random.default_rng(cohort)
        folder = tmp_path / str(cohort)
        folder.mkdir()
        scores, cache = HeldOutScores(folder), FakeCache(0)
        cache.scans = [thin] * 6 + [thick] * 4
        for number, scan in enumerate(cache.scans):
            step = 1 if scan is thin else 3
            scores.put("axial", "dpmm", number, noisy_slices(rng)[::step])
        held_out = HeldOutScans(tuple(range(10)), TOP_FRACTION, "cross", None, 5.0)
        plane = HeldOutPlane("axial", ["dpmm"], cache, scores, held_out)
        model = plane.model({"dpmm": None})
        assert (plane.level.calibration.n_scans, plane.alone.level.calibration.n_scans) == (6, 10)
        assert averaging_like(thick.stack.indices, 6.0, 5.0, model.noise_share) is None
        new = [noisy_slices(rng) for _ in range(10)]
        averaging = averaging_like(range(20), 2.0, 5.0, model.noise_share)
        averaged = np.stack([averaging.smoothed(scan) for scan in new])
        rates["thin"].append((model.calibration.neg_log10_p(averaged) >= 2).mean())
        single = np.stack([scan[::3] for scan in new])
        rates["thick"].append((model.for_single_slices.calibration.neg_log10_p(single) >= 2).mean())
    for measured in rates.values():
        assert np.mean(measured) == pytest.approx(0.01, abs=3 * np.std(measured) / np.sqrt(N_COHORTS))


def test_what_is_fused_with_others_is_fused_as_counted(tmp_path):
    """And corrected after that: the held-out scans were fused so."""
    names = ("dpmm", "ar-cnn")
    plane = calibrated(tmp_path, np.random.default_rng(0), 5)
    whole, part = (plane.model(dict.fromkeys(names), is_whole=is_whole) for is_whole in (True, False))
    assert part.calibration is plane.level.calibration
    assert (whole.calibration.table_neg_log10_p < part.calibration.table_neg_log10_p).any()
    for member, name in zip(whole.members, names, strict=True):
        assert member.calibration is plane.members[name].calibration
    single = calibrated(tmp_path, np.random.default_rng(0), 5, scorers=names[:1]).model({"dpmm": None})
    assert single.members[0].calibration is single.calibration


def test_a_scan_does_not_calibrate_itself():
    scans = {scan: np.full(50, float(scan), np.float32) for scan in range(1, 5)}
    level = Level.of(held_out_scans(scans), scans.__getitem__)
    rest = level.without(4, scans[4])
    assert rest.n_voxels == 150
    assert rest.table_scores[-1] < 4
    assert rest.scan_scores.tolist() == [1, 2, 3]


def test_a_person_does_not_calibrate_itself():
    """By none of its scans, whichever is asked for, and also where other scans were asked for in between."""
    scans = {scan: np.full(50, float(scan), np.float32) for scan in range(6)}
    held_out = replace(held_out_scans(scans), persons=(0, 1, 2, 2, 1, 2))
    level = Level.of(held_out, scans.__getitem__)
    for scan in (2, 3, 1, 5, 4, 2):
        rest = level.without(scan, scans[scan])
        others = [other for other in scans if held_out.persons[other] != held_out.persons[scan]]
        wanted = as_counted([scans[other] for other in others])
        assert rest.n_voxels == 50 * len(others)
        np.testing.assert_array_equal(rest.table_scores, wanted.table_scores)
        assert rest.scan_scores.tolist() == others
        assert rest.n_persons == 2


def test_scan_scores_of_one_person_count_as_one():
    scans = {scan: np.full(50, float(scan), np.float32) for scan in range(4)}
    level = Level.of(replace(held_out_scans(scans), persons=(0, 1, 1, 0)), scans.__getitem__)
    assert level.calibration.n_persons == 2
    assert level.calibration.scan_p_value(1.5) == (1 + 1 / 2 + 1 / 2) / 3


def test_the_only_person_has_no_other():
    scans = {scan: np.arange(100, dtype=np.float32) + scan for scan in range(2)}
    level = Level.of(replace(held_out_scans(scans), persons=(0, 0)), scans.__getitem__)
    assert level.without(1, scans[1]) is level.calibration


def test_a_single_scan_has_no_other():
    scores = np.arange(100, dtype=np.float32)
    level = Level.of(held_out_scans([3]), lambda scan: scores)
    assert level.without(3, scores) is level.calibration


def test_calibrating_can_be_cancelled():
    def cancel(event):
        assert (event.stage, event.total) == ("Calibrating", 9)
        if event.done == 2:
            raise Cancelled("stop")

    seen = []
    with pytest.raises(Cancelled):
        Level.of(held_out_scans(range(9), cancel), lambda scan: seen.append(scan) or np.ones(3, np.float32))
    assert seen == [0, 1]


def test_held_out_scores_that_cannot_be_written_are_told(tmp_path):
    scores = HeldOutScores(tmp_path / "gone")
    with pytest.raises(DinoadError, match=r"Cannot write .*axial-dpmm-000003"):
        scores.put("axial", "dpmm", 3, np.zeros((2, 3, 3), np.float32))


def test_work_of_calibrating_grows_as_the_number_of_scans(monkeypatch):
    rng = np.random.default_rng(0)
    numbers = added_keys(monkeypatch)
    work = []
    for n in (64, 128):
        del numbers[:]
        Level.of(held_out_scans(range(n)), lambda scan: 10 ** rng.uniform(-3, 1, 256).astype(np.float32))
        work.append(sum(numbers))
    assert work[1] < 2.5 * work[0]  # sums that hold all before: 4 times
