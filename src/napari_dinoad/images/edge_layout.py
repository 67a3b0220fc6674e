"""Where a scan has edges, how strong, and which way they run: a few hundred numbers that tell scans apart as a whole.

Histograms of oriented gradients (Dalal & Triggs, CVPR 2005) of a thumbnail of each slice, averaged over thirds of
the slices. A turned head, another plane or another contrast has its edges elsewhere.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_dinoad.images.slices import PreparedScan

__all__ = ["EdgeLayout"]

_THUMBNAIL_PX = 32
_STRENGTH_CELLS = 16
_DIRECTION_CELLS = 8
_N_DIRECTIONS = 6
_THIRDS = 3
_SLICES_AT_ONCE = 64
_LEVELS = 255
_FAINT = 1e-3
"""Edges weaker than this share of the range of intensities have no direction."""


@dataclass(frozen=True, eq=False)
class EdgeLayout:
    """The edges of a scan's slices, seen as model inputs.

    Attributes
    ----------
    strengths : numpy.ndarray
        (parts, 16, 16) float32: mean length of the gradient in each cell; parts are thirds of the slices, or all of
        them where there are fewer than three.
    directions : numpy.ndarray
        (parts, 8, 8, 6) float32: the same by direction of the gradient, from 0 to 180° in six bins.
    """

    strengths: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, prepared: PreparedScan) -> EdgeLayout:
        """Measure a scan in the plane for which it was prepared."""
        small = replace(prepared, placement=prepared.placement.coarser(_THUMBNAIL_PX))
        strengths, directions = [], []
        n_parts = _THIRDS if len(prepared.indices) >= _THIRDS else 1
        for part in np.array_split(np.array(prepared.indices), n_parts):
            totals = [np.zeros(_shape(cells)) for cells in (_STRENGTH_CELLS, _DIRECTION_CELLS)]
            for start in range(0, len(part), _SLICES_AT_ONCE):
                gradients = _by_direction(small.grey_images(part[start : start + _SLICES_AT_ONCE].tolist()))
                for total, cells in zip(totals, (_STRENGTH_CELLS, _DIRECTION_CELLS), strict=True):
                    total += _pooled(gradients, cells).sum(axis=0)
            strengths.append(totals[0].sum(axis=-1) / len(part))
            directions.append(totals[1] / len(part))
        return cls(np.stack(strengths).astype(np.float32), np.stack(directions).astype(np.float32))

    @property
    def n_parts(self) -> int:
        """Parts of the slices that are told apart: 3 or 1."""
        return len(self.strengths)

    def as_one(self) -> EdgeLayout:
        """Return the layout of all slices as one part."""
        return EdgeLayout(
            self.strengths.mean(axis=0, keepdims=True), self.directions.mean(axis=0, keepdims=True)
        )

    def strength_vector(self) -> np.ndarray:
        """Return the strengths as a vector of mean 0 and length 1, or of zeros; products are correlations."""
        flat = self.strengths.ravel() - self.strengths.mean()
        return _unit(flat)

    def direction_vector(self) -> np.ndarray:
        """Return the directions, those of each cell of one length, as a vector of length 1, or of zeros."""
        lengths = np.linalg.norm(self.directions, axis=-1, keepdims=True)
        return _unit((self.directions / np.maximum(lengths, _FAINT)).ravel())

    def encoded(self) -> str:
        """Return the layout as a short text; numbers are kept to 1/255 of the largest."""
        parts = []
        for array in (self.strengths, self.directions):
            largest = float(array.max(initial=0.0))
            levels = np.rint(array / (largest or 1.0) * _LEVELS).astype(np.uint8)
            parts += [np.float32(largest).tobytes(), levels.tobytes()]
        return base64.b64encode(b"".join(parts)).decode("ascii")

    @classmethod
    def decoded(cls, text: str) -> EdgeLayout:
        """Return the layout that `encoded` told."""
        content = base64.b64decode(text)
        sizes = [int(np.prod(_shape(_STRENGTH_CELLS)[:-1])), int(np.prod(_shape(_DIRECTION_CELLS)))]
        n_parts = (len(content) - 8) // sum(sizes)
        arrays, at = [], 0
        for size in sizes:
            (largest,) = np.frombuffer(content, np.float32, 1, at)
            levels = np.frombuffer(content, np.uint8, n_parts * size, at + 4)
            arrays.append(levels.astype(np.float32) * (largest / _LEVELS))
            at += 4 + n_parts * size
        return cls(
            arrays[0].reshape(n_parts, _STRENGTH_CELLS, _STRENGTH_CELLS),
            arrays[1].reshape(n_parts, *_shape(_DIRECTION_CELLS)),
        )


def _shape(cells: int) -> tuple[int, int, int]:
    return (cells, cells, _N_DIRECTIONS)


def _by_direction(images: np.ndarray) -> np.ndarray:
    """Return the length of the gradient in the bin of its direction, else 0: (n, H, W, directions) float32."""
    down, right = np.gradient(images, axis=(1, 2))
    lengths = np.hypot(down, right)
    angle = np.mod(np.arctan2(down, right), np.pi)
    bins = (angle * (_N_DIRECTIONS / np.pi)).astype(int) % _N_DIRECTIONS
    return np.where(bins[..., None] == np.arange(_N_DIRECTIONS), lengths[..., None], np.float32(0))


def _pooled(gradients: np.ndarray, cells: int) -> np.ndarray:
    """Return means over cells (n, cells, cells, directions) of gradients (n, H, W, directions)."""
    n, height, width, n_directions = gradients.shape
    blocks = gradients.reshape(n, cells, height // cells, cells, width // cells, n_directions)
    return np.asarray(blocks.mean(axis=(2, 4)))


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector
