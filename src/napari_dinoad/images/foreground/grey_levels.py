"""How often each value occurs in a sample: its percentiles and deviations, without its values in memory."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from napari_dinoad.images.values.percentiles import between

__all__ = ["GreyLevels"]

_MOST_COUNTED = 2**16
"""Values that are so many whole steps apart at most are counted, others sorted, which takes ten times as long."""


@dataclass(frozen=True, eq=False)
class GreyLevels:
    """The distinct values of a sample.

    Attributes
    ----------
    values : numpy.ndarray
        (n,) float64, ascending.
    counts : numpy.ndarray
        (n,) int: how often each occurs.
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, sample: np.ndarray) -> GreyLevels:
        """Count the values of a sample (n,), at least one; NaN comes last."""
        sample = np.ascontiguousarray(sample)  # What is spread over a scan is slow to go through.
        steps = _whole_steps(sample)
        if steps is None:
            values, counts = np.unique(sample, return_counts=True)
            return cls(values.astype(np.float64), counts)
        counts = np.bincount(steps)
        found = np.flatnonzero(counts)
        return cls(float(sample.min()) + found, counts[found])

    def first(self, n: int) -> GreyLevels:
        """Return the n lowest of the distinct values."""
        return GreyLevels(self.values[:n], self.counts[:n])

    def percentile(self, percent: float) -> float:
        """Return a percentile of the sample; see `numpy.percentile`, whose default it is."""
        place = percent / 100 * (self._n - 1)
        lower, upper = self._at(int(place)), self._at(min(int(place) + 1, self._n - 1))
        return float(between(lower, upper, place % 1))

    def median(self) -> float:
        """Return the median of the sample."""
        return (self._at((self._n - 1) // 2) + self._at(self._n // 2)) / 2

    def median_deviation(self, middle: float) -> float:
        """Return the median of how far the sample's values lie from one within their range."""
        return (self._deviation((self._n - 1) // 2, middle) + self._deviation(self._n // 2, middle)) / 2

    def _deviation(self, rank: int, middle: float) -> float:
        """Return the deviation of this rank, from 0."""

        # Those that deviate less are neighbours in the order: the first of them deviates most, or the last.
        def largest(first: int) -> tuple[float, float]:
            return middle - self._at(first), self._at(first + rank) - middle

        n_places = self._n - rank
        first = bisect_left(range(n_places), True, key=lambda first: np.greater_equal(*largest(first)[::-1]))
        return min(max(largest(place)) for place in (first - 1, first) if 0 <= place < n_places)

    @property
    def _n(self) -> int:
        return int(self._ends[-1])

    def _at(self, rank: int) -> float:
        return float(self.values[np.searchsorted(self._ends, rank, side="right")])

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.counts)


def _whole_steps(sample: np.ndarray) -> np.ndarray | None:
    """Return how many whole steps each value (n,) is above the lowest; None where they are not whole, or too many."""
    low = sample.min()
    if not float(sample.max()) - float(low) < _MOST_COUNTED:
        return None
    if sample.dtype.kind != "f":
        # Unsigned: what a signed number is too small for.
        return np.asarray((sample - low).view(f"u{sample.dtype.itemsize}").astype(np.int64))
    steps: np.ndarray = (sample - low).astype(np.int32)
    return steps if (steps + float(low) == sample).all() else None
