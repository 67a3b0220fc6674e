"""Counts of scores by value in bounded memory: the base of calibration and of the streaming metrics.

The bit pattern of a non-negative IEEE 754 number, read as an integer, grows with the number; with the
sign bit set for positive numbers and all bits flipped for negative ones that holds for every number. The
upper ``bits`` bits of that integer are an order-preserving key: sign, exponent and the leading ``bits`` −
9 bits of the mantissa, so that scores fall together only when they differ by less than 2^(9 − ``bits``)
of their size (1.2e-4 at 22 bits).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from napari_dinoad.errors import ScorerError, SettingError
from napari_dinoad.given_arrays import real_array

__all__ = ["DEFAULT_BITS", "RunningSum", "ScoreHistogram", "keys_of", "refuse_nan", "values_of"]

DEFAULT_BITS = 22
"""Bits of a key: at most 4.2 million keys, in practice some ten thousand."""

_FLOAT32_BITS = 32
_SIGN_AND_EXPONENT_BITS = 9
_SIGN = np.uint32(0x80000000)
_ORDERED_MINUS_INFINITY = np.uint32(0x007FFFFF)
_CHUNK = 1 << 20
"""Scores turned to keys at a time, so that temporaries stay at some megabytes."""


def keys_of(scores: np.ndarray, bits: int = DEFAULT_BITS) -> np.ndarray:
    """Return order-preserving integer keys of scores.

    Parameters
    ----------
    scores : numpy.ndarray
        Any shape; taken as float32. −0 and 0 have one key; infinities have keys.
    bits : int
        9 to 32; at 32 every float32 has its own key.

    Returns
    -------
    numpy.ndarray
        uint32 of the same shape, below 2**bits: a < b implies key(a) <= key(b).

    Raises
    ------
    ScorerError
        If a score is NaN.
    SettingError
        If ``bits`` is out of range.
    """
    _require_bits(bits)
    # Adding 0 turns −0 into 0, which compares equal but has another bit pattern.
    plain = np.asarray(scores, dtype=np.float32) + np.float32(0)
    refuse_nan(plain)
    pattern = np.ascontiguousarray(plain).view(np.uint32).reshape(plain.shape)
    ordered = np.where(pattern & _SIGN, ~pattern, pattern | _SIGN)
    return np.asarray(ordered >> np.uint32(_FLOAT32_BITS - bits))


def refuse_nan(scores: np.ndarray) -> None:
    """Raise `ScorerError` if a score is NaN."""
    n_nan = int(np.isnan(scores).sum())
    if n_nan:
        raise ScorerError(
            f"Scores: expected numbers, got {n_nan} NaN among {scores.size}. Leave voxels without a score out."
        )


def values_of(keys: np.ndarray, bits: int = DEFAULT_BITS) -> np.ndarray:
    """Return the lowest float32 of each key: the lower edge of its bin, same shape as ``keys``."""
    _require_bits(bits)
    lowest = np.asarray(keys, dtype=np.uint32) << np.uint32(_FLOAT32_BITS - bits)
    # Below −inf the ordered integers stand for NaN.
    ordered = np.maximum(lowest, _ORDERED_MINUS_INFINITY)
    pattern = np.where(ordered & _SIGN, ordered ^ _SIGN, ~ordered)
    return np.asarray(pattern.view(np.float32))


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """How many scores fell on each key; only keys that occur are kept.

    Attributes
    ----------
    keys : numpy.ndarray
        (m,) uint32, strictly ascending; see `keys_of`.
    counts : numpy.ndarray
        (m,) int64, at least 1 each.
    bits : int
        Bits of a key. Memory is bounded by 12 × 2**bits bytes.

    Examples
    --------
    >>> both = ScoreHistogram.of(np.array([0.5, 2.0])) + ScoreHistogram.of(np.array([0.5]))
    >>> both.values.tolist(), both.counts.tolist(), both.survival().tolist()
    ([0.5, 2.0], [2, 1], [3, 1])
    """

    keys: np.ndarray
    counts: np.ndarray
    bits: int = DEFAULT_BITS

    @classmethod
    def empty(cls, bits: int = DEFAULT_BITS) -> ScoreHistogram:
        """Return a histogram of no score, to sum onto."""
        _require_bits(bits)
        return cls(np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.int64), bits)

    @classmethod
    def of(cls, scores: np.ndarray, bits: int = DEFAULT_BITS) -> ScoreHistogram:
        """Count scores of any shape and number.

        Raises
        ------
        ScorerError
            If a score is NaN.
        SettingError
            If ``bits`` is out of range, or the scores are no real numbers.
        """
        flat = real_array("Scores", scores).reshape(-1)
        total = cls.empty(bits)
        for start in range(0, flat.size, _CHUNK):
            total = total + _count(keys_of(flat[start : start + _CHUNK], bits), bits)
        return total

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        """Return the histogram of both sets of scores; `SettingError` if their ``bits`` differ."""
        self._require_same_bits(other)
        if not self.keys.size or not other.keys.size:
            return self if self.keys.size else other
        lowest = min(self.keys[0], other.keys[0])
        span = int(max(self.keys[-1], other.keys[-1]) - lowest) + 1
        if _lie_close(span, self.keys.size + other.keys.size):
            dense = np.zeros(span, dtype=np.int64)
            for part in (self, other):
                dense[part.keys - lowest] += part.counts
            return _of_dense(dense, lowest, self.bits)
        keys = np.union1d(self.keys, other.keys)
        return ScoreHistogram(keys, self.counts_at(keys) + other.counts_at(keys), self.bits)

    def without(self, other: ScoreHistogram) -> ScoreHistogram:
        """Return the histogram of the scores that remain when those of ``other``, a part of them, are left out.

        Raises
        ------
        SettingError
            If their ``bits`` differ.
        ScorerError
            If ``other`` is no part of this histogram.
        """
        self._require_same_bits(other)
        counts = self.counts - other.counts_at(self.keys)
        if (counts < 0).any() or int(counts.sum()) != self.total - other.total:
            raise ScorerError(
                "Score histogram: expected a part to leave out, got scores that it does not hold."
            )
        present = counts > 0
        return ScoreHistogram(self.keys[present], counts[present], self.bits)

    def _require_same_bits(self, other: ScoreHistogram) -> None:
        if self.bits != other.bits:
            raise SettingError(
                f"Score histograms: expected keys of the same width, got {self.bits} and {other.bits} bits. "
                "Count both with the same bits."
            )

    @property
    def total(self) -> int:
        """Number of scores counted."""
        return int(self.counts.sum())

    @property
    def values(self) -> np.ndarray:
        """(m,) float32, strictly ascending: the lower edge of each key's bin."""
        return values_of(self.keys, self.bits)

    def survival(self) -> np.ndarray:
        """Return (m,) int64: the number of scores on each key or a higher one."""
        return np.cumsum(self.counts[::-1])[::-1]

    def counts_at(self, keys: np.ndarray) -> np.ndarray:
        """Return int64 counts at these keys (any uint32 array), 0 where a key does not occur."""
        if not self.keys.size:
            return np.zeros(keys.shape, dtype=np.int64)
        where = np.minimum(np.searchsorted(self.keys, keys), self.keys.size - 1)
        return np.where(self.keys[where] == keys, self.counts[where], 0)


class _Summable(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


T = TypeVar("T", bound=_Summable)


class RunningSum(Generic[T]):
    """The sum of many histograms, or of what is made of them, as they come in.

    Adding two goes through all keys of both, and a sum has ever more of them. So sums of as many parts each are put
    together, two by two: each part is gone through some log2(n) times, not n times. Of n parts log2(n) sums are held.

    Parameters
    ----------
    empty : T
        The sum of nothing.
    """

    def __init__(self, empty: T) -> None:
        self._empty = empty
        self._sums: list[tuple[int, T]] = []  # of how many parts each, descending

    def add(self, part: T) -> None:
        """Take in a part."""
        n_parts = 1
        while self._sums and self._sums[-1][0] == n_parts:
            n_before, before = self._sums.pop()
            part, n_parts = before + part, n_before + n_parts
        self._sums.append((n_parts, part))

    def total(self) -> T:
        """Return the sum of all parts so far."""
        total = self._empty
        for _, part in reversed(self._sums):
            total = part + total
        return total


def _count(keys: np.ndarray, bits: int) -> ScoreHistogram:
    """Count keys: by direct address where they lie close together, otherwise by sorting."""
    lowest = keys.min()
    span = int(keys.max() - lowest) + 1
    if _lie_close(span, keys.size):
        return _of_dense(np.bincount(keys - lowest, minlength=span).astype(np.int64), lowest, bits)
    unique, counts = np.unique(keys, return_counts=True)
    return ScoreHistogram(unique, counts.astype(np.int64), bits)


def _lie_close(span: int, n_keys: int) -> bool:
    """Whether a table of all keys in a span is worth its memory."""
    return span <= 4 * n_keys + 1024


def _of_dense(counts: np.ndarray, lowest: np.uint32, bits: int) -> ScoreHistogram:
    """Return the histogram of int64 counts of every key from ``lowest`` on."""
    present = np.flatnonzero(counts)
    return ScoreHistogram(present.astype(np.uint32) + lowest, counts[present], bits)


def _require_bits(bits: int) -> None:
    if not _SIGN_AND_EXPONENT_BITS <= bits <= _FLOAT32_BITS:
        raise SettingError(
            f"Bits of a score key: expected {_SIGN_AND_EXPONENT_BITS} to {_FLOAT32_BITS}, got {bits}."
        )
