"""Metrics against a ground truth."""

from __future__ import annotations

from napari_dinoad.evaluation.labelled_histogram import (
    BestDice,
    LabelledHistogram,
    RocCurve,
    threshold_at_fpr,
)
from napari_dinoad.evaluation.metrics import (
    auroc,
    average_precision,
    best_dice,
    dice,
    image_auroc,
    image_score,
)
from napari_dinoad.evaluation.region_overlap import DEFAULT_FPR_LIMIT, RegionOverlap, aupro

__all__ = [
    "DEFAULT_FPR_LIMIT",
    "BestDice",
    "LabelledHistogram",
    "RegionOverlap",
    "RocCurve",
    "aupro",
    "auroc",
    "average_precision",
    "best_dice",
    "dice",
    "image_auroc",
    "image_score",
    "threshold_at_fpr",
]
