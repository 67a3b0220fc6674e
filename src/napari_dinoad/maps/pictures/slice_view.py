"""How slices of a scan are looked at: which plane, which part, in true proportions and radiological orientation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from napari_dinoad.images.volume import Geometry
    from napari_dinoad.maps.anomaly_map import AnomalyMap

__all__ = ["PLANE_NAMES", "SliceView"]

PLANE_NAMES = ("axial", "coronal", "sagittal")
"""Names of the planes across axes z, y and x."""

_EDGES = (("A", "P", "R", "L"), ("S", "I", "R", "L"), ("S", "I", "A", "P"))
"""What lies at the top, bottom, left and right edge of each plane: the patient's right is on the left."""

_BORDER = 2
"""Voxels left around what is shown."""

_BACKGROUND_SHARE = 0.15
"""Voxels below this share of the brightest that were not scored are cut away at the picture's edge."""


@dataclass(frozen=True)
class SliceView:
    """One plane of a scan, cut to what is bright or was scored.

    Attributes
    ----------
    axis : int
        Axis of the canonical array across which slices are taken.
    part : tuple of slice
        Rows and columns that are shown.
    spacing : tuple of float
        Size of a voxel along rows and columns.
    geometry : Geometry
    length : float, optional
        What the side of a panel shows: millimetres, or pixels of an image without physical size. None: as much as
        the longer side of this plane. With one for all, planes have the same scale.
    """

    axis: int
    part: tuple[slice, slice]
    spacing: tuple[float, float]
    geometry: Geometry
    length: float | None = None

    @classmethod
    def of(cls, anomaly_map: AnomalyMap, axis: int | None = None) -> SliceView:
        """Return the view of a map's scan across ``axis``; None: the plane of a 2D scan, or axial.

        All that was scored is in it, however dark: a region in dark tissue would be in the table and in no picture.
        """
        volume = anomaly_map.source
        values = volume.values
        if axis is None:
            axis = values.shape.index(1) if 1 in values.shape else 0
        shadow = values.max(axis=axis) > anomaly_map.bright * _BACKGROUND_SHARE
        shadow |= (anomaly_map.values > 0).any(axis=axis)
        rows, columns = (_extent(shadow.any(axis=other)) if shadow.any() else slice(None) for other in (1, 0))
        return replace(cls.of_whole(volume.geometry, axis), part=(rows, columns))

    @classmethod
    def of_whole(cls, geometry: Geometry, axis: int) -> SliceView:
        """Return the view across ``axis`` that cuts nothing away."""
        rows, columns = (s for a, s in enumerate(geometry.spacing) if a != axis)
        return cls(axis, (slice(None), slice(None)), (rows, columns), geometry)

    @property
    def name(self) -> str:
        """``"axial"``, ``"coronal"`` or ``"sagittal"``; ``"image"`` for pixels without a place in the patient."""
        return PLANE_NAMES[self.axis] if self.geometry.is_physical else "image"

    @property
    def edges(self) -> tuple[str, str, str, str] | None:
        """Letters for the top, bottom, left and right edge; None for pixels without a place in the patient."""
        return _EDGES[self.axis] if self.geometry.is_physical else None

    def show(self, values: np.ndarray, index: int, size_px: int, *, smooth: bool) -> np.ndarray:
        """Return one slice of a canonical array, centred in a square panel of float32."""
        plane = np.take(values, index, axis=self.axis).astype(np.float32)
        return self.show_plane(plane, size_px, smooth=smooth)

    def show_plane(self, plane: np.ndarray, size_px: int, *, smooth: bool) -> np.ndarray:
        """Return a slice (rows, columns) of a canonical array, float32 or uint8, centred in a square panel alike.

        One of colours, (rows, columns, 3) uint8, lies on black.
        """
        plane = plane[self.part]
        if self.geometry.is_physical:
            plane = plane[::-1, ::-1]
        rows, columns = self._drawn_size(size_px)
        top, left = self._offset(size_px)
        kind = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        zoomed = np.asarray(Image.fromarray(plane).resize((columns, rows), kind))
        ground = plane.min() if smooth and plane.ndim == 2 else 0
        panel = np.full((size_px, size_px, *plane.shape[2:]), ground, dtype=plane.dtype)
        panel[top : top + rows, left : left + columns] = zoomed
        return panel

    def to_panel(self, row: float, column: float, size_px: int) -> tuple[float, float]:
        """Return where the middle of a slice's voxel (row, column) lies in the panel, from the top and the left."""
        voxel, (rows, columns) = self._turned(row, column), self._shape
        drawn, (top, left) = self._drawn_size(size_px), self._offset(size_px)
        return (
            top + (voxel[0] + 0.5) * drawn[0] / rows,
            left + (voxel[1] + 0.5) * drawn[1] / columns,
        )

    def from_panel(self, y_px: float, x_px: float, size_px: int) -> tuple[int, int]:
        """Return the voxel (row, column) that is drawn at a place of the panel, or the nearest."""
        drawn, (top, left) = self._drawn_size(size_px), self._offset(size_px)
        rows, columns = self._shape
        row = min(max(int((y_px - top) / drawn[0] * rows), 0), rows - 1)
        column = min(max(int((x_px - left) / drawn[1] * columns), 0), columns - 1)
        turned = self._turned(row, column, back=True)
        return int(turned[0]), int(turned[1])

    def pixels_per_unit(self, size_px: int) -> float:
        """Return how many pixels of a panel a millimetre takes (or an image pixel, without physical size)."""
        return size_px / (self.length or self.longest)

    @property
    def longest(self) -> float:
        """Length of the longer side of the part that is shown, in millimetres or pixels."""
        return max(self._lengths)

    def position(self, index: int) -> str:
        """Return where a slice lies, for people."""
        if not self.geometry.is_physical:
            return f"image {index + 1}" if self.geometry.canonical_shape[0] > 1 else ""
        middle = [(n - 1) / 2 for n in self.geometry.canonical_shape]
        middle[self.axis] = index
        offset = float(self.geometry.canonical_to_world(np.array(middle))[2 - self.axis])
        letter = ("SI", "AP", "RL")[self.axis][0 if offset >= 0 else 1]
        return (
            f"{letter} {abs(offset):.1f} mm, slice {index + 1} of {self.geometry.canonical_shape[self.axis]}"
        )

    @property
    def _ranges(self) -> tuple[range, range]:
        """Rows and columns of a slice that are shown."""
        shape = [n for a, n in enumerate(self.geometry.canonical_shape) if a != self.axis]
        rows, columns = (range(*part.indices(n)) for part, n in zip(self.part, shape, strict=True))
        return rows, columns

    @property
    def _shape(self) -> tuple[int, int]:
        rows, columns = self._ranges
        return len(rows), len(columns)

    @property
    def _lengths(self) -> tuple[float, float]:
        rows, columns = self._shape
        return rows * self.spacing[0], columns * self.spacing[1]

    def _turned(self, row: float, column: float, *, back: bool = False) -> tuple[float, float]:
        """Return a voxel of a slice counted within the part that is shown, as it is shown; or the way back."""
        rows, columns = self._ranges
        places = []
        for place, shown in ((row, rows), (column, columns)):
            within = place if back else place - shown.start
            if self.geometry.is_physical:
                within = len(shown) - 1 - within
            places.append(within + shown.start if back else within)
        return places[0], places[1]

    def _offset(self, size_px: int) -> tuple[int, int]:
        """Return where a panel's picture begins, from the top and the left."""
        rows, columns = self._drawn_size(size_px)
        return (size_px - rows) // 2, (size_px - columns) // 2

    def _drawn_size(self, size_px: int) -> tuple[int, int]:
        rows, columns = (max(1, round(length * self.pixels_per_unit(size_px))) for length in self._lengths)
        return rows, columns


def _extent(occupied: np.ndarray) -> slice:
    where = np.flatnonzero(occupied)
    return slice(max(0, int(where[0]) - _BORDER), int(where[-1]) + 1 + _BORDER)
