"""The anomaly map and the mask, on the scan's own grid."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cc3d
import numpy as np

from napari_dinoad.errors import GeometryError, SettingError
from napari_dinoad.given_arrays import require_array, require_number
from napari_dinoad.images.values.blocks import blocks
from napari_dinoad.images.values.sampling import display_percentiles
from napari_dinoad.maps.export import save_on_grid
from napari_dinoad.maps.regions import Region, measure_regions
from napari_dinoad.settings import DetectSettings

if TYPE_CHECKING:
    from napari_dinoad.images.volume import Geometry, Volume

__all__ = ["AnomalyMap", "AnomalyMask"]

_VOXELS_AT_ONCE = 2**22
"""Of a scan's regions so many are counted at a time."""

_PERCENTILES = (0.5, 99.5, 99.8)
"""Of the scan's values: what is black in pictures, what counts as bright, what is white."""

_SIZE_TOLERANCE = 1e-6
"""Share of a smallest volume that rounding may take from a region: 0.7 mm in a header is 0.69999999 in float32."""


@dataclass(frozen=True, eq=False, repr=False)
class AnomalyMap:
    """How unusual each voxel is.

    Attributes
    ----------
    values : numpy.ndarray
        (z, y, x) float32 in canonical orientation: −log10 p, 0 outside the body. Higher is more abnormal. What is
        counted in them is counted once: they stay as they are.
    source : Volume
        The scan; the map lies on its grid.
    """

    values: np.ndarray
    source: Volume

    def __post_init__(self) -> None:
        # The dock opens before nibabel is there, which volumes need.
        from napari_dinoad.images.volume import require_volume

        require_volume(self.source)
        require_array("Anomaly map", self.values, GeometryError)
        if self.values.shape != self.geometry.canonical_shape:
            raise GeometryError(
                f"Anomaly map: expected shape {self.geometry.canonical_shape}, got {self.values.shape}."
            )

    def __repr__(self) -> str:
        return f"<AnomalyMap of {self.source.name!r}: {self.values.shape}, −log10 p up to {self.values.max():.3g}>"

    @property
    def geometry(self) -> Geometry:
        """The grid of the scan."""
        return self.source.geometry

    @property
    def shown_range(self) -> tuple[float, float]:
        """Values of the scan that are black and white in pictures without a model's window: robust percentiles."""
        black, _, white = self._percentiles
        return black, white

    @property
    def bright(self) -> float:
        """How bright the scan is, but for its very brightest voxels."""
        return self._percentiles[1]

    @cached_property
    def n_scored(self) -> int:
        """How many voxels were scored."""
        return int(np.count_nonzero(self.values))

    def n_beyond(self, rate: float) -> int:
        """Return how many voxels are as unusual as this share of normal ones, or more; see `AnomalyMask.of`."""
        _require_rate(rate)
        counted = self._n_beyond
        if rate not in counted:
            counted[rate] = int(np.count_nonzero(self.values >= np.float32(-np.log10(rate))))
        return counted[rate]

    @cached_property
    def _n_beyond(self) -> dict[float, int]:
        return {}

    @cached_property
    def _percentiles(self) -> tuple[float, ...]:
        return display_percentiles(self.source.values, _PERCENTILES)

    def mask(
        self, fpr: float = DetectSettings.fpr, min_volume_mm3: float = DetectSettings.min_volume_mm3
    ) -> AnomalyMask:
        """Return the mask at a false-positive rate.

        Parameters
        ----------
        fpr, min_volume_mm3 : float
            See `AnomalyMask.of`, and so are the errors.
        """
        return AnomalyMask.of(self, fpr, min_volume_mm3)

    def save(self, path: str | Path) -> Path:
        """Write the map (float32, −log10 p) as NIfTI on the scan's own grid, atomically; return the path.

        Parameters
        ----------
        path : str or Path
            Its name ends in ``.nii`` or ``.nii.gz``.

        Raises
        ------
        DinoadError
            If the ending is another one, or the file cannot be written.
        """
        return save_on_grid(Path(path), self.values.astype(np.float32, copy=False), self.source, "map")


@dataclass(frozen=True, eq=False, repr=False)
class AnomalyMask:
    """Voxels that are more unusual than a chosen rate of normal voxels, as connected regions.

    Attributes
    ----------
    labels : numpy.ndarray
        (z, y, x) int32 in canonical orientation: 0, or the number of the region; 1 has the highest peak.
    anomaly_map : AnomalyMap
    fpr : float
        Share of normal voxels that would be marked.
    """

    labels: np.ndarray
    anomaly_map: AnomalyMap
    fpr: float

    @classmethod
    def of(
        cls,
        anomaly_map: AnomalyMap,
        fpr: float = DetectSettings.fpr,
        min_volume_mm3: float = DetectSettings.min_volume_mm3,
    ) -> AnomalyMask:
        """Return the mask of voxels with p ≤ ``fpr``.

        Parameters
        ----------
        anomaly_map : AnomalyMap
        fpr : float
            False-positive rate among normal voxels, above 0 and below 1.
        min_volume_mm3 : float
            Regions smaller than this are left out (scans without physical size: pixels).

        Raises
        ------
        SettingError
            If ``fpr`` is not between 0 and 1, or the volume is below 0.
        """
        _require_rate(fpr)
        require_number("Minimum volume", min_volume_mm3)
        if not min_volume_mm3 >= 0:
            raise SettingError(f"Minimum volume: expected 0 or more, got {min_volume_mm3}.")
        marked = anomaly_map.values >= np.float32(-np.log10(fpr))
        labels, n_regions = cc3d.connected_components(
            marked, connectivity=26, binary_image=True, return_N=True
        )
        # cc3d's numbers have four bytes, of small scans two; in place, since a large scan's take much memory.
        labels = labels.view(np.int32) if labels.itemsize == 4 else labels.astype(np.int32)
        if n_regions == 0:
            return cls(labels, anomaly_map, fpr)
        counts = np.zeros(n_regions + 1, dtype=np.int64)
        peaks = np.zeros(n_regions + 1, dtype=np.float32)
        # In blocks: of each marked voxel this takes many bytes.
        parts = list(blocks(labels.shape, _VOXELS_AT_ONCE))
        for part in parts:
            label_of = labels[part][marked[part]]
            np.add.at(counts, label_of, 1)
            np.maximum.at(peaks, label_of, anomaly_map.values[part][marked[part]])
        volumes = counts[1:] * anomaly_map.geometry.voxel_volume
        order = np.lexsort((-volumes, -peaks[1:]))
        order = order[volumes[order] >= min_volume_mm3 * (1 - _SIZE_TOLERANCE)]
        renumbered = np.zeros(n_regions + 1, dtype=np.int32)
        renumbered[1 + order] = np.arange(1, len(order) + 1)
        for part in parts:
            labels[part][marked[part]] = renumbered[labels[part][marked[part]]]
        return cls(labels, anomaly_map, fpr)

    def __repr__(self) -> str:
        name, n_voxels = self.anomaly_map.source.name, int(np.count_nonzero(self.labels))
        return (
            f"<AnomalyMask of {name!r}: {len(self.regions())} regions, {n_voxels} voxels at fpr={self.fpr:g}>"
        )

    @property
    def values(self) -> np.ndarray:
        """(z, y, x) uint8: 1 where abnormal."""
        return (self.labels > 0).view(np.uint8)

    @property
    def geometry(self) -> Geometry:
        """The grid of the scan."""
        return self.anomaly_map.geometry

    @cached_property
    def _regions(self) -> tuple[Region, ...]:
        return measure_regions(self.labels, self.anomaly_map.values, self.geometry)

    def regions(self) -> tuple[Region, ...]:
        """Return the connected regions, the one with the highest peak first."""
        return self._regions

    def only(self, labels: Collection[int]) -> AnomalyMask:
        """Return the mask with these regions alone, by their ``label``; they keep their numbers."""
        if isinstance(labels, str) or not isinstance(labels, Collection):
            raise SettingError(f"Regions: expected several labels, got {labels!r}.")
        number_of = np.zeros(int(self.labels.max(initial=0)) + 1, dtype=np.int32)
        own = [label for label in labels if 0 < label < len(number_of)]
        number_of[own] = own
        kept = np.empty(self.labels.shape, dtype=np.int32)
        # In blocks: NumPy looks up by numbers of eight bytes.
        for part in blocks(kept.shape, _VOXELS_AT_ONCE):
            kept[part] = number_of[self.labels[part]]
        return AnomalyMask(kept, self.anomaly_map, self.fpr)

    def save(self, path: str | Path) -> Path:
        """Write the mask (uint8, 0 or 1) as NIfTI on the scan's own grid, atomically; return the path.

        Parameters
        ----------
        path : str or Path
            As of `AnomalyMap.save`, and so are the errors.
        """
        return save_on_grid(Path(path), self.values, self.anomaly_map.source, "mask", is_found=True)


def _require_rate(fpr: float) -> None:
    require_number("False-positive rate", fpr)
    if not 0 < fpr < 1:
        raise SettingError(f"False-positive rate: expected above 0 and below 1, got {fpr}.")
