"""Raw scores → probabilities, from normal scans that the scorer has not seen.

Voxel level: the empirical distribution of raw scores inside the body of held-out normal scans gives
p(score) = (1 + #{normal voxels at least as high}) / (1 + #normal voxels), kept as a table of −log10 p over raw
score with a dense upper tail. The table knows a score by its bin (see `ScoreHistogram`): scores of one bin count as
tied, and where they are many, none is given the p of the next bin.
Scan level: split- or cross-conformal p-value of one figure a scan. Persons are exchangeable, scans of one person are
not: the scans of each person count as one together (Lee, Barber and Willett, 2023).
Neither paper has a calibration; the formulas are those of conformal prediction (Vovk et al., 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.calibration.normal_peaks import NormalPeaks
from napari_dinoad.calibration.scan_scores import OwnScores, ScanScores
from napari_dinoad.calibration.score_histogram import RunningSum, ScoreHistogram
from napari_dinoad.calibration.table import choose_knots, edges_of_bins, tail_slope
from napari_dinoad.calibration.weighted_scans import n_persons, p_value
from napari_dinoad.errors import ModelFileError, ScorerError
from napari_dinoad.given_arrays import real_array, require_number
from napari_dinoad.settings.checks import require

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_NEG_LOG10_P", "Calibration", "fused_scores"]

MAX_NEG_LOG10_P = 12.0
"""The map never claims more than this, however far the tail is extended."""

_METHODS_IN_WORDS = {"split": "one split", "cross": "on folds", "joined": "joined from several calibrations"}

_CHUNK = 2**20
"""Scores that are calibrated at a time: in float64 each takes 40 bytes meanwhile."""


def fused_scores(scores: Sequence[np.ndarray], calibrations: Sequence[Calibration]) -> np.ndarray:
    """Return one raw score for each voxel from those of one or more parts (scorers).

    Of a single part its own scores, untouched. Of several the mean of their −log10 p, which makes them comparable
    (up to a factor Fisher's statistic); it is no −log10 p itself, since parts agree more than chance, and is
    calibrated like any raw score.

    Parameters
    ----------
    scores : sequence of numpy.ndarray
        Raw scores of each part at the same voxels, any shape.
    calibrations : sequence of Calibration
        That of each part.
    """
    if len(scores) == 1:
        return scores[0]
    total = np.zeros(scores[0].shape, dtype=np.float32)
    for part, calibration in zip(scores, calibrations, strict=True):
        total += calibration.neg_log10_p(part)
    return total / np.float32(len(scores))


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """The distribution of normal scores.

    Attributes
    ----------
    table_scores : numpy.ndarray
        (m,) float64, ascending raw scores.
    table_neg_log10_p : numpy.ndarray
        (m,) float64, not descending; −log10 p at these scores. In a model p is raised to what was measured on
        left-out persons, see `napari_dinoad.pipeline.fit.left_out_rates`.
    n_voxels : int
        Normal voxels behind the table.
    scan_scores : numpy.ndarray
        (n,) float64, ascending; the own scores of the normal scans, each by a model that had not seen its person.
    scan_peaks : numpy.ndarray
        (n,) float64, the highest raw score of each of these scans.
    scan_weights : numpy.ndarray
        (n,) float64, what each of these scans counts: one over the number of scans of its person among them.
    tail_slope : float
        Rise of −log10 p for a unit of raw score above the highest normal score (exponential tail).
    method : str
        ``"split"``, ``"cross"``, or ``"joined"`` (of several calibrations).
    """

    table_scores: np.ndarray
    table_neg_log10_p: np.ndarray
    n_voxels: int
    scan_scores: np.ndarray
    scan_peaks: np.ndarray
    scan_weights: np.ndarray
    tail_slope: float
    method: str = "split"

    def __repr__(self) -> str:
        of = f"{self.n_scans} scans of {self.n_persons} persons, {self.n_voxels} voxels"
        return f"<Calibration ({self.method}): {of}, −log10 p up to {self.resolved_neg_log10_p:.3g}>"

    @classmethod
    def from_scans(cls, scans: Sequence[ScanScores], method: str = "split") -> Calibration:
        """Build the calibration from the scores of normal scans.

        Parameters
        ----------
        scans : sequence of ScanScores
            Each of a person of its own, that the scorer had not seen.
        method : str
            What the calibration calls itself; see the class.

        Raises
        ------
        ScorerError
            If there is no scan, or no voxel.
        """
        are_scores = isinstance(scans, Sequence) and all(isinstance(scan, ScanScores) for scan in scans)
        require(are_scores, "Scans", "several ScanScores", scans)
        pooled = RunningSum(ScoreHistogram.empty())
        for scan in scans:
            pooled.add(scan.histogram)
        return cls.from_histogram(pooled.total(), [scan.own for scan in scans], method)

    @classmethod
    def from_histogram(
        cls,
        pooled: ScoreHistogram,
        scans: Sequence[OwnScores],
        method: str = "split",
        persons: Sequence[int] | None = None,
    ) -> Calibration:
        """Build the calibration from the raw scores of all body voxels of normal scans and the scans' own scores.

        Parameters
        ----------
        pooled : ScoreHistogram
        scans : sequence of OwnScores
        method : str
        persons : sequence of int, optional
            The person that each scan is of; None: each is of a person of its own.

        Raises
        ------
        ScorerError
            If there is no scan, or no voxel.
        """
        if not scans:
            raise ScorerError("Calibration: expected at least one held-out normal scan, got none.")
        if pooled.total == 0:
            raise ScorerError("Calibration: the held-out normal scans have no body voxel.")
        neg_log10_p = np.repeat(-np.log10((1 + pooled.survival()) / (1 + pooled.total)), 2)
        values = edges_of_bins(pooled)
        knots = choose_knots(neg_log10_p)
        scan_scores, scan_peaks = np.array(scans, dtype=np.float64).T
        order = np.argsort(scan_scores, kind="stable")
        return cls(
            values[knots],
            neg_log10_p[knots],
            int(pooled.total),
            scan_scores[order],
            scan_peaks[order],
            _weights(range(len(scans)) if persons is None else persons)[order],
            tail_slope(values, neg_log10_p),
            method,
        )

    @classmethod
    def joined(cls, parts: Sequence[Calibration]) -> Calibration:
        """Return the calibration of all the normal scans behind ``parts``, by their counts.

        Each table says how many normal voxels score at least s; these numbers add (a mixture of survival functions,
        weighted by voxels). The own scores of the scans are pooled; persons of different parts are different persons.

        Parameters
        ----------
        parts : sequence of Calibration
            At least one, whose scores mean the same.
        """
        scores = np.unique(np.concatenate([part.table_scores for part in parts]))
        n_voxels = sum(part.n_voxels for part in parts)
        n_at_least = np.sum([part._n_at_least(scores) for part in parts], axis=0)
        # Ascending whatever the interpolation rounds.
        neg_log10_p = np.maximum.accumulate(-np.log10((1 + n_at_least) / (1 + n_voxels)))
        knots = choose_knots(neg_log10_p)
        scan_scores = np.concatenate([part.scan_scores for part in parts])
        order = np.argsort(scan_scores, kind="stable")
        return cls(
            scores[knots],
            neg_log10_p[knots],
            n_voxels,
            scan_scores[order],
            np.concatenate([part.scan_peaks for part in parts])[order],
            np.concatenate([part.scan_weights for part in parts])[order],
            tail_slope(scores, neg_log10_p),
            "joined",
        )

    def _n_at_least(self, scores: np.ndarray) -> np.ndarray:
        """Return how many normal voxels (n,) float64 score at least as high as ``scores`` (n,)."""
        levels = np.interp(scores, self.table_scores, self.table_neg_log10_p, left=0.0)
        counts = (1 + self.n_voxels) * 10.0**-levels - 1
        counts[scores > self.table_scores[-1]] = 0
        return np.asarray(np.maximum(counts, 0.0))

    def shifted(self, by: float) -> Calibration:
        """Return the calibration of scores that are all higher by ``by``."""
        # Bins around 0 are so narrow that their edges may round to one number.
        scores, kept = np.unique(self.table_scores + by, return_index=True)
        levels = self.table_neg_log10_p[kept]
        return replace(
            self,
            table_scores=scores,
            table_neg_log10_p=levels,
            scan_scores=self.scan_scores + by,
            scan_peaks=self.scan_peaks + by,
        )

    def scaled(self, ratio: Callable[[np.ndarray], np.ndarray]) -> Calibration:
        """Return the calibration of scores that are ``ratio(score)`` (above 0) times as high.

        Scores that would change places with lower ones are raised to these.
        """

        def scaled(own: np.ndarray) -> np.ndarray:
            ascending = np.unique(np.concatenate([self.table_scores, own]))
            raised = np.maximum.accumulate(ascending * ratio(ascending))
            return np.asarray(raised[np.searchsorted(ascending, own)])

        scores, kept = np.unique(scaled(self.table_scores), return_index=True)
        return replace(
            self,
            table_scores=scores,
            table_neg_log10_p=self.table_neg_log10_p[kept],
            scan_scores=scaled(self.scan_scores),
            scan_peaks=scaled(self.scan_peaks),
            tail_slope=self.tail_slope / float(ratio(self.table_scores[-1:])[0]),
        )

    @property
    def n_scans(self) -> int:
        """Number of normal scans behind the scan-level p-value."""
        return len(self.scan_scores)

    @property
    def n_persons(self) -> int:
        """Number of persons that these scans are of."""
        return n_persons(self.scan_weights)

    @property
    def method_in_words(self) -> str:
        """How the normal scans were held out, for people; ``method`` itself where it is none of the known ones."""
        return _METHODS_IN_WORDS.get(self.method, self.method)

    @property
    def smallest_scan_p_value(self) -> float:
        """The smallest p-value that can be claimed of a scan."""
        return 1 / (1 + self.n_persons)

    @property
    def resolved_neg_log10_p(self) -> float:
        """The largest −log10 p that normal voxels vouch for; beyond it the tail is extended."""
        return float(self.table_neg_log10_p[-1])

    def neg_log10_p(self, scores: np.ndarray) -> np.ndarray:
        """Return −log10 p of raw voxel scores.

        Within the table: log-linear interpolation; 0 below the lowest normal score. Above the highest the table goes
        on as an exponential tail, so that regions keep their order; capped at `MAX_NEG_LOG10_P`.

        Parameters
        ----------
        scores : numpy.ndarray
            Any shape. NaN gives NaN.

        Returns
        -------
        numpy.ndarray
            float32 of the same shape.
        """
        scores = real_array("Scores", scores)
        flat, levels = scores.reshape(-1), np.empty(scores.size, dtype=np.float32)
        for start in range(0, flat.size, _CHUNK):
            levels[start : start + _CHUNK] = self._exact_neg_log10_p(flat[start : start + _CHUNK])
        return levels.reshape(scores.shape)

    def _exact_neg_log10_p(self, scores: np.ndarray) -> np.ndarray:
        """Return −log10 p (n,) float64 of raw scores (n,)."""
        inside = np.interp(scores, self.table_scores, self.table_neg_log10_p, left=0.0)
        beyond = np.maximum(scores.astype(np.float64) - self.table_scores[-1], 0.0) * self.tail_slope
        return np.asarray(np.minimum(inside + beyond, MAX_NEG_LOG10_P))

    def threshold(self, fpr: float) -> float:
        """Return the raw score that this share of normal voxels exceeds.

        Parameters
        ----------
        fpr : float
            False-positive rate, above 0 and below 1 (0.01 is 1 %).

        Raises
        ------
        SettingError
            If the rate is out of range.
        """
        require_number("False-positive rate", fpr)
        require(0 < fpr < 1, "false-positive rate", "above 0 and below 1 (0.01 is 1 %)", fpr)
        wanted = -np.log10(fpr)
        if wanted <= self.table_neg_log10_p[-1]:
            return float(np.interp(wanted, self.table_neg_log10_p, self.table_scores))
        return float(self.table_scores[-1] + (wanted - self.table_neg_log10_p[-1]) / self.tail_slope)

    def scan_p_value(self, score: float) -> float:
        """Return (1 + Σ over persons: share of their normal scans at least as extreme) / (1 + #persons).

        Parameters
        ----------
        score : float
            The scan's own raw score; see `scan_score`.

        Raises
        ------
        ScorerError
            If it is NaN.
        """
        require_number("Scan score", score)
        if np.isnan(score):
            raise ScorerError("Scan score: expected a number, got NaN.")
        return p_value(self.scan_weights, self.scan_scores >= score)

    def normal_scan_p_values(self) -> np.ndarray:
        """Return the p-values (n,) float64 that scans with the normal scans' scores would get, in their order."""
        n_at_least = np.cumsum(self.scan_weights[::-1])[::-1]
        first = np.searchsorted(self.scan_scores, self.scan_scores, side="left")
        return np.asarray((1 + n_at_least[first]) / (1 + self.n_persons))

    def normal_peaks(self) -> NormalPeaks:
        """Return how unusual the most unusual voxel of each normal scan is."""
        return NormalPeaks(self.neg_log10_p(self.scan_peaks), self.scan_weights)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to store, by name; without weights where each scan counts as one."""
        weights = {} if (self.scan_weights == 1).all() else {"scan_weights": self.scan_weights}
        return {
            "table_scores": self.table_scores,
            "table_neg_log10_p": self.table_neg_log10_p,
            "scan_scores": self.scan_scores,
            "scan_peaks": self.scan_peaks,
            **weights,
        }

    def counts(self) -> dict[str, Any]:
        """Return the scalar state to store; JSON values."""
        return {"n_voxels": self.n_voxels, "tail_slope": self.tail_slope, "method": self.method}

    @classmethod
    def from_stored(cls, arrays: dict[str, np.ndarray], counts: dict[str, Any]) -> Calibration:
        """Rebuild a calibration from `arrays` and `counts`.

        Raises
        ------
        ModelFileError
            If something is missing or inconsistent.
        """
        try:
            scores, levels = arrays["table_scores"], arrays["table_neg_log10_p"]
            scan_scores, scan_peaks = arrays["scan_scores"], arrays["scan_peaks"]
            weights = arrays.get("scan_weights", np.ones(scan_scores.shape))
            n_voxels, slope = int(counts["n_voxels"]), float(counts["tail_slope"])
            method = str(counts["method"])
        except KeyError as error:
            raise ModelFileError(f"Calibration: {error} is missing.") from error
        sound = (
            all(array.dtype.kind == "f" for array in (scores, levels, scan_scores, scan_peaks, weights))
            and scores.ndim == 1
            and scores.shape == levels.shape
            and scores.size > 0
            and scan_scores.ndim == 1
            and scan_peaks.shape == weights.shape == scan_scores.shape
            and not np.isnan([scan_scores, scan_peaks]).any()
            and bool(np.all((weights > 0) & (weights <= 1)))
            and bool(np.all(np.diff(scores) > 0))
            and bool(np.all(np.diff(levels) >= 0))
            and slope > 0
        )
        if not sound:
            raise ModelFileError("Calibration: the stored table is not an ascending table of scores.")
        return cls(scores, levels, n_voxels, scan_scores, scan_peaks, weights, slope, method)


def _weights(persons: Sequence[int]) -> np.ndarray:
    """Return what the scan of each of these persons counts, (n,) float64: one over how often the person is there."""
    _, places, counts = np.unique(np.asarray(persons), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[places.reshape(-1)])
