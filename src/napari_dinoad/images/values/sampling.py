"""Some voxels of a scan in place of all, where all would say no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["evenly_spread"]


def evenly_spread(values: np.ndarray, about: int) -> np.ndarray:
    """Return every so many of an array's values that about this many are left: (n,), n ≤ 2 · ``about`` or all.

    Arrays of one shape give values at the same places.
    """
    step = max(1, values.size // about)
    # Without a common divisor it walks through all rows and columns, not along some of them.
    while math.gcd(step, values.size) > 1:
        step += 1
    return values.reshape(-1)[::step]
