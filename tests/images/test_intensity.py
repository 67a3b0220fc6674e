"""Percentiles of a scan's intensities."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.images import intensity
from napari_dinoad.images.intensity import sample_inside


def test_a_small_scan_gives_all_of_its_body():
    values = np.arange(24.0).reshape(2, 3, 4)
    body = values % 5 == 0
    assert np.array_equal(sample_inside(values, body), [0, 5, 10, 15, 20])


@pytest.mark.parametrize("shape", [(30, 60, 60), (31, 64, 48), (1, 300, 400)])
def test_a_large_scan_gives_voxels_of_all_rows_columns_and_slices(shape, monkeypatch):
    monkeypatch.setattr(intensity, "_SAMPLED_VOXELS", 20_000)
    for axis, n in enumerate(shape):
        place = np.broadcast_to(
            np.indices((n,))[0].reshape([-1 if a == axis else 1 for a in range(3)]), shape
        )
        sample = sample_inside(np.ascontiguousarray(place), np.ones(shape, bool))
        assert 10_000 < len(sample) <= 20_000 or len(sample) * 2 > place.size
        share = np.bincount(sample, minlength=n) / len(sample)
        np.testing.assert_allclose(share, 1 / n, rtol=0.2)


def test_percentiles_of_a_large_scan_are_near_those_of_all_its_voxels(monkeypatch):
    monkeypatch.setattr(intensity, "_SAMPLED_VOXELS", 100_000)
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 3.0, (60, 100, 100))
    body = rng.random(values.shape) < 0.7
    ranks = [
        np.mean(values[body] < cut) for cut in np.percentile(sample_inside(values, body), (0.5, 50, 99.5))
    ]
    np.testing.assert_allclose(ranks, (0.005, 0.5, 0.995), atol=0.005)
