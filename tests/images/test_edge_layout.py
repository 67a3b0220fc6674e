"""Where a scan has edges and which way they run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_dinoad.images.edge_layout import EdgeLayout
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.settings import preset

BARE = replace(preset("bmad"), resolution_px=64)


def layout_of(values):
    values = np.ascontiguousarray(values, dtype=np.float32)
    return EdgeLayout.of(prepare_scan(Volume(values, Geometry.of_pixels(values.shape)), BARE, 64))


def stripes(angle_deg, n=1, size=64):
    """Return waves whose gradient points ``angle_deg`` from columns towards rows."""
    rows, columns = np.indices((size, size))
    turned = columns * np.cos(np.deg2rad(angle_deg)) + rows * np.sin(np.deg2rad(angle_deg))
    return np.repeat(0.5 + 0.5 * np.sin(turned / 5)[None], n, 0)


@pytest.mark.parametrize(("angle", "direction"), [(15, 0), (45, 1), (75, 2), (105, 3), (135, 4), (165, 5)])
def test_directions_are_those_of_the_gradient(angle, direction):
    layout = layout_of(stripes(angle))
    assert layout.directions.sum(axis=(0, 1, 2)).argmax() == direction


def test_strengths_lie_where_the_edges_are():
    image = np.zeros((1, 64, 64))
    image[0, 40:56, 8:24] = 1
    (strengths,) = layout_of(image).strengths
    row, column = np.unravel_index(strengths.argmax(), strengths.shape)
    assert 9 <= row <= 14
    assert 1 <= column <= 6
    assert strengths[:8].max() < 0.01 * strengths.max()


@pytest.mark.parametrize("at_once", [1, 4])
def test_edges_are_those_of_all_slices_however_many_are_seen_at_a_time(at_once, monkeypatch):
    volume = np.concatenate([stripes(angle) for angle in range(0, 170, 10)])
    whole = layout_of(volume)
    monkeypatch.setattr("napari_dinoad.images.edge_layout._SLICES_AT_ONCE", at_once)
    some = layout_of(volume)
    np.testing.assert_allclose(some.strengths, whole.strengths, rtol=1e-5)
    np.testing.assert_allclose(some.directions, whole.directions, rtol=1e-5)


def test_thirds_of_the_slices_are_told_apart_and_make_one():
    volume = np.concatenate([stripes(0, 4), stripes(90, 4), 0.5 * stripes(45, 4)])
    layout = layout_of(volume)
    assert layout.n_parts == 3
    by_part = layout.directions.sum(axis=(1, 2))
    assert by_part[0].argmax() in (0, 5)
    assert by_part[1].argmax() in (2, 3)
    one = layout.as_one()
    assert one.n_parts == 1
    np.testing.assert_allclose(one.strengths[0], layout.strengths.mean(axis=0))
    assert layout_of(stripes(0, 2)).n_parts == 1


def test_alike_scans_are_alike_whatever_their_contrast():
    base, weaker, turned = (layout_of(v) for v in (stripes(20), 0.5 * stripes(20), stripes(110)))
    assert base.direction_vector() @ weaker.direction_vector() > 0.99
    assert base.direction_vector() @ turned.direction_vector() < 0.5


@pytest.mark.parametrize("n_slices", [1, 7])
def test_what_is_encoded_comes_back(n_slices):
    layout = layout_of(np.random.default_rng(0).random((n_slices, 50, 40)))
    again = EdgeLayout.decoded(layout.encoded())
    for name in ("strengths", "directions"):
        one, other = getattr(layout, name), getattr(again, name)
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, atol=one.max() / 255)


def test_no_edges_at_all():
    flat = EdgeLayout(np.zeros((1, 16, 16), np.float32), np.zeros((1, 8, 8, 6), np.float32))
    assert not flat.strength_vector().any()
    assert not flat.direction_vector().any()
    assert not EdgeLayout.decoded(flat.encoded()).strengths.any()
