"""Some voxels in place of all."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.images.values import sampling
from napari_dinoad.images.values.sampling import evenly_spread


@pytest.mark.parametrize("shape", [(10, 20, 30), (1, 64, 64), (7, 11, 13), (97,)])
@pytest.mark.parametrize("about", [50, 500, 10_000])
def test_so_many_are_left_and_none_is_taken_twice(shape, about):
    values = np.arange(np.prod(shape)).reshape(shape)
    taken = evenly_spread(values, about)
    assert len(set(taken.tolist())) == len(taken)
    assert len(taken) == values.size if values.size < 2 * about else about / 2 <= len(taken) <= 2 * about


def test_all_rows_and_columns_of_a_scan_are_walked_through():
    z, y, x = (evenly_spread(part, 4_000) for part in np.indices((32, 64, 64)))
    assert len(set(z)) == 32
    assert len(set(y)) == 64
    assert len(set(x)) == 64


@pytest.mark.parametrize("shape", [(8, 64, 64), (7, 60, 50), (30, 33, 31), (3, 3, 3)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_percentiles_for_display_hear_all_rows_and_columns(shape, axis, monkeypatch):
    """Of a scan that brightens from one side to the other, whatever the step divides."""
    monkeypatch.setattr(sampling, "_DISPLAY_VOXELS", 512)
    values = np.indices(shape)[axis].astype(np.float32) / (shape[axis] - 1)
    wanted = np.percentile(values, (10, 50, 90))
    np.testing.assert_allclose(sampling.display_percentiles(values, (10, 50, 90)), wanted, atol=0.1)
