"""What is drawn over a slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_dinoad.images.volume import Geometry
from napari_dinoad.maps.panels import annotate, outline, signs
from napari_dinoad.maps.slice_view import SliceView


def test_an_outline_is_what_erosion_by_a_cross_takes_away():
    inside = ndimage.gaussian_filter(np.random.default_rng(0).random((60, 50)), 2) > 0.5
    assert inside[0].any() and inside[:, -1].any(), "the edge of the picture is one of what is cut by it"
    pixels = np.zeros((60, 50, 3))
    outline(pixels, inside, (1, 2, 3))
    edge = inside & ~ndimage.binary_erosion(inside)
    np.testing.assert_array_equal((pixels == (1, 2, 3)).all(axis=-1), edge)
    assert not pixels[~edge].any()


def test_signs_laid_over_a_panel_look_like_those_drawn_into_it():
    view = SliceView.of_whole(Geometry((50, 60, 40), np.diag([1.0, 1.0, 2.0, 1.0])), 1)
    panel = np.full((200, 200, 3), 120.0)
    drawn = np.asarray(annotate(panel, view), dtype=float)
    laid = signs(view, 200).astype(float)
    alpha = laid[..., 3:] / 255
    assert 0.005 < (alpha > 0).mean() < 0.1
    np.testing.assert_allclose(laid[..., :3] + panel * (1 - alpha), drawn, atol=40)
    assert np.abs(laid[..., :3] + panel * (1 - alpha) - drawn).mean() < 0.2
