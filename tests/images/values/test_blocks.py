"""A scan in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.images.values.blocks import blocks


@pytest.mark.parametrize("about", [1, 5, 9, 20, 63, 200, 10_000])
@pytest.mark.parametrize("shape", [(9, 5, 7), (1, 30, 20), (30, 1, 20), (4, 9, 1)])
def test_blocks_are_the_whole_in_its_order(shape, about):
    values = np.arange(np.prod(shape)).reshape(shape)
    parts = [values[where] for where in blocks(shape, about)]
    np.testing.assert_array_equal(np.concatenate([part.ravel() for part in parts]), values.ravel())
    assert max(part.size for part in parts) <= max(about, shape[2])
