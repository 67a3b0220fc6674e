"""Uneven or tilted slices → an even stack, by linear interpolation between them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["resample_slices"]

_SAME_PLACE = 1e-3
"""Slices closer than this, in slice spacings or pixels, to where one is wanted are taken as they are."""


def resample_slices(slices: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Interpolate slices onto an even, straight stack.

    Each slice is first shifted in its plane to the pixels of the first one, then the even slices are interpolated
    between their two neighbours. Where a slice does not reach, its place is filled with the lowest value.

    Parameters
    ----------
    slices : numpy.ndarray
        (n, rows, columns) float32, in order.
    offsets : numpy.ndarray
        (n, 3) where each slice's first pixel lies on the grid wanted: slice (rising), row and column index.

    Returns
    -------
    values : numpy.ndarray
        (m, rows + added, columns + added) float32; slice k lies at index k of the grid.
    before : tuple of int
        Rows and columns added before the first pixel of the first slice.
    """
    straight, before = _straighten(slices, offsets[:, 1:])
    places = offsets[:, 0] - offsets[0, 0]
    wanted = np.arange(int(np.floor(places[-1] + _SAME_PLACE)) + 1)
    values = np.empty((len(wanted), *straight.shape[1:]), dtype=np.float32)
    for k in wanted:
        upper = min(int(np.searchsorted(places, k, side="left")), len(places) - 1)
        lower = max(upper - 1, 0)
        if abs(places[upper] - k) <= _SAME_PLACE or upper == lower:
            values[k] = straight[upper]
        elif abs(places[lower] - k) <= _SAME_PLACE:
            values[k] = straight[lower]
        else:
            share = (k - places[lower]) / (places[upper] - places[lower])
            values[k] = (1 - share) * straight[lower] + share * straight[upper]
    return values, before


def _straighten(slices: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Return all slices on the pixels of the first one, on a plane large enough for each."""
    low = np.floor(shifts.min(axis=0) + _SAME_PLACE).astype(int)
    high = np.ceil(shifts.max(axis=0) - _SAME_PLACE).astype(int)
    before, after = np.maximum(-low, 0), np.maximum(high, 0)
    rows, columns = slices.shape[1:] + before + after
    fill = slices.min()
    straight = np.full((len(slices), rows, columns), fill, dtype=np.float32)
    for one, shift, target in zip(slices, shifts, straight, strict=True):
        nearest = np.rint(shift)
        is_whole = np.abs(shift - nearest) <= _SAME_PLACE
        if is_whole.all():
            row, column = nearest.astype(int) + before
            target[row : row + one.shape[0], column : column + one.shape[1]] = one
            continue
        target[: one.shape[0], : one.shape[1]] = one
        # By a trace beyond the last row or column there would be nothing to interpolate.
        by = np.where(is_whole, nearest, shift) + before
        ndimage.shift(target.copy(), by, output=target, order=1, mode="constant", cval=fill)
    return straight, (int(before[0]), int(before[1]))
