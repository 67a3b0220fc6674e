"""From a scan's own units to [0, 1], as the preset says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.images.values.percentiles import percentile
from napari_dinoad.images.values.sampling import evenly_spread

if TYPE_CHECKING:
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.settings import PreprocessingSettings

__all__ = ["CT_AIR_HU", "darkness_note", "intensity_range", "sample_inside", "with_finite_values"]

CT_AIR_HU = -500.0
"""Every CT scan has air below this; MR and photographs have nothing near it."""

_SAMPLED_VOXELS = 2_000_000
"""Percentiles are taken from about this many voxels of a scan: their ranks are then known to 0.01 %."""

_DARK_SHARE = 1 / 16
"""Of the range from black to white: a scan that fills less of it is nearly black, as 12 bits are that 16 may hold."""


def intensity_range(
    volume: Volume, body: np.ndarray, settings: PreprocessingSettings
) -> tuple[float, float] | None:
    """Return the values of a scan that become 0 and 1, or None when each slice has its own.

    Parameters
    ----------
    volume : Volume
    body : numpy.ndarray
        (z, y, x) bool; percentiles are taken inside it.
    settings : PreprocessingSettings

    Raises
    ------
    SettingError
        If ``"as-stored"`` is asked for and the scan is neither 8 or 16 bit nor within [0, 1].
    ScanReadError
        If the percentiles coincide: the scan is all but constant.
    """
    if settings.intensity == "slice-percentiles":
        return None
    if settings.intensity == "window" and settings.window is not None:
        return settings.window
    if settings.intensity == "as-stored":
        return 0.0, _full_scale(volume)
    inside = sample_inside(volume.values, body)
    low, high = (percentile(inside, percent) for percent in settings.percentiles)
    if high <= low:
        raise ScanReadError(
            f"{volume.name}: all but constant: percentiles {settings.percentiles} both are {low:g}."
        )
    return float(low), float(high)


def darkness_note(volume: Volume, intensity: tuple[float, float] | None) -> str:
    """Return a sentence where a scan fills so little of its intensity range that it is nearly black, or none.

    So are 12 bits in a file of 16 that are taken as stored: only of pictures is it guessed how many bits were meant.

    Parameters
    ----------
    volume : Volume
    intensity : tuple of float, optional
        See `intensity_range`.
    """
    if intensity is None:
        return ""
    low, high = intensity
    brightest = float(volume.values.max())
    if brightest - low >= _DARK_SHARE * (high - low):
        return ""
    return (
        f"Its brightest value is {brightest:g} where {high:g} is white: the model sees it nearly black. Fit and "
        "score with a preset whose range goes by the scan (mr-brain, mr-slices, oct), or save such scans as 8 bits."
    )


def with_finite_values(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the values with the lowest one in place of NaN and infinities, and a sentence that says so, or none.

    The lowest is dark surround in most scans. 0 would be water in CT, and average brain after a z-score.

    Raises
    ------
    ScanReadError
        If no value is finite.
    """
    finite = np.isfinite(values)
    if finite.all():
        return values, ""
    if not finite.any():
        raise ScanReadError("no signal: no voxel has a finite value.")
    lowest = values.min(where=finite, initial=np.inf)
    n_bad = values.size - np.count_nonzero(finite)
    note = f"{n_bad} voxels without a finite value were set to the lowest value, {lowest:g}."
    return np.where(finite, values, lowest), note


def sample_inside(values: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return the values (n,) inside the body; of a large scan those of evenly spread voxels.

    Parameters
    ----------
    values : numpy.ndarray
        (z, y, x).
    body : numpy.ndarray
        (z, y, x) bool.
    """
    inside = evenly_spread(body, _SAMPLED_VOXELS)
    return np.asarray(evenly_spread(values, _SAMPLED_VOXELS)[inside])


def _full_scale(volume: Volume) -> float:
    if volume.full_scale is not None:
        return volume.full_scale
    low, high = float(volume.values.min()), float(volume.values.max())
    if low < 0 or high > 1:
        raise SettingError(
            f"intensity as-stored: expected 8 or 16 bit, or values within 0 to 1, got {low:g} to {high:g}. "
            "Choose a preset for this kind of scan (mr-slices, mr-brain, ct-head, …)."
        )
    return 1.0
