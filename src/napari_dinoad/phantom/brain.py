"""The phantom's brain: folded cortex, white matter, ventricles, deep nuclei, cerebellum and brainstem."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.phantom.fields import FoldField, Points, capsule, ellipsoid, inside, paint, sheet, soft_min

if TYPE_CHECKING:
    from napari_dinoad.phantom.subject import Subject

__all__ = ["BrainVoxels", "paint_brain"]

_HULL_RADII = (65.0, 84.0, 59.0)
_HULL_CENTRE = (0.0, 0.0, 6.0)

_VENTRICLE = (
    # (|x|, y, z) in mm and radius in mm along the lateral ventricle, from the frontal to the occipital horn …
    ((11.0, 38.0, 6.0), 2.6),
    ((8.5, 26.0, 12.0), 4.6),
    ((8.0, 6.0, 19.0), 4.4),
    ((11.0, -18.0, 21.0), 4.6),
    ((19.0, -36.0, 14.0), 5.6),
    ((21.0, -60.0, 7.0), 2.2),
)
_TEMPORAL_HORN = (
    # … and from the atrium into the temporal lobe.
    ((21.0, -37.0, 11.0), 4.6),
    ((28.0, -30.0, -4.0), 3.2),
    ((32.0, -10.0, -15.0), 2.2),
)
_CAUDATE = (
    ((12.5, 28.0, 2.0), 4.5),
    ((14.5, 18.0, 8.0), 5.8),
    ((17.0, 2.0, 19.0), 3.8),
    ((20.0, -20.0, 22.0), 2.2),
)


@dataclass(frozen=True, eq=False)
class BrainVoxels:
    """The voxels in and near the brain, n of them.

    Attributes
    ----------
    points : Points
        Positions in the mean head, three (n,) arrays.
    cerebrum, cerebellum, stem : numpy.ndarray
        (n,) distances to these parts, negative inside.
    grain : numpy.ndarray
        (n,) fine random field, spread about 1.
    bend : Points
        Three (n,) random fields, coarser than a gyrus is wide, spread about 1.
    voxel_mm : float
    """

    points: Points
    cerebrum: np.ndarray
    cerebellum: np.ndarray
    stem: np.ndarray
    grain: np.ndarray
    bend: Points
    voxel_mm: float

    def take(self, where: np.ndarray) -> BrainVoxels:
        """Return some of the voxels, by index."""
        x, y, z = (axis[where] for axis in self.points)
        u, v, w = (axis[where] for axis in self.bend)
        return BrainVoxels(
            (x, y, z),
            self.cerebrum[where],
            self.cerebellum[where],
            self.stem[where],
            self.grain[where],
            (u, v, w),
            self.voxel_mm,
        )


def paint_brain(values: np.ndarray, voxels: BrainVoxels, subject: Subject, rng: np.random.Generator) -> None:
    """Paint the brain over the fluid that fills the skull: ``values`` (n,) float32, in place."""
    stem = subject.tissues.white * (0.93 + 0.02 * voxels.grain)
    paint(values, inside(voxels.stem, voxels.voxel_mm), stem)
    for where, part in (
        (voxels.cerebellum < 2, _paint_cerebellum),
        (voxels.cerebrum < 2, _paint_cerebrum),
        ((voxels.cerebrum < -10) | (voxels.stem < 0), _paint_core),
    ):
        index = np.flatnonzero(where)
        local = values[index]
        part(local, voxels.take(index), subject, rng)
        values[index] = local


def _paint_cerebrum(
    values: np.ndarray, voxels: BrainVoxels, subject: Subject, rng: np.random.Generator
) -> None:
    tissue = subject.tissues
    depth = np.maximum(-voxels.cerebrum, 0)
    sulci = np.minimum(
        _folds(voxels.points, voxels.bend, subject, rng), _fissures(voxels.points, voxels.grain, voxels.bend)
    )
    # Sulci gape towards the surface.
    half_width = np.float32(subject.sulcus_mm) * (1 + 1.2 * np.exp(depth * np.float32(-1 / 6)))
    to_pia = np.minimum(depth, np.maximum(sulci - half_width, 0))
    brain = inside(voxels.cerebrum, voxels.voxel_mm)
    paint(values, brain, tissue.grey * (1 + 0.02 * voxels.grain))
    white = tissue.white * (1 + 0.012 * voxels.grain)
    paint(values, brain * inside(np.float32(subject.cortex_mm) - to_pia, voxels.voxel_mm), white)
    paint(values, brain * sheet(sulci, half_width, voxels.voxel_mm), tissue.csf)


def _folds(points: Points, bend: Points, subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Return the distance to the nearest sulcus, which dives from the surface towards the centre.

    The labyrinth is sampled where the line from the centre through the voxel meets the hull, so that its sheets
    stand on the surface; ``bend``, a smooth displacement, keeps them from being straight.
    """
    centred = [p - np.float32(c) for p, c in zip(points, _HULL_CENTRE, strict=True)]
    level = np.sqrt(sum((p * np.float32(1 / r)) ** 2 for p, r in zip(centred, _HULL_RADII, strict=True)))
    # Depth is that below the hull, not below the brain's flat base: there, no sulcus dives into the nuclei.
    depth = (1 - level) * np.sqrt(sum(p * p for p in centred)) / np.maximum(level, np.float32(1e-3))
    shrink = np.clip(level, 0.3, 1.1)
    x, y, z = (p / shrink + np.float32(subject.bend_mm) * b for p, b in zip(centred, bend, strict=True))
    nearest = np.full(depth.shape, 1e3, dtype=np.float32)
    primary = (subject.fold_mm, subject.sulcus_depth_mm)
    for wavelength, reach in (primary, (0.6 * subject.fold_mm, 0.35 * subject.sulcus_depth_mm)):
        across = FoldField(rng, wavelength).distance((x, y, z)) * np.minimum(shrink, 1)
        beyond = np.maximum(depth - np.float32(reach) * (1 + 0.25 * bend[0]), 0)
        np.minimum(nearest, np.hypot(across, beyond), out=nearest)
    return nearest


def _fissures(points: Points, grain: np.ndarray, bend: Points) -> np.ndarray:
    """Return the distance to the cleft between the hemispheres and to those above the temporal lobes."""
    x, y, z = points
    core = ellipsoid(points, (0, -4, 6), (400, 46, 25))
    between = np.hypot(x + 0.4 * grain, np.maximum(-core, 0))
    side = np.abs(x)
    slope = z + 5 + 0.28 * (y - 10) + 2.5 * bend[0]
    short = np.maximum(36 - side, 0) + np.maximum(np.abs(y - 2) - 38, 0)
    above_temporal = np.hypot(slope * np.float32(0.96), short)
    return np.asarray(np.minimum(between, above_temporal))


def _paint_core(values: np.ndarray, voxels: BrainVoxels, subject: Subject, rng: np.random.Generator) -> None:
    """Paint nuclei and ventricles into the middle of the brain."""
    del rng  # they differ between subjects by size and warp only
    tissue = subject.tissues
    points, voxel_mm = voxels.points, voxels.voxel_mm
    side: Points = (np.abs(points[0]), points[1], points[2])
    thalamus = ellipsoid(side, (10.5, -14, 5), (8.5, 15, 10))
    paint(values, inside(thalamus, voxel_mm), tissue.thalamus)
    pallidum = ellipsoid(side, (19.5, -1, -1), (4.5, 10, 7))
    paint(values, inside(pallidum, voxel_mm), tissue.thalamus)
    putamen = ellipsoid(side, (26.5, 3, 0), (5, 17, 11))
    paint(values, inside(putamen, voxel_mm), tissue.deep_grey)
    paint(values, inside(_tube(side, _CAUDATE, 0.0), voxel_mm), tissue.deep_grey)
    hippocampus = capsule(side, (25, -10, -19), (31, -30, -6), (5.5, 4.0))
    paint(values, inside(hippocampus, voxel_mm), tissue.grey)
    grow = subject.ventricle_mm
    ventricle = soft_min(_tube(side, _VENTRICLE, grow), _tube(side, _TEMPORAL_HORN, 0.6 * grow), 3.0)
    third = ellipsoid(points, (0, -6, -1), (1.9 + 0.5 * grow, 13, 10))
    fourth = ellipsoid(points, (0, -31, -36), (6 + 0.5 * grow, 4.5 + 0.3 * grow, 9))
    fluid = np.minimum(np.minimum(ventricle, third), fourth)
    paint(values, inside(fluid, voxel_mm), tissue.csf)


def _tube(
    points: Points, course: tuple[tuple[tuple[float, float, float], float], ...], grow: float
) -> np.ndarray:
    """Return the distance to a tube along a course of (position, radius), every radius grown by ``grow``."""
    rods = (
        capsule(points, start, end, (max(r0 + grow, 0.8), max(r1 + grow, 0.8)))
        for (start, r0), (end, r1) in itertools.pairwise(course)
    )
    return functools.reduce(lambda nearest, rod: soft_min(nearest, rod, 2.0), rods)


def _paint_cerebellum(
    values: np.ndarray, voxels: BrainVoxels, subject: Subject, rng: np.random.Generator
) -> None:
    tissue = subject.tissues
    x, y, z = voxels.points
    distance, voxel_mm = voxels.cerebellum, voxels.voxel_mm
    paint(values, inside(distance, voxel_mm), tissue.grey * (1 + 0.03 * voxels.grain))
    # Leaves fan out from the stem: planes of constant angle about an axis through the fourth ventricle.
    angle = np.arctan2(z + 38, -(y + 22)) * 30 + rng.uniform(0, 6) + 0.002 * x * x + 1.2 * voxels.bend[2]
    leaf = np.cos(angle * np.float32(2 * np.pi / rng.uniform(5.5, 7.0)))
    tree = np.clip(0.55 * leaf + 0.1, 0, 1) * inside(distance + 3.5, 2.0)
    paint(values, tree, tissue.white)
    side: Points = (np.abs(x), y, z)
    medulla = soft_min(
        ellipsoid(side, (20, -46, -40), (16, 13, 8)),
        capsule(side, (3, -26, -36), (18, -42, -40), (5, 6)),
        5.0,
    )
    paint(values, inside(medulla, 1.5 * voxel_mm), tissue.white)
    gaps = np.clip(-leaf - 0.4, 0, 1) * inside(distance, voxel_mm) * inside(-distance - 4.0, 3.0)
    paint(values, gaps, tissue.csf)
