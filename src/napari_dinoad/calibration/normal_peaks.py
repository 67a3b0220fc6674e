"""How unusual the most unusual voxel of each normal scan is: what a region of a patient's scan must exceed.

Of the many voxels of a scan some are rare by chance, in every normal scan. A region is compared with the highest
value of each held-out normal scan: p of its peak is then corrected for all voxels of the scan (the maximum statistic;
Westfall and Young, *Resampling-Based Multiple Testing*, 1993; Nichols and Holmes, *Human Brain Mapping* 15, 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from napari_dinoad.calibration.weighted_scans import n_persons, p_value

__all__ = ["NormalPeaks"]


@dataclass(frozen=True, eq=False)
class NormalPeaks:
    """The highest −log10 p of each held-out normal scan.

    Attributes
    ----------
    levels : numpy.ndarray
        (n,) float32.
    weights : numpy.ndarray
        (n,) float64, what each counts: one over the number of scans of its person among them.
    """

    levels: np.ndarray
    weights: np.ndarray

    @property
    def n_scans(self) -> int:
        """Number of normal scans."""
        return len(self.levels)

    @property
    def n_persons(self) -> int:
        """Number of persons that they are of."""
        return n_persons(self.weights)

    @cached_property
    def _highest(self) -> np.float32:
        return np.float32(self.levels.max())

    def is_beyond(self, neg_log10_p: float) -> bool:
        """Whether no normal scan has a voxel at this level or above."""
        return bool(np.float32(neg_log10_p) > self._highest)

    def n_reaching(self, neg_log10_p: float) -> int:
        """Return how many of the normal scans have a voxel at this level or above, wherever it is."""
        return int(np.count_nonzero(self._reach(neg_log10_p)))

    def p_value(self, neg_log10_p: float) -> float:
        """Return (1 + Σ over persons: share of their normal scans that reach this level) / (1 + #persons)."""
        return p_value(self.weights, self._reach(neg_log10_p))

    def _reach(self, neg_log10_p: float) -> np.ndarray:
        return np.asarray(self.levels >= np.float32(neg_log10_p))
