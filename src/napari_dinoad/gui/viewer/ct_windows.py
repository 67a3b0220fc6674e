"""Window and level: presets for CT, automatic limits for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.gui.viewer.grey_limits import display_range
from napari_dinoad.gui.viewer.layer_scan import METADATA_KEY, ScanSource
from napari_dinoad.images.values.intensity import CT_AIR_HU

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = [
    "AUTOMATIC",
    "CT_WINDOWS_HU",
    "apply_window",
    "looks_like_ct",
    "lowest_value",
    "windows_of",
]

AUTOMATIC = "Automatic"

CT_WINDOWS_HU = {
    "Brain": (40, 80),
    "Stroke": (40, 40),
    "Subdural": (75, 215),
    "Bone": (600, 2800),
    "Lung": (-600, 1500),
    "Soft tissue": (40, 400),
}
"""Centre and width in Hounsfield units, as radiologists call them."""

_SAMPLE_STEP = 8


def lowest_value(data: Any) -> float | None:
    """Return the lowest finite one of a sample of values; None without any, or where they would be read from disk."""
    if not isinstance(data, np.ndarray) or data.ndim < 2:
        return None
    sample = data[..., ::_SAMPLE_STEP, ::_SAMPLE_STEP]
    lowest = float(np.fmin.reduce(sample, axis=None)) if sample.size else np.nan
    if np.isinf(lowest):
        # As where a logarithm was taken of 0; that is read as the lowest of the others.
        lowest = float(sample[np.isfinite(sample)].min(initial=np.inf))
    return lowest if np.isfinite(lowest) else None


def looks_like_ct(layer: Layer) -> bool:
    """Whether a layer's values look like Hounsfield units; only arrays in memory are looked at."""
    lowest = None if _is_rgb(layer) else lowest_value(layer.data)
    return lowest is not None and lowest <= CT_AIR_HU


def _is_rgb(layer: Layer) -> bool:
    return bool(getattr(layer, "rgb", False))


def windows_of(layer: Layer) -> dict[str, tuple[float, float]]:
    """Return the windows to choose from, by name: those of the scan's header, then the usual ones for CT.

    Colours have none: windows are of grey values.
    """
    source = layer.metadata.get(METADATA_KEY)
    windows = {}
    if isinstance(source, ScanSource) and not _is_rgb(layer):
        windows = {window.name: (window.low, window.high) for window in source.display_windows}
    if looks_like_ct(layer):
        for name, (centre, width) in CT_WINDOWS_HU.items():
            windows.setdefault(name, (centre - width / 2, centre + width / 2))
    return windows


def apply_window(layer: Layer, name: str) -> None:
    """Set a layer's grey limits to one of its `windows_of`, or automatically."""
    limits = display_range(np.asarray(layer.data)) if name == AUTOMATIC else windows_of(layer)[name]
    low, high = layer.contrast_limits_range
    layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
    layer.contrast_limits = limits
