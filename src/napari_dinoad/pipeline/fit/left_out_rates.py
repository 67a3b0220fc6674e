"""How much of a person who is not behind a calibration it marks: measured on each by the table of the others.

A threshold from the pooled voxels of some persons is chosen by these persons: the next one exceeds it more often, the
more so the fewer they are and the more they differ. Each left out in turn tells by how much (the jackknife; Barber,
Candès, Ramdas and Tibshirani, *Predictive inference with the jackknife+*, Annals of Statistics 49, 2021).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.calibration import MAX_NEG_LOG10_P
from napari_dinoad.calibration.table import tail_slope

if TYPE_CHECKING:
    from napari_dinoad.calibration import Calibration
    from napari_dinoad.calibration.score_histogram import ScoreHistogram

__all__ = ["LeftOutRates"]

_BINS_A_DECADE = 1000
"""Of −log10 p: a rate is that of the whole bin, at most 0.23 % of p below the level that is asked for."""


class LeftOutRates:
    """Counts of the −log10 p of left-out persons' voxels."""

    def __init__(self) -> None:
        self._counts = np.zeros(int(MAX_NEG_LOG10_P * _BINS_A_DECADE) + 1, dtype=np.int64)

    def add(self, own: ScoreHistogram, others: Calibration) -> None:
        """Count a person's voxels.

        Parameters
        ----------
        own : ScoreHistogram
            Raw scores of the person's body voxels.
        others : Calibration
            Of the other persons.
        """
        levels = others.neg_log10_p(own.values)
        np.add.at(self._counts, (levels * _BINS_A_DECADE).astype(np.int64), own.counts)

    def share_at_least(self, neg_log10_p: np.ndarray) -> np.ndarray:
        """Return the share (n,) float64 of left-out voxels at these levels (n,) or above, one more counted."""
        reached = np.cumsum(self._counts[::-1])[::-1]
        bins = np.minimum((neg_log10_p * _BINS_A_DECADE).astype(np.int64), reached.size - 1)
        return np.asarray((1 + reached[bins]) / (1 + reached[0]))

    def corrected(self, calibration: Calibration) -> Calibration:
        """Return the calibration of all these persons with p of its table raised to what was measured.

        p is never lowered. The order of scores, and what is kept of whole scans, stay.
        """
        measured = -np.log10(self.share_at_least(calibration.table_neg_log10_p))
        levels = np.maximum.accumulate(np.minimum(calibration.table_neg_log10_p, measured))
        slope = tail_slope(calibration.table_scores, levels)
        return replace(calibration, table_neg_log10_p=levels, tail_slope=slope)
