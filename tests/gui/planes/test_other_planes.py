"""The planes beside the canvas: which they are, where clicks lead, and that nothing stays behind."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import napari
import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QPalette, QWheelEvent
from qtpy.QtWidgets import QDockWidget, QMainWindow

from dock_driver import TIMEOUT_MS, find_planted
from napari_dinoad.gui.canvas.framing import is_seen_whole
from napari_dinoad.gui.viewer.layers import layer_of_volume
from napari_dinoad.gui.viewer.mask_values import CHOSEN
from napari_dinoad.gui.viewer.viewer_parts import camera_of
from napari_dinoad.gui.work.processes import pool
from napari_dinoad.images.values.grey import to_grey
from napari_dinoad.images.volume import Geometry, Volume
from patience import at_rest


@pytest.fixture
def found(qtbot, ready, viewer):
    """Return the dock with three planted regions and the planes opened."""
    viewer.window._qt_window.show()
    find_planted(qtbot, ready)
    ready.masks.planes_box.click()
    qtbot.waitUntil(lambda: pictures_of(ready) != [], timeout=TIMEOUT_MS)
    return ready


def pictures_of(dock):
    """Return the pictures that are shown with a scene, by the axis they lie across."""
    view = dock.planes.view
    if view is None:
        return []
    return [
        axis
        for axis, picture in enumerate(view.pictures)
        if picture._scene is not None and picture.isVisible()
    ]


def drawn(picture):
    """Return what a picture shows, (rows, columns, 3)."""
    image = picture.grab().toImage().convertToFormat(picture.grab().toImage().Format.Format_RGB888)
    width, height = image.width(), image.height()
    pointer = image.constBits()
    if hasattr(pointer, "setsize"):
        pointer.setsize(image.sizeInBytes())
    rows = np.frombuffer(pointer, np.uint8).reshape(height, image.bytesPerLine())
    return rows[:, : 3 * width].reshape(height, width, 3).astype(int)


def n_of_heat(picture):
    """Return how many pixels have the heatmap's colours; letters and scale are yellow, the chosen region magenta."""
    pixels = drawn(picture)
    is_outline = (pixels == (255, 0, 255)).all(axis=-1)
    return int((~is_outline & (pixels[..., 0] - pixels[..., 1] > 45)).sum())


def docks_of(viewer):
    return [
        dock
        for dock in viewer.window._qt_window.findChildren(QDockWidget)
        if "Other planes" in dock.windowTitle()
    ]


def do_in_event_loop(qtbot, action):
    """Do something from within the event loop, as a user does.

    From outside of it, Qt 5 keeps what is to be deleted later until that loop has ended.
    """
    done = []
    QTimer.singleShot(0, lambda: done.append(action()))
    qtbot.waitUntil(lambda: bool(done), timeout=TIMEOUT_MS)


def point_of(dock, viewer):
    return dock.finder.found.shown_index(viewer)


@pytest.mark.parametrize(("order", "axes"), [((0, 1, 2), [1, 2]), ((1, 0, 2), [0, 2]), ((2, 0, 1), [0, 1])])
def test_the_planes_that_the_canvas_does_not_show_are_there(qtbot, found, viewer, order, axes):
    viewer.dims.order = order
    qtbot.waitUntil(lambda: pictures_of(found) == axes, timeout=TIMEOUT_MS)


@pytest.mark.filterwarnings("ignore:Contours are not displayed")
def test_in_3d_all_planes_are_there(qtbot, found, viewer):
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: pictures_of(found) == [0, 1, 2], timeout=TIMEOUT_MS)


def test_a_region_is_under_the_cross_of_both_planes(qtbot, found, viewer):
    region = found.finder.result.regions[0]
    found.finder.jump_to_region(region)
    view = found.planes.view
    qtbot.waitUntil(lambda: view.pictures[1]._scene.point == region.peak_zyx, timeout=TIMEOUT_MS)
    for axis in (1, 2):
        picture = view.pictures[axis]
        row, column = (index for a, index in enumerate(region.peak_zyx) if a != axis)
        y, x = picture._view.to_panel(row, column, picture._side)
        pixels = drawn(picture)
        around = pixels[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4]
        # The heatmap is red to yellow there; the scan is grey.
        assert (around[..., 0] - around[..., 2]).max() > 60
        left = pixels[round(y), : max(1, round(x) - 12)]
        assert ((left[:, 2] - left[:, 0]) > 20).mean() > 0.9, "the cross is cyan"


def test_a_click_in_a_plane_moves_the_viewer_there(qtbot, found, viewer):
    picture = found.planes.view.pictures[1]
    wanted = (5, point_of(found, viewer)[1], 30)
    y, x = picture._view.to_panel(wanted[0], wanted[2], picture._side)
    qtbot.mouseClick(picture, Qt.MouseButton.LeftButton, pos=QPoint(round(x), round(y)))
    assert point_of(found, viewer) == wanted
    qtbot.waitUntil(lambda: found.planes.view.pictures[2]._scene.point == wanted, timeout=TIMEOUT_MS)


def test_the_wheel_goes_through_the_slices_of_a_plane_and_stops_at_the_last(qtbot, found, viewer):
    picture = found.planes.view.pictures[2]
    start = point_of(found, viewer)

    def turn(notches):
        middle = QPointF(picture.rect().center())
        event = QWheelEvent(
            middle, middle, QPoint(), QPoint(0, 120 * notches), Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        picture.wheelEvent(event)
        qtbot.wait(60)

    turn(1)
    assert point_of(found, viewer) == (start[0], start[1], start[2] + 1)
    turn(500)
    assert point_of(found, viewer) == (start[0], start[1], found.finder.result.values.shape[2] - 1)


def seen_of(viewer):
    """Return how large the canvas is, and at which scale it shows."""
    return viewer.canvas.size, camera_of(viewer).zoom


def of_planes(viewer):
    """Return what the planes do when the canvas is pressed."""
    return [
        call for call in viewer.mouse_drag_callbacks if "OtherPlanes" in getattr(call, "__qualname__", "")
    ]


def press(viewer, world, *moves_px):
    """Press on the canvas at a place of the world, move by so many pixels, and release."""
    event = SimpleNamespace(
        type="mouse_press", button=1, modifiers=(), pos=np.array([100.0, 100.0]), position=tuple(world)
    )
    for callback in of_planes(viewer):
        steps = callback(viewer, event)
        next(steps, None)
        event.type = "mouse_move"
        for step in moves_px:
            event.pos = event.pos + step
            next(steps, None)
        event.type = "mouse_release"
        next(steps, None)


def test_a_click_on_the_canvas_moves_the_planes_and_a_drag_does_not(qtbot, found, viewer):
    layer = found.finder.found.layer
    z = point_of(found, viewer)[0]
    press(viewer, layer.data_to_world((z, 20, 22)))
    assert point_of(found, viewer) == (z, 20, 22)
    press(viewer, layer.data_to_world((z, 30, 31)), 1, 1)
    assert point_of(found, viewer) == (z, 30, 31)
    press(viewer, layer.data_to_world((z, 40, 41)), 1, 10, -11)
    assert point_of(found, viewer) == (z, 30, 31)


def test_a_click_that_paints_moves_nothing(qtbot, found, viewer):
    layer = found.finder.found.layer
    before = point_of(found, viewer)
    labels = viewer.add_labels(np.zeros(layer.data.shape, np.uint8), affine=layer.affine)
    labels.mode = "paint"
    press(viewer, layer.data_to_world((before[0], 20, 22)))
    assert point_of(found, viewer) == before


def test_grey_limits_of_the_layer_are_those_of_the_planes(qtbot, found, viewer):
    before = drawn(found.planes.view.pictures[1])
    layer = found.finder.found.layer
    low, high = layer.contrast_limits
    layer.contrast_limits = (low, low + (high - low) / 3)
    qtbot.waitUntil(
        lambda: drawn(found.planes.view.pictures[1]).mean() > before.mean() * 1.3, timeout=TIMEOUT_MS
    )


def test_the_mask_follows_rate_and_ticks(qtbot, found, viewer):
    result = found.finder.result
    found.finder.jump_to_region(result.regions[0])

    def n_outlined():
        return int((drawn(found.planes.view.pictures[1]) == (0, 230, 255)).all(axis=-1).sum())

    qtbot.waitUntil(lambda: n_outlined() > 0, timeout=TIMEOUT_MS)
    for row in range(found.result.table.topLevelItemCount()):
        found.result.table.topLevelItem(row).setCheckState(0, Qt.CheckState.Unchecked)
    qtbot.waitUntil(lambda: n_outlined() == 0, timeout=TIMEOUT_MS)


def test_the_region_that_is_chosen_in_the_table_has_its_colour_there_too(qtbot, found, viewer):
    table = found.result.table
    mask = found.finder.found.overlay.mask
    magenta = tuple(round(255 * float(part)) for part in mask.get_color(CHOSEN)[:3])
    picture = found.planes.view.pictures[1]

    def rows_of(colour):
        return np.flatnonzero((drawn(picture) == colour).all(axis=-1).any(axis=1))

    middles = []
    for row in (1, 2):
        table.setCurrentItem(table.topLevelItem(row))
        region = table.chosen_region()
        y, _ = picture._view.to_panel(region.peak_zyx[0], region.peak_zyx[2], picture._side)
        qtbot.waitUntil(lambda y=y: rows_of(magenta).size > 0 and abs(rows_of(magenta).mean() - y) < 12)
        assert rows_of((0, 230, 255)).size > 0, "the others keep theirs"
        middles.append(y)
    assert abs(middles[1] - middles[0]) > 24
    mask.visible = False
    qtbot.waitUntil(lambda: rows_of(magenta).size == 0)
    mask.visible = True
    qtbot.waitUntil(lambda: rows_of(magenta).size > 0)
    for row in range(table.topLevelItemCount()):
        table.topLevelItem(row).setCheckState(0, Qt.CheckState.Unchecked)
    qtbot.waitUntil(lambda: rows_of((0, 230, 255)).size == 0)
    assert rows_of(magenta).size > 0, "it is seen where it lies, as its row is read"


def test_other_values_of_the_layer_are_shown_without_the_result_of_those_before(qtbot, found, viewer):
    found.finder.jump_to_region(found.finder.result.regions[0])
    picture = found.planes.view.pictures[1]
    qtbot.waitUntil(lambda: n_of_heat(picture) > 0, timeout=TIMEOUT_MS)
    layer = found.finder.found.layer
    layer.data = layer.data * 2
    qtbot.waitUntil(lambda: n_of_heat(picture) == 0, timeout=TIMEOUT_MS)
    assert np.shares_memory(picture._scene.values, layer.data)
    assert not (drawn(picture) == (0, 230, 255)).all(axis=-1).any()


def test_the_dock_is_there_only_while_the_chosen_scan_has_other_planes(qtbot, found, viewer):
    volume = found.scan.layer
    (dock,) = docks_of(viewer)
    assert not dock.isHidden()
    picture = viewer.add_image(np.random.default_rng(0).random((64, 56)), name="picture")
    assert found.scan.layer is picture
    assert dock.isHidden() and found.planes.is_on
    found.scan.choose(volume)
    qtbot.waitUntil(lambda: pictures_of(found) == [1, 2], timeout=TIMEOUT_MS)
    assert not dock.isHidden()
    viewer.layers.clear()
    qtbot.waitUntil(dock.isHidden, timeout=TIMEOUT_MS)
    assert found.planes.is_on


def test_a_scan_that_is_seen_whole_still_is_when_the_planes_take_their_room(qtbot, ready, viewer):
    if not hasattr(viewer, "canvas"):
        pytest.skip("napari before 0.9 does not say how large its canvas is")
    viewer.window._qt_window.show()
    viewer.window.resize(1200, 800)
    layer = ready.scan.layer
    at_rest(qtbot, lambda: seen_of(viewer))
    viewer.reset_view()
    assert is_seen_whole(viewer, layer)
    height, zoom = viewer.canvas.size[0], camera_of(viewer).zoom
    ready.masks.planes_box.click()
    qtbot.waitUntil(lambda: viewer.canvas.size[0] < height, timeout=TIMEOUT_MS)
    qtbot.waitUntil(lambda: is_seen_whole(viewer, layer), timeout=TIMEOUT_MS)
    ready.masks.planes_box.click()
    qtbot.waitUntil(lambda: viewer.canvas.size[0] == height, timeout=TIMEOUT_MS)
    at_rest(qtbot, lambda: seen_of(viewer))
    camera_of(viewer).zoom = close = 4 * zoom
    ready.masks.planes_box.click()
    qtbot.waitUntil(lambda: viewer.canvas.size[0] < height, timeout=TIMEOUT_MS)
    at_rest(qtbot, lambda: seen_of(viewer))
    assert camera_of(viewer).zoom == close, "what is looked at closely stays in view"


@pytest.mark.parametrize("how", ["box", "dock", "hidden", "plugin"])
def test_a_scan_that_filled_the_canvas_does_again_when_the_planes_are_closed(qtbot, ready, viewer, how):
    if not hasattr(viewer, "canvas"):
        pytest.skip("napari before 0.9 does not say how large its canvas is")
    viewer.window._qt_window.show()
    viewer.window.resize(1200, 800)
    at_rest(qtbot, lambda: seen_of(viewer))
    viewer.reset_view()
    height, zoom = viewer.canvas.size[0], camera_of(viewer).zoom
    ready.masks.planes_box.click()
    qtbot.waitUntil(lambda: viewer.canvas.size[0] < height, timeout=TIMEOUT_MS)
    qtbot.waitUntil(lambda: camera_of(viewer).zoom < 0.9 * zoom, timeout=TIMEOUT_MS)
    if how == "box":
        ready.masks.planes_box.click()
    elif how == "plugin":
        viewer.window.remove_dock_widget(ready)
    elif how == "dock":
        docks_of(viewer)[-1].destroyOnClose()
    else:
        docks_of(viewer)[-1].close()
    qtbot.waitUntil(lambda: viewer.canvas.size[0] == height, timeout=TIMEOUT_MS)
    qtbot.waitUntil(lambda: camera_of(viewer).zoom > 0.9 * zoom, timeout=TIMEOUT_MS)


def test_what_is_looked_at_closely_stays_as_large_when_the_planes_are_closed(qtbot, ready, viewer):
    if not hasattr(viewer, "canvas"):
        pytest.skip("napari before 0.9 does not say how large its canvas is")
    viewer.window._qt_window.show()
    viewer.window.resize(1200, 800)
    at_rest(qtbot, lambda: seen_of(viewer))
    viewer.reset_view()
    height = viewer.canvas.size[0]
    ready.masks.planes_box.click()
    qtbot.waitUntil(lambda: viewer.canvas.size[0] < height, timeout=TIMEOUT_MS)
    at_rest(qtbot, lambda: seen_of(viewer))
    camera_of(viewer).zoom = close = 3 * camera_of(viewer).zoom
    ready.masks.planes_box.click()
    qtbot.waitUntil(lambda: viewer.canvas.size[0] == height, timeout=TIMEOUT_MS)
    at_rest(qtbot, lambda: seen_of(viewer))
    assert camera_of(viewer).zoom == close, "what is looked at closely stays as large"


def test_one_that_is_closed_comes_with_no_scan(found, viewer):
    volume = found.scan.layer
    viewer.add_image(np.random.default_rng(0).random((64, 56)), name="picture")
    found.planes.set_on(False)
    found.scan.choose(volume)
    assert not found.planes.is_on and not found.masks.planes_box.isChecked()


def test_where_a_volume_is_not_in_memory_the_dock_says_so(qtbot, found, viewer):
    da = pytest.importorskip("dask.array")
    viewer.add_image(da.random.random((8, 64, 56)), name="lazy", contrast_limits=(0, 1))
    qtbot.waitUntil(lambda: pictures_of(found) == [], timeout=TIMEOUT_MS)
    view = found.planes.view
    assert view.isVisible()
    roles = (QPalette.ColorRole.WindowText, QPalette.ColorRole.Window)
    words, ground = (view.palette().color(role).getRgb()[:3] for role in roles)
    n_apart = np.abs(np.subtract(words, ground)).max()
    assert np.ptp(drawn(view), axis=(0, 1)).max() > n_apart / 2, "the empty dock says what comes there"
    assert "not in memory" in view._words


@pytest.mark.parametrize("hidden", ["heatmap", "mask"])
def test_heatmap_and_mask_are_there_only_while_their_layers_are_shown(qtbot, found, viewer, hidden):
    found.finder.jump_to_region(found.finder.result.regions[0])

    def n_seen():
        picture = found.planes.view.pictures[1]
        is_outline = (drawn(picture) == (0, 230, 255)).all(axis=-1)
        return [n_of_heat(picture), int(is_outline.sum())]

    qtbot.waitUntil(lambda: min(n_seen()) > 0, timeout=TIMEOUT_MS)
    place = ["heatmap", "mask"].index(hidden)
    layer = getattr(found.finder.found.overlay, hidden)
    layer.visible = False
    qtbot.waitUntil(lambda: n_seen()[place] == 0)
    assert n_seen()[1 - place] > 0
    layer.visible = True
    qtbot.waitUntil(lambda: n_seen()[place] > 0, timeout=TIMEOUT_MS)


def test_pictures_that_cannot_be_seen_keep_no_scan_alive(qtbot, found, viewer):
    values = weakref.ref(found.finder.result.volume.values)
    # As behind another dock, of which it is a tab.
    docks_of(viewer)[-1].hide()
    viewer.layers.remove(found.finder.found.layer)
    pictures = found.planes.view.pictures
    qtbot.waitUntil(lambda: all(picture._scene is None for picture in pictures))
    assert found.planes.is_on
    # A worker process that waits for the next job remembers which scan it holds.
    pool.close()
    qtbot.waitUntil(lambda: gc.collect() is not None and values() is None)


@pytest.mark.parametrize("how", ["box", "dock", "hidden"])
def test_nothing_stays_when_the_planes_are_closed(qtbot, found, viewer, how):
    window = found.window()
    assert isinstance(window, QMainWindow)
    assert window.corner(Qt.Corner.BottomRightCorner) == Qt.DockWidgetArea.RightDockWidgetArea
    view, dock = found.planes.view, docks_of(viewer)[-1]
    close = {"box": found.masks.planes_box.click, "dock": dock.destroyOnClose, "hidden": dock.close}[how]
    gone = []
    view.destroyed.connect(lambda: gone.append(how))
    do_in_event_loop(qtbot, close)
    assert found.planes.view is None and not found.masks.planes_box.isChecked()
    assert window.corner(Qt.Corner.BottomRightCorner) == Qt.DockWidgetArea.BottomDockWidgetArea
    assert not of_planes(viewer)
    qtbot.waitUntil(lambda: gone == [how], timeout=TIMEOUT_MS)
    qtbot.waitUntil(lambda: not docks_of(viewer), timeout=TIMEOUT_MS)
    viewer.dims.point = viewer.dims.point
    found.masks.planes_box.click()
    qtbot.waitUntil(lambda: pictures_of(found) == [1, 2], timeout=TIMEOUT_MS)


def test_they_close_with_the_plugins_dock(qtbot, found, viewer):
    do_in_event_loop(qtbot, lambda: viewer.window.remove_dock_widget(found))
    qtbot.waitUntil(lambda: not docks_of(viewer), timeout=TIMEOUT_MS)
    assert not of_planes(viewer)


@pytest.fixture
def opened(qtbot, dock, viewer):
    """Return the dock with a volume in which nothing was found, of 30 × 60 × 40 mm (z, y, x), and the planes."""
    viewer.window._qt_window.show()
    values = np.random.default_rng(0).random((10, 60, 20)).astype(np.float32)
    viewer.add_image(values, scale=(3, 1, 2), name="scan")
    viewer.dims.set_current_step(0, 4)
    dock.masks.planes_box.click()
    qtbot.waitUntil(lambda: pictures_of(dock) == [1, 2], timeout=TIMEOUT_MS)
    return dock


def test_planes_need_no_result(qtbot, opened, viewer):
    scene = opened.planes.view.pictures[1]._scene
    assert np.shares_memory(scene.values, viewer.layers["scan"].data)
    assert scene.mask is None and scene.neg_log10_p is None
    picture = opened.planes.view.pictures[2]
    y, x = picture._view.to_panel(2, 7, picture._side)
    qtbot.mouseClick(picture, Qt.MouseButton.LeftButton, pos=QPoint(round(x), round(y)))
    qtbot.waitUntil(lambda: picture._scene.point[:2] == (2, 7), timeout=TIMEOUT_MS)


def test_a_millimetre_is_as_large_in_one_plane_as_in_the_other(qtbot, opened, viewer):
    def scales():
        pictures = [opened.planes.view.pictures[axis] for axis in pictures_of(opened)]
        return [picture._view.pixels_per_unit(picture._side) for picture in pictures]

    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        viewer.dims.order = order
        qtbot.waitUntil(lambda order=order: order[0] not in pictures_of(opened), timeout=TIMEOUT_MS)
        assert len(set(scales())) == 1


@pytest.mark.parametrize("is_own", [True, False])
def test_a_stack_in_colour_is_shown_in_its_colours(qtbot, opened, viewer, is_own):
    """Of the plugin's own layers and of others', whose axes lie as they are drawn."""
    colours = np.zeros((8, 64, 56, 3), np.uint8)
    colours[..., 0], colours[..., 2] = 200, np.arange(8)[:, None, None] * 20
    colours[:, :, :20] = (20, 160, 90)
    if is_own:
        geometry = Geometry((56, 64, 8), np.diag([1.0, 1.0, 3.0, 1.0]))
        volume = Volume(to_grey(colours), geometry, "coloured", full_scale=255.0, colours=colours)
        layer = viewer.add_layer(Layer.create(*layer_of_volume(volume)))
    else:
        layer = viewer.add_image(colours, name="coloured", rgb=True, scale=(3, 1, 1), units="mm")
    opened.scan.choose(layer)
    qtbot.waitUntil(lambda: pictures_of(opened) == [1, 2], timeout=TIMEOUT_MS)
    picture = opened.planes.view.pictures[1]
    qtbot.waitUntil(lambda: picture._scene.values.shape == (8, 64, 56, 3), timeout=TIMEOUT_MS)
    pixels, view, side = drawn(picture), picture._view, picture._side
    for z, x in ((1, 5), (6, 5), (1, 50), (6, 50)):
        row, column = (round(px) for px in view.to_panel(z, x, side))
        expected = picture._scene.values[z, 32, x]
        assert np.abs(pixels[row, column] - expected).max() <= 3, (z, x)
    assert pixels[2, 2].tolist() == [0, 0, 0], "beside the scan it is black"
    assert layer.rgb


def n_drawn(picture, layer, label=1):
    """Return how many pixels have the colour of a label."""
    colour = np.round(255 * np.asarray(layer.get_color(label)[:3]))
    return int((np.abs(drawn(picture) - colour).max(axis=-1) <= 1).sum())


def test_what_is_painted_is_outlined_while_it_is_painted_and_goes_when_it_is_undone(qtbot, opened, viewer):
    opened.masks.draw_button.click()
    layer = viewer.layers.selection.active
    viewer.dims.point = (12, 30, 20)
    pictures = [opened.planes.view.pictures[axis] for axis in (1, 2)]
    qtbot.waitUntil(lambda: pictures[0]._scene.point == (5, 29, 9), timeout=TIMEOUT_MS)
    assert all(n_drawn(picture, layer) == 0 for picture in pictures)
    layer.brush_size = 12
    layer.paint((4, 30, 10), 1)
    for picture in pictures:
        qtbot.waitUntil(lambda picture=picture: n_drawn(picture, layer) > 10)
    layer.undo()
    for picture in pictures:
        qtbot.waitUntil(lambda picture=picture: n_drawn(picture, layer) == 0)
    layer.paint((4, 30, 10), 2)
    qtbot.waitUntil(lambda: n_drawn(pictures[0], layer, 2) > 10)
    layer.visible = False
    qtbot.waitUntil(lambda: n_drawn(pictures[0], layer, 2) == 0)
    layer.visible = True
    qtbot.waitUntil(lambda: n_drawn(pictures[0], layer, 2) > 10)
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: n_drawn(pictures[0], layer, 2) == 0)


def test_a_plane_is_drawn_anew_only_where_another_slice_or_other_content_is_in_it(
    qtbot, opened, viewer, monkeypatch
):
    from napari_dinoad.gui.planes import planes_view

    axes = []
    picture = planes_view._picture
    monkeypatch.setattr(
        planes_view,
        "_picture",
        lambda scene, view, *sizes: axes.append(view.axis) or picture(scene, view, *sizes),
    )
    opened.masks.draw_button.click()
    layer = viewer.layers.selection.active
    qtbot.waitUntil(lambda: set(axes) == {1, 2}, timeout=TIMEOUT_MS)
    at_rest(qtbot, lambda: len(axes))

    def drawn_by(action, at_least):
        axes.clear()
        action()
        qtbot.waitUntil(lambda: set(axes) >= at_least)
        at_rest(qtbot, lambda: len(axes))
        return set(axes)

    assert drawn_by(lambda: viewer.dims.set_current_step(0, 7), set()) == set()
    assert opened.planes.view.pictures[1]._scene.point[0] == 2, "the cross is there"
    x, y = viewer.dims.point[2], viewer.dims.point[1]
    assert drawn_by(lambda: setattr(viewer.dims, "point", (21, y, x + 4)), {2}) == {2}
    assert drawn_by(lambda: layer.paint((7, 3, 3), 1), {1, 2}) == {1, 2}
    assert drawn_by(layer.undo, {1, 2}) == {1, 2}


def test_steps_and_strokes_are_seen_in_the_same_frame_as_on_the_canvas(qtbot, opened, viewer):
    """Each frame of a window with a canvas costs: one that comes later for the planes alone would double that."""
    opened.masks.draw_button.click()
    layer = viewer.layers.selection.active
    picture = opened.planes.view.pictures[1]
    at_rest(qtbot, lambda: picture._scene.version)
    viewer.dims.set_current_step(0, 7)
    assert picture._scene.point[0] == 2
    before = picture._scene.version
    layer.paint((7, 3, 3), 1)
    assert picture._scene.version > before


def test_there_is_nothing_to_choose_for_a_single_image(qtbot, dock, viewer, model_path):
    viewer.add_layer(napari.layers.Image(np.random.default_rng(0).random((64, 56)), name="image"))
    dock.normal.choose(model_path)
    dock.find.scan_button.click()
    qtbot.waitUntil(lambda: dock.finder.result is not None, timeout=TIMEOUT_MS)
    assert dock.masks.planes_box.isHidden()
