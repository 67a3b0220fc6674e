"""In what order the normal scans of a cohort are to be looked at: the least normal first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.normative_model.cohort_norms import robust_z

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["shares_at_least", "unusualness"]

_WEIGHT_OF_PATCHES, _WEIGHT_OF_WHOLE = 0.5, 4.0
"""The whole is made of four figures and counts as four. By patches normal scans differ most: few of these decide."""

_LARGEST, _LARGEST_OF_GRID = 20.0, 5.0
"""What is farther out counts as this, so that no single figure decides alone; a grid, which says nothing of what is
shown, least of all."""


def unusualness(
    scores: Sequence[float | None], unlike_as_a_whole: np.ndarray, unlike_in_grid: np.ndarray
) -> np.ndarray:
    """Return how unusual each scan is, (n,) float64: the weighted and limited sum of three robust z-scores.

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
    by_whole = np.asarray(unlike_as_a_whole, dtype=np.float64)
    total = _counted(by_patches, _WEIGHT_OF_PATCHES) + _counted(by_whole, _WEIGHT_OF_WHOLE)
    return np.asarray(total + np.clip(unlike_in_grid, 0.0, _LARGEST_OF_GRID))


def shares_at_least(values: np.ndarray) -> np.ndarray:
    """Return for each value (n,) the share of the values that are at least as high, itself included: (n,) float64.

    Of NaN none is.
    """
    known = np.sort(values[~np.isnan(values)])
    return (len(known) - np.searchsorted(known, values, side="left")) / max(len(values), 1)


def _counted(values: np.ndarray, weight: float) -> np.ndarray:
    """Return what those values (n,) that are finite count by their robust z-scores, and 0 for the others."""
    counted = np.zeros(len(values))
    known = np.isfinite(values)
    if known.any():
        with np.errstate(over="ignore"):
            counted[known] = np.clip(weight * robust_z(values[known]), -_LARGEST, _LARGEST)
    return counted
