"""From a painted head to a scan: pose in the field of view, receive field, point spread, Rician noise, geometry."""

from __future__ import annotations

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy import ndimage

from napari_dinoad.errors import SettingError
from napari_dinoad.images.volume import Geometry
from napari_dinoad.phantom.fields import Points, smooth_noise
from napari_dinoad.phantom.subject import Stream, Subject, generator

__all__ = ["FIELD_OF_VIEW_MM", "SHAPE", "Zyx", "acquire", "head_points", "scan_geometry", "voxel_grid"]

Zyx = tuple[float, float, float]

SHAPE = (84, 128, 112)
"""Voxels along (z, y, x): 1.75 mm in the field of view."""

FIELD_OF_VIEW_MM = (147.0, 224.0, 196.0)
"""Extent along (z, y, x): from the base of the skull to above the vertex."""

_WARP_MM = 1.6
"""Spread of the smooth displacement by which no two heads have their structures in quite the same place."""

_WARP_SCALE_MM = 45.0
_BIAS_SCALE_MM = 75.0
_POINT_SPREAD_VOXELS = 0.45
_CENTRE_MM = (0.0, -2.0, -18.0)
"""Where the origin of the mean head lies in the field of view, (x, y, z) from its middle."""


def voxel_grid(shape: tuple[int, int, int], spacing_mm: float | Zyx | None) -> Zyx:
    """Return the voxel size (z, y, x) in mm; without one, that which keeps `FIELD_OF_VIEW_MM`.

    Raises
    ------
    SettingError
        If an axis has fewer than 2 voxels or a size is not above 0.
    """
    if len(shape) != 3 or min(shape) < 2:
        raise SettingError(f"phantom shape: expected (z, y, x) of at least 2 voxels each, got {shape}.")
    if spacing_mm is None:
        z, y, x = (extent / n for extent, n in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    else:
        z, y, x = np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3).tolist()
    if min(z, y, x) <= 0:
        raise SettingError(f"phantom voxel size: expected millimetres above 0, got {spacing_mm}.")
    return float(z), float(y), float(x)


def head_points(
    shape: tuple[int, int, int], spacing_mm: Zyx, subject: Subject, rng: np.random.Generator
) -> Points:
    """Return each voxel's position in the mean head: pose and size undone, and a small smooth warp on top."""
    offsets = [
        ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32)
        for n, step in zip(shape, spacing_mm, strict=True)
    ]
    middle = np.add(subject.shift_mm, _CENTRE_MM).astype(np.float32)
    x = (offsets[2] - middle[0])[None, None, :]
    y = (offsets[1] - middle[1])[None, :, None]
    z = (offsets[0] - middle[2])[:, None, None]
    to_head = _rotation(subject.rotation_deg).T / np.array(subject.scale)[:, None]
    points = []
    for row in to_head.astype(np.float32):
        axis = row[0] * x + row[1] * y + row[2] * z
        axis += np.float32(_WARP_MM) * smooth_noise(rng, shape, spacing_mm, _WARP_SCALE_MM)
        points.append(axis)
    return points[0], points[1], points[2]


def acquire(intensity: np.ndarray, subject: Subject, spacing_mm: Zyx, seed: int) -> np.ndarray:
    """Scan a painted head.

    Returns
    -------
    numpy.ndarray
        (z, y, x) float32, not negative, in whole stored units (as a scanner writes them).
    """
    rng = generator(seed, Stream.ACQUISITION)
    blurred = ndimage.gaussian_filter(intensity, _POINT_SPREAD_VOXELS, truncate=2.5)
    receive = np.exp(
        np.float32(subject.bias) * smooth_noise(rng, intensity.shape, spacing_mm, _BIAS_SCALE_MM)
    )
    blurred *= receive
    sigma = np.float32(subject.noise * subject.tissues.white)
    # Magnitude of a complex signal with normal noise in both channels: Rician.
    real = rng.standard_normal(intensity.shape, dtype=np.float32) * sigma
    real += blurred
    imaginary = rng.standard_normal(intensity.shape, dtype=np.float32) * sigma
    magnitude = np.hypot(real, imaginary)
    return np.asarray(np.rint(magnitude * np.float32(subject.gain)))


def scan_geometry(
    shape: tuple[int, int, int], spacing_mm: Zyx, seed: int, orientation: str, oblique_deg: float
) -> Geometry:
    """Return the grid on which a scan is stored.

    Parameters
    ----------
    shape, spacing_mm : tuple
        Of the canonical array, (z, y, x).
    seed : int
        Of the table position, some millimetres.
    orientation : str
        Direction in which each stored axis grows, e.g. ``"RAS"``, ``"LAS"``, ``"PIR"``.
    oblique_deg : float
        Angle by which the grid, and the patient in it, lies turned in the scanner.

    Raises
    ------
    SettingError
        If the orientation is not three letters, one of each pair R/L, A/P, S/I, or the angle is 45° or more.
    """
    codes = orientation.upper()
    if sorted("RAS"["RLAPSI".index(c) // 2] if c in "RLAPSI" else c for c in codes) != ["A", "R", "S"]:
        raise SettingError(
            f"phantom orientation: expected three letters, one each of R/L, A/P and S/I, got {orientation!r}."
        )
    if not abs(oblique_deg) < 45:
        raise SettingError(f"phantom obliquity: expected less than 45 degrees, got {oblique_deg}.")
    xyz, steps = shape[::-1], np.array(spacing_mm[::-1])
    table = generator(seed, Stream.TABLE).uniform(-4, 4, 3)
    turned = _rotation((oblique_deg, 0.4 * oblique_deg, 0.2 * oblique_deg)) if oblique_deg else np.eye(3)
    canonical = np.eye(4)
    canonical[:3, :3] = turned * steps
    canonical[:3, 3] = table - np.array(_CENTRE_MM) - canonical[:3, :3] @ ((np.array(xyz) - 1) / 2)
    stored_axes = axcodes2ornt(tuple(codes))
    stored_shape = tuple(int(xyz[int(axis)]) for axis, _ in stored_axes)
    affine = canonical @ inv_ornt_aff(ornt_transform(axcodes2ornt("RAS"), stored_axes), xyz)
    return Geometry(stored_shape, np.round(affine, 6) + 0.0)


def _rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Return the rotation about x, then y, then z."""
    about_x, about_y, about_z = np.radians(degrees)
    matrix = np.eye(3)
    for axis, angle in enumerate((about_x, about_y, about_z)):
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix
