"""A uniform sample of the patches of all batches, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_dinoad.errors import ScorerError
from napari_dinoad.progress import report
from napari_dinoad.scoring.patches import as_patches, checked_embeddings, n_batches
from napari_dinoad.scoring.summation import DistributedBatches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_dinoad.progress import Progress

__all__ = ["PatchSample", "sample_patches"]

_COLUMNS = 16
"""So many channels at a time are put into order: one line of the processor's cache."""


@dataclass(frozen=True)
class PatchSample:
    """A uniform sample of patches over all batches, and the counts met on the way.

    Attributes
    ----------
    patches : torch.Tensor
        (m, d) on the CPU; all patches when there are no more than asked for.
    n_patches : int
        Patches in all batches.
    largest_batch : int
        Patches in the largest batch.
    """

    patches: torch.Tensor
    n_patches: int
    largest_batch: int


def sample_patches(
    batches: Iterable[torch.Tensor],
    size: int,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> PatchSample:
    """Draw ``size`` patches uniformly, without replacement, in one pass and bounded memory.

    Every patch gets a random key; the patches with the smallest keys stay (reservoir sampling).

    Raises
    ------
    ScorerError
        If there is no patch at all, or a batch is not usable.
    """
    if isinstance(batches, DistributedBatches):
        return _sample_elsewhere(batches, size, generator)
    reservoir: _Reservoir | None = None
    n_patches = largest = 0
    total = n_batches(batches)
    for done, batch in enumerate(batches, start=1):
        patches = as_patches(
            checked_embeddings(batch, None if reservoir is None else reservoir.rows.shape[1])
        )
        keys = torch.rand(len(patches), dtype=torch.float64, generator=generator)
        if reservoir is None:
            reservoir = _Reservoir(size, patches)
        reservoir.offer(patches, keys, n_patches)
        n_patches += len(patches)
        largest = max(largest, len(patches))
        report(progress, "Sampling normal patches", done, total)
    if reservoir is None or n_patches == 0:
        raise ScorerError("batches: expected at least one patch embedding, got none; add normal scans.")
    return PatchSample(reservoir.in_order(), n_patches, largest)


class _Reservoir:
    """The patches with the smallest keys met so far, in memory that is taken once.

    Parameters
    ----------
    size : int
        How many stay.
    like : torch.Tensor
        (n, d) patches, of whose kind all are.
    """

    def __init__(self, size: int, like: torch.Tensor) -> None:
        self._filled = 0
        # Memory that is never written to is never taken.
        self.rows = like.new_empty(size, like.shape[1])
        self._keys = torch.empty(size, dtype=torch.float64)
        self._places = torch.empty(size, dtype=torch.int64)

    def offer(self, patches: torch.Tensor, keys: torch.Tensor, first_place: int) -> None:
        """Take in patches (n, d) that lie from ``first_place`` on among all of them, as far as their keys allow."""
        places = torch.arange(first_place, first_place + len(patches))
        kept = (self.rows, self._keys, self._places)
        begin, end = self._filled, min(self._filled + len(patches), len(self.rows))
        for tensor, new in zip(kept, (patches, keys, places), strict=True):
            tensor[begin:end] = new[: end - begin]
        self._filled, n_free = end, end - begin
        if n_free == len(patches):
            return
        # Of those kept and those offered the smallest stay: the offered among them replace the kept that are not.
        together = torch.cat([self._keys, keys[n_free:]])
        stays = torch.zeros(len(together), dtype=torch.bool)
        stays[together.argsort()[: len(self._keys)]] = True
        leaving = (~stays[: len(self._keys)]).nonzero().squeeze(1)
        entering = n_free + stays[len(self._keys) :].nonzero().squeeze(1)
        for tensor, new in zip(kept, (patches, keys, places), strict=True):
            tensor[leaving] = new[entering]

    def in_order(self) -> torch.Tensor:
        """Return the patches in the order in which they were met, in the memory that they lie in."""
        rows, order = self.rows[: self._filled], self._places[: self._filled].argsort()
        for begin in range(0, rows.shape[1], _COLUMNS):
            columns = rows[:, begin : begin + _COLUMNS]
            columns.copy_(columns[order])
        return rows


def _sample_elsewhere(batches: DistributedBatches, size: int, generator: torch.Generator) -> PatchSample:
    """Draw the sample that `sample_patches` would draw if the batches were here; only the sample is moved."""
    counts = batches.patch_counts()
    if sum(counts) == 0:
        raise ScorerError("batches: expected at least one patch embedding, got none; add normal scans.")
    keys = torch.empty(0, dtype=torch.float64)
    places = torch.empty(0, dtype=torch.int64)  # among the patches of all batches
    first = 0
    for count in counts:
        keys = torch.cat([keys, torch.rand(count, dtype=torch.float64, generator=generator)])
        places = torch.cat([places, torch.arange(first, first + count)])
        first += count
        if len(keys) > size:
            smallest = keys.argsort()[:size].sort().values
            keys, places = keys[smallest], places[smallest]
    ends = torch.tensor(counts).cumsum(0)
    bounds = torch.searchsorted(places, ends).tolist()
    rows = [
        places[begin:end] - (int(ends[b]) - counts[b])
        for b, (begin, end) in enumerate(zip([0, *bounds], bounds, strict=False))
    ]
    return PatchSample(batches.patches_at(rows), sum(counts), max(counts))
