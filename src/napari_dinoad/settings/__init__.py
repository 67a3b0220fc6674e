"""Every default of the package, validated, in one place.

All settings are frozen dataclasses; a value that makes no sense raises `SettingError` when the object is
made, before any work starts.
"""

from __future__ import annotations

from napari_dinoad.settings.changes import with_scorer_settings
from napari_dinoad.settings.choices import (
    ANATOMICAL_PLANES,
    AUPRO_FPR_LIMIT,
    BENCH_SLICES,
    COLOURED,
    FALSE_POSITIVE_RATES,
    HEATMAP_LIMITS,
    HEATMAP_STOPS,
    MODEL_FORMAT_VERSION,
    SCORER_NAMES,
    ArCnnContext,
    BodyMask,
    CovarianceType,
    DatasetLayout,
    Device,
    EvaluationProtocol,
    Intensity,
    PersonGrouping,
    Plane,
    ScorerName,
    SegSegments,
)
from napari_dinoad.settings.demo import DEMO_SCAN_SHAPE, DEMO_SCORER, N_DEMO_SCANS, demo_settings
from napari_dinoad.settings.fitting import CacheSettings, CalibrationSettings, ClusterSettings, FitSettings
from napari_dinoad.settings.results import DetectSettings, EvaluationSettings
from napari_dinoad.settings.scans import PRESETS, STACKED_FOLDERS, PreprocessingSettings, ReadSettings, preset
from napari_dinoad.settings.scorers import ArCnnSettings, DpmmSettings, MemoryBankSettings, split_scorer_names

__all__ = [
    "ANATOMICAL_PLANES",
    "AUPRO_FPR_LIMIT",
    "BENCH_SLICES",
    "COLOURED",
    "DEMO_SCAN_SHAPE",
    "DEMO_SCORER",
    "FALSE_POSITIVE_RATES",
    "HEATMAP_LIMITS",
    "HEATMAP_STOPS",
    "MODEL_FORMAT_VERSION",
    "N_DEMO_SCANS",
    "PRESETS",
    "SCORER_NAMES",
    "STACKED_FOLDERS",
    "ArCnnContext",
    "ArCnnSettings",
    "BodyMask",
    "CacheSettings",
    "CalibrationSettings",
    "ClusterSettings",
    "CovarianceType",
    "DatasetLayout",
    "DetectSettings",
    "Device",
    "DpmmSettings",
    "EvaluationProtocol",
    "EvaluationSettings",
    "FitSettings",
    "Intensity",
    "MemoryBankSettings",
    "PersonGrouping",
    "Plane",
    "PreprocessingSettings",
    "ReadSettings",
    "ScorerName",
    "SegSegments",
    "demo_settings",
    "preset",
    "split_scorer_names",
    "with_scorer_settings",
]
