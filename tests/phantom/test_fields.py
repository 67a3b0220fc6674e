"""Distances, soft edges and random fields."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.phantom.fields import (
    FoldField,
    Points,
    capsule,
    ellipsoid,
    inside,
    sheet,
    smooth_noise,
    soft_max,
    soft_min,
)


def _points(*rows: tuple[float, float, float]) -> Points:
    x, y, z = np.array(rows, dtype=np.float32).T
    return x, y, z


def _ball_grid(n: int = 41) -> Points:
    line = np.linspace(-20, 20, n, dtype=np.float32)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    return x, y, z


def test_a_ball_has_its_exact_distance() -> None:
    points = _points((5, 0, 0), (0, 13, 0), (0, 0, -10), (6, 8, 0))
    np.testing.assert_allclose(ellipsoid(points, (0, 0, 0), (10, 10, 10)), [-5, 3, 0, 0], atol=1e-4)


def test_an_ellipsoid_is_zero_on_its_surface_and_signed() -> None:
    points = _points((3, 0, 0), (0, 6, 0), (0, 0, 9), (0, 0, 0), (4, 0, 0), (2.9, 0, 0))
    distance = ellipsoid(points, (0, 0, 0), (3, 6, 9))
    np.testing.assert_allclose(distance[:3], 0, atol=1e-4)
    assert distance[3] <= 0
    assert distance[4] == pytest.approx(1, abs=0.2)
    assert distance[5] == pytest.approx(-0.1, abs=0.01)


def test_a_capsule_narrows_from_end_to_end() -> None:
    points = _points((0, 0, 0), (10, 5, 0), (5, 3, 0), (-4, 0, 0))
    np.testing.assert_allclose(capsule(points, (0, 0, 0), (10, 0, 0), (3, 1)), [-3, 4, 1, 1], atol=1e-5)


def test_blends_are_union_and_intersection_away_from_the_junction() -> None:
    a, b = np.array([-5.0, 9.0, 1.0]), np.array([9.0, -5.0, 1.0])
    np.testing.assert_allclose(soft_min(a, b, 4.0)[:2], -5)
    np.testing.assert_allclose(soft_max(a, b, 4.0)[:2], 9)
    assert soft_min(a, b, 4.0)[2] < 1 < soft_max(a, b, 4.0)[2]


def test_partial_volume_keeps_the_volume_of_a_ball() -> None:
    share = inside(ellipsoid(_ball_grid(), (0.3, -0.2, 0.1), (12, 12, 12)), 1.0)
    assert share.sum() == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.01)
    assert share.min() == 0
    assert share.max() == 1


@pytest.mark.parametrize("half_width", [0.2, 0.5, 2.0])
def test_partial_volume_keeps_the_thickness_of_a_sheet(half_width: float) -> None:
    for offset in (0.0, 0.3, 0.5):
        distance = np.abs(np.arange(-10, 11) + offset)
        assert sheet(distance, half_width, 1.0).sum() == pytest.approx(2 * half_width)


def test_smooth_noise_has_spread_one_and_is_smooth() -> None:
    field = smooth_noise(np.random.default_rng(0), (60, 60, 60), (2, 2, 2), 10.0)
    assert field.dtype == np.float32
    assert field.std() == pytest.approx(1, abs=0.1)
    assert abs(field.mean()) < 0.2
    # Within a fifth of its scale it changes by little of its spread.
    assert np.abs(np.diff(field, axis=0)).max() < 1.0


def test_smooth_noise_depends_on_the_field_of_view_not_on_the_grid() -> None:
    fine = smooth_noise(np.random.default_rng(1), (40, 40, 40), (2, 2, 2), 16.0)
    coarse = smooth_noise(np.random.default_rng(1), (20, 20, 20), (4, 4, 4), 16.0)
    averaged = fine.reshape(20, 2, 20, 2, 20, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(averaged, coarse, atol=0.05)


def test_fold_sheets_are_spaced_as_asked() -> None:
    field = FoldField(np.random.default_rng(0), 30.0)
    # Along great circles: a quarter of a wavelength is the farthest that one can be from a sheet.
    angle = np.linspace(0, 2 * np.pi, 4000, dtype=np.float32)
    distance = field.distance((70 * np.cos(angle), 70 * np.sin(angle), np.zeros_like(angle)))
    assert distance.min() >= 0
    assert distance.max() <= 30 / 4 + 1e-4
    assert 0.02 < np.mean(distance < 0.5) < 0.3
