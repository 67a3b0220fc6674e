"""A head from formulas: tissue by tissue, painted from the outside in.

Coordinates are those of the mean head: x to the patient's right, y to the front, z upwards, in millimetres, origin
between the thalami. Every body is a signed distance (negative inside); its edge is soft over one voxel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.phantom.brain import BrainVoxels, paint_brain
from napari_dinoad.phantom.fields import (
    Points,
    capsule,
    ellipsoid,
    inside,
    paint,
    smooth_noise,
    soft_max,
    soft_min,
)

if TYPE_CHECKING:
    from napari_dinoad.phantom.subject import Subject

__all__ = ["render_head"]

_BRAIN_MARGIN_MM = 3.0
"""Voxels this far outside the brain are still looked at when the brain is painted."""


def render_head(
    points: Points, subject: Subject, rng: np.random.Generator, spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a subject's head, before the scanner, and the distance to its cerebrum, negative inside.

    Both (z, y, x) float32; white matter is about 0.9.

    Parameters
    ----------
    points : Points
        Each voxel's position in the mean head (z, y, x arrays), lesion warps included.
    subject : Subject
    rng : numpy.random.Generator
        Source of the folds and other random detail.
    spacing_mm : tuple of float
        Voxel size (z, y, x).
    """
    voxel_mm = float(np.prod(spacing_mm)) ** (1 / 3)
    shape = points[0].shape
    grain = smooth_noise(rng, shape, spacing_mm, 4.0)
    lateral = _mirrored(points)
    egg = _egg(points, subject)
    cerebrum = _cerebrum(lateral, egg, smooth_noise(rng, shape, spacing_mm, 22.0))
    cerebellum = _cerebellum(lateral, cerebrum)
    stem = _brainstem(points)
    braincase = soft_min(soft_min(cerebrum, cerebellum, 14.0), stem, 10.0) - np.float32(subject.csf_gap_mm)
    speckle = _speckle(points)
    values = _paint_soft_tissue(points, lateral, egg, speckle, subject, voxel_mm)
    _paint_skull(values, points, braincase, speckle, subject, voxel_mm)
    near = np.flatnonzero(np.minimum(np.minimum(cerebrum, cerebellum), stem) < _BRAIN_MARGIN_MM)
    x, y, z = (axis.ravel()[near] for axis in points)
    u, v, w = (smooth_noise(rng, shape, spacing_mm, 14.0).ravel()[near] for _ in range(3))
    voxels = BrainVoxels(
        (x, y, z),
        cerebrum.ravel()[near],
        cerebellum.ravel()[near],
        stem.ravel()[near],
        grain.ravel()[near],
        (u, v, w),
        voxel_mm,
    )
    brain = values.ravel()[near]
    paint_brain(brain, voxels, subject, rng)
    values.ravel()[near] = brain
    return values, cerebrum


def _mirrored(points: Points) -> Points:
    return np.abs(points[0]), points[1], points[2]


def _egg(points: Points, subject: Subject) -> Points:
    """Return positions with the back of the head drawn in as much as it is wider than the front."""
    x, y, z = points
    return x / (1 - np.float32(subject.skew / 84) * np.clip(y, -100, 100)), y, z


def _cerebrum(lateral: Points, egg: Points, unevenness: np.ndarray) -> np.ndarray:
    side, y, z = lateral
    hull = ellipsoid(egg, (0, 0, 6), (65, 84, 59))
    # In front the base rises to the orbits; behind it lies on the tentorium, a tent with its ridge on the midline.
    tent = np.clip((-y - 12) * np.float32(1 / 20), 0, 1)
    front = 0.2 * y - 19
    base = front + tent * (1 - 0.36 * side - front) + 1.5 * unevenness
    temporal = ellipsoid(lateral, (43, 4, -20), (22, 42, 19))
    return soft_min(soft_max(hull, (base - z) * np.float32(0.94), 12.0), temporal, 10.0)


def _cerebellum(lateral: Points, cerebrum: np.ndarray) -> np.ndarray:
    lobe = ellipsoid(lateral, (22, -48, -40), (31, 27, 22))
    worm = ellipsoid(lateral, (0, -50, -22), (27, 28, 28))
    # The tentorium keeps it 1.2 mm below the cerebrum.
    return soft_max(soft_min(lobe, worm, 8.0), 1.2 - cerebrum, 2.0)


def _brainstem(points: Points) -> np.ndarray:
    midbrain = capsule(points, (0, -14, -8), (0, -18, -22), (12.5, 13))
    pons = ellipsoid(points, (0, -17, -32), (17, 14, 14))
    medulla = capsule(points, (0, -24, -40), (0, -32, -70), (9, 6.5))
    cord = capsule(points, (0, -32, -70), (0, -36, -140), (6.0, 5.5))
    return soft_min(soft_min(midbrain, pons, 6.0), soft_min(medulla, cord, 4.0), 6.0)


def _speckle(points: Points) -> np.ndarray:
    """Return a fine texture, spread about 1, that every head has in the same places: its make-up, not its folds."""
    x, y, z = points
    first = np.sin(0.50 * x + 1.3 * np.sin(0.23 * y) + 0.21 * z)
    second = np.sin(0.47 * y + 1.1 * np.sin(0.27 * z) - 0.17 * x)
    third = np.sin(0.52 * z + 1.2 * np.sin(0.25 * x) + 0.19 * y)
    return np.asarray(0.82 * (first + second + third), dtype=np.float32)


def _paint_soft_tissue(
    points: Points, lateral: Points, egg: Points, speckle: np.ndarray, subject: Subject, voxel_mm: float
) -> np.ndarray:
    """Return the head without skull and brain: skin, fat, muscle, airways, orbits, on air."""
    tissue = subject.tissues
    wall = subject.csf_gap_mm + subject.skull_mm + subject.scalp_mm + 2.0
    cranium = ellipsoid(egg, (0, 0, 4), (65 + wall, 84 + wall, 61 + wall))
    face = ellipsoid(points, (0, 42, -48), (58, 54, 52))
    neck = ellipsoid(points, (0, -22, -110), (56, 54, 95))
    nose = ellipsoid(points, (0, 94, -44), (12, 15, 20))
    surface = soft_min(soft_min(cranium, soft_min(face, nose, 10.0), 22.0), neck, 24.0)
    values = np.full(surface.shape, tissue.air, dtype=np.float32)
    # Muscle is streaked with fat.
    flesh = tissue.muscle + (tissue.fat - tissue.muscle) * np.clip(0.8 * speckle - 0.7, 0, 0.8)
    paint(values, inside(surface, voxel_mm), tissue.skin)
    paint(values, inside(surface + 1.8, voxel_mm), tissue.fat * (1 + 0.05 * speckle))
    paint(values, inside(surface + np.float32(1.8 + subject.scalp_mm), voxel_mm), flesh)
    _paint_face(values, points, lateral, speckle, subject, voxel_mm)
    return values


def _paint_face(
    values: np.ndarray,
    points: Points,
    lateral: Points,
    speckle: np.ndarray,
    subject: Subject,
    voxel_mm: float,
) -> None:
    tissue = subject.tissues
    # Only slices of which some part lies below the eyes' upper edge hold any of it.
    low = slice(0, int(np.searchsorted(points[2].min(axis=(1, 2)), -8.0)))
    z = tuple(axis[low] for axis in points)
    below: Points = (z[0], z[1], z[2])
    beside: Points = (lateral[0][low], z[1], z[2])
    target, rough = values[low], speckle[low]
    jaw = ellipsoid(below, (0, 48, -58), (40, 36, 24))
    paint(target, inside(jaw, voxel_mm) * np.clip(rough + 0.4, 0, 1) * 0.7, tissue.bone)
    nasal = ellipsoid(below, (0, 58, -42), (15, 34, 22))
    paint(target, inside(nasal, voxel_mm) * np.clip(0.75 - 0.5 * rough, 0, 1), tissue.air)
    sinus = ellipsoid(beside, (30, 62, -54), (13, 15, 12))
    paint(target, inside(sinus, voxel_mm), tissue.air)
    throat = capsule(below, (0, 26, -56), (0, 8, -130), (9, 8))
    paint(target, inside(throat, voxel_mm), tissue.air)
    ear = ellipsoid(beside, (54, -26, -44), (13, 16, 15))
    paint(target, inside(ear, voxel_mm) * np.clip(0.7 - 0.5 * rough, 0, 1), tissue.bone)
    orbit = ellipsoid(beside, (31, 60, -27), (18, 25, 16))
    paint(target, inside(orbit, voxel_mm), tissue.fat * 0.95)
    nerve = capsule(beside, (31, 66, -27), (12, 30, -21), (2.4, 2.4))
    paint(target, inside(nerve, voxel_mm), tissue.muscle)
    eye = ellipsoid(beside, (31, 73, -27), (12.2, 12.2, 12.2))
    paint(target, inside(eye, voxel_mm), tissue.muscle)
    paint(target, inside(eye + 1.5, voxel_mm), tissue.csf)
    vertebra = ellipsoid(below, (0, -18, -110), (13, 10, 42))
    paint(target, inside(vertebra, voxel_mm), tissue.marrow * 1.2)


def _paint_skull(
    values: np.ndarray,
    points: Points,
    braincase: np.ndarray,
    speckle: np.ndarray,
    subject: Subject,
    voxel_mm: float,
) -> None:
    """Lay the skull with its marrow, and the fluid inside it, over the soft tissue."""
    tissue = subject.tissues
    thickness = np.float32(subject.skull_mm)
    # Bone around the spinal canal is thin; the neck below it has none of the vault's.
    vault = np.clip((points[2] + 75) * np.float32(1 / 15), 0.15, 1)
    paint(values, inside(braincase - thickness * vault, voxel_mm), tissue.bone)
    middle = np.abs(braincase - thickness / 2) - (thickness / 2 - 1.6)
    high = np.clip((points[2] + 15) * np.float32(1 / 20), 0, 1)
    # The vault has one layer of marrow, the base patches of it.
    paint(values, inside(middle, voxel_mm) * np.maximum(high, np.clip(0.6 * speckle, 0, 1)), tissue.marrow)
    paint(values, inside(braincase, voxel_mm), tissue.csf)
    clivus = ellipsoid(points, (0, 4, -38), (15, 13, 11))
    paint(values, inside(clivus, 2 * voxel_mm), tissue.bone)
    paint(values, inside(clivus + 2.5, 2 * voxel_mm), tissue.marrow * 1.4 * (1 + 0.15 * speckle))
