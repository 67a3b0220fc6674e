"""Patch scores of a slice and its neighbours → their mean, weighted by how far the slices are apart.

The backbone sees one slice at a time. What is unusual in a single slice only is mostly chance; a lesion goes on in
the next ones. Weights are those of a Gaussian over millimetres, cut off at `REACH_SIGMAS`, of the slices that are
there. How much of the chance they leave depends on how far apart slices are, and so does what is usual: scans are
averaged so that as much is left as in the normal scans, or not at all.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from napari_dinoad.machine.sending import on_device

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T", np.ndarray, torch.Tensor)

__all__ = [
    "REACH_SIGMAS",
    "SliceSmoothing",
    "SlicesInProgress",
    "as_index",
    "averaging_like",
    "is_like",
    "zeros_like",
]

REACH_SIGMAS = 2.0
"""Slices farther apart than so many standard deviations have no influence on each other."""

_LIKE = 1.25
"""Shares of noise that differ by no more than this factor count as alike."""

_BISECTIONS = 20

_TOLERANCE = 1e-6
"""Share of the reach that rounding may take from a slice exactly at its end."""


class SliceSmoothing:
    """A Gaussian mean across the slices of one scan.

    Parameters
    ----------
    indices : sequence of int
        Slices that are scored, ascending.
    spacing_mm : float, optional
        From one slice to the next; None where pixels have no physical size, and nothing is averaged.
    sigma_mm : float
        Standard deviation; 0: nothing is averaged.
    """

    def __init__(self, indices: Sequence[int], spacing_mm: float | None, sigma_mm: float) -> None:
        sigma = 0.0 if spacing_mm is None else sigma_mm
        positions = np.asarray(indices, dtype=np.float64) * (spacing_mm or 1.0)
        reach = REACH_SIGMAS * sigma * (1 + _TOLERANCE)
        self._indices = tuple(indices)
        self._first = np.searchsorted(positions, positions - reach, side="left")
        self._past = np.searchsorted(positions, positions + reach, side="right")
        # Slices that have their neighbours at the same distances, as most do, share their weights.
        by_distances: dict[bytes, np.ndarray] = {}
        self._weights = []
        for row, (first, past) in enumerate(zip(self._first.tolist(), self._past.tolist(), strict=True)):
            apart_mm = positions[first:past] - positions[row]
            key = apart_mm.tobytes()
            if key not in by_distances:
                by_distances[key] = _gaussian_weights(apart_mm, sigma)
            self._weights.append(by_distances[key])
        self._distinct_weights = tuple(by_distances.values())

    @property
    def indices(self) -> tuple[int, ...]:
        """The slices, ascending."""
        return self._indices

    @property
    def has_neighbours(self) -> bool:
        """Whether any slice is averaged with another one."""
        return bool((self._past - self._first > 1).any())

    @property
    def noise_share(self) -> float:
        """How much of the variance of what is independent between slices stays: the median over slices of Σ w²."""
        shares = {id(weights): np.square(weights).sum() for weights in self._distinct_weights}
        return float(np.median([shares[id(weights)] for weights in self._weights] or [1.0]))

    def ready(self, is_scored: np.ndarray) -> np.ndarray:
        """Return which slices (n,) bool have all they are averaged with in ``is_scored`` (n,) bool."""
        counts = np.concatenate([[0], np.cumsum(is_scored)])
        return np.asarray(counts[self._past] - counts[self._first] == self._past - self._first)

    def smoothed(self, patch_scores: T, rows: Sequence[int] | None = None) -> T:
        """Return the averaged patch scores (m, gh, gw) float32 of some slices.

        Parameters
        ----------
        patch_scores : numpy.ndarray or torch.Tensor
            (n, gh, gw) float32 of all slices; of those that are out of reach of the wanted ones anything finite.
        rows : sequence of int, optional
            Places of the wanted slices among ``indices``; None: all.
        """
        wanted = range(len(self._indices)) if rows is None else rows
        if isinstance(patch_scores, torch.Tensor):
            weights = on_device(torch.from_numpy(self._matrix[list(wanted)]), patch_scores.device)
            averaged: torch.Tensor = torch.tensordot(weights, patch_scores, dims=1)
            return averaged
        means = np.empty((len(wanted), *patch_scores.shape[1:]), dtype=np.float32)
        for place, row in enumerate(wanted):
            within = patch_scores[self._first[row] : self._past[row]]
            means[place] = np.tensordot(self._weights[row], within, axes=1)
        return means

    @cached_property
    def _matrix(self) -> np.ndarray:
        """Weights (n, n) float32 of the slices (columns) in each one's mean (rows): one product on a device."""
        n_slices = len(self._indices)
        matrix = np.zeros((n_slices, n_slices), dtype=np.float32)
        for row, weights in enumerate(self._weights):
            matrix[row, self._first[row] : self._past[row]] = weights
        return matrix


def _gaussian_weights(apart_mm: np.ndarray, sigma: float) -> np.ndarray:
    """Return the weights (n,) float32, of sum 1, of slices that are so far (n,) away."""
    weights = np.exp(-0.5 * (apart_mm / (sigma or 1.0)) ** 2)
    return np.asarray((weights / weights.sum()).astype(np.float32))


def is_like(noise_share: float, other: float) -> bool:
    """Whether what is usual after one averaging is so after another; see `SliceSmoothing.noise_share`."""
    return max(noise_share, other) <= _LIKE * min(noise_share, other)


def averaging_like(
    indices: Sequence[int], spacing_mm: float | None, sigma_mm: float, noise_share: float
) -> SliceSmoothing | None:
    """Return the mean across a scan's slices that leaves as much noise as averaging left in other scans.

    Parameters
    ----------
    indices, spacing_mm, sigma_mm
        See `SliceSmoothing`. Where slices lie closer together than in the other scans, a smaller standard deviation
        than ``sigma_mm`` is taken.
    noise_share : float
        Of the other scans, see `SliceSmoothing.noise_share`.

    Returns
    -------
    SliceSmoothing or None
        None where the slices lie so far apart that more noise is left, or where no slice has a neighbour in reach.
    """
    widest = SliceSmoothing(indices, spacing_mm, sigma_mm)
    share = widest.noise_share
    if not widest.has_neighbours or (share > noise_share and not is_like(share, noise_share)):
        return None
    if is_like(share, noise_share):
        return widest
    shorter, longer = 0.0, sigma_mm
    for _ in range(_BISECTIONS):
        middle = 0.5 * (shorter + longer)
        leaves_more = SliceSmoothing(indices, spacing_mm, middle).noise_share > noise_share
        shorter, longer = (middle, longer) if leaves_more else (shorter, middle)
    return SliceSmoothing(indices, spacing_mm, longer)


class SlicesInProgress:
    """Patch scores of a scan's slices as they come, in any order; each slice leaves once its neighbours are there.

    Parameters
    ----------
    smoothing : SliceSmoothing
    """

    def __init__(self, smoothing: SliceSmoothing) -> None:
        self._smoothing = smoothing
        self._rows = {index: row for row, index in enumerate(smoothing.indices)}
        n_slices = len(smoothing.indices)
        self._is_scored = np.zeros(n_slices, dtype=bool)
        self._has_left = np.zeros(n_slices, dtype=bool)
        self._arrivals = np.zeros(n_slices, dtype=np.int64)
        self._scores: list[Any] = []

    def add(self, indices: Sequence[int], patch_scores: Sequence[T]) -> tuple[list[int], list[T]]:
        """Take in some slices, each once, and return those that can be averaged now.

        Parameters
        ----------
        indices : sequence of int
        patch_scores : sequence of numpy.ndarray or torch.Tensor
            (len(indices), gh, gw) float32 by each scorer; tensors stay on their device.

        Returns
        -------
        tuple
            Slices, in the order in which they were taken in, and their averaged patch scores (m, gh, gw) float32 by
            each scorer.
        """
        if not self._scores:
            n_slices = len(self._is_scored)
            self._scores = [zeros_like(own, n_slices) for own in patch_scores]
        rows = [self._rows[index] for index in indices]
        for kept, own in zip(self._scores, patch_scores, strict=True):
            kept[as_index(rows, kept)] = own
        self._arrivals[rows] = np.count_nonzero(self._is_scored) + np.arange(len(rows))
        self._is_scored[rows] = True
        can_leave = np.flatnonzero(self._smoothing.ready(self._is_scored) & ~self._has_left)
        leaving = can_leave[np.argsort(self._arrivals[can_leave])].tolist()
        self._has_left[leaving] = True
        means = [self._smoothing.smoothed(kept, leaving) for kept in self._scores]
        return [self._smoothing.indices[row] for row in leaving], means


def as_index(rows: Sequence[int], of: np.ndarray | torch.Tensor) -> Any:
    """Return rows as an index of an array; of a GPU's as a tensor there (a list would be waited for)."""
    return (
        on_device(torch.tensor(rows, dtype=torch.int64), of.device)
        if isinstance(of, torch.Tensor)
        else list(rows)
    )


def zeros_like(scores: T, n_slices: int) -> T:
    """Return zeros (n_slices, …) of the kind, and where, some scores (m, …) are."""
    shape = (n_slices, *scores.shape[1:])
    if isinstance(scores, torch.Tensor):
        return scores.new_zeros(shape)
    return np.zeros(shape, dtype=np.float32)
