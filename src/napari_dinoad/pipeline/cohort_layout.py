"""How unlike the others a scan is as a whole: what is where in it.

A patch score finds what appears in no other scan. A flipped or turned head, another plane or body part may be
made of patches that all occur elsewhere: it differs in where they lie. So the unit-length embeddings are
averaged over a coarse grid of each scan, and a scan's unlikeness is the distance to the third nearest of the
other scans: one or two of the same fault do not vouch for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from napari_dinoad.scoring.patches import unit_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.pipeline.embedding_cache import CachedScan

__all__ = ["unlikeness"]

LAYOUT_GRID = (3, 4, 4)
"""Cells along slices, rows and columns."""

N_REFERENCES = 256
"""A scan is compared with so many others at most, drawn at random: memory does not grow with the number of scans."""

_NEIGHBOUR = 3


def unlikeness(scans: Sequence[CachedScan], seed: int) -> np.ndarray:
    """Return how unlike the others each scan is (n,) float64; higher is more unlike.

    Parameters
    ----------
    scans : sequence of CachedScan
        Of one plane. With fewer than three other scans the farthest counts.
    seed : int
        Draws whom the scans are compared with, where there are many.
    """
    drawn = np.random.default_rng(seed).permutation(len(scans))[:N_REFERENCES]
    references = np.stack([_layout(scans[i]) for i in drawn])
    place = {int(scan): row for row, scan in enumerate(drawn)}
    result = np.zeros(len(scans))
    for i, scan in enumerate(scans):
        row = place.get(i)
        layout = _layout(scan) if row is None else references[row]
        distances = np.sqrt(np.mean((references - layout) ** 2, axis=1, dtype=np.float64))
        if row is not None:
            distances = np.delete(distances, row)
        result[i] = np.sort(distances)[: min(_NEIGHBOUR, len(distances))][-1] if len(distances) else 0.0
    return result


def _layout(scan: CachedScan) -> np.ndarray:
    """Return the mean unit-length embedding (cells · d,) float32 of each cell of the grid."""
    slices = [
        functional.adaptive_avg_pool2d(unit_length(batch).permute(0, 3, 1, 2), LAYOUT_GRID[1:])
        for batch in scan.batches()
    ]
    whole = torch.cat(slices).permute(1, 0, 2, 3)[None]  # (1, d, slices, 4, 4)
    cells: np.ndarray = functional.adaptive_avg_pool3d(whole, LAYOUT_GRID).flatten().numpy()
    return cells
