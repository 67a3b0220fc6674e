"""Slice ↔ model input: resampling within a plane, and the exact inverse placement of patch maps.

Both directions are separable and linear, hence two small matrices a slice shape: exact, without loops over pixels.
Coordinates are continuous and edge-based: voxel ``i`` covers [i, i + 1), its centre is at i + ½.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.sparse import csr_array

__all__ = ["Placement"]


@dataclass(frozen=True)
class Placement:
    """Where the square model input lies on a slice.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns) of the slice in display orientation.
    corner : tuple of float
        (row, column) of the input's upper left corner, in voxels of the slice (may lie outside).
    step : tuple of float
        (row, column) size of an input pixel in voxels; both describe the same length in millimetres.
    resolution_px : int
        Side of the input in pixels.
    """

    shape: tuple[int, int]
    corner: tuple[float, float]
    step: tuple[float, float]
    resolution_px: int

    @classmethod
    def around(
        cls,
        shape: tuple[int, int],
        spacing: tuple[float, float],
        box: tuple[tuple[int, int], tuple[int, int]],
        resolution_px: int,
        margin: float = 0.0,
    ) -> Placement:
        """Place a square that holds ``box`` with its aspect ratio kept.

        Parameters
        ----------
        shape, spacing : tuple
            (rows, columns) of the slice and the size of its voxels.
        box : tuple
            ((first row, past last row), (first column, past last column)) to hold.
        resolution_px : int
            Side of the input in pixels.
        margin : float
            Share of the box's longer side that is added on each side.
        """
        lengths = [(stop - start) * size for (start, stop), size in zip(box, spacing, strict=True)]
        side = max(lengths) * (1 + 2 * margin)
        corner = [
            (start + stop) / 2 - side / size / 2 for (start, stop), size in zip(box, spacing, strict=True)
        ]
        step = [side / size / resolution_px for size in spacing]
        return cls(shape, (corner[0], corner[1]), (step[0], step[1]), resolution_px)

    @cached_property
    def sampling(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (resolution, rows) and (resolution, columns) float32 that take a slice to a model input."""
        rows, columns = (
            _sampling_matrix(n, corner, step, self.resolution_px)
            for n, corner, step in zip(self.shape, self.corner, self.step, strict=True)
        )
        return rows, columns

    def to_model(self, slices: np.ndarray) -> np.ndarray:
        """Return model inputs (n, resolution, resolution) float32 of slices (n, rows, columns).

        Linear interpolation; when an input pixel is larger than a voxel, a triangle filter of its width
        (no aliasing). Outside the slice the input is 0.
        """
        return _both_ways(self._sparse_sampling, slices)

    @cached_property
    def _sparse_sampling(self) -> tuple[csr_array, csr_array]:
        rows, columns = self.sampling
        return csr_array(rows), csr_array(columns)

    def to_slice(self, patch_maps: np.ndarray) -> np.ndarray:
        """Return maps (n, rows, columns) float32 on the slice's own voxels of patch maps (n, gh, gw).

        Bilinear between patch centres; beyond the outermost centres the nearest patch's value.
        """
        return _both_ways(_sparse_interpolation(self, (patch_maps.shape[1], patch_maps.shape[2])), patch_maps)

    def interpolation(self, patch_grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (rows, gh) and (columns, gw) float32 that take a patch map to a slice; see `to_slice`."""
        rows, columns = (
            _interpolation_matrix(n, corner, step, self.resolution_px / n_patches, n_patches)
            for n, corner, step, n_patches in zip(self.shape, self.corner, self.step, patch_grid, strict=True)
        )
        return rows, columns

    def coarser(self, cells: int) -> Placement:
        """Return the same square as an input of ``cells`` × ``cells`` pixels."""
        factor = self.resolution_px / cells
        return replace(self, step=(self.step[0] * factor, self.step[1] * factor), resolution_px=cells)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values for `from_dict`."""
        return {
            "shape": list(self.shape),
            "corner": list(self.corner),
            "step": list(self.step),
            "resolution_px": self.resolution_px,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Placement:
        """Return the placement that `to_dict` described."""
        (rows, columns), (row, column), (dr, dc) = values["shape"], values["corner"], values["step"]
        return cls((rows, columns), (row, column), (dr, dc), values["resolution_px"])


@lru_cache(maxsize=4)
def _sparse_interpolation(placement: Placement, patch_grid: tuple[int, int]) -> tuple[csr_array, csr_array]:
    """Return `Placement.interpolation`; kept, since the slices of a scan come a few, or one, at a time."""
    rows, columns = placement.interpolation(patch_grid)
    return csr_array(rows), csr_array(columns)


def _both_ways(weights: tuple[csr_array, csr_array], stack: np.ndarray) -> np.ndarray:
    """Return weights (r, rows) · image · weights (c, columns)ᵀ, (n, r, c) float32, of images (n, rows, columns).

    Each value is a sum of a few terms in a fixed order, the same bits on any number of threads.
    """
    rows, columns = weights
    out = np.empty((len(stack), rows.shape[0], columns.shape[0]), dtype=np.float32)
    for target, image in zip(out, stack, strict=True):
        across = columns @ np.ascontiguousarray(image.T, dtype=np.float32)
        target[:] = rows @ np.ascontiguousarray(across.T)
    return out


def _sampling_matrix(n: int, corner: float, step: float, resolution: int) -> np.ndarray:
    """Return (resolution, n) weights that take voxels along one axis to input pixels."""
    centres = corner + (np.arange(resolution) + 0.5) * step
    reach = max(1.0, step)
    nearest = np.clip(centres, 0.5, n - 0.5)
    weights = np.maximum(0.0, 1.0 - np.abs(nearest[:, None] - (np.arange(n) + 0.5)) / reach)
    weights /= weights.sum(axis=1, keepdims=True)
    weights[(centres < 0) | (centres > n)] = 0.0
    return np.asarray(weights, dtype=np.float32)


def _interpolation_matrix(n: int, corner: float, step: float, patch_px: float, n_patches: int) -> np.ndarray:
    """Return (n, n_patches) weights that take patch values along one axis to voxels."""
    position = ((np.arange(n) + 0.5 - corner) / step) / patch_px - 0.5
    position = np.clip(position, 0, n_patches - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(n_patches)))
    return np.asarray(weights, dtype=np.float32)
