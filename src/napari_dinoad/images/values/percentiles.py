"""Exact percentiles of large arrays, without sorting or copying them."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_dinoad.images.values.sampling import evenly_spread

__all__ = ["between", "percentile"]

_SAMPLED = 2**14
"""From so many values it is guessed between which values of an array a percentile lies."""

_SIGMAS = 5.0
"""A rank among the sampled values is off by no more than this many standard deviations, but once in a million."""


def percentile(values: np.ndarray, percent: float) -> np.float64:
    """Return a percentile as `numpy.percentile` does, to the last bit.

    Parameters
    ----------
    values : numpy.ndarray
        At least one value, none of them NaN.
    percent : float
    """
    place = percent / 100 * (values.size - 1)
    rank, share = int(place), np.float64(place % 1)
    lower, upper = _of_rank(values, rank, min(rank + 1, values.size - 1))
    return np.float64(between(lower, upper, share))


def between(lower: Any, upper: Any, share: float) -> Any:
    """Return what lies at a share of the way, as NumPy's percentiles do: from the nearer end, to the last bit.

    The difference is taken in the values' own type.
    """
    difference = upper - lower
    return lower + difference * share if share < 0.5 else upper - difference * (1 - share)


def _of_rank(values: np.ndarray, first: int, last: int) -> tuple[Any, Any]:
    """Return the values of two neighbouring ranks, from 0, of an array."""
    sample = np.sort(evenly_spread(values, _SAMPLED))
    at = first / max(1, values.size - 1)
    middle = at * (len(sample) - 1)
    guess = sample[round(middle)]
    # Most often, whole numbers are the same at both ranks.
    if np.count_nonzero(values < guess) <= first and last < np.count_nonzero(values <= guess):
        return guess, guess
    slack = 1 + _SIGMAS * np.sqrt(len(sample) * at * (1 - at))
    low, high = int(np.floor(middle - slack)), int(np.ceil(middle + slack))
    inside = values >= (sample[low] if low >= 0 else values.min())
    n_below = int(values.size - np.count_nonzero(inside))
    if high < len(sample):
        inside &= values <= sample[high]
    some = values[inside]
    if not n_below <= first <= last < n_below + len(some):
        some, n_below = values.ravel(), 0
    ordered = np.partition(some, (first - n_below, last - n_below))
    return ordered[first - n_below], ordered[last - n_below]
