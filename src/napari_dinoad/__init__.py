"""napari-dinoad: a model of normal from a folder of scans, and where a patient's scan departs from it.

Research use only; not a medical device.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {  # with its type, each also stands in ``__init__.pyi``, for type checkers and editors
    "ArCnnScorer": "scoring.ar_cnn.scorer",
    "ArCnnSettings": "settings",
    "CacheSettings": "settings",
    "CalibrationSettings": "settings",
    "ClusterSettings": "settings",
    "Cancelled": "errors",
    "DetectSettings": "settings",
    "Detector": "pipeline",
    "DinoadError": "errors",
    "DpmmScorer": "scoring.dpmm.scorer",
    "DpmmSettings": "settings",
    "FitSettings": "settings",
    "Geometry": "images.volume",
    "MemoryBankScorer": "scoring.memory_bank",
    "MemoryBankSettings": "settings",
    "NormativeModel": "normative_model.model",
    "PreprocessingSettings": "settings",
    "ReadSettings": "settings",
    "Volume": "images.volume",
    "detect": "pipeline",
    "discover_scans": "images.discovery",
    "fit_folder": "pipeline",
    "load_backbone": "backbones",
    "merge_models": "pipeline",
    "preset": "settings",
    "read_volume": "images.readers",
    "update_model": "pipeline",
}

__all__ = [*sorted(_EXPORTS), "__version__"]


def __getattr__(name: str) -> Any:
    """Import public names when first used, so that importing the package loads neither torch nor napari."""
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
