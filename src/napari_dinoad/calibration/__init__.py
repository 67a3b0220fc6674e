"""Raw scores → probabilities: histograms of normal scores, the table made of them, p-values of voxels and scans."""

from __future__ import annotations

from napari_dinoad.calibration.calibration import MAX_NEG_LOG10_P, Calibration, fused_scores
from napari_dinoad.calibration.normal_peaks import NormalPeaks
from napari_dinoad.calibration.scan_scores import OwnScores, ScanScores, scan_score

__all__ = [
    "MAX_NEG_LOG10_P",
    "Calibration",
    "NormalPeaks",
    "OwnScores",
    "ScanScores",
    "fused_scores",
    "scan_score",
]
