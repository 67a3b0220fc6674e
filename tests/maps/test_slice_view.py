"""What of a scan is shown."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.maps import slice_view
from napari_dinoad.maps.slice_view import display_percentiles


@pytest.mark.parametrize("shape", [(8, 64, 64), (7, 60, 50), (30, 33, 31), (3, 3, 3)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_percentiles_for_display_hear_all_rows_and_columns(shape, axis, monkeypatch):
    """Of a scan that brightens from one side to the other, whatever the step divides."""
    monkeypatch.setattr(slice_view, "_SAMPLED_VOXELS", 512)
    values = np.indices(shape)[axis].astype(np.float32) / (shape[axis] - 1)
    wanted = np.percentile(values, (10, 50, 90))
    np.testing.assert_allclose(display_percentiles(values, (10, 50, 90)), wanted, atol=0.1)
