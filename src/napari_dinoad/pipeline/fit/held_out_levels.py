"""Held-out normal volumes → what is usual of a slice by what it looks like, said by other persons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad.normative_model.slice_levels import LookSpace, SliceLevels
from napari_dinoad.pipeline.slices.slice_looks import looks_of
from napari_dinoad.progress import report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_dinoad.pipeline.cohort.embedded_scans import EmbeddedScan
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import ScorerName

__all__ = ["MIN_PERSONS", "HeldOutLevels"]

MIN_PERSONS = 5
"""Too few others say little of what is usual of a slice."""

TOP_SHARE = 0.02
"""A slice's level is the raw score that this share of its body exceeds."""

_DIRECTION_SLICES = 1_000
"""The directions of looks are those of so many slices, evenly drawn."""

_KEPT_SLICES = 20_000
"""A model keeps so many slices at most, evenly drawn."""

_STAGE = "Comparing alike slices"


class HeldOutLevels:
    """The levels of held-out volumes' slices.

    Parameters
    ----------
    scans : mapping of EmbeddedScan
        Volumes of several persons, by their places in the cache.
    persons : mapping of int
        The person of each.
    scores : mapping of callable
        Of each scorer: a scan's place → the raw scores (n,) of its body voxels, slice by slice; None of a scorer
        whose levels are 1.
    progress : callable, optional
        Called before each scan is read, twice; may raise `Cancelled`.

    Attributes
    ----------
    levels : SliceLevels
        Of all these persons, with the scorers in the order of ``scores``.
    """

    def __init__(
        self,
        scans: Mapping[int, EmbeddedScan],
        persons: Mapping[int, int],
        scores: Mapping[ScorerName, Callable[[int], np.ndarray] | None],
        progress: Progress | None,
    ) -> None:
        self._scorers = tuple(scores)
        space = LookSpace.of(_drawn_looks(list(scans.values()), progress))
        places, levels = {}, {}
        for done, (number, scan) in enumerate(scans.items()):
            report(progress, _STAGE, len(scans) + done, 2 * len(scans))
            places[number] = scan.compute(_places_in, space)
            n_voxels = np.count_nonzero(scan.body(), axis=(1, 2))
            tops = [_tops(of_scan and of_scan(number), n_voxels) for of_scan in scores.values()]
            levels[number] = torch.from_numpy(np.stack(tops))
        kept = dict(zip(scans, _evenly([len(own) for own in places.values()], _KEPT_SLICES), strict=True))
        person_of = torch.cat([torch.full((len(rows),), persons[number]) for number, rows in kept.items()])
        self.levels = SliceLevels.of(
            space,
            torch.cat([places[number][rows] for number, rows in kept.items()]),
            torch.cat([levels[number][:, rows] for number, rows in kept.items()], dim=1),
            person_of,
        )
        self._usual = {
            number: self.levels.at(own, person_of == persons[number]).numpy()
            for number, own in places.items()
        }

    def of(self, scorer: ScorerName, scan: int) -> np.ndarray:
        """Return the levels (n,) float32 of a held-out scan's slices by a scorer, as other persons tell them."""
        return np.asarray(self._usual[scan][self._scorers.index(scorer)])


def _evenly(n_slices: Sequence[int], at_most: int) -> list[list[int]]:
    """Return rows of scans with so many slices, evenly drawn, about ``at_most`` in all."""
    step = max(1, -(-sum(n_slices) // at_most))
    return [list(range(number % step, n, step)) for number, n in enumerate(n_slices)]


def _drawn_looks(scans: Sequence[EmbeddedScan], progress: Progress | None) -> torch.Tensor:
    """Return the looks (m, k) float32 of the slices that tell the directions."""
    rows_of = _evenly([scan.n_slices for scan in scans], _DIRECTION_SLICES)
    drawn = []
    for done, (scan, rows) in enumerate(zip(scans, rows_of, strict=True)):
        report(progress, _STAGE, done, 2 * len(scans))
        if rows:
            drawn.append(scan.compute(_looks_of_rows, rows))
    return torch.cat(drawn)


def _looks_of_rows(scan: EmbeddedScan, rows: Sequence[int]) -> torch.Tensor:
    """Return the looks (len(rows), k) float32 of some slices of a scan."""
    return looks_of(torch.from_numpy(scan.rows(rows)), torch.from_numpy(scan.outline(scan.shape[1], rows)))


def _places_in(scan: EmbeddedScan, space: LookSpace) -> torch.Tensor:
    """Return the places (n, q) float32 of a scan's slices."""
    body = torch.from_numpy(scan.outline(scan.shape[1]))
    places, begin = [], 0
    for batch in scan.batches():
        places.append(space.places(looks_of(batch, body[begin : begin + len(batch)])))
        begin += len(batch)
    return torch.cat(places)


def _tops(body_scores: np.ndarray | None, n_voxels: np.ndarray) -> np.ndarray:
    """Return the score (slices,) float32 that `TOP_SHARE` of each slice's body voxels exceed; 1 without scores."""
    if body_scores is None:
        return np.ones(len(n_voxels), dtype=np.float32)
    slices = np.split(body_scores, np.cumsum(n_voxels)[:-1])
    return np.array([np.quantile(part, 1 - TOP_SHARE) for part in slices], dtype=np.float32)
