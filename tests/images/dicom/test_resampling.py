"""Uneven or tilted slices on an even stack."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.images.dicom.resampling import resample_slices

TILT = np.array([[0, 0, 0], [1, 0.25, 0], [2, 0.5, 0], [3, 1.5, 0]])
"""Slice, row and column at which slices lie; those of a gantry tilted about the columns."""


def stack(n=4, rows=8, columns=7):
    """Slices that are even in their plane: interpolation changes none of their pixels."""
    return np.full((n, rows, columns), 100, np.float32) + np.arange(n, dtype=np.float32)[:, None, None]


@pytest.mark.parametrize("trace", [0.0, 1e-12, -1e-12, 5e-4, -5e-4])
@pytest.mark.parametrize("axis", [1, 2])
def test_traces_of_a_shift_lose_no_row_or_column(trace, axis):
    """Positions are rounded: of slices a trace beside the first one the last column, or the first, was cut off."""
    offsets = TILT[:, [0, axis, 3 - axis]].copy()
    offsets[1:, 3 - axis] += trace
    values, before = resample_slices(stack(), offsets)
    assert before == (0, 0)
    assert values.shape == ((4, 10, 7) if axis == 1 else (4, 8, 9))
    inside = np.moveaxis(values, axis, 1)[:, 2:7]
    np.testing.assert_allclose(inside, np.broadcast_to(stack(4, 1, 1), inside.shape), rtol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_values_that_are_linear_in_space_lie_where_they_lay(seed):
    """Interpolation is exact for them, in the plane and across slices, whatever the slices' places."""
    rng = np.random.default_rng(seed)
    n, rows, columns = 5, 12, 11
    offsets = rng.uniform(-1.9, 1.9, (n, 3))
    offsets[:, 0] = np.cumsum([0, 0.8, 1.3, 0.9, 1.4])
    offsets[0] = 0

    def scan(s, row, column):
        return 100 + 7 * s + 3 * row - 2 * column

    grid = np.indices((rows, columns))
    slices = np.stack([scan(s, grid[0] + r, grid[1] + c) for s, r, c in offsets]).astype(np.float32)
    values, before = resample_slices(slices, offsets)
    assert len(values) == 5
    shifts = offsets[:, 1:]
    first = np.ceil(shifts.max(axis=0)).astype(int)
    last = np.floor(shifts.min(axis=0) + np.array([rows - 1, columns - 1])).astype(int)
    s, row, column = np.ogrid[:5, first[0] : last[0] + 1, first[1] : last[1] + 1]
    inside = values[:, first[0] + before[0] :, first[1] + before[1] :][:, : row.size, : column.size]
    np.testing.assert_allclose(inside, scan(s, row, column), atol=1e-3)


def test_where_a_slice_that_is_shifted_by_a_part_of_a_pixel_does_not_reach_is_the_lowest_value():
    values, before = resample_slices(stack(2), np.array([[0, 0, 0], [1, 1.5, -2.5]]))
    assert before == (0, 3) and values.shape == (2, 10, 10)
    assert (values[1, :1] == 100).all() and (values[1, :, 8:] == 100).all()
    assert (values[0, 8:] == 100).all() and (values[0, :, :3] == 100).all()
    np.testing.assert_allclose(values[1, 2:9, 1:7], 101)


def test_slices_between_two_are_their_mean_by_distance():
    values, _ = resample_slices(stack(3), np.array([[0, 0, 0], [0.5, 0, 0], [2.5, 0, 0]]))
    np.testing.assert_allclose(values[:, 0, 0], [100, 101.25, 101.75])


def test_slices_shifted_by_whole_pixels_are_taken_as_they_are():
    slices = np.random.default_rng(0).random((3, 5, 6), np.float32)
    values, before = resample_slices(slices, np.array([[0, 0, 0], [1, -2, 1], [2, 1, 3]]))
    assert before == (2, 0)
    assert values.shape == (3, 5 + 2 + 1, 6 + 3)
    for one, value, (row, column) in zip(slices, values, [(2, 0), (0, 1), (3, 3)], strict=True):
        np.testing.assert_array_equal(value[row : row + 5, column : column + 6], one)
        outside = np.ones(value.shape, bool)
        outside[row : row + 5, column : column + 6] = False
        assert (value[outside] == slices.min()).all()
