"""Segments on a grid of their own, as programs crop them, on the voxels of a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import ScanReadError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.volume import Geometry

__all__ = ["mark_in_place"]

_PLACE_TOLERANCE = 0.1
"""Voxels by which a segmentation may lie off the scan's: programs round positions."""


def mark_in_place(
    truth: np.ndarray,
    marked: np.ndarray,
    geometry: Geometry,
    grid: Geometry,
    path: Path,
    *,
    may_lack_slices: bool = False,
) -> None:
    """Set a truth, in place, where segments are marked on a grid that may hold fewer slices, rows and columns.

    Parameters
    ----------
    truth, marked : numpy.ndarray
        (z, y, x) bool, in canonical orientation.
    geometry, grid : Geometry
        Of ``marked``, and of the scan and its ``truth``.
    path : Path
        Of the segmentation.
    may_lack_slices : bool
        Whether steps along one axis may be those of slices that are held, of which some between are not; otherwise
        they are the size of voxels, which must be that of the scan's.

    Raises
    ------
    ScanReadError
        If marked voxels lie between those of the scan, or beyond it, or are of another size or turned.
    """
    if not marked.any():
        return
    to_scan = np.linalg.inv(grid.canonical_affine) @ geometry.canonical_affine
    # Over the whole extent of the segments, in voxels: how far their axes part from the scan's.
    off = np.abs(to_scan[:3, :3] - np.eye(3)) * marked.shape[::-1]
    is_along = np.diag(off) < _PLACE_TOLERANCE
    n_along = 2 if may_lack_slices else 3
    is_parallel = bool((off[~np.eye(3, dtype=bool)] < _PLACE_TOLERANCE).all()) and is_along.sum() >= n_along
    here, there = [], []
    for axis in range(3):  # of the array: z, y, x
        others = tuple(other for other in range(3) if other != axis)
        indices = np.flatnonzero(marked.any(axis=others))
        places = to_scan[2 - axis, 2 - axis] * indices + to_scan[2 - axis, 3]
        nearest = np.rint(places).astype(int)
        if not is_parallel or np.abs(places - nearest).max() > _PLACE_TOLERANCE:
            raise ScanReadError(f"{path}: the segmentation lies on another grid than its scan.")
        if nearest.min() < 0 or nearest.max() >= truth.shape[axis]:
            raise ScanReadError(f"{path}: the segmentation reaches beyond its scan.")
        here.append(indices)
        there.append(nearest)
    truth[np.ix_(*there)] |= marked[np.ix_(*here)]
