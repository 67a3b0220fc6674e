"""Building blocks of the phantom: distances to simple bodies, soft edges, and smooth random fields.

Distances are in millimetres, negative inside. A voxel is a small box, not a point: `inside` and `sheet` give the
share of it that lies inside a body or a thin sheet, which is the partial-volume effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FoldField",
    "Points",
    "capsule",
    "ellipsoid",
    "inside",
    "paint",
    "sheet",
    "smooth_noise",
    "soft_max",
    "soft_min",
]

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Coordinates x, y, z in millimetres: three float32 arrays of one shape."""


def ellipsoid(points: Points, centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """Return the approximate distance to an ellipsoid: exact on its surface, and to first order near it."""
    squared = np.zeros_like(points[0])
    gradient = np.zeros_like(points[0])
    for axis, middle, radius in zip(points, centre, radii, strict=True):
        scaled = (axis - np.float32(middle)) * np.float32(1 / radius)
        scaled *= scaled
        squared += scaled
        scaled *= np.float32(1 / radius**2)
        gradient += scaled
    level = np.sqrt(squared)
    np.sqrt(gradient, out=gradient)
    gradient += np.float32(1e-6)
    distance = level * (level - 1)
    distance /= gradient
    return np.asarray(distance)


def capsule(
    points: Points, start: Sequence[float], end: Sequence[float], radii: tuple[float, float]
) -> np.ndarray:
    """Return the distance to a rod from ``start`` to ``end`` whose radius runs from ``radii[0]`` to ``radii[1]``."""
    axis = np.asarray(end, dtype=np.float32) - np.asarray(start, dtype=np.float32)
    offsets = [p - np.float32(s) for p, s in zip(points, start, strict=True)]
    along = sum(o * a for o, a in zip(offsets, axis, strict=True))
    along = np.clip(along / np.float32(axis @ axis), 0, 1)
    squared = sum((o - along * a) ** 2 for o, a in zip(offsets, axis, strict=True))
    return np.asarray(np.sqrt(squared) - (radii[0] + (radii[1] - radii[0]) * along), dtype=np.float32)


def soft_min(a: np.ndarray, b: np.ndarray, blend_mm: float) -> np.ndarray:
    """Return the distance to the union of two bodies whose junction is rounded over ``blend_mm``."""
    overlap = np.maximum(np.float32(blend_mm) - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - overlap * overlap * np.float32(0.25 / blend_mm))


def soft_max(a: np.ndarray, b: np.ndarray, blend_mm: float) -> np.ndarray:
    """Return the distance to the intersection of two bodies with an edge rounded over ``blend_mm``."""
    return np.asarray(-soft_min(-a, -b, blend_mm))


def inside(distance: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Return the share (0 to 1) of each voxel inside a body."""
    return np.asarray(np.clip(0.5 - distance * np.float32(1 / voxel_mm), 0, 1))


def sheet(distance: np.ndarray, half_width_mm: np.ndarray | float, voxel_mm: float) -> np.ndarray:
    """Return the share of each voxel inside a sheet of this half-width, ``distance`` >= 0 from its middle."""
    half = np.float32(voxel_mm / 2)
    overlap = np.minimum(distance + half, half_width_mm) - np.maximum(distance - half, -half_width_mm)
    return np.asarray(np.clip(overlap * np.float32(1 / voxel_mm), 0, 1))


def paint(values: np.ndarray, share: np.ndarray, intensity: np.ndarray | float) -> None:
    """Lay a tissue over ``values`` in place, where it fills ``share`` of the voxel."""
    values += share * (intensity - values)


def smooth_noise(
    rng: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], scale_mm: float
) -> np.ndarray:
    """Return a smooth random field (float32, mean about 0, spread about 1) on a voxel grid.

    A cubic B-spline with independent normal coefficients every ``scale_mm``: nothing in it is finer than that.
    Grids with the same field of view get the same field.
    """
    bases = [_spline_basis(n, step, scale_mm) for n, step in zip(shape, spacing_mm, strict=True)]
    field = rng.standard_normal([basis.shape[1] for basis in bases]).astype(np.float32)
    for basis in bases:
        # Contracting the first axis appends the new one, so three rounds restore the order.
        field = np.tensordot(field, basis, axes=([0], [1]))
    # Sum of squares of the spline's weights, averaged over a cell, is 0.48 in one dimension.
    return np.ascontiguousarray(field * np.float32(0.48**-1.5), dtype=np.float32)


def _spline_basis(n: int, step_mm: float, scale_mm: float) -> np.ndarray:
    """Return the (n, knots) weights of a uniform cubic B-spline at n voxel centres, symmetric in the grid."""
    half_extent = n * step_mm / 2
    reach = int(np.ceil(half_extent / scale_mm)) + 2
    position = ((np.arange(n) + 0.5) * step_mm - half_extent) / scale_mm
    distance = np.abs(position[:, None] - np.arange(-reach, reach + 1)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far), dtype=np.float32)


class FoldField:
    """A random labyrinth of sheets, about half a wavelength apart: the zero crossings of band-pass noise.

    It is made to be sampled on a surface around the origin.

    Parameters
    ----------
    rng : numpy.random.Generator
    wavelength_mm : float
        Twice the mean distance between neighbouring sheets.
    """

    _EXTENT_MM = 112.0
    """Half the side of the cube in which the field is defined."""

    _STEP_MM = 4.0
    _BANDWIDTH = 0.22

    def __init__(self, rng: np.random.Generator, wavelength_mm: float) -> None:
        n = fft.next_fast_len(int(np.ceil(2 * self._EXTENT_MM / self._STEP_MM)) + 1)
        frequency = fft.fftfreq(n, self._STEP_MM).astype(np.float32)
        half = fft.rfftfreq(n, self._STEP_MM).astype(np.float32)
        axes = np.meshgrid(frequency, frequency, half, indexing="ij", sparse=True)
        radius = np.sqrt(sum(axis**2 for axis in axes)) * wavelength_mm
        spectrum = fft.rfftn(rng.standard_normal((n, n, n)).astype(np.float32))
        spectrum *= np.exp(-0.5 * ((radius - 1) / self._BANDWIDTH) ** 2)
        level = fft.irfftn(spectrum, s=(n, n, n), axes=(0, 1, 2))
        gradient = np.gradient(level, self._STEP_MM)
        # Sheets stand on the surface around the centre, so only the slope along that surface brings one nearer.
        line = (np.arange(n) * self._STEP_MM - self._EXTENT_MM).astype(np.float32)
        centre = np.meshgrid(line, line, line, indexing="ij", sparse=True)
        radial = sum(g * c for g, c in zip(gradient, centre, strict=True))
        radial /= np.sqrt(sum(c * c for c in centre) + 1)
        along = np.maximum(sum(g * g for g in gradient) - radial * radial, 0)
        spread = float(level.std())
        self._level = (level / spread).astype(np.float32)
        # One radian of a plane wave of this wavelength.
        self._radian_mm = np.float32(wavelength_mm / (2 * np.pi))
        self._slope = (np.sqrt(along) / spread).astype(np.float32) * self._radian_mm

    def distance(self, points: Points) -> np.ndarray:
        """Return the distance >= 0 in mm to the nearest sheet: the phase of the local wave since its last zero."""
        where = np.stack([(p + np.float32(self._EXTENT_MM)) * np.float32(1 / self._STEP_MM) for p in points])
        level = ndimage.map_coordinates(self._level, where, order=1, mode="grid-wrap")
        slope = ndimage.map_coordinates(self._slope, where, order=1, mode="grid-wrap")
        return np.asarray(np.arctan2(np.abs(level), slope) * self._radian_mm, dtype=np.float32)
