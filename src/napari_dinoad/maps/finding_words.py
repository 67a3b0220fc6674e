"""Findings as people say them: sizes, rarities and places, with their units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_dinoad.calibration import NormalPeaks
    from napari_dinoad.images.volume import Geometry
    from napari_dinoad.maps.findings import Findings
    from napari_dinoad.maps.regions import Region

__all__ = [
    "area_in_words",
    "centre_in_words",
    "elements_of",
    "extent_in_words",
    "in_figures",
    "place_in_words",
    "rarity_in_words",
    "rate_in_words",
    "reaching_in_words",
    "size_in_words",
    "volume_in_words",
]

_SMALL = 10
"""Sizes below it have two digits, however small: voxels may be of micrometres."""

_SMALL_MM = 0.1
"""Places of regions with a shorter side have decimals."""


def size_in_words(findings: Findings, n_voxels: float) -> str:
    """Return a number of the scan's voxels as volume, area or pixels."""
    return extent_in_words(findings.volume.geometry, n_voxels)


def extent_in_words(geometry: Geometry, n_voxels: float) -> str:
    """Return a number of voxels of a grid as volume, area or pixels."""
    size = n_voxels * geometry.voxel_volume
    if not geometry.is_physical:
        return f"{n_voxels:.0f} px"
    return area_in_words(size) if geometry.ndim == 2 else volume_in_words(size)


def volume_in_words(volume_mm3: float) -> str:
    """Return a volume in mm³, a large one in cm³."""
    return f"{in_figures(volume_mm3)} mm³" if volume_mm3 < 1000 else f"{volume_mm3 / 1000:.1f} cm³"


def area_in_words(area_mm2: float) -> str:
    """Return an area in mm², a large one in cm²."""
    return f"{in_figures(area_mm2)} mm²" if area_mm2 < 1000 else f"{area_mm2 / 100:.1f} cm²"


def rate_in_words(rate: float) -> str:
    """Return a rate as a percentage with two significant digits: ``"1 %"``, ``"0.032 %"``."""
    return f"{float(f'{100 * rate:.2g}'):g} %"


def in_figures(size: float) -> str:
    """Return a size or a length as a whole number, a small one to two digits."""
    return f"{size:.0f}" if size >= _SMALL else f"{size:.2g}"


def rarity_in_words(neg_log10_p: float, findings: Findings) -> str:
    """Return a peak as a rarity, no rarer than the normal voxels can vouch for."""
    resolved = ((findings.card or {}).get("calibration") or {}).get("resolved_neg_log10_p", neg_log10_p)
    rarity = 10.0 ** min(neg_log10_p, resolved)
    digits = max(0, int(np.floor(np.log10(rarity))) - 1)
    rounded = int(round(rarity, -digits))
    words = f"one in {rounded:,} normal {elements_of(findings)}"
    return f"rarer than {words}" if neg_log10_p > resolved else words


def reaching_in_words(region: Region, normal_peaks: NormalPeaks) -> str:
    """Return how many of the normal scans have, anywhere, a voxel as unusual as a region's peak: ``"0 of 24"``."""
    return f"{normal_peaks.n_reaching(region.peak_neg_log10_p)} of {normal_peaks.n_scans}"


def elements_of(findings: Findings) -> str:
    """Return what the scan is made of: voxels, or pixels where it has no physical size."""
    return "voxels" if findings.volume.geometry.is_physical else "pixels"


def place_in_words(region: Region, between: str = ", ") -> str:
    """Return where a region's peak is: RAS+ millimetres with the patient's sides, or the pixel, counted from 0.

    Those of very small regions have decimals. Of several images the one is told, counted from 1.
    """
    return _place_in_words(region, region.peak_ijk, region.peak_mm, between)


def centre_in_words(region: Region) -> str:
    """Return where a region's centre of gravity is, as `place_in_words`."""
    nearest = tuple(round(index) for index in region.centroid_ijk)
    return _place_in_words(region, nearest, region.centroid_mm, ", ")


def _place_in_words(
    region: Region, ijk: tuple[int, ...], mm: tuple[float, float, float] | None, between: str
) -> str:
    if mm is None:
        *image, row, column = ijk
        return f"{f'image {image[0] + 1}, ' if image else ''}column {column}, row {row}"
    smallest = min(region.extent_mm or (1.0,))
    decimals = -int(np.floor(np.log10(smallest))) if smallest < _SMALL_MM else 0
    pairs = zip(("RL", "AP", "SI"), mm, strict=True)
    return between.join(
        f"{letters[0 if value >= 0 else 1]} {abs(value):.{decimals}f}" for letters, value in pairs
    )
