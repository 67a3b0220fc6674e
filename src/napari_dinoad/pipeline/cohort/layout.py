"""How unlike the others a scan is as a whole: what is where in it.

A patch score finds what appears in no other scan. A flipped or turned head, another plane or body part may be
made of patches that all occur elsewhere: it differs in where they lie. So unit-length embeddings are averaged in
the cells of a coarse grid, and each cell of a scan is compared with the same cell of the others: by the distance
within which the nearest few of them lie. The mean over the most unlike quarter of the cells is how unlike its
contents are. The outline of the body in the model's input is compared in the same way, by the share of the area
that two outlines do not have in common; and so are its edges, by how strong they are where, and by which way they
run (see `EdgeLayout`).
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

    from napari_dinoad.pipeline.cohort.embedded_scans import EmbeddedScan

__all__ = ["N_REFERENCES", "unlikeness"]

N_REFERENCES = 128
"""A scan is compared with so many others at most, drawn at random: memory does not grow with the number of scans."""

_CELLS = 8
"""Of the grid along rows and columns on which embeddings are averaged."""

_OUTLINE_CELLS = 16
"""The same for the outline of the body."""

_THIRDS = 3
"""Cells along the slices, where every scan has that many."""

_NEAREST, _NEAR_SHARE = 3, 0.1
"""A scan is as unlike the others as the third nearest of them, or the nearest tenth, is far: two or three with the
same fault do not vouch for each other, and in a cohort of several kinds of scan each kind has its own."""

_NO_DISTANCE, _MIN_SPREAD = 0.01, 0.1
"""A distance (of unit vectors, or a share of the area) less than this counts as this; so does a spread of logs."""

_UNLIKE_SHARE = 0.25
"""Of the cells, those that are most unlike count."""


def unlikeness(scans: Sequence[EmbeddedScan], seed: int) -> np.ndarray:
    """Return how unlike the others each scan is (n,) float64; higher is more unlike.

    What the cells hold, the outline of the body, the strength and the direction of edges count alike: the logarithms
    of each are compared with their median, in median absolute deviations, and added.

    Parameters
    ----------
    scans : sequence of EmbeddedScan
        Of one plane.
    seed : int
        Draws whom the scans are compared with, where there are many.
    """
    depth = _THIRDS if all(scan.n_slices >= _THIRDS for scan in scans) else 1
    drawn = np.random.default_rng(seed).permutation(len(scans))[:N_REFERENCES].tolist()
    row_of = {scan: row for row, scan in enumerate(drawn)}
    contents = np.stack([scans[i].compute(_contents, depth) for i in drawn])  # (references, cells, d)
    outlines = np.stack([_outline(scans[i], depth) for i in drawn])  # (references, cells)
    edges = [np.stack(vectors) for vectors in zip(*(_edges(scans[i], depth) for i in drawn), strict=True)]
    lengths = np.square(contents).sum(-1)
    by_contents, by_outline = np.zeros(len(scans)), np.zeros(len(scans))
    by_edges = np.zeros((len(edges), len(scans)))
    for i, scan in enumerate(scans):
        row = row_of.get(i)
        own = scan.compute(_contents, depth) if row is None else contents[row]
        squared = lengths + np.square(own).sum(-1) - 2 * np.einsum("rcd,cd->rc", contents, own)
        by_cell = np.sort(_near(np.sqrt(np.maximum(squared, 0)), row))
        by_contents[i] = by_cell[-math.ceil(_UNLIKE_SHARE * len(by_cell)) :].mean(dtype=np.float64)
        outline = _outline(scan, depth) if row is None else outlines[row]
        union = np.maximum(np.maximum(outlines, outline).sum(-1), _NO_DISTANCE)
        apart = np.abs(outlines - outline).sum(-1) / union
        by_outline[i] = float(_near(apart[:, None], row)[0])
        own_edges = _edges(scan, depth) if row is None else [vectors[row] for vectors in edges]
        for kind, (of_references, vector) in enumerate(zip(edges, own_edges, strict=True)):
            by_edges[kind, i] = float(_near(1 - (of_references @ vector)[:, None], row)[0])
    return np.asarray(sum(map(_standardised, (by_contents, by_outline, *by_edges))))


def _near(distances: np.ndarray, own_row: int | None) -> np.ndarray:
    """Return the distance (cells,) within which the nearest few others lie, of distances (references, cells)."""
    others = distances if own_row is None else np.delete(distances, own_row, axis=0)
    if not len(others):
        return np.zeros(distances.shape[1])
    nth = min(len(others), max(_NEAREST, math.ceil(_NEAR_SHARE * len(others)))) - 1
    return np.asarray(np.partition(others, nth, axis=0)[nth])


def _standardised(values: np.ndarray) -> np.ndarray:
    """Return the logarithms of values >= 0 (n,), less their median, in median absolute deviations."""
    logarithms = np.log(np.maximum(values, _NO_DISTANCE))
    apart = logarithms - np.median(logarithms)
    return np.asarray(apart / max(float(np.median(np.abs(apart))), _MIN_SPREAD))


def _contents(scan: EmbeddedScan, depth: int) -> np.ndarray:
    """Return the mean unit-length embedding (cells, d) float32 of each cell of the grid."""
    slices = [
        functional.adaptive_avg_pool2d(unit_length(batch).permute(0, 3, 1, 2), _CELLS)
        for batch in scan.batches()
    ]
    whole = torch.cat(slices).permute(1, 0, 2, 3)  # (d, slices, rows, columns)
    cells: np.ndarray = functional.adaptive_avg_pool3d(whole, (depth, _CELLS, _CELLS)).flatten(1).T.numpy()
    return cells


def _edges(scan: EmbeddedScan, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors whose products say how alike two scans' edges are: in strength, and in direction."""
    layout = scan.edges
    if depth != layout.n_parts:
        layout = layout.as_one()
    return layout.strength_vector(), layout.direction_vector()


def _outline(scan: EmbeddedScan, depth: int) -> np.ndarray:
    """Return how much of each cell of a grid is body (cells,) float32."""
    outline = torch.from_numpy(scan.outline(_OUTLINE_CELLS))[None]
    shape = (depth, _OUTLINE_CELLS, _OUTLINE_CELLS)
    cells: np.ndarray = functional.adaptive_avg_pool3d(outline, shape).flatten().numpy()
    return cells
