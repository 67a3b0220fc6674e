"""Per-region overlap (PRO): every lesion counts the same, however large it is.

Bergmann, Fauser, Sattlegger, Steger, *Uninformed Students*, CVPR 2020: at each threshold the share of every connected
region of the truth that is marked, averaged over the regions, against the false-positive rate over all normal
pixels; the area under that curve up to a rate of 30 %, divided by 0.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import cc3d
import numpy as np

from napari_dinoad.calibration.score_histogram import DEFAULT_BITS, RunningSum, ScoreHistogram, keys_of
from napari_dinoad.errors import SettingError
from napari_dinoad.evaluation.labelled_histogram import are_abnormal
from napari_dinoad.given_arrays import real_array, require_number
from napari_dinoad.settings import AUPRO_FPR_LIMIT as DEFAULT_FPR_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEFAULT_FPR_LIMIT", "RegionOverlap", "aupro"]


@dataclass(frozen=True, eq=False)
class RegionOverlap:
    """What the curve needs of any number of maps; sum them with ``+``.

    Attributes
    ----------
    normal : ScoreHistogram
        Scores outside the truth.
    keys : numpy.ndarray
        (m,) uint32, ascending: keys that occur inside the truth.
    weights : numpy.ndarray
        (m,) float64: the sum over regions of the share of the region's pixels on the key.
    n_regions : int
        Connected regions of the truth (diagonal neighbours belong together); equals the sum of ``weights``.
    """

    normal: ScoreHistogram
    keys: np.ndarray
    weights: np.ndarray
    n_regions: int

    @classmethod
    def empty(cls, bits: int = DEFAULT_BITS) -> RegionOverlap:
        """Return the overlap of no map, to sum onto."""
        return cls(ScoreHistogram.empty(bits), np.empty(0, np.uint32), np.empty(0, np.float64), 0)

    @classmethod
    def of(cls, scores: np.ndarray, truth: np.ndarray, bits: int = DEFAULT_BITS) -> RegionOverlap:
        """Count one map (2D or 3D) of scores against its truth (abnormal where above 0).

        Raises
        ------
        SettingError
            If the shapes differ, a map is not 2D or 3D, or its truth holds NaN.
        ScorerError
            If a score is NaN.
        """
        scores, abnormal = real_array("Scores", scores), are_abnormal(scores, truth)
        if abnormal.ndim not in (2, 3):
            raise SettingError(
                f"Scores: expected a map of two or three axes, got the shape {abnormal.shape}."
            )
        labels, n_regions = cc3d.connected_components(
            abnormal, connectivity=8 if abnormal.ndim == 2 else 26, binary_image=True, return_N=True
        )
        regions = labels[abnormal]
        normal = ScoreHistogram.of(scores[~abnormal], bits)
        shares = 1.0 / np.bincount(regions)[regions]
        keys, weights = _sum_by_key(keys_of(scores[abnormal], bits), shares)
        return cls(normal, keys, weights, int(n_regions))

    def __add__(self, other: RegionOverlap) -> RegionOverlap:
        """Return the overlap of the maps of both; `SettingError` if their ``bits`` differ."""
        normal = self.normal + other.normal
        keys, weights = _sum_by_key(
            np.concatenate([self.keys, other.keys]), np.concatenate([self.weights, other.weights])
        )
        return RegionOverlap(normal, keys, weights, self.n_regions + other.n_regions)

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return false-positive rate and mean overlap (m + 1,), from (0, 0), as the threshold falls.

        NaN throughout for the one whose pixels are absent.
        """
        keys = np.union1d(self.normal.keys, self.keys)[::-1]
        inside = np.zeros(keys.size)
        inside[np.isin(keys, self.keys)] = self.weights[::-1]
        with np.errstate(invalid="ignore"):
            fpr = np.cumsum(self.normal.counts_at(keys)) / np.float64(self.normal.total)
            overlap = np.cumsum(inside) / np.float64(self.n_regions)
        start = np.zeros(1)
        return (
            np.concatenate([start if self.normal.total else start * np.nan, fpr]),
            np.concatenate([start if self.n_regions else start * np.nan, overlap]),
        )

    def aupro(self, fpr_limit: float = DEFAULT_FPR_LIMIT) -> float:
        """Return the area under the curve up to ``fpr_limit``, as a share of ``fpr_limit``.

        Between thresholds, and at the limit, the curve is taken as straight. NaN when there is no region or no
        normal pixel: it is not defined then.

        Raises
        ------
        SettingError
            If the limit is not above 0 and at most 1.
        """
        require_number("AUPRO limit", fpr_limit)
        if not 0 < fpr_limit <= 1:
            raise SettingError(f"AUPRO limit: expected a rate above 0, at most 1, got {fpr_limit}.")
        if not self.n_regions or not self.normal.total:
            return float("nan")
        fpr, overlap = self.curve()
        # Where several thresholds share a rate, the straight piece after them starts from the highest overlap.
        last = int(np.searchsorted(fpr, fpr_limit, side="right"))
        rates, shares = fpr[:last], overlap[:last]
        if last < fpr.size:
            step = (fpr_limit - rates[-1]) / (fpr[last] - rates[-1])
            rates = np.append(rates, fpr_limit)
            shares = np.append(shares, shares[-1] + step * (overlap[last] - shares[-1]))
        area = np.dot(np.diff(rates), (shares[1:] + shares[:-1]) / 2)
        return float(area / fpr_limit)


def aupro(
    score_maps: Iterable[np.ndarray],
    truths: Iterable[np.ndarray],
    fpr_limit: float = DEFAULT_FPR_LIMIT,
    bits: int = DEFAULT_BITS,
) -> float:
    """Return the area under the per-region-overlap curve of maps (2D or 3D each) against their truths.

    Parameters
    ----------
    score_maps, truths : iterable of numpy.ndarray
        As many of either, pairwise of one shape; read one after the other. Maps without a lesion belong in
        too: their pixels count for the false-positive rate.
    fpr_limit : float
        Rate up to which the area is taken.
    bits : int
        Bits of a score's key, see `keys_of`.

    Returns
    -------
    float
        0 to 1; NaN when no truth has a region.

    Raises
    ------
    SettingError
        If shapes or numbers of maps differ, or the limit is out of range.
    ScorerError
        If a score is NaN.
    """
    total = RunningSum(RegionOverlap.empty(bits))
    for scores, truth in zip_longest(score_maps, truths):
        if scores is None or truth is None:
            raise SettingError("AUPRO: expected as many truths as score maps; one of them ended early.")
        total.add(RegionOverlap.of(scores, truth, bits))
    return total.total().aupro(fpr_limit)


def _sum_by_key(keys: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, inverse = np.unique(keys, return_inverse=True)
    return unique, np.bincount(inverse, weights=weights)
