"""Metrics of arrays that fit in memory: voxels, masks, and whole images. Higher scores are more abnormal.

The areas are scikit-learn's. For more voxels than fit, sum `LabelledHistogram` and `RegionOverlap` over the scans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.calibration.scan_scores import scan_score
from napari_dinoad.calibration.score_histogram import refuse_nan
from napari_dinoad.errors import SettingError
from napari_dinoad.evaluation.labelled_histogram import BestDice, LabelledHistogram, are_abnormal, is_set
from napari_dinoad.given_arrays import real_array

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["auroc", "average_precision", "best_dice", "dice", "image_auroc", "image_score"]

_EXACT_BITS = 32


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the exact area under the ROC curve, ties counted half.

    Parameters
    ----------
    scores : numpy.ndarray
        Any shape, taken as float32.
    labels : numpy.ndarray
        The same shape; abnormal where above 0.

    Returns
    -------
    float
        NaN when there is no normal or no abnormal voxel: it is not defined then.

    Raises
    ------
    SettingError
        If the shapes differ, or a label is NaN.
    ScorerError
        If a score is NaN.
    """
    # Loaded when asked for, since that takes a second.
    from sklearn.metrics import roc_auc_score

    scores, is_abnormal = _flat(scores, labels)
    if is_abnormal.all() or not is_abnormal.any():
        return float("nan")
    return float(roc_auc_score(is_abnormal, scores))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the exact average precision (AUPR).

    Parameters
    ----------
    scores, labels : numpy.ndarray
        As for `auroc`, and so are the errors.

    Returns
    -------
    float
        NaN when there is no abnormal voxel. Without skill it is the share of abnormal voxels.
    """
    from sklearn.metrics import average_precision_score

    scores, is_abnormal = _flat(scores, labels)
    return float(average_precision_score(is_abnormal, scores)) if is_abnormal.any() else float("nan")


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice coefficient 2 |A ∩ B| / (|A| + |B|) of two masks.

    Parameters
    ----------
    mask, truth : numpy.ndarray
        One shape, any; each is set where above 0. Scores are no mask: compare them with a threshold first.

    Returns
    -------
    float
        Two empty masks agree: 1. An empty truth with a mask that is not empty gives 0.

    Raises
    ------
    SettingError
        If the shapes differ, or one holds NaN.
    """
    marked, true = is_set("Mask", mask), is_set("Truth", truth)
    if marked.shape != true.shape:
        raise SettingError(f"Truth: expected the mask's shape {marked.shape}, got {true.shape}.")
    both = int(np.count_nonzero(marked)) + int(np.count_nonzero(true))
    return 2 * int(np.count_nonzero(marked & true)) / both if both else 1.0


def best_dice(scores: np.ndarray, truth: np.ndarray) -> BestDice:
    """Return the highest Dice of any mask ``scores >= threshold``, with the threshold.

    It is an upper bound: no threshold chosen without the truth reaches it by right.

    Parameters
    ----------
    scores, truth : numpy.ndarray
        As ``scores`` and ``labels`` of `auroc`, and so are the errors.

    Returns
    -------
    BestDice
        ``dice`` and ``threshold``; (NaN, NaN) when the truth is empty.
    """
    return LabelledHistogram.of(scores, truth, _EXACT_BITS).best_dice()


def image_score(score_map: np.ndarray, top_fraction: float | None = None) -> float:
    """Return one score of a whole map: its maximum, or the mean of this share of its highest scores.

    Parameters
    ----------
    score_map : numpy.ndarray
        Any shape.
    top_fraction : float, optional
        None takes the maximum.

    Raises
    ------
    SettingError
        If the map is empty or the share is not above 0 and at most 1.
    ScorerError
        If a score is NaN.
    """
    score_map = real_array("Score map", score_map)
    refuse_nan(score_map)
    if score_map.size == 0:
        raise SettingError(f"Score map: expected at least one score, got shape {score_map.shape}.")
    if top_fraction is None:
        return float(score_map.max())
    return scan_score(score_map, top_fraction)


def image_auroc(
    score_maps: Sequence[np.ndarray],
    is_abnormal: Sequence[bool] | np.ndarray,
    top_fraction: float | None = None,
) -> float:
    """Return how well maps as a whole tell abnormal from normal images: AUROC of `image_score`.

    Parameters
    ----------
    score_maps : sequence of numpy.ndarray
        One map an image, of any shapes.
    is_abnormal : sequence of bool
        As many.
    top_fraction : float, optional
        None takes each map's maximum.

    Returns
    -------
    float
        NaN when all images are normal, or all abnormal.

    Raises
    ------
    SettingError
        If the numbers differ, a map is empty, or the share is out of range.
    ScorerError
        If a score is NaN.
    """
    if len(score_maps) != len(is_abnormal):
        raise SettingError(
            f"Image labels: expected one for each of {len(score_maps)} maps, got {len(is_abnormal)}."
        )
    scores = np.array([image_score(score_map, top_fraction) for score_map in score_maps])
    return auroc(scores, np.asarray(is_abnormal, dtype=bool))


def _flat(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (n,) float32, finite in the same order, and whether each is of an abnormal voxel (n,) bool."""
    is_abnormal = are_abnormal(scores, labels)
    flat = real_array("Scores", scores).astype(np.float32, copy=False).reshape(-1)
    refuse_nan(flat)
    # scikit-learn takes no infinity; nothing but the largest number is tied with it then.
    return np.nan_to_num(flat), is_abnormal.reshape(-1)
