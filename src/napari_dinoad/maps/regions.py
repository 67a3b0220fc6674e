"""Connected regions of a mask: size, peak, place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.images.values.blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.images.volume import Geometry

__all__ = ["Region", "measure_regions", "rounded_size"]

_VOXELS_AT_ONCE = 2**20
"""Regions are measured in blocks of about so many voxels."""


@dataclass(frozen=True)
class Region:
    """One connected region (neighbours share a face, an edge or a corner).

    Attributes
    ----------
    label : int
        Its number in the mask; 1 has the highest peak.
    n_voxels : int
    volume_mm3 : float, optional
        For volumes with physical size.
    area_mm2 : float, optional
        For 2D scans with physical size.
    area_px : int, optional
        For images without physical size.
    peak_neg_log10_p : float
        Highest −log10 p in the region.
    peak_ijk : tuple of int
        Voxel index of the peak as the scan is stored.
    peak_zyx : tuple of int
        Index of the peak in the canonical array.
    peak_mm, centroid_mm : tuple of float, optional
        RAS+ millimetres; None without physical size.
    centroid_ijk : tuple of float
        Centre of gravity as the scan is stored.
    extent_mm : tuple of float, optional
        Size of the box around the region along (x, y, z) of the canonical array: right-left, front-back, up-down.
        None without physical size.
    """

    label: int
    n_voxels: int
    volume_mm3: float | None
    area_mm2: float | None
    area_px: int | None
    peak_neg_log10_p: float
    peak_ijk: tuple[int, ...]
    peak_zyx: tuple[int, int, int]
    peak_mm: tuple[float, float, float] | None
    centroid_ijk: tuple[float, ...]
    centroid_mm: tuple[float, float, float] | None
    extent_mm: tuple[float, float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the entries that do not apply."""
        values = {
            "label": self.label,
            "n_voxels": self.n_voxels,
            "volume_mm3": self.volume_mm3,
            "area_mm2": self.area_mm2,
            "area_px": self.area_px,
            "peak_neg_log10_p": round(self.peak_neg_log10_p, 4),
            "peak_ijk": list(self.peak_ijk),
            "peak_mm": _rounded(self.peak_mm),
            "centroid_ijk": _rounded(self.centroid_ijk),
            "centroid_mm": _rounded(self.centroid_mm),
            "extent_mm": _rounded(self.extent_mm),
        }
        return {name: value for name, value in values.items() if value is not None}


def measure_regions(labels: np.ndarray, neg_log10_p: np.ndarray, geometry: Geometry) -> tuple[Region, ...]:
    """Measure the regions of a label array, in the order of their numbers.

    Parameters
    ----------
    labels : numpy.ndarray
        (z, y, x) int in canonical orientation, 0 outside.
    neg_log10_p : numpy.ndarray
        (z, y, x) float, the anomaly map.
    geometry : Geometry
        The grid of both.
    """
    parts = [
        _Parts.of_block(labels[where], neg_log10_p[where], where)
        for where in blocks(labels.shape, _VOXELS_AT_ONCE)
    ]
    whole = _Parts.joined(parts)
    centroids, sides = whole.sums / whole.counts[:, None], whole.ends - whole.starts + 1
    return tuple(
        _measure(label, count, peak, float(neg_log10_p[tuple(peak)]), centroid, side, geometry)
        for label, count, peak, centroid, side in zip(
            whole.labels.tolist(),
            whole.counts.tolist(),
            whole.peaks.tolist(),
            centroids.tolist(),
            sides.tolist(),
            strict=True,
        )
    )


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a block of a scan holds of regions: sums, so that those of other blocks can be added.

    A whole scan's marked voxels are not sorted at once, which takes a hundred bytes of each.

    Attributes
    ----------
    labels, counts : numpy.ndarray
        (m,) of each region, and its voxels there.
    sums, starts, ends : numpy.ndarray
        (m, 3) int: sum, least and greatest of the voxels' indices.
    peaks : numpy.ndarray
        (m, 3) int: the first voxel with the highest value.
    values : numpy.ndarray
        (m,) float: this value.
    """

    labels: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    peaks: np.ndarray
    values: np.ndarray

    @classmethod
    def of_block(
        cls, labels: np.ndarray, neg_log10_p: np.ndarray, where_in_scan: tuple[slice, slice]
    ) -> _Parts:
        """Return the parts in a block (n, rows, x); see `blocks`."""
        where = np.flatnonzero(labels != 0)  # of bool: a fifth of the time
        indices = np.stack(np.unravel_index(where, labels.shape), axis=-1)
        indices[:, :2] += [where_in_scan[0].start, where_in_scan[1].start]
        voxels = labels.ravel()[where], np.ones(len(where), dtype=np.int64), indices
        return cls._grouped(*voxels, indices, indices, indices, neg_log10_p.ravel()[where])

    @classmethod
    def joined(cls, parts: Sequence[_Parts]) -> _Parts:
        """Return the parts of all blocks, given in their order."""
        return cls._grouped(
            *(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls))
        )

    @classmethod
    def _grouped(
        cls,
        labels: np.ndarray,
        counts: np.ndarray,
        sums: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        peaks: np.ndarray,
        values: np.ndarray,
    ) -> _Parts:
        """Return one row for each label."""
        if not labels.size:
            return cls(labels, counts, sums, starts, ends, peaks, values)
        # Only marked voxels are sorted: SciPy's measurements sort the whole scan.
        order = np.lexsort((-values, labels))
        present, first = np.unique(labels[order], return_index=True)
        return cls(
            present,
            np.add.reduceat(counts[order], first),
            np.add.reduceat(sums[order], first, axis=0),
            np.minimum.reduceat(starts[order], first, axis=0),
            np.maximum.reduceat(ends[order], first, axis=0),
            peaks[order[first]],
            values[order[first]],
        )


def _measure(
    label: int,
    n_voxels: int,
    peak: list[int],
    peak_value: float,
    centroid: list[float],
    sides: list[int],
    geometry: Geometry,
) -> Region:
    z, y, x = peak
    size = n_voxels * geometry.voxel_volume
    peak_ijk = geometry.canonical_to_stored_index(np.array([z, y, x]))
    centroid_ijk = geometry.canonical_to_stored_index(np.array(centroid))
    physical = geometry.is_physical
    return Region(
        label=label,
        n_voxels=n_voxels,
        volume_mm3=rounded_size(size) if physical and geometry.ndim == 3 else None,
        area_mm2=rounded_size(size) if physical and geometry.ndim == 2 else None,
        area_px=None if physical else n_voxels,
        peak_neg_log10_p=peak_value,
        peak_ijk=tuple(round(float(i)) for i in peak_ijk),
        peak_zyx=(z, y, x),
        peak_mm=_position(geometry, (z, y, x)) if physical else None,
        centroid_ijk=tuple(float(i) for i in centroid_ijk),
        centroid_mm=_position(geometry, centroid) if physical else None,
        extent_mm=_extent(sides, geometry) if physical else None,
    )


def _extent(sides: list[int], geometry: Geometry) -> tuple[float, float, float]:
    z, y, x = (side * size for side, size in zip(sides, geometry.spacing, strict=True))
    return x, y, z


def _position(geometry: Geometry, zyx: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = geometry.canonical_to_world(np.array(zyx))
    return float(x), float(y), float(z)


def _rounded(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else [round(value, 3) for value in values]


def rounded_size(size: float) -> float:
    """Return a size to 0.001, of small ones (voxels of micrometres) to four digits."""
    return round(size, 3) if size >= 1 else float(f"{size:.4g}")
