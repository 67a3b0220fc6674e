"""How unlike the others a scan is as a whole: what is where in it.

A patch score finds what appears in no other scan. A flipped or turned head, another plane or body part may be
made of patches that all occur elsewhere: it differs in where they lie. So unit-length embeddings are averaged in
the cells of a coarse grid, and each cell of a scan is compared with the same cell of the others: by the distance
within which a third of them lie, so that a few scans with the same fault do not vouch for each other. The mean
over the more unlike half of the cells is the scan's unlikeness.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from napari_dinoad.scoring.patches import unit_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.pipeline.embedding_cache import EmbeddedScan

__all__ = ["N_REFERENCES", "unlikeness"]

N_REFERENCES = 128
"""A scan is compared with so many others at most, drawn at random: memory does not grow with the number of scans."""

_CELLS = 8
"""Of the grid along rows and columns."""

_THIRDS = 3
"""Cells along the slices, where every scan has that many."""

_NEAR_SHARE = 1 / 3
_UNLIKE_HALF = 0.5


def unlikeness(scans: Sequence[EmbeddedScan], seed: int) -> np.ndarray:
    """Return how unlike the others each scan is (n,) float64; higher is more unlike.

    Parameters
    ----------
    scans : sequence of EmbeddedScan
        Of one plane.
    seed : int
        Draws whom the scans are compared with, where there are many.
    """
    depth = _THIRDS if all(scan.n_slices >= _THIRDS for scan in scans) else 1
    drawn = np.random.default_rng(seed).permutation(len(scans))[:N_REFERENCES].tolist()
    references = np.stack([_layout(scans[i], depth) for i in drawn])  # (references, cells, d)
    lengths = np.square(references).sum(-1)
    row_of = {scan: row for row, scan in enumerate(drawn)}
    result = np.zeros(len(scans))
    for i, scan in enumerate(scans):
        row = row_of.get(i)
        layout = _layout(scan, depth) if row is None else references[row]
        squared = lengths + np.square(layout).sum(-1) - 2 * np.einsum("rcd,cd->rc", references, layout)
        others = squared if row is None else np.delete(squared, row, axis=0)
        if len(others):
            result[i] = _unlikeness(np.sqrt(np.maximum(others, 0)))
    return result


def _unlikeness(distances: np.ndarray) -> float:
    """Return a scan's unlikeness from its distances (others, cells)."""
    nth = math.ceil(_NEAR_SHARE * len(distances)) - 1
    by_cell = np.sort(np.partition(distances, nth, axis=0)[nth])
    return float(by_cell[int(_UNLIKE_HALF * len(by_cell)) :].mean(dtype=np.float64))


def _layout(scan: EmbeddedScan, depth: int) -> np.ndarray:
    """Return the mean unit-length embedding (cells, d) float32 of each cell of the grid."""
    slices = [
        functional.adaptive_avg_pool2d(unit_length(batch).permute(0, 3, 1, 2), _CELLS)
        for batch in scan.batches()
    ]
    whole = torch.cat(slices).permute(1, 0, 2, 3)  # (d, slices, rows, columns)
    cells: np.ndarray = functional.adaptive_avg_pool3d(whole, (depth, _CELLS, _CELLS)).flatten(1).T.numpy()
    return cells
