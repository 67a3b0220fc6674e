"""Moving the viewer to a voxel."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.gui.layers import layer_of_volume
from napari_dinoad.gui.viewer_parts import show_index
from napari_dinoad.phantom import make_patient


@pytest.fixture
def shown(make_napari_viewer):
    viewer = make_napari_viewer()
    volume = make_patient(11, "bright", (42, 64, 56), 3.5).volume
    array, arguments, _ = layer_of_volume(volume)
    return viewer, viewer.add_image(array, **arguments)


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
