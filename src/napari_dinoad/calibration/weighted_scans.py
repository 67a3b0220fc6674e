"""p-values among normal scans, of which each counts one over the number of scans of its person."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["n_persons", "p_value"]


def n_persons(weights: np.ndarray) -> int:
    """Return the number of persons that scans with these weights (n,) are of."""
    return round(math.fsum(weights))


def p_value(weights: np.ndarray, is_as_extreme: np.ndarray) -> float:
    """Return (1 + Σ over persons: share of their normal scans that are as extreme) / (1 + #persons).

    Parameters
    ----------
    weights : numpy.ndarray
        (n,) of all normal scans.
    is_as_extreme : numpy.ndarray
        (n,) bool.
    """
    # Summed exactly: three thirds are one.
    return (1 + math.fsum(weights[is_as_extreme])) / (1 + n_persons(weights))
