"""A scan that is opened or chosen comes into view, and what is looked at closely stays in view where it can."""

from __future__ import annotations

import warnings

import napari.components
import numpy as np
import pytest

from napari_dinoad.gui.canvas.framing import fills_canvas, is_seen_whole
from napari_dinoad.gui.viewer.layers import layer_of_volume
from napari_dinoad.gui.viewer.viewer_parts import camera_of
from napari_dinoad.images.volume import Geometry, Volume
from patience import at_rest

napari_with_canvas = pytest.mark.skipif(
    "canvas" not in napari.components.ViewerModel.model_fields,
    reason="napari before 0.9 does not say how large its canvas is",
)


def add_scan(viewer, shape=(20, 64, 56), first_mm=(0.0, 0.0, 0.0), step_mm=2.0):
    """Open a scan that begins at a place (x, y, z); return its layer."""
    affine = np.diag([step_mm, step_mm, step_mm, 1.0])
    affine[:3, 3] = first_mm
    geometry = Geometry(shape[::-1], affine)
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    array, arguments, _ = layer_of_volume(Volume(values, geometry, name=f"at {first_mm} of {step_mm}"))
    return viewer.add_image(array, **arguments)


def view_of(viewer):
    """Return the corners (2, 2) of what the canvas shows."""
    half = np.asarray(viewer.canvas.size) / (2 * camera_of(viewer).zoom)
    centre = np.asarray(camera_of(viewer).center)[-2:]
    return centre - half, centre + half


def seen_of(viewer):
    """Return how large the canvas is, and at which scale it shows."""
    return viewer.canvas.size, camera_of(viewer).zoom


def is_seen(viewer, layer):
    """Whether all of a layer is seen, in one of its slices, and not small."""
    low, high = np.asarray(layer.extent.world)
    (view_low, view_high), point = view_of(viewer), viewer.dims.point
    in_slice = low[0] - 1 <= point[0] <= high[0] + 1
    fills = ((high[1:] - low[1:]) / (view_high - view_low)).max()
    return in_slice and np.all(view_low <= low[1:]) and np.all(high[1:] <= view_high) and fills > 0.5


@napari_with_canvas
@pytest.mark.parametrize(
    "other",
    [
        {"first_mm": (300.0, 0.0, 0.0)},
        {"first_mm": (0.0, 0.0, 200.0)},
        {"first_mm": (70.0, 70.0, 10.0)},
        {"step_mm": 0.5},
        {"step_mm": 8.0},
    ],
)
def test_a_scan_of_another_place_or_size_comes_into_view(dock, viewer, other):
    first = add_scan(viewer)
    assert is_seen(viewer, first)
    second = add_scan(viewer, **other)
    assert is_seen(viewer, second)
    box = dock.scan.layers.native
    box.setCurrentIndex(box.findText(first.name))
    assert dock.scan.layer is first
    assert is_seen(viewer, first)


@napari_with_canvas
def test_a_picture_comes_into_view_after_a_volume_and_a_volume_after_it(dock, viewer):
    volume = add_scan(viewer, first_mm=(0.0, 0.0, 100.0))
    pixels = np.random.default_rng(0).random((1, 300, 400), dtype=np.float32)
    array, arguments, _ = layer_of_volume(Volume(pixels, Geometry.of_pixels((300, 400)), name="picture"))
    with warnings.catch_warnings():
        # Millimetres beside pixels: napari says so.
        warnings.simplefilter("ignore")
        picture = viewer.add_image(array, **arguments)
    low, high = view_of(viewer)
    assert np.all(low < 0) and np.all(high > (299, 399))
    assert np.all(high - low < (600, 800))
    box = dock.scan.layers.native
    box.setCurrentIndex(box.findText(volume.name))
    assert is_seen(viewer, volume)
    assert not picture.visible


@napari_with_canvas
def test_in_3d_a_scan_of_another_place_comes_into_view(dock, viewer):
    add_scan(viewer)
    viewer.dims.ndisplay = 3
    second = add_scan(viewer, first_mm=(300.0, 40.0, 90.0), step_mm=1.0)
    low, high = np.asarray(second.extent.world)
    np.testing.assert_allclose(camera_of(viewer).center, (low + high) / 2)
    height, width = viewer.canvas.size
    assert 0.5 * min(height, width) < camera_of(viewer).zoom * (high - low).max() < min(height, width)


@napari_with_canvas
def test_a_scan_of_the_same_place_leaves_slice_and_camera_as_they_are(dock, viewer):
    first = add_scan(viewer)
    viewer.dims.set_current_step(0, 4)
    before = viewer.dims.point, camera_of(viewer).center, camera_of(viewer).zoom
    add_scan(viewer)
    assert (viewer.dims.point, camera_of(viewer).center, camera_of(viewer).zoom) == before
    camera_of(viewer).zoom *= 4
    camera_of(viewer).center = (0.0, -90.0, -70.0)
    before = camera_of(viewer).center, camera_of(viewer).zoom
    third = add_scan(viewer, shape=(16, 50, 50), first_mm=(4.0, 4.0, 4.0))
    assert (camera_of(viewer).center, camera_of(viewer).zoom) == before
    box = dock.scan.layers.native
    box.setCurrentIndex(box.findText(first.name))
    assert (camera_of(viewer).center, camera_of(viewer).zoom) == before
    assert third in viewer.layers
    elsewhere = add_scan(viewer, first_mm=(400.0, 0.0, 0.0))
    assert is_seen(viewer, elsewhere)


def test_the_point_that_is_looked_at_lies_in_the_scan_also_along_the_axes_on_display(dock, viewer):
    first = add_scan(viewer)
    viewer.dims.point = np.asarray(first.extent.world)[1] - 2
    seen = viewer.dims.point
    add_scan(viewer)
    assert viewer.dims.point == seen, "it lies in this one too"
    second = add_scan(viewer, first_mm=(300.0, 0.0, -10.0))
    low, high = np.asarray(second.extent.world)
    assert np.all((low <= viewer.dims.point) & (viewer.dims.point <= high))
    middle = (low + high) / 2
    assert abs(viewer.dims.point[2] - middle[2]) <= 2, "planes through it cut the head, not its edge"


@napari_with_canvas
def test_layers_of_others_do_not_move_the_camera(dock, viewer):
    first = add_scan(viewer)
    before = viewer.dims.point, camera_of(viewer).center, camera_of(viewer).zoom
    piece = viewer.add_image(np.random.default_rng(1).random((20, 64, 56)), translate=(0, 500, 500))
    assert dock.scan.layer is piece
    assert (viewer.dims.point, camera_of(viewer).center, camera_of(viewer).zoom) == before
    assert first.visible


def test_what_shows_around_a_scan_is_hidden_with_it(dock, viewer):
    wide = add_scan(viewer, shape=(20, 80, 80))
    narrow = add_scan(viewer, shape=(20, 40, 40), first_mm=(40.0, 40.0, 0.0))
    assert narrow.visible
    assert not wide.visible
    alike = add_scan(viewer, shape=(20, 41, 41), first_mm=(40.0, 40.0, 0.0))
    # It is not seen: whoever hides the upper one to compare them sees it at once.
    assert narrow.visible
    assert alike.visible
    beside = add_scan(viewer, first_mm=(400.0, 0.0, 0.0))
    assert alike.visible
    box = dock.scan.layers.native
    box.setCurrentIndex(box.findText(wide.name))
    assert [wide.visible, narrow.visible, alike.visible, beside.visible] == [True, False, False, True]


@napari_with_canvas
@pytest.mark.parametrize("is_close", [False, True])
def test_a_scan_that_is_seen_whole_still_is_when_the_dock_takes_its_room(
    qtbot, make_napari_viewer, own_folders, patient, is_close
):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 700)
    (layer,) = viewer.open(str(patient), plugin="napari-dinoad")
    at_rest(qtbot, lambda: seen_of(viewer))
    viewer.reset_view()
    if is_close:
        camera_of(viewer).zoom *= 4
    assert is_seen_whole(viewer, layer) != is_close
    width, zoom = viewer.canvas.size[1], camera_of(viewer).zoom
    viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    qtbot.waitUntil(lambda: viewer.canvas.size[1] < width)
    at_rest(qtbot, lambda: seen_of(viewer))
    assert is_seen_whole(viewer, layer) != is_close
    assert (camera_of(viewer).zoom == zoom) == is_close, "what is looked at closely stays in view"


@napari_with_canvas
def test_the_first_scan_is_seen_whole_beside_its_controls(qtbot, make_napari_viewer, own_folders):
    """They are wider than those of no layer: the canvas was narrower just after the scan had been fitted to it."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    at_rest(qtbot, lambda: seen_of(viewer))
    width = viewer.canvas.size[1]
    layer = add_scan(viewer, shape=(20, 40, 120))
    qtbot.waitUntil(lambda: viewer.canvas.size[1] < width)
    qtbot.waitUntil(lambda: is_seen(viewer, layer))


@napari_with_canvas
@pytest.mark.parametrize("is_close", [False, True])
def test_a_scan_fills_the_window_also_when_that_becomes_smaller_or_larger(
    qtbot, make_napari_viewer, own_folders, is_close
):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    layer = add_scan(viewer, shape=(20, 64, 70))
    at_rest(qtbot, lambda: seen_of(viewer))
    if is_close:
        camera_of(viewer).zoom *= 4
    zoom = camera_of(viewer).zoom
    for width, height in ((1000, 700), (1400, 900)):
        before = viewer.canvas.size
        viewer.window.resize(width, height)
        qtbot.waitUntil(lambda before=before: viewer.canvas.size != before)
        at_rest(qtbot, lambda: seen_of(viewer))
        if is_close:
            assert camera_of(viewer).zoom == zoom, "what is looked at closely stays in view"
        else:
            assert fills_canvas(viewer, layer)


@napari_with_canvas
def test_a_scan_fills_the_canvas_when_the_dock_floats_and_when_it_is_closed(
    qtbot, make_napari_viewer, own_folders
):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 800)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    layer = add_scan(viewer, shape=(20, 40, 120))
    at_rest(qtbot, lambda: seen_of(viewer))
    assert fills_canvas(viewer, layer)
    for is_floating in (True, False):
        width = viewer.canvas.size[1]
        dock.setFloating(is_floating)
        qtbot.waitUntil(lambda before=width: viewer.canvas.size[1] != before)
        at_rest(qtbot, lambda: seen_of(viewer))
        assert fills_canvas(viewer, layer)
    width = viewer.canvas.size[1]
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: viewer.canvas.size[1] > width)
    at_rest(qtbot, lambda: seen_of(viewer))
    assert fills_canvas(viewer, layer)


@napari_with_canvas
def test_a_scan_that_comes_while_the_canvas_changes_fills_it_too(qtbot, make_napari_viewer, own_folders):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    at_rest(qtbot, lambda: seen_of(viewer))
    sizes = []
    viewer.canvas.events.size.connect(lambda event: sizes.append(event.value))
    viewer.window.resize(1300, 850)
    qtbot.waitUntil(lambda: bool(sizes))
    layer = add_scan(viewer, shape=(20, 64, 70))
    width = viewer.canvas.size[1]
    viewer.window.resize(1000, 700)
    qtbot.waitUntil(lambda: viewer.canvas.size[1] < width)
    at_rest(qtbot, lambda: seen_of(viewer))
    assert fills_canvas(viewer, layer)


@napari_with_canvas
def test_a_scan_that_is_chosen_while_the_canvas_changes_stays_in_view(qtbot, make_napari_viewer, own_folders):
    """Of two that were opened together the camera went back to the first, and the larger one was cut off."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    small = add_scan(viewer, shape=(20, 64, 70))
    at_rest(qtbot, lambda: seen_of(viewer))
    assert fills_canvas(viewer, small)
    opened = []

    def open_larger(event):
        if not opened:
            opened.append(add_scan(viewer, shape=(20, 96, 105)))

    viewer.canvas.events.size.connect(open_larger)
    viewer.window.resize(1150, 780)
    qtbot.waitUntil(lambda: bool(opened))
    at_rest(qtbot, lambda: seen_of(viewer))
    assert is_seen(viewer, opened[0])
