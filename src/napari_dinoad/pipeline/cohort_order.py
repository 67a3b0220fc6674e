"""In what order the normal scans of a cohort are to be looked at: the least normal first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.cohort_norms import robust_z

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["unusualness"]

_LARGEST_Z = 5.0
"""What lies farther out counts as this, so that no single figure decides alone."""


def unusualness(
    scores: Sequence[float | None], unlike_as_a_whole: np.ndarray, unlike_in_grid: np.ndarray
) -> np.ndarray:
    """Return how unusual each scan is, (n,) float64: the sum of three robust z-scores, each between −5 and 5.

    Parameters
    ----------
    scores : sequence of float or None
        The scans' own scores by their patches; None, and what is not finite, counts as usual.
    unlike_as_a_whole : numpy.ndarray
        (n,), see `unlikeness`.
    unlike_in_grid : numpy.ndarray
        (n,), see `grid_unlikeness`; z-scores already.
    """
    by_patches = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
    total = _limited_z(by_patches) + _limited_z(np.asarray(unlike_as_a_whole, dtype=np.float64))
    return np.asarray(total + np.clip(unlike_in_grid, 0.0, _LARGEST_Z))


def _limited_z(values: np.ndarray) -> np.ndarray:
    """Return robust z-scores of those values (n,) that are finite, limited, and 0 of the others."""
    z = np.zeros(len(values))
    known = np.isfinite(values)
    if known.any():
        with np.errstate(over="ignore"):
            z[known] = np.clip(robust_z(values[known]), -_LARGEST_Z, _LARGEST_Z)
    return z
