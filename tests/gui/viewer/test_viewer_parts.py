"""Moving the viewer to a voxel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_dinoad.gui.viewer.layers import layer_of_volume
from napari_dinoad.gui.viewer.viewer_parts import camera_of, point_in_layer, show_index
from napari_dinoad.phantom import make_patient


@pytest.fixture
def shown(make_napari_viewer):
    viewer = make_napari_viewer()
    volume = make_patient(11, "bright", (42, 64, 56), 3.5).volume
    array, arguments, _ = layer_of_volume(volume)
    return viewer, viewer.add_image(array, **arguments)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_voxel_of_a_turned_layer_is_where_napari_draws_it(make_napari_viewer, order):
    viewer = make_napari_viewer(show=True)
    values = np.zeros((30, 40, 50), np.float32)
    index = (21, 12, 37)
    values[index] = 1
    turn = Rotation.from_euler("xyz", (10, 15, 20), degrees=True).as_matrix()
    layer = viewer.add_image(values, scale=(3, 2, 2), rotate=turn, translate=(5, -9, 30))
    viewer.dims.order = order
    viewer.reset_view()
    show_index(viewer, layer, index)
    np.testing.assert_allclose(point_in_layer(viewer, layer)[order[0]], index[order[0]], atol=0.5)
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., 0]
    rows, columns = np.nonzero(picture > 200)
    assert len(rows), "the slice with the voxel is shown"
    camera = camera_of(viewer)
    middle = np.array([rows.mean(), columns.mean()]) - (np.array(picture.shape) - 1) / 2
    world = np.array(viewer.dims.point, dtype=float)
    world[list(order[1:])] = np.array(camera.center)[-2:] + middle / camera.zoom
    np.testing.assert_allclose(point_in_layer(viewer, layer, world), index, atol=0.6)


def test_a_jump_slices_no_more_often_than_the_slider(shown):
    viewer, layer = shown
    sliced = []
    layer.events.set_data.connect(lambda event: sliced.append(event))
    viewer.dims.set_current_step(0, 9)
    by_slider = len(sliced)
    sliced.clear()
    for z in range(12, 20):
        show_index(viewer, layer, (z, 20, 30))
        np.testing.assert_allclose(layer.world_to_data(viewer.dims.point), (z, 20, 30), atol=1e-4)
    assert 0 < len(sliced) <= 8 * by_slider
