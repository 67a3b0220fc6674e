"""Masks of one bit a voxel: what is done to 64 voxels of a row at once, in an eighth of the memory.

A packed mask is an array of words (z, rows, words of a row) uint64, the lowest bit of a word first. It is framed:
beyond a mask's voxels lie `FRAME` or more that are False, along rows, columns and, in volumes, slices. So neighbours
across the border are False, and what leaves a row at its end comes to no voxel of the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import generate_binary_structure, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_dinoad.images.values.blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "FRAME",
    "box_around",
    "closed_parts",
    "dilated",
    "eroded",
    "large_parts",
    "n_marked",
    "packed",
    "span",
    "unpacked",
]

FRAME = 4
"""Voxels around a mask that are False, along axes of more than one voxel."""

_WORD = np.dtype("<u8")
_BITS, _BYTES = 64, 8

_FIRST_BYTE = 1
"""Voxels of a row begin with this byte of its words: eight, more than `FRAME`, lie before them."""

_MOST_RUNS = 4
"""Of more runs a word, as noise has, each takes more memory than its voxels do by a number for each voxel."""

_RUNS_AT_A_TIME = 2**17

_COUNTED_APART = 8

_PACKED_VOXELS = 2**18
"""Voxels are told and packed so many at a time: what is in between stays in the cache."""


class _Bits(NamedTuple):
    """Single bits of words: which word (n,) of all, one after the other, and it with the other bits unset (n,)."""

    at: np.ndarray
    bit: np.ndarray


class _Pieces:
    """The runs of True voxels along the rows of a packed mask, or these voxels, numbered in its order.

    Parameters
    ----------
    words : numpy.ndarray
        Packed mask.
    along_rows : bool
        Whether neighbours along rows join.
    """

    def __init__(self, words: np.ndarray, *, along_rows: bool = True) -> None:
        self._words = words
        self._along_rows = along_rows
        self._starts = self._firsts(words.reshape(-1))
        counts = np.bitwise_count(self._starts)
        ends = np.cumsum(counts, dtype=np.int64)
        self._before, self.n = (ends - counts).astype(np.int32), int(ends[-1])

    def _firsts(self, flat: np.ndarray) -> np.ndarray:
        return _first_bits(flat) if self._along_rows else flat

    def holding(self, bits: _Bits) -> np.ndarray:
        """Return the number (n,) of the piece that each bit of the mask belongs to."""
        up_to = self._starts[bits.at] & (bits.bit | (bits.bit - np.uint64(1)))
        return np.asarray(self._before[bits.at] + np.bitwise_count(up_to) - 1)

    def labels(self, axes: Sequence[int]) -> tuple[int, np.ndarray]:
        """Return the number of parts, and that of each piece (n,), where neighbours along these axes join, too."""
        flat = self._words.reshape(-1)
        pairs = []
        for axis in axes:
            stride = _stride(self._words, axis)
            lower = _bits_of(self._firsts(flat[:-stride] & flat[stride:]))
            pairs.append((self.holding(lower), self.holding(_Bits(lower.at + stride, lower.bit))))
        first, second = (np.concatenate(runs) for runs in zip(*pairs, strict=True))
        # In SciPy's own types, and as no pair comes twice, it neither copies nor sorts them.
        graph = coo_array((np.ones(len(first)), (first, second)), shape=(self.n, self.n))
        graph.has_canonical_format = True
        n_parts, labels = connected_components(graph, directed=False)
        return int(n_parts), np.asarray(labels)

    def chosen(self, is_chosen: np.ndarray) -> np.ndarray:
        """Return the packed mask of some pieces (n,) bool."""
        starts = _bits_of(self._starts)
        some = is_chosen[self.holding(starts)]
        flat = self._words.reshape(-1)
        ahead = np.zeros_like(flat)
        np.bitwise_or.at(ahead, starts.at[some], starts.bit[some])
        if not self._along_rows:
            return ahead.reshape(self._words.shape)
        # What is added to the first voxel of a run is carried to its end: the run's bits, and no other's, are unset.
        ahead += flat
        over = np.flatnonzero(ahead < flat) + 1
        while over.size:
            ahead[over] += np.uint64(1)
            over = over[ahead[over] == 0] + 1
        np.bitwise_not(ahead, out=ahead)
        ahead &= flat
        return ahead.reshape(self._words.shape)

    def lengths(self) -> np.ndarray:
        """Return the number of voxels (n,) of each run."""
        flat = self._words.reshape(-1)
        lengths = np.empty(self.n, dtype=np.int64)
        starts, ends = _bits_of(self._starts), _bits_of(flat & ~_towards_first(flat))
        lengths[self.holding(ends)] = _places(ends) + 1
        lengths[self.holding(starts)] -= _places(starts)
        return lengths


def packed(shape: tuple[int, int, int], told: Callable[[tuple[slice, slice]], np.ndarray]) -> np.ndarray:
    """Pack a mask of this shape (z, y, x), of which ``told`` says the voxels (bool) of some slices and rows."""
    z, y, x = shape
    deep = FRAME if z > 1 else 0
    n_bytes = -(-(_FIRST_BYTE * 8 + x + FRAME) // _BITS) * _BYTES
    in_bytes = np.zeros((z + 2 * deep, y + 2 * FRAME, n_bytes), dtype=np.uint8)
    inner = _inner(in_bytes, shape)
    for block in blocks(shape, _PACKED_VOXELS):
        inner[block] = np.packbits(told(block), axis=-1, bitorder="little")
    return in_bytes.view(_WORD)


def unpacked(words: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the mask (z, y, x) bool that `packed` packed."""
    inner = _inner(words.view(np.uint8), shape)
    return np.unpackbits(inner, axis=-1, count=shape[2], bitorder="little").view(bool)


def _inner(in_bytes: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    z, y, x = shape
    deep = (in_bytes.shape[0] - z) // 2
    columns = slice(_FIRST_BYTE, _FIRST_BYTE + -(-x // 8))
    return in_bytes[deep : deep + z, FRAME : FRAME + y, columns]


def n_marked(words: np.ndarray) -> int:
    """Return the number of a packed mask's True voxels."""
    return int(np.bitwise_count(words).sum(dtype=np.int64))


def eroded(words: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Return the voxels all of whose neighbours along these axes are True."""
    return _with_neighbours(words, axes, np.bitwise_and)


def dilated(words: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Return the True voxels and all their neighbours along these axes."""
    return _with_neighbours(words, axes, np.bitwise_or)


def _with_neighbours(words: np.ndarray, axes: Sequence[int], combine: np.ufunc) -> np.ndarray:
    flat = words.reshape(-1)
    out = flat.copy()
    for axis in axes:
        if axis == 2:
            combine(out, _towards_last(flat), out=out)
            combine(out, _towards_first(flat), out=out)
        else:
            # One long array is gone through in a quarter of the time of its lines; the frame parts slices.
            stride = _stride(words, axis)
            combine(out[:-stride], flat[stride:], out=out[:-stride])
            combine(out[stride:], flat[:-stride], out=out[stride:])
    return out.reshape(words.shape)


def _stride(words: np.ndarray, axis: int) -> int:
    """Return how many words a neighbour across rows, or slices, lies ahead."""
    return int(words[0].size if axis == 0 else words.shape[2])


def _towards_last(flat: np.ndarray) -> np.ndarray:
    """Return words (n,) of which each bit is that of the voxel before."""
    out = flat << np.uint64(1)
    out[1:] |= flat[:-1] >> np.uint64(_BITS - 1)
    return out


def _towards_first(flat: np.ndarray) -> np.ndarray:
    """Return words (n,) of which each bit is that of the next voxel."""
    out = flat >> np.uint64(1)
    out[:-1] |= flat[1:] << np.uint64(_BITS - 1)
    return out


def _first_bits(flat: np.ndarray) -> np.ndarray:
    """Return the first voxels of the runs of words (n,)."""
    before = _towards_last(flat)
    np.bitwise_not(before, out=before)
    before &= flat
    return before


def _bits_of(flat: np.ndarray) -> _Bits:
    """Return all bits of words (n,) that are set, in no order."""
    at = np.flatnonzero(flat != 0)  # Of numbers NumPy takes three times as long.
    rest = flat[at]
    found = []
    while at.size:
        bit = rest & (np.uint64(0) - rest)
        found.append(_Bits(at, bit))
        rest = rest ^ bit
        more = rest != 0
        at, rest = at[more], rest[more]
    if len(found) == 1:
        return found[0]
    return _Bits(*(np.concatenate(parts) for parts in zip(*found, strict=True))) if found else _Bits(at, rest)


def _places(bits: _Bits) -> np.ndarray:
    return bits.at * _BITS + np.bitwise_count(bits.bit - np.uint64(1))


def span(words: np.ndarray, axis: int) -> np.ndarray:
    """Return all voxels from the first to the last True one of each line along an axis."""
    if axis == 2:
        return _span_of_rows(words)
    forwards = np.bitwise_or.accumulate(words, axis=axis)
    forwards &= np.flip(np.bitwise_or.accumulate(np.flip(words, axis), axis=axis), axis)
    return forwards


def _span_of_rows(words: np.ndarray) -> np.ndarray:
    after = words | (np.uint64(0) - words)
    before = words.copy()
    for places in (1, 2, 4, 8, 16, 32):
        before |= before >> np.uint64(places)
    for word in range(1, words.shape[2]):
        after[..., word] |= np.uint64(0) - (after[..., word - 1] >> np.uint64(_BITS - 1))
    for word in range(words.shape[2] - 1, 0, -1):
        before[..., word - 1] |= np.uint64(0) - (before[..., word] & np.uint64(1))
    after &= before
    return after


def large_parts(words: np.ndarray, axes: Sequence[int], share: float) -> tuple[np.ndarray, int]:
    """Return the parts, connected along rows and these axes, of a share of the largest one at least, and how many."""
    runs = _Pieces(words)
    if not runs.n:
        return words, 0
    if runs.n > _MOST_RUNS * words.size:
        del runs
        return _large_of_many(words, axes, share)
    n_parts, labels = runs.labels(axes)
    if n_parts == 1:
        return words, 1
    # What has most runs is nearly always the largest; all others together may be less than a share of it.
    likely = runs.chosen(labels == np.bincount(labels).argmax())
    n_likely = n_marked(likely)
    if n_marked(words) - n_likely < share * n_likely:
        return likely, 1
    sizes = np.zeros(n_parts, dtype=np.int64)
    np.add.at(sizes, labels, runs.lengths())
    is_large = sizes >= share * sizes.max()
    return runs.chosen(is_large[labels]), int(np.count_nonzero(is_large))


def _large_of_many(words: np.ndarray, axes: Sequence[int], share: float) -> tuple[np.ndarray, int]:
    """Return what `large_parts` does, by a number for each voxel."""
    neighbours = generate_binary_structure(3, 1)
    if 0 not in axes:
        neighbours[[0, 2]] = False
    in_bytes = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
    labels = np.empty(in_bytes.shape, dtype=np.int32)
    n_parts = label(in_bytes, neighbours, output=labels)
    del in_bytes
    sizes = np.zeros(n_parts + 1, dtype=np.int64)
    for some in np.array_split(labels.reshape(-1), _COUNTED_APART):  # NumPy makes int64 of them to count
        sizes += np.bincount(some, minlength=len(sizes))
    sizes[0] = 0
    is_large = sizes >= share * sizes.max()
    large = np.packbits(is_large[labels], axis=-1, bitorder="little").view(_WORD)
    return large, int(np.count_nonzero(is_large))


def closed_parts(words: np.ndarray, leaks: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
    """Return the parts, connected within slices of the plane of two axes, that hold no voxel of ``leaks``.

    Parameters
    ----------
    words, leaks : numpy.ndarray
        Packed masks; a leak is one of the voxels.
    plane : tuple of int
    """
    if not leaks.any():
        return words
    if 2 not in plane and n_marked(words) > words.size:
        return _closed_across_rows(words, leaks)
    if 2 not in plane:
        return _closed_pieces(words, leaks, plane)
    # Some slices of the plane at a time, where they hold many runs.
    n_runs = int(np.bitwise_count(_first_bits(words.reshape(-1))).sum(dtype=np.int64))
    across = 0 if 1 in plane else 1
    at_a_time = max(1, words.shape[across] * _RUNS_AT_A_TIME // max(n_runs, 1))
    closed = words.copy()
    for start in range(0, words.shape[across], at_a_time):
        some = (slice(None),) * across + (slice(start, start + at_a_time),)
        if leaks[some].any():
            closed[some] = _closed_pieces(words[some], leaks[some], plane)
    return closed


def _closed_pieces(words: np.ndarray, leaks: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
    pieces = _Pieces(words, along_rows=2 in plane)
    n_parts, labels = pieces.labels([axis for axis in plane if axis < 2])
    is_closed = np.ones(n_parts, dtype=bool)
    is_closed[labels[pieces.holding(_bits_of(leaks.reshape(-1)))]] = False
    return pieces.chosen(is_closed[labels])


def _closed_across_rows(words: np.ndarray, leaks: np.ndarray) -> np.ndarray:
    """Return the closed parts of the plane across rows, whose slices are columns: those of a word after the other.

    They are turned, so that rows lie in the plane: each voxel would be a piece, and a hundred bytes of memory. Where
    fewer than one of 64 is True that takes less time.
    """
    closed = words.copy()
    shape = (_BITS, *words.shape[:2])
    for place in np.flatnonzero(leaks.any(axis=(0, 1))):
        turned, leaking = (packed(shape, _columns(mask[..., place]).__getitem__) for mask in (words, leaks))
        found = unpacked(closed_parts(turned, leaking, (1, 2)), shape).transpose(1, 2, 0)
        closed[..., place] = np.packbits(found, axis=-1, bitorder="little").view(_WORD)[..., 0]
    return closed


def _columns(words: np.ndarray) -> np.ndarray:
    """Return the voxels of one word of each row (z, rows) as bool (64, z, rows)."""
    in_bytes = np.ascontiguousarray(words)[..., np.newaxis].view(np.uint8)
    return np.unpackbits(in_bytes, axis=-1, bitorder="little").view(bool).transpose(2, 0, 1)


def box_around(words: np.ndarray, margin: int = 0) -> tuple[slice, slice, slice]:
    """Return the words that hold all True voxels; of slices and rows so many more on each side, if there are."""
    in_rows = np.bitwise_or.reduce(words, axis=0)
    in_slices = np.bitwise_or.reduce(words.reshape(len(words), -1), axis=1)
    sides = []
    for used, more in ((in_slices, margin), (in_rows.any(axis=1), margin), (in_rows.any(axis=0), 0)):
        places = np.flatnonzero(used)
        first, last = (places[0], places[-1]) if places.size else (0, -1)
        sides.append(slice(max(0, first - more), last + 1 + more))
    return sides[0], sides[1], sides[2]
