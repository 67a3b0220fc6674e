"""The table of a calibration: which scores of all normal ones stand in it, and how it goes on beyond the highest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.calibration.score_histogram import values_of

if TYPE_CHECKING:
    from napari_dinoad.calibration.score_histogram import ScoreHistogram

__all__ = ["choose_knots", "edges_of_bins", "tail_slope"]

_TABLE_KNOTS = 2048
"""Knots of the stored table; evenly spaced in −log10 p, so the upper tail is dense."""

_TAIL_SHARE = 1e-3
"""Share of the highest normal scores that gives the slope of the extended tail."""

_MIN_TAIL_RISE = 1e-6
"""Of −log10 p beyond the table, for a rise of the score by the size of the largest normal score."""

_SMALLEST_SIZE = 1e-6
"""Normal scores that are all closer to 0 than this are taken to be of this size there."""


def edges_of_bins(histogram: ScoreHistogram) -> np.ndarray:
    """Return the lowest and the highest float32 of each bin in turn, (2 m,) float64, ascending."""
    lowest = histogram.values
    next_bin = values_of(histogram.keys + np.uint32(1), histogram.bits)
    highest = np.where(np.isfinite(lowest), np.nextafter(next_bin, np.float32(-np.inf)), lowest)
    return np.stack([lowest, highest], axis=1).reshape(-1).astype(np.float64)


def choose_knots(neg_log10_p: np.ndarray) -> np.ndarray:
    """Return indices of table knots: evenly spaced in −log10 p and in rank, first and last included.

    Where many scores are tied, −log10 p jumps by more than that spacing; both sides of it are knots, so that what
    is interpolated lies nowhere further than the spacing from the definition.
    """
    n = neg_log10_p.size
    if n <= _TABLE_KNOTS:
        return np.arange(n)
    p = 10.0**-neg_log10_p
    n_each = _TABLE_KNOTS // 2
    spacing = 1 / (n_each - 1)
    tail = np.searchsorted(neg_log10_p, np.linspace(0, neg_log10_p[-1], n_each))
    ranks = np.searchsorted(-p, -np.linspace(1, 0, n_each))
    # Behind a jump the evenly spaced ones have a knot; before it they need not.
    jumps = (np.diff(neg_log10_p) > spacing * neg_log10_p[-1]) | (-np.diff(p) > spacing)
    chosen = np.concatenate([tail, ranks, np.flatnonzero(jumps)])
    # No p is 0: the last rank lies beyond the end.
    return np.unique(np.minimum(chosen, n - 1))


def tail_slope(values: np.ndarray, neg_log10_p: np.ndarray) -> float:
    """Return the mean rise of −log10 p per unit of score over the highest `_TAIL_SHARE` of normal voxels."""
    reach = neg_log10_p[-1]
    size = max(float(np.abs(values[[0, -1]]).max()), _SMALLEST_SIZE)
    last = int(np.searchsorted(neg_log10_p, reach))
    if last == 0:
        return 1.0 / size
    first = int(np.searchsorted(neg_log10_p, min(-np.log10(_TAIL_SHARE), reach / 2)))
    first = min(first, last - 1)
    rise = (reach - neg_log10_p[first]) / (values[last] - values[first])
    return max(float(rise), _MIN_TAIL_RISE / size)
