"""What a model file says of itself before it is read as a model."""

from __future__ import annotations

import pytest

from napari_dinoad.normative_model.format import are_volumes


@pytest.mark.parametrize(
    ("n_slices", "n_planes", "expected"), [(20, 1, True), (19, 1, False), (60, 3, True), (59, 3, False)]
)
def test_normal_scans_of_two_slices_on_average_are_volumes(n_slices, n_planes, expected):
    assert are_volumes(10, n_slices, n_planes) == expected
