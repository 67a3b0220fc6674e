"""Phantom scans from a seed: a normal head, the same head with a lesion, and single slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.phantom.anatomy import render_head
from napari_dinoad.phantom.fields import inside
from napari_dinoad.phantom.lesions import Lesion, LesionKind, require_kind
from napari_dinoad.phantom.scanner import SHAPE, Zyx, acquire, head_points, scan_geometry, voxel_grid
from napari_dinoad.phantom.subject import Stream, Subject, generator

__all__ = ["PhantomPatient", "make_normal", "make_patient", "make_patient_slice", "make_slice"]

_SLICE_SHAPE = (26, 256, 224)
"""Grid from which 2D samples are taken: thick slices, 0.875 mm within them."""

_SLICE_LEVEL = 0.58
"""Level of a normal 2D sample in the field of view: through the lateral ventricles."""


@dataclass(frozen=True, eq=False)
class PhantomPatient:
    """A phantom with a lesion and the truth about it.

    Attributes
    ----------
    volume : Volume
    lesion_mask : numpy.ndarray
        (z, y, x) bool in canonical orientation, like the values of ``volume``.
    kind : str
        One of `napari_dinoad.phantom.KINDS`.
    """

    volume: Volume
    lesion_mask: np.ndarray
    kind: LesionKind


def make_normal(
    seed: int,
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: float | Zyx | None = None,
    *,
    orientation: str = "RAS",
    oblique_deg: float = 0.0,
) -> Volume:
    """Make the normal T1-weighted head of a seed.

    Parameters
    ----------
    seed : int
        At least 0. The same seed gives the same head, bit for bit, whatever the orientation.
    shape : tuple of int
        (z, y, x) voxels in canonical orientation.
    spacing_mm : float or tuple of float, optional
        Voxel size, or sizes along (z, y, x); by default the head fills the grid (147 × 224 × 196 mm).
    orientation : str
        How the scan is stored: the direction in which each stored axis grows, for instance ``"LAS"``.
    oblique_deg : float
        Angle by which the grid is turned against the scanner's axes, the patient with it.

    Returns
    -------
    Volume
        Values (z, y, x) float32, whole numbers >= 0, arbitrary units as in MR.

    Raises
    ------
    SettingError
        If a parameter makes no sense.
    """
    steps = voxel_grid(shape, spacing_mm)
    geometry = scan_geometry(shape, steps, seed, orientation, oblique_deg)
    values, _ = _scan(seed, None, None, shape, steps)
    return Volume(values, geometry, f"phantom_normal_{seed}")


def make_patient(
    seed: int,
    kind: str,
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: float | Zyx | None = None,
    *,
    diameter_mm: float | None = None,
    orientation: str = "RAS",
    oblique_deg: float = 0.0,
) -> PhantomPatient:
    """Make the head of a seed with one lesion: the same head, and the same noise, as `make_normal` makes.

    Parameters
    ----------
    seed, shape, spacing_mm, orientation, oblique_deg
        As for `make_normal`.
    kind : str
        One of `napari_dinoad.phantom.KINDS`.
    diameter_mm : float, optional
        Mean diameter in the mean head, 6 to 40 mm; drawn from the seed (22 to 30 mm) by default.

    Raises
    ------
    SettingError
        If a parameter makes no sense.
    """
    known = require_kind(kind)
    steps = voxel_grid(shape, spacing_mm)
    geometry = scan_geometry(shape, steps, seed, orientation, oblique_deg)
    values, mask = _scan(seed, known, diameter_mm, shape, steps)
    return PhantomPatient(Volume(values, geometry, f"phantom_{kind}_{seed}"), mask, known)


def make_slice(seed: int) -> Volume:
    """Make a normal 2D sample: an axial slice (1, 256, 224) of 8 bit without physical size, nose up."""
    values, _ = _scan(seed, None, None, _SLICE_SHAPE, voxel_grid(_SLICE_SHAPE, None))
    return _as_picture(values, round(_SLICE_LEVEL * _SLICE_SHAPE[0]), f"phantom_slice_{seed}")


def make_patient_slice(seed: int, kind: str) -> PhantomPatient:
    """Make a 2D sample like `make_slice` where a lesion is largest; its mask is (1, 256, 224) bool.

    Raises
    ------
    SettingError
        If the kind is unknown.
    """
    known = require_kind(kind)
    values, mask = _scan(seed, known, None, _SLICE_SHAPE, voxel_grid(_SLICE_SHAPE, None))
    level = int(mask.sum(axis=(1, 2)).argmax())
    picture = _as_picture(values, level, f"phantom_slice_{kind}_{seed}")
    return PhantomPatient(picture, np.ascontiguousarray(mask[level : level + 1, ::-1, ::-1]), known)


def _scan(
    seed: int,
    kind: LesionKind | None,
    diameter_mm: float | None,
    shape: tuple[int, int, int],
    spacing_mm: Zyx,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a scan's values and lesion mask (z, y, x)."""
    subject = Subject.drawn(seed)
    anatomy = generator(seed, Stream.ANATOMY)
    points = head_points(shape, spacing_mm, subject, anatomy)
    if kind is None:
        intensity, _ = render_head(points, subject, anatomy, spacing_mm)
        return acquire(intensity, subject, spacing_mm, seed), np.zeros(shape, dtype=bool)
    voxel_mm = float(np.prod(spacing_mm)) ** (1 / 3)
    lesion = Lesion.drawn(kind, points, spacing_mm, generator(seed, Stream.LESION), diameter_mm)
    intensity, cerebrum = render_head(lesion.displaced(points), subject, anatomy, spacing_mm)
    brain = inside(cerebrum, voxel_mm)
    lesion.paint(intensity, brain, subject, voxel_mm)
    mask = lesion.share(voxel_mm) * brain > 0.5
    return acquire(intensity, subject, spacing_mm, seed), mask


def _as_picture(values: np.ndarray, level: int, name: str) -> Volume:
    """Return one axial slice as an 8-bit picture, front up and the patient's right on the left."""
    picture = values[level, ::-1, ::-1]
    white = max(float(np.percentile(picture, 99.7)), 1.0)
    grey = np.rint(np.clip(picture / white, 0, 1) * 255).astype(np.float32)
    rows, columns = grey.shape
    return Volume(grey[np.newaxis], Geometry.of_pixels((rows, columns)), name, None, 255.0)
