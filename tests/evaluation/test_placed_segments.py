"""Segments on a smaller grid of their own lie on the scan's voxels, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_dinoad.errors import ScanReadError
from napari_dinoad.evaluation.placed_segments import mark_in_place
from napari_dinoad.images.volume import Geometry

GRID = Geometry((40, 30, 20), np.array([[0.5, 0, 0, -9], [0, 0.7, 0, 4], [0, 0, 3.0, 11], [0, 0, 0, 1]]))
CROP = (12, 9, 5)
"""Columns, rows and slices (x, y, z) of the segments."""


def moved(by=(0, 0, 0)):
    """Return voxels of the segments → voxels of the scan: from this one on."""
    to_scan = np.eye(4)
    to_scan[:3, 3] = by
    return to_scan


def placed(marked, to_scan, *, may_lack_slices=False):
    """Return the truth of segments (z, y, x)."""
    geometry = Geometry(marked.shape[::-1], GRID.affine @ to_scan)
    truth = np.zeros(GRID.canonical_shape, bool)
    mark_in_place(truth, marked, geometry, GRID, Path("seg.nrrd"), may_lack_slices=may_lack_slices)
    return truth


def ends():
    """Return a crop of which the first and the last voxel are marked."""
    marked = np.zeros(CROP[::-1], bool)
    marked[0, 0, 0] = marked[-1, -1, -1] = True
    return marked


def refused(marked, to_scan, told="another grid", **options):
    with pytest.raises(ScanReadError, match=told):
        placed(marked, to_scan, **options)


def test_a_crop_lies_at_its_place_and_adds_to_what_is_marked():
    marked = np.random.default_rng(0).random(CROP[::-1]) < 0.2
    truth = placed(marked, moved((7, 11, 3)))
    np.testing.assert_array_equal(truth[3:8, 11:20, 7:19], marked)
    assert truth.sum() == marked.sum()
    other = np.zeros_like(marked)
    other[0, 0, 0] = True
    geometry = Geometry(CROP, GRID.affine @ moved((0, 0, 1)))
    mark_in_place(truth, other, geometry, GRID, Path("seg.nrrd"))
    assert truth.sum() == marked.sum() + 1


@pytest.mark.parametrize("by", [(-4, 0, 0), (500, 0, 0), (0.5, 0.5, 0.5)])
def test_where_nothing_is_marked_the_grid_may_lie_anywhere(by):
    assert not placed(np.zeros(CROP[::-1], bool), moved(by)).any()


@pytest.mark.parametrize("axis", range(3))
def test_a_crop_may_reach_to_the_ends_of_the_scan_and_not_beyond(axis):
    for place, beyond in ((0, -1), (GRID.shape[axis] - CROP[axis], GRID.shape[axis] - CROP[axis] + 1)):
        by = [2, 2, 2]
        by[axis] = place
        assert placed(ends(), moved(by)).sum() == 2
        by[axis] = beyond
        refused(ends(), moved(by), "reaches beyond")


@pytest.mark.parametrize("axis", range(3))
def test_places_may_be_rounded_to_a_tenth_of_a_voxel(axis):
    by = np.full(3, 4.0)
    for off in (0.08, -0.08):
        np.testing.assert_array_equal(
            placed(ends(), moved(by + off * np.eye(3)[axis])), placed(ends(), moved(by))
        )
    for off in (0.15, -0.15, 0.5):
        refused(ends(), moved(by + off * np.eye(3)[axis]))


@pytest.mark.parametrize("along", range(3))
@pytest.mark.parametrize("axis", range(3))
def test_axes_may_part_by_a_tenth_of_a_voxel_over_all_segments(along, axis):
    """Turned, sheared, or with voxels of another size; of which one voxel alone says nothing."""
    marked = np.zeros(CROP[::-1], bool)
    marked[0, 0, 0] = True
    for off, is_taken in ((0.08, True), (-0.08, True), (0.15, False), (-0.15, False)):
        to_scan = moved((4, 4, 4))
        to_scan[axis, along] += off / CROP[along]
        if is_taken:
            assert np.argwhere(placed(marked, to_scan)).tolist() == [[4, 4, 4]]
        else:
            refused(marked, to_scan)


@pytest.mark.parametrize("axis", range(3))
def test_steps_along_one_axis_may_be_those_of_slices_that_are_held(axis):
    to_scan = moved((1, 1, 1))
    to_scan[axis, axis] = 2
    refused(ends(), to_scan)
    truth = placed(ends(), to_scan, may_lack_slices=True)
    last = [CROP[2], CROP[1], CROP[0]]
    last[2 - axis] = 2 * CROP[axis] - 1
    assert np.argwhere(truth).tolist() == [[1, 1, 1], last]
    to_scan[axis, axis] = 1.5
    between = np.zeros(CROP[::-1], bool)
    between[:2, :2, :2] = True
    refused(between, to_scan, may_lack_slices=True)
    other = (axis + 1) % 3
    to_scan[axis, axis] = to_scan[other, other] = 2
    refused(ends(), to_scan, may_lack_slices=True)
