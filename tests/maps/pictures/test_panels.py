"""What is drawn into a panel: colours of heat, outlines, numbers of regions, a bar of a round length."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_dinoad.images.values.grey import to_grey
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.pictures.panels import (
    annotate,
    blend,
    colour_bar,
    colour_window,
    grey_window,
    heat_colour,
    heat_share,
    in_colours,
    outline,
    overlay_panel,
    scan_panel,
    signs,
)
from napari_dinoad.maps.pictures.slice_view import SliceView
from napari_dinoad.settings import HEATMAP_LIMITS

LOW, HIGH = HEATMAP_LIMITS
SIZE = 240


def view_of(n=60, spacing_mm=1.0):
    return SliceView.of_whole(Geometry((n, n, 1), np.diag([spacing_mm, spacing_mm, 1.0, 1.0])), 0)


def drawn(view, **numbers):
    """Return where something was drawn on a black panel (rows, columns) bool."""
    return np.asarray(annotate(np.zeros((SIZE, SIZE, 3), np.uint8), view, **numbers)).any(axis=2)


def test_grey_goes_from_the_windows_lower_to_its_upper_value():
    values = np.repeat(np.array([-300.0, -100.0, 0.0, 100.0, 300.0], np.float32), 12).reshape(1, 1, 60)
    values = np.broadcast_to(values, (1, 60, 60))
    volume = Volume(values, Geometry((60, 60, 1), np.eye(4)))
    shown = scan_panel(volume, view_of(), 0, SIZE, (-100.0, 100.0))
    assert shown.shape == (SIZE, SIZE)
    # The patient's right, where values are high, is on the left.
    np.testing.assert_allclose(shown[SIZE // 2, 24::48], [255, 255, 127.5, 0, 0])


@pytest.mark.parametrize(("kind", "white"), [("uint8", 255.0), ("uint16", 4095.0), ("float32", None)])
def test_colours_are_shown_as_they_are_stored(kind, white):
    colours = np.zeros((1, 30, 60, 3), kind)
    colours[..., :] = np.array([1.0, 0.6, 0.2]) * (white or 1)
    volume = Volume(to_grey(colours), Geometry.of_pixels((30, 60)), full_scale=white, colours=colours)
    shown = scan_panel(volume, SliceView.of_whole(volume.geometry, 0), 0, SIZE, (0.3, 0.4))
    assert shown.shape == (SIZE, SIZE, 3)
    np.testing.assert_allclose(shown[SIZE // 2, SIZE // 2], [255, 153, 51], atol=1)
    assert not shown[:40].any(), "beside the picture it is black"


def test_colours_without_a_known_white_are_shown_as_grey():
    colours = np.random.default_rng(0).normal(0, 9, (1, 8, 8, 3)).astype(np.float32)
    volume = Volume(to_grey(colours), Geometry.of_pixels((8, 8)), colours=colours)
    assert colour_window(volume) is None
    shown = scan_panel(volume, SliceView.of_whole(volume.geometry, 0), 0, SIZE, (-9, 9))
    assert shown.shape == (SIZE, SIZE)


def test_the_window_is_the_models_where_it_has_one():
    geometry = Geometry((50, 40, 1), np.diag([1.0, 1.0, 5.0, 1.0]))
    values = np.random.default_rng(0).uniform(-1000, 1000, geometry.canonical_shape).astype(np.float32)
    mask = AnomalyMap(np.zeros_like(values), Volume(values, geometry)).mask(0.01)
    window = {"intensity": "window", "window": [0, 80]}
    assert grey_window(mask.anomaly_map, window) == (0.0, 80.0)
    by_values = tuple(np.percentile(values, (0.5, 99.8)))
    for told in (
        None,
        {"intensity": "percentile", "window": [0, 80]},
        {"intensity": "window", "window": None},
    ):
        assert grey_window(mask.anomaly_map, told) == pytest.approx(by_values)


def test_heat_begins_at_the_lower_limit_and_is_full_at_the_upper():
    levels = np.array([0, LOW, LOW + 1e-6, (LOW + HIGH) / 2, HIGH, HIGH + 5])
    share, opacity = heat_share(levels)
    np.testing.assert_allclose(share, [0, 0, 0, 0.5, 1, 1], atol=1e-5)
    np.testing.assert_allclose(opacity, [0, 0, 0, 0.6625, 0.85, 0.85], atol=1e-5)
    grey = np.full((6, 3), 100.0)
    colours = blend(grey, levels)
    np.testing.assert_array_equal(colours[:2], grey[:2])
    np.testing.assert_allclose(colours[4], 0.15 * 100 + 0.85 * heat_colour(np.array([1.0]))[0])


def test_an_overlay_has_heat_where_it_is_hot_and_is_the_grey_panel_elsewhere():
    random = np.random.default_rng(0)
    geometry = Geometry((60, 60, 1), np.diag([1.0, 1.0, 1.0, 1.0]))
    values, heat = (
        random.uniform(0, 255, (1, 60, 60)),
        ndimage.zoom(random.uniform(0, 6, (1, 6, 6)), (1, 10, 10)),
    )
    mask = AnomalyMap(heat.astype(np.float32), Volume(values.astype(np.float32), geometry)).mask(1e-9)
    view = view_of()
    grey = scan_panel(mask.anomaly_map.source, view, 0, SIZE, (0.0, 255.0))
    shown = view.show(mask.anomaly_map.values, 0, SIZE, smooth=True)
    assert 0.1 < (shown > LOW).mean() < 0.9
    overlay = overlay_panel(grey, mask, view, 0)
    assert overlay.dtype == np.uint8
    np.testing.assert_array_equal(
        overlay, blend(np.repeat(grey[..., None], 3, axis=2), shown).astype(np.uint8)
    )
    np.testing.assert_array_equal(overlay[shown <= LOW], in_colours(grey)[shown <= LOW])


def test_colours_grow_brighter_from_the_first_to_the_last():
    brightness = heat_colour(np.linspace(0, 1, 20)).sum(axis=1)
    assert (np.diff(brightness) > 0).all()
    bar = np.asarray(colour_bar(20, 7)).astype(int)
    assert bar.shape == (7, 20, 3)
    assert (bar == bar[0]).all() and (np.diff(bar[0].sum(axis=1)) > 0).all()


@pytest.mark.parametrize("max_label", [0, 1, 2])
def test_regions_up_to_the_last_that_is_listed_have_their_number_beside_them(max_label):
    view = view_of()
    labels = np.zeros((1, 60, 60), np.int32)
    labels[0, 40:50, 40:50], labels[0, 10:20, 40:50] = 1, 2
    more = drawn(view, region_labels=labels, max_label=max_label) & ~drawn(view)
    for label, rows in ((1, slice(40, 80)), (2, slice(160, 200))):
        # The patient's right and front are left and up: columns 40 to 50 of 60 are shown 40 to 80 px from the left.
        assert more[rows, 80:110].any() == (label <= max_label)
        more[rows, 80:110] = False
    assert not more.any()


@pytest.mark.parametrize("label", [1, 12])
@pytest.mark.parametrize("rows", [slice(10, 20), slice(0, 2), slice(58, 60)])
@pytest.mark.parametrize("size", [SIZE, 560])
def test_a_number_at_the_edge_is_wholly_in_the_panel(label, rows, size):
    """As large as in the middle of the panel."""
    shapes = []
    for columns in (slice(0, 5), slice(25, 30)):
        labels = np.zeros((1, 60, 60), np.int32)
        labels[0, rows if columns.start == 0 else slice(25, 30), columns] = label
        panel = np.full((size, size, 3), 90, np.uint8)
        plain, numbered = (
            np.asarray(annotate(panel, view_of(), region_labels=labels, max_label=most))
            for most in (0, label)
        )
        where = np.argwhere((numbered != plain).any(axis=2))
        shapes.append(np.ptp(where, axis=0))
    np.testing.assert_array_equal(*shapes)


@pytest.mark.parametrize(
    ("spacing_mm", "length_mm"), [(0.05, None), (0.1, 1), (0.35, 5), (1.0, 10), (4.0, 50), (9.0, 100)]
)
def test_the_bar_is_the_longest_round_length_below_a_quarter(spacing_mm, length_mm):
    panel = np.asarray(annotate(np.zeros((SIZE, SIZE, 3), np.uint8), view_of(spacing_mm=spacing_mm))).astype(
        int
    )
    lowest = panel[SIZE - SIZE // 40, SIZE // 2 + 10 :].any(axis=1)
    px_per_mm = SIZE / (60 * spacing_mm)
    if length_mm is None:
        assert not lowest.any()
        return
    assert lowest.sum() == pytest.approx(length_mm * px_per_mm, abs=2)
    assert lowest.sum() <= SIZE / 4 + 2
    places = np.flatnonzero(lowest) + SIZE // 2 + 10
    assert panel[SIZE - 24 : SIZE - 9, places.min() : places.max()].any(), "its length is written above it"


def test_an_outline_is_what_erosion_by_a_cross_takes_away():
    inside = ndimage.gaussian_filter(np.random.default_rng(0).random((60, 50)), 2) > 0.5
    assert inside[0].any() and inside[:, -1].any(), "the edge of the picture is one of what is cut by it"
    pixels = np.zeros((60, 50, 3))
    outline(pixels, inside, (1, 2, 3))
    edge = inside & ~ndimage.binary_erosion(inside)
    np.testing.assert_array_equal((pixels == (1, 2, 3)).all(axis=-1), edge)
    assert not pixels[~edge].any()


def test_a_wider_outline_is_what_as_many_erosions_take_away():
    inside = ndimage.gaussian_filter(np.random.default_rng(0).random((60, 50)), 2) > 0.5
    pixels = np.zeros((60, 50, 3))
    outline(pixels, inside, (1, 2, 3), width_px=3)
    edge = inside & ~ndimage.binary_erosion(inside, iterations=3)
    np.testing.assert_array_equal((pixels == (1, 2, 3)).all(axis=-1), edge)


def test_signs_laid_over_a_panel_look_like_those_drawn_into_it():
    view = SliceView.of_whole(Geometry((50, 60, 40), np.diag([1.0, 1.0, 2.0, 1.0])), 1)
    panel = np.full((200, 200, 3), 120, np.uint8)
    drawn = np.asarray(annotate(panel, view), dtype=float)
    laid = signs(view, 200).astype(float)
    alpha = laid[..., 3:] / 255
    assert 0.005 < (alpha > 0).mean() < 0.1
    np.testing.assert_allclose(laid[..., :3] + panel * (1 - alpha), drawn, atol=40)
    assert np.abs(laid[..., :3] + panel * (1 - alpha) - drawn).mean() < 0.2
