"""Per-region overlap against a threshold-by-threshold computation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_dinoad.errors import ScorerError, SettingError
from napari_dinoad.evaluation import RegionOverlap, aupro


def _by_definition(maps: list[np.ndarray], truths: list[np.ndarray], limit: float) -> float:
    """Threshold by threshold, region by region."""
    normal = np.concatenate([m[t == 0] for m, t in zip(maps, truths, strict=True)])
    regions = []
    for scores, truth in zip(maps, truths, strict=True):
        labels, n = ndimage.label(truth, np.ones((3,) * truth.ndim))
        regions += [scores[labels == i + 1] for i in range(n)]
    thresholds = np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]
    fpr = [0.0, *(np.mean(normal >= t) for t in thresholds)]
    overlap = [0.0, *(np.mean([np.mean(region >= t) for region in regions]) for t in thresholds)]
    # Many fine steps, each straight: independent of how the last piece is cut.
    grid = np.linspace(0, limit, 200_001)
    # np.interp takes the last of several points at one place, as a curve that jumps there should.
    return float(np.trapezoid(np.interp(grid, fpr, overlap), grid) / limit)


def _maps(seed: int, shape: tuple[int, ...] = (24, 20)) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    truths = [ndimage.gaussian_filter(rng.normal(size=shape), 1.5) > 0.22 for _ in range(3)]
    truths[1][:] = False
    maps = [ndimage.gaussian_filter(rng.normal(size=shape) + 2.0 * t, 1.0).astype(np.float32) for t in truths]
    return maps, truths


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_area_agrees_with_the_definition(seed: int, limit: float) -> None:
    maps, truths = _maps(seed)
    assert aupro(maps, truths, limit, bits=32) == pytest.approx(_by_definition(maps, truths, limit), abs=2e-4)


def test_volumes_have_3d_regions() -> None:
    maps, truths = _maps(4, (8, 12, 10))
    assert aupro(maps, truths, 0.3, bits=32) == pytest.approx(_by_definition(maps, truths, 0.3), abs=2e-4)


def test_every_region_counts_the_same() -> None:
    truth = np.zeros((20, 20), dtype=bool)
    truth[2:12, 2:12] = True
    truth[16, 16] = True
    found_large = np.where(truth & (np.arange(20) < 14), 1.0, 0.0)
    found_small = np.where(truth & (np.arange(20) >= 14), 1.0, 0.0)
    large, small = (RegionOverlap.of(scores, truth).curve()[1][1] for scores in (found_large, found_small))
    assert large == pytest.approx(0.5)
    assert small == pytest.approx(0.5)


def test_perfect_and_blind_maps() -> None:
    truth = np.zeros((10, 10), dtype=bool)
    truth[3:5, 3:5] = True
    assert aupro([truth.astype(float)], [truth]) == pytest.approx(1.0)
    # One threshold only: the straight line of chance.
    assert aupro([np.zeros((10, 10))], [truth], 0.3) == pytest.approx(0.15)
    assert aupro([1.0 - truth], [truth], 0.3) == pytest.approx(0.0)


def test_sum_does_not_depend_on_the_order_of_maps() -> None:
    maps, truths = _maps(5)
    forth = aupro(maps, truths)
    assert aupro(iter(maps[::-1]), iter(truths[::-1])) == pytest.approx(forth, rel=1e-12)


def test_weights_sum_to_the_number_of_regions() -> None:
    maps, truths = _maps(6)
    overlap = RegionOverlap.of(maps[0], truths[0]) + RegionOverlap.of(maps[2], truths[2])
    assert overlap.weights.sum() == pytest.approx(overlap.n_regions)
    fpr, share = overlap.curve()
    assert fpr[-1] == pytest.approx(1.0)
    assert share[-1] == pytest.approx(1.0)
    assert np.all(np.diff(fpr) >= 0) and np.all(np.diff(share) >= 0)


def test_undefined_is_nan_and_wrong_input_is_refused() -> None:
    scores, none, every = np.zeros((4, 4)), np.zeros((4, 4)), np.ones((4, 4))
    assert np.isnan(aupro([scores], [none]))
    assert np.isnan(aupro([scores], [every]))
    assert np.isnan(aupro([], []))
    assert np.isnan(RegionOverlap.of(scores, none).curve()[1]).all()
    assert np.isnan(RegionOverlap.of(scores, every).curve()[0]).all()
    with pytest.raises(SettingError, match="as many truths"):
        aupro([scores], [])
    with pytest.raises(SettingError, match="expected the scores' shape"):
        aupro([scores], [np.zeros((4, 5))])
    for limit in (0.0, -0.3, 1.5):
        with pytest.raises(SettingError, match="limit"):
            aupro([scores], [every], limit)
    with pytest.raises(ScorerError, match="NaN"):
        aupro([np.full((4, 4), np.nan)], [none])
