"""What of a scan is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.pictures.slice_view import SliceView


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("is_physical", [True, False])
@pytest.mark.parametrize("part", [(slice(None), slice(None)), (slice(2, 9), slice(1, 7))])
@pytest.mark.parametrize("longer", [None, 1.2])
def test_places_in_a_panel_are_those_where_voxels_are_drawn(axis, is_physical, part, longer):
    shape = (11, 13, 10)
    geometry = (
        Geometry(shape[::-1], np.diag([1.0, 0.7, 2.0, 1.0])) if is_physical else Geometry.of_pixels(shape)
    )
    view = replace(SliceView.of_whole(geometry, axis), part=part)
    if longer is not None:
        view = replace(view, length=longer * view.longest)
    for voxel in ((3, 2), (8, 5)):
        values = np.zeros(shape, np.float32)
        place = list(voxel)
        place.insert(axis, 4)
        values[tuple(place)] = 1
        drawn = np.argwhere(view.show(values, 4, 200, smooth=False) > 0)
        middle = (drawn.min(axis=0) + drawn.max(axis=0) + 1) / 2
        np.testing.assert_allclose(view.to_panel(*voxel, 200), middle, atol=1)
        inner = drawn[(np.abs(drawn + 0.5 - middle) < np.ptp(drawn, axis=0) / 2 - 1).all(axis=1)]
        assert len(inner) > 10
        assert {view.from_panel(*pixel, 200) for pixel in inner.tolist()} == {voxel}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_voxels_have_their_proportions(axis):
    """(z, y, x) of 2 × 0.7 × 1.4 mm; the longer side of the slice fills the panel."""
    spacing, shape = (2.0, 0.7, 1.4), (11, 13, 10)
    view = SliceView.of_whole(Geometry(shape[::-1], np.diag([*spacing[::-1], 1.0])), axis)
    row_mm, column_mm = (step for other, step in enumerate(spacing) if other != axis)
    n_rows, n_columns = (n for other, n in enumerate(shape) if other != axis)
    height, width = np.ptp(np.argwhere(view.show(np.ones(shape), 3, 400, smooth=False) > 0), axis=0) + 1
    assert max(height, width) == 400
    assert height / width == pytest.approx(n_rows * row_mm / (n_columns * column_mm), rel=0.01)


def test_places_beside_the_picture_are_those_of_the_nearest_voxel():
    geometry = Geometry((10, 20, 30), np.eye(4))
    view = SliceView.of_whole(geometry, 0)
    assert view.from_panel(0, 0, 200) == (19, 9)
    assert view.from_panel(199, 199, 200) == (0, 0)


def test_planes_of_one_length_have_one_scale():
    geometry = Geometry((50, 60, 10), np.diag([1.0, 1.0, 2.0, 1.0]))
    sizes = []
    for axis in range(3):
        view = replace(SliceView.of_whole(geometry, axis), length=60.0)
        assert view.pixels_per_unit(120) == 2
        drawn = np.argwhere(view.show(np.ones(geometry.canonical_shape), 0, 120, smooth=False))
        sizes.append((np.ptp(drawn, axis=0) + 1).tolist())
    assert sizes == [[120, 100], [40, 100], [40, 120]]


def test_a_slice_in_bytes_is_shown_as_the_same_in_float():
    geometry = Geometry((9, 8, 7), np.eye(4))
    values = np.random.default_rng(0).integers(0, 2, geometry.canonical_shape)
    view = SliceView.of_whole(geometry, 1)
    plane = values[:, 3].astype(np.uint8)
    shown = view.show_plane(plane, 50, smooth=False)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, view.show(values, 3, 50, smooth=False))


def test_all_that_was_scored_is_shown():
    """Fat of a CT at −100 HU around tissue at 300, without the air and the table that were not scored."""
    geometry = Geometry((40, 30, 20), np.eye(4))
    values = np.full(geometry.canonical_shape, -1000.0, np.float32)
    values[3:17, 5:25, 6:34] = -100
    values[8:12, 12:18, 15:25] = 300
    scored = np.where(values > -1000, np.float32(0.1), np.float32(0))
    shown = [SliceView.of(AnomalyMap(scored, Volume(values, geometry, "ct")), axis).part for axis in range(3)]
    assert shown == [
        (slice(3, 27), slice(4, 36)),
        (slice(1, 19), slice(4, 36)),
        (slice(1, 19), slice(3, 27)),
    ]
