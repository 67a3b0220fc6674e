"""Maps of several planes of one scan → one map on the scan's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.images.values.blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_dinoad.images.slices import SliceStack

__all__ = ["PlaneMean"]

_VOXELS_AT_ONCE = 2**22
"""Of the fused scores so many are made at a time."""


class PlaneMean:
    """The mean of −log10 p over the planes that score a voxel; see `calibration.fused_scores`.

    At the ends of the body a plane may have slices with too little body to score; there the others decide. Memory is
    5 bytes a voxel, however many planes there are.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x) of the scan's canonical array.

    Attributes
    ----------
    total : numpy.ndarray
        (z, y, x) float32, the sum of −log10 p over the planes; 0 where none has a score.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.total = np.zeros(shape, dtype=np.float32)
        self._n_planes = np.zeros(shape, dtype=np.uint8)

    def add(
        self, stack: SliceStack, indices: Sequence[int], body: np.ndarray, neg_log10_p: np.ndarray
    ) -> None:
        """Add some slices of a plane.

        Parameters
        ----------
        stack : SliceStack
            The plane.
        indices : sequence of int
            Of the slices, each once.
        body : numpy.ndarray
            (n, rows, columns) bool, in display orientation.
        neg_log10_p : numpy.ndarray
            (m,) float32 at the voxels of ``body``, by the plane's own calibration.
        """
        levels = np.zeros(body.shape, dtype=np.float32)
        levels[body] = neg_log10_p
        self.add_block(stack, indices, stack.from_display(body), stack.from_display(levels))

    def add_block(
        self, stack: SliceStack, indices: Sequence[int], body: np.ndarray, neg_log10_p: np.ndarray
    ) -> None:
        """Add some slices of a plane that are a block of the canonical array, as `body` is; 0 outside the body."""
        for there, here in stack.runs(indices):
            self.total[there] += neg_log10_p[here]
            self._n_planes[there] += body[here]

    def scored(self) -> np.ndarray:
        """Return where any plane has a score, (z, y, x) bool."""
        return self._n_planes > 0

    def raw_scores(self) -> np.ndarray:
        """Return the fused raw scores (m,) float32 at the voxels of `scored`."""
        raw, n = np.empty(self.n_scored, dtype=np.float32), 0
        for _, _, some in self.parts():
            raw[n : n + some.size] = some
            n += some.size
        return raw

    @property
    def n_scored(self) -> int:
        """Number of voxels of which any plane has a score."""
        return int(np.count_nonzero(self._n_planes))

    def parts(self) -> Iterator[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
        """Yield the fused raw scores in blocks, in order.

        Yields
        ------
        where : tuple of slice
            The block's place in the canonical array; see `blocks`.
        scored : numpy.ndarray
            (n, rows, x) bool: where any plane has a score.
        raw : numpy.ndarray
            (m,) float32 at these voxels.
        """
        for where in blocks(self.total.shape, _VOXELS_AT_ONCE):
            scored = self._n_planes[where] > 0
            yield where, scored, self.total[where][scored] / self._n_planes[where][scored]
