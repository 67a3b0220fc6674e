"""Raw scores → probabilities: histograms of normal scores, the table made of them, p-values of voxels and scans."""

from __future__ import annotations

from napari_dinoad.calibration.calibration import MAX_NEG_LOG10_P, Calibration, fused_scores
from napari_dinoad.calibration.scan_scores import ScanScores, scan_score

__all__ = ["MAX_NEG_LOG10_P", "Calibration", "ScanScores", "fused_scores", "scan_score"]
