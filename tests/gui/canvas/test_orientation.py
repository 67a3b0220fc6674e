"""The letters at the edges of the canvas: what they say, when they change, when they go."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from contrast import AA, contrast
from napari_dinoad.gui.canvas.orientation import OrientationLetters, letters_at_edges
from napari_dinoad.gui.viewer.layers import layer_of_volume, source_layer
from napari_dinoad.gui.viewer.viewer_parts import camera_of, grid_of
from napari_dinoad.images.volume import Geometry, Volume

PLACES = ("top_center", "bottom_center", "middle_left", "middle_right")

RAS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def make_layer(viewer):
    affine = np.array([[0, 0, -2.0, 5], [1.0, 0, 0, -3], [0, -1.0, 0, 8], [0, 0, 0, 1]])
    geometry = Geometry((4, 5, 6), affine)
    volume = Volume(np.random.default_rng(0).random(geometry.canonical_shape, np.float32), geometry)
    return viewer.add_layer(Layer.create(*layer_of_volume(volume))), geometry


def overlays_of(viewer):
    if not hasattr(viewer, "canvas"):
        pytest.skip("napari before 0.9 shows no text of plugins on its canvas")
    return viewer.canvas.overlays


def seen_at(viewer):
    """Return the letters on the canvas: top, bottom, left, right; empty where there is none."""
    overlays = [overlays_of(viewer)[f"dinoad_{place}"] for place in PLACES]
    return "".join(overlay.text if overlay.visible else "" for overlay in overlays)


@pytest.fixture
def with_scan(dock, viewer):
    """Return the viewer with the dock and a scan whose orientation is known."""
    viewer.open_sample("napari-dinoad", "normal")
    return viewer


@pytest.mark.parametrize(
    ("order", "letters"), [((0, 1, 2), "APRL"), ((1, 0, 2), "SIRL"), ((2, 0, 1), "SIAP"), ((0, 2, 1), "RLAP")]
)
@pytest.mark.parametrize("flipped", [(), (2,), (0, 1)])
def test_letters_say_where_the_affine_leads(order, letters, flipped):
    viewer = ViewerModel()
    layer, geometry = make_layer(viewer)
    layer.scale = [-1.0 if axis in flipped else 1.0 for axis in range(3)]
    viewer.dims.order = order
    shown = letters_at_edges(viewer, layer)
    assert "".join(shown) == letters or flipped
    down, right = viewer.dims.displayed
    for axis, towards in ((down, shown[1]), (right, shown[3])):
        start, step = np.zeros(3), np.zeros(3)
        step[axis] = 1.0
        indices = [layer.world_to_data(point) for point in (start, step)]
        ras = [geometry.canonical_to_world(np.asarray(index)) for index in indices]
        change = ras[1] - ras[0]
        axis_ras, sign = RAS[towards]
        assert change[axis_ras] * sign > 0


def test_letters_follow_a_mirrored_view():
    viewer = ViewerModel()
    layer, _ = make_layer(viewer)
    for orientation, letters in {
        ("down", "right"): "APRL",
        ("down", "left"): "APLR",
        ("up", "right"): "PARL",
        ("up", "left"): "PALR",
    }.items():
        camera_of(viewer).orientation2d = orientation
        assert "".join(letters_at_edges(viewer, layer)) == letters


@pytest.mark.parametrize(
    ("change", "letters"),
    [
        ({"scale": (1, 1, -1)}, "APLR"),
        ({"scale": (1, -1, 1)}, "PARL"),
        ({"rotate": 180}, "PALR"),
        ({"rotate": 90}, "LRAP"),
        ({"rotate": 30}, "APRL"),
        ({"affine": np.diag([1.0, 1.0, 1.0, 1.0])}, "PALR"),
    ],
)
def test_letters_follow_a_layer_that_was_turned(change, letters):
    viewer = ViewerModel()
    layer, _ = make_layer(viewer)
    if "rotate" in change:
        # In the plane of an axial slice.
        turn = np.deg2rad(change["rotate"])
        about_z = np.eye(3)
        about_z[1:, 1:] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        change = {"rotate": about_z}
    for name, value in change.items():
        setattr(layer, name, value)
    assert "".join(letters_at_edges(viewer, layer)) == letters


def test_no_letters_where_time_is_an_axis_of_the_picture():
    viewer = ViewerModel()
    layer, geometry = make_layer(viewer)
    values = np.random.default_rng(0).random((3, *geometry.canonical_shape), np.float32)
    source = layer.metadata["dinoad"]
    series = viewer.add_layer(Layer.create(*source_layer(values, source)))
    assert letters_at_edges(viewer, series) == ("A", "P", "R", "L")
    for order in ((1, 2, 0, 3), (1, 2, 3, 0)):
        viewer.dims.order = order
        assert letters_at_edges(viewer, series) is None


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_no_letters_where_both_axes_are_drawn_as_one_line():
    viewer = ViewerModel()
    layer, _ = make_layer(viewer)
    turned = np.eye(4)
    turned[:3, :3] = [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]  # y runs out of the slice
    layer.affine = turned
    assert letters_at_edges(viewer, layer) is None


def test_no_letters_where_the_orientation_is_not_known():
    viewer = ViewerModel()
    layer = viewer.add_layer(Image(np.random.default_rng(0).random((4, 5, 6))))
    assert letters_at_edges(viewer, layer) is None
    assert letters_at_edges(viewer, None) is None
    scan, _ = make_layer(viewer)
    assert letters_at_edges(viewer, scan) is not None
    scan.data = scan.data.T
    assert letters_at_edges(viewer, scan) is None


def test_letters_on_the_canvas_follow_view_and_layer_at_once(with_scan, dock):
    viewer, layer = with_scan, dock.scan.layer
    assert seen_at(viewer) == "APRL"
    viewer.dims.order = (1, 0, 2)
    assert seen_at(viewer) == "SIRL"
    viewer.dims.order = (0, 1, 2)
    camera_of(viewer).orientation2d = ("down", "left")
    assert seen_at(viewer) == "APLR"
    layer.scale = (1, 1, -1)
    assert seen_at(viewer) == "APRL"
    camera_of(viewer).orientation2d = ("down", "right")
    assert seen_at(viewer) == "APLR"
    viewer.add_image(np.zeros((2, *layer.data.shape)))
    dock.scan.choose(layer)
    assert seen_at(viewer) == "APLR"
    viewer.dims.ndisplay = 3
    assert seen_at(viewer) == ""
    viewer.layers.clear()
    viewer.dims.ndisplay = 2
    assert seen_at(viewer) == ""


def test_letters_of_another_layer_do_not_follow_the_one_before(with_scan, dock):
    first = dock.scan.layer
    with_scan.open_sample("napari-dinoad", "patient")
    assert dock.scan.layer is not first
    first.scale = (1, 1, -1)
    assert seen_at(with_scan) == "APRL"


def test_letters_go_with_their_scan():
    viewer = ViewerModel()
    layer, _ = make_layer(viewer)
    letters = OrientationLetters(viewer)
    letters.follow(layer)
    assert seen_at(viewer) == "APRL"
    viewer.layers.remove(layer)
    assert seen_at(viewer) == ""


def test_letters_go_with_the_dock_and_come_back_with_another(viewer, own_folders):
    _, dock = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    viewer.open_sample("napari-dinoad", "normal")
    assert seen_at(viewer) == "APRL"
    viewer.window.remove_dock_widget(dock)
    assert seen_at(viewer) == ""
    viewer.open_sample("napari-dinoad", "patient")
    assert seen_at(viewer) == ""
    _, another = viewer.window.add_plugin_dock_widget("napari-dinoad", "Find anomalies")
    assert seen_at(viewer) == "APRL"
    del dock
    gc.collect()
    viewer.dims.order = (1, 0, 2)
    assert seen_at(viewer) == "SIRL"
    assert another.scan.layer is not None


def test_letters_show_on_black_and_white_in_every_theme(with_scan):
    letter = overlays_of(with_scan)["dinoad_top_center"]
    for theme in ("dark", "light"):
        with_scan.theme = theme
        box = np.array(letter.box_color)
        for behind in (0.0, 1.0):
            ground = box[3] * box[:3] + (1 - box[3]) * behind
            assert contrast(letter.color[:3], ground) >= AA


def test_every_cell_of_the_grid_has_the_letters_where_they_hold_for_all(with_scan):
    overlays = [overlays_of(with_scan)[f"dinoad_{place}"] for place in PLACES]
    before = seen_at(with_scan)
    grid_of(with_scan).enabled = True
    assert seen_at(with_scan) == before
    assert all(overlay.gridded for overlay in overlays)
    scan = with_scan.layers[0]
    mirrored = Layer.create(scan.data, {"metadata": scan.metadata, "scale": (1, 1, -1)}, "image")
    with_scan.layers.insert(0, mirrored)
    assert seen_at(with_scan) == "", "its left is on the other side"
    with_scan.layers.remove(mirrored)
    assert seen_at(with_scan) == before


def test_letters_that_were_hidden_appear_in_the_grid(with_scan):
    """napari gives a hidden text no cells, and fails when it appears among more than it had."""
    before = seen_at(with_scan)
    with_scan.dims.ndisplay = 3
    scan = with_scan.layers[0]
    with_scan.add_layer(Layer.create(scan.data, {"metadata": scan.metadata, "affine": scan.affine}, "image"))
    grid_of(with_scan).enabled = True
    assert seen_at(with_scan) == ""
    with_scan.dims.ndisplay = 2
    assert seen_at(with_scan) == before


def test_a_layer_with_more_axes_takes_the_letters_out_of_the_grid(with_scan):
    """napari tells of its axes before the canvas has a cell for it."""
    before = seen_at(with_scan)
    grid_of(with_scan).enabled = True
    series = with_scan.add_image(np.eye(8).reshape(2, 2, 4, 4))
    assert seen_at(with_scan) == ""
    with_scan.layers.remove(series)
    assert seen_at(with_scan) == before
