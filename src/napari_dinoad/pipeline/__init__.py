"""The order of the stages, and nothing else: fit a model from a folder, find anomalies in a scan."""

from __future__ import annotations

from napari_dinoad.pipeline.detection.detection import Detection
from napari_dinoad.pipeline.detection.detector import Detector, detect
from napari_dinoad.pipeline.fit.fitting import fit_folder
from napari_dinoad.pipeline.fit.merging import merge_models
from napari_dinoad.pipeline.fit.updating import update_model

__all__ = ["Detection", "Detector", "detect", "fit_folder", "merge_models", "update_model"]
