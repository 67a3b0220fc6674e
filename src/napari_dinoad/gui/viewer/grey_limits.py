"""Between which values a scan is shown from black to white."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.images.values.intensity import CT_AIR_HU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.images.volume import DisplayWindow

__all__ = ["display_range", "first_limits"]

_SAMPLE = 200_000
"""Limits are taken from about this many values of a larger scan."""

_MOST_WHITE = 0.95
"""A window that shows more than this share of what is bright as white shows nothing of it."""

_BRIGHTEST_PERCENT = 99.9
"""A window that begins above so many percent of the values shows a scan black; single bright voxels are no image."""


def first_limits(values: np.ndarray, windows: Sequence[DisplayWindow]) -> tuple[float, float]:
    """Return the grey limits at first: the first of the header's windows, or automatic ones.

    Images that were converted or scaled may keep a window for other values in their header: one that shows nothing of
    the scan is not taken.
    """
    if windows and not _shows_nothing(values, windows[0]):
        return windows[0].low, windows[0].high
    return display_range(values)


def display_range(values: np.ndarray) -> tuple[float, float]:
    """Return grey limits that leave out the extremes: the 1st and 99.8th percentile of what is not background.

    Values that are not finite are passed over.
    """
    lowest, signal = _signal(values)
    if signal.size == 0:
        return lowest, lowest + 1.0
    low, high = np.percentile(signal, (1.0, 99.8))
    low = min(float(low), lowest) if lowest >= 0 else float(low)
    return (low, float(high)) if high > low else (low, low + 1.0)


def _shows_nothing(values: np.ndarray, window: DisplayWindow) -> bool:
    """Whether a window shows a scan black, or nearly all of its brighter part (above the mean) white.

    Windows for CT leave much out on purpose: a small field of view may be mostly bone, which that for the brain shows
    white.
    """
    lowest, signal = _signal(values)
    if signal.size == 0:
        return False
    if np.percentile(signal, _BRIGHTEST_PERCENT) <= window.low:
        return True
    bright = signal[signal >= signal.mean(dtype=np.float64)]
    return lowest > CT_AIR_HU and float(np.mean(bright >= window.high)) > _MOST_WHITE


def _signal(values: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the lowest of a sample of finite values, or 0, and those (n,) above it: what is not background."""
    sample = np.asarray(values).reshape(-1)
    sample = sample[:: max(1, sample.size // _SAMPLE)]
    sample = sample[np.isfinite(sample)]
    lowest = float(sample.min()) if sample.size else 0.0
    return lowest, sample[sample > lowest]
