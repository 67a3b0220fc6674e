"""Which slices of a map are shown: those with most of what is unusual, or of the mask, in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.images.values.blocks import blocks
from napari_dinoad.settings import HEATMAP_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["heat_loads", "marked_loads", "most_abnormal_slices"]

_VOXELS_AT_ONCE = 2**20
"""Of a map so many are summed at a time."""

_MIN_GAP = 0.06
"""Chosen slices lie at least this share of the volume apart."""


def heat_loads(neg_log10_p: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return by how much −log10 p is above the heatmap's lower limit in each slice, in all.

    Parameters
    ----------
    neg_log10_p : numpy.ndarray
        (z, y, x) float32.

    Returns
    -------
    tuple of numpy.ndarray
        (n,) float64 of the n slices across each axis; for `most_abnormal_slices`.
    """

    def load(where: tuple[slice, slice]) -> np.ndarray:
        above: np.ndarray = np.maximum(neg_log10_p[where], HEATMAP_LIMITS[0])
        above -= HEATMAP_LIMITS[0]
        return above

    return _loads(load, neg_log10_p.shape)


def marked_loads(
    neg_log10_p: np.ndarray, labels: np.ndarray, threshold: float, label: int | None = None
) -> tuple[np.ndarray, ...]:
    """Return by how much −log10 p is above a threshold in a mask; see `heat_loads`.

    The mask is where ``labels`` (z, y, x) are ``label``; None: where they are not 0.
    """

    def load(where: tuple[slice, slice]) -> np.ndarray | None:
        marked = labels[where] > 0 if label is None else labels[where] == label
        if not marked.any():
            return None
        values = neg_log10_p[where]
        above = np.zeros(values.shape, dtype=np.float32)
        above[marked] = values[marked] - threshold
        return above

    return _loads(load, neg_log10_p.shape)


def _loads(
    load: Callable[[tuple[slice, slice]], np.ndarray | None], shape: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    """Return the sums of a load over the slices across each axis; it is made in blocks, None of one without any."""
    sums = tuple(np.zeros(n) for n in shape)
    for where in blocks(shape, _VOXELS_AT_ONCE):
        part = load(where)
        if part is None:
            continue
        for axis, (here, others) in enumerate(
            zip((*where, slice(None)), ((1, 2), (0, 2), (0, 1)), strict=True)
        ):
            sums[axis][here] += part.sum(axis=others, dtype=np.float64)
    return sums


def most_abnormal_slices(sums: np.ndarray, n_slices: int, of_first: np.ndarray | None = None) -> list[int]:
    """Return indices of the slices with the highest of ``sums`` (n,), a gap apart.

    In anatomical order, top first. Slices without any load are left out, but one slice is always chosen. With
    ``of_first`` (n,), the sums within the most unusual region, the slice with most of it is one of them: the region
    may be small.
    """
    gap = max(1, round(_MIN_GAP * len(sums)))
    chosen: list[int] = [] if of_first is None else [int(np.argmax(of_first))]
    for index in np.argsort(-sums, kind="stable"):
        if len(chosen) >= n_slices or (chosen and sums[index] <= 0):
            break
        if all(abs(int(index) - other) >= gap for other in chosen):
            chosen.append(int(index))
    return sorted(chosen, reverse=True)
