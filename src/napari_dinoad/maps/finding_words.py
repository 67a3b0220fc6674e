"""Findings as people say them: sizes, rarities and places, with their units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_dinoad.maps.findings import Findings

__all__ = ["elements_of", "place_in_words", "rarity_in_words", "size_in_words"]


def size_in_words(findings: Findings, n_voxels: float) -> str:
    """Return a number of the scan's voxels as volume, area or pixels."""
    geometry = findings.volume.geometry
    size = n_voxels * geometry.voxel_volume
    if not geometry.is_physical:
        return f"{n_voxels:.0f} px"
    if geometry.ndim == 2:
        return f"{size:.0f} mm²" if size < 1000 else f"{size / 100:.1f} cm²"
    return f"{size:.0f} mm³" if size < 1000 else f"{size / 1000:.1f} cm³"


def rarity_in_words(neg_log10_p: float, findings: Findings) -> str:
    """Return a peak as a rarity, no rarer than the normal voxels can vouch for."""
    resolved = ((findings.card or {}).get("calibration") or {}).get("resolved_neg_log10_p", neg_log10_p)
    rarity = 10.0 ** min(neg_log10_p, resolved)
    digits = max(0, int(np.floor(np.log10(rarity))) - 1)
    rounded = int(round(rarity, -digits))
    words = f"one in {rounded:,} normal {elements_of(findings)}"
    return f"rarer than {words}" if neg_log10_p > resolved else words


def elements_of(findings: Findings) -> str:
    """Return what the scan is made of: voxels, or pixels where it has no physical size."""
    return "voxels" if findings.volume.geometry.is_physical else "pixels"


def place_in_words(position_mm: tuple[float, float, float]) -> str:
    """Return RAS+ millimetres as distances with letters."""
    pairs = zip(("RL", "AP", "SI"), position_mm, strict=True)
    return ", ".join(f"{letters[0 if value >= 0 else 1]} {abs(value):.0f}" for letters, value in pairs)
