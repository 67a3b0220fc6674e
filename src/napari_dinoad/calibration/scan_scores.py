"""What calibration needs of one normal scan: how often each raw score is in it, and the scan's own score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from napari_dinoad.calibration.score_histogram import ScoreHistogram
from napari_dinoad.given_arrays import real_array, require_number
from napari_dinoad.settings.checks import require

__all__ = ["OwnScores", "ScanScores", "scan_score"]


class OwnScores(NamedTuple):
    """What a scan's raw scores say of it as a whole.

    Attributes
    ----------
    score : float
        See `scan_score`.
    peak : float
        The highest of all.
    """

    score: float
    peak: float

    @classmethod
    def of(cls, body_scores: np.ndarray, top_fraction: float) -> OwnScores:
        """Return those of body voxels, any shape; −∞ of none. Errors are those of `scan_score`."""
        score = scan_score(body_scores, top_fraction)
        return cls(score, float(np.max(body_scores, initial=-np.inf)))


@dataclass(frozen=True, eq=False)
class ScanScores:
    """What calibration needs of one normal scan that the scorer had not seen.

    Attributes
    ----------
    histogram : ScoreHistogram
        Raw scores of its body voxels.
    own : OwnScores
        Its own score, and the highest of its body voxels.
    """

    histogram: ScoreHistogram
    own: OwnScores

    @classmethod
    def of(cls, body_scores: np.ndarray, top_fraction: float) -> ScanScores:
        """Return the figures of a scan.

        Parameters
        ----------
        body_scores : numpy.ndarray
            Raw scores of its body voxels, any shape.
        top_fraction : float
            See `scan_score`.

        Raises
        ------
        SettingError
            If the share is not above 0 and at most 1.
        ScorerError
            If a score is NaN.
        """
        return cls(ScoreHistogram.of(body_scores), OwnScores.of(body_scores, top_fraction))


def scan_score(body_scores: np.ndarray, top_fraction: float, *, overwrite: bool = False) -> float:
    """Return a scan's own score: the mean of the highest raw scores of its body voxels.

    Parameters
    ----------
    body_scores : numpy.ndarray
        Any shape.
    top_fraction : float
        Share of the voxels that count; see `CalibrationSettings.scan_top_fraction`.
    overwrite : bool
        Whether ``body_scores`` may be put into another order: it is not copied then.

    Returns
    -------
    float
        −∞ when there is no body voxel: nothing in it is unusual.

    Raises
    ------
    SettingError
        If the share is not above 0 and at most 1.
    """
    require_number("Top fraction", top_fraction)
    require(0 < top_fraction <= 1, "top fraction", "a share above 0, at most 1", top_fraction)
    body_scores = real_array("Scores", body_scores).reshape(-1)
    if body_scores.size == 0:
        return float("-inf")
    n_top = max(1, round(top_fraction * body_scores.size))
    partitioned = body_scores if overwrite else body_scores.copy()
    partitioned.partition(partitioned.size - n_top)
    return float(partitioned[-n_top:].mean(dtype=np.float64))
