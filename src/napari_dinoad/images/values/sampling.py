"""Some voxels of a scan in place of all, where all would say no more."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["display_percentiles", "evenly_spread"]

_DISPLAY_VOXELS = 500_000


def evenly_spread(values: np.ndarray, about: int) -> np.ndarray:
    """Return every so many of an array's values that about this many are left: (n,), n ≤ 2 · ``about`` or all.

    Arrays of one shape give values at the same places.
    """
    step = max(1, values.size // about)
    # Without a common divisor it walks through all rows and columns, not along some of them.
    while math.gcd(step, values.size) > 1:
        step += 1
    return values.reshape(-1)[::step]


def display_percentiles(values: np.ndarray, percentiles: tuple[float, ...]) -> tuple[float, ...]:
    """Return percentiles of about `_DISPLAY_VOXELS` voxels, evenly spread: exact enough to look at, and fast."""
    return tuple(float(value) for value in np.percentile(evenly_spread(values, _DISPLAY_VOXELS), percentiles))
